"""Draws pairs of views for multi-view sequences: synchronised, unsynchronised and flipped (P3)."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpose.data.clock import Clock, make_clock, pick, smallest_integer, uniform
from jaxpose.data.columns import Index
from jaxpose.data.sampling import chunks

# Streams of random numbers: every kind of draw has its own.
_KIND, _REFERENCE, _PARTNER, _MIRRORED_VIEW = 10, 11, 12, 13

SYNCHRONISED, UNSYNCHRONISED, FLIPPED = 0, 1, 2  # kinds of pairs


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Frames of multi-view sequences with partners in other cameras; see `sample_pairs`.

  Attributes:
    frames: clock in frames: equal numbers are the same instant.
    clock: in the unit of the gaps.
    tracks: tracks of each sequence, -1 where there are fewer.
    references: per kind, the ids that may come first.
    probabilities: per kind.
    gap_min, gap_max: in ticks, both excluded.
  """

  frames: Clock
  clock: Clock
  tracks: Int[np.ndarray, "sequences cameras"]
  references: tuple[np.ndarray, np.ndarray, np.ndarray]
  probabilities: tuple[float, float, float]
  gap_min: int
  gap_max: int

  @property
  def num_references(self) -> int:
    """Number of frames that may come first, of the kinds asked for."""
    return max(len(r) for r, p in zip(self.references, self.probabilities) if p > 0)


def build_pairs(
  index: Index,
  *,
  gap_min: float,
  gap_max: float,
  probabilities: tuple[float, float, float],
  unit: str = "frames",
  sequences: Int[np.ndarray, " n"] | None = None,
) -> Pairs:
  """Finds the frames that may be the first of a pair of each kind.

  Args:
    index: of a split.
    gap_min, gap_max: of unsynchronised pairs, gap_min < |Δt| < gap_max (P3 §3.1).
    probabilities: of synchronised, unsynchronised and flipped pairs, adding up to 1.
    unit: of the gaps: "frames" of the source, or "s".
    sequences: the only sequences to draw from; None for all.

  Raises:
    ValueError: the probabilities are none, or a kind that is asked for does not occur.
  """
  if min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
    raise ValueError(f"probabilities of pairs must be >= 0 and add up to 1, not {probabilities}")
  clock = make_clock(index, unit)
  frames = clock if unit == "frames" else make_clock(index, "frames")
  none = np.zeros(0, smallest_integer(index.num_frames))
  table = Pairs(
    frames,
    clock,
    _tracks_of_sequences(index),
    (none, none, none),
    probabilities,
    clock.at_most(gap_min),
    clock.at_least(gap_max),
  )
  multi_view = np.flatnonzero((table.tracks >= 0).sum(axis=1) > 1)
  if sequences is not None:
    multi_view = np.intersect1d(multi_view, sequences)
  synchronised, unsynchronised = [none], [none]
  for ids, _ in chunks(index, multi_view):
    small = ids.astype(none.dtype)
    synchronised.append(small[(_same_instant(table, ids) >= 0).any(axis=1)])
    if probabilities[UNSYNCHRONISED] > 0:
      unsynchronised.append(small[_other_instants(table, ids)[1].sum(axis=(1, 2)) > 0])
  same, other = np.concatenate(synchronised), np.concatenate(unsynchronised)
  names = ("synchronised", "unsynchronised", "flipped")
  for name, probability, references in zip(names, probabilities, (same, other, same)):
    if probability > 0 and not references.size:
      raise ValueError(
        f"no {name} pairs: {len(multi_view)} of {len(index.fps)} sequences have more than one "
        f"camera, and none has a partner (gaps {gap_min} to {gap_max} {unit})"
      )
  return dataclasses.replace(table, references=(same, other, same))


def _tracks_of_sequences(index: Index) -> Int[np.ndarray, "sequences cameras"]:
  count = np.bincount(index.sequence, minlength=len(index.fps))
  tracks = np.full((len(index.fps), int(count.max(initial=1))), -1, np.int64)
  place = np.arange(index.num_tracks) - (np.cumsum(count) - count)[index.sequence]
  tracks[index.sequence, place] = np.arange(index.num_tracks)
  return tracks


