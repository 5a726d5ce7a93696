import numpy as np
import pytest
from tiny_data import LEG, make_index

from jaxpose import geometry, label_choice
from jaxpose.data.index import Dataset
from jaxpose.evaluation import protocols

NAMES = ("S1", "S5", "S6")


class Labelled(Dataset):
  """Tracks of 4 frames, each of another of three subjects: every third frame has no label."""

  split, skeleton = "train", LEG

  def __init__(self, tracks, names=NAMES, name="x"):
    self.directory, self.subjects = f"/data/{name}", list(names)
    index = make_index([range(4)] * tracks)
    i = np.arange(4 * tracks)
    index.labelled[:] = i % 3 > 0
    index.present[:] = np.where(i % 5, np.where(i % 2, 1, -1), 0)
    index.subject[:] = np.arange(tracks) % len(names)
    self.index, self.read = index, None

  def read_labels(self, ids, names):
    """Root at (id, 0, 0); the knee id mm, the ankle 7 mm beside it."""
    self.read = np.asarray(ids)
    poses = np.zeros((len(ids), 3, 3))
    poses[..., 0] = self.read[:, None]
    poses[:, 1, 1] = self.read
    poses[:, 2, 2] = 7
    every = {
      "pose3d_mm": poses,
      "joint_valid": np.ones((len(ids), 3), bool),
      "K": np.repeat(np.eye(3)[None], len(ids), 0),
      "box_px": np.tile([1.0, 0, 3, 0], (len(ids), 1)),
      "pose2d_px": np.full((len(ids), 3, 2), np.nan),
    }
    return {name: every[name] for name in names}


def choose(*datasets, subjects=(), count=0, seed=0):
  return label_choice.choose_labels(datasets, subjects=subjects, count=count, seed=seed)


def statistics(dataset, **changes):
  values = {"normalise": "pose", "centre_camera": False} | changes
  return label_choice.compute_statistics([dataset], choose(dataset).ids, **values)


def test_labelled_frames_are_those_with_a_pose_that_may_show_somebody():
  # not 0, 3, 6, ...: no label; not 5, 10: empty; unknown presence counts
  (ids,) = choose(Labelled(3)).ids
  np.testing.assert_array_equal(ids, [1, 2, 4, 7, 8, 11])


def test_only_the_named_subjects_are_learned_from():
  found = choose(Labelled(4), subjects=("S5", "S1"))
  # S1 has frames 0-3 and 12-15, S5 4-7, S6 8-11
  np.testing.assert_array_equal(found.ids[0], [1, 2, 4, 7, 13, 14])
  assert (found.size, found.available, found.all) == (6, 6, 8)
  other = choose(Labelled(2, ("S6",)), Labelled(3), subjects=("S6",))
  np.testing.assert_array_equal(other.ids[0], [1, 2, 4, 7])
  np.testing.assert_array_equal(other.ids[1], [8, 11])
  said = r"config\.supervised\.subjects names 'S9': the training data have S1, S5, S6"
  with pytest.raises(ValueError, match=said):
    choose(Labelled(4), subjects=("S1", "S9"))
  with pytest.raises(ValueError, match="/data/x, split train: no 3D labels of S6, which"):
    choose(Labelled(2), subjects=("S6",))


def test_a_number_of_labels_is_the_probes_subset_of_all_data_sets_together():
  first, second = Labelled(30), Labelled(21, name="y")
  every = choose(first, second)
  rows = np.concatenate([every.ids[0], every.ids[1] + 1000])
  for seed in (0, 1):
    found = choose(first, second, count=25, seed=seed)
    assert (found.size, found.available) == (25, len(rows))
    chosen = np.concatenate([found.ids[0], found.ids[1] + 1000])
    subset = protocols.sample_label_subset(len(rows), 25, seed)
    np.testing.assert_array_equal(chosen, rows[subset])
    assert all(np.isin(part, whole).all() for part, whole in zip(found.ids, every.ids, strict=True))
  assert choose(first, count=0.5).size == choose(first, count="50%").size == 32
  with pytest.raises(ValueError, match=r"supervised\.label_count: asked for 700 labels, but only"):
    choose(first, count=700)


def test_label_statistics_are_of_all_labels_where_they_are_few():
  dataset = Labelled(3)
  found, mean = statistics(dataset)
  np.testing.assert_array_equal(dataset.read, [1, 2, 4, 7, 8, 11])
  # (1 + 2 + 4 + 7 + 8 + 11) / 6 = 5.5; squares of deviations 20.25 + 12.25 + 2.25 + 2.25 + 6.25 +
  # 30.25 = 73.5 in one of 3 x 3 coordinates of six frames
  np.testing.assert_allclose(found.mean_mm, [[0, 0, 0], [0, 5.5, 0], [0, 0, 7]])
  assert found.scale_mm == pytest.approx(np.sqrt(73.5 / 54))
  assert (found.root, found.mirrored) == ((0,), (0, 1, 2))
  np.testing.assert_array_equal(mean, found.mean_mm)
  by_joint, _ = statistics(dataset, normalise="joint")
  assert by_joint.scale_mm[1, 1] == pytest.approx(np.sqrt(73.5 / 6))
  assert (np.delete(by_joint.scale_mm.ravel(), 4) == 1).all()


def test_label_statistics_are_of_evenly_spaced_frames_where_they_are_many(monkeypatch):
  monkeypatch.setattr(label_choice, "STATISTICS_FRAMES", 3)
  dataset = Labelled(3)
  found, _ = statistics(dataset)
  # places 0, 2.5 and 5 of six; 2.5 rounds to 2
  np.testing.assert_array_equal(dataset.read, [1, 4, 11])
  np.testing.assert_allclose(found.mean_mm[1], [0, 16 / 3, 0], rtol=1e-6)


def test_statistics_are_turned_and_the_mean_pose_is_not():
  found, mean = statistics(Labelled(3), centre_camera=True)
  # the root is not known in 2D: the box's centre (2, 0) px, seen along (2, 0, 1) with K = 1
  R = geometry.rotation_to_optical_axis(np.array([2, 0, 1]) / np.sqrt(5))
  np.testing.assert_allclose(mean, [[0, 0, 0], [0, 5.5, 0], [0, 0, 7]])
  np.testing.assert_allclose(found.mean_mm, mean @ R.T, atol=1e-5)


def test_data_without_labels_are_named():
  dataset = Labelled(3)
  dataset.index.labelled[:] = False
  named = r"/data/x, split train: no 3D labels, which config\.supervised asks"
  with pytest.raises(ValueError, match=named):
    choose(dataset)
