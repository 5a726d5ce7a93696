"""Is there a person? Read from how much the reconstruction gains over the bare background.

The gain of a frame is error(background) − error(reconstruction): large where the network drew
someone, about zero in an empty room. What is large depends on scene and training, so the border is
calibrated on the training frames, without labels, and travels as four floats.

With noise n, a person who differs from the room by p, and the share s of it that the network
explains, a frame has background error n + p and gain s·p; an empty one has n and about 0 (less
where the network draws what is not there, more where it knows a ghost that the background has). Two
groups of gains alone are no proof that the room was ever empty: two trials in other clothes, or a
near and a far person, are two groups too. So both quantities are looked at.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_ROUNDS = 200
_LEAST_WEIGHT = 0.005
_LEAST_SEPARATION = 3.0
_CERTAIN_LOGIT = 6.0
_SMALL_SHARE = 0.02  # of the background error: gains below it are noise
# What the median empty frame has of that of the median frame with a person, at most.
_EMPTY_GAIN = 0.1
_EMPTY_SHARE = 0.5
_LEAST_FALL = 0.5  # of the background error when the person goes, in gains of the person


class PresenceCalibration(NamedTuple):
  """presence = 1 / (1 + exp(−slope (asinh(gain / scale) − threshold))).

  Attributes:
    scale: gains well above it are compared by ratio, those below by difference.
    threshold: asinh(gain / scale) at presence 0.5.
    slope: steepness there.
    two_sided: 1.0 if the training frames fell into two groups (with and without a person), 0.0 if
      they were one group, taken as all with a person.
  """

  scale: float
  threshold: float
  slope: float
  two_sided: float


def calibrate_presence(
  gain: Float[np.ndarray, " N"], background_error: Float[np.ndarray, " N"]
) -> PresenceCalibration:
  """Fits the border between empty frames and frames with a person from training frames.

  A mixture of two normal distributions is fitted to x = asinh(gain / scale), where scale is 2 % of
  a large background error. Its lower part is taken for empty frames if the parts lie at least 3
  standard deviations apart with a dip between them, and if the medians of its frames, g of the gain
  and b of the background error, compare with those of the upper part, G and B, as in a room that
  somebody left:

    g ≤ G / 10           next to nothing is gained: somebody in other clothes gains less, but not so
                         little
    g / b ≤ G / 2B       less of the difference is explained: of a far person it is as much as of a
                         near one
    B − b ≥ G / 2        the person's difference is gone: one who is badly drawn still differs

  Then the border is where both parts are equally likely. Otherwise every training frame is taken to
  show a person, and the border lies half way (in x) from no gain at all to the lowest thousandth of
  the frames, but between 0.15 and 0.5 of the median. Where even the median frame gains no more than
  scale, no frame is called empty.

  When in doubt, all show a person: a room whose background has a ghost as distinct as a person, or
  a far person in strong noise, cannot be told from these numbers.

  Args:
    gain: Σ (frame − background)² − Σ (frame − reconstruction)²; may be negative.
    background_error: Σ (frame − background)², in the same unit. Frames where either is NaN are left
      out.

  Raises:
    ValueError: there is no frame where both are finite.
  """
  values, errors = np.asarray(gain, np.float64), np.asarray(background_error, np.float64)
  finite = np.isfinite(values) & np.isfinite(errors)
  values, errors = values[finite], errors[finite]
  if not len(values):
    raise ValueError("presence cannot be calibrated: no finite gain among the training frames")
  scale = max(_SMALL_SHARE * float(np.quantile(errors, 0.9)), 1e-12)
  x = np.arcsinh(values / scale)

  def is_left_room(mixture: _Mixture) -> bool:
    with_person = x > _equal_likelihood(mixture)
    return _is_empty_below(values, errors, with_person)

  mixture = _fit_mixture(x, is_left_room)
  if mixture is not None:
    threshold = _equal_likelihood(mixture)
    low, high = (float(mean) for mean in mixture.means)
    slope = _CERTAIN_LOGIT / max(min(threshold - low, high - threshold), 1e-6)
    return PresenceCalibration(scale, threshold, slope, 1.0)
  median, lowest = float(np.median(x)), float(np.quantile(x, 0.001))
  if median <= np.arcsinh(1.0):
    return PresenceCalibration(scale, lowest - 1.0, _CERTAIN_LOGIT, 0.0)
  threshold = float(np.clip(lowest / 2, 0.15 * median, 0.5 * median))
  return PresenceCalibration(scale, threshold, _CERTAIN_LOGIT / (median - threshold), 0.0)


def _is_empty_below(
  gain: Float[np.ndarray, " N"],
  background_error: Float[np.ndarray, " N"],
  with_person: Bool[np.ndarray, " N"],
) -> bool:
  """Are the frames of the lower group as they are when a person left? See `calibrate_presence`."""
  if with_person.all() or not with_person.any():
    return False
  share = gain / np.maximum(background_error, 1e-12)
  measures = np.stack([gain, share, background_error])
  low_gain, low_share, low_error = np.median(measures[:, ~with_person], axis=1)
  high_gain, high_share, high_error = np.median(measures[:, with_person], axis=1)
  return bool(
    high_gain > 0
    and low_gain <= _EMPTY_GAIN * high_gain
    and low_share <= _EMPTY_SHARE * high_share
    and high_error - low_error >= _LEAST_FALL * high_gain
  )


def estimate_presence(
  gain: Float[np.ndarray, " N"], calibration: PresenceCalibration
) -> Float[np.ndarray, " N"]:
  """Presence from 0 (empty) to 1 (a person), grows with the gain; 0 where the gain is NaN."""
  x = np.arcsinh(np.asarray(gain, np.float64) / calibration.scale)
  logits = calibration.slope * (x - calibration.threshold)
  presence = 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))
  return np.nan_to_num(presence).astype(np.float32)


class _Mixture(NamedTuple):
  means: Float[np.ndarray, " 2"]
  deviations: Float[np.ndarray, " 2"]
  weights: Float[np.ndarray, " 2"]


def _log_density(x: Float[np.ndarray, " N"], mixture: _Mixture) -> Float[np.ndarray, "N 2"]:
  z = (x[:, None] - mixture.means) / mixture.deviations
  return np.log(mixture.weights) - 0.5 * z * z - np.log(mixture.deviations)


def _fit_mixture(x: Float[np.ndarray, " N"], accept: Callable[[_Mixture], bool]) -> _Mixture | None:
  """The likeliest accepted mixture of two normal parts, from several splits; None if there is none.

  Among several groups (empty, far, near) the likeliest split may not be the one that is asked for.
  """
  fits = [_maximise(x, split) for split in (_otsu(x), *np.quantile(x, [0.01, 0.05, 0.95]))]
  two = [(fit, score) for fit, score in fits if _is_two(x, fit) and accept(fit)]
  return max(two, key=lambda pair: pair[1])[0] if two else None


def _maximise(x: Float[np.ndarray, " N"], split: float) -> tuple[_Mixture, float]:
  """Expectation-maximisation from the two sides of a split: the mixture and its likelihood."""
  floor = 0.02 * float(x.std()) + 1e-9
  sides = [s if len(s) else x for s in (x[x <= split], x[x > split])]
  mixture = _Mixture(
    np.array([s.mean() for s in sides]),
    np.array([max(s.std(), floor) for s in sides]),
    np.array([len(s) for s in sides]) / sum(len(s) for s in sides),
  )
  score = -np.inf
  for _ in range(_ROUNDS):
    logs = _log_density(x, mixture)
    top = logs.max(axis=1, keepdims=True)
    share = np.exp(logs - top)
    rows = share.sum(axis=1, keepdims=True)
    share /= rows
    total = share.sum(axis=0) + 1e-12
    means = (share * x[:, None]).sum(axis=0) / total
    spread = np.sqrt((share * (x[:, None] - means) ** 2).sum(axis=0) / total)
    mixture = _Mixture(means, np.maximum(spread, floor), total / total.sum())
    previous, score = score, float((np.log(rows) + top).mean())
    if score - previous < 1e-9:
      break
  return mixture, score


def _is_two(x: Float[np.ndarray, " N"], mixture: _Mixture) -> bool:
  low, high = mixture.means
  pooled = float(np.sqrt(np.mean(mixture.deviations**2)))
  if high <= low or mixture.weights.min() < max(_LEAST_WEIGHT, 3 / len(x)):
    return False
  if (high - low) / pooled < _LEAST_SEPARATION:
    return False
  along = np.linspace(low, high, 101)
  density = np.exp(_log_density(along, mixture)).sum(axis=1)
  return bool(density.min() < 0.5 * min(density[0], density[-1]))


def _otsu(x: Float[np.ndarray, " N"]) -> float:
  """The split of x into two with the largest variance between them."""
  counts, edges = np.histogram(x, bins=256)
  middles = (edges[:-1] + edges[1:]) / 2
  below = np.cumsum(counts)[:-1]
  above = len(x) - below
  sums = np.cumsum(counts * middles)
  possible = (below > 0) & (above > 0)
  mean_below = sums[:-1] / np.maximum(below, 1)
  mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
  between = np.where(possible, below * above * (mean_above - mean_below) ** 2, -1.0)
  return float(edges[1 + int(np.argmax(between))])


def _equal_likelihood(mixture: _Mixture) -> float:
  """The point between the means at which both parts are equally likely."""
  along = np.linspace(mixture.means[0], mixture.means[1], 10001)
  logs = _log_density(along, mixture)
  return float(along[int(np.argmin(np.abs(logs[:, 1] - logs[:, 0])))])
