"""The clock and the random numbers against plain arithmetic."""

import numpy as np
import pytest
from tiny_data import make_index

from jaxpose.data.clock import make_clock, pick, uniform

WORD = 1 << 64
# sub-sampled, from different first frames, one of a single frame
TRACKS = ([5, 6, 9, 14], [100], [0, 40, 41])


def splitmix(state):
  """The first output of SplitMix64 from a state, in whole numbers."""
  z = (state + 0x9E3779B97F4A7C15) % WORD
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
  return z ^ (z >> 31)


def expected_uniform(seed, stream, example):
  mixed = splitmix(splitmix(splitmix(seed % WORD) ^ (stream + 1)) ^ example)
  return (mixed >> 11) / 2**53


def test_the_generator_of_this_test_is_splitmix64():
  assert splitmix(1234567) == 6457827717110365317  # published with the algorithm


@pytest.mark.parametrize("seed", [0, 3, -1, 2**63 + 5])
def test_uniform_numbers_are_the_same_for_ever(seed):
  # checkpoints rely on it: the draws of a step follow from its number alone
  examples = np.array([0, 1, 77, 2**40])
  for stream in (0, 30):
    expected = [expected_uniform(seed, stream, int(example)) for example in examples]
    np.testing.assert_array_equal(uniform(seed, stream, examples), expected)


def test_pick_spans_its_range():
  last = 1 - 2.0**-53
  np.testing.assert_array_equal(
    pick(np.array([0.0, 0.24, 0.25, last, last]), np.array([4, 4, 4, 4, 1])), [0, 0, 1, 3, 0]
  )
  np.testing.assert_array_equal(pick(np.array([0.0, 0.6, last]), 5), [0, 3, 4])
  np.testing.assert_array_equal(pick(np.array([0.0, last]), 0), [0, 0])  # nothing to pick from


def test_ticks_are_frames_or_milliseconds():
  index = make_index(TRACKS, fps=25.0)
  ids = np.array([3, 4, 6])  # frames 14, 100, 40
  np.testing.assert_array_equal(make_clock(index, "frames").ticks(ids), [14, 100, 40])
  np.testing.assert_array_equal(make_clock(index, "s").ticks(ids), [560, 4000, 1600])
  with pytest.raises(ValueError, match=r"'frames', 's'.*'ms'"):
    make_clock(index, "ms")


def test_distances_include_their_ends_in_frames():
  clock = make_clock(make_index(TRACKS), "frames")
  assert [clock.at_most(d) for d in (3, 3.9, 3 - 1e-9)] == [3, 3, 3]
  assert [clock.at_least(d) for d in (3, 3.1, 3 + 1e-9)] == [3, 4, 3]


def test_distances_in_seconds_allow_a_millisecond_of_rounding():
  clock = make_clock(make_index(TRACKS), "s")
  assert [clock.at_most(d) for d in (0.1, 0.1234, 0.1 - 1e-12)] == [101, 124, 101]
  assert [clock.at_least(d) for d in (0.1, 0.1234, 0.1 + 1e-12)] == [99, 123, 99]


@pytest.mark.parametrize("unit", ["frames", "s"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_seek_is_searchsorted_within_a_track(unit, side):
  scale = 1 if unit == "frames" else 40  # 25 frames/s
  clock = make_clock(make_index(TRACKS), unit)
  ticks = [-(10**12), *range(-3, 105), 10**12]
  first = 0
  for track, frames in enumerate(TRACKS):
    expected = first + np.searchsorted(scale * np.array(frames), scale * np.array(ticks), side)
    found = clock.seek(np.full(len(ticks), track), scale * np.array(ticks), side)
    np.testing.assert_array_equal(found, expected)
    first += len(frames)


def test_seek_between_ticks_of_a_frame():
  # frames at 200, 240, 360, 560 ms
  clock = make_clock(make_index(TRACKS), "s")
  found = clock.seek(np.zeros(4, int), np.array([239, 240, 241, 561]), "left")
  np.testing.assert_array_equal(found, [1, 1, 2, 4])


def test_elapsed_time_counts_from_the_first_of_a_row():
  index = make_index(TRACKS, fps=25.0)
  ids = np.array([[1, 0, 3], [6, 5, 7]])  # frames 6, 5, 14 and 40, 0, 41
  frames = make_clock(index, "frames").elapsed(ids)
  np.testing.assert_array_equal(frames, [[0, -1, 8], [0, -40, 1]])
  assert frames.dtype == np.float32
  seconds = make_clock(index, "s").elapsed(ids)
  np.testing.assert_allclose(seconds, [[0, -0.04, 0.32], [0, -1.6, 0.04]], atol=1e-6)


def test_a_millisecond_is_the_least_difference_in_seconds():
  make_clock(make_index([range(5)], fps=1000.0), "s")
  with pytest.raises(ValueError, match="closer than 1/1000 s"):
    make_clock(make_index([range(5)], fps=2500.0), "s")
  make_clock(make_index([range(5)], fps=2500.0), "frames")
