import numpy as np
import pytest

from jaxpose.evaluation.disentanglement import assigned_share, cluster_accuracy


def test_each_cluster_is_given_another_label_in_the_best_way():
  cluster = np.array([0, 0, 0, 1, 1, 1, 1, 2])
  label = np.array([2, 2, 1, 2, 2, 2, 0, 1])
  # by majority clusters 0 and 1 would both be label 2: 2 + 3 + 1 = 6 of 8. One to one it is 4:
  # 1 -> 2 (3), then 0 -> 1 (1) or 2 -> 1 (1); or 0 -> 2 (2), 1 -> 0 (1), 2 -> 1 (1)
  assert assigned_share(cluster, label) == 4 / 8
  assert assigned_share(np.array([1, 1, 0]), np.array([0, 0, 1])) == 1.0
  assert assigned_share(np.array([0, 0, 0]), np.array([0, 1, 2])) == 1 / 3


def test_clusters_of_subjects_are_found_and_others_are_at_chance():
  rng = np.random.default_rng(0)
  subject = np.repeat([3, 7, 9], [60, 30, 10])  # names need not be 0, 1, 2
  corners = np.array([[0, 0], [50, 0], [0, 50.0]])
  looks = corners[np.repeat([0, 1, 2], [60, 30, 10])] + rng.normal(size=(100, 2))
  found = cluster_accuracy(looks, subject, seed=0)
  assert (found.accuracy, found.subjects, found.frames) == (1.0, 3, 100)
  # members drawn at random, clusters of 60, 30 and 10: 0.36 + 0.09 + 0.01 if each keeps its own
  assert 0.46 <= found.chance < 0.56
  poses = corners[rng.integers(0, 3, 100)] + rng.normal(size=(100, 2))
  other = cluster_accuracy(poses, subject, seed=0)
  assert abs(other.accuracy - other.chance) < 0.1
  assert cluster_accuracy(poses, subject, seed=0) == other


def test_one_subject_cannot_be_told_from_another():
  with pytest.raises(ValueError, match="only one"):
    cluster_accuracy(np.zeros((4, 2)), np.ones(4, int), seed=0)
