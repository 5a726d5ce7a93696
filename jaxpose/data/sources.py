"""Several data sets to draw from: which one an example is of, and what each can give."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpose.data.index import Dataset


@dataclasses.dataclass(frozen=True)
class Source:
  """A data set to draw from.

  Attributes:
    dataset: one split.
    weight: its share of the examples, relative to the other sources', 0 for none; None: its number
      of references.
    sequences: the only sequences to draw from; None for all.
  """

  dataset: Dataset
  weight: float | None = None
  sequences: tuple[int, ...] | None = None

  @property
  def chosen(self) -> Int[np.ndarray, " n"] | None:
    """`sequences` as an array."""
    return None if self.sequences is None else np.array(self.sequences)


def check_weights(sources: Sequence[Source]) -> None:
  """Raises ValueError where no source can be drawn by the weights."""
  weights = [source.weight for source in sources]
  if not all(w is None or 0 <= w < np.inf for w in weights) or all(w == 0 for w in weights):
    raise ValueError(f"weights of data sets must be 0 or more, and one of them more: {weights}")


def probabilities(sources: Sequence[Source], sizes: Sequence[int]) -> Float[np.ndarray, " n"]:
  """Probability of each source: its weight, or its size; 0 where it has nothing to give."""
  weights = [
    0.0 if size == 0 else float(size if source.weight is None else source.weight)
    for size, source in zip(sizes, sources)
  ]
  return np.array(weights) / max(sum(weights), 1e-30)


def choose(
  u: Float[np.ndarray, " n"], weights: Float[np.ndarray, " sources"]
) -> Int[np.ndarray, " n"]:
  """Number of the source by its probability; sources of probability 0 are never chosen."""
  able = np.flatnonzero(weights)
  if not able.size:
    return np.zeros(len(u), np.int64)
  ends = np.cumsum(weights[able])
  return able[np.minimum(np.searchsorted(ends, u, side="right"), len(able) - 1)]


def build_of_any(sources: Sequence[Source], build: Callable[[Source], Any]) -> list[Any]:
  """Tables of the sources that can give one, None of others.

  Raises:
    ValueError: none that has a weight can; names every source that cannot and why.
  """
  found: list[Any] = []
  errors = []
  for source in sources:
    try:
      found.append(build(source))
    except ValueError as error:
      found.append(None)
      errors.append(f"{source.dataset.directory}, split {source.dataset.split}: {error}")
  if all(table is None or source.weight == 0 for table, source in zip(found, sources)):
    raise ValueError("; ".join(errors))
  return found


def describe(source: Source) -> dict[str, Any]:
  """What of a source decides the batches, as JSON values."""
  index = source.dataset.index
  content = zlib.crc32(index.frame.tobytes(), zlib.crc32(index.length.tobytes()))
  return {
    "split": source.dataset.split,
    "frames": index.num_frames,
    "content": content,
    "weight": source.weight,
    "sequences": None if source.sequences is None else list(source.sequences),
  }
