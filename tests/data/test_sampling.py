"""Samplers against a plain enumeration of everything that is allowed."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import make_index

from jaxpose.data.clock import make_clock, pick, uniform
from jaxpose.data.sampling import (
  build_quadruples,
  build_triplets,
  choose_sequences,
  evenly_spread,
  sample_quadruples,
  sample_triplets,
  unused_tracks,
)

# sub-sampled, with gaps, of unequal lengths; the third is too short for most distances
TRACKS = (
  [5, 6, 7, 9, 10, 14, 15, 16, 17, 25, 26, 27],
  [0, 4, 8, 12, 16, 20, 24, 30],
  [100, 101, 102],
  [3, 40, 41, 43, 60],
)


def enumerate_triplets(tracks, near_max, far_min, far_max):
  """All (reference, near, intermediate, far) ids, by four nested loops."""
  found = set()
  first = 0
  for track in tracks:
    for r, n, i, f in itertools.product(range(len(track)), repeat=4):
      near = abs(track[n] - track[r])
      between, far = track[i] - track[r], track[f] - track[r]
      if (
        1 <= near <= near_max
        and far_min <= abs(far) <= far_max
        and between * far > 0
        and near < abs(between) < abs(far)
      ):
        found.add((first + r, first + n, first + i, first + f))
    first += len(track)
  return found


@pytest.mark.parametrize(
  ("near_max", "far_min", "far_max"),
  [(1, 5, 12), (4, 6, 100), (3, 18, 100), (10, 8, 20), (2, 3, 3), (50, 2, 100)],
)
def test_triplets_are_exactly_those_allowed(near_max, far_min, far_max):
  allowed = enumerate_triplets(TRACKS, near_max, far_min, far_max)
  index = make_index(TRACKS)
  table = build_triplets(
    index, near_max=near_max, far_min=far_min, far_max=None if far_max == 100 else far_max
  )
  assert set(table.references.tolist()) == {r for r, _, _, _ in allowed}
  drawn = sample_triplets(table, 3, np.arange(300_000 if near_max == 50 else 150_000))
  assert {tuple(row) for row in drawn.tolist()} == allowed


def test_a_second_far_frame_is_any_of_the_others():
  table = build_triplets(make_index(TRACKS), near_max=4, far_min=6)
  examples = np.arange(60_000)
  plain = sample_triplets(table, 3, examples)
  drawn = sample_triplets(table, 3, examples, second_far=True)
  np.testing.assert_array_equal(drawn[:, [0, 1, 3]], plain[:, [0, 1, 3]])
  far = {(r, n): set() for r, n, _, _ in plain.tolist()}
  second = {key: set() for key in far}
  for r, n, s, f in drawn.tolist():
    far[r, n].add(f)
    second[r, n].add(s)
  assert second == far
  # the same only where there is no other, else each pair as often
  choices = np.array([len(far[r, n]) for r, n in drawn[:, :2].tolist()])
  np.testing.assert_array_equal(drawn[:, 2] == drawn[:, 3], choices == 1)
  assert (choices == 1).any()
  (r, n), times = Counter(map(tuple, drawn[choices > 2, :2].tolist())).most_common(1)[0]
  pairs = drawn[(drawn[:, :2] == (r, n)).all(axis=1), 2:]
  k = len(far[r, n])
  counts = np.unique(pairs, axis=0, return_counts=True)[1]
  assert len(counts) == k * (k - 1)
  np.testing.assert_allclose(counts, times / len(counts), rtol=6 * np.sqrt(len(counts) / times))


@settings(max_examples=60, deadline=None)
@given(
  st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=9), min_size=1, max_size=4),
  st.integers(1, 12),
  st.integers(2, 20),
  st.integers(0, 20),
)
def test_triplets_of_any_index(tracks, near_max, far_min, extra):
  tracks = [sorted(track) for track in tracks]
  allowed = enumerate_triplets(tracks, near_max, far_min, far_min + extra)
  arguments = {"near_max": near_max, "far_min": far_min, "far_max": far_min + extra}
  if not allowed:
    with pytest.raises(ValueError, match="no frame has partners"):
      build_triplets(make_index(tracks), **arguments)
    return
  table = build_triplets(make_index(tracks), **arguments)
  assert set(table.references.tolist()) == {row[0] for row in allowed}
  drawn = {tuple(row) for row in sample_triplets(table, 1, np.arange(400)).tolist()}
  assert drawn <= allowed


def test_each_choice_is_uniform():
  # Reference 6 of one long track: near one of 4, 5, 7, 8; far 10.. on the right or 2.. on the left.
  track = list(range(13))
  table = build_triplets(make_index([track]), near_max=2, far_min=4)
  drawn = sample_triplets(table, 11, np.arange(200_000))
  count = Counter(drawn[:, 0].tolist())
  expected = 200_000 / len(table.references)
  assert all(abs(n - expected) < 6 * expected**0.5 for n in count.values())
  rows = drawn[drawn[:, 0] == 6]
  near = Counter(rows[:, 1].tolist())
  assert set(near) == {4, 5, 7, 8}
  assert all(abs(n - len(rows) / 4) < 6 * len(rows) ** 0.5 for n in near.values())
  far = Counter(rows[:, 3].tolist())
  assert set(far) == {0, 1, 2, 10, 11, 12}
  assert all(abs(n - len(rows) / 6) < 6 * len(rows) ** 0.5 for n in far.values())
  rows = rows[(rows[:, 3] == 12) & (rows[:, 1] == 7)]  # intermediate: 8, 9, 10, 11
  between = Counter(rows[:, 2].tolist())
  assert set(between) == {8, 9, 10, 11}
  assert all(abs(n - len(rows) / 4) < 6 * len(rows) ** 0.5 for n in between.values())
  assert abs((drawn[:, 3] > drawn[:, 0]).mean() - 0.5) < 0.01  # the future as often as the past


def test_an_example_is_the_same_however_the_batch_is_split():
  table = build_triplets(make_index(TRACKS), near_max=4, far_min=6)
  whole = sample_triplets(table, 9, np.arange(1000))
  parts = [sample_triplets(table, 9, np.arange(i, i + 10)) for i in range(0, 1000, 10)]
  np.testing.assert_array_equal(whole, np.concatenate(parts))
  order = np.random.default_rng(0).permutation(1000)
  np.testing.assert_array_equal(sample_triplets(table, 9, order), whole[order])
  assert (sample_triplets(table, 10, np.arange(1000)) != whole).any()


def test_distances_in_seconds():
  # 50 frames/s: 0.1 s are 5 frames, 0.5 s are 25; times are stored as rounded float32
  track = list(range(0, 90, 1))
  index = make_index([track], fps=50.0)
  table = build_triplets(index, near_max=0.1, far_min=0.5, unit="s")
  same = build_triplets(make_index([track]), near_max=5, far_min=25)
  np.testing.assert_array_equal(table.references, same.references)
  examples = np.arange(500)
  np.testing.assert_array_equal(
    sample_triplets(table, 2, examples), sample_triplets(same, 2, examples)
  )
  elapsed = table.clock.elapsed(np.array([[10, 12, 30, 5]]))
  np.testing.assert_allclose(elapsed, [[0, 0.04, 0.4, -0.1]], atol=1e-6)
  np.testing.assert_array_equal(same.clock.elapsed(np.array([[10, 12, 5]])), [[0, 2, -5]])


def test_too_short_tracks_are_an_error_that_says_so():
  with pytest.raises(ValueError, match=r"far_min 50 .* 4 tracks are 58, 31, 23, 3 frames long"):
    build_triplets(make_index(TRACKS), near_max=1, far_min=50)
  with pytest.raises(ValueError, match=r"are 2\.241, 1\.201 s long"):
    build_triplets(
      make_index([range(0, 57, 28), range(0, 31, 15)]), near_max=1, far_min=9, unit="s"
    )
  table = build_triplets(make_index(TRACKS), near_max=4, far_min=6)
  np.testing.assert_array_equal(unused_tracks(table), [2])


@pytest.mark.parametrize(
  "wrong",
  [
    {"near_max": 0, "far_min": 5},
    {"near_max": 3, "far_min": 1},
    {"near_max": 3, "far_min": 9, "far_max": 8},
    {"near_max": 3, "far_min": 9, "unit": "minutes"},
  ],
)
def test_contradicting_distances_are_errors(wrong):
  with pytest.raises(ValueError):
    build_triplets(make_index(TRACKS), **wrong)


def test_frames_closer_than_a_millisecond_cannot_be_told_apart_in_seconds():
  with pytest.raises(ValueError, match="count distances in frames"):
    build_triplets(make_index([range(50)], fps=4000.0), near_max=0.001, far_min=0.005, unit="s")


def test_only_the_chosen_sequences_give_references():
  table = build_triplets(make_index(TRACKS), near_max=4, far_min=6, sequences=np.array([1, 3]))
  assert set(table.clock.index.track_of(table.references)) <= {1, 3}
  assert len(table.references) > 0


# falling: ids 2..8 and 10..14 of the first track, all of the second from 3 on
FALLING_TRACKS = ([0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13, 14, 15, 16], [0, 2, 4, 6, 8, 10, 12, 14])
FALLING = (
  [False, False, True, True, True, True, True, True, True, False, True, True, True, True, True],
  [False, False, False, True, True, True, True, True],
)


def enumerate_quadruples(tracks, falling, low, high):
  found = set()
  first = 0
  for track, fall in zip(tracks, falling):
    place = {frame: i for i, frame in enumerate(track)}
    for i, spacing in itertools.product(range(len(track)), range(low, high + 1)):
      rows = [place.get(track[i] + k * spacing) for k in range(4)]
      if None not in rows and all(fall[rows[0] : rows[3] + 1]):
        found.add(tuple(first + row for row in rows))
    first += len(track)
  return found


@pytest.mark.parametrize(("low", "high"), [(1, 3), (1, 1), (2, 2), (2, 9)])
def test_quadruples_are_exactly_those_allowed(low, high):
  allowed = enumerate_quadruples(FALLING_TRACKS, FALLING, low, high)
  assert allowed
  index = make_index(FALLING_TRACKS, falling=FALLING)
  table = build_quadruples(index, spacing_min=low, spacing_max=high)
  drawn = sample_quadruples(table, 4, np.arange(20_000))
  assert {tuple(row) for row in drawn.tolist()} == allowed


def test_a_fall_ends_with_its_track():
  # the end of one track and the beginning of the next are neighbours among the ids
  tracks = ([0, 1], [2, 3, 4])
  index = make_index(tracks, falling=([True] * 2, [True] * 3))
  with pytest.raises(ValueError, match="no four falling frames 1 to 2 frames apart: 5 frames"):
    build_quadruples(index, spacing_min=1, spacing_max=2)
  with pytest.raises(ValueError, match="0 frames are marked"):
    build_quadruples(make_index(tracks), spacing_min=1, spacing_max=2)


def test_spacings_are_equally_likely_and_may_count_seconds():
  index = make_index([range(40)], falling=[[True] * 40], fps=10.0)
  table = build_quadruples(index, spacing_min=0.2, spacing_max=0.4, unit="s")
  drawn = sample_quadruples(table, 8, np.arange(30_000))
  spacing = Counter((drawn[:, 1] - drawn[:, 0]).tolist())
  assert set(spacing) == {2, 3, 4}
  assert all(abs(n - 10_000) < 600 for n in spacing.values())


def test_clock_seeks_within_its_track_only():
  clock = make_clock(make_index(TRACKS), "frames")
  for track, frames in enumerate(TRACKS):
    first = sum(len(t) for t in TRACKS[:track])
    for tick in range(-200, 300, 7):
      for side in ("left", "right"):
        found = clock.seek(np.array([track]), np.array([tick]), side)[0]
        assert found == first + np.searchsorted(frames, tick, side)


def test_uniform_numbers_are_uniform_and_independent():
  examples = np.arange(100_000)
  a, b, c = uniform(1, 0, examples), uniform(1, 1, examples), uniform(2, 0, examples)
  for u in (a, b, c):
    counts = np.histogram(u, 50, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 100  # chi-square, 49 degrees of freedom
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02
  assert abs(np.corrcoef(a, b)[0, 1]) < 0.02
  assert abs(np.corrcoef(a, c)[0, 1]) < 0.02
  assert a.min() >= 0
  assert a.max() < 1
  np.testing.assert_array_equal(
    pick(np.array([0.0, 0.49, 0.999999]), np.array([3, 3, 3])), [0, 1, 2]
  )


def test_evenly_spread_values_hold_the_first_and_the_last():
  np.testing.assert_array_equal(evenly_spread(np.arange(5, 15), 4), [5, 8, 11, 14])
  np.testing.assert_array_equal(evenly_spread(np.array([[1, 2], [3, 4]]), 9), [[1, 2], [3, 4]])
  np.testing.assert_array_equal(evenly_spread(np.arange(5, 15), 1), [5])
  assert len(evenly_spread(np.arange(0), 3)) == 0


def test_a_larger_share_of_the_sequences_holds_the_smaller():
  index = make_index([range(4)] * 20)
  small, large = choose_sequences(index, 0.2, 7), choose_sequences(index, 0.5, 7)
  assert (len(small), len(large)) == (4, 10)
  assert set(small) < set(large)
  assert len(choose_sequences(index, 0.0, 7)) == 1
  assert set(choose_sequences(index, 0.5, 8)) != set(large)
  with pytest.raises(ValueError):
    choose_sequences(index, 1.5, 7)
