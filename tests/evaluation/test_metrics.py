"""Golden numbers on asymmetric poses, invariances, masks."""

import numpy as np
import pytest

from jaxpose import geometry
from jaxpose.evaluation import metrics


def _poses(seed: int, count: int = 5, joints: int = 7) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(seed)
  target = rng.normal(size=(count, joints, 3)) * 300
  predicted = target + rng.normal(size=target.shape) * 80
  return metrics.root_centre(predicted, (0,)), metrics.root_centre(target, (0,))


def test_mpjpe_of_known_distances():
  # distances 0, 5 (3-4-5), 2: mean 7/3; all three moved by (0, 0, 6): 6
  target = np.array([[[0.0, 0, 0], [10, 0, 0], [0, 20, 1]]] * 2)
  predicted = target.copy()
  predicted[0] += [[0, 0, 0], [0, 3, 4], [0, 0, -2]]
  predicted[1] += [0, 0, 6]
  np.testing.assert_allclose(metrics.mpjpe(predicted, target), [7 / 3, 6])


def test_n_mpjpe_uses_the_least_squares_scale():
  # p = (0, (1,0,0), (0,2,0)), g = (0, (3,0,0), (0,2,0)): <p,g> = 7, <p,p> = 5, s = 1.4
  # errors 0, |1.4 - 3| = 1.6, |2.8 - 2| = 0.8: mean 0.8
  predicted = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
  target = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0]])
  np.testing.assert_allclose(metrics.n_mpjpe(predicted, target), 0.8)


def test_p_mpjpe_of_a_planar_figure():
  # Equal shapes but for one joint off the plane would need an SVD by hand; take collinear joints:
  # centred p = -1, 0, 1 on x, centred g = -3, -1, 4 on y (mean removed). One rotation lies them on
  # one line; s = <p,g>/<p,p> = (3 + 0 + 4)/2 = 3.5; errors |-3.5+3|, |0+1|, |3.5-4|: mean 2/3
  predicted = np.array([[9.0, 5, 5], [10, 5, 5], [11, 5, 5]])
  target = np.array([[7.0, -3, 2], [7, -1, 2], [7, 4, 2]])
  np.testing.assert_allclose(metrics.p_mpjpe(predicted, target), 2 / 3)


def test_identity_is_zero():
  _, target = _poses(0)
  for metric in (metrics.mpjpe, metrics.n_mpjpe, metrics.p_mpjpe):
    np.testing.assert_allclose(metric(target, target), np.zeros(5), atol=1e-9)


def test_moved_copies():
  _, target = _poses(1)
  rotation = geometry.rotation_from_axis_angle(np.array([0.4, -1.1, 0.7]))
  moved = 1.7 * target @ rotation.T + np.array([5.0, -80, 300])
  np.testing.assert_allclose(metrics.p_mpjpe(moved, target), 0, atol=1e-9)
  assert (metrics.n_mpjpe(moved, target) > 100).all()  # rotation and shift count there
  np.testing.assert_allclose(metrics.n_mpjpe(0.3 * target, target), 0, atol=1e-9)
  assert (metrics.mpjpe(0.3 * target, target) > 100).all()


def test_a_mirrored_copy_is_not_free():
  _, target = _poses(2)
  mirrored = target * np.array([-1.0, 1, 1])
  assert (metrics.p_mpjpe(mirrored, target) > 50).all()


def test_p_mpjpe_does_not_change_with_a_similarity_of_the_prediction():
  predicted, target = _poses(3)
  rotation = geometry.rotation_from_axis_angle(np.array([1.0, 0.2, -0.5]))
  moved = 0.2 * predicted @ rotation.T - 17
  np.testing.assert_allclose(
    metrics.p_mpjpe(moved, target), metrics.p_mpjpe(predicted, target), rtol=1e-9
  )


@pytest.mark.parametrize("metric", [metrics.mpjpe, metrics.n_mpjpe, metrics.p_mpjpe, metrics.pck])
def test_joints_that_are_not_valid_may_hold_anything(metric):
  predicted, target = _poses(4)
  valid = np.ones((5, 7), bool)
  valid[:, 3] = False
  valid[2, 5] = False
  expected = metric(predicted, target, valid)
  predicted[:, 3] = 1e9
  target[2, 5] = np.nan
  np.testing.assert_allclose(metric(predicted, target, valid), expected)
  kept = [0, 1, 2, 4, 5, 6]
  np.testing.assert_allclose(metric(predicted[:2, kept], target[:2, kept]), expected[:2], rtol=1e-9)


def test_a_pose_without_valid_joints_is_nan():
  predicted, target = _poses(5, count=2)
  valid = np.array([[False] * 7, [True] * 7])
  result = metrics.mpjpe(predicted, target, valid)
  assert np.isnan(result[0])
  np.testing.assert_allclose(result[1], metrics.mpjpe(predicted[1], target[1]))


