"""Are two views synchronised, is one of them mirrored? Cross entropies of pairs (P3 eq. 1).

P3's loss is − Σ log F₁(x_p) F₂(x_p) + log(1 − F₁(x_n)) + log(1 − F₂(x_f)) over synchronised pairs
x_p, unsynchronised pairs x_n and flipped pairs x_f. Here it is two terms, one for each head, each
with a weight of 0 on the kind of pair that the head learns nothing from. Each term is a mean over
its own pairs: their sum is P3's up to a factor where the three kinds are equally likely.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxpose.losses.adversarial import binary_cross_entropy


def synchronisation(
  logits: Float[Array, " B"], synchronised: Bool[Array, " B"], flipped: Bool[Array, " B"]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
  """(−log F₁ of synchronised, −log(1 − F₁) of unsynchronised pairs; 0 for flipped pairs, else 1).

  Flipped pairs are synchronised, but what relates them is not rigid: they are left out.

  Args:
    logits: z with F₁ = σ(z).
  """
  value = binary_cross_entropy(logits, synchronised.astype(logits.dtype))
  return value, jnp.where(flipped, 0.0, 1.0)


def flip(
  logits: Float[Array, " B"], synchronised: Bool[Array, " B"], flipped: Bool[Array, " B"]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
  """(−log(1 − F₂) of flipped, −log F₂ of unflipped pairs; 0 for unsynchronised pairs, else 1).

  Args:
    logits: z with F₂ = 1 − σ(z): of being flipped.
  """
  value = binary_cross_entropy(logits, flipped.astype(logits.dtype))
  return value, jnp.where(synchronised, 1.0, 0.0)
