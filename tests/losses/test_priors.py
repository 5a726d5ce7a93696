import jax.numpy as jnp
import numpy as np

from jaxpose.losses import priors

BOX = jnp.asarray([0.6, 0.3, 0.1, -0.4])  # s_x, s_y, u_x, u_y


def test_location_prior_is_the_squared_distance_of_the_mean_shift():
  np.testing.assert_allclose(priors.location_prior(BOX, target=(0.0, 0.0)), 0.01 + 0.16, rtol=1e-5)
  np.testing.assert_allclose(priors.location_prior(BOX, target=(0.4, 0.0)), 0.09 + 0.16, rtol=1e-5)


def test_scale_prior_of_a_square_frame():
  got = priors.scale_prior(BOX, target=(0.5, 0.5), aspect=1.0)
  np.testing.assert_allclose(got, 0.1**2 + 0.2**2, rtol=1e-5)


def test_scale_prior_wants_a_box_that_is_square_in_pixels():
  # 200 x 100 px: half of the shorter side is 50 px, a quarter of the width and half of the height
  got = priors.scale_prior(BOX, target=(0.5, 0.5), aspect=2.0)
  np.testing.assert_allclose(got, (0.6 - 0.25) ** 2 + (0.3 - 0.5) ** 2, rtol=1e-5)
  # 100 x 400 px: 50 px are half of the width and an eighth of the height
  got = priors.scale_prior(BOX, target=(0.5, 0.5), aspect=0.25)
  np.testing.assert_allclose(got, (0.6 - 0.5) ** 2 + (0.3 - 0.125) ** 2, rtol=1e-5)


def test_scale_prior_wants_the_sides_asked_for():
  got = priors.scale_prior(BOX, target=(0.2, 0.8), aspect=2.0)
  np.testing.assert_allclose(got, (0.6 - 0.1) ** 2 + (0.3 - 0.8) ** 2, rtol=1e-5)
