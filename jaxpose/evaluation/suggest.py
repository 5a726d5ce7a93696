"""Which frames to label: few frames that are spread over the embedding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpose.data.sampling import evenly_spread
from jaxpose.evaluation.protocols import has_person

METHODS = ("kmeans", "kcenter")
_MOST = 20_000  # rows that the clustering looks at


def suggest_frames(
  embeddings: Mapping[str, Any],
  count: int,
  *,
  method: str = "kmeans",
  feature: str = "time_variant",
  seed: int = 0,
) -> Int[np.ndarray, " count"]:
  """Rows of the embeddings to label, ascending.

  "kmeans": the frame nearest to each of `count` cluster centres: typical poses. "kcenter": greedily
  the frame farthest from all chosen ones: also rare poses. Frames taken to be empty are left out;
  of over 20,000 frames, that many evenly spaced ones are looked at.

  Raises:
    ValueError: unknown method, or more frames asked for than there are.
  """
  if method not in METHODS:
    raise ValueError(f"method {method!r} is none of {', '.join(METHODS)}")
  rows = np.flatnonzero(has_person(embeddings))
  if not 1 <= count <= len(rows):
    raise ValueError(f"cannot suggest {count} frames: {len(rows)} frames show a person")
  rows = evenly_spread(rows, max(_MOST, count))
  table = np.asarray(embeddings[feature][rows], np.float32)
  std = table.std(axis=0)
  table = (table - table.mean(axis=0)) / np.where(std > 0, std, 1.0)
  choose = _kmeans if method == "kmeans" else _kcenter
  return np.sort(rows[choose(table, count, seed)])


def _kmeans(table: Float[np.ndarray, "N D"], count: int, seed: int) -> Int[np.ndarray, " count"]:
  from sklearn.cluster import KMeans

  centres = KMeans(count, n_init=1, random_state=seed).fit(table).cluster_centers_
  chosen: list[int] = []
  free = np.ones(len(table), bool)
  for centre in centres:
    distance = np.where(free, np.square(table - centre).sum(axis=1), np.inf)
    chosen.append(int(np.argmin(distance)))
    free[chosen[-1]] = False
  return np.array(chosen)


def _kcenter(table: Float[np.ndarray, "N D"], count: int, seed: int) -> Int[np.ndarray, " count"]:
  chosen = [int(np.random.default_rng(seed).integers(len(table)))]
  distance = np.square(table - table[chosen[0]]).sum(axis=1)
  while len(chosen) < count:
    distance[chosen] = -1.0
    chosen.append(int(np.argmax(distance)))
    distance = np.minimum(distance, np.square(table - table[chosen[-1]]).sum(axis=1))
  return np.array(chosen)
