"""An untrained encoder on the crops of a trained detector: the baseline of every probe."""

import itertools
from collections.abc import Iterable
from typing import Any

import jax

from jaxpose.method import Method, Variables

_KEPT = "detector"  # parameter group that is not untrained


def first_variables(method: Method, seed: int, batch: Any) -> Variables:
  """Random variables, of another draw than those that training began with."""
  return method.init(jax.random.fold_in(jax.random.key(seed), 1), batch)


def calibrate(
  method: Method, start: Variables, trained: Variables, batches: Iterable[Any], count: int
) -> Variables:
  """`start` with the trained detector and, where there is batch norm, statistics of its own.

  Args:
    method: on one device.
    batches: of training; the running statistics are those of the first `count`.
  """
  merged: dict[str, Any] = {
    kind: {**start[kind], **{g: v for g, v in trained[kind].items() if g == _KEPT}}
    for kind in ("params", "batch_stats")
    if kind in start
  }
  variables = {**start, **merged}
  if "batch_stats" not in start:
    return variables
  step = jax.jit(lambda v, b, key: method.terms(v, b, key, True)[1]["batch_stats"])
  kept = {g: v for g, v in merged["batch_stats"].items() if g == _KEPT}
  for number, batch in enumerate(itertools.islice(batches, count)):
    stats = step(variables, batch, jax.random.key(number))
    variables["batch_stats"] = {**stats, **kept}
  return variables
