"""Contrastive losses on latent vectors: DSL, InfoNCE, triplets (P1 §3.1.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

MINIMUM_NORM = 1e-4
"""Default lower bound on a vector's length in the cosine, which keeps its gradient finite at 0."""


def cosine_similarity(
  a: Float[Array, "*#batch D"], b: Float[Array, "*#batch D"], *, minimum_norm: float = MINIMUM_NORM
) -> Float[Array, " *batch"]:
  """⟨a, b⟩ / (max(‖a‖, m) · max(‖b‖, m)) (P1 eq. 3), m = `minimum_norm`."""
  return (a * b).sum(-1) * _inverse_norm(a, minimum_norm) * _inverse_norm(b, minimum_norm)


def unit_length(
  vectors: Float[Array, "*batch D"], *, minimum_norm: float = MINIMUM_NORM
) -> Float[Array, "*batch D"]:
  """v / max(‖v‖, m), m = `minimum_norm`."""
  # The bound is inside of the root: √ has no finite derivative at 0.
  return vectors * _inverse_norm(vectors, minimum_norm)[..., None]


def _inverse_norm(x: Float[Array, "*batch D"], minimum: float) -> Float[Array, " *batch"]:
  return jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1), minimum**2))


def dsl_pair(
  a: Float[Array, "*#batch D"],
  b: Float[Array, "*#batch D"],
  distance: Float[Array, " *#batch"],
  *,
  d_max: float,
) -> Float[Array, " *batch"]:
  """Distance-based similarity loss of two frames (P1 eq. 5).

  With r = 2d/d_max: (1 − r)·|sim(a, b) − 1| for r ≤ 1, else min(r − 1, 1)·|sim(a, b)|.

  Args:
    distance: d = |t_a − t_b| ≥ 0, in the unit of `d_max`.
    d_max: the distance from which on frames count as unlike.
  """
  similarity = cosine_similarity(a, b)
  ratio = 2 * distance / d_max
  near = (1 - ratio) * jnp.abs(similarity - 1)
  far = jnp.minimum(ratio - 1, 1) * jnp.abs(similarity)
  return jnp.where(ratio <= 1, near, far)


def dsl(
  time_variant: Float[Array, "B T D"], position: Float[Array, "B T"], *, d_max: float
) -> Float[Array, " B"]:
  """Σ over the other frames f of `dsl_pair`(reference, f); the reference is frame 0 (P1 eq. 6).

  Args:
    time_variant: of reference, near, intermediate and far frame.
    position: time of each frame, in the unit of `d_max`.
  """
  distance = jnp.abs(position[:, 1:] - position[:, :1])
  return dsl_pair(time_variant[:, :1], time_variant[:, 1:], distance, d_max=d_max).sum(1)


def info_nce(
  reference: Float[Array, "B D"],
  positive: Float[Array, "B D"],
  negatives: Float[Array, "B K D"],
  *,
  temperature: float,
  include_positive: bool,
) -> Float[Array, " B"]:
  """−log(exp(sim(r, p)/τ) / Σ exp(sim(r, ·)/τ)) (P1, P2 eq. 3).

  Args:
    temperature: τ.
    include_positive: whether the sum takes the positive beside the negatives (P2) or the negatives
      alone (P1; then the loss can be negative).
  """
  near = cosine_similarity(reference, positive) / temperature
  far = cosine_similarity(reference[:, None], negatives) / temperature
  if include_positive:
    far = jnp.concatenate([near[:, None], far], axis=1)
  return jax.nn.logsumexp(far, axis=1) - near


def _squared_distance(
  a: Float[Array, "*#batch D"], b: Float[Array, "*#batch D"]
) -> Float[Array, " *batch"]:
  """‖a − b‖²."""
  return jnp.square(a - b).sum(-1)


def triplet(
  reference: Float[Array, "B D"],
  positive: Float[Array, "B D"],
  negative: Float[Array, "B D"],
  *,
  margin: float,
) -> Float[Array, " B"]:
  """max(0, ‖r − p‖² + β − ‖r − n‖²) (P1 eq. 4 as a hinge), β = `margin`."""
  near = _squared_distance(reference, positive)
  return jnp.maximum(0, near + margin - _squared_distance(reference, negative))


def semi_hard_triplet(
  reference: Float[Array, "B D"],
  positive: Float[Array, "B D"],
  candidates: Float[Array, "M D"],
  is_negative: Bool[Array, "B M"],
  *,
  margin: float,
) -> Float[Array, " B"]:
  """`triplet` against the nearest negative that lies further away than the positive.

  Where no negative is further than the positive, the furthest negative takes its place; where
  there is no negative at all the loss is 0. The caller normalises the vectors if the method does
  (time-contrastive networks: unit length, margin 0.2).

  Args:
    candidates: vectors of the whole batch.
    is_negative: which candidate may be a negative of which reference.
  """
  near = _squared_distance(reference, positive)
  far = _squared_distance(reference[:, None], candidates[None])
  semi_hard = is_negative & (far > near[:, None])
  # By number: the gradient of a minimum is 0/0 where XLA rounds its two uses of `far` differently.
  nearest = jnp.argmin(jnp.where(semi_hard, far, jnp.inf), 1)
  furthest = jnp.argmax(jnp.where(is_negative, far, -jnp.inf), 1)
  chosen = jnp.where(semi_hard.any(1), nearest, furthest)
  negative = jnp.take_along_axis(far, chosen[:, None], axis=1)[:, 0]
  return jnp.where(is_negative.any(1), jnp.maximum(0, near + margin - negative), 0)
