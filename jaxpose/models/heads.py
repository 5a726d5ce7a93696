"""Multi-layer perceptrons on latent vectors."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Float


class MLP(nn.Module):
  """Hidden layers of ReLU and a linear output."""

  features: int
  hidden: Sequence[int]

  @nn.compact
  def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N F"]:
    """Output [N, features]."""
    for i, width in enumerate(self.hidden):
      x = nn.relu(nn.Dense(width, name=f"hidden{i}")(x))
    return nn.Dense(self.features, name="output")(x)


class ResidualMLP(nn.Module):
  """2D pose from weak labels (P2 §3.3; §S.1.1: 3 blocks of 1024).

  A linear layer, blocks x + ReLU(L(ReLU(L(x)))), and a linear output. A new network gives 0:
  nothing norms what the blocks add up, and with random output weights it began some 20 times as far
  off as the mean pose.
  """

  features: int
  width: int = 1024
  blocks: int = 3

  @nn.compact
  def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N F"]:
    """Output [N, features]."""
    x = nn.Dense(self.width, name="input")(x)
    for i in range(self.blocks):
      y = nn.relu(nn.Dense(self.width, name=f"block{i}_dense0")(x))
      x = x + nn.relu(nn.Dense(self.width, name=f"block{i}_dense1")(y))
    zeros = nn.initializers.zeros
    return nn.Dense(self.features, kernel_init=zeros, name="output")(x)
