"""Time contrast across cameras (MV-CSS): views of one instant alike, other instants unlike.

Sermanet et al.'s time-contrastive networks as P1 compares with them: P1 eq. 4, without
reconstruction or split.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxpose import parallel
from jaxpose.losses import contrastive
from jaxpose.method import Objective, Terms, Variables
from jaxpose.methods import batching, scene_method, scene_terms
from jaxpose.methods.scene_method import SceneMethod
from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.models.scene import Scene
from jaxpose.shapes import OTHER_INSTANT, OTHER_VIEW

PART = "views"  # of a batch
TERM = "mv_css"
NEGATIVES = ("semi_hard", "distant")


@dataclasses.dataclass(frozen=True)
class MvCssOptions:
  """How triplets are made and compared; the values: configs/common.py.

  Attributes:
    negative: "semi_hard", the nearest beyond the positive among all frames of the whole batch that
      show another instant (time-contrastive networks); "distant", the same camera's frame of the
      other instant (P1 §4.1).
    normalise: compare vectors of unit length.
    margin: β of eq. 4.
  """

  negative: str
  normalise: bool
  margin: float


def build_mv_css(scene: Scene, seen: SceneOptions, options: MvCssOptions) -> SceneMethod:
  """The term `mv_css` (P1 eq. 4), on the time-variant vectors; each frame is an anchor once.

  With 2D labels `pose2d` stands beside it. Both move the encoder, `mv_css` also the detector where
  there is one, whose priors are another method's.

  Raises:
    ValueError: there is no such negative.
  """
  if options.negative not in NEGATIVES:
    raise ValueError(
      f"config.mv_css.negative must be one of {', '.join(NEGATIVES)}, not {options.negative!r}"
    )
  scene_terms.check_options(scene, seen)
  looked = dataclasses.replace(seen, decode=False)
  names = (TERM, *scene_terms.joint_terms(seen))
  return SceneMethod(
    init=functools.partial(scene_method.init, scene, seen, None, part=PART),
    terms=functools.partial(_terms, scene, looked, options),
    objectives={TERM: Objective(names, scene_method.parameter_groups(scene, looked))},
    **scene_method.shown(scene, seen),
  )


def _terms(
  scene: Scene,
  looked: SceneOptions,
  options: MvCssOptions,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  done = scene_method.run(scene, looked, None, variables, batch, rng, train, part=PART)
  vectors = batching.samples(done.out["time_variant"])
  if options.normalise:
    vectors = contrastive.unit_length(vectors)
  value = _triplets(options, vectors, done.sample)
  joints = {name: done.terms[name] for name in scene_terms.joint_terms(looked)}
  terms = {TERM: (value, jnp.ones_like(value)), **joints}
  return terms, done.variables, {"summaries": scene_terms.summaries(done.out)}


def _triplets(
  options: MvCssOptions, vectors: Float[Array, "B T D"], sample: dict[str, Array]
) -> Float[Array, " B"]:
  """Mean loss of the four anchors of each sample."""
  anchors = batching.flat(vectors)
  positives = batching.flat(vectors[:, jnp.asarray(OTHER_VIEW)])
  if options.negative == "distant":
    negatives = batching.flat(vectors[:, jnp.asarray(OTHER_INSTANT)])
    found = contrastive.triplet(anchors, positives, negatives, margin=options.margin)
  else:
    found = contrastive.semi_hard_triplet(
      anchors,
      positives,
      parallel.all_gather(anchors),
      _of_other_instants(sample),
      margin=options.margin,
    )
  return batching.per_sample(found)


def _of_other_instants(sample: dict[str, Array]) -> Bool[Array, "N M"]:
  """Which frames of the whole batch (M) show another instant or sequence than those here (N)."""
  frame = sample["frame"]
  sequence = jnp.broadcast_to(sample["sequence"][:, None], frame.shape)
  instant = batching.flat(jnp.stack([sequence, frame], axis=-1))
  return jnp.any(instant[:, None] != parallel.all_gather(instant)[None], axis=-1)
