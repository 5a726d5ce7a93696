import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.losses import pose


def test_pose_loss_sums_squares_over_the_valid_joints():
  prediction = jnp.asarray([[[1.0, 2, 3], [0, 0, 0]], [[1, 1, 1], [5, 0, 0]]])
  label = jnp.asarray([[[0.0, 0, 0], [jnp.nan] * 3], [[1, 3, 1], [0, 0, 1]]])
  valid = jnp.asarray([[True, False], [True, True]])
  # 1 + 4 + 9; 4 + 25 + 1
  np.testing.assert_allclose(pose.pose_l2(prediction, label, valid), [14, 30])
  gradient = jax.grad(lambda p: pose.pose_l2(p, label, valid).sum())(prediction)
  np.testing.assert_allclose(gradient[0], [[2, 4, 6], [0, 0, 0]])
