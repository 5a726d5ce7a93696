"""The networks together: a bright square moving over a texture is found and cut out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpose import geometry
from jaxpose.losses import priors, reconstruction
from jaxpose.models import scene

SIDE, SQUARE, STEPS = 32, 10, 400


def moving_square(rng, background, count):
  """Frames with one striped red square, and its box (x0, y0, x1, y1) px."""
  frames = np.repeat(background[None], count, 0)
  corners = rng.integers(1, SIDE - SQUARE - 1, size=(count, 2))
  for frame, (x, y) in zip(frames, corners):
    frame[y : y + SQUARE, x : x + SQUARE] = [0.9, 0.2, 0.1]
    frame[y : y + SQUARE : 3, x : x + SQUARE] = [0.9, 0.9, 0.9]
  last = corners + SQUARE - 1
  return frames.astype(np.float32), np.concatenate([corners, last], 1).astype(np.float32)


def make_step(model, optimiser, background):
  """(variables, state, images, key) -> variables, state, error of the reconstruction."""

  @jax.jit
  def step(variables, state, images, key):
    behind = jnp.broadcast_to(background, images.shape)
    keys = jax.random.split(key, images.shape[0])

    def loss(params):
      out, new = model.apply(
        {**variables, "params": params}, images, behind, keys, True, mutable=["batch_stats"]
      )
      mean_box = out["box"].mean(0)
      prior = priors.location_prior(mean_box, target=(0.0, 0.0))
      prior += priors.scale_prior(mean_box, target=(0.45, 0.45), aspect=1.0)
      error = reconstruction.l2(out["reconstruction"], images).mean()
      return error + 0.1 * prior, (new, error)

    (_, (new, error)), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    update, state = optimiser.update(gradient, state)
    params = optax.apply_updates(variables["params"], update)
    return {"params": params, **new}, state, error

  return step


@pytest.mark.slow
def test_detector_and_decoder_find_a_moving_square_without_labels():
  rng = np.random.default_rng(0)
  background = rng.uniform(0.2, 0.8, size=(SIDE, SIDE, 3)).astype(np.float32)
  model = scene.build_scene(
    detector_backbone="resnet_small",
    encoder_backbone="resnet_small",
    backbone_options={"widths": (8, 16, 32), "stage_sizes": (1, 1, 1)},
    time_variant_size=16,
    time_invariant_size=8,
    crop_size=16,
    detector_shrink=1,
    decoder={"base": 4, "base_channels": 8, "stage_channels": (16, 8), "convolutions": 1},
    axis_name=None,
    dtype=jnp.float32,
  )
  start, _ = moving_square(rng, background, 16)
  variables = jax.jit(lambda key: model.init(key, start, start))(jax.random.key(0))
  optimiser = optax.adam(2e-3)
  step = make_step(model, optimiser, background)
  state, errors = optimiser.init(variables["params"]), []
  for i in range(STEPS):
    images, _ = moving_square(rng, background, 16)
    variables, state, error = step(variables, state, images, jax.random.key(i))
    errors.append(float(error))

  images, truth = moving_square(rng, background, 64)
  behind = jnp.broadcast_to(background, images.shape)
  out = jax.jit(lambda v: model.apply(v, jnp.asarray(images), behind))(variables)
  found = geometry.box_to_corners_px(np.asarray(out["box"]), SIDE, SIDE)
  centre = np.abs((found[:, :2] + found[:, 2:]) / 2 - (truth[:, :2] + truth[:, 2:]) / 2)
  mask = np.asarray(out["mask_frame"])[..., 0] > 0.5
  columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
  inside = (
    (columns >= truth[:, None, None, 0])
    & (columns <= truth[:, None, None, 2])
    & (rows >= truth[:, None, None, 1])
    & (rows <= truth[:, None, None, 3])
  )
  overlap = (mask & inside).sum((1, 2)) / (mask | inside).sum((1, 2))
  print(
    f"error {np.mean(errors[:10]):.4f} -> {np.mean(errors[-10:]):.4f},"
    f" centre off by {np.median(centre):.2f} px, mask IoU {np.median(overlap):.2f},"
    f" box IoU {np.median(geometry.box_iou(found, truth)):.2f}"
  )
  assert np.mean(errors[-10:]) < 0.5 * np.square(images - background[None]).mean()
  assert np.median(centre) < 1.5
  assert np.median(overlap) > 0.6
