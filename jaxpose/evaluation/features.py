"""Which vectors of an embedding a probe reads: time-variant, time-invariant, both, or with 2D."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TIME_VARIANT, TIME_INVARIANT, BOTH = "time_variant", "time_invariant", "both"
WITH_POSE2D = "time_variant_pose2d"
FEATURES = (TIME_VARIANT, TIME_INVARIANT, BOTH, WITH_POSE2D)
_POSE2D = "pose2d"  # the column of joints that a head was trained to read


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

  A method that does not split has all in its time-variant vectors: there `both` is these. With
  `time_variant_pose2d` the 2D joints that a head read are added (P2 eq. 15, second phase with 2D);
  an untrained encoder has no head, and its time-variant vectors stand alone.

  Raises:
    ValueError: there is no such feature, or the embedding lacks it.
  """
  if feature not in FEATURES:
    raise ValueError(f"features {feature!r} of a probe: choose one of {', '.join(FEATURES)}")
  parts = {BOTH: (TIME_VARIANT, TIME_INVARIANT), WITH_POSE2D: (TIME_VARIANT, _POSE2D)}
  names = parts.get(feature, (feature,))
  trained = not str(embeddings.get("checkpoint", "")).startswith("random")
  if feature == WITH_POSE2D and _POSE2D not in embeddings and trained:
    raise ValueError(
      f"the embeddings have no 2D joints for {feature}: train with --config.scene.pose2d=True"
    )
  found = [embeddings[n] for n in names if n in embeddings and np.shape(embeddings[n])[1]]
  if not found:
    raise ValueError(
      f"the embeddings have no {feature} vectors: the method does not split them; read"
      f" {TIME_VARIANT}, which holds all"
    )
  return found[0] if len(found) == 1 else Joined(found)
