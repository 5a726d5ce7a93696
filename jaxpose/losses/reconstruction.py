"""Reconstruction losses (P1 eq. 2, P2 eq. 2)."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def l1(
  prediction: Float[Array, " B *shape"], label: Float[Array, " B *shape"]
) -> Float[Array, " B"]:
  """Mean over pixels and channels of |Î − I| (P1 eq. 2)."""
  error = jnp.abs(prediction - label)
  return error.reshape(error.shape[0], -1).mean(1)


def l2(
  prediction: Float[Array, " B *shape"], label: Float[Array, " B *shape"]
) -> Float[Array, " B"]:
  """Mean over pixels and channels of (Î − I)² (P2 eq. 2, pixels)."""
  error = jnp.square(prediction - label)
  return error.reshape(error.shape[0], -1).mean(1)


def perceptual(
  prediction: Sequence[Float[Array, "B ..."]], label: Sequence[Float[Array, "B ..."]]
) -> Float[Array, " B"]:
  """Σ over layers of the mean over positions and channels of (f(Î) − f(I))² (P2 eq. 2, features).

  Means inside each layer keep a layer's share independent of the image's size and its width.

  Raises:
    ValueError: the two lists differ in length.
  """
  return sum((l2(p, q) for p, q in zip(prediction, label, strict=True)), jnp.zeros(()))


def normalise_by_label_statistics(
  prediction: Float[Array, "B H W C"], label: Float[Array, "B H W C"], *, minimum_std: float
) -> tuple[Float[Array, "B H W C"], Float[Array, "B H W C"]]:
  """(Î − μ)/σ and (I − μ)/σ, with μ, σ of the label for each image and channel (NSD).

  Args:
    minimum_std: bound from below on σ; an even image would divide by 0.
  """
  mean = label.mean((1, 2), keepdims=True)
  std = jnp.sqrt(jnp.maximum(jnp.square(label - mean).mean((1, 2), keepdims=True), minimum_std**2))
  return (prediction - mean) / std, (label - mean) / std