def test_leading_axes():
  predicted, target = _poses(6, count=6)
  for metric in (metrics.mpjpe, metrics.n_mpjpe, metrics.p_mpjpe, metrics.auc):
    stacked = metric(predicted.reshape(2, 3, 7, 3), target.reshape(2, 3, 7, 3))
    np.testing.assert_allclose(stacked, metric(predicted, target).reshape(2, 3))


def test_pck_and_auc():
  # errors 0, 60, 149, 151: 3 of 4 within 150 mm. At thresholds 0, 5 ... 150: error 0 counts at all
  # 31, 60 at 60..150: 19, 149 at 150: 1, 151 at none
  target = np.zeros((4, 3))
  predicted = np.array([[0.0, 0, 0], [0, 60, 0], [149, 0, 0], [0, 0, 151]])
  assert metrics.pck(predicted, target) == 0.75
  np.testing.assert_allclose(metrics.auc(predicted, target), (31 + 19 + 1) / (4 * 31))


def test_pose_metrics_names_every_variant():
  # Root-centred by the function; per joint errors 0 (root), 3, 6: over 3 joints 3, without root 4.5
  target = np.array([[[100.0, 0, 0], [200, 0, 0], [100, 50, 0]]])
  predicted = np.array([[[0.0, 0, 0], [100, 3, 0], [0, 50, 6]]])
  result = metrics.pose_metrics(predicted, target, root=(0,))
  np.testing.assert_allclose(result["MPJPE/3 joints"], 3)
  np.testing.assert_allclose(result["MPJPE/2 joints without root"], 4.5)
  np.testing.assert_allclose(result["MPJPE/3 joints x3/2"], 4.5)
  assert result["PCK@150mm/3 joints"] == 1
  assert set(result) == {
    *(
      f"{name}/{variant}"
      for name in ("MPJPE", "N-MPJPE", "P-MPJPE")
      for variant in ("3 joints", "2 joints without root", "3 joints x3/2")
    ),
    "PCK@150mm/3 joints",
    "AUC@0-150mm/3 joints",
  }


def test_pose_metrics_with_the_root_between_two_hips():
  # root = mean of joints 0 and 1; a shift of everything is no error
  _, target = _poses(7)
  result = metrics.pose_metrics(target + 55, target, root=(0, 1))
  np.testing.assert_allclose(result["MPJPE/7 joints"], 0, atol=1e-9)
  assert "MPJPE/6 joints without root" not in result


def test_pose_metrics_averages_poses_not_joints():
  # first pose: one valid joint besides the root, error 8, mean 4; second: errors 0, 3, 3: mean 2
  target = np.zeros((3, 3, 3))
  predicted = np.zeros((3, 3, 3))
  predicted[0, 1, 0], predicted[1, 1:, 1] = 8, 3
  valid = np.array([[True, True, False], [True] * 3, [False] * 3])
  result = metrics.pose_metrics(predicted, target, valid, root=(0,))
  np.testing.assert_allclose(result["MPJPE/3 joints"], 3)
  np.testing.assert_allclose(result["MPJPE/2 joints without root"], (8 + 3) / 2)


def test_errors_of_sequences_are_means_over_their_poses():
  # Root-centred targets (0, 0, 4); predictions (0, 3, 4) have s = 16 / 25, and so 0.64 (0, 3, 4) is
  # off by |(0, 1.92, −1.44)| = 2.4 in one of two joints: 1.2. A multiple of the target is off by 0.
  target = np.array([[[7.0, 7, 7], [7, 7, 11]]] * 5)
  predicted = np.array([[[0.0, 0, 0], [0, 3, 4]]] * 5)
  predicted[[1, 3]] = [[9, 9, 9], [9, 9, 21]]
  valid = np.ones((5, 2), bool)
  valid[4] = False
  names = ["b", "b", "a", "a", "a"]
  found = metrics.sequence_errors(predicted, target, valid, names, root=(0,))
  assert found == pytest.approx({"a": 0.6, "b": 0.6})
  found = metrics.sequence_errors(predicted, target, valid, ["b", "c", "c", "c", "d"], root=(0,))
  assert found == pytest.approx({"b": 1.2, "c": 0.4})
  with pytest.raises(ValueError, match="4 names of sequences for 5 poses"):
    metrics.sequence_errors(predicted, target, valid, names[1:], root=(0,))


@pytest.mark.usefixtures("unchecked_signatures")
def test_errors_say_what_is_wrong():
  _, target = _poses(8)
  with pytest.raises(ValueError, match="no pose with a valid joint"):
    metrics.pose_metrics(target, target, np.zeros((5, 7), bool), root=(0,))
  rootless = np.ones((5, 7), bool)
  rootless[1, 0] = False
  with pytest.raises(ValueError, match="root joints"):
    metrics.pose_metrics(target, target, rootless, root=(0,))
  with pytest.raises(ValueError, match="alike"):
    metrics.mpjpe(target[:, :5], target)
