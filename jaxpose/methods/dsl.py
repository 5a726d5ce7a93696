"""DSL and its ablations: vectors by contrast in time, swaps and reconstruction (P1, P2)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxpose.losses import contrastive
from jaxpose.method import Objective, Terms, Variables
from jaxpose.methods import batching, scene_method, scene_terms, weak_labels
from jaxpose.methods.scene_method import Perceptual, SceneMethod
from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.methods.weak_labels import Head
from jaxpose.models.scene import Scene
from jaxpose.shapes import FAR, INTERMEDIATE, NEAR, REFERENCE

CONTRASTS = ("dsl", "css", "none")


@dataclasses.dataclass(frozen=True)
class DslOptions:
  """What the time-variant vectors are compared by; the values: configs/common.py.

  Attributes:
    contrast: "dsl" (P1 eq. 5, 6); "css", InfoNCE of one near and two far frames (eq. 3); "none".
    d_max: temporal distance at which similarity should be 0 (eq. 5), in the unit of positions.
    temperature: of eq. 3.
    include_positive: whether the sum of eq. 3 takes the near frame too (P2) or not (P1).
    head: reads 2D joints, which are learned from where they are known; None: no 2D labels.
  """

  contrast: str
  d_max: float
  temperature: float
  include_positive: bool
  head: Head | None


def build_dsl(
  scene: Scene, seen: SceneOptions, options: DslOptions, perceptual: Perceptual | None
) -> SceneMethod:
  """The method of P1 and P2 on the given networks, or what is left of it when parts are left out.

  Terms: those of `scene_method.run`, and `dsl` (P1 eq. 6) or `css` (eq. 3) on the time-variant
  vectors, of all samples but falls; with 2D labels also `pose2d` (`weak_labels.pose2d_term`), and
  `embed` and `render` then give pose2d [N, 2·J], in coordinates of the box.

  Args:
    perceptual: the network of the perceptual term and its frozen variables; None: no such term.

  Raises:
    ValueError: there is no such pixel loss or contrast, or nothing would be learned from.
  """
  scene_terms.check_options(seen)
  if options.contrast not in CONTRASTS:
    raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}, not {options.contrast!r}")
  if options.head is not None and not scene.encoder.time_variant_size:
    raise ValueError("2D joints are read from config.model.time_variant > 0 values, not from 0")
  names = scene_terms.term_names(scene, seen, perceptual=perceptual is not None)
  names += [] if options.contrast == "none" else [options.contrast]
  if not seen.decode and options.contrast == "none":
    raise ValueError("neither a reconstruction nor a contrast: there is nothing to learn from")
  groups = scene_method.parameter_groups(scene, seen)
  functions = scene_method.shown(scene, seen)
  if options.head is not None:
    names, groups = [*names, "pose2d"], (*groups, weak_labels.GROUP)
    for name in ("embed", "render"):
      functions[name] = functools.partial(_with_joints, options.head, functions[name])
  return SceneMethod(
    init=functools.partial(_init, scene, seen, options.head, perceptual),
    terms=functools.partial(_terms, scene, seen, options, perceptual),
    objectives={"dsl": Objective(tuple(names), groups)},
    **functions,
  )


def _init(
  scene: Scene,
  seen: SceneOptions,
  head: Head | None,
  perceptual: Perceptual | None,
  rng: Key[Array, ""],
  batch: dict[str, Any],
) -> Variables:
  variables = scene_method.init(scene, seen, perceptual, rng, batch)
  if head is None:
    return variables
  joints = batch["temporal"]["pose2d_px"].shape[-2]
  own = head.init(jax.random.fold_in(rng, 1), scene.encoder.time_variant_size, joints)
  return {**variables, "params": {**variables["params"], weak_labels.GROUP: own}}


def _with_joints(
  head: Head,
  look: Callable[[Variables, dict[str, Array]], dict[str, Array]],
  variables: Variables,
  batch: dict[str, Any],
) -> dict[str, Array]:
  found = look(variables, batch)
  own = variables["params"][weak_labels.GROUP]
  return {**found, "pose2d": head.read(own, found["time_variant"])}


def _terms(
  scene: Scene,
  seen: SceneOptions,
  options: DslOptions,
  perceptual: Perceptual | None,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  done = scene_method.run(scene, seen, perceptual, variables, batch, rng, train)
  terms = dict(done.terms)
  if options.contrast != "none":
    vectors = batching.samples(done.out["time_variant"])
    value = _contrast(options, vectors, done.sample["position"])
    terms[options.contrast] = (value, 1.0 - done.sample["gravity"].astype(value.dtype))
  if options.head is not None:
    own = variables["params"][weak_labels.GROUP]
    vectors = scene_method.read_vectors(scene, variables, done.out, train)
    predicted = options.head.read(own, vectors)
    joints = batching.flat(done.sample["pose2d_px"])
    height, width = done.sample["image"].shape[2:4]
    terms["pose2d"] = weak_labels.pose2d_term(predicted, joints, done.out["box"], (height, width))
  return terms, done.variables, {"summaries": scene_terms.summaries(done.out)}


def _contrast(
  options: DslOptions, vectors: Float[Array, "B T D"], position: Float[Array, "B T"]
) -> Float[Array, " B"]:
  if options.contrast == "dsl":
    return contrastive.dsl(vectors, position, d_max=options.d_max)
  return contrastive.info_nce(
    vectors[:, REFERENCE],
    vectors[:, NEAR],
    vectors[:, jnp.array([INTERMEDIATE, FAR])],
    temperature=options.temperature,
    include_positive=options.include_positive,
  )
