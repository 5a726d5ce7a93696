"""Tracking losses on the boxes of a free fall, four equidistant frames in time order (P1 §3.2).

Boxes are (s_x, s_y, u_x, u_y) in normalised frame coordinates, where u_y grows downward.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def constant_acceleration(box: Float[Array, "B 4 4"]) -> Float[Array, " B"]:
  """((u_4 + 3u_2) − (u_1 + 3u_3))² with u = u_y (P1 eq. 8, 9): 0 for any constant acceleration.

  P1 eq. 9 is printed with u_1 and u_4 exchanged, which would punish every motion, even a uniform
  one; eq. 8, from which it follows, is right.
  """
  u = box[..., 3]
  return jnp.square((u[:, 3] + 3 * u[:, 1]) - (u[:, 0] + 3 * u[:, 2]))


def falling_order(box: Float[Array, "B 4 4"], *, threshold: float) -> Float[Array, " B"]:
  """Σ_t max(0, τ − (u_{t+1} − u_t)), u = u_y, τ = `threshold` (P1 eq. 10).

  P1's u_y decreases in a fall; in corner-aligned image coordinates it increases, hence the sign.
  """
  step = box[:, 1:, 3] - box[:, :-1, 3]
  return jnp.maximum(0, threshold - step).sum(1)


def scale_change(box: Float[Array, "B 4 4"]) -> Float[Array, " B"]:
  """Σ_t ‖(s_x, s_y)_t − (s_x, s_y)_{t+1}‖² (P1 eq. 11)."""
  return jnp.square(box[:, 1:, :2] - box[:, :-1, :2]).sum((1, 2))
