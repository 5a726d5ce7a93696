"""A network that reads the pose straight from a crop."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose.models import resnet
from jaxpose.models.scene import Encoder


class PoseNetwork(nn.Module):
  """An encoder, and a linear layer from its time-variant vector to the joints.

  Top-level parameter groups: `encoder`, `head`.

  Attributes:
    encoder: gives the time-variant vector.
    num_joints: J.
  """

  encoder: Encoder
  num_joints: int

  @nn.compact
  def __call__(
    self, crops: Float[Array, "N h w 3"], train: bool
  ) -> tuple[Float[Array, "N J 3"], Float[Array, "N Dv"]]:
    """(pose, time_variant) of crops in [0, 1], float32; the pose is in the labels' unit."""
    time_variant, _ = self.encoder(resnet.normalise_image(crops), train)
    pose = nn.Dense(self.num_joints * 3, dtype=jnp.float32, name="head")(time_variant)
    return pose.reshape(-1, self.num_joints, 3), time_variant
