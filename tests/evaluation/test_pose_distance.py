import numpy as np
import pytest

from jaxpose.evaluation.pose_distance import (
  DistanceCurve,
  constant_share,
  distance_curve,
  suggest_distances,
)


def moving(x):
  """Two joints: the root, and one at (x, 0, 0) mm."""
  poses = np.zeros((len(x), 2, 3))
  poses[:, 1, 0] = x
  return poses, np.ones((len(x), 2), bool)


def test_distances_are_means_over_pairs_of_one_track():
  # one track at 10, 12, 14 with x = 0, 6, 8; another at 10, 12, 18 with x = 100, 110, 130
  poses, valid = moving([0, 6, 8, 100, 110, 130])
  track, tick = np.array([4, 4, 4, 6, 6, 6]), np.array([10, 12, 14, 10, 12, 18])
  found = distance_curve(poses, valid, track, tick)
  # the root's distance is 0, so the mean over two joints is half of the other's
  np.testing.assert_array_equal(found.ticks, [2, 4, 6, 8])
  np.testing.assert_array_equal(found.pairs, [3, 1, 1, 1])
  np.testing.assert_allclose(found.mpjpe_mm, [(3 + 1 + 5) / 3, 4, 10, 15])


def test_only_joints_that_both_poses_have_are_compared():
  poses, valid = moving([0.0, 6.0, 8.0])
  valid[1, 1], poses[1, 1] = False, np.nan
  valid[0, 0] = False
  found = distance_curve(poses, valid, np.zeros(3, int), np.arange(3))
  # 0-1: none in common; 1-2: the root alone, 0; 0-2: the other alone, 8
  np.testing.assert_array_equal(found.pairs, [1, 1])
  np.testing.assert_allclose(found.mpjpe_mm, [0, 8])


def test_rounded_times_are_paired_within_the_tolerance():
  poses, valid = moving([0.0, 2.0, 6.0, 8.0])
  tick = np.array([0, 33, 67, 100])
  exact = distance_curve(poses, valid, np.zeros(4, int), tick)
  np.testing.assert_array_equal(exact.pairs[:1], [2])
  found = distance_curve(poses, valid, np.zeros(4, int), tick, tolerance=2)
  np.testing.assert_array_equal(found.ticks, [33, 67, 100])
  np.testing.assert_array_equal(found.pairs, [3, 2, 1])
  np.testing.assert_allclose(found.mpjpe_mm, [(1 + 2 + 1) / 3, 3, 4])


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 60, 120])
def test_rounded_times_are_paired_however_far_apart(fps):
  # at 30 frames/s 33, 67, 100, ... ms: 7 times 33 is more than 2 ms too short
  tick = np.rint(np.arange(90) * 1000 / fps).astype(int)
  poses, valid = moving(np.arange(90.0))
  found = distance_curve(poses, valid, np.zeros(90, int), tick, tolerance=2)
  frames = np.rint(found.ticks * fps / 1000).astype(int)
  np.testing.assert_array_equal(frames[:9], np.arange(1, 10))
  assert len(frames) == 29  # of 40, many of which are one when rounded to a frame
  assert frames[-1] == 89
  np.testing.assert_allclose(found.ticks, frames * 1000 / fps, atol=1)
  np.testing.assert_array_equal(found.pairs, 90 - frames)
  np.testing.assert_allclose(found.mpjpe_mm, frames / 2)


def test_long_tracks_have_few_points_close_together_at_first():
  poses, valid = moving(np.arange(5000.0))
  found = distance_curve(poses, valid, np.zeros(5000, int), np.arange(5000) * 5)
  assert len(found.ticks) <= 40
  np.testing.assert_array_equal(found.ticks[:3], [5, 10, 15])
  assert found.ticks[-1] == 4999 * 5
  np.testing.assert_allclose(found.mpjpe_mm, found.ticks / 5 / 2)
  np.testing.assert_array_equal(found.pairs, 5000 - found.ticks // 5)


def test_single_frames_have_no_distance():
  poses, valid = moving([0.0, 1.0])
  with pytest.raises(ValueError, match="no track has two frames"):
    distance_curve(poses, valid, np.array([0, 1]), np.array([0, 1]))


def test_the_suggestion_is_where_the_curve_crosses_its_shares():
  ticks, pairs = np.array([1, 2, 4, 8, 16, 20]), np.array([9, 8, 7, 6, 3, 1])
  mm = np.array([10.0, 30, 50, 86, 96, 112])
  # plateau (3 · 96 + 112) / 4 = 100: a third is passed at 4, 85 reached at 8
  assert suggest_distances(DistanceCurve(ticks, mm, pairs)) == (2, 8, 100.0)
  # a curve that starts high: the shortest distance, and one more than it
  flat = DistanceCurve(ticks, np.full(6, 100.0), pairs)
  assert suggest_distances(flat) == (1, 2, 100.0)
  # a dip later on does not count
  dip = DistanceCurve(ticks, np.array([10.0, 40, 20, 86, 96, 112]), pairs)
  assert suggest_distances(dip)[:2] == (1, 8)
  with pytest.raises(ValueError, match="one temporal distance"):
    suggest_distances(DistanceCurve(ticks[:1], mm[:1], pairs[:1]))


def test_what_lies_between_tracks_is_the_constant_share():
  poses, valid = moving([0.0, 100, 6, 106, 500])
  valid[4, 1], poses[4, 1] = False, np.nan
  track = np.array([7, 3, 7, 3, 3])
  # within tracks 4 * 3²; in all, around 53: 53² + 47² + 47² + 53²; the root stays at 0
  np.testing.assert_allclose(constant_share(poses, valid, track), 1 - 36 / 10036)
  assert constant_share(poses, valid, np.zeros(5, int)) == 0
  assert constant_share(0 * np.nan_to_num(poses), valid, track) == 0  # nobody moves
