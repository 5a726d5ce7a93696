"""The untrained baseline, with a method of a number for each network."""

import itertools

import jax
import numpy as np
from toy_method import make_adam

from jaxpose import parallel, untrained
from jaxpose.method import Method, Objective
from jaxpose.training.state import make_state


def _init(rng, batch):
  params = {group: jax.random.normal(jax.random.fold_in(rng, i)) for i, group in enumerate("ab")}
  return {"params": {"detector": params["a"], "encoder": params["b"]}}


def _terms(variables, batch, rng, train):
  """Running statistics move half the way to encoder · batch, if in training."""
  aim = variables["params"]["encoder"] * batch
  stats = {group: (old + aim) / 2 for group, old in variables["batch_stats"].items()}
  return {}, {**variables, "batch_stats": stats if train else variables["batch_stats"]}, {}


METHOD = Method(_init, _terms, lambda variables, batch: {}, {"all": Objective(())})
START = {
  "params": {"detector": 1.0, "encoder": 2.0},
  "batch_stats": {"detector": 0.0, "encoder": 0.0},
  "frozen": {"perceptual": 3.0},
}
TRAINED = {
  "params": {"detector": 10.0, "encoder": 20.0},
  "batch_stats": {"detector": 30.0, "encoder": 40.0},
  "frozen": {"perceptual": 50.0},
}


def test_the_encoder_is_untrained_and_has_statistics_of_the_first_batches():
  batches = iter([4.0, 1.0, 5.0, 7.0])
  found = untrained.calibrate(METHOD, START, TRAINED, batches, 3)
  assert found["params"] == {"detector": 10.0, "encoder": 2.0}
  # (0 + 2 · 4) / 2 = 4, (4 + 2 · 1) / 2 = 3, (3 + 2 · 5) / 2 = 6.5
  assert {k: float(v) for k, v in found["batch_stats"].items()} == {"detector": 30, "encoder": 6.5}
  assert found["frozen"] == START["frozen"]
  assert next(batches) == 7.0
  assert START["batch_stats"] == {"detector": 0.0, "encoder": 0.0}


def test_the_detector_is_the_trained_one_while_statistics_are_gathered():
  def terms(variables, batch, rng, train):
    seen = variables["params"]["detector"] + variables["batch_stats"]["detector"]
    return {}, {"batch_stats": {"detector": batch, "encoder": seen}}, {}

  method = Method(_init, terms, METHOD.embed, METHOD.objectives)
  found = untrained.calibrate(method, START, TRAINED, [1.0, 2.0], 2)
  assert float(found["batch_stats"]["encoder"]) == 10 + 30


def test_without_batch_norm_no_batch_is_looked_at():
  start, trained = ({"params": v["params"]} for v in (START, TRAINED))
  batches = itertools.count()
  found = untrained.calibrate(METHOD, start, trained, batches, 3)
  assert found == {"params": {"detector": 10.0, "encoder": 2.0}}
  assert next(batches) == 0


def test_the_first_variables_are_of_the_seed_and_not_those_that_training_begins_with():
  def draw(seed):
    return jax.tree.leaves(untrained.first_variables(METHOD, seed, None))

  over, adam = parallel.devices(jax.devices()[:1]), {"all": make_adam()}
  state = make_state(METHOD, None, optimisers=adam, seed=5, over=over)
  np.testing.assert_array_equal(draw(5), draw(5))
  for other in (draw(6), jax.tree.leaves(state.variables)):
    assert not np.isclose(draw(5), other).any()
