"""Two cameras at two instants against a plain enumeration of everything that is allowed."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from tiny_data import make_index

from jaxpose.data import records, sampling
from jaxpose.data.views import ViewsConfig, build_source_views, build_views, sample_views

# sequence 0 has three cameras that miss frames, 1 has one, 2 has two that never overlap
TRACKS = ([0, 1, 2, 5, 9], [1, 2, 3, 9, 12], [2, 8, 9], [0, 1, 2, 3, 4], [0, 1, 2], [20, 24])
SEQUENCES = (0, 0, 0, 1, 2, 2)
ROWS = [(s, c, f) for c, (s, t) in enumerate(zip(SEQUENCES, TRACKS)) for f in t]
ID = {row: i for i, row in enumerate(ROWS)}


def enumerate_views(test):
  """All (a, b, a later or earlier, b then) whose gap passes a test, as ids."""
  return {
    (ID[s, a, f], ID[s, b, f], ID[s, a, g], ID[s, b, g])
    for s, a, f in ROWS
    for b in range(len(TRACKS))
    for g in range(30)
    if a != b and test(abs(f - g)) and {(s, b, f), (s, a, g), (s, b, g)} <= set(ID)
  }


def draw(table, count=20_000):
  return [tuple(row) for row in sample_views(table, 5, np.arange(count)).tolist()]


@pytest.mark.parametrize(("gap_min", "gap_max"), [(0, 2), (0, None), (1, 8), (2, 8), (6, 9)])
def test_views_are_exactly_those_allowed(gap_min, gap_max):
  index = make_index(TRACKS, sequences=SEQUENCES)
  table = build_views(index, gap_min=gap_min, gap_max=gap_max)
  allowed = enumerate_views(lambda gap: gap_min < gap < (gap_max or 99))
  assert allowed
  assert set(draw(table)) == allowed
  np.testing.assert_array_equal(table.references, sorted({row[0] for row in allowed}))


def test_empty_frames_are_no_views():
  index = make_index(TRACKS, sequences=SEQUENCES)
  allowed = enumerate_views(lambda gap: gap > 1)
  empty = next(iter(sorted(allowed)))[3]
  index.present[empty] = records.EMPTY
  assert set(draw(build_views(index, gap_min=1))) == {row for row in allowed if empty not in row}


def test_tables_made_a_few_frames_at_a_time_are_the_same(monkeypatch):
  index = make_index(TRACKS, sequences=SEQUENCES)
  whole = build_views(index, gap_min=1, gap_max=9)
  monkeypatch.setattr(sampling, "_CHUNK", 4)
  parts = build_views(index, gap_min=1, gap_max=9)
  np.testing.assert_array_equal(parts.references, whole.references)
  np.testing.assert_array_equal(parts.shared, whole.shared)


def test_first_frames_and_then_their_partners_are_equally_likely():
  # frame 9 of the first camera: 3 instants with the second camera, 2 with the third
  tracks = ([0, 2, 4, 9], [0, 2, 4, 9], [2, 4, 9])
  table = build_views(make_index(tracks, sequences=(0, 0, 0)), gap_min=2)
  rows = draw(table)
  first = Counter(row[0] for row in rows)
  assert set(first) == set(table.references.tolist())
  expected = len(rows) / len(first)
  assert all(abs(n - expected) < 6 * expected**0.5 for n in first.values())
  own = Counter(row for row in rows if row[0] == 3)
  assert set(own) == {(3, 7, 0, 4), (3, 7, 1, 5), (3, 7, 2, 6), (3, 10, 1, 8), (3, 10, 2, 9)}
  expected = first[3] / 5
  assert all(abs(n - expected) < 6 * expected**0.5 for n in own.values())


def test_gaps_may_count_seconds_and_exclude_their_ends():
  index = make_index([range(30), range(30)], sequences=(0, 0), fps=10.0)
  table = build_views(index, gap_min=0.4, gap_max=0.8, unit="s")
  ids = sample_views(table, 5, np.arange(4000))
  assert set(np.abs(ids[:, 2] - ids[:, 0]).tolist()) == {5, 6, 7}
  assert set((ids[:, 1] - ids[:, 0]).tolist()) == {30, -30}
  np.testing.assert_array_equal(ids[:, 3] - ids[:, 1], ids[:, 2] - ids[:, 0])


def test_an_example_is_drawn_alike_beside_any_others():
  table = build_views(make_index(TRACKS, sequences=SEQUENCES), gap_min=1)
  whole = sample_views(table, 5, np.arange(50))
  np.testing.assert_array_equal(sample_views(table, 5, np.arange(49, 20, -3)), whole[49:20:-3])
  assert (sample_views(table, 6, np.arange(50)) != whole).any()


def test_only_chosen_sequences_are_drawn_from():
  tracks = (range(9), range(9), range(5), range(5))
  index = make_index(tracks, sequences=(0, 0, 1, 1))
  table = build_views(index, gap_min=1, sequences=np.array([1]))
  assert set(np.unique(draw(table, 500))) == set(range(18, 28))
  assert not table.shared[:18].any()


def test_what_cannot_be_drawn_is_said():
  with pytest.raises(ValueError, match=r"0 of 1 sequences have more than one camera"):
    build_views(make_index([range(9)]), gap_min=2)
  index = make_index(TRACKS, sequences=SEQUENCES)
  with pytest.raises(ValueError, match=r"2 of 3 .* more than 8, less than 99 frames apart"):
    build_views(index, gap_min=8, gap_max=99)
  with pytest.raises(ValueError, match=r"1 of 3 .* more than 1 frames apart"):
    build_views(index, gap_min=1, sequences=np.array([1, 2]))
  for gaps in ((3, 3), (5, 2), (-1, 4)):
    with pytest.raises(ValueError, match="0 <= gap_min < gap_max"):
      build_views(index, gap_min=gaps[0], gap_max=gaps[1])


# --- rotations of a source ---------------------------------------------------------------------


@dataclasses.dataclass
class Described:
  """A data set's index and descriptions."""

  index: object
  sequences: list


