"""Multi-layer perceptrons on latent vectors."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

# Uniform in ±1/√(inputs), torch's own: each block adds a sixth of its input's size to it, where the
# default adds half.
_small = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


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


def residual_blocks(
  x: Float[Array, "N D"], width: int, blocks: int, **dense: Any
) -> Float[Array, "N width"]:
  """A linear layer, then blocks x + ReLU(L(ReLU(L(x)))); layers of the module that calls it.

  Args:
    dense: attributes of each `nn.Dense`.
  """
  x = nn.Dense(width, name="input", **dense)(x)
  for i in range(blocks):
    y = nn.relu(nn.Dense(width, name=f"block{i}_dense0", **dense)(x))
    x = x + nn.relu(nn.Dense(width, name=f"block{i}_dense1", **dense)(y))
  return x


class ResidualMLP(nn.Module):
  """2D pose from weak labels (P2 §3.3; §S.1.1: 3 blocks of 1024): `residual_blocks`, linear output.

  A new network gives 0: nothing norms what the blocks add up, and with random output weights it
  began some 20 times as far off as the mean pose.
  """

  features: int
  width: int = 1024
  blocks: int = 3

  @nn.compact
  def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N F"]:
    """Output [N, features]."""
    x = residual_blocks(x, self.width, self.blocks)
    zeros = nn.initializers.zeros
    return nn.Dense(self.features, kernel_init=zeros, name="output")(x)


class Projection(nn.Module):
  """Between the backbone's features and the linear layers of an encoder (P2 §S.1.1, ResNet-101).

  `residual_blocks` that begin near to the identity, since what they give are vectors that losses
  compare by their distance.
  """

  width: int = 1024
  blocks: int = 3
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N width"]:
    """Features [N, width]."""
    return residual_blocks(x, self.width, self.blocks, dtype=self.dtype, kernel_init=_small)
