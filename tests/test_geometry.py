import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose import geometry


def _camera(seed: int = 0) -> geometry.Camera:
  rng = np.random.default_rng(seed)
  K = np.array([[410.0, 0, 130], [0, 400, 95], [0, 0, 1]])
  R = cv2.Rodrigues(rng.normal(size=3))[0]
  distortion = np.array([-0.2, 0.05, 0.003, -0.002, 0.01])
  return geometry.Camera(K, R, np.array([10.0, -20.0, 3000.0]), distortion, 256, 192)


def test_box_to_corners_of_an_off_centre_box():
  # 9 px wide: half is 4. x: (0.25 -+ 0.5 + 1) * 4 = 3 and 7. 5 px high: half is 2.
  # y: (-0.5 -+ 0.25 + 1) * 2 = 0.5 and 1.5
  box = np.array([0.5, 0.25, 0.25, -0.5])
  np.testing.assert_allclose(geometry.box_to_corners_px(box, 5, 9), [3, 0.5, 7, 1.5])


def test_corners_to_box_is_the_inverse():
  corners = np.array([[3.0, 0.5, 7.0, 1.5], [0, 0, 8, 4]])
  box = geometry.corners_px_to_box(corners, 5, 9)
  np.testing.assert_allclose(geometry.box_to_corners_px(box, 5, 9), corners)
  np.testing.assert_allclose(box[1], [1, 1, 0, 0])


def test_invert_box_undoes_the_map():
  box = np.array([0.5, 0.25, 0.3, -0.6])
  inverse = geometry.invert_box(box)
  crop = np.array([0.7, -0.2])
  frame = box[:2] * crop + box[2:]
  np.testing.assert_allclose(inverse[:2] * frame + inverse[2:], crop)


