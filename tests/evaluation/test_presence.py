import numpy as np
import pytest

from jaxpose.evaluation import presence
from jaxpose.evaluation.presence import calibrate_presence, estimate_presence

NOISE = 20.0  # background error of an empty frame
PERSON = 400.0  # what a near person adds to it
SHARE = 0.8  # of that, what the network explains


def room(count, seed, person=PERSON, share=SHARE, noise=NOISE, unexplained=1.0, ghost=0.0):
  """Frames of one kind: gain = share · person ± unexplained, error = noise + person + ghost.

  Returns:
    [2, count]: gain and background error; people vary by a factor of e^±0.1, noise by 5 %.
  """
  rng = np.random.default_rng(seed)
  body = person * np.exp(rng.normal(0, 0.1, count))
  gain = share * body + rng.normal(0, unexplained, count)
  return np.stack([gain, noise * rng.normal(1, 0.05, count) + body + ghost])


def empty(count, seed, **changes):
  return room(count, seed, **{"person": 0.0, **changes})


def seen(frames, calibration):
  return estimate_presence(frames[0], calibration) >= 0.5


def both(*groups):
  return np.concatenate(groups, axis=1)


@pytest.mark.parametrize(("people", "vacant"), [(1500, 15), (1500, 300), (300, 1500), (25, 1500)])
def test_two_groups_are_told_apart(people, vacant):
  calibration = calibrate_presence(*both(room(people, 0), empty(vacant, 1)))
  assert calibration.two_sided == 1
  for seed in (0, 2):  # the frames themselves, and others
    assert seen(room(people, seed), calibration).mean() > 0.99
    assert seen(empty(vacant, seed + 1), calibration).mean() < 0.01


@pytest.mark.parametrize("painted", [4.0, -10.0])
def test_a_ghost_in_the_background_is_nobody(painted):
  # A ghost of 8 is painted half: gain 4 of 28, against 320 of 420. Painted where there is nothing:
  # gain -10.
  vacant = empty(300, 1, ghost=8.0) + [[painted], [0]]
  calibration = calibrate_presence(*both(room(900, 0), vacant))
  assert calibration.two_sided == 1
  assert not seen(vacant, calibration).any()
  assert seen(room(900, 2), calibration).all()


def test_a_person_in_strong_noise():
  # A gain of 320 among 2,400, empty frames gain 0 ± 10 among 2,000.
  noisy = {"noise": 2000.0, "unexplained": 10.0}
  calibration = calibrate_presence(*both(room(900, 0, **noisy), empty(300, 1, **noisy)))
  assert calibration.two_sided == 1
  assert seen(room(900, 2, **noisy), calibration).mean() > 0.99
  assert seen(empty(300, 3, **noisy), calibration).mean() < 0.01


# What a second group of frames must not have to be taken for empty, and the rule that says so. Gain
# and error of the first group: 320 and 420.
NEVER_EMPTY = {
  # gain 107 of 153: a third, and as large a share
  "other_clothes": ("", {"person": PERSON / 3}),
  # gain 47 of 153: 0.15 of 320 and too much, 0.4 of the share, error 267 lower
  "other_clothes_badly_drawn": ("_EMPTY_GAIN", {"person": PERSON / 3, "share": 0.35}),
  # gain 16 of 22: 0.05 of 320, but the share 0.73 is like the 0.76; error 398 lower
  "far": ("_EMPTY_SHARE", {"person": 20.0, "noise": 2.0, "unexplained": 0.1}),
  # gain 24 of 420: 0.075 of 320 and of its share, but the error stays
  "badly_drawn": ("_LEAST_FALL", {"share": 0.06}),
}


@pytest.mark.parametrize("case", NEVER_EMPTY)
@pytest.mark.parametrize("others", [60, 300, 1500])
def test_two_kinds_of_people_are_no_empty_room(case, others, monkeypatch):
  rule, kind = NEVER_EMPTY[case]
  frames = both(room(900, 0), room(others, 1, **kind))
  calibration = calibrate_presence(*frames)
  assert calibration.two_sided == 0
  assert seen(frames, calibration).all()
  assert not seen(empty(100, 2), calibration).any()
  # they are two groups, which that rule alone, or more than one, keeps from being taken for empty
  for name in [rule] if rule else ["_EMPTY_GAIN", "_EMPTY_SHARE"]:
    monkeypatch.setattr(presence, name, -np.inf if name == "_LEAST_FALL" else np.inf)
  loosened = calibrate_presence(*frames)
  assert loosened.two_sided == 1
  assert not seen(room(others, 1, **kind), loosened).any()


def test_a_few_empty_frames_beside_two_kinds_of_people():
  people = both(room(900, 0), room(600, 1, person=PERSON / 3))
  calibration = calibrate_presence(*both(people, empty(45, 2)))
  assert calibration.two_sided == 1
  assert seen(people, calibration).all()
  assert not seen(empty(45, 2), calibration).any()


def test_without_empty_training_frames_all_are_present_and_an_empty_one_is_not():
  calibration = calibrate_presence(*room(1500, 2))
  assert calibration.two_sided == 0
  assert seen(room(1500, 2), calibration).all()
  assert not seen(empty(200, 3), calibration).any()


@pytest.mark.parametrize("unexplained", [0.2, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_one_group(unexplained, seed):
  # 0.2 or 1 of 20: gains of either sign, of which none is a person's and none an empty room's
  frames = empty(600, seed, unexplained=unexplained)
  calibration = calibrate_presence(*frames)
  assert calibration.two_sided == 0
  assert seen(frames, calibration).all()


def test_a_scaled_error_gives_the_same_presence():
  frames = both(room(500, 4), empty(100, 5))
  first = estimate_presence(frames[0], calibrate_presence(*frames))
  second = estimate_presence(255 * frames[0], calibrate_presence(*(255 * frames)))
  np.testing.assert_allclose(first, second, atol=1e-5)


def test_presence_grows_with_the_gain_and_nan_is_absent():
  frames = both(room(500, 5), empty(100, 6), [[np.nan, 300.0], [400.0, np.nan]])
  calibration = calibrate_presence(*frames)
  assert calibration == calibrate_presence(*frames[:, :-2])
  along = estimate_presence(np.linspace(-100, 500, 50), calibration)
  assert (np.diff(along) >= 0).all()
  assert along[0] < 0.01
  assert along[-1] > 0.99
  assert estimate_presence(np.array([np.nan]), calibration)[0] == 0


def test_a_network_that_draws_nobody_calls_no_frame_empty():
  frames = both(room(200, 6, share=-0.1), empty(100, 7))
  assert seen(frames, calibrate_presence(*frames)).all()


def test_equal_gains_and_nothing_at_all():
  gain = np.full(10, 0.5)
  assert (estimate_presence(gain, calibrate_presence(gain, 2 * gain)) > 0.5).all()
  with pytest.raises(ValueError, match="no finite gain"):
    calibrate_presence(np.array([np.nan]), np.array([1.0]))
