"""Motion capture from a made-up folder: what is filmed, where, and in which split."""

import dataclasses
import itertools

import numpy as np
import pytest
from launching import run_job

from configs import dsl
from datasets import registry
from datasets.mocap_people import generator, takes
from datasets.mocap_people.builder import TINY, MocapPeople
from datasets.mocap_people.clips import Clip, load_clips
from datasets.pose_video import prepare
from datasets.synthetic_people import bodies
from datasets.synthetic_people.appearance import build_capsules
from datasets.synthetic_people.bodies import POINT, POINTS, Pose
from datasets.synthetic_people.motion import ROAM_MM
from datasets.synthetic_people.scene import build_scene
from jaxpose.data.index import open_dataset
from jaxpose.data.records import decode_image
from jaxpose.geometry import camera_to_world, project
from jaxpose.skeleton import H36M17

# name, offset in cm, children
TREE = (
  ("Hips", (0, 0, 0), 0),
  ("LeftUpLeg", (10, 0, 0), 1),
  ("LeftLeg", (0, -43, 0), 2),
  ("LeftFoot", (0, -40, 0), 3),
  ("LeftToe", (0, -4, 15), 4),
  ("RightUpLeg", (-10, 0, 0), 1),
  ("RightLeg", (0, -43, 0), 2),
  ("RightFoot", (0, -40, 0), 3),
  ("RightToe", (0, -4, 15), 4),
  ("Spine", (0, 25, 0), 1),
  ("Neck", (0, 27, 0), 2),
  ("Head", (0, 10, 0), 3),
  ("LeftArm", (18, 24, 0), 2),
  ("LeftForeArm", (0, -28, 0), 3),
  ("LeftHand", (0, -25, 0), 4),
  ("RightArm", (-18, 24, 0), 2),
  ("RightForeArm", (0, -28, 0), 3),
  ("RightHand", (0, -25, 0), 4),
)


