import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.methods import batching

RNG = np.random.default_rng(4)


def _keys(count, seed=7):
  return jax.random.split(jax.random.key(seed), count)


def _data(keys):
  return np.asarray(jax.random.key_data(keys))


def test_bytes_become_shares_of_255():
  found = batching.to_float(jnp.asarray([[0, 51, 255]], jnp.uint8))
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, [[0, 0.2, 1]], rtol=1e-6)


def test_frames_follow_each_other_sample_by_sample():
  values = RNG.normal(size=(3, 4, 2, 5)).astype(np.float32)
  found = np.asarray(batching.flat(jnp.asarray(values)))
  assert found.shape == (12, 2, 5)
  for sample in range(3):
    for frame in range(4):
      np.testing.assert_array_equal(found[4 * sample + frame], values[sample, frame])
  np.testing.assert_array_equal(batching.samples(jnp.asarray(found)), values)


def test_mean_over_the_frames_of_each_sample():
  # (1 + 2 + 3 + 6) / 4 and (0 - 4 + 8 + 10) / 4
  found = batching.per_sample(jnp.asarray([1.0, 2, 3, 6, 0, -4, 8, 10]))
  np.testing.assert_allclose(found, [3, 3.5])


def test_images_are_flattened_to_floats():
  images = RNG.integers(0, 256, (2, 4, 3, 5, 3)).astype(np.uint8)
  found = batching.frames({"image": jnp.asarray(images)})
  np.testing.assert_allclose(found[6], images[1, 2] / 255, rtol=1e-6)
  assert found.shape == (8, 3, 5, 3)


@pytest.mark.parametrize("shown", [1, 4])
def test_backgrounds_stand_beside_their_frames(shown):
  images = jnp.zeros((2, 4, 3, 5, 3), jnp.uint8)
  background = RNG.integers(0, 256, (2, shown, 3, 5, 3)).astype(np.uint8)
  found = batching.backgrounds({"image": images, "background": jnp.asarray(background)})
  assert found.shape == (8, 3, 5, 3)
  for sample in range(2):
    for frame in range(4):
      own = background[sample, frame if shown == 4 else 0]
      np.testing.assert_allclose(found[4 * sample + frame], own / 255, rtol=1e-6)


def test_every_draw_of_an_example_has_a_key_of_its_own():
  keys = _keys(3)
  found = [_data(batching.draw_keys(keys, purpose)) for purpose in (0, 1, 5)]
  for purpose, data in zip((0, 1, 5), found):
    expected = [_data(jax.random.fold_in(key, purpose)) for key in keys]
    np.testing.assert_array_equal(data, expected)
  assert len(np.unique(np.concatenate(found), axis=0)) == 9


def test_every_frame_has_a_key_of_its_own_in_the_order_of_flat():
  keys = _keys(3)
  found = batching.frame_keys(keys, 2)
  assert found.shape == (12,)
  expected = [_data(jax.random.split(jax.random.fold_in(key, 2), 4)) for key in keys]
  np.testing.assert_array_equal(_data(found), np.concatenate(expected))
  both = np.concatenate([_data(found), _data(batching.frame_keys(keys, 3))])
  assert len(np.unique(both, axis=0)) == 24


def test_the_keys_of_an_example_do_not_depend_on_its_neighbours():
  keys = _keys(4)
  whole = _data(batching.frame_keys(keys, 1))
  np.testing.assert_array_equal(_data(batching.frame_keys(keys[2:3], 1)), whole[8:12])
