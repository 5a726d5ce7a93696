"""What methods on a scene share: one pass from frames to reconstructions, and its loss terms."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxpose import geometry, parallel
from jaxpose.method import Method, Terms, Variables
from jaxpose.methods import background_treatment as backgrounds
from jaxpose.methods import batching, scene_terms, weak_labels
from jaxpose.methods.colour_jitter import colour_jitter
from jaxpose.methods.perceptual_term import branches_are_cheap, perceptual_error
from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.methods.swap import Exchange, Vectors, swap_appearance
from jaxpose.models.perceptual import PerceptualFeatures
from jaxpose.models.scene import Scene

# Of the box around the mask, whose maximum on the frame is 1. The window fades the mask towards the
# rim: half of the maximum would cut off heads and feet.
MASK_THRESHOLD = 0.15

# Draws of one example, each with a key of its own.
_JITTER, _SWAP, _DROPOUT = range(3)

Perceptual = tuple[PerceptualFeatures, Variables]


@dataclasses.dataclass(frozen=True)
class SceneMethod(Method):
  """A method that looks at frames through a scene's networks.

  Attributes:
    encode: (variables, frames) -> time_variant, time_invariant and box alone.
    render: (variables, frames) -> pictures of every step from frame to reconstruction, or, where
      nothing is decoded, to the crop.
    decode: (variables, time_variant, time_invariant) -> (crop [N c c 3], mask [N c c 1] as it is
      pasted); None where nothing is decoded.
  """

  encode: Callable[[Variables, dict[str, Array]], dict[str, Array]]
  render: Callable[[Variables, dict[str, Array]], dict[str, Array]]
  decode: Callable[[Variables, Array, Array], tuple[Array, Array]] | None


class Pass(NamedTuple):
  """What `run` found in a batch.

  Attributes:
    out: box, crop, crop_read (jittered where colours are), time_variant, time_invariant and,
      decoded, everything up to `reconstruction`.
    terms: the scene's own loss terms.
    variables: with the running statistics after this batch.
    sample: the part of the batch that it looked at.
  """

  out: dict[str, Array]
  terms: Terms
  variables: Variables
  sample: dict[str, Array]


# --- for methods ---------------------------------------------------------------------------------


def parameter_groups(scene: Scene, options: SceneOptions) -> tuple[str, ...]:
  """The groups of parameters that the scene has, with the head of its 2D joints."""
  detector = () if scene.detector is None else ("detector",)
  head = () if options.head is None else (weak_labels.GROUP,)
  return (*detector, "encoder", *(("decoder",) if options.decode else ()), *head)


def shown(scene: Scene, options: SceneOptions) -> dict[str, Any]:
  """The functions of a `SceneMethod` that need no loss.

  With 2D labels `embed` and `render` give pose2d [N, 2·J] too, in coordinates of the box.
  """
  embed = functools.partial(_embed if options.decode else _embed_crop, scene, options)
  render = functools.partial(_render if options.decode else _render_crop, scene, options)
  if options.head is not None:
    embed = functools.partial(_with_joints, options.head, embed)
    render = functools.partial(_with_joints, options.head, render)
  return {
    "embed": embed,
    "encode": functools.partial(_encode, scene, options),
    "render": render,
    "decode": functools.partial(_decode, scene) if options.decode else None,
  }


def init(
  scene: Scene,
  options: SceneOptions,
  perceptual: Perceptual | None,
  rng: Key[Array, ""],
  batch: dict[str, Any],
  *,
  part: str = "temporal",
) -> Variables:
  """Variables of the scene's networks, its head, and the perceptual one where there is one."""
  sample = jax.tree.map(jnp.asarray, batch[part])
  frames, background = batching.frames(sample), batching.backgrounds(sample)
  keys = jax.random.split(rng, frames.shape[0])
  look = _reconstruct if options.decode else _look
  start = nn.init(lambda net, f, b, k: look(net, f, b, None, _same, k, True), scene)
  variables = jax.jit(start)(rng, frames, background, keys)
  if options.head is not None:
    joints = sample["pose2d_px"].shape[-2]
    head = options.head.init(jax.random.fold_in(rng, 1), scene.encoder.time_variant_size, joints)
    variables = {**variables, "params": {**variables["params"], weak_labels.GROUP: head}}
  if perceptual is not None:
    variables = {**variables, "frozen": {"perceptual": perceptual[1]}}
  return variables


