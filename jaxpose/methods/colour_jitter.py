"""Random brightness, contrast, saturation and hue of images, drawn for each image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

_LUMA = (0.299, 0.587, 0.114)
# Rows: Y, I, Q of RGB (NTSC); hue turns the (I, Q) plane.
_YIQ = (_LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955))


def colour_jitter(
  keys: Key[Array, " N"],
  images: Float[Array, "N H W 3"],
  *,
  brightness: float,
  contrast: float,
  saturation: float,
  hue: float,
  probability: float,
) -> Float[Array, "N H W 3"]:
  """Jitters the colours of each image by factors of its own, with a probability, clipped to [0, 1].

  Brightness b, contrast c and saturation s are factors drawn from [1 − x, 1 + x], applied in this
  order: x ← b x; x ← m + c (x − m) with m the image's mean luma; x ← l + s (x − l) with l each
  pixel's luma. Hue h turns the chroma plane (I, Q of YIQ) by 2π h, h from [−hue, hue]: linear, so
  that it is cheap on accelerators; it differs from a turn in HSV for saturated colours. (P2 §3.1
  jitters the input of the time-variant encoder and does not say by how much.)

  Args:
    keys: one key per image, so that draws do not depend on how images are shared out.
    images: RGB in [0, 1].
  """
  return jax.vmap(
    lambda key, image: _jitter_one(key, image, brightness, contrast, saturation, hue, probability)
  )(keys, images)


def _jitter_one(key, image, brightness, contrast, saturation, hue, probability):
  draws = jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0)
  luma = jnp.asarray(_LUMA, image.dtype)
  out = image * (1.0 + brightness * draws[0])
  mean = jnp.mean(out @ luma)
  out = mean + (1.0 + contrast * draws[1]) * (out - mean)
  grey = (out @ luma)[..., None]
  out = grey + (1.0 + saturation * draws[2]) * (out - grey)
  angle = 2.0 * jnp.pi * hue * draws[3]
  c, s = jnp.cos(angle), jnp.sin(angle)
  one, zero = jnp.ones_like(c), jnp.zeros_like(c)
  turn = jnp.stack(
    [jnp.stack([one, zero, zero]), jnp.stack([zero, c, -s]), jnp.stack([zero, s, c])]
  )
  yiq = jnp.asarray(_YIQ, image.dtype)
  out = jnp.clip(out @ (jnp.linalg.inv(yiq) @ turn @ yiq).T, 0.0, 1.0)
  chosen = (draws[4] + 1.0) / 2.0 < probability
  return jnp.where(chosen, out, image)
