"""The training of a regressor against what can be worked out by hand."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.evaluation import fitting
from jaxpose.evaluation.regressor import Architecture, build_network
from jaxpose.skeleton import Skeleton

_SKELETON = Skeleton("two", ("pelvis", "nose"), (0, 0), (), (0,))
_FEATURES = np.array([[1.0, -2.0, 0.5], [3.0, 1.0, -1.0], [0.5, 4.0, 2.0], [-2.0, 0.0, 1.0]])


def _data(poses, valid):
  return fitting.TrainingData(
    jnp.asarray(_FEATURES, jnp.float32),
    jnp.asarray(poses, jnp.float32),
    jnp.asarray(valid),
    np.zeros(3, np.float32),
    np.ones(3, np.float32),
  )


def _linear(steps, rate, batch_size=8):
  return fitting.FitConfig(Architecture("linear"), steps, batch_size, rate)


def _fit(data, chosen, config, **options):
  return fitting.fit_regressor(
    data,
    np.array(chosen),
    config,
    seed=3,
    skeleton=_SKELETON,
    feature="time_variant",
    **options,
  )


def _weights(regressor):
  dense = regressor.variables["params"]["Dense_0"]
  return np.asarray(dense["kernel"], np.float64), np.asarray(dense["bias"], np.float64)


_POSES = np.zeros((4, 2, 3))
_POSES[:, 1] = [[10, 0, 30], [20, -40, 50], [-60, 70, 0], [5, 15, 25]]
_VALID = np.ones((4, 2), bool)
_STILL = 1e-12  # a learning rate that changes nothing


# --- the data ----------------------------------------------------------------------------------


def test_statistics_are_of_all_frames_and_rows_of_the_labelled_ones():
  features = np.array([[1.0, 5, 1e6], [3, 5, 1e6 + 0.1], [5, 5, 1e6], [7, 5, 1e6]], np.float32)
  poses = np.arange(12.0).reshape(2, 2, 3)
  poses[0, 1] = np.nan
  valid = np.array([[True, False], [True, True]])
  data = fitting.make_training_data(features, np.array([3, 1]), poses, valid)
  # the first: mean 4, deviation √5; the second has none, the third only rounding
  np.testing.assert_allclose(data.feature_mean, [4, 5, 1e6])
  np.testing.assert_allclose(data.feature_std, [np.sqrt(5), 0, 0], rtol=1e-6)
  np.testing.assert_allclose(data.features, [[3 / 5**0.5, 0, 0], [-1 / 5**0.5, 0, 0]], rtol=1e-6)
  np.testing.assert_array_equal(data.poses_mm, [[[0, 1, 2], [0, 0, 0]], [[6, 7, 8], [9, 10, 11]]])
  np.testing.assert_array_equal(data.valid, valid)


def test_poses_are_predicted_from_their_mean_in_units_of_their_deviation():
  regressor = _fit(_data(_POSES, _VALID), [0, 2], _linear(1, _STILL))
  centre = np.array([[0, 0, 0], [-25, 35, 15]])
  # deviations of the nose: ±(35, -35, 15); of the pelvis none, over 12 coordinates
  scale = np.sqrt(2 * (35**2 + 35**2 + 15**2) / 12)
  standard = regressor.standardisation
  np.testing.assert_allclose(standard.pose_mean_mm, centre, rtol=1e-6)
  assert standard.pose_scale_mm == pytest.approx(scale)
  kernel, bias = _weights(regressor)
  expected = (_FEATURES @ kernel + bias).reshape(4, 2, 3) * scale + centre
  np.testing.assert_allclose(
    regressor.predict(_FEATURES.astype(np.float32)), expected, rtol=1e-4, atol=1e-3
  )


def test_unknown_joints_enter_neither_mean_nor_deviation():
  valid = _VALID.copy()
  valid[2, 1] = False
  data = _data(np.where(valid[..., None], _POSES, 0), valid)
  standard = _fit(data, [0, 2, 3], _linear(1, _STILL)).standardisation
  np.testing.assert_allclose(standard.pose_mean_mm[1], [7.5, 7.5, 27.5])
  # of five joints two deviate, by ±(2.5, -7.5, 2.5)
  assert standard.pose_scale_mm == pytest.approx(np.sqrt(2 * (6.25 + 56.25 + 6.25) / 15))


def test_one_pose_has_no_deviation_to_divide_by():
  regressor = _fit(_data(_POSES, _VALID), [1], _linear(1, _STILL))
  np.testing.assert_allclose(regressor.standardisation.pose_mean_mm, _POSES[1])
  assert regressor.standardisation.pose_scale_mm == 1.0


# --- the loss ----------------------------------------------------------------------------------


def _told(data, chosen, config):
  told = []
  regressor = _fit(data, chosen, config, progress=lambda step, loss: told.append((step, loss)))
  return regressor, told


def test_the_loss_is_the_squared_distance_of_valid_joints():
  # two alike in features and validity: whichever is drawn, the loss is that of one of them
  valid = _VALID.copy()
  data = _data(_POSES, valid)
  regressor, told = _told(data, [1], _linear(1, _STILL))
  kernel, bias = _weights(regressor)
  output = (_FEATURES[1] @ kernel + bias).reshape(2, 3)  # the target is 0: the pose is the mean
  assert told == [(1, pytest.approx((output**2).sum() / 2, rel=1e-5))]
  valid[1, 1] = False
  regressor, told = _told(
    _data(np.where(valid[..., None], _POSES, 0), valid), [1], _linear(1, _STILL)
  )
  assert told == [(1, pytest.approx((output[0] ** 2).sum(), rel=1e-5))]


def test_the_loss_is_averaged_over_the_joints_of_the_batch():
  # 3000 draws of frames 0 and 2, of which the second has one valid joint: Σ v e / Σ v
  valid = _VALID.copy()
  valid[2, 0] = False
  regressor, told = _told(_data(_POSES, valid), [0, 2], _linear(1, _STILL, 3000))
  kernel, bias = _weights(regressor)
  standard = regressor.standardisation
  output = (_FEATURES @ kernel + bias).reshape(4, 2, 3)
  target = (_POSES - standard.pose_mean_mm) / standard.pose_scale_mm
  error = ((output - target) ** 2).sum(-1)
  first, second = error[0].sum(), error[2, 1]
  loss = told[0][1]
  # n draws of the first give (n · first + (3000 - n) · second) / (2 n + 3000 - n)
  n = 3000 * (second - loss) / (loss - first + second)
  assert abs(n - 1500) < 5 * np.sqrt(750)
  assert abs(n - round(n)) < 0.1


# --- the updates -------------------------------------------------------------------------------


def test_the_rate_falls_along_half_a_cosine():
  # With small steps the gradient hardly changes, and Adam moves every weight by the rate against
  # its sign: Σ_k rate · (1 + cos(πk/10)) / 2 over k = 0..9 is 5.5 rates.
  data, rate = _data(_POSES, _VALID), 1e-5
  start = _weights(_fit(data, [1], _linear(1, _STILL)))
  end = _weights(_fit(data, [1], _linear(10, rate)))
  output = _FEATURES[1] @ start[0] + start[1]
  np.testing.assert_allclose(end[1] - start[1], -5.5 * rate * np.sign(output), rtol=0.02)
  moved = -5.5 * rate * np.sign(np.outer(_FEATURES[1], output))
  np.testing.assert_allclose(end[0] - start[0], moved, rtol=0.02)


def test_progress_is_told_at_fifths_of_the_updates():
  data = _data(_POSES, _VALID)
  assert [step for step, _ in _told(data, [1, 2], _linear(10, 1e-5))[1]] == [2, 4, 6, 8, 10]
  assert [step for step, _ in _told(data, [1, 2], _linear(3, 0.01))[1]] == [1, 2, 3]


def test_more_labels_compile_nothing_new(monkeypatch):
  traced = []

  def build(*arguments):
    network = build_network(*arguments)

    def apply(*values, **options):
      traced.append(values)
      return network.apply(*values, **options)

    return types.SimpleNamespace(init=network.init, apply=apply)

  monkeypatch.setattr(fitting, "build_network", build)
  data, config = _data(_POSES, _VALID), _linear(2, 0.02)  # of no other test
  _fit(data, [1], config)
  once = len(traced)
  assert once > 0
  _fit(data, [0, 1, 3], config)
  assert len(traced) == once


def test_the_regressor_says_what_it_reads():
  config = _linear(1, _STILL)
  regressor = _fit(_data(_POSES, _VALID), [0, 1], config)
  assert (regressor.skeleton, regressor.feature) == (_SKELETON, "time_variant")
  assert regressor.architecture == config.architecture


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_trainings_that_cannot_be(wrong):
  with pytest.raises(ValueError, match="must be positive"):
    fitting.FitConfig(**wrong)
