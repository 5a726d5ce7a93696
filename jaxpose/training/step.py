"""The step: from a batch spread over devices to one update of each objective's parameters.

A term is Σ v·w / Σ w over the examples of all devices, so the result does not depend on how many
devices share the batch. Each device differentiates its own share of that sum; the shares' gradients
add up to the gradient of the whole, since a psum inside of the step is transposed to a psum.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxpose import parallel, parameter_paths
from jaxpose.method import Method, Terms, Variables
from jaxpose.training.optimiser import Optimiser
from jaxpose.training.state import TrainState, trained_groups

LossWeight = float | Sequence[tuple[int, float]]
Metrics = dict[str, Float[Array, ""]]
Sums = dict[str, tuple[Float[Array, ""], Float[Array, ""]]]


def make_train_step(
  method: Method,
  *,
  loss_weights: Mapping[str, LossWeight],
  optimisers: Mapping[str, Optimiser],
  seed: int,
  accumulate: int,
  over: parallel.Devices,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
  """`(state, sharded batch) -> (state, metrics)`; the given state's memory is used up.

  Randomness: the key of step n is fold_in(key(seed), n), the same on every device.

  With `accumulate` = k, each device takes its examples in k parts, one after the other, and adds up
  the gradients. Denominators Σ w count all parts, so terms and gradients are those of the undivided
  batch, as long as weights do not depend on the variables. What differs: statistics that a method
  takes over "the batch" (batch norm, means of priors) then are those of a part (of all devices).

  Where a total or a gradient is not finite, the state comes back unchanged and `finite` is 0.

  Args:
    loss_weights: λ by term: a number, or [(first step, λ), ...], λ = 0 before the first.
    accumulate: number of parts, at least 1.

  Returns:
    The step. Metrics, all scalars: `terms/<t>`, `weights/<t>` (Σ w), `totals/<objective>`
    (Σ λ·term), `gradient_norms/<objective>` (before clipping), `learning_rates/<objective>`,
    `summaries/<name>` of the method, `finite`.

  Raises:
    ValueError: a loss weight for a term of no objective, a term without a loss weight; at the
      first call: an objective's term that the method does not return.
  """
  schedules = make_loss_schedules(method, loss_weights)
  method = _holding(method, [entry for o in optimisers.values() for entry in o.frozen])

  def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
    groups = trained_groups(method, optimisers, tuple(state.variables["params"]))
    rng = jax.random.fold_in(jax.random.key(seed), state.step)
    weights = {name: schedule(state.step) for name, schedule in schedules.items()}
    gradients, variables, sums, summaries = _gradients(
      method, groups, weights, state.variables, batch, rng, accumulate
    )
    metrics = _term_metrics(sums) | {f"summaries/{n}": v for n, v in summaries.items()}
    metrics |= _totals(method, weights, metrics)
    params, states = dict(state.variables["params"]), {}
    for name, optimiser in optimisers.items():
      metrics[f"gradient_norms/{name}"] = optax.global_norm(gradients[name])
      metrics[f"learning_rates/{name}"] = jnp.asarray(optimiser.learning_rate(state.step))
      old = {group: params[group] for group in groups[name]}
      updates, states[name] = optimiser.transform.update(
        gradients[name], state.optimisers[name], old
      )
      params |= optax.apply_updates(old, updates)
    updated = TrainState(state.step + 1, {**variables, "params": params}, states)
    finite = _all_finite(metrics, optimisers)
    metrics["finite"] = finite.astype(jnp.float32)
    return _keep_if(finite, updated, state), metrics

  return _over_devices(step, over, in_axes=(None, 0), donate=(0,))


def make_eval_step(
  method: Method, *, seed: int, over: parallel.Devices
) -> Callable[[Variables, Any, Any], Sums]:
  """`(variables, sharded batch, number of the batch) -> {name: (Σ v·w, Σ w)}` over all devices.

  Terms are those of train=False. Summaries are named `summaries/<name>`, with Σ w = 1. Sums of
  several batches are to be added before they are divided (`mean_of_sums`).
  """

  def step(variables: Variables, batch: Any, number: Int[Array, ""]) -> Sums:
    rng = jax.random.fold_in(jax.random.key(seed), number)
    terms, _, outputs = method.terms(variables, batch, rng, False)
    sums = parallel.psum({name: _local_sums(*term) for name, term in terms.items()})
    summaries = _mean_summaries(outputs)
    return sums | {f"summaries/{n}": (v, jnp.ones(())) for n, v in summaries.items()}

  return _over_devices(step, over, in_axes=(None, 0, None), donate=())


def mean_of_sums(sums: Sequence[Mapping[str, tuple[Any, Any]]]) -> dict[str, float]:
  """Σ v·w / Σ w over several batches; names without any weight are left out."""
  means = {}
  for name in sums[0]:
    weight = sum(float(s[name][1]) for s in sums)
    if weight:
      means[name] = sum(float(s[name][0]) for s in sums) / weight
  return means


def make_loss_schedules(
  method: Method, loss_weights: Mapping[str, LossWeight]
) -> dict[str, Callable[[Int[Array, ""]], Float[Array, ""]]]:
  """λ(step) for every term of the objectives, to be evaluated inside of the step."""
  wanted = {term for objective in method.objectives.values() for term in objective.terms}
  for name in loss_weights:
    if name not in wanted:
      near = difflib.get_close_matches(name, wanted, 1)
      raise ValueError(
        f"there is a loss weight for '{name}', which is no term of the method; "
        + (f"did you mean '{near[0]}'?" if near else f"its terms are {sorted(wanted)}")
      )
  missing = sorted(wanted - set(loss_weights))
  if missing:
    raise ValueError(f"no loss weight is given for the terms {missing}; 0 switches a term off")
  return {name: _piecewise(name, weight) for name, weight in loss_weights.items()}


def _piecewise(name: str, weight: LossWeight) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
  stages = [(0, weight)] if isinstance(weight, (int, float)) else list(weight)
  starts = [int(start) for start, _ in stages]
  if not stages or starts != sorted(set(starts)):
    raise ValueError(
      f"the loss weight of '{name}' is {weight}; give a number, or (first step, weight) pairs in"
      " the order of their steps"
    )
  values = jnp.asarray([0.0, *(float(value) for _, value in stages)], jnp.float32)
  return lambda step: values[jnp.sum(step >= jnp.asarray(starts))]


def _gradients(
  method: Method,
  groups: Mapping[str, tuple[str, ...]],
  weights: Mapping[str, Float[Array, ""]],
  variables: Variables,
  batch: Any,
  rng: Any,
  parts: int,
) -> tuple[dict[str, Any], Variables, Sums, dict[str, Any]]:
  """Gradient of each objective's total, new variables, Σ v·w and Σ w by term, summaries."""
  if parts == 1:
    gradients, (variables, sums, summaries) = _part(
      method, groups, weights, None, variables, batch, rng
    )
  else:
    batch = parallel.split_batch(batch, parts, what="part")
    whole = _weight_sums(method, variables, batch, rng)

    def add(carry: tuple[Any, Any], part: Any) -> tuple[tuple[Any, Any], Any]:
      others, total = carry
      gradients, (new, sums, summaries) = _part(
        method, groups, weights, whole, {**others, "params": variables["params"]}, part, rng
      )
      others = {name: new[name] for name in others}
      return (others, jax.tree.map(jnp.add, total, gradients)), (sums, summaries)

    trained = {name: {g: variables["params"][g] for g in gs} for name, gs in groups.items()}
    others = {name: tree for name, tree in variables.items() if name != "params"}
    zero = jax.tree.map(jnp.zeros_like, trained)
    (others, gradients), (sums, summaries) = jax.lax.scan(add, (others, zero), batch)
    variables = {**variables, **others}
    sums = jax.tree.map(lambda x: jnp.sum(x, 0), sums)
    summaries = jax.tree.map(lambda x: jnp.mean(x, 0), summaries)
  return parallel.psum(gradients), variables, parallel.psum(sums), summaries


