"""Is there a person? Read from how much the reconstruction gains over the bare background.

The gain of a frame is error(background) − error(reconstruction): large where the network drew
someone, about zero in an empty room. What is large depends on scene and training, so the border is
calibrated on the training frames, without labels, and travels as three floats.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_ROUNDS = 200
_LEAST_WEIGHT = 0.005
_LEAST_SEPARATION = 3.0
_CERTAIN_LOGIT = 6.0


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


def calibrate_presence(gain: Float[np.ndarray, " N"]) -> PresenceCalibration:
  """Fits the border between empty frames and frames with a person from training frames.

  A mixture of two normal distributions is fitted to x = asinh(gain / scale). If its parts lie at
  least 3 standard deviations apart with a dip between them, the border is where both are equally
  likely. Otherwise every training frame is taken to show a person, and the border lies half way
  (in x) from no gain at all to the lowest thousandth of the frames, but between 0.15 and 0.5 of the
  median. Where even the median frame gains nothing, no frame is called empty.

  Args:
    gain: any measure that grows with the person's share in the picture, such as the reconstruction
      gain or the largest value of the unnormalised mask; may be negative; NaN is left out.

  Raises:
    ValueError: there is no finite value.
  """
  values = np.asarray(gain, np.float64)
  values = values[np.isfinite(values)]
  if not len(values):
    raise ValueError("presence cannot be calibrated: no finite gain among the training frames")
  scale = max(0.02 * float(np.quantile(np.abs(values), 0.9)), 1e-12)
  x = np.arcsinh(values / scale)
  mixture = _fit_mixture(x)
  if mixture is not None:
    threshold = _equal_likelihood(mixture)
    low, high = mixture.means
    slope = _CERTAIN_LOGIT / max(min(threshold - low, high - threshold), 1e-6)
    return PresenceCalibration(scale, threshold, slope, 1.0)
  median, lowest = float(np.median(x)), float(np.quantile(x, 0.001))
  if median <= 0:
    return PresenceCalibration(scale, lowest - 1.0, _CERTAIN_LOGIT, 0.0)
  threshold = float(np.clip(lowest / 2, 0.15 * median, 0.5 * median))
  return PresenceCalibration(scale, threshold, _CERTAIN_LOGIT / (median - threshold), 0.0)


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


def _fit_mixture(x: Float[np.ndarray, " N"]) -> _Mixture | None:
  """The likeliest mixture of two normal parts, from several splits; None if they are not two."""
  fits = [_maximise(x, split) for split in (_otsu(x), *np.quantile(x, [0.01, 0.05, 0.95]))]
  two = [(fit, score) for fit, score in fits if _is_two(x, fit)]
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
