import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose import geometry
from jaxpose.methods import pose_target
from jaxpose.skeleton import H36M17

WIDTH, HEIGHT = 256, 192
CAMERA = geometry.Camera(
  np.array([[410.0, 3, 140], [0, 400, 90], [0, 0, 1]]),
  np.eye(3),
  np.zeros(3),
  np.zeros(5),
  WIDTH,
  HEIGHT,
)
ORDER = tuple(H36M17.flip_permutation.tolist())


def _scene(count=5, seed=0):
  """People of random joints before the camera, and their labels."""
  rng = np.random.default_rng(seed)
  root = rng.uniform([-900, -500, 2500], [900, 500, 4000], (count, 1, 3))
  poses = root + rng.normal(0, 300, (count, 17, 3))
  return poses, _labels(poses, CAMERA)


def _labels(poses, camera):
  pixels = geometry.project(poses, camera)
  return {
    "K": np.repeat(camera.K[None], len(poses), 0),
    "box_px": np.concatenate([pixels.min(1), pixels.max(1)], -1),
    "pose2d_px": pixels,
    "joint_valid": np.ones(poses.shape[:2], bool),
  }


def test_statistics_are_of_root_centred_poses_with_a_root():
  poses = np.full((3, 3, 3), np.nan)
  poses[0] = [[1, 2, 3], [2, 2, 3], [1, 5, 3]]
  poses[1, :2] = [[10, 0, 0], [13, 0, 0]]
  poses[2, 1:] = 77  # no root: left out
  valid = np.isfinite(poses).all(-1)
  found = pose_target.compute_label_statistics(poses, valid, (0,), (0, 2, 1), normalise="pose")
  np.testing.assert_allclose(found.mean_mm, [[0, 0, 0], [2, 0, 0], [0, 3, 0]])
  # of five valid joints only the second's x deviates, by -1 and 1
  assert found.scale_mm == pytest.approx(np.sqrt(2 / 15))
  assert (found.root, found.mirrored) == ((0,), (0, 2, 1))
  with pytest.raises(ValueError, match="valid root"):
    pose_target.compute_label_statistics(poses[2:], valid[2:], (0,), (0, 1, 2), normalise="pose")


def test_statistics_of_each_coordinate():
  poses = np.full((4, 3, 3), np.nan)
  poses[0] = [[1, 2, 3], [2, 2, 3], [1, 5, 3]]
  poses[1, :2] = [[10, 0, 0], [13, 0, 0]]
  poses[2, 1:] = 77  # no root: left out
  poses[3] = [[0, 0, 0], [5, 0, 8], [0, 7, 0]]
  valid = np.isfinite(poses).all(-1)
  found = pose_target.compute_label_statistics(poses, valid, (0,), (0, 1, 2), normalise="joint")
  np.testing.assert_allclose(found.mean_mm, [[0, 0, 0], [3, 0, 8 / 3], [0, 5, 0]])
  # x of the second: 1, 3, 5; its z: 0, 0, 8; y of the third: 3, 7; what never changes: 1
  spread = np.sqrt([8 / 3, 128 / 9, 4])
  expected = np.ones((3, 3))
  expected[1, 0], expected[1, 2], expected[2, 1] = spread
  np.testing.assert_allclose(found.scale_mm, expected, rtol=1e-6)
  frozen = {"mean_mm": jnp.asarray(found.mean_mm), "scale_mm": jnp.asarray(found.scale_mm)}
  centred = jnp.asarray(poses[[0, 3]] - poses[[0, 3], :1], jnp.float32)
  standard = pose_target.standardise(centred, frozen)
  np.testing.assert_allclose(standard[1, 1], [2 / spread[0], 0, 16 / 3 / spread[1]], rtol=1e-5)
  np.testing.assert_allclose(pose_target.to_mm(standard, frozen), centred, atol=1e-5)
  with pytest.raises(ValueError, match=r"supervised\.normalise is 'bone': choose one of pose, joi"):
    pose_target.compute_label_statistics(poses, valid, (0,), (0, 1, 2), normalise="bone")


def test_statistics_are_of_the_turned_poses():
  poses = np.array([[[0, 0, 10], [3, 4, 10]], [[1, 1, 9], [1, 1, 14]]], float)
  rotation = np.stack([np.eye(3), geometry.rotation_about("y", np.pi / 2)])  # z becomes x
  found = pose_target.compute_label_statistics(
    poses, np.ones((2, 2), bool), (0,), (0, 1), normalise="pose", rotation=rotation
  )
  np.testing.assert_allclose(found.mean_mm[1], [(3 + 5) / 2, 2, 0], atol=1e-5)
  # deviations ±1 and ±2 twice over in two of 3 x 2 x 2 coordinates
  np.testing.assert_allclose(found.scale_mm, np.sqrt((2 + 8) / 12), rtol=1e-5)


