"""How fast poses change: their distance against the time between them (P2 §4.4.2, Fig. 6)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpose.evaluation import metrics

NEAR_SHARE, FAR_SHARE = 1 / 3, 0.85
"""Of the plateau: poses below the first are alike, above the second as different as any two.

A tenth would be a stricter likeness, but at 25 frames/s neighbours already differ by 15 %.
"""

_POINTS = 40  # of a curve, at most


class DistanceCurve(NamedTuple):
  """Mean pose distance at each temporal distance.

  Attributes:
    ticks: temporal distances, ascending.
    mpjpe_mm: mean over all pairs at that distance of the MPJPE between them.
    pairs: their number.
  """

  ticks: Int[np.ndarray, " K"]
  mpjpe_mm: Float[np.ndarray, " K"]
  pairs: Int[np.ndarray, " K"]


class Suggestion(NamedTuple):
  """Temporal distances of near and far frames, in ticks, and the plateau that they follow from."""

  near_max: int
  far_min: int
  plateau_mm: float


def distance_curve(
  poses_mm: Float[np.ndarray, "N J 3"],
  valid: Bool[np.ndarray, "N J"],
  track: Int[np.ndarray, " N"],
  tick: Int[np.ndarray, " N"],
  *,
  tolerance: int = 0,
) -> DistanceCurve:
  """The curve over pairs of frames of one track.

  Distances are multiples of the commonest one between neighbours, close together where they are
  short: up to 40 of them, as far as the longest track reaches. With a tolerance, those that differ
  from the commonest one by a tick are taken for the same, rounded, and their mean for it.

  Args:
    poses_mm: root-centred; joints that are not valid may hold anything.
    track, tick: of each pose, in order of both.
    tolerance: ticks that a pair's distance may be off.

  Raises:
    ValueError: no track has two poses.
  """
  same = np.diff(track) == 0
  gaps = np.diff(tick)[same]
  if not len(gaps):
    raise ValueError("no track has two frames with a 3D pose: there is no distance to measure")
  values, counts = np.unique(gaps, return_counts=True)
  commonest = values[np.argmax(counts)]
  # A thirtieth of a second is 33 ms or 34: multiples of either would soon be beyond the tolerance.
  gap = float(gaps[np.abs(gaps - commonest) <= min(tolerance, 1)].mean())
  first = np.flatnonzero(np.append(True, ~same))
  last = np.append(first[1:], len(track)) - 1
  longest = max(int((tick[last] - tick[first]).max() / gap + 1e-6), 1)
  steps = np.unique(np.geomspace(1, longest, _POINTS).round().astype(np.int64))
  distances = np.rint(gap * steps).astype(np.int64).tolist()
  found = [_at_distance(poses_mm, valid, track, tick, d, tolerance) for d in distances]
  ticks, means, pairs = (np.array(column) for column in zip(*found))
  some = pairs > 0
  return DistanceCurve(ticks[some], means[some], pairs[some])


def _at_distance(
  poses_mm: np.ndarray,
  valid: np.ndarray,
  track: np.ndarray,
  tick: np.ndarray,
  distance: int,
  tolerance: int,
) -> tuple[int, float, int]:
  """(distance, mean MPJPE, number of pairs)."""
  stride = int(tick.max() - tick.min()) + distance + tolerance + 2
  place = np.unique(track, return_inverse=True)[1].astype(np.int64)
  key = place * stride + tick - tick.min()
  wanted = key + distance
  partner = np.searchsorted(key, wanted - tolerance)
  inside = partner < len(key)
  partner = np.minimum(partner, len(key) - 1)
  rows = np.flatnonzero(inside & (np.abs(key[partner] - wanted) <= tolerance))
  partner = partner[rows]
  both = valid[rows] & valid[partner]
  rows, partner, both = (x[both.any(axis=1)] for x in (rows, partner, both))
  if not len(rows):
    return distance, np.nan, 0
  errors = metrics.mpjpe(poses_mm[rows], poses_mm[partner], both)
  return distance, float(errors.mean()), len(rows)


def constant_share(
  poses_mm: Float[np.ndarray, "N J 3"], valid: Bool[np.ndarray, "N J"], track: Int[np.ndarray, " N"]
) -> float:
  """Share of the variance of poses that lies between tracks, in [0, 1]; 0 where there is one.

  1 − Σ |x − x̄_track|² / Σ |x − x̄|² over all valid joints, x̄_track the mean of the joint in the
  frames of its track, x̄ in all. So much of a pose a vector can tell that does not change in time.

  Args:
    poses_mm: root-centred; joints that are not valid may hold anything.
  """
  poses = np.where(valid[..., None], poses_mm, 0.0).astype(np.float64)

  def spread(place: Int[np.ndarray, " N"]) -> float:
    """Σ of squared distances to the mean of each place."""
    count = np.zeros((place.max() + 1, valid.shape[1]))
    total = np.zeros((*count.shape, 3))
    np.add.at(count, place, valid)
    np.add.at(total, place, poses)
    mean = total / np.maximum(count, 1)[..., None]
    return float((((poses - mean[place]) ** 2).sum(axis=2) * valid).sum())

  whole = spread(np.zeros(len(track), np.int64))
  within = spread(np.unique(track, return_inverse=True)[1].astype(np.int64))
  return 1.0 - within / whole if whole > 0 else 0.0


def suggest_distances(curve: DistanceCurve) -> Suggestion:
  """Where the curve leaves what is alike, and where it reaches its plateau.

  The plateau is the mean over all pairs at no less than half of the longest distance. near_max is
  the longest distance before the curve first exceeds NEAR_SHARE of it (the shortest there is, if it
  does so at once); far_min is the first at which it reaches FAR_SHARE, but more than near_max.

  Raises:
    ValueError: there is but one distance.
  """
  if len(curve.ticks) < 2:
    raise ValueError("the poses have one temporal distance only: too few frames of a track")
  late = curve.ticks >= curve.ticks[-1] / 2
  plateau = float(np.average(curve.mpjpe_mm[late], weights=curve.pairs[late]))
  near = max(int(np.argmax(curve.mpjpe_mm > NEAR_SHARE * plateau)) - 1, 0)
  far = max(int(np.argmax(curve.mpjpe_mm >= FAR_SHARE * plateau)), near + 1)
  return Suggestion(int(curve.ticks[near]), int(curve.ticks[far]), plateau)
