import jax
import jax.numpy as jnp
import numpy as np
from numpy_resnet import NumpyResNet

from jaxpose.models import perceptual, resnet, torch_weights


def test_features_are_layers_1_to_3_of_a_loaded_resnet18(tmp_path):
  rng = np.random.default_rng(0)
  image = rng.uniform(size=(1, 32, 48, 3)).astype(np.float32)
  whole = resnet.ResNet18()
  shapes = jax.eval_shape(lambda: whole.init(jax.random.key(0), jnp.asarray(image), False))

  def draw(leaf):
    if leaf.ndim == 1:
      return rng.uniform(0.5, 1, leaf.shape).astype(np.float32)
    return (rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))).astype(np.float32)

  state = torch_weights.resnet_state(jax.tree.map(draw, shapes))
  path = tmp_path / "resnet18.safetensors"
  torch_weights.save_safetensors(path, state)

  model = perceptual.PerceptualFeatures()
  empty = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
    jax.eval_shape(lambda: model.init(jax.random.key(1), jnp.asarray(image))),
  )
  variables = torch_weights.load_resnet(path, empty, "backbone")
  got = jax.jit(model.apply)(variables, image)
  normalised = (image - np.asarray([0.485, 0.456, 0.406])) / np.asarray([0.229, 0.224, 0.225])
  expected = NumpyResNet(state, (2, 2, 2), bottleneck=False)(normalised.transpose(0, 3, 1, 2))
  assert [x.shape for x in got] == [(1, 8, 12, 64), (1, 4, 6, 128), (1, 2, 3, 256)]
  for features, stage in zip(got, expected):
    np.testing.assert_allclose(features, stage.transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-4)
