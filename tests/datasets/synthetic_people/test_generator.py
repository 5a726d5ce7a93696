"""Sequences: labels that agree with the pictures and with each other, the same bytes every time."""

import dataclasses

import cv2
import numpy as np
import pytest

from datasets.synthetic_people import generator, scene
from datasets.synthetic_people.generator import Options
from jaxpose.data.records import decode_image, decode_mask
from jaxpose.geometry import box_iou, camera_to_world, project
from jaxpose.skeleton import H36M17

SMALL = Options(motions=(4, 2, 2), subjects=(2, 1, 1), frames=6, height=64, width=80, rooms=2)


@pytest.fixture(scope="module")
def sequence():
  return generator.generate_sequence(SMALL, "train", 1)


def test_every_view_has_every_label(sequence):
  assert len(sequence.tracks) == 4
  for track in sequence.tracks:
    assert len(track.images) == len(track.masks) == track.length == 6
    assert decode_image(track.images[0]).shape == track.background.shape == (64, 80, 3)
    assert np.isfinite(track.box_px).all()
    assert track.joint_valid.all()
    assert (track.present == 1).all()
    np.testing.assert_allclose(np.diff(track.time_s), 1 / sequence.fps)


def test_joints_in_pixels_are_the_projected_joints_in_space(sequence):
  for track in sequence.tracks:
    expected = project(track.pose3d_mm.astype(np.float64), track.camera)
    np.testing.assert_allclose(track.pose2d_px, expected, atol=1e-3)


def test_all_views_see_one_person_in_the_world(sequence):
  world = [camera_to_world(t.pose3d_mm.astype(np.float64), t.camera) for t in sequence.tracks]
  for other in world[1:]:
    np.testing.assert_allclose(other, world[0], atol=0.01)
  assert world[0][..., 2].min() > 0
  head = world[0][:, H36M17.joints.index("head_top"), 2]
  assert (head > world[0][:, 0, 2]).all()


def test_box_is_the_tight_box_of_the_mask_and_holds_the_joints(sequence):
  for track in sequence.tracks:
    for mask_file, box, joints in zip(track.masks, track.box_px, track.pose2d_px):
      x, y, width, height = cv2.boundingRect(decode_mask(mask_file))
      np.testing.assert_array_equal(box, [x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])
      assert (joints >= box[:2] - 1).all()
      assert (joints <= box[2:] + 1).all()


def test_pictures_differ_from_the_background_where_the_person_is(sequence):
  for track in sequence.tracks:
    empty = cv2.GaussianBlur(track.background, (3, 3), 0).astype(float)
    for file, mask_file, joints in zip(track.images, track.masks, track.pose2d_px):
      image = cv2.GaussianBlur(decode_image(file), (3, 3), 0).astype(float)
      change = np.abs(image - empty).max(axis=-1)
      mask = decode_mask(mask_file) > 0
      far = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) == 0
      assert change[mask].mean() > 25
      assert change[far].mean() < 6
      ankles = joints[[3, 6], 1]
      assert np.nonzero(mask)[0].max() >= ankles.min() - 1


def test_sequences_hold_as_many_actions_as_asked_for():
  options = dataclasses.replace(SMALL, frames=36, actions=3, diving_share=0.0)
  one = dataclasses.replace(options, actions=1)
  several, single = (generator.generate_sequence(o, "train", 1) for o in (options, one))
  assert several.tracks[0].length == single.tracks[0].length == 36
  assert several.action == single.action  # that of the first
  assert np.abs(several.tracks[0].pose3d_mm - single.tracks[0].pose3d_mm).max() > 100
  with pytest.raises(ValueError, match="36 frames cannot be shared out among 5 actions"):
    dataclasses.replace(options, actions=5)


def test_left_shoe_is_light_and_right_shoe_dark():
  light = {"left": [], "right": []}
  options = dataclasses.replace(SMALL, height=128, width=128, noise=0.0, frames=3)
  for number in range(4):
    for track in generator.generate_sequence(options, "train", number).tracks:
      for file, joints in zip(track.images, track.pose2d_px):
        image = decode_image(file).max(axis=-1)
        for side, joint in (("right", 3), ("left", 6)):
          x, y = np.round(joints[joint]).astype(int)
          light[side].append(image[y + 2, x])
  assert np.median(light["left"]) > np.median(light["right"]) + 60


