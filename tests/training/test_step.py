import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_method import ONE_WEIGHTS, make_adam, make_batch, make_toy_method

from jaxpose import parallel
from jaxpose.method import Method, Objective
from jaxpose.training.state import make_state
from jaxpose.training.step import make_eval_step, make_loss_schedules, make_train_step, mean_of_sums

TESTS = pathlib.Path(__file__).resolve().parents[1]


def _run(
  devices=1, *, method=None, optimisers=None, weights=None, accumulate=1, steps=5, batch=make_batch
):
  over = parallel.devices(jax.devices()[:devices])
  method, optimisers = method or make_toy_method(), optimisers or {"toy": make_adam()}
  state = make_state(method, batch(0), optimisers=optimisers, seed=3, over=over)
  step = make_train_step(
    method,
    loss_weights=weights or ONE_WEIGHTS,
    optimisers=optimisers,
    seed=3,
    accumulate=accumulate,
    over=over,
  )
  metrics = None
  for number in range(steps):
    state, metrics = step(state, parallel.shard_batch(batch(number), over))
  return parallel.to_host(state), jax.device_get(metrics)


def assert_close_by_norm(found, expected, tolerance):
  """‖a − b‖ / ‖b‖ of every array is at most `tolerance`."""
  for (path, a), b in zip(
    jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
  ):
    error = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-12)
    assert error <= tolerance, (jax.tree_util.keystr(path), error)


def test_two_devices_give_what_one_gives():
  one, one_metrics = _run(1)
  two, two_metrics = _run(2)
  assert one.step == two.step == 5
  assert_close_by_norm(two, one, 1e-5)
  assert_close_by_norm(two_metrics, one_metrics, 1e-5)


def test_four_devices_give_what_one_gives():
  code = (
    "import sys; sys.path[:0] = ['tests', '.']\n"
    "import importlib.util as u\n"
    "s = u.spec_from_file_location('t', 'tests/training/test_step.py')\n"
    "t = u.module_from_spec(s); s.loader.exec_module(t)\n"
    "t.assert_close_by_norm(t._run(4)[0], t._run(1)[0], 1e-5)\n"
  )
  environment = os.environ | {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    "JAX_PLATFORMS": "cpu",
  }
  subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, env=environment, check=True)


def _plain_method(loss=lambda w, batch: w * batch["x"]):
  """One parameter w = 2; the term of example i is loss_i(w) with the batch's weights."""

  def terms(variables, batch, rng, train):
    value = loss(variables["params"]["group"]["w"], batch)
    return {"loss": (value, batch["weight"])}, variables, {"summaries": {"x": batch["x"]}}

  return Method(
    init=lambda rng, batch: {"params": {"group": {"w": jnp.asarray(2.0)}}},
    terms=terms,
    embed=lambda variables, batch: {},
    objectives={"main": Objective(("loss",))},
  )


def _sgd(rate=0.1):
  return {"main": make_adam(rate, name="sgd")}


def _plain_batch(weight):
  return lambda number: {
    "x": np.asarray([1.0, 2.0, 3.0, 10.0], np.float32),
    "weight": np.asarray(weight, np.float32),
  }


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_term_is_its_weighted_mean_over_all_examples(devices, accumulate):
  # Σ v w / Σ w = 2 · (1·1 + 2·0 + 3·2 + 10·0.5) / 3.5; the device means would average to another
  # number, since their weights are 1 and 2.5. d/dw = 12 / 3.5, λ = 0.5, rate 0.1
  def run():
    return _run(
      devices,
      method=_plain_method(),
      optimisers=_sgd(),
      weights={"loss": 0.5},
      accumulate=accumulate,
      steps=1,
      batch=_plain_batch([1.0, 0.0, 2.0, 0.5]),
    )

  state, metrics = run()
  np.testing.assert_allclose(metrics["terms/loss"], 24 / 3.5, rtol=1e-6)
  np.testing.assert_allclose(metrics["weights/loss"], 3.5)
  np.testing.assert_allclose(metrics["totals/main"], 12 / 3.5, rtol=1e-6)
  np.testing.assert_allclose(metrics["gradient_norms/main"], 6 / 3.5, rtol=1e-6)
  np.testing.assert_allclose(metrics["summaries/x"], 4.0)
  np.testing.assert_allclose(metrics["learning_rates/main"], 0.1)
  np.testing.assert_allclose(state.variables["params"]["group"]["w"], 2 - 0.1 * 6 / 3.5, rtol=1e-6)


