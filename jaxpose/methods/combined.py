"""Any methods in one step: their terms side by side, on networks that they share."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxpose.method import Method, Objective, Terms, Variables

_COMBINED = "combined"


def combine(methods: Mapping[str, Method]) -> Method:
  """One method with the terms of all, e.g. reconstruction, DSL and synchronisation.

  A term that several have, such as `pixel`, is the mean over the examples of all of their parts of
  the batch. Parameter groups of one name are one group: the methods were built on the same
  networks. Each method sees the running statistics as the one before it left them. Objectives that
  move the same group become one, `combined`, that sums all of their terms; others, such as a
  discriminator's, stay. What a run shows and embeds is the first method's.
  """
  parts = tuple(methods.values())
  if len(parts) == 1:
    return parts[0]

  def init(rng: Key[Array, ""], batch: Any) -> Variables:
    variables: Variables = {}
    for name, method in methods.items():
      variables = _join(variables, method.init(rng, batch), name)
    return variables

  def terms(
    variables: Variables, batch: Any, rng: Key[Array, ""], train: bool
  ) -> tuple[Terms, Variables, dict[str, Any]]:
    found: Terms = {}
    summaries: dict[str, Any] = {}
    for number, (name, method) in enumerate(methods.items()):
      own, variables, out = method.terms(variables, batch, jax.random.fold_in(rng, number), train)
      found |= {term: _pool(found.get(term), value) for term, value in own.items()}
      prefix = f"{name}/" if number else ""
      summaries |= {prefix + key: value for key, value in out.get("summaries", {}).items()}
    return found, variables, {"summaries": summaries}

  objectives = _merge(method.objectives for method in parts)
  return dataclasses.replace(parts[0], init=init, terms=terms, objectives=objectives)


def _pool(before: tuple[Any, Any] | None, more: tuple[Any, Any]) -> tuple[Any, Any]:
  """The examples of both, with their weights."""
  if before is None:
    return more
  values, weights = (jnp.concatenate(pair) for pair in zip(before, more, strict=True))
  return values, weights


def _join(variables: Variables, more: Variables, name: str) -> Variables:
  """The variables of one more method; of groups that are there already the first stay.

  Raises:
    ValueError: a group that is there already has another structure or other shapes.
  """
  joined = dict(variables)
  for collection, groups in more.items():
    own = dict(joined.get(collection, {}))
    for group, values in groups.items():
      if group in own and jax.tree.map(lambda x: x.shape, own[group]) != jax.tree.map(
        lambda x: x.shape, values
      ):
        raise ValueError(
          f"method {name} has other {collection} in its {group} than the methods before it: they"
          " cannot share it"
        )
      own.setdefault(group, values)
    joined[collection] = own
  return joined


def _merge(all_objectives: Iterable[Mapping[str, Objective]]) -> dict[str, Objective]:
  """Objectives that share a parameter group as one, the others as they are."""
  merged: dict[str, Objective] = {}
  for objectives in all_objectives:
    for name, objective in objectives.items():
      shared = [n for n, o in merged.items() if set(o.parameters) & set(objective.parameters)]
      terms, groups = objective.terms, objective.parameters
      for other in shared:
        joined = merged.pop(other)
        terms, groups = _union(joined.terms, terms), _union(joined.parameters, groups)
      merged[_COMBINED if shared else name] = Objective(terms, groups)
  return merged


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
  return tuple(dict.fromkeys((*first, *second)))