def _holding(method: Method, frozen: Sequence[str]) -> Method:
  """The method without gradients of the parts of groups that `frozen` names.

  Whole groups are not differentiated in the first place.
  """
  paths = [entry for entry in frozen if "/" in entry]
  if not paths:
    return method

  def terms(variables: Variables, batch: Any, rng: Any, train: bool) -> Any:
    held = parameter_paths.mask(variables["params"], paths)
    params = jax.tree.map(
      lambda x, hold: jax.lax.stop_gradient(x) if hold else x, variables["params"], held
    )
    return method.terms({**variables, "params": params}, batch, rng, train)

  return dataclasses.replace(method, terms=terms)


def _part(
  method: Method,
  groups: Mapping[str, tuple[str, ...]],
  weights: Mapping[str, Float[Array, ""]],
  denominators: Mapping[str, Float[Array, ""]] | None,
  variables: Variables,
  batch: Any,
  rng: Any,
) -> tuple[dict[str, Any], tuple[Variables, Sums, dict[str, Any]]]:
  """This device's share of every objective's gradient, from one forward pass."""

  def share(own: dict[str, Any], objective: str) -> tuple[Any, Any]:
    params = {**variables["params"], **own}
    terms, new, outputs = method.terms({**variables, "params": params}, batch, rng, True)
    sums = {name: _local_sums(*term) for name, term in terms.items()}
    whole = denominators or parallel.psum({name: weight for name, (_, weight) in sums.items()})
    names = method.objectives[objective].terms
    _check_terms(objective, names, terms)
    total = sum((weights[t] * _divide(sums[t][0], whole[t]) for t in names), jnp.zeros(()))
    return total, (new, sums, _mean_summaries(outputs))

  # Each objective goes back through what leads to its own parameters and no further; the forward
  # passes are the same, and the compiler makes one of them.
  gradients: dict[str, Any] = {}
  found: Any = None
  for name, members in groups.items():
    own = {group: variables["params"][group] for group in members}
    gradients[name], found = jax.grad(share, has_aux=True)(own, name)
  return gradients, found


