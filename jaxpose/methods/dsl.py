"""DSL: detect, split into time-variant and time-invariant, decode over the background (P1, P2)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxpose import geometry, parallel
from jaxpose.losses import contrastive, priors, reconstruction, tracking
from jaxpose.method import Method, Objective, Terms, Variables
from jaxpose.methods import batching
from jaxpose.methods.colour_jitter import colour_jitter
from jaxpose.methods.swap import sample_appearance_sources, take_sources
from jaxpose.models.perceptual import PerceptualFeatures
from jaxpose.models.resnet import normalise_image
from jaxpose.models.scene import Scene

# Of the box around the mask, whose maximum on the frame is 1. The window fades the mask towards the
# rim: half of the maximum would cut off heads and feet.
MASK_THRESHOLD = 0.15

# Draws of one example, each with a key of its own.
_JITTER, _SWAP, _DROPOUT = range(3)

PIXEL_LOSSES = {"l1": reconstruction.l1, "l2": reconstruction.l2}

Perceptual = tuple[PerceptualFeatures, Variables]


@dataclasses.dataclass(frozen=True)
class DslOptions:
  """What P1 and P2 leave to choose; the values are in configs/common.py.

  Attributes:
    pixel_loss: "l2" (P2 eq. 2) or "l1" (P1 eq. 2).
    label_statistics: normalise prediction and label by the label's mean and deviation (NSD), with
      deviations bounded from below by this; None: off.
    d_max: temporal distance at which similarity should be 0 (P1 eq. 5), in the unit of positions.
    swap: whose time-invariant vector a frame is decoded with, see `methods.swap`.
    swap_probability: of each exchange, for swap "pairs".
    jitter: colour jitter of the time-variant input, the keyword arguments of `colour_jitter`;
      None: off.
    prior_scale: what the batch's mean box is drawn to, (width, height) as shares of the frame's
      shorter side.
    tight_scale: the same for the prior `tight_box`, meant to take over once people are found.
    prior_location: what the batch's mean box centre is drawn to, in half frames.
    order_threshold: τ of eq. 10, in half frames.
  """

  pixel_loss: str
  label_statistics: float | None
  d_max: float
  swap: str
  swap_probability: float
  jitter: dict[str, float] | None
  prior_scale: tuple[float, float]
  tight_scale: tuple[float, float]
  prior_location: tuple[float, float]
  order_threshold: float


@dataclasses.dataclass(frozen=True)
class SceneMethod(Method):
  """A method that reconstructs frames, and so can be looked at.

  Attributes:
    encode: (variables, frames) -> time_variant, time_invariant and box alone.
    render: (variables, frames) -> pictures of every step from frame to reconstruction.
    decode: (variables, time_variant, time_invariant) -> (crop [N c c 3], mask [N c c 1]).
  """

  encode: Callable[[Variables, dict[str, Array]], dict[str, Array]]
  render: Callable[[Variables, dict[str, Array]], dict[str, Array]]
  decode: Callable[[Variables, Array, Array], tuple[Array, Array]]


def build_dsl(scene: Scene, options: DslOptions, perceptual: Perceptual | None) -> SceneMethod:
  """The method of P1 and P2 on the given networks.

  Terms: `pixel` (on ImageNet-normalised colours) and `perceptual` (P2 eq. 2), `dsl` (P1 eq. 6),
  `constant_acceleration`, `order` and `scale_change` (P1 eq. 9-11) on equidistant quadruples of
  falling people, and the priors `box_scale`, `tight_box` and `box_location` (P1 §S.2) on means over
  the whole batch.

  Args:
    perceptual: the network of the perceptual term and its frozen variables; None: no such term.

  Raises:
    ValueError: there is no such pixel loss.
  """
  if options.pixel_loss not in PIXEL_LOSSES:
    raise ValueError(
      f"pixel_loss must be one of {', '.join(PIXEL_LOSSES)}, not {options.pixel_loss!r}"
    )
  names = ["pixel", "dsl", "constant_acceleration", "order", "scale_change", "box_scale"]
  names += ["tight_box", "box_location"] + (["perceptual"] if perceptual is not None else [])
  groups = ("encoder", "decoder") if scene.detector is None else ("detector", "encoder", "decoder")
  return SceneMethod(
    init=functools.partial(_init, scene, perceptual),
    terms=functools.partial(_terms, scene, options, perceptual),
    embed=functools.partial(_embed, scene),
    objectives={"dsl": Objective(terms=tuple(names), parameters=groups)},
    encode=functools.partial(_encode, scene),
    render=functools.partial(_render, scene),
    decode=functools.partial(_decode, scene),
  )


# --- the functions of the method, on given networks ----------------------------------------------


def _init(
  scene: Scene, perceptual: Perceptual | None, rng: Key[Array, ""], batch: dict[str, Any]
) -> Variables:
  sample = jax.tree.map(jnp.asarray, batch["temporal"])
  frames, background = batching.frames(sample), batching.backgrounds(sample)
  keys = jax.random.split(rng, frames.shape[0])
  start = nn.init(lambda net, f, b, k: _reconstruct(net, f, b, None, _same, k, True), scene)
  variables = jax.jit(start)(rng, frames, background, keys)
  if perceptual is not None:
    variables = {**variables, "frozen": {"perceptual": perceptual[1]}}
  return variables


def _terms(
  scene: Scene,
  options: DslOptions,
  perceptual: Perceptual | None,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  sample = batch["temporal"]
  frames, background = batching.frames(sample), batching.backgrounds(sample)
  keys = parallel.fold_in_examples(rng, sample["example"])
  sources = sample_appearance_sources(
    batching.draw_keys(keys, _SWAP), swap=options.swap, probability=options.swap_probability
  )

  def jitter(crops):
    return colour_jitter(batching.frame_keys(keys, _JITTER), crops, **options.jitter)

  out, updated = nn.apply(_reconstruct, scene, mutable=["batch_stats"] if train else [])(
    batching.networks(variables),
    frames,
    background,
    jitter if options.jitter is not None and train else None,
    lambda vectors: batching.flat(take_sources(batching.samples(vectors), sources)),
    batching.frame_keys(keys, _DROPOUT) if train else None,
    train,
  )
  found = _scene_terms(options, sample, frames, out)
  if perceptual is not None:
    frozen = variables["frozen"]["perceptual"]
    found["perceptual"] = _perceptual_term(perceptual[0], frozen, frames, out["reconstruction"])
  return found, {**variables, **updated}, {"summaries": _summaries(out)}


def _embed(
  scene: Scene, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  out = _render(scene, variables, batch)
  kept = ("time_variant", "time_invariant", "box", "mask_box_px", "mask_max", "gain")
  return {name: out[name] for name in (*kept, "background_error")}


def _render(
  scene: Scene, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  frames = batching.to_float(batch["image"])
  background = batching.to_float(batch["background"])
  out = nn.apply(_reconstruct, scene)(
    batching.networks(variables), frames, background, None, _same, None, False
  )
  before = jnp.sum((frames - background) ** 2, axis=(1, 2, 3))
  after = jnp.sum((frames - out["reconstruction"]) ** 2, axis=(1, 2, 3))
  mask_box = geometry.mask_to_corners_px(out["mask_frame"][..., 0], MASK_THRESHOLD)
  gain = {"gain": before - after, "background_error": before}
  return {**out, **gain, "mask_box_px": mask_box}


def _encode(
  scene: Scene, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  frames = batching.to_float(batch["image"])
  return nn.apply(_detect_and_encode, scene)(batching.networks(variables), frames)


def _decode(
  scene: Scene, variables: Variables, time_variant: Array, time_invariant: Array
) -> tuple[Array, Array]:
  return nn.apply(lambda s, tv, ti: s.decode(tv, ti, None, False), scene)(
    batching.networks(variables), time_variant, time_invariant
  )


# --- one pass through the networks ---------------------------------------------------------------


def _same(vectors: Array) -> Array:
  return vectors


def _detect_and_encode(scene: Scene, frames: Array) -> dict[str, Array]:
  box = scene.detect(frames, False)
  time_variant, time_invariant = scene.encode(scene.crop(frames, box), False)
  return {"time_variant": time_variant, "time_invariant": time_invariant, "box": box}


def _reconstruct(scene, frames, background, jitter, exchange, dropout_keys, train):
  """Detect, crop, encode, decode and paste, P1 eq. 1.

  Args:
    jitter: crops -> the crops that the time-variant vectors are read from; None: the same ones,
      so that one pass of the encoder gives both vectors.
    exchange: time-invariant vectors -> those that the frames are decoded with.
  """
  box = scene.detect(frames, train)
  crops = scene.crop(frames, box)
  if jitter is None:
    time_variant, time_invariant = scene.encode(crops, train)
  else:
    both = jnp.concatenate([jitter(crops), crops])
    variant, invariant = scene.encode(both, train)
    time_variant, time_invariant = variant[: len(crops)], invariant[len(crops) :]
  decoded, mask = scene.decode(time_variant, exchange(time_invariant), dropout_keys, train)
  composed = scene.compose(decoded, mask, box, background)
  composed["mask_max"] = composed.pop("mask_raw_max")
  return {
    "box": box,
    "crop": crops,
    "time_variant": time_variant,
    "time_invariant": time_invariant,
    "decoded": decoded,
    **composed,
  }


def _scene_terms(options: DslOptions, sample: dict[str, Array], frames: Array, out: dict) -> Terms:
  falling = sample["gravity"].astype(jnp.float32)
  ones = jnp.ones_like(falling)
  pixel = PIXEL_LOSSES[options.pixel_loss]
  # Errors are in the colours that the networks work in, as in NSD: in units of their usual spread.
  label, predicted = normalise_image(frames), normalise_image(out["reconstruction"])
  if options.label_statistics is not None:
    predicted, label = reconstruction.normalise_by_label_statistics(
      predicted, label, minimum_std=options.label_statistics
    )
  box, vectors = batching.samples(out["box"]), batching.samples(out["time_variant"])
  mean_box = parallel.pmean(jnp.mean(out["box"], axis=0))
  aspect = frames.shape[2] / frames.shape[1]
  scale = priors.scale_prior(mean_box, target=options.prior_scale, aspect=aspect)
  tight = priors.scale_prior(mean_box, target=options.tight_scale, aspect=aspect)
  location = priors.location_prior(mean_box, target=options.prior_location)
  return {
    "pixel": (batching.per_sample(pixel(predicted, label)), ones),
    "dsl": (contrastive.dsl(vectors, sample["position"], d_max=options.d_max), 1.0 - falling),
    "constant_acceleration": (tracking.constant_acceleration(box), falling),
    "order": (tracking.falling_order(box, threshold=options.order_threshold), falling),
    "scale_change": (tracking.scale_change(box), falling),
    "box_scale": (scale * ones, ones),
    "tight_box": (tight * ones, ones),
    "box_location": (location * ones, ones),
  }


def _perceptual_term(
  network: PerceptualFeatures, variables: Variables, frames: Array, predicted: Array
) -> tuple[Array, Array]:
  def features(images: Array) -> list[Array]:
    return list(network.apply(variables, images))

  target = jax.lax.stop_gradient(features(frames))
  value = batching.per_sample(reconstruction.perceptual(features(predicted), target))
  return value, jnp.ones_like(value)


def _summaries(out: dict[str, Array]) -> dict[str, Array]:
  box = out["box"]
  return {
    "box_scale_mean": jnp.mean(box[:, :2]),
    "box_scale_spread": _spread(box[:, :2].reshape(-1, 1)).mean(),
    "box_shift_spread": _spread(box[:, 2:]).mean(),
    "mask_max_mean": jnp.mean(out["mask_max"]),
    "mask_area": jnp.mean(out["mask_frame"]),
  }


def _spread(values: Float[Array, "N K"]) -> Float[Array, " K"]:
  """Standard deviation over the frames of all devices."""
  mean = parallel.pmean(jnp.mean(values, axis=0, keepdims=True))
  return jnp.sqrt(parallel.pmean(jnp.mean((values - mean) ** 2, axis=0)))
