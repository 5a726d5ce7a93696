"""Two views compared: their features are fused, and linear heads say how they relate (P3 §3.3)."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

Fusion = Literal["mult", "concat", "add", "diff"]
FUSIONS = ("mult", "concat", "add", "diff")


def fuse(
  first: Float[Array, "B D"], second: Float[Array, "B D"], fusion: Fusion
) -> Float[Array, "B F"]:
  """ReLU of what `fusion` makes of two feature vectors (P3 Table 1, h-k).

  mult    a ⊙ b (k, P3's choice): positive where the features agree in sign, 0 where they don't.
  concat  [a, b] (h), F = 2·D: linear heads on it cannot compare, only add up a score of each view.
  add     a + b (i).
  diff    a − b (j), so that the order of the views matters.

  P3 names the ReLU for the product alone; here it follows all four.

  Raises:
    ValueError: there is no such fusion.
  """
  if fusion == "mult":
    fused = first * second
  elif fusion == "concat":
    fused = jnp.concatenate([first, second], axis=1)
  elif fusion == "add":
    fused = first + second
  elif fusion == "diff":
    fused = first - second
  else:
    raise ValueError(f"fusion {fusion!r} of two views: choose one of {', '.join(FUSIONS)}")
  return nn.relu(fused)


class SiameseHeads(nn.Module):
  """ω₁ and ω₂ on the fused features of two views (P3 §3.3).

  F₁ = σ(synchronised) is P3's probability of synchronisation. P3's F₂ is the probability of no
  flipping; here `flipped` is the logit of flipping, so that F₂ = 1 − σ(flipped).

  Attributes:
    fusion: see `fuse`.
  """

  fusion: Fusion

  @nn.compact
  def __call__(
    self, first: Float[Array, "B D"], second: Float[Array, "B D"]
  ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """(synchronised, flipped) logits, float32."""
    fused = fuse(first.astype(jnp.float32), second.astype(jnp.float32), self.fusion)
    synchronised = nn.Dense(1, dtype=jnp.float32, name="synchronised")(fused)
    flipped = nn.Dense(1, dtype=jnp.float32, name="flipped")(fused)
    return synchronised[:, 0], flipped[:, 0]
