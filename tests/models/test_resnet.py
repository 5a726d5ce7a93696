import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_resnet import NumpyResNet

from jaxpose.models import resnet, torch_weights

TINY = {"stage_sizes": (2, 1), "widths": (4, 6)}


def randomised(variables, seed):
  """The same tree with every leaf random (batch statistics and scales too), variances positive."""
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    if path[-1].key == "kernel":
      return jnp.asarray(
        rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])), leaf.dtype
      )
    low = 0.5 if path[-1].key in ("var", "scale") else -0.5
    return jnp.asarray(rng.uniform(low, low + 1, leaf.shape), leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, variables)


def train(model, variables, x):
  """Output and new batch statistics of the network in training mode."""
  return jax.jit(lambda v: model.apply(v, x, True, mutable=["batch_stats"]))(variables)


@pytest.mark.parametrize("block", [resnet.BasicBlock, resnet.Bottleneck])
def test_forward_pass_is_torchvisions(block):
  model = resnet.ResNet(block=block, output="map", **TINY)
  x = np.random.default_rng(0).normal(size=(2, 37, 30, 3)).astype(np.float32)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(x), False))
  variables = randomised(shapes, seed=1)
  state = torch_weights.resnet_state(variables)
  expected = NumpyResNet(state, (2, 1), block is resnet.Bottleneck)(x.transpose(0, 3, 1, 2))[-1]
  got = jax.jit(model.apply, static_argnums=2)(variables, x, False)
  # 37 -> 19 -> 10 -> 5 rows, 30 -> 15 -> 8 -> 4 columns
  assert got.shape == (2, 5, 4, 6 * block.expansion)
  np.testing.assert_allclose(got, expected.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_outputs_of_one_network():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 24, 3)), jnp.float32)
  model = resnet.ResNet(block=resnet.BasicBlock, **TINY)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))
  variables = randomised(shapes, seed=1)
  outputs = {}
  for output in ("map", "mean", "flatten", "stages"):
    apply = jax.jit(model.clone(output=output).apply, static_argnums=2)
    outputs[output] = apply(variables, x, False)
  assert outputs["map"].shape == (2, 4, 3, 6)
  np.testing.assert_allclose(outputs["mean"], np.asarray(outputs["map"]).mean((1, 2)), rtol=1e-5)
  np.testing.assert_array_equal(outputs["flatten"], np.asarray(outputs["map"]).reshape(2, -1))
  assert [stage.shape for stage in outputs["stages"]] == [(2, 8, 6, 4), (2, 4, 3, 6)]


@pytest.mark.usefixtures("unchecked_signatures")
def test_unknown_output_is_an_error():
  model = resnet.ResNet(block=resnet.BasicBlock, output="middle", **TINY)
  with pytest.raises(ValueError, match="'middle'"):
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), False))


@pytest.mark.parametrize(
  ("name", "blocks", "million"),
  [
    # torchvision's published counts less the classifier of 1000 · (D + 1)
    ("resnet18", 8, 11_689_512 - 513_000),
    ("resnet34", 16, 21_797_672 - 513_000),
    ("resnet50", 16, 25_557_032 - 2_049_000),
    ("resnet101", 33, 44_549_160 - 2_049_000),
  ],
)
def test_standard_networks_have_the_published_number_of_parameters(name, blocks, million):
  model = resnet.RESNETS[name]()
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), False)
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == million
  assert sum(key.startswith("layer") for key in variables["params"]) == blocks


def test_small_network_stops_at_maps_of_four():
  model = resnet.ResNetSmall(widths=(4, 4, 4, 4), output="stages")
  x = jnp.zeros((1, 32, 32, 3))
  stages, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, False))
  # 32 -> 16 (stem) -> 16 -> 8 -> 4, and the last stage may not halve 4
  assert [stage.shape[1] for stage in stages] == [16, 8, 4, 4]


