import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxpose.evaluation.synchronisation import (
  Head,
  Views,
  accuracy_by_gap,
  find_in_other_camera,
  find_in_others,
  gap_windows,
  pose_distances,
)

FIRST, SECOND = np.array([[1.0, -2, 3], [2, 1, -1]]), np.array([[2.0, -1, -4], [0, 3, 1]])


@pytest.mark.parametrize(
  ("fusion", "fused"),
  [
    ("mult", [[2, 2, 0], [0, 3, 0]]),
    ("add", [[3, 0, 0], [2, 4, 0]]),
    ("diff", [[0, 0, 7], [2, 0, 0]]),
    ("concat", [[1, 0, 3, 2, 0, 0], [2, 1, 0, 0, 3, 1]]),
  ],
)
def test_logits_by_hand(fusion, fused):
  kernel = np.array([0.1, -0.2, 0.3, 0.5, -0.4, 0.7])[: len(fused[0])]
  logits = np.array(fused) @ kernel + 0.25
  head = Head(fusion, kernel, 0.25)
  np.testing.assert_allclose(head.logits(FIRST, SECOND), logits)
  one = head.logits(FIRST[:1], SECOND)
  np.testing.assert_allclose(one[0], logits[0])
  assert one.shape == (2,)


def test_windows_are_the_papers_or_narrower_in_short_takes():
  assert gap_windows(500)[:3] == [(8, 1, 16), (24, 17, 32), (40, 33, 48)]
  assert gap_windows(500)[-1] == (120, 113, 128)
  assert all((g - 7, g + 8) == (low, high) for g, low, high in gap_windows(128))
  assert gap_windows(25) == [(2 + 3 * i, 1 + 3 * i, 3 + 3 * i) for i in range(8)]
  assert gap_windows(3) == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


def _clock(reach):
  """Views whose features say the time, and a head that takes up to `reach` frames for one instant.

  a = (t, −t, 1), −ReLU(a − b) · (1, 1, 0) + reach + ½ > 0 just where |t_a − t_b| ≤ reach.
  """
  rows = [(s, c, f) for s in range(3) for c in range(s + 1) for f in range(5 * s, 5 * s + 40)]
  sequence, camera, frame = np.array(rows).T
  features = np.stack([frame, -frame, np.ones(len(frame))], axis=1).astype(float)
  shuffled = np.random.default_rng(0).permutation(len(frame))
  views = Views(*(x[shuffled] for x in (features, sequence, camera, frame)))
  return views, Head("diff", np.array([-1.0, -1.0, 0.0]), reach + 0.5)


def test_accuracy_is_chance_within_reach_and_full_beyond():
  views, head = _clock(reach=8)
  # 39 frames: windows of 4
  curve = accuracy_by_gap(views, head, pairs=400, seed=0)
  assert [(p.low, p.high) for p in curve] == [(1 + 4 * i, 4 + 4 * i) for i in range(8)]
  assert [p.accuracy for p in curve] == [0.5, 0.5] + [1.0] * 6
  assert {p.pairs for p in curve} == {800}
  # within a window gaps are drawn evenly: in 9 to 12 a reach of 10 takes half of them for one
  part = accuracy_by_gap(views, Head(head.fusion, head.kernel, 10.5), pairs=2000, seed=0)[2]
  assert part.accuracy == pytest.approx(0.75, abs=0.03)


def test_no_accuracy_without_a_second_camera():
  views, head = _clock(0)
  alone = views.camera == 0
  single = Views(*(x[alone] for x in views))
  assert accuracy_by_gap(single, head, pairs=10, seed=0) == []
  assert find_in_other_camera(single, head, queries=5, seed=0) is None


def test_the_same_instant_is_found_in_another_camera_of_the_sequence():
  views, head = _clock(0)
  found = find_in_other_camera(views, head, queries=60, seed=1)
  assert found is not None
  retrieval, errors = found
  query, answer = retrieval.query, retrieval.found
  assert (views.sequence[query] > 0).all()  # the first has one camera
  np.testing.assert_array_equal(views.sequence[query], views.sequence[answer])
  assert (views.camera[query] != views.camera[answer]).all()
  np.testing.assert_array_equal(views.frame[query], views.frame[answer])
  assert (errors.mean, errors.median, errors.queries) == (0, 0, 60)
  chance = [
    np.abs(np.arange(5 * s, 5 * s + 40) - f).mean()
    for s, f in zip(views.sequence[query], views.frame[query])
  ]
  assert errors.random == pytest.approx(np.mean(chance))
  # a head that takes the latest frame for the likeliest errs by what is left of the take
  late, off = find_in_other_camera(views, Head("add", np.array([1.0, 0, 0]), 0), queries=60, seed=1)
  left = 5 * views.sequence[query] + 39 - views.frame[query]
  assert (off.mean, off.median) == (pytest.approx(left.mean()), np.median(left))
  np.testing.assert_array_equal(late.query, query)


def test_the_best_of_each_group_is_found():
  head = Head("mult", np.array([1.0, 1.0]), -2.0)
  features = np.array([[1.0, 0], [0, 1.0]])
  others = np.array([[3.0, 1], [1, 4], [2, 9], [5, 2], [1, 1]])
  first, second = find_in_others(
    features, np.array([1, 0]), others, [np.array([0, 1, 4]), np.array([2, 3])], head
  )
  np.testing.assert_array_equal(first.query, [1, 0])
  np.testing.assert_array_equal(first.found, [1, 0])
  np.testing.assert_array_equal(second.found, [2, 3])
  expected = 1 / (1 + np.exp(-(np.array([4.0, 3]) - 2)))
  np.testing.assert_allclose(first.probability, expected)


def test_distances_of_poses_with_and_without_the_angle_between_cameras():
  rng = np.random.default_rng(0)
  pose = rng.normal(0, 300, (4, 5, 3))
  turned = pose @ Rotation.from_euler("y", 90, degrees=True).as_matrix().T
  valid = np.ones((4, 5), bool)
  valid[3, 0] = False  # no root: left out
  turned[3] = 1e6
  found = pose_distances(pose + 1000, 2 * turned, valid, (0,))
  assert found["P-MPJPE/5 joints"] == pytest.approx(0, abs=1e-6)
  centred, other = pose[:3] - pose[:3, :1], turned[:3] - turned[:3, :1]
  scale = (centred * other * 2).sum((1, 2)) / (centred**2).sum((1, 2))
  errors = np.linalg.norm(scale[:, None, None] * centred - 2 * other, axis=-1).mean(1)
  assert found["N-MPJPE/5 joints"] == pytest.approx(errors.mean())
  assert pose_distances(pose, turned, ~valid & valid, (0,)) == {}
