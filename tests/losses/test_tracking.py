import jax.numpy as jnp
import numpy as np

from jaxpose.losses import tracking


def boxes(shift_y, scale=((0.5, 0.6),) * 4):
  """One sample of four boxes (s_x, s_y, u_x, u_y); u_x wanders and must not matter."""
  rows = [[sx, sy, ux, uy] for (sx, sy), ux, uy in zip(scale, (0.3, -0.1, 0.4, 0), shift_y)]
  return jnp.asarray([rows], jnp.float32)


def test_any_constant_acceleration_is_free():
  t = np.arange(4)
  for fall in (0.1 * t, -0.2 + 0.05 * t + 0.04 * t**2, 0.3 - 0.03 * t**2):
    np.testing.assert_allclose(tracking.constant_acceleration(boxes(fall)), [0], atol=1e-12)


def test_changing_acceleration_costs_the_square_of_the_third_difference():
  # u = 0, 0.1, 0.3, 0.2: accelerations 0.1 and −0.3
  got = tracking.constant_acceleration(boxes([0, 0.1, 0.3, 0.2]))
  np.testing.assert_allclose(got, [0.16], rtol=1e-5)


def test_order_loss_asks_for_steps_downward_in_the_image():
  # steps +0.2, −0.1, +0.03, τ = 0.05: max(0, −0.15) + 0.15 + 0.02
  got = tracking.falling_order(boxes([0, 0.2, 0.1, 0.13]), threshold=0.05)
  np.testing.assert_allclose(got, [0.17], rtol=1e-5)
  np.testing.assert_allclose(tracking.falling_order(boxes([0, 0.1, 0.2, 0.3]), threshold=0.05), [0])


def test_scale_change_sums_both_axes():
  scale = [(0.5, 0.6), (0.7, 0.6), (0.7, 0.9), (0.6, 0.9)]
  got = tracking.scale_change(boxes([0] * 4, scale))
  np.testing.assert_allclose(got, [0.04 + 0.09 + 0.01], rtol=1e-5)
