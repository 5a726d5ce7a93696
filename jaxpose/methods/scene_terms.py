"""What a method on a scene can be told, its loss terms, and what is logged of it."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose import parallel
from jaxpose.losses import priors, reconstruction, tracking
from jaxpose.method import Terms
from jaxpose.methods import background_treatment as backgrounds
from jaxpose.methods import batching, weak_labels
from jaxpose.models.resnet import normalise_image
from jaxpose.models.scene import Scene

_BACKGROUNDS = (backgrounds.KEEP, backgrounds.REMOVE)

PIXEL_LOSSES = {"l1": reconstruction.l1, "l2": reconstruction.l2}


@dataclasses.dataclass(frozen=True)
class SceneOptions:
  """What P1 and P2 leave to choose of every method on a scene; the values: configs/common.py.

  Attributes:
    decode: whether frames are reconstructed; if not, only what the vectors say is learned from.
    pixel_loss: "l2" (P2 eq. 2) or "l1" (P1 eq. 2).
    label_statistics: normalise prediction and label by the label's mean and deviation (NSD), with
      deviations bounded from below by this; None: off.
    swap: whose time-invariant vector a frame is decoded with, see `methods.swap`.
    swap_probability: of each exchange, for swap "pairs".
    jitter: colour jitter of the time-variant input, the keyword arguments of `colour_jitter`;
      None: off.
    prior_scale: what the batch's mean box is drawn to, (width, height) as shares of the frame's
      shorter side.
    tight_scale: the same for the prior `tight_box`, meant to take over once people are found.
    prior_location: what the batch's mean box centre is drawn to, in half frames.
    order_threshold: τ of eq. 10, in half frames.
    background: what detector and encoder see beside the person: "keep" (P1, P2), or "remove"
      (P3 §3.2); the whole frame is reconstructed either way.
    threshold: of "remove", see `background_treatment.foreground`.
    head: reads 2D joints, which are learned from where they are known; None: no 2D labels.
  """

  decode: bool
  pixel_loss: str
  label_statistics: float | None
  swap: str
  swap_probability: float
  jitter: dict[str, float] | None
  prior_scale: tuple[float, float]
  tight_scale: tuple[float, float]
  prior_location: tuple[float, float]
  order_threshold: float
  background: str
  threshold: float
  head: weak_labels.Head | None = None


def check_options(scene: Scene, options: SceneOptions) -> None:
  """Raises ValueError where there is no such pixel loss or background, or no vector for joints."""
  choices = {"pixel_loss": tuple(PIXEL_LOSSES), "background": _BACKGROUNDS}
  for name, known in choices.items():
    if getattr(options, name) not in known:
      raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(options, name)!r}")
  if options.head is not None and not scene.encoder.time_variant_size:
    raise ValueError("2D joints are read from config.model.time_variant > 0 values, not from 0")


def term_names(
  scene: Scene, options: SceneOptions, *, perceptual: bool, tracked: bool = True
) -> list[str]:
  """Names of the terms that `run` gives; `tracked`: of temporal samples, boxes have a path."""
  names = []
  if options.decode:
    names += ["pixel"] + (["perceptual"] if perceptual else [])
  if scene.detector is not None:
    names += ["constant_acceleration", "order", "scale_change"] if tracked else []
    names += ["box_scale", "tight_box", "box_location"]
  return names + joint_terms(options)


def joint_terms(options: SceneOptions) -> list[str]:
  """The name of the term on 2D labels, where they are learned from."""
  return [] if options.head is None else [weak_labels.TERM]


def pass_terms(
  scene: Scene,
  options: SceneOptions,
  sample: dict[str, Array],
  frames: Float[Array, "N H W 3"],
  out: dict[str, Array],
) -> Terms:
  """All terms of a pass but the perceptual one."""
  aspect = frames.shape[2] / frames.shape[1]
  found = {} if scene.detector is None else _box_terms(options, sample, aspect, out["box"])
  if options.decode:
    found["pixel"] = _pixel_term(options, frames, out["reconstruction"])
  return found


def _pixel_term(options: SceneOptions, frames: Array, predicted: Array) -> tuple[Array, Array]:
  # Errors are in the colours that the networks work in, as in NSD: in units of their usual spread.
  label, predicted = normalise_image(frames), normalise_image(predicted)
  if options.label_statistics is not None:
    predicted, label = reconstruction.normalise_by_label_statistics(
      predicted, label, minimum_std=options.label_statistics
    )
  value = batching.per_sample(PIXEL_LOSSES[options.pixel_loss](predicted, label))
  return value, jnp.ones_like(value)


def _box_terms(
  options: SceneOptions, sample: dict[str, Array], aspect: float, boxes: Float[Array, "N 4"]
) -> Terms:
  box, mean_box = batching.samples(boxes), parallel.pmean(jnp.mean(boxes, axis=0))
  ones = jnp.ones(len(box))
  scale = priors.scale_prior(mean_box, target=options.prior_scale, aspect=aspect)
  tight = priors.scale_prior(mean_box, target=options.tight_scale, aspect=aspect)
  location = priors.location_prior(mean_box, target=options.prior_location)
  found = {
    "box_scale": (scale * ones, ones),
    "tight_box": (tight * ones, ones),
    "box_location": (location * ones, ones),
  }
  if "gravity" not in sample:
    return found
  falling = sample["gravity"].astype(jnp.float32)
  return found | {
    "constant_acceleration": (tracking.constant_acceleration(box), falling),
    "order": (tracking.falling_order(box, threshold=options.order_threshold), falling),
    "scale_change": (tracking.scale_change(box), falling),
  }


def summaries(out: dict[str, Array]) -> dict[str, Array]:
  """What is logged of a pass beside its terms."""
  box = out["box"]
  found = {
    "box_scale_mean": jnp.mean(box[:, :2]),
    "box_scale_spread": _spread(box[:, :2]).mean(),
    "box_shift_spread": _spread(box[:, 2:]).mean(),
  }
  if "mask_frame" in out:
    found["mask_max_mean"] = jnp.mean(out["mask_max"])
    found["mask_area"] = jnp.mean(out["mask_frame"])
  for name in ("time_variant", "time_invariant"):
    if name in out and out[name].shape[1]:
      found[f"{name}_spread"] = _relative_spread(out[name])
  return found


def _relative_spread(vectors: Float[Array, "N D"]) -> Float[Array, ""]:
  """√(Σ variance / Σ mean square), from 0, one vector for all frames, to 1, vectors around zero."""
  power = parallel.pmean(jnp.mean(vectors**2, axis=0)).sum()
  return jnp.sqrt(jnp.sum(_spread(vectors) ** 2) / jnp.maximum(power, 1e-12))


def _spread(values: Float[Array, "N K"]) -> Float[Array, " K"]:
  """Standard deviation over the frames of all devices."""
  mean = parallel.pmean(jnp.mean(values, axis=0, keepdims=True))
  return jnp.sqrt(parallel.pmean(jnp.mean((values - mean) ** 2, axis=0)))
