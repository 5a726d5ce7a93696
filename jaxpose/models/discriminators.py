"""Networks that judge the vectors of others."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose.models.heads import MLP


class SceneDiscriminator(nn.Module):
  """Whether two pose vectors are of frames of one video (DrNet): a perceptron on both, one logit.

  Attributes:
    width: of its two hidden layers.
    dtype: of the computation; logits come back as float32.
  """

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, a: Float[Array, "N D"], b: Float[Array, "N D"]) -> Float[Array, " N"]:
    """Logits: positive for one video."""
    perceptron = MLP(1, (self.width, self.width), dropout=0.0, dtype=self.dtype, name="perceptron")
    return perceptron(jnp.concatenate([a, b], axis=-1), None, False)[:, 0]
