import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import real_data_dir

from jaxpose.data import labels
from jaxpose.geometry import Camera

JOINTS = ("RHip", "LHip", "Head")
# rows of a person about 1 m tall, in metres; asymmetric in all axes
POSES = np.array(
  [
    [[0.1, 0.2, 0.9], [0.3, 0.25, 0.8], [0.2, 0.1, 1.7]],
    [[0.2, 0.2, 0.9], [0.4, 0.25, 0.8], [0.3, 0.1, 1.7]],
    [[0.3, 0.2, 0.9], [0.5, 0.25, 0.8], [0.4, 0.1, 1.7]],
  ]
)


def save(path, poses=POSES, **extra):
  np.savez(path, joints3d=poses, names=np.array(JOINTS), fps=10, **extra)
  return path


def write_trc(path, units="m", poses=POSES):
  lines = ["PathFileType\t4\t(X/Y/Z)\ta.trc", "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits"]
  lines += [f"10\t10\t3\t3\t{units}", "Frame#\tTime\t" + "\t\t\t".join(JOINTS), "\t\tX1\tY1\tZ1"]
  for i, pose in enumerate(poses):
    cells = ["" if np.isnan(v) else f"{v}" for v in pose.ravel()]
    lines.append("\t".join([str(i + 1), f"{0.1 * i}", *cells]))
  path.write_text("\n".join(lines))
  return path


def test_trc_csv_and_npz_say_the_same(tmp_path):
  header = "time," + ",".join(f"{axis}_{joint}" for joint in JOINTS for axis in "XYZ")
  rows = [",".join([f"{0.1 * i}", *(f"{v}" for v in p.ravel())]) for i, p in enumerate(POSES)]
  (tmp_path / "a.csv").write_text("\n".join([header, *rows]))
  for path in (write_trc(tmp_path / "a.trc"), tmp_path / "a.csv", save(tmp_path / "a.npz")):
    found = labels.load_labels(path)
    assert found.joints == JOINTS
    np.testing.assert_allclose(found.time_s, [0, 0.1, 0.2])
    np.testing.assert_allclose(found.points_mm, POSES * 1000, atol=1e-9)


def test_axes_are_reordered_and_turned(tmp_path):
  path = save(tmp_path / "a.npz")
  found = labels.load_labels(path, axes="zxy").points_mm[0, 0]
  np.testing.assert_allclose(found, [900, 100, 200])  # world x = file z, y = x, z = y
  np.testing.assert_allclose(
    labels.load_labels(path, axes="x-zy").points_mm[0, 0], [100, -900, 200]
  )
  with pytest.warns(UserWarning, match="mirror"):
    labels.load_labels(path, axes="yxz")
  with pytest.raises(labels.LabelError, match="axes"):
    labels.load_labels(path, axes="xxz")


@pytest.mark.parametrize(("factor", "unit"), [(1, "m"), (100, "cm"), (1000, "mm")])
def test_units_are_guessed_from_the_body(tmp_path, factor, unit):
  path = save(tmp_path / "a.npz", POSES * factor)
  np.testing.assert_allclose(labels.load_labels(path).points_mm, POSES * 1000)
  np.testing.assert_allclose(labels.load_labels(path, units=unit).points_mm, POSES * 1000)


def test_absurd_sizes_and_wrong_units_are_errors(tmp_path):
  with pytest.raises(labels.LabelError, match="no person"):
    labels.load_labels(save(tmp_path / "a.npz", POSES * 1e6))
  with pytest.raises(labels.LabelError, match="another unit"):
    labels.load_labels(save(tmp_path / "b.npz"), units="mm")
  with pytest.raises(labels.LabelError, match="another unit"):
    labels.load_labels(write_trc(tmp_path / "a.trc", units="mm"))  # the file's own word is wrong


def test_missing_cells_are_unknown_joints(tmp_path):
  poses = POSES.copy()
  poses[1, 2] = np.nan
  found = labels.load_labels(write_trc(tmp_path / "a.trc", poses=poses))
  assert np.isnan(found.points_mm[1, 2]).all()
  assert np.isfinite(found.points_mm[1, :2]).all()


