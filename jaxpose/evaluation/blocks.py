"""Long columns a block of rows at a time: an export may be larger than memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

ROWS = 1 << 18


def blocks(column: Any) -> Iterator[tuple[int, np.ndarray]]:
  """(first row, rows) of an array, or of the column of an export, in order."""
  for first in range(0, len(column), ROWS):
    yield first, np.asarray(column[first : first + ROWS])


def mean_and_std(
  features: Any,
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
  """Mean and standard deviation over the rows [N, D], float64.

  Of several blocks, each with n rows of mean m and variance v: the mean is Σ n m / N, the variance
  Σ n (v + (m − mean)²) / N.
  """
  parts = [
    (len(rows), rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64))
    for _, rows in blocks(features)
  ]
  if len(parts) == 1:
    return parts[0][1], parts[0][2]
  counts, means, stds = (np.array(part, np.float64) for part in zip(*parts))
  share = (counts / counts.sum())[:, None]
  mean = (share * means).sum(axis=0)
  variance = (share * (np.square(stds) + np.square(means - mean))).sum(axis=0)
  return mean, np.sqrt(variance)
