"""A network that reads the pose straight from a crop."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose.models import resnet, stn
from jaxpose.models.scene import Encoder, find_box


class PoseNetwork(nn.Module):
  """An encoder, and a linear layer from its time-variant vector to the joints.

  That layer starts at weight 0, and so from the mean pose: random weights on the vectors of a
  trained encoder are large errors, which would undo the encoder before the layer fits it.

  Top-level parameter groups: `encoder`, `head`, and `detector` where there is one.

  Attributes:
    encoder: gives the time-variant vector.
    num_joints: J.
    detector: finds the box to crop, whose content is then windowed as a scene's is; None: crops are
      given and are not windowed.
    detector_shrink: factor by which the frame is shrunk for the detector.
  """

  encoder: Encoder
  num_joints: int
  detector: stn.Detector | None = None
  detector_shrink: int = 1

  def detect(self, images: Float[Array, "N H W 3"], train: bool) -> Float[Array, "N 4"]:
    """Box (s_x, s_y, u_x, u_y) of the person."""
    return find_box(self.detector, images, self.detector_shrink, train)

  @nn.compact
  def __call__(
    self, crops: Float[Array, "N h w 3"], train: bool
  ) -> tuple[Float[Array, "N J 3"], Float[Array, "N Dv"]]:
    """(pose, time_variant) of crops in [0, 1], float32; the pose is in the labels' unit."""
    crops = resnet.normalise_image(crops)
    if self.detector is not None:
      crops = crops * stn.bump_window(*crops.shape[1:3])[None]
    time_variant, _ = self.encoder(crops, train)
    zeros = nn.initializers.zeros_init()
    head = nn.Dense(self.num_joints * 3, dtype=jnp.float32, kernel_init=zeros, name="head")
    pose = head(time_variant)
    return pose.reshape(-1, self.num_joints, 3), time_variant
