"""Optimisers and learning-rate schedules from plain numbers."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from jaxpose import parameter_paths

Schedule = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Optimiser:
  """A gradient transformation, and what the step and the log need to know of it.

  Attributes:
    transform: gradients of `{group: parameters}` to updates.
    learning_rate: update number to learning rate, for the log.
    frozen: groups that are not trained at all, and paths of parts of others.
    multipliers: factor on the learning rate by group.
  """

  transform: optax.GradientTransformation
  learning_rate: Schedule
  frozen: tuple[str, ...]
  multipliers: Mapping[str, float]


def make_schedule(
  *,
  schedule: str,
  learning_rate: float,
  steps: int,
  warmup_steps: int,
  final_fraction: float,
  boundaries: Sequence[tuple[int, float]],
) -> Schedule:
  """Learning rate by update number.

  Args:
    schedule: `constant`; `cosine` from `learning_rate` to `learning_rate·final_fraction` at
      `steps`; `warmup_cosine`, the same after a linear rise from 0 over `warmup_steps`;
      `piecewise`, `learning_rate` times the factor of each `(step, factor)` passed, as a product.
    steps: updates of the whole run.

  Raises:
    ValueError: unknown schedule, or a warm-up that is not shorter than the run.
  """
  if schedule == "constant":
    return optax.constant_schedule(learning_rate)
  if schedule == "cosine":
    return optax.cosine_decay_schedule(learning_rate, steps, alpha=final_fraction)
  if schedule == "warmup_cosine":
    if not 0 < warmup_steps < steps:
      raise ValueError(f"warmup_steps = {warmup_steps} must lie between 0 and steps = {steps}")
    return optax.warmup_cosine_decay_schedule(
      0.0, learning_rate, warmup_steps, steps, end_value=learning_rate * final_fraction
    )
  if schedule == "piecewise":
    return optax.piecewise_constant_schedule(
      learning_rate, {int(step): float(factor) for step, factor in boundaries}
    )
  raise ValueError(
    f"unknown schedule '{schedule}'; choose constant, cosine, warmup_cosine or piecewise"
  )


def make_optimiser(
  *,
  name: str,
  learning_rate: Schedule,
  beta1: float,
  beta2: float,
  epsilon: float,
  weight_decay: float,
  clip_norm: float,
  multipliers: Mapping[str, float],
  frozen: Sequence[str],
) -> Optimiser:
  """clip → (L2 penalty) → direction → (decoupled decay) → −learning rate · multiplier of the group.

  Args:
    name: `adam`, `adamw` or `sgd`. `beta1` is the momentum of sgd (0: none).
    weight_decay: on arrays of two and more axes only, so not on biases and norms; decoupled for
      adamw, added to the gradient (an L2 penalty) for adam and sgd.
    clip_norm: greatest global norm of the gradient; 0 leaves it as it is.
    multipliers: factor by parameter group; others have 1.
    frozen: groups that are not trained, and paths of parts of others (see `parameter_paths`): those
      get no update, have no state here, and count in no norm.

  Raises:
    ValueError: unknown name, or a group that is frozen and has a multiplier.
  """
  both = set(multipliers) & set(frozen)
  if both:
    raise ValueError(f"groups {sorted(both)} are frozen and have a learning-rate multiplier")
  parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm > 0 else []
  decay = [optax.add_decayed_weights(weight_decay, mask=_matrices)] if weight_decay > 0 else []
  adam = optax.scale_by_adam(b1=beta1, b2=beta2, eps=epsilon)
  if name == "adam":
    parts += [*decay, adam]
  elif name == "adamw":
    parts += [adam, *decay]
  elif name == "sgd":
    parts += [*decay, optax.trace(decay=beta1)] if beta1 > 0 else decay
  else:
    raise ValueError(f"unknown optimiser '{name}'; choose adam, adamw or sgd")
  factors = dict(multipliers)
  parts += [_scale_groups(factors), optax.scale_by_learning_rate(learning_rate)]
  transform = _holding(optax.chain(*parts), [entry for entry in frozen if "/" in entry])
  return Optimiser(transform, learning_rate, tuple(frozen), factors)


def _holding(
  transform: optax.GradientTransformation, paths: Sequence[str]
) -> optax.GradientTransformation:
  """The transformation for all but the arrays under `paths`, whose updates are 0."""
  if not paths:
    return transform

  def held(tree: Any) -> Any:
    return parameter_paths.mask(tree, paths)

  def learning(tree: Any) -> Any:
    return jax.tree.map(lambda x: not x, held(tree))

  return optax.chain(optax.masked(optax.set_to_zero(), held), optax.masked(transform, learning))


def _matrices(params: Any) -> Any:
  return jax.tree.map(lambda x: x.ndim > 1, params)


def _scale_groups(factors: dict[str, float]) -> optax.GradientTransformation:
  def update(updates: Any, params: Any = None) -> Any:
    del params
    return {
      group: jax.tree.map(lambda u, f=factors[group]: u * f, tree) if group in factors else tree
      for group, tree in updates.items()
    }

  return optax.stateless(update)
