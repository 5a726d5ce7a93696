import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.models import decoder


def resized(x):
  return jax.image.resize(x, (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), "bilinear")


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 1, 2, 3)])
def test_doubling_is_bilinear_resizing_with_its_gradient(shape):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=shape), jnp.float32)
  expected, back = jax.vjp(resized, x)
  got, got_back = jax.vjp(decoder.upsample_twice, x)
  np.testing.assert_allclose(got, expected, atol=1e-6)
  cotangent = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
  np.testing.assert_allclose(got_back(cotangent)[0], back(cotangent)[0], atol=2e-6)


def test_doubling_keeps_bfloat16():
  x = jnp.ones((1, 2, 2, 1), jnp.bfloat16)
  assert decoder.upsample_twice(x).dtype == jnp.bfloat16
  assert jax.grad(lambda x: decoder.upsample_twice(x).astype(jnp.float32).sum())(x).dtype == x.dtype


def test_dropout_depends_on_the_examples_key_alone():
  keys = jax.random.split(jax.random.key(3), 6)
  x = jnp.ones((6, 500))
  whole = decoder.dropout_by_example(x, keys, 0.3)
  parts = [decoder.dropout_by_example(x[i : i + 2], keys[i : i + 2], 0.3) for i in (0, 2, 4)]
  np.testing.assert_array_equal(whole, jnp.concatenate(parts))
  assert set(np.unique(whole)) == {0, np.float32(1 / 0.7)}
  np.testing.assert_allclose(whole.mean(), 1, atol=0.05)
  assert not np.array_equal(whole[0], whole[1])


def small(**options):
  return decoder.Decoder(base=4, base_channels=3, stage_channels=(5, 6), convolutions=1, **options)


def latents(count=2):
  rng = np.random.default_rng(0)
  draw = [rng.normal(size=(count, size)).astype(np.float32) for size in (7, 2)]
  return jnp.asarray(draw[0]), jnp.asarray(draw[1])


def test_decoder_shapes_and_layers():
  model = small()
  logits, variables = jax.eval_shape(
    lambda: model.init_with_output(jax.random.key(0), *latents(), None, False)
  )
  assert logits.shape == (2, 16, 16, 4)
  assert model.size == 16
  shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
  assert shapes["time_variant"]["kernel"] == (7, 48)
  assert shapes["time_invariant"]["kernel"] == (2, 48)
  assert shapes["stage0_conv0"]["kernel"] == (3, 3, 6, 5)  # both latents' maps side by side
  assert shapes["output"]["kernel"] == (1, 1, 6, 4)


def test_both_latents_reach_the_image_and_an_empty_one_takes_no_part():
  model = small()
  time_variant, time_invariant = latents()
  variables = jax.jit(lambda key: model.init(key, time_variant, time_invariant, None, False))(
    jax.random.key(0)
  )
  apply = jax.jit(lambda a, b: model.apply(variables, a, b, None, False))
  base = apply(time_variant, time_invariant)
  assert np.abs(apply(time_variant + 1, time_invariant) - base).max() > 1e-3
  assert np.abs(apply(time_variant, time_invariant + 1) - base).max() > 1e-3
  alone = jax.eval_shape(
    lambda: model.init(jax.random.key(0), time_variant, jnp.zeros((2, 0)), None, False)
  )
  assert "time_invariant" not in alone["params"]
  assert alone["params"]["stage0_conv0"]["kernel"].shape == (3, 3, 3, 5)


def test_dropout_only_in_training_and_per_example():
  model = small(dropout=0.5)
  a, b = latents(4)
  variables = jax.jit(lambda key: model.init(key, a, b, None, False))(jax.random.key(0))
  keys = jax.random.split(jax.random.key(1), 4)
  apply = jax.jit(
    lambda a, b, keys, train: model.apply(variables, a, b, keys, train), static_argnums=3
  )
  np.testing.assert_array_equal(apply(a, b, keys, False), apply(a, b, None, False))
  dropped = apply(a, b, keys, True)
  assert np.abs(dropped - apply(a, b, None, False)).max() > 1e-3
  swapped = apply(a[::-1], b[::-1], keys[::-1], True)
  np.testing.assert_allclose(swapped[::-1], dropped, atol=1e-6)
  with pytest.raises(ValueError, match="dropout"):
    model.apply(variables, a, b, None, True)


def test_papers_decoder_has_the_papers_sizes():
  model = decoder.Decoder()
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 600)), jnp.zeros((1, 128)), None, False)
  )["params"]
  assert model.size == 128
  assert shapes["time_variant"]["kernel"].shape == (600, 128 * 16**2)
  channels = [shapes[f"stage{i}_conv{j}"]["kernel"].shape[2:] for i in range(3) for j in range(3)]
  expected = [(256, 128), (128, 128), (128, 128), (128, 64), (64, 64), (64, 64)]
  assert channels == [*expected, (64, 32), (32, 32), (32, 32)]
