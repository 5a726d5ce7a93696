"""Frames of multi-view sequences by time: the same instant in other cameras, and others near it."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int

from jaxpose.data.clock import Clock, make_clock
from jaxpose.data.columns import Index
from jaxpose.data.records import EMPTY

_FOREVER = 1 << 40  # ticks


@dataclasses.dataclass(frozen=True)
class Instants:
  """What samplers of several cameras look frames up by.

  Attributes:
    frames: clock in frames: equal numbers are the same instant.
    clock: in the unit of the gaps.
    tracks: tracks of each sequence, -1 where there are fewer.
    gap_min, gap_max: in ticks, both excluded.
    single_view: partners are of the frame's own camera in place of others.
  """

  frames: Clock
  clock: Clock
  tracks: Int[np.ndarray, "sequences cameras"]
  gap_min: int
  gap_max: int
  single_view: bool


def make_instants(
  index: Index,
  *,
  gap_min: float,
  gap_max: float | None,
  unit: str,
  single_view: bool = False,
) -> Instants:
  """The clocks and tracks of an index.

  Args:
    index: of a split.
    gap_min, gap_max: of instants that go together, gap_min < |Δt| < gap_max; None: no limit.
    unit: of the gaps: "frames" of the source, or "s".
    single_view: see `Instants`.

  Raises:
    ValueError: an unknown unit, or frames less than a millisecond apart with unit "s".
  """
  clock = make_clock(index, unit)
  return Instants(
    frames=clock if unit == "frames" else make_clock(index, "frames"),
    clock=clock,
    tracks=_tracks_of_sequences(index),
    gap_min=clock.at_most(gap_min),
    gap_max=_FOREVER if gap_max is None else clock.at_least(gap_max),
    single_view=single_view,
  )


def _tracks_of_sequences(index: Index) -> Int[np.ndarray, "sequences cameras"]:
  count = np.bincount(index.sequence, minlength=len(index.fps))
  tracks = np.full((len(index.fps), int(count.max(initial=1))), -1, np.int64)
  place = np.arange(index.num_tracks) - (np.cumsum(count) - count)[index.sequence]
  tracks[index.sequence, place] = np.arange(index.num_tracks)
  return tracks


def multi_view(
  table: Instants, sequences: Int[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " m"]:
  """Numbers of the sequences, of those given or of all, that have as many cameras as it takes."""
  found = np.flatnonzero((table.tracks >= 0).sum(axis=1) > (0 if table.single_view else 1))
  return found if sequences is None else np.intersect1d(found, sequences)


def other_tracks(
  table: Instants, ids: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "n cameras"], Bool[np.ndarray, "n cameras"]]:
  """(tracks of the frame's sequence with 0 for none, whether a partner may be of each).

  That is, of another camera, or, for single views, of its own.
  """
  own = table.clock.index.track_of(ids)
  tracks = table.tracks[table.clock.index.sequence[own]]
  mine = tracks == own[:, None]
  return np.maximum(tracks, 0), (tracks >= 0) & (mine if table.single_view else ~mine)


def same_instant(table: Instants, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n cameras"]:
  """Ids of the frames of `other_tracks` with the same frame number; -1 where there is none.

  Nor is there one where either of the two is known to show nobody.
  """
  index = table.clock.index
  tracks, other = other_tracks(table, ids)
  number = table.frames.ticks(ids)[:, None]
  place = table.frames.seek(tracks, number, "left")
  place = np.minimum(place, index.start[tracks] + index.length[tracks] - 1)
  peopled = (index.present[place] != EMPTY) & (index.present[ids] != EMPTY)[:, None]
  return np.where(other & (index.frame[place] == number) & peopled, place, -1)


def apart(
  table: Instants, ids: Int[np.ndarray, " n"], tracks: Int[np.ndarray, "n cameras"]
) -> tuple[Int[np.ndarray, "n cameras 2"], Int[np.ndarray, "n cameras 2"]]:
  """(first id, count) of the frames of `tracks` that lie gap_min < |Δt| < gap_max from `ids`.

  The last axis is before and after.
  """
  clock = table.clock
  now = clock.ticks(ids)[:, None]
  first_before = clock.seek(tracks, now - table.gap_max, "right")
  end_before = clock.seek(tracks, now - table.gap_min, "left")
  first_after = clock.seek(tracks, now + table.gap_min, "right")
  end_after = clock.seek(tracks, now + table.gap_max, "left")
  first = np.stack([first_before, first_after], axis=2)
  count = np.stack([end_before - first_before, end_after - first_after], axis=2)
  return first, np.maximum(count, 0)
