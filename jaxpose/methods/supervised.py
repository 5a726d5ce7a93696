"""The supervised floor: a network of the encoder's size, trained end to end on all labels.

No paper's method: it says how much of a pose a network of that size can read from these pictures,
with the true box and every label, and so what a probe on a self-supervised encoder can hope for.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jaxpose import parallel
from jaxpose.losses.pose import pose_l2
from jaxpose.method import Method, Objective, Terms, Variables
from jaxpose.methods import batching
from jaxpose.methods.colour_jitter import colour_jitter
from jaxpose.methods.subject_crops import crop_boxes
from jaxpose.models import stn
from jaxpose.models.pose_network import PoseNetwork
from jaxpose.models.scene import Encoder

# Draws of one frame, each with a key of its own.
_JITTER, _BOX = range(2)
_EMPTY = 0  # of `present`


@dataclasses.dataclass(frozen=True)
class SupervisedOptions:
  """What the network sees; the values are in configs/common.py.

  Attributes:
    crop_size: side of the crop, px.
    enlarge: side of the square that is cropped, in longer sides of the true box.
    shift, scale: in training the square's centre moves by up to `shift` of its side along each
      axis, after its side has changed by a factor from [1 − scale, 1 + scale].
    jitter: colour jitter in training, the keyword arguments of `colour_jitter`; None: off.
    stn_form: see `stn.crop`.
  """

  crop_size: int
  enlarge: float
  shift: float
  scale: float
  jitter: dict[str, float] | None
  stn_form: stn.Form


class LabelStatistics(NamedTuple):
  """What poses are standardised with: (x − mean) / scale, root-centred.

  Attributes:
    mean_mm: mean pose [J, 3].
    scale_mm: root mean square of the deviations from it, one number.
    root: joints whose mean is the origin.
  """

  mean_mm: Float[np.ndarray, "J 3"]
  scale_mm: float
  root: tuple[int, ...]


def compute_label_statistics(
  poses_mm: Float[np.ndarray, "N J 3"], valid: Bool[np.ndarray, "N J"], root: Sequence[int]
) -> LabelStatistics:
  """Statistics of the poses whose root is valid; a joint that never is valid has mean 0.

  Raises:
    ValueError: there is no such pose.
  """
  rooted = valid[:, list(root)].all(axis=1)
  if not rooted.any():
    raise ValueError("no training frame has a 3D pose with a valid root to learn from")
  known = valid[rooted][..., None]
  poses = np.where(known, poses_mm[rooted], 0.0).astype(np.float64)
  poses = np.where(known, poses - poses[:, list(root)].mean(axis=1, keepdims=True), 0.0)
  count = known.sum(axis=0)
  mean = poses.sum(axis=0) / np.maximum(count, 1)
  square = np.where(known, (poses - mean) ** 2, 0.0).sum() / (3 * count.sum())
  return LabelStatistics(mean.astype(np.float32), float(np.sqrt(square)) or 1.0, tuple(root))


def build_supervised(
  encoder: Encoder, statistics: LabelStatistics, options: SupervisedOptions
) -> Method:
  """The encoder and a linear layer, from the square around the true box to the root-centred pose.

  One term, `pose`: Σ_j v_j ‖p̂_j − p_j‖² / Σ_j v_j of each frame (P2 eq. 15) in standardised units;
  frames that are empty or have no box, no pose or no root have weight 0. The statistics stand in
  `variables["frozen"]`, so that a checkpoint predicts in mm by itself. The crop isn't windowed: the
  true box leaves no gradient to tame.

  `embed` needs `box_px` beside the image and gives pose_mm [B, J, 3], root-centred, and
  time_variant; where the box is NaN, of the whole frame.
  """
  network = PoseNetwork(encoder, len(statistics.mean_mm))
  objective = Objective(terms=("pose",), parameters=("encoder", "head"))
  return Method(
    init=functools.partial(_init, network, statistics, options),
    terms=functools.partial(_terms, network, statistics.root, options),
    embed=functools.partial(_embed, network, statistics.root, options),
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
  del batch  # crops have one size
  empty = jnp.zeros((2, options.crop_size, options.crop_size, 3))
  variables = jax.jit(network.init, static_argnums=2)(rng, empty, True)
  frozen = {
    "mean_mm": jnp.asarray(statistics.mean_mm, jnp.float32),
    "scale_mm": jnp.asarray(statistics.scale_mm, jnp.float32),
  }
  return {**variables, "frozen": {"pose": frozen}}


def _terms(
  network: PoseNetwork,
  root: tuple[int, ...],
  options: SupervisedOptions,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  sample = batch["temporal"]
  keys = parallel.fold_in_examples(rng, sample["example"])
  crops, boxed = _crops(
    options,
    batching.frames(sample),
    batching.flat(sample["box_px"]),
    batching.frame_keys(keys, _BOX) if train else None,
  )
  if train and options.jitter is not None:
    crops = colour_jitter(batching.frame_keys(keys, _JITTER), crops, **options.jitter)
  (predicted, _), updated = network.apply(
    batching.networks(variables), crops, train, mutable=["batch_stats"] if train else []
  )
  valid = batching.flat(sample["joint_valid"])
  poses_mm = jnp.where(valid[..., None], batching.flat(sample["pose3d_mm"]), 0.0)
  target = _standardise(poses_mm, variables["frozen"]["pose"], root)
  value = pose_l2(predicted, target, valid) / jnp.maximum(jnp.sum(valid, axis=1), 1)
  rooted = jnp.all(valid[:, jnp.asarray(root)], axis=1)
  counts = boxed & rooted & (batching.flat(sample["present"]) != _EMPTY)
  weight = counts.astype(jnp.float32)
  return {"pose": (value, weight)}, {**variables, **updated}, {"summaries": {"labelled": weight}}


def _embed(
  network: PoseNetwork,
  root: tuple[int, ...],
  options: SupervisedOptions,
  variables: Variables,
  batch: dict[str, Any],
) -> dict[str, Float[Array, "N ..."]]:
  if "box_px" not in batch:
    raise ValueError("a supervised network looks into the true box: give box_px beside the image")
  crops, _ = _crops(options, batching.to_float(batch["image"]), batch["box_px"], None)
  found: Any = network.apply(batching.networks(variables), crops, False)
  pose, time_variant = found
  frozen = variables["frozen"]["pose"]
  pose_mm = pose * frozen["scale_mm"] + frozen["mean_mm"][None]
  return {"pose_mm": _root_centre(pose_mm, root), "time_variant": time_variant}


def _crops(
  options: SupervisedOptions,
  images: Float[Array, "N H W 3"],
  box_px: Float[Array, "N 4"],
  keys: Key[Array, " N"] | None,
) -> tuple[Float[Array, "N c c 3"], Bool[Array, " N"]]:
  """(crops around the true boxes, moved and scaled with `keys`, whether the true box is known)."""
  draws = jnp.zeros((len(images), 3))
  if keys is not None:
    draws = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-1.0))(keys)
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
  return stn.crop(images, box, size, form=options.stn_form), known


def _root_centre(poses: Float[Array, "N J 3"], root: tuple[int, ...]) -> Float[Array, "N J 3"]:
  return poses - jnp.mean(poses[:, jnp.asarray(root)], axis=1, keepdims=True)


def _standardise(
  poses_mm: Float[Array, "N J 3"], frozen: dict[str, Array], root: tuple[int, ...]
) -> Float[Array, "N J 3"]:
  return (_root_centre(poses_mm, root) - frozen["mean_mm"][None]) / frozen["scale_mm"]
