"""Long takes of motion capture: bones, passing from piece to piece, who does what."""

import dataclasses

import numpy as np
import pytest

from datasets.mocap_people import sessions
from datasets.mocap_people.clips import Clip
from datasets.mocap_people.generator import Options, generate_split
from datasets.synthetic_people import bodies
from datasets.synthetic_people.appearance import sample_subject
from datasets.synthetic_people.bodies import POINT, Pose
from datasets.synthetic_people.motion import SOLES, sample_motion

BONES = (("neck", "left_shoulder"), ("left_knee", "left_ankle"), ("right_elbow", "right_wrist"))


def walk(seed, frames=60, height_mm=1700.0):
  rng = np.random.default_rng(seed)
  subject = sample_subject(rng, "somebody", height_mm)
  return sample_motion(subject, "walking", frames, rng).pose


def length_of(pose, start, end):
  return np.linalg.norm(pose.points[:, POINT[start]] - pose.points[:, POINT[end]], axis=-1)


def clip(name, subject, frames, *, fps=12.0, height_mm=1700.0):
  pose = walk(sum(name.encode()), frames, height_mm)
  return Clip(name, subject, "walk", fps, height_mm, pose)


@pytest.fixture(scope="module")
def splits():
  return {
    "train": [
      clip("a", "tall", 60, height_mm=1900.0),
      clip("b", "small", 60, height_mm=1500.0),
      clip("blink", "short", 12),
    ],
    "validation": [clip("c", "other", 40)],
    "test": [clip("d", "third", 40)],
  }


def joined(splits, split="train", instants=1000):
  return list(sessions.join_takes(splits, split, frames=50, piece=20, instants=instants, seed=0))


def test_bones_get_their_length_and_keep_their_direction():
  tall, small = walk(0, height_mm=1900.0), walk(1, height_mm=1500.0)
  changed = sessions.set_bones(tall, sessions.measure_bones(small))
  np.testing.assert_array_equal(changed.points[:, 0], tall.points[:, 0])
  for start, end in BONES:
    np.testing.assert_allclose(length_of(changed, start, end), length_of(small, start, end), atol=1)
    before, after = (p.points[:, POINT[end]] - p.points[:, POINT[start]] for p in (tall, changed))
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1)
    np.testing.assert_allclose(cosine / np.linalg.norm(after, axis=-1), 1, atol=1e-9)
  assert length_of(tall, "left_knee", "left_ankle")[0] > 1.1 * length_of(small, *BONES[1])[0]


