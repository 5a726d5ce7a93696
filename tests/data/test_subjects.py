import cv2
import numpy as np
import pytest

from datasets import rendering
from jaxpose import geometry
from jaxpose.data.subjects import box_from_background_difference, labelled_boxes, subject_boxes


def _frames():
  """Two frames of an empty room, and a bright person in the first."""
  background = np.full((2, 60, 80, 3), 40, np.uint8)
  image = background.copy()
  image[0, 10:40, 20:32] = 200
  return {"image": image, "background": background}


def test_boxes_of_subjects_are_the_true_ones_or_those_of_the_difference():
  frames = _frames()
  difference = subject_boxes(frames, "difference")
  own = box_from_background_difference(frames["image"][0], frames["background"][0])
  np.testing.assert_array_equal(difference[0], own)
  assert np.abs(own - [19.5, 9.5, 31.5, 39.5]).max() <= 3
  assert np.isnan(difference[1]).all()
  true = np.array([[1, 2, 3, 4], [np.nan] * 4], np.float32)
  np.testing.assert_array_equal(subject_boxes(frames | {"box_px": true}, "labels"), true)
  # frames that come without the column, as those of a user's video
  np.testing.assert_array_equal(subject_boxes(frames, "labels"), difference)
  np.testing.assert_array_equal(subject_boxes(frames | {"box_px": true}, "difference"), difference)
  with pytest.raises(ValueError, match="labels or difference, not 'detector'"):
    subject_boxes(frames, "detector")


def test_where_nobody_drew_a_box_joints_of_a_person_stand_for_it():
  joints = np.array([[[10, 20], [30, 60], [np.nan, 99]]] * 4, np.float32)
  joints[3, 1, 1] = np.nan
  labels = {
    "box_px": np.array([[1, 2, 3, 4], *[[np.nan] * 4] * 3], np.float32),
    "present": np.array([1, -1, 0, 1]),
    "pose2d_px": joints,
  }
  found = labelled_boxes(labels)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found[:2], [[1, 2, 3, 4], [10, 20, 30, 60]])
  assert np.isnan(found[2:]).all()  # of nobody, and of one joint alone
  np.testing.assert_array_equal(subject_boxes(labels, "labels"), found)
  alone = {"box_px": labels["box_px"]}
  np.testing.assert_array_equal(labelled_boxes(alone), labels["box_px"])


def test_box_from_background_difference():
  rng = np.random.default_rng(1)
  background = rng.integers(60, 120, size=(60, 80, 3)).astype(np.uint8)
  image = np.clip(background + rng.integers(-4, 5, size=background.shape), 0, 255).astype(np.uint8)
  cv2.rectangle(image, (20, 10), (37, 50), (250, 240, 230), -1)
  cv2.rectangle(image, (70, 50), (74, 54), (250, 0, 0), -1)  # a smaller thing elsewhere
  box = box_from_background_difference(image, background)
  assert np.abs(box - [20, 10, 37, 50]).max() <= 3


def test_boxes_of_a_silhouette_agree_with_the_true_one():
  # one person as data sets record it, as a mask, and as a difference: 12 × 30 px, the same box
  coverage = np.zeros((1, 60, 80), np.float32)
  coverage[0, 10:40, 20:32] = 1.0
  drawing = rendering.Drawing(np.zeros((1, 60, 80, 3), np.float32), coverage, (0, 0))
  _, true = rendering.masks_and_boxes(drawing, 60, 80)
  assert geometry.box_iou(geometry.mask_to_corners_px(coverage, 0.5), true)[0] == 1.0
  background = np.full((60, 80, 3), 40, np.uint8)
  image = np.where(coverage[0, :, :, None] > 0, np.uint8(200), background)
  found = box_from_background_difference(image, background, threshold=80)
  assert geometry.box_iou(found, true[0]) == 1.0


def test_no_box_without_difference():
  rng = np.random.default_rng(2)
  background = rng.integers(0, 255, size=(60, 80, 3)).astype(np.uint8)
  noisy = np.clip(background + rng.normal(0, 3, background.shape), 0, 255).astype(np.uint8)
  assert np.isnan(box_from_background_difference(noisy, background)).all()


@pytest.mark.usefixtures("unchecked_signatures")
def test_frame_and_background_must_be_alike():
  background = np.zeros((60, 80, 3), np.uint8)
  with pytest.raises(ValueError, match="shape"):
    box_from_background_difference(background, background[:30])
