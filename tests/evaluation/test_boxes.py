import cv2
import numpy as np
import pytest

from datasets import rendering
from jaxpose import geometry
from jaxpose.evaluation import boxes


def test_box_metrics_leave_out_empty_frames_and_count_missing_boxes():
  # IoU: equal boxes 1; 10x4 against 5x4 inside it 0.5; missing 0; the last two don't enter
  true = np.array([[0.0, 0, 10, 4]] * 4 + [[np.nan] * 4])
  found = np.array([[0.0, 0, 10, 4], [5, 0, 10, 4], [np.nan] * 4, [0, 0, 10, 4], [0, 0, 10, 4]])
  present = np.array([True, True, True, False, True])
  result = boxes.box_metrics(found, true, present)
  assert result["IoU/frames"] == 3
  np.testing.assert_allclose(result["IoU/median"], 0.5)
  np.testing.assert_allclose(result["IoU/mean"], 0.5)
  np.testing.assert_allclose(result["IoU>=0.5/share"], 2 / 3)
  with pytest.raises(ValueError, match="true box"):
    boxes.box_metrics(found, true, np.zeros(5, bool))


def test_best_constant_box_of_nested_boxes():
  # two thirds of the frames hold a 4x4 box inside a 10x8 one: mean IoU of the small is
  # (2 + 0.2) / 3, of the large (1 + 2 * 0.2) / 3; nothing between does better
  true = np.array([[2.0, 3, 6, 7], [2, 3, 6, 7], [0, 0, 10, 8]])
  np.testing.assert_allclose(boxes.best_constant_box(true), [2, 3, 6, 7], atol=0.1)


def test_best_constant_box_against_all_boxes_of_a_grid():
  rng = np.random.default_rng(0)
  low = rng.integers(0, 8, size=(30, 2))
  true = np.concatenate([low, low + rng.integers(2, 8, size=(30, 2))], axis=1).astype(float)
  sides = np.arange(16)
  grid = np.stack(np.meshgrid(sides, sides, sides, sides, indexing="ij"), -1).reshape(-1, 4)
  grid = grid[(grid[:, 2] > grid[:, 0]) & (grid[:, 3] > grid[:, 1])].astype(float)
  best = max(geometry.box_iou(g[:, None], true).mean(axis=1).max() for g in np.split(grid, 10))
  found = geometry.box_iou(boxes.best_constant_box(true)[None], true).mean()
  assert found >= best - 0.001  # a local search: another hill may be higher by a hair


def test_best_constant_box_ignores_empty_frames():
  true = np.array([[2.0, 3, 6, 7], [50, 50, 90, 90], [np.nan] * 4])
  box = boxes.best_constant_box(true, np.array([True, False, True]))
  np.testing.assert_allclose(box, [2, 3, 6, 7], atol=0.1)


def test_box_from_background_difference():
  rng = np.random.default_rng(1)
  background = rng.integers(60, 120, size=(60, 80, 3)).astype(np.uint8)
  image = np.clip(background + rng.integers(-4, 5, size=background.shape), 0, 255).astype(np.uint8)
  cv2.rectangle(image, (20, 10), (37, 50), (250, 240, 230), -1)
  cv2.rectangle(image, (70, 50), (74, 54), (250, 0, 0), -1)  # a smaller thing elsewhere
  box = boxes.box_from_background_difference(image, background)
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
  found = boxes.box_from_background_difference(image, background, threshold=80)
  assert geometry.box_iou(found, true[0]) == 1.0


def test_no_box_without_difference():
  rng = np.random.default_rng(2)
  background = rng.integers(0, 255, size=(60, 80, 3)).astype(np.uint8)
  noisy = np.clip(background + rng.normal(0, 3, background.shape), 0, 255).astype(np.uint8)
  assert np.isnan(boxes.box_from_background_difference(noisy, background)).all()


@pytest.mark.usefixtures("unchecked_signatures")
def test_frame_and_background_must_be_alike():
  background = np.zeros((60, 80, 3), np.uint8)
  with pytest.raises(ValueError, match="shape"):
    boxes.box_from_background_difference(background, background[:30])