@dataclasses.dataclass
class FakeSource:
  """A source of a `Described`."""

  dataset: Described
  chosen: np.ndarray | None = None


def turn(degrees):
  angle = np.radians(degrees)
  return [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]


def camera(degrees):
  return {"R": turn(degrees), "t_mm": [1.0, degrees, 0.0]}


def described(cameras, **changes):
  """Two cameras of sequence `one`, a single one of `two`."""
  index = make_index([range(9), range(9), range(9)], sequences=(0, 0, 1))
  tracks = [{"name": f"cam{i}", "camera": camera} for i, camera in enumerate(cameras)]
  sequences = [{"name": "one", "tracks": tracks[:2]}, {"name": "two", "tracks": tracks[2:]}]
  return FakeSource(Described(dataclasses.replace(index, **changes), sequences))


CONFIG = ViewsConfig(gap_min=2, rotation=True)


def test_rotations_are_those_of_the_cameras_that_are_drawn(unchecked_signatures):
  source = described([camera(20), camera(75), None])
  found = build_source_views(source, CONFIG).rotation
  np.testing.assert_allclose(found[:2], [turn(20), turn(75)], rtol=1e-6)
  assert np.isnan(found[2]).all()  # a single camera needs no calibration
  assert build_source_views(source, dataclasses.replace(CONFIG, rotation=False)).rotation is None


def test_cameras_that_views_cannot_be_rotated_between_are_named(unchecked_signatures):
  good = camera(20)
  with pytest.raises(ValueError, match="sequence 'one', camera 'cam1' has no calibration"):
    build_source_views(described([good, None, good]), CONFIG)
  moving = described([good, good, good], moving=np.array([True, False, False]))
  with pytest.raises(ValueError, match="sequence 'one', camera 'cam0' moves"):
    build_source_views(moving, CONFIG)
  for wrong in ([1.0, 2.0], np.eye(3) * 2):
    with pytest.raises(ValueError, match="camera 'cam0' has an R that is no rotation"):
      build_source_views(described([camera(3) | {"R": wrong}, good, good]), CONFIG)
  with pytest.raises(ValueError, match="camera 'cam1' stands where 'cam0' does"):
    build_source_views(described([good, good, None]), CONFIG)
  # which says nothing where no rotation is asked for
  build_source_views(described([good, None, good]), dataclasses.replace(CONFIG, rotation=False))


def test_only_chosen_sequences_give_views_and_must_be_calibrated(unchecked_signatures):
  index = make_index([range(9)] * 4, sequences=(0, 0, 1, 1))
  cameras = {"one": (None, None), "two": (camera(20), camera(75))}
  sequences = [
    {"name": name, "tracks": [{"name": "cam", "camera": each} for each in both]}
    for name, both in cameras.items()
  ]
  source = FakeSource(Described(index, sequences), np.array([1]))
  found = build_source_views(source, CONFIG)
  np.testing.assert_array_equal(found.views.references, np.arange(18, 36))
  assert np.isnan(found.rotation[:2]).all()
  np.testing.assert_allclose(found.rotation[2:], [turn(20), turn(75)], rtol=1e-6)


def test_gaps_of_a_source_may_count_seconds(unchecked_signatures):
  # 25 frames/s: between 2.5 and 7.5 frames
  config = ViewsConfig(gap_min=0.1, gap_max=0.3, unit="s")
  table = build_source_views(described([None] * 3), config).views
  ids = sample_views(table, 5, np.arange(2000))
  assert set(np.abs(ids[:, 2] - ids[:, 0]).tolist()) == {3, 4, 5, 6, 7}