def write_walk(path, seconds, rate, speed_cm=0.0):
  """A person who swings the left leg and arm, facing +z, and moves along z."""
  lines = ["HIERARCHY"]
  for number, (name, offset, depth) in enumerate(TREE):
    channels = "6 Xposition Yposition Zposition Xrotation Yrotation Zrotation"
    if depth:
      channels = "3 Xrotation Yrotation Zrotation"
    offset = " ".join(map(str, offset))
    lines += [f"{'JOINT' if depth else 'ROOT'} {name}", "{", f"OFFSET {offset}"]
    lines.append(f"CHANNELS {channels}")
    after = TREE[number + 1][2] if number + 1 < len(TREE) else 0
    if after <= depth:
      lines += ["End Site", "{", "OFFSET 0 0 0", "}"]
    lines += ["}"] * (depth - after + 1)
  frames = round(seconds * rate)
  lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / rate:.6f}"]
  for t in np.arange(frames) / rate:
    row = np.zeros((len(TREE), 3))
    swing = 40 * np.sin(2 * np.pi * t)
    row[1, 0], row[12, 0] = -swing, swing
    root = [0, 130, speed_cm * t]  # 0.4 m over the floor
    lines.append(" ".join(f"{v:.5f}" for v in (*root, *row.ravel())))
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Four performers, one of them in two files; one walks across the room."""
  root = tmp_path_factory.mktemp("motion")
  write_walk(root / "a/01_01_kick.bvh", 2.0, 60)
  write_walk(root / "b/01_02_hop.bvh", 1.0, 60)
  write_walk(root / "b/02_01_walk.bvh", 3.0, 120, speed_cm=150)
  write_walk(root / "b/03_01.bvh", 1.5, 30)
  write_walk(root / "b/04_07.bvh", 1.0, 25)
  return root


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
  root = tmp_path_factory.mktemp("data")
  return registry.prepare_dataset("mocap_people", "tiny", root, path=str(folder))


def read_all(directory, split):
  data = open_dataset(directory, split)
  return data, data.read(np.arange(data.num_frames), with_labels=True)


def standing(path_mm, *, height=900.0):
  """An upright pose per place (x, y) of the pelvis; all axes those of the world."""
  points = np.zeros((len(path_mm), len(POINTS), 3))
  points[..., :2] = np.array(path_mm, float)[:, None]
  points[..., 2] = height
  points[:, POINT["head_top"], 2] += 700
  for side, sign in (("left", 1), ("right", -1)):
    points[:, POINT[f"{side}_shoulder"], 1] += 180 * sign
    points[:, POINT[f"{side}_heel"], 2] = points[:, POINT[f"{side}_toe"], 2] = height - 800
    points[:, POINT[f"{side}_toe"], 0] += 200
  axes = np.tile(np.eye(3), (len(path_mm), 1, 1))
  return Pose(points, axes, axes, axes)


def clip(name, subject, frames, fps=120.0):
  return Clip(name, subject, "walk", fps, 1700.0, standing([(i, 0) for i in range(frames)]))


def test_tiny_set_holds_each_performer_in_one_split_with_exact_labels(built):
  seen = {}
  for split in ("train", "validation", "test"):
    data, batch = read_all(built, split)
    assert data.skeleton == H36M17
    assert batch["image"].shape[1:] == (64, 64, 3)
    for name in data.subjects:
      assert seen.setdefault(name, split) == split
    assert (batch["present"] == 1).all()
    assert not batch["falling"].any()
    joints = batch["pose2d_px"]
    assert ((joints > -0.5) & (joints < 63.5)).all()
    box = batch["box_px"][:, None]
    assert ((joints > box[..., :2] - 2) & (joints < box[..., 2:] + 2)).all()
  assert set(seen) == {"01", "02", "03", "04"}


def test_bones_are_as_long_as_in_the_file_and_left_swings(built):
  _, batch = read_all(built, "train")
  pose = dict(zip(H36M17.joints, np.moveaxis(batch["pose3d_mm"], 1, 0)))
  for side, (start, end, length) in itertools.product(
    ("left", "right"),
    (("hip", "knee", 430), ("knee", "ankle", 400), ("elbow", "wrist", 250)),
  ):
    bone = np.linalg.norm(pose[f"{side}_{start}"] - pose[f"{side}_{end}"], axis=-1)
    np.testing.assert_allclose(bone, length, atol=0.2)
  # from the middle of the hips 250 mm up to the spine
  np.testing.assert_allclose(np.linalg.norm(pose["spine"] - pose["pelvis"], axis=-1), 250, atol=0.2)
  sway = {}
  for side in ("left", "right"):
    thigh = pose[f"{side}_knee"] - pose[f"{side}_hip"]
    body = pose["spine"] - pose["pelvis"]
    sway[side] = (np.cross(thigh, body) ** 2).sum(axis=-1).max() ** 0.5 / (430 * 250)
  assert sway["left"] > 0.5  # up to sin(40°)
  assert sway["right"] < 0.01


def test_the_left_side_is_drawn_light_and_the_right_one_dark(folder):
  options = dataclasses.replace(TINY, path=str(folder), height=160, width=160, noise=0.0)
  splits = takes.split_clips(load_clips(str(folder), 0.0))
  found = {"left": [], "right": []}
  for take in takes.cut_takes(splits, "train", 8, 1000, 1):
    for track in generator.film_take(options, "train", take).tracks:
      joints = dict(zip(H36M17.joints, np.moveaxis(track.pose3d_mm, 1, 0)))
      pixels = project(track.pose3d_mm.astype(float), track.camera)
      np.testing.assert_allclose(track.pose2d_px, pixels, atol=1e-3)
      for side in found:
        other = "right" if side == "left" else "left"
        near = joints[f"{side}_hip"][:, 2] < joints[f"{other}_hip"][:, 2] - 100
        foot = pixels[:, H36M17.joints.index(f"{side}_ankle")]
        for i in np.flatnonzero(near):
          x, y = np.round(foot[i]).astype(int)
          found[side].append(decode_image(track.images[i])[y + 1 : y + 3, x].mean())
  assert len(found["left"]) > 10
  assert len(found["right"]) > 10
  assert np.median(found["left"]) > np.median(found["right"]) + 60


def test_all_cameras_see_one_person_on_the_floor(folder):
  options = dataclasses.replace(TINY, path=str(folder))
  splits = takes.split_clips(load_clips(str(folder), 0.0))
  take = next(takes.cut_takes(splits, "train", 12, 1000, 1))
  first, second = (generator.film_take(options, "train", take) for _ in range(2))
  assert first.tracks[3].images == second.tracks[3].images  # the same every time
  world = [camera_to_world(t.pose3d_mm.astype(float), t.camera) for t in first.tracks]
  np.testing.assert_allclose(world[1], world[0], atol=0.01)
  z = world[0][..., 2]
  assert 40 < z[:, H36M17.joints.index("right_ankle")].min() < 110
  assert (z[:, H36M17.joints.index("head_top")] > z[:, 0] + 700).all()
  np.testing.assert_allclose(np.diff(first.tracks[0].time_s), 1 / first.fps)


@pytest.mark.parametrize(
  ("fps", "step"), [(120, 10), (60, 5), (30, 2), (25, 2), (24, 2), (16, 1), (6, 1)]
)
def test_every_so_manyth_frame_is_filmed(fps, step):
  # 120 / 12 = 10; 30 / 12 = 2.5, which rounds to the even 2; at 16 a second all are taken
  assert takes.step_of(clip("c", "s", 20, fps)) == step


def test_a_clip_is_cut_into_takes_of_equal_length_once_a_pass():
  splits = {"train": [clip("c", "s", 600)], "validation": [], "test": []}
  once = list(takes.cut_takes(splits, "train", 26, 10_000, 1))
  # 60 frames at every 10th of 600: three takes of 20
  assert [len(take.pose.points) for take in once] == [20, 20, 20]
  assert [take.name for take in once] == ["c@0", "c@200", "c@400"]
  assert {take.fps for take in once} == {12.0}
  np.testing.assert_array_equal(once[1].pose.points[:, 0, 0], np.arange(200, 400, 10))
  # 140 frames are room for two passes of 60; the second begins half of 10 frames later
  twice = list(takes.cut_takes(splits, "train", 26, 140, 6))
  assert [take.name for take in twice[3:]] == ["c@5_1", "c@205_1", "c@405_1"]
  assert [take.number for take in twice] == [0, 1, 2, 3, 4, 5]
  # 40 frames are room for two takes of three: the first and the last
  few = list(takes.cut_takes(splits, "train", 26, 40, 6))
  assert [take.name for take in few] == ["c@0", "c@400"]


def test_a_clip_of_less_than_half_a_second_is_left_out_and_named(capsys):
  splits = {"train": [clip("blink", "s", 50), clip("c", "s", 60)], "validation": [], "test": []}
  assert [take.name for take in takes.cut_takes(splits, "train", 26, 1000, 1)] == ["c@0"]
  assert "left out blink" in capsys.readouterr().err


def test_performers_are_split_alike_every_time_and_never_shared():
  clips = [clip(f"{s}_{i}", f"{s:02d}", 100 + s) for s in range(20) for i in range(2)]
  splits = takes.split_clips(clips)
  assert takes.split_clips(clips[::-1]) == splits
  people = {split: {c.subject for c in part} for split, part in splits.items()}
  assert sum(map(len, splits.values())) == 40
  assert not people["train"] & people["test"] | people["train"] & people["validation"]
  assert not people["test"] & people["validation"]
  # of 20 performers who move about equally long: a fifth, 8 %, the rest
  assert len(people["test"]) in (4, 5)
  assert len(people["validation"]) == 2


@pytest.mark.parametrize("count", [3, 4])
def test_few_performers_leave_none_of_the_splits_empty(count):
  by_person = takes.split_clips([clip(f"{s}", f"{s}", 100) for s in range(count)])
  assert all(by_person.values())
  by_file = takes.split_clips([clip(f"{s}", "the only one", 100) for s in range(count)])
  assert sorted(c.name for part in by_file.values() for c in part) == [f"{s}" for s in range(count)]
  assert all(by_file.values())
  with pytest.raises(ValueError, match="3 motions at least"):
    takes.split_clips([clip("a", "x", 100), clip("b", "y", 100)])


def test_a_wide_path_is_shrunk_about_its_middle_and_a_narrow_one_is_not():
  # 8 m along x about (1000, 500): reach 4000, so 4000 -> 1000 on either side
  pose = standing([(-3000, 500), (1000, 500), (5000, 500)])
  moved = generator.gather(pose, 1000.0)
  np.testing.assert_allclose(moved.points[:, 0, :2], [(0, 500), (1000, 500), (2000, 500)])
  shape = pose.points - pose.points[:, :1]
  np.testing.assert_allclose(moved.points - moved.points[:, :1], shape, atol=1e-9)
  assert generator.gather(pose, 4000.0) is pose


def test_a_take_turns_as_a_whole():
  turned = bodies.turn_around(standing([(1000, 0)]), 90.0)
  np.testing.assert_allclose(turned.points[0, 0], [0, 1000, 900], atol=1e-9)
  toe = turned.points[0, POINT["left_toe"]] - turned.points[0, POINT["left_heel"]]
  np.testing.assert_allclose(toe, [0, 200, 0], atol=1e-9)
  for axes in (turned.pelvis_axes, turned.chest_axes, turned.head_axes):
    np.testing.assert_allclose(axes[0][:, 0], [0, 1, 0], atol=1e-12)  # forward


def test_the_lowest_surface_stands_on_the_floor_but_for_a_slip():
  subject = generator.build_subject(0, "s", 1750.0)
  pose = standing([(0, 0)] * 30)
  jump = np.zeros((30, 3))
  jump[10:, 2] = 300.0  # in the air most of the time
  jump[0, 2] = -200.0  # one frame in thirty has slipped
  moved = generator.stand_on_floor(subject, bodies.move(pose, jump))
  capsules = build_capsules(subject, moved)
  bottoms = [
    (end[..., 2] - radius).min(axis=1)
    for end, radius in (
      (capsules.start, capsules.start_radius_mm),
      (capsules.end, capsules.end_radius_mm),
    )
  ]
  lowest = np.minimum(*bottoms)
  np.testing.assert_allclose(lowest[[0, 1, 29]], [-200, 0, 300], atol=1e-6)


def test_a_place_is_found_where_all_cameras_see_all_of_a_long_way():
  scene = build_scene(0, 0, 4, (64, 64), False)
  pose = standing([(x, 0) for x in np.linspace(-4000, 4000, 9)])
  assert generator.count_unseen(pose, scene) > 0
  placed = generator.place_in_sight(pose, scene, np.random.default_rng(0))
  assert generator.count_unseen(placed, scene) == 0
  middle = placed.points[:, 0, :2].mean(axis=0)
  assert np.linalg.norm(placed.points[:, 0, :2] - middle, axis=1).max() <= ROAM_MM + 1e-6
  # with arms of 0.7 m held out the widest path of all is too wide: it is shrunk further
  wide = standing([(4000 * np.cos(a), 4000 * np.sin(a)) for a in np.linspace(0, 6, 12)])
  for side, sign in (("left", 1), ("right", -1)):
    wide.points[:, POINT[f"{side}_hand"], 1] += 700 * sign
  placed = generator.place_in_sight(wide, scene, np.random.default_rng(0))
  assert generator.count_unseen(placed, scene) == 0
  middle = 0.5 * (placed.points[:, 0, :2].min(axis=0) + placed.points[:, 0, :2].max(axis=0))
  reach = np.linalg.norm(placed.points[:, 0, :2] - middle, axis=1).max()
  assert min(abs(reach - share * ROAM_MM) for share in (0.75, 0.5)) < 1.0
  # a point half a pixel beyond the edge of one picture counts
  camera = scene.cameras[0]
  ray = np.linalg.inv(camera.K) @ np.array([64.0, 30.0, 1.0]) * 7000.0
  points = np.tile(camera_to_world(ray[None], camera), (1, len(POINTS), 1))
  axes = np.eye(3)[None]
  alone = dataclasses.replace(scene, cameras=(camera,))
  assert generator.count_unseen(Pose(points, axes, axes, axes), alone) == len(POINTS)


def test_a_performer_wears_the_same_everywhere_and_is_as_thick_as_tall():
  small, tall, other = (
    generator.build_subject(0, name, height)
    for name, height in (("01", 1600.0), ("01", 1800.0), ("02", 1600.0))
  )
  np.testing.assert_array_equal(small.materials.front, tall.materials.front)
  assert tall.girth / small.girth == pytest.approx(1800 / 1600)
  assert np.abs(small.materials.front - other.materials.front).max() > 0.05


def test_a_changed_folder_is_not_taken_for_the_old_one(folder, tmp_path):
  motion = tmp_path / "motion"
  for path in sorted(folder.rglob("*.bvh"))[:3]:
    (motion / path.name).parent.mkdir(exist_ok=True)
    (motion / path.name).write_bytes(path.read_bytes())
  sizes = {"path": str(motion), "views": 1, "images": 40}
  first = registry.prepare_dataset("mocap_people", "tiny", tmp_path / "out", **sizes)
  assert registry.prepare_dataset("mocap_people", "tiny", tmp_path / "out", **sizes) == first
  write_walk(motion / "01_01_kick.bvh", 1.0, 60)
  with pytest.raises(ValueError, match="was built with options"):
    registry.prepare_dataset("mocap_people", "tiny", tmp_path / "out", **sizes)


def test_no_folder_and_an_empty_one_are_said(tmp_path):
  with pytest.raises(ValueError, match="name the folder of the motion capture"):
    prepare(MocapPeople, tmp_path / "out", config="tiny")
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="holds no motion capture"):
    registry.prepare_dataset("mocap_people", "tiny", tmp_path, path=str(tmp_path / "empty"))
  result = run_job("run", "--config=configs/dsl.py:mocap_people", f"--data_root={tmp_path}")
  assert result.returncode == 1
  assert "--config.data.path=DIR" in result.stderr
  assert "Traceback" not in result.stderr


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"passes": 0}, {"unit_mm": -1.0}])
def test_options_must_make_sense(wrong):
  with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
    generator.Options(**wrong)


def test_the_configuration_differs_from_the_embedded_people_s_in_data_and_distances():
  motion, embedded = dsl.get_config("mocap_people"), dsl.get_config("synthetic_people")
  assert motion.data.source == "mocap_people"
  differing = {key for key in motion if motion[key] != embedded[key]}
  assert differing == {"name", "data", "sampling"}
  s = motion.sampling
  assert (s.unit, s.near_max, s.far_min, s.far_max) == ("s", 0.17, 0.5, 0.85)