def test_the_turned_camera_looks_at_the_root():
  poses, labels = _scene()
  rotation = pose_target.camera_rotation(labels, H36M17.root)
  root = np.einsum("nij,nj->ni", rotation, poses[:, 0])
  np.testing.assert_allclose(
    root / np.linalg.norm(root, axis=1)[:, None], [[0, 0, 1]] * 5, atol=1e-9
  )
  single = {n: jnp.asarray(x, bool if x.dtype == bool else "float32") for n, x in labels.items()}
  np.testing.assert_allclose(
    pose_target.camera_rotation(single, H36M17.root), rotation, rtol=1e-3, atol=1e-5
  )


def test_it_looks_at_the_boxs_centre_where_the_root_is_not_known_and_else_stays():
  _, labels = _scene()
  labels["pose2d_px"][0, 0] = np.nan
  labels["joint_valid"][1, 0] = False
  labels["pose2d_px"][2, 0], labels["box_px"][2] = np.nan, np.nan
  labels["K"][3] = np.nan
  found = pose_target.camera_rotation(labels, H36M17.root)
  for frame in (0, 1):
    x0, y0, x1, y1 = labels["box_px"][frame]
    ray = np.linalg.inv(CAMERA.K) @ [(x0 + x1) / 2, (y0 + y1) / 2, 1]
    np.testing.assert_allclose(found[frame] @ ray, [0, 0, np.linalg.norm(ray)], atol=1e-9)
  for frame in (2, 3):
    np.testing.assert_array_equal(found[frame], np.eye(3))
  ray = np.linalg.inv(CAMERA.K) @ [*labels["pose2d_px"][4, 0], 1]
  np.testing.assert_allclose(found[4] @ ray, [0, 0, np.linalg.norm(ray)], atol=1e-9)


def test_turning_keeps_distances_and_turning_back_undoes_it():
  poses, labels = _scene()
  rotation = jnp.asarray(pose_target.camera_rotation(labels, H36M17.root), jnp.float32)
  relative = jnp.asarray(poses - poses[:, :1], jnp.float32)
  turned = pose_target.turn(relative, rotation)
  expected = np.einsum("nij,npj->npi", rotation, relative)
  np.testing.assert_allclose(turned, expected, rtol=1e-4, atol=1e-2)
  assert np.abs(turned - relative).max() > 50
  lengths = [
    np.linalg.norm(np.asarray(p)[:, 1:] - np.asarray(p)[:, :-1], axis=-1)
    for p in (relative, turned)
  ]
  np.testing.assert_allclose(*lengths, rtol=1e-4)
  np.testing.assert_allclose(pose_target.turn_back(turned, rotation), relative, atol=1e-2)


def test_mirroring_twice_changes_nothing_and_once_is_the_mirrored_pose():
  poses, _ = _scene()
  poses = poses.astype(np.float32)
  valid = np.random.default_rng(1).random((5, 17)) < 0.7
  flip = jnp.asarray([True, False, True, True, False])
  once = pose_target.mirror(jnp.asarray(poses), jnp.asarray(valid), flip, ORDER)
  for i in range(5):
    expected = poses[i][H36M17.flip_permutation] * [-1, 1, 1] if flip[i] else poses[i]
    np.testing.assert_array_equal(once[0][i], expected)
    np.testing.assert_array_equal(once[1][i], valid[i, list(ORDER)] if flip[i] else valid[i])
  twice = pose_target.mirror(*once, flip, ORDER)
  np.testing.assert_array_equal(twice[0], poses)
  np.testing.assert_array_equal(twice[1], valid)


def test_the_mirrored_target_is_that_of_the_mirrored_scene():
  poses, labels = _scene()
  K = CAMERA.K.copy()  # x → −x in the room is u → width − 1 − u in the picture
  K[0, 2], K[0, 1] = WIDTH - 1 - K[0, 2], -K[0, 1]
  seen = poses[:, list(ORDER)] * [-1, 1, 1]
  mirrored = _labels(seen, CAMERA._replace(K=K))
  np.testing.assert_allclose(
    mirrored["pose2d_px"][:, 0, 0], WIDTH - 1 - labels["pose2d_px"][:, 0, 0]
  )

  def target(labels, poses):
    rotation = jnp.asarray(pose_target.camera_rotation(labels, H36M17.root), jnp.float32)
    centred = pose_target.root_centre(jnp.asarray(poses, jnp.float32), H36M17.root)
    return pose_target.turn(centred, rotation)

  every = jnp.ones(5, bool)
  valid = jnp.asarray(labels["joint_valid"])
  found, _ = pose_target.mirror(target(labels, poses), valid, every, ORDER)
  np.testing.assert_allclose(found, target(mirrored, seen), rtol=1e-3, atol=0.05)
