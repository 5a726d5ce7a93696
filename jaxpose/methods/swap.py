"""Whose time-invariant vector a frame is decoded with (P1 §3.1.3, P2 §3.1)."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxpose.methods import batching
from jaxpose.shapes import FAR, FRAMES_PER_SAMPLE, INTERMEDIATE, NEAR, REFERENCE

SWAPS = ("another", "pairs", "none")

Vectors = tuple[Array, Array]  # time-variant [N, Dv] and time-invariant [N, Di] of frames

# (sample, a key of each example, vectors of its frames) -> what the frames are decoded with.
Exchange = Callable[[dict[str, Array], Key[Array, " B"], Vectors], Vectors]

_DERANGEMENTS = np.array(
  [
    order
    for order in itertools.permutations(range(FRAMES_PER_SAMPLE))
    if all(i != j for i, j in enumerate(order))
  ],
  np.int32,
)


def swap_appearance(
  sample: dict[str, Array],
  keys: Key[Array, " B"],
  vectors: Vectors,
  *,
  swap: str,
  probability: float,
) -> Vectors:
  """The frames' own time-variant vectors, time-invariant ones by `sample_appearance_sources`."""
  del sample
  sources = sample_appearance_sources(keys, swap=swap, probability=probability)
  return vectors[0], batching.flat(take_sources(batching.samples(vectors[1]), sources))


def sample_appearance_sources(
  keys: Key[Array, " B"], *, swap: str, probability: float
) -> Int[Array, "B T"]:
  """The frame of the sample that each frame takes its time-invariant vector from.

  `another` (P2 §3.1): every frame takes that of another frame, by a permutation without fixed
  points, each as probable as the other. `pairs` (P1 §3.1.3): reference and near are paired at
  random with far and intermediate; each pair exchanges vectors with the given probability. `none`:
  every frame keeps its own.

  Args:
    keys: one for each sample.

  Raises:
    ValueError: there is no such swap.
  """
  if swap not in SWAPS:
    raise ValueError(f"swap must be one of {', '.join(SWAPS)}, not {swap!r}")
  if swap == "none":
    return jnp.broadcast_to(jnp.arange(FRAMES_PER_SAMPLE), (keys.shape[0], FRAMES_PER_SAMPLE))
  if swap == "another":
    table = jnp.asarray(_DERANGEMENTS)
    return table[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(table)))(keys)]
  return jax.vmap(lambda key: _exchange_pairs(key, probability))(keys)


def _exchange_pairs(key: Key[Array, ""], probability: float) -> Int[Array, " T"]:
  crossed, first, second = jax.random.uniform(key, (3,))
  partners = jnp.where(
    crossed < 0.5, jnp.array([FAR, INTERMEDIATE]), jnp.array([INTERMEDIATE, FAR])
  )
  sources = jnp.arange(FRAMES_PER_SAMPLE)
  for own, partner, draw in ((REFERENCE, partners[0], first), (NEAR, partners[1], second)):
    exchanged = sources.at[own].set(partner).at[partner].set(own)
    sources = jnp.where(draw < probability, exchanged, sources)
  return sources


def take_sources(
  vectors: Float[Array, "B T D"], sources: Int[Array, "B T"]
) -> Float[Array, "B T D"]:
  """vectors[b, sources[b, t]]."""
  return jnp.take_along_axis(vectors, sources[..., None], axis=1)