def test_a_blend_lies_between_and_its_axes_are_rotations():
  first = walk(0, 5)
  second = bodies.turn_around(first, 90.0)
  half = sessions.blend(first, second, np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
  np.testing.assert_allclose(half.points[2], 0.5 * (first.points[2] + second.points[2]))
  np.testing.assert_allclose(half.points[1], 0.75 * first.points[1] + 0.25 * second.points[1])
  np.testing.assert_allclose(half.chest_axes[0], first.chest_axes[0], atol=1e-9)
  np.testing.assert_allclose(half.chest_axes[4], second.chest_axes[4], atol=1e-9)
  # halfway to a turn by 90 degrees is one by 45
  turned = bodies.rotation(2, np.array(45.0)) @ first.pelvis_axes[2]
  np.testing.assert_allclose(half.pelvis_axes[2], turned, atol=1e-9)
  mirrored = dataclasses.replace(second, head_axes=-first.head_axes)
  found = sessions.blend(first, mirrored, np.full(5, 0.9)).head_axes
  np.testing.assert_allclose(np.linalg.det(found), 1)


def test_a_piece_goes_on_where_the_one_before_ends():
  first, second = walk(0, 30), walk(1, 25)
  bones = sessions.measure_bones(first)
  second = sessions.set_bones(second, bones)
  both = sessions.pass_on(first, second, bones, np.random.default_rng(0))
  assert len(both.points) == 30 + 25 - 6
  np.testing.assert_array_equal(both.points[:24], first.points[:24])
  pelvis = both.points[:, 0, :2]
  step = np.linalg.norm(np.diff(pelvis, axis=0), axis=-1)
  longest = max(
    np.linalg.norm(np.diff(p.points[:, 0, :2], axis=0), axis=-1).max() for p in (first, second)
  )
  assert step.max() <= 1.5 * longest
  for start, end in BONES:
    np.testing.assert_allclose(length_of(both, start, end), bones[end], rtol=1e-6)
  # afterwards the second piece as it is, but turned and moved: heights and distances are its own
  np.testing.assert_allclose(both.points[30:, :, 2], second.points[6:, :, 2])
  inside = [p[:, 0] - p[:, 16] for p in (both.points[30:], second.points[6:])]
  np.testing.assert_allclose(*(np.linalg.norm(d, axis=-1) for d in inside))


def test_a_piece_faces_where_the_one_before_does_but_for_its_turn(monkeypatch):
  first, second = walk(0, 30), bodies.turn_around(walk(1, 25), 150.0)
  bones = sessions.measure_bones(first)
  monkeypatch.setattr(sessions, "_TURN_DEG", 0.0)
  both = sessions.pass_on(first, second, bones, np.random.default_rng(0))

  def facing(axes):
    return np.arctan2(axes[1, 0], axes[0, 0])

  # as far from the second piece's own heading as the two are apart where they meet
  turned = facing(both.pelvis_axes[30]) - facing(second.pelvis_axes[6])
  apart = facing(first.pelvis_axes[24]) - facing(second.pelvis_axes[0])
  np.testing.assert_allclose(np.cos(turned - apart), 1, atol=1e-9)


def test_of_a_few_turns_the_one_that_ends_nearest_to_the_start_is_taken(monkeypatch):
  first, second = walk(0, 30), walk(1, 25)
  bones = sessions.measure_bones(first)

  def ends_at(turns):
    monkeypatch.setattr(sessions, "_TURNS", turns)
    found = [sessions.pass_on(first, second, bones, np.random.default_rng(i)) for i in range(8)]
    return np.mean([np.linalg.norm(p.points[-1, 0, :2] - p.points[0, 0, :2]) for p in found])

  assert ends_at(16) < ends_at(1)


def test_performers_take_turns_and_keep_their_bones(splits):
  takes = joined(splits)
  # 72 % of 1000 instants in takes of 50
  assert len(takes) == 14
  assert [take.subject for take in takes[:4]] == ["small", "tall", "small", "tall"]
  assert [take.height_mm for take in takes[:2]] == [1500.0, 1900.0]
  assert len({take.name for take in takes}) == 14
  for take in takes:
    assert len(take.pose.points) == 50
    assert take.fps == 12.0
    own = sessions.measure_bones(splits["train"]["ab".index(take.name[0])].pose)
    for start, end in BONES:
      np.testing.assert_allclose(length_of(take.pose, start, end), own[end], rtol=1e-6)
  again = joined(splits)
  np.testing.assert_array_equal(takes[3].pose.points, again[3].pose.points)
  assert [len(joined(splits, split)) for split in ("validation", "test")] == [2, 4]


def test_frames_of_another_rate_are_read_between():
  # a clip of 24 frames a second: every second one; of 18: between them
  still = walk(0, 61)
  line = still.points.copy()
  line[:] = still.points[:1]
  line[..., 0] += np.arange(61)[:, None]
  axes = (
    np.tile(a[:1], (61, 1, 1)) for a in (still.pelvis_axes, still.chest_axes, still.head_axes)
  )
  moved = Pose(line, *axes)
  bones = sessions.measure_bones(moved)
  for fps, step in ((24.0, 2.0), (18.0, 1.5)):
    found = sessions._piece(
      Clip("x", "x", "x", fps, 1700.0, moved), 20, bones, np.random.default_rng(0)
    )
    assert len(found.points) == 20
    np.testing.assert_allclose(np.diff(found.points[:, 0, 0]), step)
    soles = found.points[:, [POINT[name] for name in SOLES], 2]
    np.testing.assert_allclose(soles.min(axis=1), 0, atol=1e-9)  # on the floor


def test_clips_that_are_too_short_are_an_error(splits):
  short = splits | {"train": splits["train"][2:]}
  with pytest.raises(ValueError, match=r"train: no clip lasts 1 s"):
    joined(short)
  with pytest.raises(ValueError, match="piece must be at least 13 frames, or 0, not 12"):
    Options(piece=12)


def test_a_long_take_is_filmed(splits):
  options = Options(images=400, frames=40, piece=20, height=48, width=48, rooms=1)
  (first, *_) = generate_split(options, splits, "test", 0)
  assert first.subject == "third"
  (track, *_) = first.tracks
  assert len(first.tracks) == 4
  assert track.pose3d_mm.shape == (40, 17, 3)
  assert np.isfinite(track.pose2d_px).all()
