import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.models import heads

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)


def relu(x):
  return np.maximum(x, 0)


def dense(x, layer):
  return np.asarray(x) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def blocks(x, params, count):
  x = dense(x, params["input"])
  for i in range(count):
    y = relu(dense(x, params[f"block{i}_dense0"]))
    x = x + relu(dense(y, params[f"block{i}_dense1"]))
  return x


def test_mlp_is_two_hidden_layers_and_a_linear_output():
  model = heads.MLP(2, hidden=(7, 6))
  got, variables = model.init_with_output(jax.random.key(0), X)
  params = variables["params"]
  hidden = relu(dense(relu(dense(X, params["hidden0"])), params["hidden1"]))
  np.testing.assert_allclose(got, dense(hidden, params["output"]), atol=1e-5)


def test_residual_mlp_adds_each_block_to_its_input():
  model = heads.ResidualMLP(2, width=6, blocks=2)
  params = model.init(jax.random.key(0), X)["params"]
  np.testing.assert_array_equal(model.apply({"params": params}, X), np.zeros((3, 2)))
  kernel = jax.random.normal(jax.random.key(1), (6, 2))
  params["output"] = {"kernel": kernel, "bias": jnp.asarray([0.5, -1.0])}
  got = model.apply({"params": params}, X)
  np.testing.assert_allclose(got, dense(blocks(X, params, 2), params["output"]), atol=1e-5)
  assert got.dtype == jnp.float32


def test_a_projection_begins_near_to_its_linear_layer():
  model = heads.Projection(width=400, blocks=3)
  x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 300)), jnp.float32)
  got, variables = model.init_with_output(jax.random.key(0), x)
  params = variables["params"]
  np.testing.assert_allclose(got, blocks(x, params, 3), atol=1e-5)
  first = dense(x, params["input"])
  # a dense layer keeps a third of the square, a ReLU half of that: 1/6 of the size a block
  added = np.linalg.norm(got - first) / np.linalg.norm(first)
  assert 0.2 < added < 0.8
  half = heads.Projection(width=8, blocks=1, dtype=jnp.bfloat16)
  assert half.init_with_output(jax.random.key(0), x)[0].dtype == jnp.bfloat16