def test_a_term_without_any_weight_counts_as_nothing_even_if_it_is_nan():
  method = _plain_method(lambda w, batch: w * batch["x"] * jnp.nan)
  _, metrics = _run(
    2, method=method, optimisers=_sgd(), weights={"loss": 1.0}, batch=_plain_batch([0.0] * 4)
  )
  assert metrics["terms/loss"] == 0
  assert metrics["weights/loss"] == 0


def test_no_gradient_flows_through_weights():
  def terms(variables, batch, rng, train):
    w = variables["params"]["group"]["w"]
    return {"loss": (batch["x"], w * batch["x"])}, variables, {"summaries": {}}

  plain = _plain_method()
  method = Method(plain.init, terms, plain.embed, plain.objectives)
  _, metrics = _run(
    1, method=method, optimisers=_sgd(), weights={"loss": 1.0}, batch=_plain_batch([1.0] * 4)
  )
  assert metrics["gradient_norms/main"] == 0


def test_accumulation_equals_the_whole_batch_where_no_statistics_are_taken():
  def frozen_statistics(method):
    def terms(variables, batch, rng, train):
      found, _, outputs = method.terms(variables, batch, rng, False)
      return {n: v for n, v in found.items() if n != "prior"}, variables, outputs

    objective = Objective(("reconstruction", "partly", "never", "critic"))
    return Method(method.init, terms, method.embed, {"toy": objective})

  method = frozen_statistics(make_toy_method())
  weights = {name: w for name, w in ONE_WEIGHTS.items() if name != "prior"}
  whole, whole_metrics = _run(2, method=method, weights=weights)
  parts, parts_metrics = _run(2, method=method, weights=weights, accumulate=4)
  assert_close_by_norm(parts, whole, 1e-5)
  assert_close_by_norm(parts_metrics, whole_metrics, 1e-5)


def test_accumulation_carries_the_statistics_from_part_to_part():
  # momentum 0.9, two parts: the mean moves by 0.1 · mean of part 1, then towards part 2
  state, _ = _run(1, accumulate=2, steps=1)
  start, _ = _run(1, steps=0)
  x = make_batch(0)["x"]
  expected = np.zeros(7)
  hidden = x @ np.asarray(start.variables["params"]["encoder"]["first"]["kernel"])
  for part in (hidden[:4], hidden[4:]):
    expected = 0.9 * expected + 0.1 * part.mean(0)
  mean = state.variables["batch_stats"]["encoder"]["BatchNorm_0"]["mean"]
  np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_the_pass_for_weights_costs_no_networks():
  """Where weights depend on the data alone, accumulation runs each network once."""

  def flops(accumulate):
    over = parallel.devices(jax.devices()[:1])
    size = 256

    def terms(variables, batch, rng, train):
      y = batch["x"] @ variables["params"]["group"]["w"]
      return {"loss": (jnp.sum(y**2, -1), batch["weight"])}, variables, {"summaries": {}}

    method = Method(
      init=lambda rng, batch: {"params": {"group": {"w": jnp.ones((size, size))}}},
      terms=terms,
      embed=lambda variables, batch: {},
      objectives={"main": Objective(("loss",))},
    )
    batch = {"x": np.ones((4, size), np.float32), "weight": np.ones(4, np.float32)}
    state = make_state(method, batch, optimisers=_sgd(), seed=0, over=over)
    step = make_train_step(
      method,
      loss_weights={"loss": 1.0},
      optimisers=_sgd(),
      seed=0,
      accumulate=accumulate,
      over=over,
    )
    text = step.lower(state, parallel.shard_batch(batch, over)).compile().as_text()
    return sum(" dot(" in line or "matmul" in line for line in text.splitlines())

  assert 0 < flops(2) <= flops(1)


def test_objectives_move_their_own_parameters_only():
  objectives = {
    "generator": Objective(("reconstruction", "fool"), ("encoder",)),
    "critic": Objective(("critic",), ("critic",)),
  }
  weights = {"reconstruction": 1.0, "fool": 0.3, "critic": 1.0}
  method = make_toy_method(objectives=objectives)
  optimisers = {"generator": make_adam(), "critic": make_adam(0.05)}
  start, _ = _run(1, method=method, optimisers=optimisers, weights=weights, steps=0)
  both, metrics = _run(2, method=method, optimisers=optimisers, weights=weights, steps=1)
  assert {"totals/generator", "totals/critic", "learning_rates/critic"} <= set(metrics)

  def alone(name):
    one = make_toy_method(objectives={name: objectives[name]})
    of_one = {term: weights[term] for term in objectives[name].terms}
    return _run(1, method=one, optimisers={name: optimisers[name]}, weights=of_one, steps=1)[0]

  for name, group, other in (("generator", "encoder", "critic"), ("critic", "critic", "encoder")):
    single = alone(name).variables["params"]
    assert_close_by_norm(both.variables["params"][group], single[group], 1e-5)
    assert_close_by_norm(single[other], start.variables["params"][other], 0)
    assert set(both.optimisers[name][0].mu) == {group}


