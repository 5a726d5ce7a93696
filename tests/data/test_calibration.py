import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import real_data_dir

from jaxpose.data import calibration
from jaxpose.data.video import make_geometry
from jaxpose.geometry import project, world_to_camera

POSE2SIM = """
[cam_01]
name = "cam_01"
size = [640.0, 480.0]
matrix = [[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.02, 0.001, 0.002]
rotation = [0.1, -0.7, 0.3]
translation = [0.1, 0.2, 3.0]
fisheye = false

[metadata]
error = 0.0
"""
POINTS = np.array([[100.0, -200.0, 300.0], [-400.0, 50.0, 100.0]])


def write(tmp_path, text, name="calibration.toml"):
  path = tmp_path / name
  path.write_text(text)
  return path


def opencv_pixels(rvec, t_mm):
  K = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
  pixels, _ = cv2.projectPoints(
    POINTS, np.array(rvec), np.array(t_mm), K, np.array([-0.1, 0.02, 0.001, 0.002])
  )
  return pixels[:, 0]


def test_pose2sim_toml_projects_as_opencv_does(tmp_path):
  camera = calibration.load_calibration(write(tmp_path, POSE2SIM))["cam_01"]
  expected = opencv_pixels([0.1, -0.7, 0.3], [100.0, 200.0, 3000.0])  # metres were guessed
  np.testing.assert_allclose(project(world_to_camera(POINTS, camera), camera), expected, atol=1e-6)


def test_units(tmp_path):
  path = write(tmp_path, POSE2SIM)
  assert calibration.load_calibration(path, "cm")["cam_01"].t_mm[2] == 30.0
  in_mm = write(tmp_path, POSE2SIM.replace("[0.1, 0.2, 3.0]", "[100.0, 200.0, 3000.0]"), "mm.toml")
  assert calibration.load_calibration(in_mm)["cam_01"].t_mm[2] == 3000.0
  unclear = write(tmp_path, POSE2SIM.replace("[0.1, 0.2, 3.0]", "[10.0, 20.0, 300.0]"), "cm.toml")
  with pytest.raises(calibration.CalibrationError, match="cm or mm"):
    calibration.load_calibration(unclear)


@pytest.mark.parametrize("suffix", ["yml", "xml"])
def test_opencv_file_storage(tmp_path, suffix):
  path = tmp_path / f"left.{suffix}"
  storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
  storage.write("image_width", 640)
  storage.write("image_height", 480)
  storage.write("camera_matrix", np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]))
  storage.write("distortion_coefficients", np.array([[-0.1, 0.02, 0.001, 0.002, 0.0]]))
  storage.write("rvec", np.array([[0.1], [-0.7], [0.3]]))
  storage.write("T", np.array([[100.0], [200.0], [3000.0]]))
  storage.release()
  camera = calibration.load_calibration(path)["left"]
  assert (camera.width, camera.height) == (640, 480)
  expected = opencv_pixels([0.1, -0.7, 0.3], [100.0, 200.0, 3000.0])
  np.testing.assert_allclose(project(world_to_camera(POINTS, camera), camera), expected, atol=1e-6)


def test_qualisys_agrees_with_the_toml_of_the_same_cameras():
  folder = real_data_dir() / "pose2sim_balancing"
  toml = calibration.load_calibration(folder / "Pose2Sim_cameras.toml")
  qualisys = calibration.load_calibration(folder / "Calib.qca.txt")
  for name, camera in toml.items():
    other = calibration.find_camera(qualisys, name, "file")
    for field in ("K", "R", "t_mm", "distortion"):
      np.testing.assert_allclose(getattr(other, field), getattr(camera, field), atol=1e-2)


def test_caliscope_cameras_look_at_the_board():
  cameras = calibration.load_calibration(real_data_dir() / "caliscope_desk" / "camera_array.toml")
  assert sorted(cameras) == ["cam_0", "cam_1", "cam_2", "cam_3"]
  for camera in cameras.values():  # the world's origin is the board
    assert 500 < np.linalg.norm(camera.t_mm) < 2000
    assert camera.t_mm[2] > 0


def test_names_match_but_for_zeros_and_case(tmp_path):
  cameras = calibration.load_calibration(write(tmp_path, POSE2SIM))
  assert calibration.find_camera(cameras, "Cam1", "f").width == 640
  with pytest.raises(calibration.CalibrationError, match="another take"):
    calibration.find_camera(cameras, "cam02", "f")


@pytest.mark.parametrize(
  ("old", "new", "match"),
  [
    ("fisheye = false", "fisheye = true", "fisheye"),
    ("translation", "transl", "translation"),
    ("500.0", "-500.0", "focal"),
    ("[0.1, -0.7, 0.3]", "[[1,0,0],[0,1,0],[0,0,-1]]", "no rotation"),
    ("[-0.1, 0.02, 0.001, 0.002]", "[0,0,0,0,0,0.3]", "distortion"),
    ("matrix", "matrlx", "no table"),
    ("size = [640.0, 480.0]", "size = [640.0]", "cam_01"),
    ("[cam_01]", "[cam_01", "TOML"),
  ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, match):
  path = write(tmp_path, POSE2SIM.replace(old, new))
  with pytest.raises(calibration.CalibrationError, match=match) as caught:
    calibration.load_calibration(path)
  assert "calibration.toml" in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".toml", ".xml", ".yml", ".txt"]))
def test_any_bytes_give_a_clear_error(tmp_path_factory, data, suffix):
  path = tmp_path_factory.mktemp("fuzz") / f"c{suffix}"
  path.write_bytes(data)
  with pytest.raises(calibration.CalibrationError, match="c"):
    calibration.load_calibration(path)


def test_fit_to_frames(tmp_path):
  camera = calibration.load_calibration(write(tmp_path, POSE2SIM))["cam_01"]
  assert calibration.fit_to_frames(camera, 640, 480, "w") is camera
  with pytest.warns(UserWarning, match=r"rescaled by 0\.5"):
    half = calibration.fit_to_frames(camera, 320, 240, "w")
  # pixel centres at integers: (320 + 0.5) / 2 - 0.5
  np.testing.assert_allclose(half.K[:2, 2], [159.75, 119.75])
  assert half.K[0, 0] == 250.0
  with pytest.warns(UserWarning, match="cut"):
    cut = calibration.fit_to_frames(camera, 632, 480, "w")
  np.testing.assert_array_equal(cut.K, camera.K)
  assert cut.width == 632
  with pytest.raises(calibration.CalibrationError, match="turned"):
    calibration.fit_to_frames(camera, 480, 640, "w")
  with pytest.raises(calibration.CalibrationError, match="another camera"):
    calibration.fit_to_frames(camera, 640, 400, "w")


def test_camera_and_points_follow_the_geometry_alike(tmp_path):
  camera = calibration.load_calibration(write(tmp_path, POSE2SIM))["cam_01"]
  geometry = make_geometry(640, 480, roi=(100, 50, 400, 300), image_size=128)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    stored = calibration.fit_to_geometry(camera, geometry)
  inside = world_to_camera(POINTS, camera)
  np.testing.assert_allclose(
    project(inside, stored), geometry.points_to_stored(project(inside, camera)), atol=1e-9
  )
  assert (stored.height, stored.width) == geometry.size
