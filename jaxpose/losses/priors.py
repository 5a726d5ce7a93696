"""Priors on the mean box of a whole batch (P1 §S.2; forms after NSD).

They take the mean over all devices, so that a single box is free to be small or off the centre.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def location_prior(
  mean_box: Float[Array, " 4"], *, target: tuple[float, float]
) -> Float[Array, ""]:
  """(ū_x − x)² + (ū_y − y)² for the target (x, y); the frame's centre is (0, 0)."""
  return jnp.square(mean_box[2:] - jnp.asarray(target)).sum()


def scale_prior(
  mean_box: Float[Array, " 4"], *, target: tuple[float, float], aspect: float
) -> Float[Array, ""]:
  """(s̄_x − σ_x·min(1, 1/a))² + (s̄_y − σ_y·min(1, a))², a = `aspect`.

  The papers draw the mean box to half of the frame; people who stand are better boxed by an upright
  target, which is why the two sides have one each.

  Args:
    target: (σ_x, σ_y), width and height as shares of the frame's shorter side.
    aspect: a = width / height of the frame.
  """
  goal = jnp.asarray([target[0] * min(1.0, 1 / aspect), target[1] * min(1.0, aspect)])
  return jnp.square(mean_box[:2] - goal).sum()
