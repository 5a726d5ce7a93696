"""Synchronisation and flip: are two views of one instant, is one of them mirrored? (P3 §3.1-3.3)"""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxpose import parallel
from jaxpose.crops import DETECTOR
from jaxpose.losses import sync_flip as losses
from jaxpose.method import Objective, Terms, Variables
from jaxpose.methods import background_treatment as backgrounds
from jaxpose.methods import batching, subject_crops
from jaxpose.methods.scene_method import SceneMethod
from jaxpose.models import stn
from jaxpose.models.scene import Scene
from jaxpose.models.siamese import FUSIONS, Fusion, SiameseHeads

GROUP = "sync_flip"  # of parameters: the two heads
TERMS = ("synchronisation", "flip")
POOLED, TIME_VARIANT = "pooled", "time_variant"
FEATURES = (POOLED, TIME_VARIANT)
_VIEWS = 2

# Draws of one example, each with a key of its own.
_BACKGROUND, _MIRROR, _PLACE, _ANGLE = range(4)


@dataclasses.dataclass(frozen=True)
class SyncFlipOptions:
  """What P3 leaves to choose; the values are in configs/common.py.

  Attributes:
    crop: "detector", the scene's, or anything else: the boxes `subject_px` of the batch.
    enlarge: side of the square around such a box that is cropped, in its longer sides.
    background: "keep"; "remove"; "substitute", by that of another camera or sequence; or "mix",
      half of the pairs each of the last two.
    threshold: see `background_treatment.foreground`.
    detector_background: "keep", or "remove": what the detector, where it crops, has learned to see.
    detector_threshold: of that.
    shift, scale: each view's crop is moved and scaled by itself, see `disturb_boxes`.
    rotation_deg: and turned by an angle from [−rotation_deg, rotation_deg].
    fusion: see `models.siamese.fuse`.
    features: what is fused: "pooled", the backbone's features (P3), or "time_variant".
  """

  crop: str
  enlarge: float
  background: str
  threshold: float
  detector_background: str
  detector_threshold: float
  shift: float
  scale: float
  rotation_deg: float
  fusion: Fusion
  features: str


class _Networks(NamedTuple):
  """What the functions of the method are made of."""

  scene: Scene
  heads: SiameseHeads
  options: SyncFlipOptions

  @property
  def detects(self) -> bool:
    return self.options.crop == DETECTOR

  @property
  def size(self) -> tuple[int, int]:
    return self.scene.crop_size, self.scene.crop_size


def build_sync_flip(scene: Scene, options: SyncFlipOptions) -> SceneMethod:
  """The method of P3 on the encoder of the given networks; nothing is decoded.

  Terms: `synchronisation` and `flip` (P3 eq. 1, see `losses.sync_flip`), of pairs whose subjects
  are both known, in the batch's part "pair". The background of each view is treated, the subject is
  cropped, and, in training, both views of a pair are mirrored alike or not, before one view of a
  flipped pair is. `synchronisation_accuracy` and `flip_accuracy`, which nothing learns from, are
  the shares of these pairs that are told right.

  `embed` gives Φ of the crop as time_variant, with the background removed where training ever did
  so, and the crop's box; where crops are not a detector's it needs `subject_px` [N, 4] beside the
  image and its background, and looks at the whole frame where that is NaN.

  The detector, where it crops, is taken as it is: it learns from other methods or another run.

  Raises:
    ValueError: an option is not one of those there are, or a detector is asked for and missing.
  """
  for name, known in (("background", backgrounds.TREATMENTS), ("features", FEATURES)):
    value = getattr(options, name)
    if value not in known:
      raise ValueError(f"{name} of sync_flip must be one of {', '.join(known)}, not {value!r}")
  if options.fusion not in FUSIONS:
    raise ValueError(f"fusion of sync_flip must be one of {', '.join(FUSIONS)}")
  if options.crop == DETECTOR and scene.detector is None:
    raise ValueError("config.pairs.crop is 'detector', and config.model.detector names none")
  networks = _Networks(scene, SiameseHeads(options.fusion), options)
  return SceneMethod(
    init=functools.partial(_init, networks),
    terms=functools.partial(_terms, networks),
    embed=functools.partial(_embed, networks),
    objectives={"sync_flip": Objective(TERMS, ("encoder", GROUP))},
    encode=functools.partial(_encode, networks),
    render=functools.partial(_render, networks),
    decode=None,
  )


def _init(networks: _Networks, rng: Key[Array, ""], batch: dict[str, Any]) -> Variables:
  frame = jnp.zeros((2, *batch["pair"]["image"].shape[2:]))
  crops = jnp.zeros((2, *networks.size, 3))

  def look(scene, frame, crops):
    if networks.detects:
      scene.detect(frame, True)
    scene.encode(crops, True)
    return _features(networks, scene, crops, True)

  features, variables = jax.jit(nn.init_with_output(look, networks.scene))(rng, frame, crops)
  own = networks.heads.init(jax.random.fold_in(rng, 1), features, features)["params"]
  return {**variables, "params": {**variables["params"], GROUP: own}}


