"""Which labels of which split a run learns from."""

import ml_collections
import numpy as np
import pytest
from test_label_choice import Labelled

from jaxpose.run_labels import RunLabels


def make_labels(*, supervised, **changes):
  values = {"subjects": (), "label_count": "all", "normalise": "pose", "centre_camera": False}
  sections = {"supervised": values | changes, "probe": {"subjects": ("S5",)}, "seed": 3}
  splits = {
    "train": [Labelled(4), Labelled(2, name="also")],
    "validation": [Labelled(2, ("S9", "S11"))],
  }
  return RunLabels(ml_collections.ConfigDict(sections), splits.get, supervised=supervised)


def test_training_has_the_labels_that_are_asked_for_and_other_splits_have_all():
  labels = make_labels(supervised=True, subjects=("S1",), label_count=3)
  first, also = labels.of("train").ids
  # labelled and not empty are 1, 2, 4, 7, 8, 11, 13, 14: S1 has the frames 0-3 and 12-15
  assert set(first) | set(also) <= {1, 2, 13, 14}
  assert len(first) + len(also) == labels.count() == 3
  (ids,) = labels.of("validation").ids  # of people whom the configuration does not name
  np.testing.assert_array_equal(ids, [1, 2, 4, 7])


def test_statistics_are_of_the_labels_that_are_learned_from():
  mean = make_labels(supervised=True, subjects=("S5",)).mean_pose_mm
  # S5 has frames 4 and 7 in both data sets: the root at (id, 0, 0), the knee id mm from it
  np.testing.assert_allclose(mean[1, 1], (4 + 7) / 2)


def test_a_probe_has_the_labels_of_its_subjects_in_the_runs_own_data():
  labels = make_labels(supervised=False)
  assert labels.count() == 2
  assert labels.count_all() == 8 + 4


def test_labels_of_nobody_are_an_error_before_anything_is_read():
  with pytest.raises(ValueError, match=r"supervised\.subjects names 'S7'"):
    make_labels(supervised=True, subjects=("S7",)).count()
