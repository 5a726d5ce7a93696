"""The networks of one run as the start of another (P2 Fig. 9: training end to end from there)."""

from collections.abc import Collection, Mapping
from typing import Any

import jax

from jaxpose import parameter_paths
from jaxpose.method import Variables

_SHOWN = 4  # layers that an error names
_COLLECTIONS = ("params", "batch_stats")


class OtherShapes(ValueError):
  """Layers of the other run are missing or of other shapes."""


def take_groups(
  variables: Variables, other: Variables, *, where: str, only: Collection[str] = ()
) -> Variables:
  """`variables` with the parameter groups that `other` has too, and their batch statistics.

  A group is taken layer by layer: `other` must have each in the same shape, and may have more.

  Args:
    variables: of a run that is to start; not changed.
    other: of a run that was trained.
    where: names the other run in errors.
    only: the groups to take; empty: all that both have.

  Raises:
    OtherShapes: a layer is missing there or of another shape.
    ValueError: they share no group, or not one of `only`; one group has batch statistics and the
      other none.
  """
  groups = sorted(set(variables["params"]) & set(other["params"]))
  if not groups:
    raise ValueError(
      f"the run in {where} has the networks {_names(other)}, this one {_names(variables)}: there"
      " is none in common to start from"
    )
  for group in only:
    if group not in groups:
      raise ValueError(
        f"config.model.start_groups names {group!r}; this run and that in {where} share"
        f" {', '.join(groups)}"
      )
  groups = [group for group in groups if not only or group in only]
  taken = dict(variables)
  for collection in _COLLECTIONS:
    if collection in variables:
      taken[collection] = dict(variables[collection])
    for group in groups:
      own = variables.get(collection, {}).get(group)
      theirs = other.get(collection, {}).get(group)
      what = f"{collection} of the {group}"
      if bool(own) != bool(theirs):
        raise ValueError(
          f"cannot start from the run in {where}: it has {'' if theirs else 'no '}{what}, this run"
          f" has {'them' if own else 'none'}; use the same config.model.backbone.norm"
        )
      if own:
        taken[collection][group] = _take(own, theirs, f"{what} in {where}")
  return taken


def _names(variables: Variables) -> str:
  return ", ".join(sorted(variables["params"]))


def _take(own: Any, theirs: Mapping[str, Any], what: str) -> Any:
  """The arrays of `theirs` in the places of `own`."""
  found = parameter_paths.by_path(theirs)
  problems = []
  for path, leaf in parameter_paths.by_path(own).items():
    if path not in found:
      problems.append(f"{path} is missing there")
    elif found[path].shape != leaf.shape:
      problems.append(f"{path} is {found[path].shape} there, here {leaf.shape}")
  if problems:
    more = ", ..." if len(problems) > _SHOWN else ""
    raise OtherShapes(
      f"cannot start from the {what}: {', '.join(problems[:_SHOWN])}{more}; set config.model as in"
      " that run"
    )
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: jax.numpy.asarray(found[parameter_paths.text(path)], leaf.dtype), own
  )
