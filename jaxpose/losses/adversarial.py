"""Losses of a discriminator and of the network that it judges (DrNet)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def binary_cross_entropy(
  logits: Float[Array, " *batch"], target: float | Float[Array, " *batch"]
) -> Float[Array, " *batch"]:
  """−t·log σ(z) − (1 − t)·log(1 − σ(z)).

  With t = ½ it is smallest where the discriminator cannot tell, which is the adversary's aim.

  Args:
    logits: z.
    target: t, of all or of each, e.g. 1 for "from the same video", 0 for "from different ones".
  """
  return jax.nn.softplus(logits) - target * logits


def feature_distance(
  a: Float[Array, "*batch D"], b: Float[Array, "*batch D"]
) -> Float[Array, " *batch"]:
  """Mean over the features of (a − b)²."""
  return jnp.mean((a - b) ** 2, axis=-1)
