"""Everything that a step changes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxpose import parallel, parameter_paths
from jaxpose.method import Method, Variables
from jaxpose.training.optimiser import Optimiser


class TrainState(NamedTuple):
  """Number of updates done, the method's variables, and the state of each objective's optimiser."""

  step: Int[Array, ""]
  variables: Variables
  optimisers: dict[str, Any]


def make_state(
  method: Method,
  batch: Any,
  *,
  optimisers: Mapping[str, Optimiser],
  seed: int,
  over: parallel.Devices,
) -> TrainState:
  """The state before the first step, on every device of this process.

  The variables come from `method.init` with a key of the seed: the same on all processes.

  Raises:
    ValueError: objectives and optimisers, or parameter groups and variables, do not match; a part
      of a group is to be frozen that it does not have.
  """
  variables = method.init(jax.random.fold_in(jax.random.key(seed), _INIT), batch)
  groups = trained_groups(method, optimisers, tuple(variables["params"]))
  for optimiser in optimisers.values():
    parameter_paths.check(optimiser.frozen, variables["params"], "config.optimiser.frozen")
  states = {
    name: optimisers[name].transform.init({g: variables["params"][g] for g in groups[name]})
    for name in method.objectives
  }
  state = TrainState(jnp.zeros((), jnp.int32), variables, states)
  return parallel.replicate(state, over)


# Folded into the seed's key for the first parameters; steps fold in their numbers, from 0 on.
_INIT = 2**31 - 1


def trained_groups(
  method: Method, optimisers: Mapping[str, Optimiser], present: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
  """The parameter groups that each objective updates: those it names, without those frozen
  as a whole.

  Raises:
    ValueError: an objective has no optimiser or the other way round, names a group that the
      variables lack, or shares a group with another objective; or an optimiser names a group
      that its objective does not train.
  """
  if set(optimisers) != set(method.objectives):
    raise ValueError(
      f"optimisers are given for {sorted(optimisers)}, but the method's objectives are"
      f" {sorted(method.objectives)}; give one optimiser to each"
    )
  owner: dict[str, str] = {}
  groups = {}
  named = {group for o in method.objectives.values() for group in o.parameters}
  rest = tuple(group for group in present if group not in named)
  for name, objective in method.objectives.items():
    members = objective.parameters or rest
    for group in members:
      if group not in present:
        raise ValueError(
          f"objective '{name}' trains the parameters of '{group}', but the variables hold only"
          f" {sorted(present)}"
        )
      if group in owner:
        raise ValueError(
          f"parameters of '{group}' belong to two objectives, '{owner[group]}' and '{name}'"
        )
      owner[group] = name
    optimiser = optimisers[name]
    frozen = (parameter_paths.group_of(entry) for entry in optimiser.frozen)
    for group in (*frozen, *optimiser.multipliers):
      if group not in members:
        raise ValueError(
          f"the optimiser of '{name}' names the group '{group}', but the objective trains only"
          f" {sorted(members)}"
        )
    groups[name] = tuple(g for g in members if g not in optimiser.frozen)
    if not groups[name]:
      raise ValueError(f"every parameter group of objective '{name}' is frozen, or it has none")
  return groups