def test_a_frozen_part_stays_and_the_rest_learns_as_if_it_were_a_constant():
  part = ("encoder/first", "encoder/second/bias")
  optimiser = make_adam(name="adamw", decay=0.1, clip_norm=1e-3, frozen=part)
  start, _ = _run(1, steps=0)
  one, metrics = _run(1, steps=1, optimisers={"toy": optimiser}, accumulate=2)
  old, new = start.variables["params"]["encoder"], one.variables["params"]["encoder"]
  for names in (("first", "kernel"), ("second", "bias")):
    np.testing.assert_array_equal(*(tree[names[0]][names[1]] for tree in (old, new)))
  assert np.abs(new["second"]["kernel"] - old["second"]["kernel"]).min() > 1e-6
  held = jax.tree_util.tree_leaves_with_path(one.optimisers["toy"])
  names = {jax.tree_util.keystr(path) for path, _ in held}
  assert any("second']['kernel" in name for name in names)
  assert not any("first" in name or "second']['bias" in name for name in names)
  # the norm is that of what learns: without a frozen part it is larger
  _, whole = _run(1, steps=1, optimisers={"toy": make_adam()}, accumulate=2)
  assert 0 < metrics["gradient_norms/toy"] < 0.9 * whole["gradient_norms/toy"]


def test_clipping_and_the_multiplier_of_a_group_with_a_frozen_part():
  part = {"frozen": ("encoder/first",), "name": "sgd"}
  start, _ = _run(1, steps=0)
  free, metrics = _run(1, steps=1, optimisers={"toy": make_adam(**part)})
  norm = float(metrics["gradient_norms/toy"])
  clipped = make_adam(clip_norm=norm / 4, multipliers={"encoder": 0.5}, **part)
  slow, _ = _run(1, steps=1, optimisers={"toy": clipped})

  def moved(state, *names):
    new, old = (
      functools.reduce(lambda t, n: t[n], names, s.variables["params"]) for s in (state, start)
    )
    return new - old

  # sgd: a quarter of the gradient, and half of that in the encoder
  for names, share in ((("encoder", "second", "kernel"), 1 / 8), (("critic", "kernel"), 1 / 4)):
    np.testing.assert_allclose(
      moved(slow, *names), share * moved(free, *names), rtol=1e-3, atol=1e-7
    )


def test_a_part_that_is_not_there_is_named_with_what_is():
  said = (
    r"config\.optimiser\.frozen names 'encoder/third/kernel': encoder has BatchNorm_0, first, s"
  )
  with pytest.raises(ValueError, match=said):
    _run(1, optimisers={"toy": make_adam(frozen=("encoder/third/kernel",))}, steps=0)


def test_a_frozen_group_stays_and_a_multiplier_scales_the_step():
  start, _ = _run(1, steps=0)
  plain, _ = _run(1, steps=1)
  frozen, _ = _run(1, steps=1, optimisers={"toy": make_adam(frozen=("critic",))})
  slow, _ = _run(1, steps=1, optimisers={"toy": make_adam(multipliers={"encoder": 0.2})})

  def moved(state, group):
    old, new = start.variables["params"][group], state.variables["params"][group]
    return np.concatenate([np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (new, old)))])

  assert not moved(frozen, "critic").any()
  assert set(frozen.optimisers["toy"][0].mu) == {"encoder"}
  np.testing.assert_allclose(
    moved(slow, "encoder"), 0.2 * moved(plain, "encoder"), rtol=1e-3, atol=1e-7
  )
  np.testing.assert_allclose(moved(slow, "critic"), moved(plain, "critic"), rtol=1e-6)


