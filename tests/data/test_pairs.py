"""Pairs of views against a plain enumeration of everything that is allowed."""

from collections import Counter

import numpy as np
import pytest
from tiny_data import make_index

from jaxpose.data import records
from jaxpose.data.pairs import FLIPPED, SYNCHRONISED, UNSYNCHRONISED, build_pairs, sample_pairs

# sequence 0 has three cameras that miss frames, 1 has one, 2 has two that never overlap
TRACKS = ([0, 1, 2, 5, 9], [1, 2, 3, 9, 12], [2, 8, 9], [0, 1, 2, 3, 4], [0, 1, 2], [20, 24])
SEQUENCES = (0, 0, 0, 1, 2, 2)
ROWS = [(s, c, f) for c, (s, t) in enumerate(zip(SEQUENCES, TRACKS)) for f in t]


def enumerate_pairs(test):
  """(first id, second id) of one sequence, different cameras, whose times pass a test."""
  return {
    (i, j)
    for i, (s, c, f) in enumerate(ROWS)
    for j, (s2, c2, f2) in enumerate(ROWS)
    if s == s2 and c != c2 and test(abs(f - f2))
  }


def draw(table, count=30_000):
  sample = sample_pairs(table, 5, np.arange(count))
  return sample, [tuple(row) for row in sample.ids.tolist()]


def test_pairs_are_exactly_those_allowed():
  index = make_index(TRACKS, sequences=SEQUENCES)
  table = build_pairs(index, gap_min=2, gap_max=7, probabilities=(0.3, 0.5, 0.2))
  sample, ids = draw(table)
  same = enumerate_pairs(lambda gap: gap == 0)
  other = enumerate_pairs(lambda gap: 2 < gap < 7)
  for kind, allowed in ((SYNCHRONISED, same), (UNSYNCHRONISED, other), (FLIPPED, same)):
    found = {row for row, k in zip(ids, sample.kind) if k == kind}
    assert found == allowed
  share = np.bincount(sample.kind) / len(sample.kind)
  np.testing.assert_allclose(share, (0.3, 0.5, 0.2), atol=0.015)


def test_empty_frames_are_in_no_pair():
  index = make_index(TRACKS, sequences=SEQUENCES)
  empty = [i for i, row in enumerate(ROWS) if row[2] == 9]  # of three cameras
  index.present[empty] = records.EMPTY
  sample, ids = draw(build_pairs(index, gap_min=2, gap_max=7, probabilities=(0.4, 0.4, 0.2)))
  same, other = (
    {pair for pair in enumerate_pairs(test) if not {*pair} & {*empty}}
    for test in (lambda gap: gap == 0, lambda gap: 2 < gap < 7)
  )
  assert other
  for kind, allowed in ((SYNCHRONISED, same), (UNSYNCHRONISED, other), (FLIPPED, same)):
    assert {row for row, k in zip(ids, sample.kind) if k == kind} == allowed


def test_one_view_of_a_flipped_pair_is_mirrored():
  index = make_index(TRACKS, sequences=SEQUENCES)
  table = build_pairs(index, gap_min=2, gap_max=7, probabilities=(0.3, 0.5, 0.2))
  sample, _ = draw(table)
  np.testing.assert_array_equal(sample.mirrored >= 0, sample.kind == FLIPPED)
  views = Counter(sample.mirrored[sample.kind == FLIPPED].tolist())
  assert set(views) == {0, 1}
  assert abs(views[0] - views[1]) < 6 * sum(views.values()) ** 0.5


def test_partners_are_equally_likely():
  # one frame in the first camera; the partners lie before and after in two others
  tracks = ([10], [2, 4, 6, 14], [5, 16, 17])
  table = build_pairs(
    make_index(tracks, sequences=(0, 0, 0)), gap_min=3, gap_max=9, probabilities=(0, 1, 0)
  )
  sample, _ = draw(table, 40_000)
  rows = sample.ids[sample.ids[:, 0] == 0]
  count = Counter(rows[:, 1].tolist())
  # gaps 8, 6, 4, 4 and 5, 6, 7
  assert set(count) == {1, 2, 3, 4, 5, 6, 7}
  assert all(abs(n - len(rows) / 7) < 6 * len(rows) ** 0.5 for n in count.values())


def test_gaps_may_count_seconds_and_exclude_their_ends():
  tracks = ([0], list(range(30)))
  table = build_pairs(
    make_index(tracks, sequences=(0, 0), fps=10.0),
    gap_min=0.4,
    gap_max=0.8,
    probabilities=(0, 1, 0),
    unit="s",
  )
  sample, _ = draw(table, 4000)
  rows = sample.ids[sample.ids[:, 0] == 0]
  assert set((rows[:, 1] - 1).tolist()) == {5, 6, 7}


def test_pairs_of_a_single_view_are_of_one_camera():
  index = make_index(TRACKS, sequences=SEQUENCES)
  options = {"gap_min": 2, "gap_max": 7, "probabilities": (0.3, 0.5, 0.2)}
  sample, ids = draw(build_pairs(index, **options, single_view=True))
  same = {(i, i) for i in range(len(ROWS))}
  other = {
    (i, j)
    for i, (s, c, f) in enumerate(ROWS)
    for j, (s2, c2, f2) in enumerate(ROWS)
    if (s, c) == (s2, c2) and 2 < abs(f - f2) < 7
  }
  for kind, allowed in ((SYNCHRONISED, same), (UNSYNCHRONISED, other), (FLIPPED, same)):
    assert {row for row, k in zip(ids, sample.kind) if k == kind} == allowed
  with pytest.raises(ValueError, match="no unsynchronised pairs: 3 of 3 sequences have a camera"):
    build_pairs(index, gap_min=50, gap_max=60, probabilities=(0.3, 0.5, 0.2), single_view=True)


def test_single_views_give_no_pairs():
  with pytest.raises(ValueError, match="no synchronised pairs: 0 of 1 sequences"):
    build_pairs(make_index([range(9)]), gap_min=2, gap_max=7, probabilities=(0.5, 0.5, 0))
  index = make_index(TRACKS, sequences=SEQUENCES)
  with pytest.raises(ValueError, match="no unsynchronised pairs"):
    build_pairs(index, gap_min=50, gap_max=60, probabilities=(0.5, 0.5, 0))
  with pytest.raises(ValueError, match="no flipped pairs"):
    build_pairs(index, gap_min=2, gap_max=7, probabilities=(0, 0, 1), sequences=np.array([1, 2]))
  build_pairs(index, gap_min=50, gap_max=60, probabilities=(0.5, 0, 0.5))


@pytest.mark.parametrize("wrong", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0)])
def test_probabilities_add_up(wrong):
  with pytest.raises(ValueError, match="add up to 1"):
    build_pairs(make_index(TRACKS, sequences=SEQUENCES), gap_min=2, gap_max=7, probabilities=wrong)
