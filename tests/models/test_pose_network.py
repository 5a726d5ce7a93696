import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.models.pose_network import PoseNetwork
from jaxpose.models.resnet import RESNETS, normalise_image
from jaxpose.models.scene import Encoder


def test_pose_is_linear_in_the_encoders_vector():
  backbone = RESNETS["resnet_small"](stage_sizes=(1,), widths=(4,))
  encoder = Encoder(backbone, time_variant_size=5, time_invariant_size=0)
  network = PoseNetwork(encoder, num_joints=2)
  crops = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 16, 16, 3)), jnp.float32)
  variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), crops, False)
  assert set(variables["params"]) == {"encoder", "head"}
  head = variables["params"]["head"]
  assert not np.any(head["kernel"])  # it starts from the mean pose
  rng = np.random.default_rng(1)
  variables["params"]["head"] = {
    name: jnp.asarray(rng.normal(size=x.shape), x.dtype) for name, x in head.items()
  }
  pose, vector = jax.jit(network.apply, static_argnums=2)(variables, crops, False)
  assert pose.shape == (3, 2, 3)
  kernel, bias = (np.asarray(variables["params"]["head"][k]) for k in ("kernel", "bias"))
  np.testing.assert_allclose(
    pose, (np.asarray(vector) @ kernel + bias).reshape(3, 2, 3), rtol=1e-4, atol=1e-5
  )
  own = {kind: tree["encoder"] for kind, tree in variables.items()}
  alone, _ = jax.jit(encoder.apply, static_argnums=2)(own, normalise_image(crops), False)
  np.testing.assert_allclose(vector, alone, rtol=1e-4, atol=1e-5)
