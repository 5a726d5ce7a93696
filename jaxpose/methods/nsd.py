"""NSD on a scene: the time-variant vector as points in 3D, rotated from camera to camera.

Rhodin et al.'s method (2018) as P1 and P2 compare with it: their detector, encoder and decoder, on
samples of two cameras at two instants. A frame is decoded from what either camera saw of its
instant, and with the appearance that its own camera saw at the other one.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxpose.method import Objective, Terms, Variables
from jaxpose.methods import batching, scene_method, scene_terms
from jaxpose.methods.scene_method import Perceptual, SceneMethod
from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.methods.swap import Vectors, take_sources
from jaxpose.models.scene import Scene
from jaxpose.shapes import FRAMES_PER_SAMPLE, OTHER_INSTANT, OTHER_VIEW

PART = "views"  # of a batch


@dataclasses.dataclass(frozen=True)
class NsdOptions:
  """What NSD has of its own; the values: configs/common.py.

  Attributes:
    swap_probability: of an example's frames to be decoded from the other camera's vectors.
  """

  swap_probability: float


def build_nsd(
  scene: Scene, seen: SceneOptions, options: NsdOptions, perceptual: Perceptual | None
) -> SceneMethod:
  """Reconstruction of every frame from another view's pose and another instant's appearance.

  Terms: `pixel`, `perceptual` and the priors of `scene_method.run`. `embed` gives the time-variant
  vectors as they are: K points, one after the other, in the axes of the frame's own camera.

  Raises:
    ValueError: there is no such pixel loss; nothing is decoded, no vector is time-invariant, or the
      time-variant one is no list of points.
  """
  scene_terms.check_options(scene, seen)
  if not seen.decode or scene.encoder.time_invariant_size == 0:
    raise ValueError(
      "nsd parts pose and appearance by decoding them: it needs config.scene.decode and"
      " config.model.time_invariant > 0"
    )
  if scene.encoder.time_variant_size % 3:
    raise ValueError(
      f"nsd reads the time-variant vector as points in 3D: config.model.time_variant is"
      f" {scene.encoder.time_variant_size}, but must be a multiple of 3"
    )
  names = scene_terms.term_names(scene, seen, perceptual=perceptual is not None, tracked=False)
  groups = scene_method.parameter_groups(scene, seen)
  return SceneMethod(
    init=functools.partial(scene_method.init, scene, seen, perceptual, part=PART),
    terms=functools.partial(_terms, scene, seen, options, perceptual),
    objectives={"nsd": Objective(tuple(names), groups)},
    **scene_method.shown(scene, seen),
  )


def _terms(
  scene: Scene,
  seen: SceneOptions,
  options: NsdOptions,
  perceptual: Perceptual | None,
  variables: Variables,
  batch: dict[str, Any],
  rng: Key[Array, ""],
  train: bool,
) -> tuple[Terms, Variables, dict[str, Any]]:
  exchange = functools.partial(_exchange, options)
  done = scene_method.run(
    scene, seen, perceptual, variables, batch, rng, train, part=PART, exchange=exchange
  )
  return done.terms, done.variables, {"summaries": scene_terms.summaries(done.out)}


def _exchange(
  options: NsdOptions, sample: dict[str, Array], keys: Key[Array, " B"], vectors: Vectors
) -> Vectors:
  """Rotated time-variant vectors of either view, time-invariant ones of the other instant."""
  swapped = jax.vmap(jax.random.uniform)(keys) < options.swap_probability
  own = jnp.arange(FRAMES_PER_SAMPLE)
  views = jnp.where(swapped[:, None], jnp.asarray(OTHER_VIEW), own)
  instants = jnp.broadcast_to(jnp.asarray(OTHER_INSTANT), views.shape)
  variant, invariant = (batching.samples(v) for v in vectors)
  rotated = rotate_between_views(variant, sample["rotation"], views)
  return batching.flat(rotated), batching.flat(take_sources(invariant, instants))


def rotate_between_views(
  time_variant: Float[Array, "B T D"],
  rotation: Float[Array, "B T 3 3"],
  sources: Int[Array, "B T"],
) -> Float[Array, "B T D"]:
  """R_t R_sᵀ p for each point p of the vector of frame s = sources[t]; D = 3·K, K points.

  Args:
    rotation: R from world to each frame's camera.
    sources: the frame of the sample that each frame takes its points from.
  """
  points = take_sources(time_variant, sources)
  points = points.reshape(*points.shape[:2], -1, 3)
  start = jnp.take_along_axis(rotation, sources[..., None, None], axis=1)
  relative = jnp.einsum("btij,btkj->btik", rotation, start, precision="highest")
  rotated = jnp.einsum("btij,btpj->btpi", relative, points, precision="highest")
  return rotated.reshape(time_variant.shape)
