"""Frames without their background, which would tell pairs of views apart by itself (P3 §3.2)."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpose.methods import batching
from jaxpose.models.resnet import denormalise_image

KEEP, REMOVE, SUBSTITUTE, MIX = "keep", "remove", "substitute", "mix"
TREATMENTS = (KEEP, REMOVE, SUBSTITUTE, MIX)
_EMPTY_TOLERANCE = 1e-3  # below a grey level: interpolation rounds


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
  seen = foreground(images, backgrounds, threshold)
  return jnp.where(seen, images, jnp.broadcast_to(_empty(), images.shape))


def keep_empty(
  treatment: str, images: Float[Array, "N H W 3"], changed: Float[Array, "N H W 3"]
) -> Float[Array, "N H W 3"]:
  """The changed images, but what `keep_or_remove` took out of them stays out.

  Jittered like a person, it would have another colour in training than it has ever after.
  """
  if treatment == KEEP:
    return changed
  away = jnp.max(jnp.abs(images - _empty()), axis=3, keepdims=True)
  return jnp.where(away > _EMPTY_TOLERANCE, changed, images)


def _empty() -> Float[Array, "1 1 1 3"]:
  return denormalise_image(jnp.zeros((1, 1, 1, 3)))


def removes(treatment: str) -> bool:
  """Whether frames alone are without their background, see `keep_or_remove`."""
  return treatment in (REMOVE, MIX)


def keep_or_remove(
  treatment: str, images: Float[Array, "N H W 3"], frames: Mapping[str, Array], threshold: float
) -> Float[Array, "N H W 3"]:
  """Frames alone as training saw them: without their background if that was ever removed.

  With "keep" it stays, and with "substitute", where another stood in its place.

  Args:
    frames: has `background`, uint8 and as many px as `images`, where it is removed.
  """
  if not removes(treatment):
    return images
  own = batching.to_float(frames["background"].reshape(images.shape))
  return remove_background(images, own, threshold)


def substitute_background(
  images: Float[Array, "N H W 3"],
  backgrounds: Float[Array, "N H W 3"],
  others: Float[Array, "N H W 3"],
  threshold: float,
) -> Float[Array, "N H W 3"]:
  """The frames with another background where theirs is seen."""
  return jnp.where(foreground(images, backgrounds, threshold), images, others)