def test_loss_weights_change_at_their_steps_without_a_new_compilation():
  traces = []
  method = make_toy_method(on_trace=lambda: traces.append(1))
  weights = dict.fromkeys(ONE_WEIGHTS, 0.0) | {"critic": [(2, 10.0), (4, 0.5)]}
  totals, terms = [], []
  over = parallel.devices(jax.devices()[:2])
  optimisers = {"toy": make_adam()}
  state = make_state(method, make_batch(0), optimisers=optimisers, seed=0, over=over)
  step = make_train_step(
    method, loss_weights=weights, optimisers=optimisers, seed=0, accumulate=1, over=over
  )
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
  )
  batches = [parallel.shard_batch(make_batch(n), over) for n in range(6)]
  for number in range(6):
    before = len(compiled)
    state, metrics = step(state, batches[number])
    assert number == 0 or len(compiled) == before, f"step {number + 1} compiled"
    totals.append(metrics["totals/toy"])
    terms.append(metrics["terms/critic"])
  assert len(traces) == 1
  assert compiled
  np.testing.assert_allclose(np.divide(totals, terms), [0, 0, 10, 10, 0.5, 0.5], rtol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing():
  def spoilt(number):
    return make_batch(number, spoilt=3)

  before, _ = _run(2, steps=3, batch=spoilt)
  after, metrics = _run(2, steps=4, batch=spoilt)
  assert metrics["finite"] == 0
  assert np.isnan(metrics["terms/reconstruction"])
  for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_gradient_that_is_not_finite_changes_nothing():
  # √0 is 0, its slope is not finite
  method = _plain_method(lambda w, batch: jnp.sqrt((w - 2) ** 2 * batch["x"]))
  state, metrics = _run(
    1,
    method=method,
    optimisers=_sgd(),
    weights={"loss": 1.0},
    steps=1,
    batch=_plain_batch([1.0] * 4),
  )
  assert metrics["totals/main"] == 0
  assert metrics["finite"] == 0
  assert state.variables["params"]["group"]["w"] == 2


def test_the_given_state_is_used_up():
  over = parallel.devices(jax.devices()[:2])
  method, optimisers = make_toy_method(), {"toy": make_adam()}
  state = make_state(method, make_batch(0), optimisers=optimisers, seed=0, over=over)
  step = make_train_step(
    method, loss_weights=ONE_WEIGHTS, optimisers=optimisers, seed=0, accumulate=1, over=over
  )
  step(state, parallel.shard_batch(make_batch(0), over))
  assert all(x.is_deleted() for x in jax.tree.leaves(state.variables))


def test_evaluation_adds_up_batches_before_dividing():
  over = parallel.devices(jax.devices()[:2])
  evaluate = make_eval_step(_plain_method(), seed=0, over=over)
  variables = parallel.replicate({"params": {"group": {"w": np.float32(2)}}}, over)
  sums = []
  for number, weight in enumerate(([1.0, 0.0, 2.0, 0.5], [0.0, 0.0, 0.0, 1.0])):
    batch = parallel.shard_batch(_plain_batch(weight)(0), over)
    sums.append(jax.device_get(evaluate(variables, batch, number)))
  means = mean_of_sums(sums)
  np.testing.assert_allclose(means["loss"], (24 + 20) / 4.5, rtol=1e-6)
  np.testing.assert_allclose(means["summaries/x"], 4.0)
  assert "loss" not in mean_of_sums([{"loss": (0.0, 0.0)}])


def test_what_does_not_match_is_named():
  method = make_toy_method()
  with pytest.raises(ValueError, match=r"'reconstuction'.*did you mean 'reconstruction'"):
    make_loss_schedules(method, ONE_WEIGHTS | {"reconstuction": 1.0})
  with pytest.raises(ValueError, match=r"no loss weight is given for the terms \['prior'\]"):
    make_loss_schedules(method, {n: w for n, w in ONE_WEIGHTS.items() if n != "prior"})
  with pytest.raises(ValueError, match="in the order of their steps"):
    make_loss_schedules(method, ONE_WEIGHTS | {"prior": [(5, 1.0), (0, 2.0)]})
  lacking = make_toy_method(objectives={"toy": Objective(("absent",))})
  with pytest.raises(ValueError, match="asks for the term 'absent'"):
    _run(1, method=lacking, weights={"absent": 1.0}, steps=1)
  with pytest.raises(ValueError, match=r"optimisers are given for \['other'\]"):
    _run(1, optimisers={"other": make_adam()}, steps=0)
  with pytest.raises(ValueError, match="names the group 'decoder'"):
    _run(1, optimisers={"toy": make_adam(frozen=("decoder",))}, steps=0)
  absent = make_toy_method(objectives={"toy": Objective(("critic",), ("decoder",))})
  with pytest.raises(ValueError, match="trains the parameters of 'decoder'"):
    _run(1, method=absent, weights={"critic": 1.0}, steps=0)
  twice = {n: Objective(("critic",), ("critic",)) for n in ("a", "b")}
  with pytest.raises(ValueError, match="belong to two objectives, 'a' and 'b'"):
    _run(
      1,
      method=make_toy_method(objectives=twice),
      optimisers={"a": make_adam(), "b": make_adam()},
      steps=0,
    )
