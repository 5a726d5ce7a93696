"""Does a part of the embedding tell who is in the frame? Clusters against subjects (P2 §4.4.3)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

_SHUFFLES = 100  # random assignments that the chance level is the mean of
_STARTS = 10  # of k-means


class ClusterAccuracy(NamedTuple):
  """How well clusters are subjects.

  Attributes:
    accuracy: share of the frames whose cluster is their subject's.
    chance: the same for clusters of these sizes whose members are drawn at random.
    subjects: k.
    frames: N.
  """

  accuracy: float
  chance: float
  subjects: int
  frames: int


def cluster_accuracy(
  features: Float[np.ndarray, "N D"], subject: Int[np.ndarray, " N"], *, seed: int
) -> ClusterAccuracy:
  """k-means of the vectors as they are, k = the number of subjects, against the subjects.

  max_π Σ_c n(c, π(c)) / N: n counts the frames of cluster c and a subject, π gives each cluster
  another subject. Chance is not 1/k, since π is chosen by the frames that it is scored on.

  Raises:
    ValueError: there are fewer than two subjects.
  """
  from sklearn.cluster import KMeans

  names, numbers = np.unique(subject, return_inverse=True)
  if len(names) < 2:
    raise ValueError("clusters are compared with subjects: these frames show only one")
  clusters = KMeans(len(names), n_init=_STARTS, random_state=seed).fit_predict(features)
  shuffle = np.random.default_rng(seed).permutation
  chance = [assigned_share(clusters, shuffle(numbers)) for _ in range(_SHUFFLES)]
  accuracy = assigned_share(clusters, numbers)
  return ClusterAccuracy(accuracy, float(np.mean(chance)), len(names), len(features))


def assigned_share(cluster: Int[np.ndarray, " N"], label: Int[np.ndarray, " N"]) -> float:
  """Share of the frames in the cluster of their label, under the best one-to-one assignment."""
  from scipy.optimize import linear_sum_assignment

  size = int(max(cluster.max(), label.max())) + 1
  counts: Any = np.zeros((size, size), np.int64)
  np.add.at(counts, (cluster, label), 1)
  rows, columns = linear_sum_assignment(counts, maximize=True)
  return float(counts[rows, columns].sum() / len(label))
