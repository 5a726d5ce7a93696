"""A pose network trained on labels: the floor of the tables, and the transfer of P3 §3.4.

From random weights, the true box and every label it says how much of a pose a network of the
encoder's size can read from these pictures, and so what a probe on a self-supervised encoder can
hope for. Started from another run's networks it fine-tunes them, whole (P2 Fig. 9) or in part.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxpose import parallel
from jaxpose.crops import CROPS, DETECTOR, DIFFERENCE, LABELS
from jaxpose.losses.pose import pose_l2
from jaxpose.method import Method, Objective, Terms, Variables
from jaxpose.methods import background_treatment, batching, pose_target
from jaxpose.methods.colour_jitter import colour_jitter
from jaxpose.methods.pose_target import LabelStatistics
from jaxpose.methods.subject_crops import crop_boxes, disturb_boxes, mirror
from jaxpose.models import stn
from jaxpose.models.pose_network import PoseNetwork
from jaxpose.models.scene import Scene

# Draws of one frame, each with a key of its own.
_JITTER, _BOX, _MIRROR = range(3)
_EMPTY = 0  # of `present`
BACKGROUNDS = (background_treatment.KEEP, background_treatment.REMOVE)


@dataclasses.dataclass(frozen=True)
class SupervisedOptions:
  """What the network sees; the values are in configs/common.py.

  Attributes:
    crop: one of `crops.CROPS`: `DETECTOR` is the box that the detector finds, windowed, as a
      self-supervised encoder saw it; others are squares around the boxes that come with the frames.
    crop_size: side of the crop, px.
    enlarge: side of the square that is cropped, in longer sides of the box.
    shift, scale: in training the crop's centre moves by up to `shift` of its side along each axis,
      after its sides have changed by a factor from [1 − scale, 1 + scale].
    jitter: colour jitter in training, the keyword arguments of `colour_jitter`; None: off.
    mirror: probability of a mirrored crop and pose in training.
    centre_camera: poses are learned as if the camera looked at the person (P3 §3.4).
    background: one of `BACKGROUNDS`.
    threshold: see `background_treatment.foreground`.
    stn_form: see `stn.crop`.
  """

  crop: str
  crop_size: int
  enlarge: float
  shift: float
  scale: float
  jitter: dict[str, float] | None
  mirror: float
  centre_camera: bool
  background: str
  threshold: float
  stn_form: stn.Form


def build_supervised(
  scene: Scene, statistics: LabelStatistics, options: SupervisedOptions
) -> Method:
  """The scene's encoder and a linear layer, from a crop of the person to the root-centred pose.

  One term, `pose`: Σ_j v_j ‖p̂_j − p_j‖² / Σ_j v_j of each frame (P2 eq. 15) in standardised units;
  frames that are empty or have no pose, no root or, where that is cropped, no box have weight 0.
  The statistics stand in `variables["frozen"]`, so that a checkpoint predicts in mm by itself.
  Without a detector the crop isn't windowed: a given box leaves no gradient to tame.

  `embed` needs, beside the image, `box_px` where that is cropped and `pose_target.TURNED_BY` where
  the camera is turned. It gives pose_mm [B, J, 3], root-centred, in the axes of the camera as it
  stands, time_variant, the cropped box (s_x, s_y, u_x, u_y) and presence; where the given box is
  NaN all is of the whole frame and presence 0, and 1 elsewhere.

  Raises:
    ValueError: there are no such crops, or no detector to take them; or a mirror is asked for and
      the skeleton has no left and right.
  """
  if options.crop not in CROPS:
    raise ValueError(
      f"config.supervised.crop is {options.crop!r}: choose one of {', '.join(CROPS)}"
    )
  if options.crop == DETECTOR and scene.detector is None:
    raise ValueError(
      f"config.supervised.crop is {DETECTOR!r}, but config.model.detector names none: crop by"
      f" {LABELS!r} or {DIFFERENCE!r}"
    )
  if options.background not in BACKGROUNDS:
    raise ValueError(
      f"config.supervised.background is {options.background!r}: choose one of"
      f" {', '.join(BACKGROUNDS)}"
    )
  if options.mirror and statistics.mirrored == tuple(range(len(statistics.mirrored))):
    raise ValueError(
      "config.supervised.mirror: the skeleton names no left and right joints to exchange; set it to"
      " 0"
    )
  network = PoseNetwork(
    scene.encoder.clone(time_invariant_size=0),
    len(statistics.mean_mm),
    scene.detector if options.crop == DETECTOR else None,
    scene.detector_shrink,
  )
  finder = ("detector",) if options.crop == DETECTOR else ()
  objective = Objective(terms=("pose",), parameters=(*finder, "encoder", "head"))
  return Method(
    init=functools.partial(_init, network, statistics, options),
    terms=functools.partial(_terms, network, statistics, options),
    embed=functools.partial(_embed, network, statistics, options),
    objectives={"supervised": objective},
  )


# --- the functions of the method, on a given network ---------------------------------------------


def _init(
  network: PoseNetwork,
  statistics: LabelStatistics,
  options: SupervisedOptions,
  rng: Key[Array, ""],
  batch: dict[str, Any],
) -> Variables:
  images = batching.to_float(jnp.asarray(batch["labelled"]["image"][:2]))
  box_px = jnp.asarray(batch["labelled"]["box_px"][:2])
  look: Any = nn.init(lambda net, x, box: _look(net, options, x, box, None, True), network)
  variables = jax.jit(look)(rng, images, box_px)
  frozen = {
    "mean_mm": jnp.asarray(statistics.mean_mm, jnp.float32),
    "scale_mm": jnp.asarray(statistics.scale_mm, jnp.float32),
  }
  return {**variables, "frozen": {"pose": frozen}}


def _terms(
  network: PoseNetwork,
  statistics: LabelStatistics,
  options: SupervisedOptions,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  sample, root = batch["labelled"], statistics.root
  keys = parallel.fold_in_examples(rng, sample["example"]) if train else None
  look = nn.apply(_look, network, mutable=["batch_stats"] if train else [])
  (predicted, _, _, boxed), updated = look(
    batching.networks(variables),
    options,
    _images(options, sample),
    sample["box_px"],
    keys,
    train,
  )
  valid = sample["joint_valid"]
  poses = pose_target.root_centre(jnp.where(valid[..., None], sample["pose3d_mm"], 0.0), root)
  if options.centre_camera:
    poses = pose_target.turn(poses, pose_target.camera_rotation(sample, root))
  rooted = jnp.all(valid[:, jnp.asarray(root)], axis=1)
  if keys is not None:
    flip = _draw_flips(keys, options)
    poses, valid = pose_target.mirror(poses, valid, flip, statistics.mirrored)
  target = pose_target.standardise(poses, variables["frozen"]["pose"])
  value = pose_l2(predicted, target, valid) / jnp.maximum(jnp.sum(valid, axis=1), 1)
  weight = (boxed & rooted & (sample["present"] != _EMPTY)).astype(jnp.float32)
  return {"pose": (value, weight)}, {**variables, **updated}, {"summaries": {"labelled": weight}}


def _embed(
  network: PoseNetwork,
  statistics: LabelStatistics,
  options: SupervisedOptions,
  variables: Variables,
  batch: dict[str, Any],
) -> dict[str, Float[Array, "N ..."]]:
  turned_by = pose_target.TURNED_BY if options.centre_camera else ()
  removes = options.background != background_treatment.KEEP
  needed = {
    "box_px": options.crop != DETECTOR,
    "background": removes,
    **dict.fromkeys(turned_by, True),
  }
  missing = [name for name, is_needed in needed.items() if is_needed and name not in batch]
  if missing:
    raise ValueError(
      "a supervised network looks into the box, removes the background and turns the camera to"
      f" the person, as far as it was trained to: give {', '.join(missing)} beside the image"
    )
  images = _images(options, batch)
  box_px = batch.get("box_px", jnp.full((len(images), 4), jnp.nan))
  look: Any = nn.apply(_look, network)
  seen = (options, images, box_px, None, False)
  pose, time_variant, box, boxed = look(batching.networks(variables), *seen)
  pose_mm = pose_target.to_mm(pose, variables["frozen"]["pose"])
  if options.centre_camera:
    rotation = pose_target.camera_rotation(batch, statistics.root)
    pose_mm = pose_target.turn_back(pose_mm, rotation)
  return {
    "pose_mm": pose_target.root_centre(pose_mm, statistics.root),
    "time_variant": time_variant,
    "box": box,
    "presence": boxed.astype(jnp.float32),
  }


def _images(options: SupervisedOptions, frames: dict[str, Array]) -> Float[Array, "N H W 3"]:
  """The frames in [0, 1], with their backgrounds treated."""
  images = batching.to_float(frames["image"])
  return background_treatment.keep_or_remove(options.background, images, frames, options.threshold)


def _look(
  network: PoseNetwork,
  options: SupervisedOptions,
  images: Float[Array, "N H W 3"],
  box_px: Float[Array, "N 4"],
  keys: Key[Array, " N"] | None,
  train: bool,
) -> tuple[Float[Array, "N J 3"], Float[Array, "N Dv"], Float[Array, "N 4"], Bool[Array, " N"]]:
  """(standardised pose, time_variant, box, whether it was known) of crops, disturbed by `keys`."""
  draws = jnp.zeros((len(images), 3))
  if keys is not None:
    draw = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-1.0))
    draws = draw(batching.draw_keys(keys, _BOX))
  if options.crop == DETECTOR:
    found = network.detect(images, train)
    box = disturb_boxes(found, draws, shift=options.shift, scale=options.scale)
    known = jnp.ones(len(images), bool)
  else:
    height, width = images.shape[1:3]
    box, known = crop_boxes(
      box_px,
      draws,
      (height, width),
      enlarge=options.enlarge,
      shift=options.shift,
      scale=options.scale,
    )
  size = (options.crop_size, options.crop_size)
  crops = stn.crop(images, box, size, form=options.stn_form)
  if keys is not None:
    crops = mirror(crops, _draw_flips(keys, options))
    if options.jitter is not None:
      changed = colour_jitter(batching.draw_keys(keys, _JITTER), crops, **options.jitter)
      crops = background_treatment.keep_empty(options.background, crops, changed)
  pose, time_variant = network(crops, train)
  return pose, time_variant, box, known


def _draw_flips(keys: Key[Array, " N"], options: SupervisedOptions) -> Bool[Array, " N"]:
  """Which crops are mirrored."""
  draw = jax.vmap(lambda key: jax.random.bernoulli(key, options.mirror))
  return draw(batching.draw_keys(keys, _MIRROR))
