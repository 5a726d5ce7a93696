import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpose.training.optimiser import make_optimiser, make_schedule


def _schedule(schedule, **changes):
  numbers = {
    "learning_rate": 0.4,
    "steps": 100,
    "warmup_steps": 10,
    "final_fraction": 0.25,
    "boundaries": [(30, 0.1), (60, 0.5)],
  }
  return make_schedule(schedule=schedule, **(numbers | changes))


def _optimiser(name, **changes):
  numbers = {
    "learning_rate": _schedule("constant", learning_rate=0.1),
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-8,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "multipliers": {},
    "frozen": (),
  }
  return make_optimiser(name=name, **(numbers | changes))


PARAMS = {"net": {"kernel": jnp.asarray([[3.0, -4.0]]), "bias": jnp.asarray([2.0])}}
GRADIENTS = {"net": {"kernel": jnp.asarray([[0.6, 0.0]]), "bias": jnp.asarray([0.8])}}


def _update(optimiser, times=1):
  params, state = PARAMS, optimiser.transform.init(PARAMS)
  for _ in range(times):
    updates, state = optimiser.transform.update(GRADIENTS, state, params)
    params = optax.apply_updates(params, updates)
  return params["net"]


def test_schedules():
  assert _schedule("constant")(77) == 0.4
  cosine = _schedule("cosine")
  # half a cosine from 0.4 to 0.1: the middle is 0.25
  np.testing.assert_allclose([cosine(0), cosine(50), cosine(100)], [0.4, 0.25, 0.1], rtol=1e-6)
  warm = _schedule("warmup_cosine")
  np.testing.assert_allclose([warm(0), warm(5), warm(10)], [0.0, 0.2, 0.4], rtol=1e-6)
  np.testing.assert_allclose([warm(55), warm(100)], [0.25, 0.1], rtol=1e-6)
  piecewise = _schedule("piecewise")
  np.testing.assert_allclose(
    [piecewise(29), piecewise(31), piecewise(99)], [0.4, 0.04, 0.02], rtol=1e-6
  )


def test_sgd_with_momentum():
  # velocity 0.6, then 0.9 · 0.6 + 0.6 = 1.14; together 1.74 · 0.1
  np.testing.assert_allclose(_update(_optimiser("sgd"), 2)["kernel"][0, 0], 3 - 0.174, rtol=1e-6)
  np.testing.assert_allclose(
    _update(_optimiser("sgd", beta1=0.0), 2)["kernel"][0, 0], 3 - 0.12, rtol=1e-6
  )


def test_adam_steps_by_the_rate_first():
  found = _update(_optimiser("adam"))
  np.testing.assert_allclose(found["kernel"], [[2.9, -4.0]], rtol=1e-6)
  np.testing.assert_allclose(found["bias"], [1.9], rtol=1e-6)


def test_decay_spares_biases():
  # decoupled: 3 − 0.1 · (1 + 0.5 · 3) and −4 − 0.1 · 0.5 · (−4); the bias as without decay
  found = _update(_optimiser("adamw", weight_decay=0.5))
  np.testing.assert_allclose(found["kernel"], [[2.75, -3.8]], rtol=1e-6)
  np.testing.assert_allclose(found["bias"], [1.9], rtol=1e-6)
  # in the gradient: 0.6 + 0.5 · 3 = 2.1 and 0 + 0.5 · (−4) = −2
  found = _update(_optimiser("sgd", weight_decay=0.5, beta1=0.0))
  np.testing.assert_allclose(found["kernel"], [[2.79, -3.8]], rtol=1e-6)
  np.testing.assert_allclose(found["bias"], [1.92], rtol=1e-6)


def test_clipping_by_the_norm_of_all_groups():
  # ‖(0.6, 0, 0.8)‖ = 1, clipped to 0.5
  found = _update(_optimiser("sgd", beta1=0.0, clip_norm=0.5))
  np.testing.assert_allclose(found["kernel"], [[2.97, -4.0]], rtol=1e-6)
  np.testing.assert_allclose(found["bias"], [1.96], rtol=1e-6)
  found = _update(_optimiser("sgd", beta1=0.0, clip_norm=2.0))
  np.testing.assert_allclose(found["bias"], [1.92], rtol=1e-6)


def test_a_multiplier_scales_the_whole_update_of_its_group():
  found = _update(_optimiser("adamw", weight_decay=0.5, multipliers={"net": 0.2}))
  np.testing.assert_allclose(found["kernel"], [[2.95, -3.96]], rtol=1e-6)
  other = _update(_optimiser("adamw", weight_decay=0.5, multipliers={"other": 0.2}))
  np.testing.assert_allclose(other["kernel"], [[2.75, -3.8]], rtol=1e-6)


def test_a_frozen_part_gets_no_update_whatever_its_gradient():
  found = _update(_optimiser("adamw", weight_decay=0.5, frozen=("net/kernel",)), 2)
  np.testing.assert_array_equal(found["kernel"], [[3.0, -4.0]])
  np.testing.assert_allclose(found["bias"], [1.8], rtol=1e-6)
  # ‖0.8‖, without the kernel's 0.6, is clipped to 0.4
  found = _update(_optimiser("sgd", beta1=0.0, clip_norm=0.4, frozen=("net/kernel",)))
  np.testing.assert_allclose(found["bias"], [1.96], rtol=1e-6)


def test_wrong_choices_are_errors():
  with pytest.raises(ValueError, match="unknown schedule 'linear'"):
    _schedule("linear")
  with pytest.raises(ValueError, match="warmup_steps = 100"):
    _schedule("warmup_cosine", warmup_steps=100)
  with pytest.raises(ValueError, match="unknown optimiser 'lion'"):
    _optimiser("lion")
  with pytest.raises(ValueError, match=r"\['net'\] are frozen and have"):
    _optimiser("sgd", multipliers={"net": 0.5}, frozen=("net",))
