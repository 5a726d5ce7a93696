"""Columns by blocks give what the whole columns give."""

import numpy as np
import pytest

from jaxpose.embeddings import ShardedArray
from jaxpose.evaluation import blocks, probe, protocols
from jaxpose.evaluation.fitting import make_training_data
from jaxpose.skeleton import Skeleton

_SKELETON = Skeleton("two", ("pelvis", "nose"), (0, 0), (), (0,))


@pytest.fixture
def small(monkeypatch):
  monkeypatch.setattr(blocks, "ROWS", 4)


class Counted(ShardedArray):
  """Says how many rows were ever read together."""

  most = 0

  def _rows(self, rows):
    self.most = max(self.most, len(rows))
    return super()._rows(rows)

  def __array__(self, dtype=None, copy=None):
    raise AssertionError("read as a whole")


def counted(array):
  return Counted([array[:3], array[3:10], array[10:]])


def _embeddings(rows: int = 23) -> dict:
  rng = np.random.default_rng(4)
  poses = rng.normal(size=(rows, 2, 3)).astype(np.float32)
  poses[rng.random(rows) < 0.5] = np.nan
  return {
    "time_variant": rng.normal(3, 2, size=(rows, 5)).astype(np.float32),
    "frame": np.arange(rows),
    "joint_names": np.array(_SKELETON.joints),
    "pose3d_mm": poses,
    "joint_valid": rng.random((rows, 2)) < 0.8,
    "present": rng.integers(-1, 2, rows),
  }


def test_blocks_are_all_rows_in_order(small):
  column = np.arange(30).reshape(10, 3)
  found = list(blocks.blocks(column))
  assert [first for first, _ in found] == [0, 4, 8]
  np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), column)


def test_statistics_of_blocks_are_those_of_the_whole(small):
  features = np.random.default_rng(0).normal(5, [1, 20, 300], size=(23, 3)).astype(np.float32)
  column = counted(features)
  mean, std = blocks.mean_and_std(column)
  np.testing.assert_allclose(mean, features.mean(axis=0, dtype=np.float64), rtol=1e-13)
  np.testing.assert_allclose(std, features.std(axis=0, dtype=np.float64), rtol=1e-13)
  assert column.most == 4


def test_training_data_read_the_labelled_rows_and_blocks_alone(small):
  data = _embeddings()
  column, rows = counted(data["time_variant"]), np.array([1, 9, 20])
  poses, valid = np.zeros((3, 2, 3), np.float32), np.ones((3, 2), bool)
  found = make_training_data(column, rows, poses, valid)
  features = data["time_variant"].astype(np.float64)
  expected = ((features - features.mean(axis=0)) / features.std(axis=0))[rows]
  np.testing.assert_allclose(np.asarray(found.features), expected, rtol=1e-5, atol=1e-5)
  assert column.most == 4


def test_labelled_frames_are_found_by_blocks(monkeypatch):
  data = _embeddings()
  whole = protocols.labelled_frames(data, _SKELETON, split="train")
  assert 3 < len(whole.rows) < 20
  monkeypatch.setattr(blocks, "ROWS", 4)
  columns = {name: counted(array) for name, array in data.items() if name != "joint_names"}
  found = protocols.labelled_frames(
    {**columns, "joint_names": data["joint_names"]}, _SKELETON, split="train"
  )
  for one, other in zip(found, whole):
    np.testing.assert_array_equal(one, other)
  assert columns["pose3d_mm"].most == columns["joint_valid"].most == 4


def test_a_digest_and_the_look_for_poses_go_by_blocks(monkeypatch):
  data = _embeddings()
  exports = {"trained": data}
  labels = protocols.labelled_frames(data, _SKELETON, split="train")
  whole = probe._digest(exports, exports, "time_variant", labels)
  monkeypatch.setattr(blocks, "ROWS", 4)
  columns = {name: counted(data[name]) for name in ("time_variant", "pose3d_mm")}
  exports = {"trained": columns}
  assert probe._digest(exports, exports, "time_variant", labels) == whole
  assert columns["time_variant"].most == 4
  assert probe._has_poses(columns)
  assert not probe._has_poses({"pose3d_mm": np.full((9, 2, 3), np.nan)})
