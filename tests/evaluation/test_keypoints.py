"""The probe of 2D keypoints: frames, errors by hand, and the linear layer against least squares."""

import json

import numpy as np
import pytest

from jaxpose.evaluation import fitting, metrics, probe, probe_report, protocols
from jaxpose.evaluation.regressor import Architecture, load_regressor
from jaxpose.evaluation.targets import POSE2D
from jaxpose.skeleton import Skeleton

SKELETON = Skeleton("three", ("pelvis", "left_hip", "nose"), (0, 0, 0), (), (0,))
HEIGHT, WIDTH = 50, 200


def test_errors_are_percentages_of_the_frame():
  target = np.zeros((3, 3, 2)) + 0.5
  predicted = target.copy()
  predicted[0, 0] += [0.018, 0.024]  # 3 %: within both thresholds
  predicted[0, 1] += [0.0, 0.09]  # 9 %
  predicted[1, 0] += [0.6, 0.8]  # 100 %
  predicted[1, 2] = np.nan
  predicted[2] = np.nan
  valid = np.array([[True, True, True], [True, True, False], [False] * 3])
  found = metrics.keypoint_metrics(predicted, target, valid)
  assert found == pytest.approx(
    {
      "2D error/3 joints": ((3 + 9 + 0) / 3 + (100 + 0) / 2) / 2,
      "2D PCK@5%/3 joints": 100 * (2 / 3 + 1 / 2) / 2,
      "2D PCK@10%/3 joints": 100 * (3 / 3 + 1 / 2) / 2,
    }
  )
  with pytest.raises(ValueError, match="no frame with a valid 2D joint"):
    metrics.keypoint_metrics(predicted, target, np.zeros((3, 3), bool))


def split(frames, seed):
  """Keypoints that are a linear function of the features but for noise, in px."""
  rng = np.random.default_rng(seed)
  hidden = rng.normal(size=(frames, 4)) * [1, 2, 3, 4]
  mixing = np.random.default_rng(9).normal(size=(4, 6))
  shares = (hidden @ mixing / 40 + 0.01 * rng.normal(size=(frames, 6))).reshape(frames, 3, 2) + 0.4
  return {
    "time_variant": hidden.astype(np.float32),
    "sequence": np.zeros(frames, int),
    "camera": np.zeros(frames, int),
    "frame": np.arange(frames) + 1000 * seed,
    "sequence_names": np.array(["walk"]),
    "skeleton": np.array(json.dumps(SKELETON.to_dict())),
    "image_size": np.array([HEIGHT, WIDTH]),
    "pose2d_px": (shares * [WIDTH, HEIGHT]).astype(np.float32),
  }


def test_frames_with_a_keypoint_and_a_person_count():
  data = split(5, 0)
  data["pose2d_px"][1] = np.nan
  data["pose2d_px"][2, 1, 0] = np.nan
  data["pose2d_px"][2, 2] = np.nan
  data["joint_valid"] = np.zeros((5, 3), bool)  # of the 3D pose: many frames have 2D joints alone
  data["present"] = np.array([1, 1, -1, 0, -1])
  found = protocols.keypoint_frames(data, in_crop=False)
  np.testing.assert_array_equal(found.rows, [0, 2, 4])
  np.testing.assert_array_equal(found.valid[1], [True, False, False])
  assert found.left_out_empty == 1
  x, y = data["pose2d_px"][4, 2]
  np.testing.assert_allclose(found.poses_mm[2, 2], [x / 200, y / 50], rtol=1e-6)
  np.testing.assert_array_equal(found.poses_mm[1, 1:], np.zeros((2, 2)))
  data["box_px"] = np.tile(np.float32([10, 20, 50, 40]), (5, 1))
  crop = protocols.keypoint_frames(data, in_crop=True)
  np.testing.assert_allclose(crop.poses_mm[2, 2], [(x - 10) / 40, (y - 20) / 20], rtol=1e-4)
  np.testing.assert_array_equal(crop.rows, found.rows)
  del data["pose2d_px"]
  with pytest.raises(ValueError, match="no 2D poses"):
    protocols.keypoint_frames(data, in_crop=False)


def test_the_linear_layer_is_that_of_least_squares(tmp_path):
  train, test = split(300, 1), split(80, 2)
  results, regressor = probe.run_probe(
    {"trained": train},
    {"trained": test},
    label_counts=["all"],
    seeds=[0],
    fit=fitting.FitConfig(Architecture("linear"), 1500, 64, 0.02),
    target=POSE2D,
    directory=tmp_path,
  )
  names = [f"{name}/3 joints" for name in ("2D error", "2D PCK@5%", "2D PCK@10%")]
  goals = [part["pose2d_px"] / [WIDTH, HEIGHT] for part in (train, test)]
  design = [np.column_stack([p["time_variant"], np.ones(len(p["frame"]))]) for p in (train, test)]
  weights = np.linalg.lstsq(design[0], goals[0].reshape(-1, 6), rcond=None)[0]
  best = (design[1] @ weights).reshape(-1, 3, 2)
  expected = 100 * np.linalg.norm(best - goals[1], axis=-1).mean()
  assert 1.0 < expected < 1.6  # two deviations of 0.01: mean distance 0.01 · sqrt(pi / 2)
  np.testing.assert_allclose(results.of("trained", 300, names[0]), expected, rtol=0.03)
  mean = 100 * np.linalg.norm(goals[0].mean(0) - goals[1], axis=-1).mean()
  np.testing.assert_allclose(results.of("mean pose", 300, names[0]), mean, rtol=1e-4)
  assert set(results.records[0].metrics) == set(names)
  table = probe_report.markdown_table(results)
  assert "% of the frame, mean" in table
  assert f"| labels | embedding | {' | '.join(names)} | {names[0]} ÷ mean pose |" in table
  share = results.of("trained", 300, names[0])[0]
  assert f"| 300 | trained | {share:.2f} |" in table
  assert f"| {share / mean:.3f} |" in table
  saved = load_regressor(tmp_path / "regressor.npz")
  assert (saved.num_coordinates, regressor.num_coordinates) == (2, 2)
  assert saved.predict(test["time_variant"]).shape == (80, 3, 2)
