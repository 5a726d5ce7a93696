"""DSL and its ablations: vectors by contrast in time, swaps and reconstruction (P1, P2)."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxpose.losses import contrastive
from jaxpose.method import Objective, Terms, Variables
from jaxpose.methods import batching, scene_method, scene_terms
from jaxpose.methods.scene_method import Perceptual, SceneMethod
from jaxpose.methods.scene_terms import SceneOptions
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
  """

  contrast: str
  d_max: float
  temperature: float
  include_positive: bool


def build_dsl(
  scene: Scene, seen: SceneOptions, options: DslOptions, perceptual: Perceptual | None
) -> SceneMethod:
  """The method of P1 and P2 on the given networks, or what is left of it when parts are left out.

  Terms: those of `scene_method.run`, and `dsl` (P1 eq. 6) or `css` (eq. 3) on the time-variant
  vectors, of all samples but falls.

  Args:
    perceptual: the network of the perceptual term and its frozen variables; None: no such term.

  Raises:
    ValueError: there is no such pixel loss or contrast, or nothing would be learned from.
  """
  scene_terms.check_options(scene, seen)
  if options.contrast not in CONTRASTS:
    raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}, not {options.contrast!r}")
  names = scene_terms.term_names(scene, seen, perceptual=perceptual is not None)
  names += [] if options.contrast == "none" else [options.contrast]
  if not seen.decode and options.contrast == "none" and seen.head is None:
    raise ValueError(
      "neither a reconstruction nor a contrast nor 2D joints: there is nothing to learn from"
    )
  groups = scene_method.parameter_groups(scene, seen)
  return SceneMethod(
    init=functools.partial(scene_method.init, scene, seen, perceptual),
    terms=functools.partial(_terms, scene, seen, options, perceptual),
    objectives={"dsl": Objective(tuple(names), groups)},
    **scene_method.shown(scene, seen),
  )


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