def test_training_normalises_by_the_batch_and_moves_the_running_mean_by_a_tenth():
  model = resnet.ResNet(block=resnet.BasicBlock, output="map", **TINY)
  x = jnp.asarray(np.random.default_rng(0).normal(3, 2, size=(4, 16, 16, 3)), jnp.float32)
  variables = jax.jit(model.init, static_argnums=2)(jax.random.key(0), x, False)
  _, new = train(model, variables, x)
  stem = nn.Conv(4, (7, 7), (2, 2), ((3, 3), (3, 3)), use_bias=False)
  activations = stem.apply({"params": variables["params"]["conv1"]}, x)
  mean = np.asarray(activations).mean((0, 1, 2))
  np.testing.assert_allclose(new["batch_stats"]["bn1"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)


def test_frozen_batch_norm_uses_and_keeps_its_running_statistics_in_training():
  model = resnet.ResNet(block=resnet.BasicBlock, output="map", frozen=("",), **TINY)
  x = jnp.asarray(np.random.default_rng(0).normal(3, 2, size=(4, 16, 16, 3)), jnp.float32)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))
  variables = randomised(shapes, seed=1)
  got, new = train(model, variables, x)
  jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], variables["batch_stats"])
  expected = jax.jit(model.clone(frozen=()).apply, static_argnums=2)(variables, x, False)
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_only_the_named_parts_keep_their_statistics_in_training():
  x = jnp.asarray(np.random.default_rng(0).normal(3, 2, size=(4, 16, 16, 3)), jnp.float32)
  free = resnet.ResNet(block=resnet.BasicBlock, output="map", **TINY)
  shapes = jax.eval_shape(lambda: free.init(jax.random.key(0), x, False))
  variables = randomised(shapes, seed=1)
  model = free.clone(frozen=("bn1", "layer1", "layer2_0/bn2"))
  _, new = train(model, variables, x)
  moved = {
    jax.tree_util.keystr(path, simple=True, separator="/"): bool(np.abs(a - b).max() > 0)
    for (path, a), b in zip(
      jax.tree_util.tree_leaves_with_path(new["batch_stats"]),
      jax.tree.leaves(variables["batch_stats"]),
      strict=True,
    )
  }
  assert {name.rpartition("/")[0] for name, has in moved.items() if has} == {
    "layer2_0/bn1",
    "layer2_0/downsample_bn",
  }
  assert sum(moved.values()) == 4  # mean and variance of each


def test_batch_statistics_are_taken_over_the_mapped_axis():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 16, 16, 3)), jnp.float32)
  x = x * jnp.asarray([1.0, 3.0]).reshape(2, 1, 1, 1, 1)  # the devices' shares differ
  whole = resnet.ResNet(block=resnet.BasicBlock, output="map", **TINY)
  variables = jax.jit(whole.init, static_argnums=2)(jax.random.key(0), x[0], False)
  expected, _ = train(whole, variables, x.reshape(6, 16, 16, 3))
  shared = whole.clone(axis_name="batch")
  got, _ = jax.pmap(
    lambda part: shared.apply(variables, part, True, mutable=["batch_stats"]), axis_name="batch"
  )(x)
  np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=2e-3, atol=2e-4)


def test_bfloat16_computes_near_float32_and_keeps_float32_parameters():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
  model = resnet.ResNet(block=resnet.BasicBlock, output="map", **TINY)
  variables = jax.jit(model.init, static_argnums=2)(jax.random.key(0), x, False)
  got, new = train(model.clone(dtype=jnp.bfloat16), variables, x)
  exact, _ = train(model, variables, x)
  assert got.dtype == jnp.bfloat16
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new))
  error = np.linalg.norm(np.asarray(got, np.float32) - exact) / np.linalg.norm(exact)
  assert 0 < error < 0.05


def test_image_normalisation_is_undone():
  image = jnp.asarray([[0.2, 0.9, 0.5]])
  got = resnet.normalise_image(image)
  np.testing.assert_allclose(got[0, 1], (0.9 - 0.456) / 0.224, rtol=1e-6)
  np.testing.assert_allclose(resnet.denormalise_image(got), image, rtol=1e-6)


def test_more_stages_than_widths_is_an_error():
  model = resnet.ResNet(block=resnet.BasicBlock, stage_sizes=(1, 1, 1), widths=(4, 4))
  with pytest.raises(ValueError, match="3 stages"):
    model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), False)


def test_group_norm_keeps_images_apart_and_has_no_running_statistics():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16, 16, 3)), jnp.float32)
  model = resnet.ResNetSmall(stage_sizes=(1, 1), widths=(8, 16), norm="group")
  variables = jax.jit(model.init, static_argnums=2)(jax.random.key(0), x, True)
  assert set(variables) == {"params"}
  whole = model.apply(variables, x, True)
  np.testing.assert_allclose(model.apply(variables, x[1:2], False), whole[1:2], atol=1e-5)
  scaled = model.apply(variables, x.at[0].multiply(5.0), True)
  np.testing.assert_allclose(scaled[1:], whole[1:], atol=1e-5)


@pytest.mark.usefixtures("unchecked_signatures")
def test_unknown_norm_is_an_error():
  with pytest.raises(ValueError, match="batch or group"):
    resnet.ResNetSmall(norm="layer").init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), False)