def _others(table: Pairs, ids: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
  """(tracks of the frame's sequence with 0 for none, whether each is another camera's)."""
  own = table.clock.index.track_of(ids)
  tracks = table.tracks[table.clock.index.sequence[own]]
  return np.maximum(tracks, 0), (tracks >= 0) & (tracks != own[:, None])


def _same_instant(table: Pairs, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n cameras"]:
  """Ids of the frames of the other cameras with the same frame number; -1 where there is none."""
  index = table.clock.index
  tracks, other = _others(table, ids)
  number = table.frames.ticks(ids)[:, None]
  place = table.frames.seek(tracks, number, "left")
  place = np.minimum(place, index.start[tracks] + index.length[tracks] - 1)
  return np.where(other & (index.frame[place] == number), place, -1)


def _other_instants(table: Pairs, ids: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
  """(first id, count) of the frames gap_min < |Δt| < gap_max away: [n, cameras, before/after]."""
  clock = table.clock
  tracks, other = _others(table, ids)
  now = clock.ticks(ids)[:, None]
  first_before = clock.seek(tracks, now - table.gap_max, "right")
  end_before = clock.seek(tracks, now - table.gap_min, "left")
  first_after = clock.seek(tracks, now + table.gap_min, "right")
  end_after = clock.seek(tracks, now + table.gap_max, "left")
  first = np.stack([first_before, first_after], axis=2)
  count = np.stack([end_before - first_before, end_after - first_after], axis=2)
  return first, np.where(other[..., None], np.maximum(count, 0), 0)


class PairSample(NamedTuple):
  """Ids [B, 2] of two views; kind [B]; mirrored [B]: the view to be mirrored, 0 or 1, or -1."""

  ids: Int[np.ndarray, "B 2"]
  kind: Int[np.ndarray, " B"]
  mirrored: Int[np.ndarray, " B"]


def sample_pairs(table: Pairs, seed: int, examples: Int[np.ndarray, " B"]) -> PairSample:
  """Two views of one sequence by different cameras (P3 §3.1).

  The kind is drawn by the probabilities, the first frame uniformly among those that have a partner
  of this kind, the second uniformly among these partners: the same instant (synchronised, flipped)
  or gap_min < |Δt| < gap_max (unsynchronised). One view of a flipped pair is to be mirrored.
  """
  u = uniform(seed, _KIND, examples)
  kind = np.searchsorted(np.cumsum(table.probabilities)[:2], u, side="right")
  u_first = uniform(seed, _REFERENCE, examples)
  u_second = uniform(seed, _PARTNER, examples)
  ids = np.zeros((len(u), 2), np.int64)
  for value in (SYNCHRONISED, UNSYNCHRONISED, FLIPPED):
    rows = np.flatnonzero(kind == value)
    if rows.size:
      references = table.references[value]
      first = references[pick(u_first[rows], len(references))].astype(np.int64)
      draw = _draw_other_instant if value == UNSYNCHRONISED else _draw_same_instant
      ids[rows] = np.stack([first, draw(table, first, u_second[rows])], axis=1)
  view = pick(uniform(seed, _MIRRORED_VIEW, examples), 2)
  return PairSample(ids, kind, np.where(kind == FLIPPED, view, -1))


def _draw_same_instant(
  table: Pairs, ids: Int[np.ndarray, " n"], u: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  partners = _same_instant(table, ids)
  count = (partners >= 0).cumsum(axis=1)
  column = (count <= pick(u, count[:, -1])[:, None]).sum(axis=1)
  return partners[np.arange(len(ids)), column]


def _draw_other_instant(
  table: Pairs, ids: Int[np.ndarray, " n"], u: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  first, count = (x.reshape(len(ids), -1) for x in _other_instants(table, ids))
  ends = count.cumsum(axis=1)
  k = pick(u, ends[:, -1])
  column = (ends <= k[:, None]).sum(axis=1)
  rows = np.arange(len(ids))
  return first[rows, column] + k - (ends - count)[rows, column]