def run(
  scene: Scene,
  options: SceneOptions,
  perceptual: Perceptual | None,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
  *,
  part: str = "temporal",
  exchange: Exchange | None = None,
) -> Pass:
  """One pass over samples of four frames, and the terms that `scene_terms.term_names` lists.

  `pixel` (on ImageNet-normalised colours) and `perceptual` (P2 eq. 2); `constant_acceleration`,
  `order` and `scale_change` (P1 eq. 9-11) on equidistant quadruples of falling people; the priors
  `box_scale`, `tight_box` and `box_location` (P1 §S.2) on means over the whole batch; of frames
  with 2D labels `pose2d` (P2 eq. 13).

  Args:
    part: of the batch; one with the entry `gravity` is of temporal samples.
    exchange: gives the vectors that frames are decoded with; None: swaps time-invariant ones
      within the sample as the options say.
  """
  sample = batch[part]
  frames, background = batching.frames(sample), batching.backgrounds(sample)
  keys = parallel.fold_in_examples(rng, sample["example"])
  exchange = exchange or functools.partial(
    swap_appearance, swap=options.swap, probability=options.swap_probability
  )
  swap_keys = batching.draw_keys(keys, _SWAP)

  def jitter(crops):
    changed = colour_jitter(batching.frame_keys(keys, _JITTER), crops, **options.jitter)
    return backgrounds.keep_empty(options.background, crops, changed)

  look = _reconstruct if options.decode else _look
  out, updated = nn.apply(look, scene, mutable=["batch_stats"] if train else [])(
    batching.networks(variables),
    _seen(options, frames, background),
    background,
    jitter if options.jitter is not None and train else None,
    lambda vectors: exchange(sample, swap_keys, vectors),
    batching.frame_keys(keys, _DROPOUT) if train else None,
    train,
  )
  found = scene_terms.pass_terms(scene, options, sample, frames, out)
  if options.decode and perceptual is not None:
    error = perceptual_error(
      perceptual[0],
      variables["frozen"]["perceptual"],
      frames,
      out["reconstruction"],
      batching.flat(batching.to_float(sample["background"])),
      out["box"] if scene.detector is not None and branches_are_cheap() else None,
    )
    value = batching.per_sample(error)
    found["perceptual"] = (value, jnp.ones_like(value))
  if options.head is not None:
    vectors = _read_vectors(scene, variables, out, train)
    predicted = options.head.read(variables["params"][weak_labels.GROUP], vectors)
    joints, (height, width) = batching.flat(sample["pose2d_px"]), frames.shape[1:3]
    found[weak_labels.TERM] = weak_labels.pose2d_term(
      predicted, joints, out["box"], (height, width)
    )
  return Pass(out, found, {**variables, **updated}, sample)


def _read_vectors(
  scene: Scene, variables: Variables, out: dict[str, Array], train: bool
) -> Float[Array, "N Dv"]:
  """The time-variant vectors of a pass, for a loss whose gradient leaves the detector alone.

  The encoder reads the crops of `out` once more, as they are: these vectors' gradient ends in its
  weights. Running statistics stay those of the pass.
  """
  if scene.detector is None:
    return out["time_variant"]
  look = nn.apply(
    lambda net, crops: net.encode(crops, train)[0],
    scene,
    mutable=["batch_stats"] if train else [],
  )
  return look(batching.networks(variables), jax.lax.stop_gradient(out["crop_read"]))[0]


def _seen(options: SceneOptions, frames: Array, background: Array) -> Array:
  """The frames as the networks see them."""
  if options.background == backgrounds.KEEP:
    return frames
  return backgrounds.remove_background(frames, background, options.threshold)


def _seen_frames(options: SceneOptions, batch: dict[str, Any]) -> Float[Array, "N H W 3"]:
  """`_seen` of frames without samples; backgrounds are needed only where they are removed."""
  frames = batching.to_float(batch["image"])
  return backgrounds.keep_or_remove(options.background, frames, batch, options.threshold)


def _with_joints(
  head: weak_labels.Head,
  look: Callable[[Variables, dict[str, Array]], dict[str, Array]],
  variables: Variables,
  batch: dict[str, Any],
) -> dict[str, Array]:
  found = look(variables, batch)
  own = variables["params"][weak_labels.GROUP]
  return {**found, weak_labels.TERM: head.read(own, found["time_variant"])}


