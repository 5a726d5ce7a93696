"""The parts that benchmarks time fit the methods as they are."""

import numpy as np
import pytest
import step_parts as parts

from configs import dsl


@pytest.mark.slow
def test_every_part_of_a_step_runs_and_moves_something():
  config = dsl.get_config("smoke")
  step, state, batch = parts.make_step(config)
  state, metrics = step(state, batch)
  assert float(metrics["finite"]) == 1
  assert int(state.step) == 1
  made = parts.make_parts(config)
  assert set(made) == {"detector", "crop", "encoder", "decoder", "paste", "losses", "update"}
  for name, (function, given) in made.items():
    found = [np.asarray(x) for x in parts.jax.tree.leaves(function(*given))]
    assert all(np.isfinite(x).all() for x in found if x.dtype.kind == "f"), name
    assert any(np.abs(x).max() > 0 for x in found if x.size), name