@pytest.mark.parametrize("xp", [np, jnp])
def test_box_iou_of_overlapping_boxes(xp):
  # 4x2 and 3x3 overlap in 2x1: 2 / (8 + 9 - 2); disjoint: 0; empty box: 0
  a = xp.asarray([[0.0, 0, 4, 2], [0, 0, 1, 1], [2, 2, 2, 2]])
  b = xp.asarray([[2.0, 1, 5, 4], [3, 3, 4, 4], [0, 0, 4, 4]])
  np.testing.assert_allclose(geometry.box_iou(a, b), [2 / 15, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("xp", [np, jnp])
def test_mask_to_corners_is_tight_and_unknown_where_the_mask_is_empty(xp):
  mask = np.zeros((2, 5, 8), np.float32)
  mask[0, 1, 3] = 0.5
  mask[0, 3, 6] = 0.9
  mask[0, 4, 7] = 0.4
  got = np.asarray(geometry.mask_to_corners_px(xp.asarray(mask), 0.5))
  np.testing.assert_array_equal(got[0], [2.5, 0.5, 6.5, 3.5])  # edges of px 3..6 × 1..3
  assert np.isnan(got[1]).all()


def test_rotations_turn_the_axes_into_each_other():
  np.testing.assert_allclose(
    geometry.rotation_about("z", np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12
  )
  np.testing.assert_allclose(
    geometry.rotation_about("x", np.pi / 2) @ [0, 1, 0], [0, 0, 1], atol=1e-12
  )
  np.testing.assert_allclose(
    geometry.rotation_about("y", np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12
  )
  with pytest.raises(ValueError, match="axis"):
    geometry.rotation_about("w", 0.0)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 0.4, 3.0])
def test_rodrigues_agrees_with_opencv(scale):
  vector = scale * np.array([0.3, -0.8, 0.52])
  np.testing.assert_allclose(
    geometry.rotation_from_axis_angle(vector), cv2.Rodrigues(vector)[0], atol=1e-12
  )


def test_world_to_camera_and_back_over_leading_axes():
  camera = _camera()
  points = np.random.default_rng(1).normal(size=(4, 5, 3)) * 500
  moved = geometry.world_to_camera(points, camera)
  np.testing.assert_allclose(moved[2, 3], camera.R @ points[2, 3] + camera.t_mm)
  np.testing.assert_allclose(geometry.camera_to_world(moved, camera), points, atol=1e-9)
  centre = geometry.camera_centre(camera)
  np.testing.assert_allclose(camera.R @ centre + camera.t_mm, 0, atol=1e-9)


def test_project_agrees_with_opencv():
  camera = _camera()
  points = np.random.default_rng(2).normal(size=(7, 3)) * 300
  expected = cv2.projectPoints(
    points, cv2.Rodrigues(camera.R)[0], camera.t_mm, camera.K, camera.distortion
  )[0][:, 0]
  got = geometry.project(geometry.world_to_camera(points, camera), camera)
  np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_points_behind_the_camera_have_no_image():
  got = geometry.project(np.array([[1.0, 2, -3], [0, 0, 10]]), _camera())
  assert np.isnan(got[0]).all()
  np.testing.assert_allclose(got[1], [130, 95])


def test_scale_align_of_a_doubled_pose_with_noise_of_no_weight():
  pose = np.array([[1.0, 2, 3], [0, -1, 4], [7, 7, 7]])
  target = 2 * pose
  target[2] = 1e6
  weight = np.array([1.0, 1, 0])
  np.testing.assert_allclose(geometry.scale_align(pose, target, weight)[:2], target[:2])


@pytest.mark.parametrize("xp", [np, jnp])
def test_procrustes_undoes_a_similarity_but_no_reflection(xp):
  rng = np.random.default_rng(3)
  pose = rng.normal(size=(2, 6, 3))
  R = cv2.Rodrigues(np.array([0.4, -1.0, 0.2]))[0]
  moved = 1.7 * pose @ R.T + [3, -2, 1]
  aligned = geometry.procrustes_align(xp.asarray(pose), xp.asarray(moved))
  np.testing.assert_allclose(aligned, moved, atol=1e-4 if xp is jnp else 1e-10)
  mirrored = pose * [-1, 1, 1]
  far = geometry.procrustes_align(xp.asarray(mirrored), xp.asarray(pose))
  assert np.abs(np.asarray(far) - pose).max() > 0.3


def test_procrustes_ignores_joints_without_weight():
  rng = np.random.default_rng(4)
  pose = rng.normal(size=(5, 3))
  target = 0.5 * pose + [1, 2, 3]
  target[4] = np.nan
  weight = np.array([1.0, 1, 1, 1, 0])
  np.testing.assert_allclose(
    geometry.procrustes_align(pose, target, weight)[:4], target[:4], atol=1e-12
  )


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_turned_camera_sees_its_rays_point_in_the_centre(xp):
  camera = _camera()._replace(distortion=np.zeros(5))
  points = np.array([[300.0, -200, 2500], [-700, 100, 3000], [0, 0, 900]])
  pixels = geometry.project(points, camera)
  rays = geometry.back_project(xp.asarray(pixels), xp.asarray(camera.K))
  lengths = np.linalg.norm(points, axis=-1)
  np.testing.assert_allclose(rays * lengths[:, None], points, rtol=1e-3, atol=1e-3)
  R = np.asarray(geometry.rotation_to_optical_axis(rays))
  np.testing.assert_allclose(R @ np.swapaxes(R, -1, -2), [np.eye(3)] * 3, atol=1e-5)
  np.testing.assert_allclose(np.linalg.det(R), 1, rtol=1e-5)
  np.testing.assert_allclose(np.einsum("nij,nj->ni", R, rays), [[0, 0, 1]] * 3, atol=1e-5)
  # it is the smallest such rotation: by the angle between the ray and the axis
  np.testing.assert_allclose((np.trace(R, axis1=1, axis2=2) - 1) / 2, rays[:, 2], rtol=1e-5)
  np.testing.assert_allclose(R[2], np.eye(3), atol=1e-6)
  # the camera turned by R[0], in the same place, shows the world's points where K R K⁻¹ says
  world = geometry.camera_to_world(points, camera)
  turned = camera._replace(R=R[0] @ camera.R, t_mm=R[0] @ camera.t_mm)
  found = geometry.project(geometry.world_to_camera(world, turned), turned)
  np.testing.assert_allclose(found[0], camera.K[:2, 2], atol=1e-2)
  moved = camera.K @ R[0] @ np.linalg.inv(camera.K) @ np.append(pixels[1], 1)
  np.testing.assert_allclose(found[1], moved[:2] / moved[2], rtol=1e-4)
  np.testing.assert_allclose(
    geometry.camera_centre(turned), geometry.camera_centre(camera), atol=0.1
  )
