"""Which vectors of an embedding a probe reads: time-variant, time-invariant, or both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TIME_VARIANT, TIME_INVARIANT, BOTH = "time_variant", "time_invariant", "both"
FEATURES = (TIME_VARIANT, TIME_INVARIANT, BOTH)


class Joined:
  """Columns [N, D₁], [N, D₂], ... that read like one of [N, D₁ + D₂ + ...]; no copy is kept."""

  def __init__(self, columns: Sequence[Any]) -> None:
    self._columns = list(columns)
    self.shape = (len(columns[0]), sum(column.shape[1] for column in columns))

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows: Any) -> np.ndarray:
    return np.concatenate([np.asarray(column[rows]) for column in self._columns], axis=-1)

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    if copy is False:
      raise ValueError("joined columns cannot be one array without a copy")
    return self[:].astype(dtype or self[:0].dtype, copy=False)


def feature_column(embeddings: Mapping[str, Any], feature: str) -> Any:
  """The vectors [N, D] of an embedding that `feature` of `FEATURES` names.

  A method that does not split has all in its time-variant vectors: there `both` is these.

  Raises:
    ValueError: there is no such feature, or the embedding lacks it.
  """
  if feature not in FEATURES:
    raise ValueError(f"features {feature!r} of a probe: choose one of {', '.join(FEATURES)}")
  names = (TIME_VARIANT, TIME_INVARIANT) if feature == BOTH else (feature,)
  found = [embeddings[n] for n in names if n in embeddings and np.shape(embeddings[n])[1]]
  if not found:
    raise ValueError(
      f"the embeddings have no {feature} vectors: the method does not split them; read"
      f" {TIME_VARIANT}, which holds all"
    )
  return found[0] if len(found) == 1 else Joined(found)