def test_same_options_same_bytes_and_other_seed_other_bytes(sequence):
  again = generator.generate_sequence(SMALL, "train", 1)
  assert again.tracks[2].images == sequence.tracks[2].images
  other = generator.generate_sequence(dataclasses.replace(SMALL, seed=1), "train", 1)
  assert other.tracks[2].images != sequence.tracks[2].images
  test = generator.generate_sequence(SMALL, "test", 1)
  assert test.tracks[2].images != sequence.tracks[2].images


def test_worker_processes_change_neither_order_nor_bytes():
  here = list(generator.generate_split(SMALL, "validation", workers=0))
  there = list(generator.generate_split(SMALL, "validation", workers=2))
  assert [s.name for s in there] == [s.name for s in here]
  assert [s.tracks[3].images for s in there] == [s.tracks[3].images for s in here]


def test_best_constant_box_is_poor():
  options = Options(frames=2, noise=0.0, views=2, rooms=3)
  boxes = np.concatenate(
    [t.box_px for n in range(24) for t in generator.generate_sequence(options, "test", n).tracks]
  )
  best = 0.0
  for scale in (0.8, 1.0, 1.3, 1.7):  # about the median box, larger and smaller
    middle = np.median(boxes, axis=0)
    centre, half = (middle[:2] + middle[2:]) / 2, scale * (middle[2:] - middle[:2]) / 2
    constant = np.concatenate([centre - half, centre + half])
    best = max(best, float(box_iou(boxes, constant[None]).mean()))
  assert best < 0.33
  assert (boxes[:, 3] - boxes[:, 1]).min() > 15


def test_share_of_dives_and_who_is_where():
  options = dataclasses.replace(SMALL, motions=(20, 2, 2), diving_share=0.2, frames=2, views=1)
  actions = [generator.generate_sequence(options, "train", n).action for n in range(20)]
  assert actions.count("diving") == 4
  every = dataclasses.replace(options, diving_share=1.0, frames=30)
  dive = generator.generate_sequence(every, "train", 0)
  assert dive.action == "diving"
  assert dive.tracks[0].falling[-1]
  assert not dive.tracks[0].falling[0]
  people = {
    split: {generator.generate_sequence(options, split, n).subject for n in range(2)}
    for split in generator.SPLITS
  }
  assert len(people["train"] | people["validation"] | people["test"]) == 4


def test_floor_map_inverts_the_camera():
  room = scene.build_scene(5, 1, 2, (48, 64), False)
  for camera, floor_xy in zip(room.cameras, room.floor_xy):
    rows, columns = np.nonzero(np.isfinite(floor_xy[..., 0]))
    assert len(rows) > 300
    spots = np.append(floor_xy[rows, columns], np.zeros((len(rows), 1)), axis=1)
    pixels = project(spots @ camera.R.T + camera.t_mm, camera)
    # the mean of four rays lies off the pixel's centre far away, where the floor is foreshortened
    np.testing.assert_allclose(pixels[:, 0], columns, atol=0.2)
    assert np.median(np.abs(pixels[:, 1] - rows)) < 0.02


def test_shadow_darkens_the_floor_under_a_foot_only():
  floor_xy = np.full((3, 4, 2), np.nan, np.float32)
  floor_xy[2] = [[0, 0], [100, 0], [0, 200], [500, 0]]
  images = np.ones((1, 3, 4, 3), np.float32)
  scene.shade_floor(images, floor_xy, np.array([[[0.0, 0, 0], [500.0, 0, 1000.0]]]), 400.0)
  # 1 − h/2 (1 − d²/r²)²: d = 0, 100 and 200 of r = 400; the second spot is above 2 r
  expected = [1 - 0.5, 1 - 0.5 * (15 / 16) ** 2, 1 - 0.5 * (3 / 4) ** 2, 1.0]
  np.testing.assert_allclose(images[0, 2, :, 0], expected, atol=1e-6)
  np.testing.assert_array_equal(images[0, :2], 1.0)


@pytest.mark.parametrize(
  ("changes", "message"), [({"frames": 0}, "frames must be"), ({"motions": (1, 0, 1)}, "motions")]
)
def test_impossible_options_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    Options(**changes)
