"""DrNet on a scene: pose and content parted by a discriminator instead of contrast in time.

Denton & Birodkar's method as P1 and P2 compare with it: their detector, encoder, decoder and swap,
the time-variant vector as DrNet's pose and the time-invariant one as its content.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxpose import parallel
from jaxpose.losses.adversarial import binary_cross_entropy, feature_distance
from jaxpose.losses.contrastive import unit_length
from jaxpose.method import Objective, Terms, Variables
from jaxpose.methods import batching, scene_method, scene_terms
from jaxpose.methods.scene_method import Perceptual, SceneMethod
from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.models.discriminators import SceneDiscriminator
from jaxpose.models.scene import Scene
from jaxpose.shapes import FAR, REFERENCE

GROUP = "scene_discriminator"  # of parameters, and the objective that trains them
UNDECIDED = 0.5


@dataclasses.dataclass(frozen=True)
class DrnetOptions:
  """What DrNet has of its own; the values: configs/common.py.

  Attributes:
    discriminator_width: of the two hidden layers of the discriminator.
    normalise: whether DrNet's own terms compare and judge vectors of unit length. The decoder reads
      them as they are: of raw vectors `similarity` falls as they shrink, whatever they say, and
      weighs the more the longer they are when it begins.
  """

  discriminator_width: int
  normalise: bool


def build_drnet(
  scene: Scene, seen: SceneOptions, options: DrnetOptions, perceptual: Perceptual | None
) -> SceneMethod:
  """Two objectives on one pass.

  `drnet` trains the scene: the terms of `scene_method.run`; `similarity`, the mean squared distance
  of the content vectors of reference and far frame; `confusion`, the cross entropy of the
  discriminator's answers to pose vectors of one video with the target ½.
  `scene_discriminator` trains the discriminator to tell pairs of one video (reference and far
  frame, `same_video`) from pairs of different ones (the reference and the far frame of the sample
  before it in the batch of all devices, `other_video`; of no weight where that is the same video).
  These four terms have no weight on falls.

  Raises:
    ValueError: there is no such pixel loss; nothing is decoded, or no vector is time-invariant.
  """
  scene_terms.check_options(scene, seen)
  sizes = scene.encoder.time_variant_size, scene.encoder.time_invariant_size
  if not seen.decode or min(sizes) == 0:
    raise ValueError(
      "drnet parts pose and content by decoding them: it needs config.scene.decode,"
      " config.model.time_variant and time_invariant > 0"
    )
  names = [
    *scene_terms.term_names(scene, seen, perceptual=perceptual is not None),
    "similarity",
    "confusion",
  ]
  judge = SceneDiscriminator(options.discriminator_width)
  return SceneMethod(
    init=functools.partial(_init, scene, seen, judge, perceptual),
    terms=functools.partial(_terms, scene, seen, judge, options.normalise, perceptual),
    objectives={
      "drnet": Objective(tuple(names), scene_method.parameter_groups(scene, seen)),
      GROUP: Objective(("same_video", "other_video"), (GROUP,)),
    },
    **scene_method.shown(scene, seen),
  )


def _init(
  scene: Scene,
  seen: SceneOptions,
  judge: SceneDiscriminator,
  perceptual: Perceptual | None,
  rng: Key[Array, ""],
  batch: dict[str, Any],
) -> Variables:
  variables = scene_method.init(scene, seen, perceptual, rng, batch)
  empty = jnp.zeros((1, scene.encoder.time_variant_size))
  own = judge.init(jax.random.fold_in(rng, 1), empty, empty)["params"]
  return {**variables, "params": {**variables["params"], GROUP: own}}


def _terms(
  scene: Scene,
  seen: SceneOptions,
  judge: SceneDiscriminator,
  normalise: bool,
  perceptual: Perceptual | None,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  done = scene_method.run(scene, seen, perceptual, variables, batch, rng, train)
  pose, content = (
    batching.samples(unit_length(vectors) if normalise else vectors)
    for vectors in (done.out["time_variant"], done.out["time_invariant"])
  )
  own = {"params": variables["params"][GROUP]}

  def judged(a: Array, b: Array) -> Array:
    return jnp.asarray(judge.apply(own, a, b))

  still = jax.lax.stop_gradient(pose)  # to the discriminator the vectors are data
  other, differs = _of_other_videos(still[:, FAR], done.sample)
  # as DSL's contrast: not while falls teach where the diver is (P2 §S.1)
  ones = 1.0 - done.sample["gravity"].astype(jnp.float32)
  terms = {
    **done.terms,
    "similarity": (feature_distance(content[:, REFERENCE], content[:, FAR]), ones),
    "confusion": (
      binary_cross_entropy(judged(pose[:, REFERENCE], pose[:, FAR]), UNDECIDED),
      ones,
    ),
    "same_video": (
      binary_cross_entropy(judged(still[:, REFERENCE], still[:, FAR]), 1.0),
      ones,
    ),
    "other_video": (
      binary_cross_entropy(judged(still[:, REFERENCE], other), 0.0),
      differs * ones,
    ),
  }
  return terms, done.variables, {"summaries": scene_terms.summaries(done.out)}


def _of_other_videos(
  vectors: Float[Array, "B D"], sample: dict[str, Array]
) -> tuple[Float[Array, "B D"], Bool[Array, " B"]]:
  """(the vector of the sample before each in the whole batch, whether it is of another video)."""
  video = jnp.stack([sample["sequence"], sample["camera"]], axis=1)

  def before(values: Any) -> Any:
    everything = jnp.roll(parallel.all_gather(values), 1, axis=0)
    start = parallel.axis_index() * len(values)
    return jax.lax.dynamic_slice_in_dim(everything, start, len(values))

  return before(vectors), jnp.any(before(video) != video, axis=1)
