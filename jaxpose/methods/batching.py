"""What every method does first: floats, flat frames, a key for each example, its networks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped, UInt8

from jaxpose.method import Variables
from jaxpose.shapes import FRAMES_PER_SAMPLE


def networks(variables: Variables) -> Variables:
  """What the networks are applied with: all but `frozen`, which the method itself reads."""
  return {kind: tree for kind, tree in variables.items() if kind != "frozen"}


def to_float(images: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
  """Bytes 0..255 to floats 0..1, on the device: a quarter of the transfer."""
  return images.astype(jnp.float32) / 255.0


def flat(values: Shaped[Array, "B T *rest"]) -> Shaped[Array, " N *rest"]:
  """All frames of all samples, one after the other."""
  return values.reshape((values.shape[0] * values.shape[1], *values.shape[2:]))


def samples(values: Shaped[Array, " N *rest"]) -> Shaped[Array, "B T *rest"]:
  """The inverse of `flat`."""
  count = values.shape[0] // FRAMES_PER_SAMPLE
  return values.reshape((count, FRAMES_PER_SAMPLE, *values.shape[1:]))


def per_sample(values: Float[Array, " N"]) -> Float[Array, " B"]:
  """Mean over the frames of each sample."""
  return jnp.mean(samples(values), axis=1)


def frames(sample: dict[str, Array]) -> Float[Array, "N H W 3"]:
  """The images of a batch of temporal samples, in [0, 1]."""
  return to_float(flat(sample["image"]))


def backgrounds(sample: dict[str, Array]) -> Float[Array, "N H W 3"]:
  """One background for all frames of a static camera, or one a frame, in [0, 1]."""
  background = sample["background"]
  shape = (background.shape[0], sample["image"].shape[1], *background.shape[2:])
  return to_float(flat(jnp.broadcast_to(background, shape)))


def draw_keys(keys: Key[Array, " B"], purpose: int) -> Key[Array, " B"]:
  """A key of each example for one of its draws."""
  return jax.vmap(lambda key: jax.random.fold_in(key, purpose))(keys)


def frame_keys(keys: Key[Array, " B"], purpose: int) -> Key[Array, " N"]:
  """A key for each frame of each sample."""
  split = jax.vmap(lambda key: jax.random.split(key, FRAMES_PER_SAMPLE))
  return split(draw_keys(keys, purpose)).reshape(-1)
