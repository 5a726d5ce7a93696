import errno
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_method import make_adam, make_batch, make_toy_method

from jaxpose import parallel
from jaxpose.training import checkpoint
from jaxpose.training.checkpoint import Checkpoints, latest_step, restore_for_inference
from jaxpose.training.state import TrainState, make_state


def _state(seed=0, devices=2, method=None):
  over = parallel.devices(jax.devices()[:devices])
  return make_state(
    method or make_toy_method(),
    make_batch(0),
    optimisers={"toy": make_adam()},
    seed=seed,
    over=over,
  )


@pytest.fixture
def saved(tmp_path):
  """A work directory with checkpoints 10 (seed 1) and 20 (seed 2)."""
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
  checkpoints.save(10, _state(1), {"iterator": {"number": 10}})
  checkpoints.save(20, _state(2), {"iterator": {"number": 20}, "value": 0.1 + 0.2})
  checkpoints.close()
  return tmp_path


def test_state_and_position_come_back_bit_for_bit_on_other_devices(saved):
  restored = Checkpoints(saved / "checkpoints", keep=3).restore(_state(0, devices=1))
  assert restored.step == 20
  assert restored.position["iterator"] == {"number": 20}
  assert restored.position["value"] == 0.1 + 0.2
  expected = _state(2)
  assert jax.tree.structure(restored.state) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(restored.state), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype


def test_odd_types_and_values_come_back(tmp_path):
  odd = {
    "bf16": jnp.asarray([377.3, -0.0], jnp.bfloat16),
    "nan": jnp.asarray([np.nan, np.inf, 1e-45], jnp.float32),
    "a.b": jnp.asarray(3, jnp.uint8),
  }
  state = TrainState(jnp.asarray(7, jnp.int32), {"params": odd, "batch_stats": {}}, {})
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
  checkpoints.save(7, state, {})
  restored = checkpoints.restore(state)
  for name, array in odd.items():
    found = restored.state.variables["params"][name]
    assert np.asarray(found).tobytes() == np.asarray(array).tobytes()
    assert found.dtype == array.dtype
    assert found.shape == array.shape
  assert restore_for_inference(tmp_path)["batch_stats"] == {}


def test_saving_does_not_see_later_changes(tmp_path):
  array = np.arange(200_000, dtype=np.float32)
  state = TrainState(np.int32(1), {"params": {"w": array}}, {})
  checkpoints = Checkpoints(tmp_path, keep=1)
  rows = [1.0]
  checkpoints.save(1, state, {"rows": rows})
  array[:] = -1  # what donation does to a device's memory while the file is being written
  rows.append(2.0)
  restored = checkpoints.restore(state)
  assert restored.state.variables["params"]["w"][-1] == 199_999
  assert restored.position["rows"] == [1.0]


def test_the_newest_are_kept(tmp_path):
  checkpoints = Checkpoints(tmp_path, keep=2)
  for step in (1, 2, 5):
    checkpoints.save(step, _state(step), {})
  checkpoints.close()
  assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "5"]


def test_a_whole_checkpoint_is_not_written_twice_and_later_ones_go(saved):
  checkpoints = Checkpoints(saved / "checkpoints", keep=3)
  checkpoints.save(20, _state(9), {})
  assert checkpoints.restore(_state()).position["value"] == 0.1 + 0.2
  checkpoints.save(15, _state(9), {})
  assert checkpoints.latest_step() == 15


@pytest.mark.parametrize("damage", ["temporary", "empty", "no_state", "no_position"])
def test_half_written_checkpoints_are_ignored(saved, damage):
  folder = saved / "checkpoints"
  if damage == "temporary":
    shutil.copytree(folder / "20", folder / "30.orbax-checkpoint-tmp-1")
  elif damage == "empty":
    (folder / "30").mkdir()
  else:
    shutil.copytree(folder / "20", folder / "30")
    shutil.rmtree(folder / "30" / {"no_state": "state", "no_position": "position"}[damage])
  assert latest_step(saved) == 20
  checkpoints = Checkpoints(folder, keep=3)
  assert checkpoints.restore(_state()).step == 20
  checkpoints.save(30, _state(3), {"iterator": {"number": 30}})
  assert checkpoints.restore(_state()).position["iterator"] == {"number": 30}


def test_an_empty_folder_has_nothing(tmp_path):
  assert Checkpoints(tmp_path / "checkpoints", keep=1).restore(_state()) is None
  assert latest_step(tmp_path) is None
  with pytest.raises(FileNotFoundError, match="train first"):
    restore_for_inference(tmp_path)


def test_inference_needs_no_optimiser(saved):
  variables = restore_for_inference(saved)
  expected = _state(2).variables
  assert set(variables) == {"params", "batch_stats"}
  for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(a, b)
  best = Checkpoints(saved / "checkpoints_best", keep=1)
  best.save(10, _state(1), {})
  best.close()
  found = restore_for_inference(saved, which="best")["params"]["critic"]["kernel"]
  np.testing.assert_array_equal(found, _state(1).variables["params"]["critic"]["kernel"])
  with pytest.raises(ValueError, match="choose last or best"):
    restore_for_inference(saved, which="first")


def test_another_configuration_is_named_by_its_first_difference(saved):
  checkpoints = Checkpoints(saved / "checkpoints", keep=3)
  state = _state()

  def with_critic(critic):
    variables = {**state.variables, "params": {**state.variables["params"], "critic": critic}}
    return TrainState(state.step, variables, state.optimisers)

  wrong = {"kernel": np.zeros((4, 1), np.float32), "bias": np.zeros(1, np.float32)}
  with pytest.raises(
    ValueError, match=r"another configuration: 'variables/params/critic/kernel'"
  ) as e:
    checkpoints.restore(with_critic(wrong))
  assert "float32[5, 1] there, but float32[4, 1] in this run" in str(e.value)
  extra = {**state.variables["params"]["critic"], "extra": np.zeros(2, np.float32)}
  with pytest.raises(ValueError, match="'variables/params/critic/extra' is missing there"):
    checkpoints.restore(with_critic(extra))
  with pytest.raises(ValueError, match=r"critic/kernel' is float32\[5, 1\] there, but missing"):
    checkpoints.restore(with_critic({"bias": np.zeros(1, np.float32)}))


def test_a_damaged_checkpoint_is_an_error_that_names_it(saved):
  for file in (saved / "checkpoints" / "20" / "state").rglob("*"):
    if file.is_file() and file.parent.name == "d":
      file.write_bytes(file.read_bytes()[:40])
  with pytest.raises(ValueError, match=r"checkpoints/20 cannot be read.*one before"):
    Checkpoints(saved / "checkpoints", keep=3).restore(_state())


def test_a_full_disk_is_said_and_leaves_the_earlier_ones(saved, monkeypatch):
  checkpoints = Checkpoints(saved / "checkpoints", keep=3)

  def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(checkpoints._manager, "save", full)
  with pytest.raises(OSError, match=r"cannot write a checkpoint.*No space left.*free some space"):
    checkpoints.save(30, _state(), {})
  assert checkpoint.latest_step(saved) == 20