def test_resample_is_linear_inside_short_gaps_only():
  points = np.zeros((6, 1, 3))
  points[:, 0, 0] = [0, 10, 20, 30, 40, 50]
  points[2, 0] = np.nan  # gap of two periods: bridged
  found = labels.resample(
    labels.Labels(("a",), np.arange(6) / 10, points), np.array([0.15, 0.2, 0.45])
  )
  np.testing.assert_allclose(found[:, 0, 0], [15, 20, 45])
  points[3, 0] = np.nan  # three periods: not
  held = labels.Labels(("a",), np.arange(6) / 10, points)
  found = labels.resample(held, np.array([0.1, 0.15, 0.4, -0.1, 0.6]))[:, 0, 0]
  np.testing.assert_allclose(found, [10, np.nan, 40, np.nan, np.nan])


def test_times_rounded_to_microseconds_keep_the_row_before_a_gap():
  # 2/60 s is written as 0.033333, a little before the frame; 4/60 s as 0.066667, a little after
  points = np.zeros((10, 1, 3))
  points[:, 0, 0] = np.arange(10)
  points[[3, 5, 6, 7], 0] = np.nan
  held = labels.Labels(("a",), np.round(np.arange(10) / 60, 6), points)
  found = labels.resample(held, np.arange(10) / 60, max_gap_periods=1.5)[:, 0, 0]
  np.testing.assert_allclose(found, [0, 1, 2, np.nan, 4, np.nan, np.nan, np.nan, 8, 9], atol=1e-3)


def test_take_rows_beyond_the_file_are_unknown():
  held = labels.Labels(JOINTS, np.arange(3) / 10, POSES)
  found = labels.take_rows(held, np.array([-1, 1, 3]))
  assert np.isnan(found[[0, 2]]).all()
  np.testing.assert_array_equal(found[1], POSES[1])


def camera_in_front():
  K = np.array([[500.0, 0, 50], [0, 500, 50], [0, 0, 1]])
  return Camera(K, np.eye(3), np.array([0.0, 0, 5000]), np.zeros(5), 100, 100)


def test_projection_reports_and_refuses_what_lies_elsewhere():
  camera = camera_in_front()
  points = np.array([[[0.0, 0, 0], [100, 200, 0], [np.nan] * 3]])
  found = labels.project_labels(points, camera, "w")
  # 50 + 500 * 100 / 5000 = 60, 50 + 500 * 200 / 5000 = 70
  np.testing.assert_allclose(found.pose2d_px[0, :2], [[50, 50], [60, 70]])
  np.testing.assert_allclose(found.pose3d_mm[0, 1], [100, 200, 5000])
  assert (found.labelled, found.behind, found.outside) == (pytest.approx(2 / 3), 0, 0)
  with pytest.raises(labels.LabelError, match="100% of the 3D labels lie behind"):
    labels.project_labels(points - [0, 0, 9000], camera, "w")
  with pytest.raises(labels.LabelError, match="100% outside"):
    labels.project_labels(points + [9000, 0, 0], camera, "w")
  some = np.concatenate([np.zeros((1, 7, 3)), np.full((1, 1, 3), [9000.0, 0, 0])], axis=1)
  with pytest.warns(UserWarning, match="12% outside"):
    labels.project_labels(some, camera, "w")


def test_pickles_are_not_loaded(tmp_path):
  np.savez(tmp_path / "a.npz", joints3d=np.array([{"x": 1}], dtype=object), names=np.array(JOINTS))
  with pytest.raises(labels.LabelError, match="pickle"):
    labels.load_labels(tmp_path / "a.npz")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".trc", ".csv", ".npz", ".doc"]))
def test_any_bytes_give_a_clear_error(tmp_path_factory, data, suffix):
  path = tmp_path_factory.mktemp("fuzz") / f"l{suffix}"
  path.write_bytes(data)
  with pytest.raises(labels.LabelError, match="l"):
    labels.load_labels(path)


def test_recorded_trc_and_npz_agree():
  folder = real_data_dir() / "pose2sim_balancing"
  trc = labels.load_labels(folder / "Pose2Sim_markers.trc", axes="zxy")
  npz = labels.load_labels(folder / "joints3d_world.npz")
  assert trc.joints == npz.joints
  np.testing.assert_allclose(trc.points_mm, npz.points_mm, atol=0.01)