def _weight_sums(method: Method, variables: Variables, parts: Any, rng: Any) -> dict[str, Any]:
  """Σ w by term over all parts and devices. Nothing but weights is kept, so that the compiler drops
  the networks from this pass where weights depend on the data alone."""

  def sums(part: Any) -> dict[str, Any]:
    terms = method.terms(variables, part, rng, True)[0]
    return {name: _local_sums(*term)[1] for name, term in terms.items()}

  return parallel.psum(jax.tree.map(lambda x: jnp.sum(x, 0), jax.lax.map(sums, parts)))


def _local_sums(value: Array, weight: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """(Σ v·w, Σ w) of this device; values of weight 0 do not count, whatever they are."""
  weight = jax.lax.stop_gradient(weight.astype(jnp.float32))
  value = jnp.where(weight == 0, 0.0, value.astype(jnp.float32))
  return jnp.sum(value * weight), jnp.sum(weight)


def _divide(numerator: Array, denominator: Array) -> Array:
  """a / b, and 0 where b is 0."""
  return jnp.where(denominator == 0, 0.0, numerator / jnp.where(denominator == 0, 1, denominator))


def _mean_summaries(outputs: Mapping[str, Any]) -> dict[str, Any]:
  summaries = outputs["summaries"]
  means = {name: jnp.mean(jnp.asarray(x, jnp.float32)) for name, x in summaries.items()}
  return parallel.pmean(jax.lax.stop_gradient(means))


def _term_metrics(sums: Sums) -> Metrics:
  metrics = {f"terms/{name}": _divide(*pair) for name, pair in sums.items()}
  return metrics | {f"weights/{name}": weight for name, (_, weight) in sums.items()}


def _totals(method: Method, weights: Mapping[str, Any], metrics: Metrics) -> Metrics:
  return {
    f"totals/{name}": sum((weights[t] * metrics[f"terms/{t}"] for t in o.terms), jnp.zeros(()))
    for name, o in method.objectives.items()
  }


def _all_finite(metrics: Metrics, optimisers: Mapping[str, Optimiser]) -> Array:
  names = [f"{kind}/{name}" for name in optimisers for kind in ("totals", "gradient_norms")]
  return jnp.all(jnp.isfinite(jnp.stack([metrics[name] for name in names])))


def _keep_if(condition: Array, new: Any, old: Any) -> Any:
  return jax.tree.map(lambda n, o: o if n is o else jnp.where(condition, n, o), new, old)


def _check_terms(objective: str, names: Sequence[str], terms: Terms) -> None:
  for name in names:
    if name not in terms:
      raise ValueError(
        f"objective '{objective}' asks for the term '{name}', but the method returned"
        f" {sorted(terms)} for this batch"
      )


def _over_devices(
  function: Callable[..., Any],
  over: parallel.Devices,
  *,
  in_axes: tuple[int | None, ...],
  donate: tuple[int, ...],
) -> Callable[..., Any]:
  """`function` on every device; arguments without an axis, and results, are the same on each."""
  return jax.pmap(
    function,
    axis_name=parallel.AXIS,
    in_axes=in_axes,
    out_axes=None,
    devices=over.all,
    donate_argnums=donate,
  )
