"""Draws pairs of views for multi-view sequences: synchronised, unsynchronised and flipped (P3)."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpose.data.clock import pick, smallest_integer, uniform
from jaxpose.data.columns import Index
from jaxpose.data.instants import (
  Instants,
  apart,
  make_instants,
  multi_view,
  other_tracks,
  same_instant,
)
from jaxpose.data.records import EMPTY
from jaxpose.data.sampling import chunks

# Streams of random numbers: every kind of draw has its own.
_KIND, _REFERENCE, _PARTNER, _MIRRORED_VIEW = 10, 11, 12, 13

SYNCHRONISED, UNSYNCHRONISED, FLIPPED = 0, 1, 2  # kinds of pairs


@dataclasses.dataclass(frozen=True)
class Pairs(Instants):
  """Frames of multi-view sequences with partners in other cameras; see `sample_pairs`.

  Attributes:
    peopled: all ids but of frames that are known to show nobody; None where these are all ids.
    references: per kind, the ids that may come first.
    probabilities: per kind.
  """

  peopled: Int[np.ndarray, " people"] | None
  references: tuple[np.ndarray, np.ndarray, np.ndarray]
  probabilities: tuple[float, float, float]

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
  single_view: bool = False,
) -> Pairs:
  """Finds the frames that may be the first of a pair of each kind.

  Frames that are known to show nobody are in no pair.

  Args:
    index: of a split.
    gap_min, gap_max: of unsynchronised pairs, gap_min < |Δt| < gap_max (P3 §3.1).
    probabilities: of synchronised, unsynchronised and flipped pairs, adding up to 1.
    unit: of the gaps: "frames" of the source, or "s".
    sequences: the only sequences to draw from; None for all.
    single_view: both views are of one camera (P3 §4.1, l): the same frame twice, or two times of
      its track.

  Raises:
    ValueError: the probabilities are none, or a kind that is asked for does not occur.
  """
  if min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
    raise ValueError(f"probabilities of pairs must be >= 0 and add up to 1, not {probabilities}")
  table = make_instants(index, gap_min=gap_min, gap_max=gap_max, unit=unit, single_view=single_view)
  none = np.zeros(0, smallest_integer(index.num_frames))
  views = multi_view(table, sequences)
  empty = index.present == EMPTY
  peopled = np.flatnonzero(~empty).astype(none.dtype) if empty.any() else None
  synchronised, unsynchronised = [none], [none]
  for ids, _ in chunks(index, views):
    small = ids.astype(none.dtype)
    synchronised.append(small[(same_instant(table, ids) >= 0).any(axis=1)])
    if probabilities[UNSYNCHRONISED] > 0:
      partners = _other_instants(table, peopled, ids)[1].sum(axis=(1, 2))
      unsynchronised.append(small[(partners > 0) & ~empty[ids]])
  same, other = np.concatenate(synchronised), np.concatenate(unsynchronised)
  names = ("synchronised", "unsynchronised", "flipped")
  references = (same, other, same)
  for name, probability, found in zip(names, probabilities, references):
    if probability > 0 and not found.size:
      cameras = "a" if single_view else "more than one"
      raise ValueError(
        f"no {name} pairs: {len(views)} of {len(index.fps)} sequences have {cameras} "
        f"camera, and none has a partner (gaps {gap_min} to {gap_max} {unit})"
      )
  return Pairs(**vars(table), peopled=peopled, references=references, probabilities=probabilities)


def _other_instants(
  table: Instants, peopled: Int[np.ndarray, " people"] | None, ids: Int[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
  """(first, count) of the frames `apart` of `other_tracks`: [n, cameras, before/after].

  First is an id, or, of `peopled` frames alone, a place among these.
  """
  tracks, other = other_tracks(table, ids)
  first, count = apart(table, ids, tracks)
  if peopled is not None:
    # ids of another type would have all of `peopled` converted at every call
    ends = np.stack([first, first + count]).astype(peopled.dtype)
    first, end = np.searchsorted(peopled, ends)
    count = end - first
  return first, np.where(other[..., None], count, 0)


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
  partners = same_instant(table, ids)
  count = (partners >= 0).cumsum(axis=1)
  column = (count <= pick(u, count[:, -1])[:, None]).sum(axis=1)
  return partners[np.arange(len(ids)), column]


def _draw_other_instant(
  table: Pairs, ids: Int[np.ndarray, " n"], u: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  first, count = (x.reshape(len(ids), -1) for x in _other_instants(table, table.peopled, ids))
  ends = count.cumsum(axis=1)
  k = pick(u, ends[:, -1])
  column = (ends <= k[:, None]).sum(axis=1)
  rows = np.arange(len(ids))
  found = first[rows, column] + k - (ends - count)[rows, column]
  return found if table.peopled is None else table.peopled[found].astype(np.int64)
