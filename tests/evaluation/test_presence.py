import numpy as np
import pytest

from jaxpose.evaluation.presence import calibrate_presence, estimate_presence


def _gains(people: int, empty: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Reconstruction gains: log-normal where there is a person, about zero (also below) where not."""
  rng = np.random.default_rng(seed)
  gain = np.concatenate([0.03 * np.exp(rng.normal(0, 0.5, people)), rng.normal(0, 0.0003, empty)])
  return gain, np.arange(people + empty) < people


@pytest.mark.parametrize("empty", [20, 300, 1500])
def test_two_groups_are_told_apart(empty):
  gain, person = _gains(1500, empty, seed=0)
  calibration = calibrate_presence(gain)
  assert calibration.two_sided == 1
  test_gain, test_person = _gains(400, 400, seed=1)
  assert ((estimate_presence(test_gain, calibration) >= 0.5) == test_person).mean() > 0.99
  assert ((estimate_presence(gain, calibration) >= 0.5) == person).mean() > 0.99


def test_without_empty_training_frames_all_are_present_and_an_empty_one_is_not():
  gain, _ = _gains(1500, 0, seed=2)
  calibration = calibrate_presence(gain)
  assert calibration.two_sided == 0
  assert (estimate_presence(gain, calibration) >= 0.5).mean() > 0.995
  _, empty = _gains(0, 200, seed=3), np.random.default_rng(3).normal(0, 0.0003, 200)
  assert (estimate_presence(empty, calibration) < 0.5).all()


def test_a_scaled_gain_gives_the_same_presence():
  gain, _ = _gains(500, 100, seed=4)
  first = estimate_presence(gain, calibrate_presence(gain))
  second = estimate_presence(255 * gain, calibrate_presence(255 * gain))
  np.testing.assert_allclose(first, second, atol=1e-5)


def test_presence_grows_with_the_gain_and_nan_is_absent():
  gain, _ = _gains(500, 100, seed=5)
  calibration = calibrate_presence(np.append(gain, np.nan))
  along = estimate_presence(np.linspace(-0.1, 0.2, 50), calibration)
  assert (np.diff(along) >= 0).all()
  assert along[0] < 0.01
  assert along[-1] > 0.99
  assert estimate_presence(np.array([np.nan]), calibration)[0] == 0


def test_a_network_that_draws_nobody_calls_no_frame_empty():
  gain = np.random.default_rng(6).normal(-0.01, 0.001, 300)
  assert (estimate_presence(gain, calibrate_presence(gain)) > 0.5).all()


def test_equal_gains_and_nothing_at_all():
  gain = np.full(10, 0.5)
  assert (estimate_presence(gain, calibrate_presence(gain)) > 0.5).all()
  with pytest.raises(ValueError, match="no finite gain"):
    calibrate_presence(np.array([np.nan]))
