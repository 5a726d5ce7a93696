import numpy as np
import pytest

from jaxpose.data import labels, trc


def pose():
  rng = np.random.default_rng(0)
  body = np.array([[0.0, 0, 0], [-150, 800, 30], [10, -650, -20]])
  return body + rng.normal(0, 20, (4, 3, 3))


def test_written_poses_read_back(tmp_path):
  points, joints = pose(), ("hip", "left ankle", "head")
  points[2, 1, 0] = np.nan
  path = tmp_path / "walk.trc"
  trc.save_trc(path, joints, np.array([4, 6, 8, 10]), np.array([0.5, 0.75, 1, 1.25]), points, 4.0)
  found = labels.load_labels(path)
  assert found.joints == joints
  np.testing.assert_allclose(found.time_s, [0.5, 0.75, 1, 1.25])
  points[2, 1] = np.nan  # a joint is known as a whole or not at all
  np.testing.assert_allclose(found.points_mm, points, atol=5e-4)
  header = path.read_text().splitlines()
  assert header[2].split("\t") == ["4", "4", "4", "3", "mm", "4", "4", "4"]
  assert header[6].split("\t")[0] == "4"
  assert not list(tmp_path.glob("*.partial"))


def test_axes_turn_up_without_a_mirror():
  # camera: right, down, away -> right, up, towards the camera
  np.testing.assert_allclose(trc.camera_to_trc(np.array([1.0, 2, 3])), [1, -2, -3])
  assert np.linalg.det(trc.camera_to_trc(np.eye(3))) == 1.0


def test_arrays_that_do_not_belong_together_are_refused(tmp_path):
  with pytest.raises(ValueError, match="2 joints"):
    trc.save_trc(tmp_path / "a.trc", ("a", "b"), np.arange(4), np.arange(4.0), pose(), 1.0)
  with pytest.raises(ValueError, match="tab"):
    trc.save_trc(tmp_path / "a.trc", ("a\t", "b", "c"), np.arange(4), np.arange(4.0), pose(), 1.0)
