import jax
import numpy as np
import pytest
from toy_method import make_adam, make_batch, make_toy_method

from jaxpose import parallel
from jaxpose.method import Objective
from jaxpose.training.state import make_state, trained_groups

ONE = {"one": Objective(("reconstruction",))}
TWO = {"one": Objective(("reconstruction",), ("encoder",)), "two": Objective(("critic",))}


def _state(seed):
  over = parallel.devices(jax.devices()[:2])
  adam = {"toy": make_adam()}
  return make_state(make_toy_method(), make_batch(0), optimisers=adam, seed=seed, over=over)


def _groups(objectives, present=("encoder", "critic"), **optimisers):
  method = make_toy_method(objectives=objectives)
  return trained_groups(method, optimisers, tuple(present))


def test_the_state_before_the_first_step_is_that_of_its_seed():
  state = _state(3)
  assert int(state.step) == 0
  for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(_state(3)), strict=True):
    np.testing.assert_array_equal(a, b)
  first, other = (s.variables["params"]["encoder"]["first"]["kernel"] for s in (state, _state(4)))
  assert np.abs(np.asarray(first) - np.asarray(other)).max() > 0.1


def test_an_optimiser_holds_what_its_objective_trains():
  method = make_toy_method(objectives=TWO)
  optimisers = {"one": make_adam(), "two": make_adam()}
  over = parallel.devices(jax.devices()[:1])
  state = make_state(method, make_batch(0), optimisers=optimisers, seed=0, over=over)
  held = {
    name: {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}
    for name, tree in state.optimisers.items()
  }
  assert any("encoder" in path for path in held["one"])
  assert not any("critic" in path for path in held["one"])
  assert any("critic" in path for path in held["two"])
  assert not any("encoder" in path for path in held["two"])


def test_an_objective_that_names_no_group_trains_what_is_left():
  adam = make_adam()
  assert _groups(TWO, one=adam, two=adam) == {"one": ("encoder",), "two": ("critic",)}
  frozen = _groups(ONE, one=make_adam(frozen=("critic",)))
  assert frozen == {"one": ("encoder",)}


@pytest.mark.parametrize(
  ("objectives", "optimisers", "message"),
  [
    (TWO, {"one": make_adam()}, r"given for \['one'\].*objectives are \['one', 'two'\]"),
    (
      {"one": Objective(("reconstruction",), ("decoder",))},
      {"one": make_adam()},
      r"'one' trains the parameters of 'decoder'.*only \['critic', 'encoder'\]",
    ),
    (
      ONE,
      {"one": make_adam(frozen=("encoder", "critic"))},
      "every parameter group of objective 'one' is frozen",
    ),
  ],
)
def test_what_does_not_fit_is_named(objectives, optimisers, message):
  with pytest.raises(ValueError, match=message):
    _groups(objectives, **optimisers)