def _embed(
  scene: Scene, options: SceneOptions, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  out = _render(scene, options, variables, batch)
  kept = ("time_variant", "time_invariant", "box", "mask_box_px", "mask_max", "gain")
  return {name: out[name] for name in (*kept, "background_error")}


def _render(
  scene: Scene, options: SceneOptions, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  frames, seen = batching.to_float(batch["image"]), _seen_frames(options, batch)
  background = batching.to_float(batch["background"])
  out = nn.apply(_reconstruct, scene)(
    batching.networks(variables), seen, background, None, _same, None, False
  )
  before = jnp.sum((frames - background) ** 2, axis=(1, 2, 3))
  after = jnp.sum((frames - out["reconstruction"]) ** 2, axis=(1, 2, 3))
  mask_box = geometry.mask_to_corners_px(out["mask_frame"][..., 0], MASK_THRESHOLD)
  gain = {"gain": before - after, "background_error": before}
  return {**out, **gain, "mask_box_px": mask_box}


def _embed_crop(
  scene: Scene, options: SceneOptions, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  out = _render_crop(scene, options, variables, batch)
  return {name: out[name] for name in ("time_variant", "time_invariant", "box", "presence")}


def _render_crop(
  scene: Scene, options: SceneOptions, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  """Presence is 1: without a reconstruction nothing tells an empty frame."""
  seen = _seen_frames(options, batch)
  look = nn.apply(_look, scene)
  out: Any = look(batching.networks(variables), seen, None, None, _same, None, False)
  return {**out, "presence": jnp.ones(len(seen))}


def _encode(
  scene: Scene, options: SceneOptions, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  seen = _seen_frames(options, batch)
  return nn.apply(_detect_and_encode, scene)(batching.networks(variables), seen)


def _decode(
  scene: Scene, variables: Variables, time_variant: Array, time_invariant: Array
) -> tuple[Array, Array]:
  def look(scene, time_variant, time_invariant):
    crop, mask = scene.decode(time_variant, time_invariant, None, False)
    return crop, scene.window_mask(mask)[0]

  return nn.apply(look, scene)(batching.networks(variables), time_variant, time_invariant)


# --- one pass through the networks ---------------------------------------------------------------


def _same(vectors: Vectors) -> Vectors:
  return vectors


def _detect_and_encode(scene: Scene, seen: Array) -> dict[str, Array]:
  box = scene.detect(seen, False)
  time_variant, time_invariant = scene.encode(scene.crop(seen, box), False)
  return {"time_variant": time_variant, "time_invariant": time_invariant, "box": box}


def _look(scene, seen, background, jitter, exchange, dropout_keys, train):
  """What `_reconstruct` does up to the vectors; both see the jittered crop."""
  del background, exchange, dropout_keys
  box = scene.detect(seen, train)
  crops = scene.crop(seen, box)
  read = crops if jitter is None else jitter(crops)
  time_variant, time_invariant = scene.encode(read, train)
  found = {"time_variant": time_variant, "time_invariant": time_invariant}
  return {"box": box, "crop": crops, "crop_read": read, **found}


def _reconstruct(scene, seen, background, jitter, exchange, dropout_keys, train):
  """Detect, crop, encode, decode and paste, P1 eq. 1.

  Args:
    seen: the frames, with or without background.
    jitter: crops -> the crops that the time-variant vectors are read from; None: the same ones,
      so that one pass of the encoder gives both vectors.
    exchange: the frames' vectors -> those that they are decoded with.
  """
  box = scene.detect(seen, train)
  crops = scene.crop(seen, box)
  read = crops if jitter is None else jitter(crops)
  if jitter is None:
    time_variant, time_invariant = scene.encode(crops, train)
  else:
    both = jnp.concatenate([read, crops])
    variant, invariant = scene.encode(both, train)
    time_variant, time_invariant = variant[: len(crops)], invariant[len(crops) :]
  decoded, mask = scene.decode(*exchange((time_variant, time_invariant)), dropout_keys, train)
  composed = scene.compose(decoded, mask, box, background)
  composed["mask_max"] = composed.pop("mask_raw_max")
  return {
    "box": box,
    "crop": crops,
    "crop_read": read,
    "time_variant": time_variant,
    "time_invariant": time_invariant,
    "decoded": decoded,
    **composed,
  }
