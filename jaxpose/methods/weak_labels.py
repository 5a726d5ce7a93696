"""2D joints as weak labels while features are learned (P2 §3.3): a head on the time-variant vector.

Joints stand in coordinates of the found box, c = (x − u) / s with x in [−1, 1] on the frame, since
the vector has seen the crop alone. Boxes are taken as they are, both there and in the crop that the
vector is read from: labels say what to see, reconstruction where to look. (With the gradient
through the crop boxes opened to the whole frame within 300 steps, and stayed so.)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxpose.losses.pose import pose_l2
from jaxpose.models.heads import ResidualMLP

GROUP = "pose2d_head"  # of parameters
TERM = "pose2d"


@dataclasses.dataclass(frozen=True)
class Head:
  """Reads 2D joints [N, 2·J] from time-variant vectors (P2 §S.1.1: 3 blocks of 1024).

  Attributes:
    width, blocks: of the `ResidualMLP`.
  """

  width: int
  blocks: int

  def init(self, rng: Key[Array, ""], vector_size: int, joints: int) -> Any:
    """Its parameters."""
    return self._network(2 * joints).init(rng, jnp.zeros((1, vector_size)))["params"]

  def read(self, params: Any, vectors: Float[Array, "N D"]) -> Float[Array, "N F"]:
    """F = 2·J: what it was trained to read."""
    network = self._network(params["output"]["bias"].shape[0])
    return jnp.asarray(network.apply({"params": params}, vectors))

  def _network(self, features: int) -> ResidualMLP:
    return ResidualMLP(features, width=self.width, blocks=self.blocks)


def joints_in_box(
  joints_px: Float[Array, "N J 2"], box: Float[Array, "N 4"], size: tuple[int, int]
) -> Float[Array, "N J 2"]:
  """Joints in coordinates of boxes (s_x, s_y, u_x, u_y): −1 and 1 at their sides; NaN stays NaN.

  Args:
    size: (height, width) of the frames, px.
  """
  height, width = size
  whole = jnp.asarray([width - 1.0, height - 1.0])
  on_frame = 2 * joints_px / whole[None, None] - 1
  return (on_frame - box[:, None, 2:]) / box[:, None, :2]


def pose2d_term(
  predicted: Float[Array, "N F"],
  joints_px: Float[Array, "N J 2"],
  box: Float[Array, "N 4"],
  size: tuple[int, int],
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
  """(mean over a frame's known joints of ‖ŷ_j − y_j‖², 1 where any is known) (P2 eq. 13)."""
  known: Bool[Array, "N J"] = jnp.isfinite(joints_px).all(-1)
  target = joints_in_box(joints_px, jax.lax.stop_gradient(box), size)
  value = pose_l2(predicted.reshape(target.shape), target, known)
  count = known.sum(1)
  return value / jnp.maximum(count, 1), (count > 0).astype(value.dtype)
