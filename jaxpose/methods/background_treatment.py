"""Frames without their background, which would tell pairs of views apart by itself (P3 §3.2)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpose.models.resnet import denormalise_image

KEEP, REMOVE, SUBSTITUTE, MIX = "keep", "remove", "substitute", "mix"
TREATMENTS = (KEEP, REMOVE, SUBSTITUTE, MIX)


def foreground(
  images: Float[Array, "N H W 3"], backgrounds: Float[Array, "N H W 3"], threshold: float
) -> Bool[Array, "N H W 1"]:
  """max over channels |I − B| > threshold of each pixel, in [0, 1]; nothing is smoothed or filled.

  P3 thresholds each pixel too, and gives no figure.
  """
  return jnp.max(jnp.abs(images - backgrounds), axis=3, keepdims=True) > threshold


def remove_background(
  images: Float[Array, "N H W 3"], backgrounds: Float[Array, "N H W 3"], threshold: float
) -> Float[Array, "N H W 3"]:
  """The frames with ImageNet's mean colour, 0 to the networks, where the background is seen."""
  empty = denormalise_image(jnp.zeros((1, 1, 1, 3)))
  return jnp.where(
    foreground(images, backgrounds, threshold), images, jnp.broadcast_to(empty, images.shape)
  )


def substitute_background(
  images: Float[Array, "N H W 3"],
  backgrounds: Float[Array, "N H W 3"],
  others: Float[Array, "N H W 3"],
  threshold: float,
) -> Float[Array, "N H W 3"]:
  """The frames with another background where theirs is seen."""
  return jnp.where(foreground(images, backgrounds, threshold), images, others)
