import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose import parallel


def _pmap(function):
  return jax.pmap(function, axis_name=parallel.AXIS, devices=jax.devices()[:2])


def test_collectives_are_the_identity_outside_of_the_axis():
  x = jnp.asarray([1.0, 5.0])
  for collective in (parallel.psum, parallel.pmean, parallel.all_gather):
    np.testing.assert_array_equal(collective(x), x)
    np.testing.assert_array_equal(jax.jit(collective)(x), x)
  assert parallel.axis_index() == 0
  assert not parallel.inside_axis()


def test_collectives_join_the_devices_inside_of_the_axis():
  x = jnp.asarray([[[1.0, 7.0]], [[4.0, 2.0]]])  # two devices, one example each
  np.testing.assert_array_equal(_pmap(parallel.psum)(x)[1], [[5.0, 9.0]])
  np.testing.assert_array_equal(_pmap(parallel.pmean)(x)[0], [[2.5, 4.5]])
  for device in range(2):
    gathered = _pmap(parallel.all_gather)(x)[device]
    np.testing.assert_array_equal(gathered, [[1.0, 7.0], [4.0, 2.0]])
  np.testing.assert_array_equal(_pmap(lambda x: x * 0 + parallel.axis_index())(x)[:, 0, 0], [0, 1])


def test_the_axis_is_seen_inside_of_transformations_within_it():
  seen = []

  def loss(x):
    seen.append(parallel.inside_axis())
    return jnp.sum(parallel.pmean(x) ** 2)

  gradient = _pmap(jax.jit(jax.grad(loss)))(jnp.asarray([3.0, 5.0]))
  assert seen == [True]
  # mean 4; each device's loss is 16, and each of the two sends 2 · 4 · 1/2 to every x
  np.testing.assert_array_equal(gradient, [8.0, 8.0])


def test_another_axis_is_not_ours():
  seen = []
  jax.vmap(lambda x: (seen.append(parallel.inside_axis()), x)[1], axis_name="other")(jnp.ones(2))
  assert seen == [False]


def test_example_keys_do_not_depend_on_the_company():
  rng = jax.random.key(5)
  whole = parallel.fold_in_examples(rng, jnp.asarray([7, 8, 9], jnp.uint32))
  part = parallel.fold_in_examples(rng, jnp.asarray([9], jnp.uint32))
  np.testing.assert_array_equal(jax.random.key_data(whole)[2:], jax.random.key_data(part))
  assert len(np.unique(jax.random.key_data(whole), axis=0)) == 3


def test_sharding_a_batch_keeps_its_order():
  over = parallel.devices(jax.devices()[:2])
  batch = {"x": np.arange(12).reshape(6, 2), "y": np.arange(4)}
  sharded = parallel.shard_batch(batch, over)
  assert sharded["x"].shape == (2, 3, 2)
  np.testing.assert_array_equal(sharded["x"][1], batch["x"][3:])
  assert sharded["x"].sharding.device_set == set(over.local)
  np.testing.assert_array_equal(sharded["x"].reshape(6, 2), batch["x"])


def test_a_batch_that_devices_cannot_share_is_an_error():
  over = parallel.devices(jax.devices()[:2])
  with pytest.raises(ValueError, match=r"'temporal/image' holds 5 examples, which 2 devices"):
    parallel.shard_batch({"temporal": {"image": np.zeros((5, 3))}}, over)
  with pytest.raises(ValueError, match="'n' is a scalar"):
    parallel.shard_batch({"n": np.float32(3)}, over)


def test_replicas_share_no_memory_with_the_original():
  over = parallel.devices(jax.devices()[:2])
  first = parallel.replicate({"w": np.asarray([1.0, 2.0], np.float32)}, over)
  second = parallel.replicate(first, over)
  jax.tree.map(lambda x: x.delete(), first)
  np.testing.assert_array_equal(second["w"], [1.0, 2.0])
  assert second["w"].sharding.device_set == set(over.local)


def test_host_copies_survive_the_device_arrays():
  x = jnp.arange(1000.0)
  copy = parallel.to_host(x)
  assert copy.flags.owndata
  assert copy.flags.writeable
