import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.models import perceptual, resnet, torch_weights


def test_features_are_layers_1_to_3_of_a_loaded_resnet18(tmp_path):
  image = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 32, 48, 3)), jnp.float32)
  whole = resnet.ResNet18(output="stages")
  source = jax.jit(lambda key: whole.init(key, image, False))(jax.random.key(0))
  path = tmp_path / "resnet18.safetensors"
  torch_weights.save_safetensors(path, torch_weights.resnet_state(source))

  model = perceptual.PerceptualFeatures()
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), image))
  variables = torch_weights.load_resnet(
    path, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), "backbone"
  )
  got = jax.jit(model.apply)(variables, image)
  normalised = (image - np.asarray([0.485, 0.456, 0.406]).reshape(1, 1, 1, 3)) / np.asarray(
    [0.229, 0.224, 0.225]
  ).reshape(1, 1, 1, 3)
  expected = jax.jit(lambda v, x: whole.apply(v, x, False))(source, normalised)
  assert [x.shape for x in got] == [(1, 8, 12, 64), (1, 4, 6, 128), (1, 2, 3, 256)]
  for features, stage in zip(got, expected):
    np.testing.assert_allclose(features, stage, rtol=1e-4, atol=1e-5)
