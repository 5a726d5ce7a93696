"""Loss of a pose regressor (P1 eq. 14; P2 eq. 13 for 2D, eq. 15 for 3D)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def pose_l2(
  prediction: Float[Array, "B J C"], label: Float[Array, "B J C"], valid: Bool[Array, "B J"]
) -> Float[Array, " B"]:
  """Σ over valid joints of ‖p̂_j − p_j‖² (P1 eq. 14, one example); invalid labels may be NaN."""
  known = jnp.where(valid[..., None], label, prediction)
  return jnp.square(prediction - known).sum((1, 2))
