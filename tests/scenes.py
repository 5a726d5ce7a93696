"""Small scenes of random pixels for tests of the methods that reconstruct them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.models.scene import build_scene

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "probability": 0.8}
SEEN = SceneOptions(
  decode=True,
  pixel_loss="l2",
  label_statistics=None,
  swap="another",
  swap_probability=0.5,
  jitter=None,
  prior_scale=(0.5, 0.5),
  tight_scale=(0.2, 0.8),
  prior_location=(0.1, -0.2),
  order_threshold=0.01,
  background="keep",
  threshold=0.1,
)


def build_tiny_scene(
  dropout=0.0,
  *,
  detector="resnet_small",
  time_variant_size=6,
  time_invariant_size=3,
  axis_name=None,
  stages=2,
):
  return build_scene(
    detector_backbone=detector,
    encoder_backbone="resnet_small",
    backbone_options={"stage_sizes": (1,) * stages, "widths": (4, 8)},
    time_variant_size=time_variant_size,
    time_invariant_size=time_invariant_size,
    crop_size=16,
    detector_shrink=2,
    decoder={
      "base": 8,
      "base_channels": 4,
      "stage_channels": (4,),
      "convolutions": 1,
      "dropout": dropout,
    },
    stn_form="matrix",
    axis_name=axis_name,
    dtype=jnp.float32,
  )


def make_scene_batch(gravity=(False, True), seed=0):
  rng = np.random.default_rng(seed)
  count = len(gravity)
  sample = {
    "image": rng.integers(0, 256, (count, 4, 24, 32, 3)).astype(np.uint8),
    "background": rng.integers(0, 256, (count, 1, 24, 32, 3)).astype(np.uint8),
    "position": np.tile(np.float32([0, 1, -6, -12]), (count, 1)),
    "example": np.arange(7, 7 + count, dtype=np.uint32),
    "gravity": np.array(gravity),
    "sequence": np.arange(count, dtype=np.int32) // 2,
    "camera": np.zeros(count, np.int32),
  }
  return {"temporal": sample}


def turn(axis, degrees):
  """The rotation about an axis, Rodrigues' formula in numpy."""
  x, y, z = np.asarray(axis) / np.linalg.norm(axis)
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  angle = np.radians(degrees)
  return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def make_views_batch(count=3, seed=0):
  """Samples of two cameras at two instants; every sample has cameras of its own."""
  rng = np.random.default_rng(seed)
  cameras = [[turn(rng.normal(size=3), rng.uniform(20, 160)) for _ in "ab"] for _ in range(count)]
  sample = {
    "image": rng.integers(0, 256, (count, 4, 24, 32, 3)).astype(np.uint8),
    "background": rng.integers(0, 256, (count, 4, 24, 32, 3)).astype(np.uint8),
    "rotation": np.array([[a, b, a, b] for a, b in cameras], np.float32),
    "frame": np.tile(np.int32([5, 5, 20, 20]), (count, 1)),
    "camera": np.tile(np.int32([1, 0, 1, 0]), (count, 1)),
    "sequence": np.arange(count, dtype=np.int32),
    "subject": np.zeros(count, np.int32),
    "example": np.arange(7, 7 + count, dtype=np.uint32),
  }
  return {"views": sample}


def flat_frames(sample):
  """The frames of a batch, one after the other, as `embed` takes them."""
  return {name: sample[name].reshape(-1, 24, 32, 3) for name in ("image", "background")}


def jitted(method):
  """The method's functions, compiled: run one by one their operations take minutes."""
  return dataclasses.replace(
    method,
    terms=jax.jit(method.terms, static_argnums=3),
    embed=jax.jit(method.embed),
    encode=jax.jit(method.encode),
    render=jax.jit(method.render),
    decode=None if method.decode is None else jax.jit(method.decode),
  )


def random_detector(variables, seed=1):
  """The detector starts at one box for all; a random last layer tells frames apart."""
  kernel = variables["params"]["detector"]["box"]["kernel"]
  noise = 0.05 * np.random.default_rng(seed).normal(size=kernel.shape)
  variables["params"]["detector"]["box"]["kernel"] = jnp.asarray(noise, jnp.float32)
  return variables
