"""Draws the frames of examples: pure functions of (table, seed, global example number).

A table is made once from an index: the frames that may serve, and a clock by which the partners of
a whole batch are found with a few binary searches. Distances are |time difference| in source frames
or seconds, whatever frames a data set left out in between.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpose.data.clock import Clock, make_clock, pick, smallest_integer, uniform
from jaxpose.data.columns import Index

_CHUNK = 1 << 18  # frames looked at together while a table is made: bounds the memory
_FOREVER = 1 << 40  # ticks

# Streams of random numbers: every kind of draw has its own.
_REFERENCE, _NEAR, _FAR, _INTERMEDIATE = 0, 1, 2, 3
_SPACING, _START = 4, 5
_SEQUENCES = 6


@dataclasses.dataclass(frozen=True)
class Triplets:
  """Frames that have a near, an intermediate and a far partner in their track.

  Attributes:
    references: ids of these frames, ascending.
    near_max, far_min, far_max: distances in ticks of the clock.
  """

  clock: Clock
  references: Int[np.ndarray, " n"]
  near_max: int
  far_min: int
  far_max: int


def build_triplets(
  index: Index,
  *,
  near_max: float,
  far_min: float,
  far_max: float | None = None,
  unit: str = "frames",
  sequences: Int[np.ndarray, " n"] | None = None,
) -> Triplets:
  """Finds the frames that may be a reference.

  Args:
    index: of a split.
    near_max: greatest distance of the near frame.
    far_min, far_max: least and greatest distance of the far frame; None: to the track's end.
    unit: of the distances: "frames" of the source, or "s".
    sequences: the only sequences to draw from; None for all.

  Raises:
    ValueError: the distances contradict each other, or no frame has partners at these distances.
  """
  clock = make_clock(index, unit)
  table = Triplets(
    clock,
    np.zeros(0, np.int64),
    clock.at_most(near_max),
    clock.at_least(far_min),
    _FOREVER if far_max is None else clock.at_most(far_max),
  )
  if table.near_max < 1 or not 2 <= table.far_min <= table.far_max:
    raise ValueError(
      f"near_max {near_max}, far_min {far_min}, far_max {far_max} ({unit}): need a positive "
      "near_max and 2 frames <= far_min <= far_max"
    )
  found, dtype = [], smallest_integer(index.num_frames)
  for ids, track in chunks(index, sequences):
    near = _nearest(table, ids, track) <= _near_limit(table, ids, track)
    found.append(ids[near].astype(dtype))
  references = np.concatenate(found) if found else np.zeros(0, np.int64)
  if not references.size:
    raise ValueError(_too_short(index, clock, near_max, far_min, far_max))
  return dataclasses.replace(table, references=references)


def evenly_spread(values: np.ndarray, limit: int) -> np.ndarray:
  """At most `limit` of the values, evenly spaced from the first to the last."""
  count = min(len(values), limit)
  return values[np.linspace(0, len(values) - 1, count).round().astype(int)]


def choose_sequences(index: Index, fraction: float, seed: int) -> Int[np.ndarray, " n"]:
  """Numbers of a random share of the sequences, at least one; a larger share holds the smaller.

  Raises:
    ValueError: the fraction is not in 0..1.
  """
  if not 0 <= fraction <= 1:
    raise ValueError(f"a fraction lies between 0 and 1, not {fraction}")
  order = np.argsort(uniform(seed, _SEQUENCES, np.arange(len(index.fps))), kind="stable")
  return np.sort(order[: max(1, round(fraction * len(order)))])


def unused_tracks(table: Triplets) -> Int[np.ndarray, " n"]:
  """Numbers of the tracks that hold no reference: too short for the distances asked for."""
  index, references = table.clock.index, table.references
  ends = np.append(index.start, index.num_frames).astype(references.dtype)
  return np.flatnonzero(np.diff(np.searchsorted(references, ends)) == 0)


def chunks(
  index: Index, sequences: Int[np.ndarray, " n"] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """(ids, their tracks) of all frames of the chosen sequences, a limited number at a time."""
  for first in range(0, index.num_frames, _CHUNK):
    ids = np.arange(first, min(first + _CHUNK, index.num_frames))
    track = index.track_of(ids)
    if sequences is not None:
      chosen = np.isin(index.sequence[track], sequences)
      ids, track = ids[chosen], track[chosen]
    yield ids, track


class _Reach(NamedTuple):
  """Ids of the farthest frames within far_max on either side."""

  left: np.ndarray
  right: np.ndarray


def _reach(table: Triplets, now: np.ndarray, track: np.ndarray) -> _Reach:
  index, clock = table.clock.index, table.clock
  if table.far_max >= _FOREVER:
    return _Reach(index.start[track], index.start[track] + index.length[track] - 1)
  left = clock.seek(track, now - table.far_max, "left")
  return _Reach(left, clock.seek(track, now + table.far_max, "right") - 1)


def _near_limit(table: Triplets, ids: np.ndarray, track: np.ndarray) -> np.ndarray:
  """Greatest distance of the near frame that leaves room for an intermediate and a far one."""
  now = table.clock.ticks(ids)
  reach = _reach(table, now, track)
  room = np.zeros(len(ids), np.int64)
  for last, step in ((reach.left, 1), (reach.right, -1)):
    far = np.abs(table.clock.ticks(last) - now)
    within = np.abs(table.clock.ticks(last + step * (last != ids)) - now)
    room = np.maximum(room, np.where((far >= table.far_min) & (last != ids), within - 1, 0))
  return np.minimum(room, table.near_max)


def _nearest(table: Triplets, ids: np.ndarray, track: np.ndarray) -> np.ndarray:
  """Distance of the nearest other frame of the track."""
  index, clock = table.clock.index, table.clock
  now = clock.ticks(ids)
  first = index.start[track]
  last = first + index.length[track] - 1
  before = now - clock.ticks(np.maximum(ids - 1, first))
  after = clock.ticks(np.minimum(ids + 1, last)) - now
  return np.minimum(np.where(before > 0, before, _FOREVER), np.where(after > 0, after, _FOREVER))


def _too_short(
  index: Index, clock: Clock, near_max: float, far_min: float, far_max: float | None
) -> str:
  last = index.start + index.length - 1
  spans = clock.ticks(last) - clock.ticks(index.start) + 1
  scale, unit = (1, "frames") if clock.unit == "frames" else (1e-3, "s")
  longest = np.sort(spans)[::-1][:10] * scale
  listed = ", ".join(f"{value:g}" for value in longest)
  return (
    f"no frame has partners within near_max {near_max} and from far_min {far_min} to far_max "
    f"{far_max} {unit} on: the {index.num_tracks} tracks are {listed}"
    f"{' ...' if index.num_tracks > 10 else ''} {unit} long; lower far_min or take longer videos"
  )


def sample_triplets(
  table: Triplets, seed: int, examples: Int[np.ndarray, " B"], *, second_far: bool = False
) -> Int[np.ndarray, "B 4"]:
  """Ids of (reference, near, intermediate, far) frames, P1 eq. 6.

  The reference is uniform among all that have partners. In its track, near is uniform among the
  frames within near_max on either side, far among those from far_min to far_max on either side, and
  intermediate among those on far's side with d(near) < d(intermediate) < d(far), as far as each
  choice leaves one for the next.

  Args:
    second_far: in the intermediate frame's place a second far one, uniform among the others; the
      same where there is no other (P2 §4.2: two negatives for CSS).
  """
  clock = table.clock
  place = pick(uniform(seed, _REFERENCE, examples), len(table.references))
  ref = table.references[place].astype(np.int64)
  track = clock.index.track_of(ref)
  now = clock.ticks(ref)
  limit = _near_limit(table, ref, track)
  first = clock.seek(track, now - limit, "left")
  count = clock.seek(track, now + limit, "right") - first - 1
  near = first + pick(uniform(seed, _NEAR, examples), count)
  near += near >= ref
  distance = np.abs(clock.ticks(near) - now)
  # The frames that are farther than the near one begin at `left` and `right`.
  left = clock.seek(track, now - distance, "left") - 1
  right = clock.seek(track, now + distance, "right")
  reach = _reach(table, now, track)
  far_left = np.minimum(clock.seek(track, now - table.far_min, "right") - 1, left - 1)
  far_right = np.maximum(clock.seek(track, now + table.far_min, "left"), right + 1)
  count_left = np.maximum(far_left - reach.left + 1, 0)
  count_right = np.maximum(reach.right - far_right + 1, 0)

  count = count_left + count_right
  rank = pick(uniform(seed, _FAR, examples), count)

  def far_frame(k: np.ndarray) -> np.ndarray:
    return np.where(k < count_left, far_left - k, far_right + k - count_left)

  far, on_left = far_frame(rank), rank < count_left
  if second_far:
    other = pick(uniform(seed, _INTERMEDIATE, examples), count - 1)
    other += (other >= rank) & (count > 1)
    return np.stack([ref, near, far_frame(other), far], axis=1)
  between = np.where(on_left, left - far, far - right)
  k = pick(uniform(seed, _INTERMEDIATE, examples), between)
  intermediate = np.where(on_left, left - k, right + k)
  return np.stack([ref, near, intermediate, far], axis=1)


@dataclasses.dataclass(frozen=True)
class Quadruples:
  """All sets of four equidistant falling frames, by spacing.

  Attributes:
    ids: in order of time; those of one spacing together.
    ends: one past the last row of each spacing.
  """

  ids: Int[np.ndarray, "n 4"]
  ends: Int[np.ndarray, " spacings"]


def build_quadruples(
  index: Index,
  *,
  spacing_min: float,
  spacing_max: float,
  unit: str = "frames",
  sequences: Int[np.ndarray, " n"] | None = None,
) -> Quadruples:
  """Finds four frames s apart, all within one stretch of falling frames of a track.

  Args:
    index: of a split.
    spacing_min, spacing_max: range of s.
    unit: of s: "frames" of the source, or "s" (whole frames by the sequence's frame rate).
    sequences: the only sequences to draw from; None for all.

  Raises:
    ValueError: there are none.
  """
  clock = make_clock(index, "frames")
  ids = np.flatnonzero(index.falling)
  track = index.track_of(ids)
  if sequences is not None:
    chosen = np.isin(index.sequence[track], sequences)
    ids, track = ids[chosen], track[chosen]
  stretch = np.cumsum((np.diff(ids, prepend=-2) > 1) | (np.diff(track, prepend=-1) > 0))
  scale = np.ones(len(ids)) if unit == "frames" else index.fps[index.sequence[track]]
  low = np.maximum(np.ceil(spacing_min * scale - 1e-6), 1)
  high = np.floor(spacing_max * scale + 1e-6)
  found = []
  for spacing in range(int(low.min(initial=1)), int(high.max(initial=0)) + 1):
    asked = (low <= spacing) & (spacing <= high)
    rows = _equidistant(clock.key[ids], stretch, spacing, asked)
    if len(rows):
      found.append(ids[rows])
  if not found:
    raise ValueError(
      f"no four falling frames {spacing_min} to {spacing_max} {unit} apart: {len(ids)} frames are "
      "marked as falling; lower the spacing, or use no gravity loss"
    )
  return Quadruples(np.concatenate(found), np.cumsum([len(rows) for rows in found]))


def _equidistant(
  key: Int[np.ndarray, " n"],
  stretch: Int[np.ndarray, " n"],
  spacing: int,
  asked: Bool[np.ndarray, " n"],
) -> Int[np.ndarray, "m 4"]:
  """Rows of four places in `key`, `spacing` apart, whose frames lie in one stretch."""
  start = np.flatnonzero(asked)
  wanted = key[start, None] + spacing * np.arange(4)
  place = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
  good = (key[place] == wanted).all(axis=1) & (stretch[place] == stretch[start, None]).all(axis=1)
  return place[good]


def sample_quadruples(
  table: Quadruples, seed: int, examples: Int[np.ndarray, " B"]
) -> Int[np.ndarray, "B 4"]:
  """Ids of four equidistant falling frames in order of time (P2 §3.2).

  The spacing is uniform among those that occur, the place uniform among those of this spacing.
  """
  spacing = pick(uniform(seed, _SPACING, examples), len(table.ends))
  first = np.concatenate([[0], table.ends])[spacing]
  row = first + pick(uniform(seed, _START, examples), table.ends[spacing] - first)
  return table.ids[row]
