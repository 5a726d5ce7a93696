import numpy as np
import pytest

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
