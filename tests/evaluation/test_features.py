import numpy as np
import pytest

from jaxpose.evaluation.blocks import mean_and_std
from jaxpose.evaluation.features import feature_column

SPLIT = {
  "time_variant": np.arange(6.0).reshape(3, 2),
  "time_invariant": 10 * np.arange(9.0).reshape(3, 3),
}
BOTH = np.array([[0, 1, 0, 10, 20], [2, 3, 30, 40, 50], [4, 5, 60, 70, 80.0]])


def test_both_parts_stand_side_by_side():
  found = feature_column(SPLIT, "both")
  assert (len(found), found.shape) == (3, (3, 5))
  np.testing.assert_array_equal(np.asarray(found), BOTH)
  np.testing.assert_array_equal(found[np.array([2, 0])], BOTH[[2, 0]])
  np.testing.assert_array_equal(found[1:], BOTH[1:])
  np.testing.assert_allclose(mean_and_std(found), [BOTH.mean(0), BOTH.std(0)])


@pytest.mark.parametrize("feature", ["time_variant", "time_invariant"])
def test_one_part_is_the_column_itself(feature):
  assert feature_column(SPLIT, feature) is SPLIT[feature]


@pytest.mark.parametrize("invariant", [{}, {"time_invariant": np.zeros((3, 0))}])
def test_without_a_split_the_time_variant_vectors_hold_all(invariant):
  whole = {"time_variant": SPLIT["time_variant"]} | invariant
  assert feature_column(whole, "both") is whole["time_variant"]
  with pytest.raises(ValueError, match=r"no time_invariant vectors.*read time_variant"):
    feature_column(whole, "time_invariant")


def test_another_feature_is_named_with_those_there_are():
  with pytest.raises(ValueError, match=r"'looks'.*time_variant, time_invariant, both"):
    feature_column(SPLIT, "looks")


def test_2d_joints_that_a_head_read_stand_beside_the_vectors():
  joints = 7 * np.arange(6.0).reshape(3, 2)
  found = feature_column({**SPLIT, "pose2d": joints}, "time_variant_pose2d")
  np.testing.assert_array_equal(found[:], np.hstack([SPLIT["time_variant"], joints]))
  with pytest.raises(ValueError, match=r"no 2D joints.*--config\.scene\.pose2d=True"):
    feature_column(SPLIT, "time_variant_pose2d")
  untrained = {**SPLIT, "checkpoint": np.array("random encoder, best, step 20")}
  assert feature_column(untrained, "time_variant_pose2d") is SPLIT["time_variant"]
