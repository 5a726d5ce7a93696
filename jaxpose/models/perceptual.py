"""Features of a ResNet-18 for the perceptual loss (P2 §3.1.1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose.models.resnet import BasicBlock, ResNet, normalise_image


class PerceptualFeatures(nn.Module):
  """Maps of ResNet-18's layers 1 to 3 from images in [0, 1]; frozen, running batch statistics.

  The variables come from a torchvision-format file (`torch_weights.load_resnet`, `backbone` being
  the group); no objective should list the group among those that it trains.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: Float[Array, "N H W 3"]) -> list[jax.Array]:
    """[N, H/4, W/4, 64], [N, H/8, W/8, 128], [N, H/16, W/16, 256], float32."""
    backbone = ResNet(
      stage_sizes=(2, 2, 2), block=BasicBlock, output="stages", dtype=self.dtype, name="backbone"
    )
    return [x.astype(jnp.float32) for x in backbone(normalise_image(images), False)]
