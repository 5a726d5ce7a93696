"""Multi-layer perceptrons on latent vectors: 2D pose from weak labels (P2 §3.3, §S.1.1)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxpose.models.decoder import dropout_by_example


class MLP(nn.Module):
  """Hidden layers of ReLU and dropout, and a linear output (papers: 2 x 2048, dropout 0.5)."""

  features: int
  hidden: Sequence[int] = (2048, 2048)
  dropout: float = 0.5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "N D"], dropout_keys: Key[Array, " N"] | None, train: bool
  ) -> Float[Array, "N F"]:
    """Output [N, features], float32.

    Raises:
      ValueError: in training with dropout, `dropout_keys` is None.
    """
    for i, width in enumerate(self.hidden):
      x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"hidden{i}")(x))
      if train and self.dropout > 0:
        if dropout_keys is None:
          raise ValueError("the head has dropout: give one key for each example in training")
        keys = jax.vmap(jax.random.fold_in, (0, None))(dropout_keys, i)
        x = dropout_by_example(x, keys, self.dropout)
    return nn.Dense(self.features, dtype=self.dtype, name="output")(x).astype(jnp.float32)


class ResidualMLP(nn.Module):
  """Linear layer, blocks x + ReLU(L(ReLU(L(x)))), linear output (P2 §S.1.1: 3 blocks of 1024).

  A new network gives 0: nothing norms what the blocks add up, and with random output weights it
  began some 20 times as far off as the mean pose.
  """

  features: int
  width: int = 1024
  blocks: int = 3
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N F"]:
    """Output [N, features], float32."""
    x = nn.Dense(self.width, dtype=self.dtype, name="input")(x)
    for i in range(self.blocks):
      y = nn.relu(nn.Dense(self.width, dtype=self.dtype, name=f"block{i}_dense0")(x))
      x = x + nn.relu(nn.Dense(self.width, dtype=self.dtype, name=f"block{i}_dense1")(y))
    zeros = nn.initializers.zeros
    output = nn.Dense(self.features, kernel_init=zeros, dtype=self.dtype, name="output")
    return output(x).astype(jnp.float32)
