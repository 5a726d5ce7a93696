"""Networks that judge the vectors of others."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose.models.heads import MLP


class SceneDiscriminator(nn.Module):
  """Whether two pose vectors are of frames of one video (DrNet): a perceptron on both, one logit.

  Attributes:
    width: of its two hidden layers.
  """

  width: int

  @nn.compact
  def __call__(self, a: Float[Array, "N D"], b: Float[Array, "N D"]) -> Float[Array, " N"]:
    """Logits: positive for one video."""
    perceptron = MLP(1, (self.width, self.width), name="perceptron")
    return perceptron(jnp.concatenate([a, b], axis=-1))[:, 0]