def _terms(
  networks: _Networks,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  sample = batch["pair"]
  keys = parallel.fold_in_examples(rng, sample["example"])
  crops, known = _pair_crops(networks, variables, sample, keys, train)
  features, updated = nn.apply(
    functools.partial(_features, networks),
    networks.scene,
    mutable=["batch_stats"] if train else [],
  )(batching.networks(variables), crops, train)
  views = features.reshape(-1, _VIEWS, features.shape[1])
  own = {"params": variables["params"][GROUP]}
  logits: Any = networks.heads.apply(own, views[:, 0], views[:, 1])
  both = jnp.all(known.reshape(-1, _VIEWS), axis=1).astype(jnp.float32)
  kind = sample["synchronised"], sample["flipped"]
  terms: Terms = {}
  found = zip(TERMS, (losses.synchronisation, losses.flip), logits, kind, strict=True)
  for name, loss, answer, truth in found:
    value, weight = loss(answer, *kind)
    terms[name] = (value, weight * both)
    terms[f"{name}_accuracy"] = ((answer > 0) == truth, weight * both)
  return terms, {**variables, **updated}, {"summaries": {}}


def _pair_crops(
  networks: _Networks,
  variables: Variables,
  sample: dict[str, Array],
  keys: Key[Array, " B"],
  train: bool,
) -> tuple[Float[Array, "N c c 3"], Bool[Array, " N"]]:
  """(crops in [0, 1] of all views as the encoder sees them, whether the subject is known)."""
  options = networks.options
  images = batching.to_float(batching.flat(sample["image"]))
  boxes, known = _boxes(networks, variables, images, sample, _draws(keys, _PLACE, 3))
  treated = _treat(options, images, sample, keys)
  crops = stn.crop(treated, boxes, networks.size, form=networks.scene.stn_form)
  if options.rotation_deg:
    angle = jnp.deg2rad(options.rotation_deg) * _draws(keys, _ANGLE, 1)[:, 0]
    crops = subject_crops.turn(crops, angle)
  mirrored = sample["mirrored"]
  if train:
    alike = jax.vmap(jax.random.bernoulli)(batching.draw_keys(keys, _MIRROR))
    mirrored = mirrored ^ alike[:, None]
  return subject_crops.mirror(crops, mirrored.reshape(-1)), known


def _draws(keys: Key[Array, " B"], purpose: int, count: int) -> Float[Array, "N count"]:
  """Numbers in [−1, 1] of each view of each example."""
  draw = jax.vmap(lambda key: jax.random.uniform(key, (_VIEWS, count), minval=-1.0))
  return draw(batching.draw_keys(keys, purpose)).reshape(-1, count)


def _boxes(
  networks: _Networks,
  variables: Variables,
  images: Float[Array, "N H W 3"],
  frames: dict[str, Array],
  draws: Float[Array, "N 3"],
) -> tuple[Float[Array, "N 4"], Bool[Array, " N"]]:
  """(STN boxes of the crops, whether the subject is known)."""
  options = networks.options
  disturbance = {"shift": options.shift, "scale": options.scale}
  if networks.detects:
    detect = nn.apply(lambda scene, x: scene.detect(x, False), networks.scene)
    seen = (options.detector_background, images, frames, options.detector_threshold)
    found: Any = detect(batching.networks(variables), backgrounds.keep_or_remove(*seen))
    boxes = subject_crops.disturb_boxes(jax.lax.stop_gradient(found), draws, **disturbance)
    return boxes, jnp.ones(len(images), bool)
  if "subject_px" not in frames:
    raise ValueError("crops are centred on the subject: give subject_px beside the image")
  subjects = frames["subject_px"].reshape(-1, 4)
  height, width = images.shape[1:3]
  return subject_crops.crop_boxes(
    subjects, draws, (height, width), enlarge=options.enlarge, **disturbance
  )


def _treat(
  options: SyncFlipOptions,
  images: Float[Array, "N H W 3"],
  sample: dict[str, Array],
  keys: Key[Array, " B"],
) -> Float[Array, "N H W 3"]:
  """The frames of a batch with their backgrounds as `options.background` says."""
  if options.background == backgrounds.KEEP:
    return images
  own = batching.to_float(batching.flat(sample["background"]))
  removed = backgrounds.remove_background(images, own, options.threshold)
  if options.background == backgrounds.REMOVE:
    return removed
  others = batching.to_float(batching.flat(sample["substitute"]))
  substituted = backgrounds.substitute_background(images, own, others, options.threshold)
  if options.background == backgrounds.SUBSTITUTE:
    return substituted
  first = jax.vmap(jax.random.bernoulli)(batching.draw_keys(keys, _BACKGROUND))
  chosen = jnp.repeat(first, _VIEWS)[:, None, None, None]
  return jnp.where(chosen, removed, substituted)


def _features(
  networks: _Networks, scene: Scene, crops: Float[Array, "N c c 3"], train: bool
) -> Float[Array, "N D"]:
  """Φ of crops."""
  if networks.options.features == POOLED:
    return scene.features(crops, train)
  return scene.encode(crops, train)[0]


# --- frames alone --------------------------------------------------------------------------------


def _render(
  networks: _Networks, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  """Presence is whether there is a box: 0 where crops follow a subject and none is found.

  On a detector's boxes it is 1: without a reconstruction nothing tells an empty frame.
  """
  options = networks.options
  images = batching.to_float(batch["image"])
  boxes, known = _boxes(networks, variables, images, batch, jnp.zeros((len(images), 3)))
  treated = backgrounds.keep_or_remove(options.background, images, batch, options.threshold)
  crops = stn.crop(treated, boxes, networks.size, form=networks.scene.stn_form)
  look = nn.apply(functools.partial(_features, networks), networks.scene)
  features: Any = look(batching.networks(variables), crops, False)
  return {
    "box": boxes,
    "crop": crops,
    "time_variant": features,
    "time_invariant": jnp.zeros((len(images), 0)),
    "presence": known.astype(jnp.float32),
  }


def _embed(
  networks: _Networks, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  found = _render(networks, variables, batch)
  return {name: value for name, value in found.items() if name != "crop"}


def _encode(
  networks: _Networks, variables: Variables, batch: dict[str, Any]
) -> dict[str, Float[Array, "N ..."]]:
  found = _render(networks, variables, batch)
  return {name: found[name] for name in ("time_variant", "time_invariant", "box")}
