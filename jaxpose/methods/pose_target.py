"""What a supervised network is to predict of a 3D pose, and how its prediction becomes one again.

Poses are centred on the root, turned as if the camera looked at the person where that is asked for,
mirrored with their crop, and standardised.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxpose import geometry

NORMALISATIONS = ("pose", "joint")
TURNED_BY = ("K", "box_px", "pose2d_px", "joint_valid")  # labels that `camera_rotation` reads
_STILL_MM = 1e-3  # a coordinate that deviates by less is taken for constant


class LabelStatistics(NamedTuple):
  """What poses are standardised with: (x − mean) / scale, root-centred.

  Attributes:
    mean_mm: mean pose [J, 3], of turned poses where the targets are turned.
    scale_mm: root mean square of the deviations from it: one number (), or of each coordinate
      [J, 3].
    root: joints whose mean is the origin.
    mirrored: joint order of a mirrored pose, see `Skeleton.flip_permutation`.
  """

  mean_mm: Float[np.ndarray, "J 3"]
  scale_mm: Float[np.ndarray, "..."]
  root: tuple[int, ...]
  mirrored: tuple[int, ...]


def compute_label_statistics(
  poses_mm: Float[np.ndarray, "N J 3"],
  valid: Bool[np.ndarray, "N J"],
  root: Sequence[int],
  mirrored: Sequence[int],
  *,
  normalise: str,
  rotation: Float[np.ndarray, "N 3 3"] | None = None,
) -> LabelStatistics:
  """Statistics of the poses whose root is valid; a joint that never is valid has mean 0.

  Args:
    normalise: "pose", one scale for all coordinates; or "joint", one for each (P3 §3.4), 1 for a
      coordinate that never changes.
    rotation: turns each pose, see `camera_rotation`.

  Raises:
    ValueError: there is no such pose, or no such normalisation.
  """
  if normalise not in NORMALISATIONS:
    raise ValueError(
      f"config.supervised.normalise is {normalise!r}: choose one of {', '.join(NORMALISATIONS)}"
    )
  rooted = valid[:, list(root)].all(axis=1)
  if not rooted.any():
    raise ValueError("no training frame has a 3D pose with a valid root to learn from")
  known = valid[rooted][..., None]
  poses = np.where(known, poses_mm[rooted], 0.0).astype(np.float64)
  poses = poses - poses[:, list(root)].mean(axis=1, keepdims=True)
  if rotation is not None:
    poses = poses @ rotation[rooted].astype(np.float64).swapaxes(-1, -2)
  poses = np.where(known, poses, 0.0)
  count = known.sum(axis=0)
  mean = poses.sum(axis=0) / np.maximum(count, 1)
  square = np.where(known, (poses - mean) ** 2, 0.0)
  if normalise == "pose":
    scale = np.sqrt(square.sum() / (3 * count.sum()))
  else:
    scale = np.sqrt(square.sum(axis=0) / np.maximum(count, 1))
  scale = np.where(scale > _STILL_MM, scale, 1.0).astype(np.float32)
  return LabelStatistics(mean.astype(np.float32), scale, tuple(root), tuple(mirrored))


def camera_rotation(labels: Mapping[str, Any], root: tuple[int, ...]) -> Any:
  """Rotations [N, 3, 3] that turn the camera to the person, of numpy or JAX labels (P3 §3.4).

  It looks at the root joint where that is known in 2D, else at the centre of the box; where that
  is not known either, or the camera is not calibrated, it stays as it is.

  Args:
    labels: `TURNED_BY` of some frames: K [N, 3, 3], box_px [N, 4], pose2d_px [N, J, 2],
      joint_valid [N, J]; px of one image, NaN where unknown.
    root: joints whose mean is the root.
  """
  joints = labels["pose2d_px"][:, list(root)]
  xp = np if isinstance(joints, np.ndarray) else jnp
  known = labels["joint_valid"][:, list(root)].all(axis=1) & xp.isfinite(joints).all(axis=(1, 2))
  corners = labels["box_px"]
  centre = (corners[:, :2] + corners[:, 2:]) / 2.0
  seen = xp.where(known[:, None], joints.mean(axis=1), centre)
  pointed = xp.isfinite(seen).all(axis=1) & xp.isfinite(labels["K"]).all(axis=(1, 2))
  seen = xp.where(pointed[:, None], seen, 0.0)
  intrinsics = xp.where(pointed[:, None, None], labels["K"], xp.eye(3, dtype=seen.dtype)[None])
  return geometry.rotation_to_optical_axis(geometry.back_project(seen, intrinsics))


def turn(poses: Float[Array, "N J 3"], rotation: Float[Array, "N 3 3"]) -> Float[Array, "N J 3"]:
  """R x of every joint."""
  return jnp.einsum("nij,npj->npi", rotation, poses, precision="highest")


def turn_back(
  poses: Float[Array, "N J 3"], rotation: Float[Array, "N 3 3"]
) -> Float[Array, "N J 3"]:
  """Rᵀ x of every joint: the inverse of `turn`."""
  return turn(poses, jnp.swapaxes(rotation, -1, -2))


def mirror(
  poses: Float[Array, "N J 3"],
  valid: Bool[Array, "N J"],
  flip: Bool[Array, " N"],
  order: tuple[int, ...],
) -> tuple[Float[Array, "N J 3"], Bool[Array, "N J"]]:
  """Poses and validity, where `flip`, of the mirrored person: x → −x, left for right.

  Args:
    order: of the joints after a mirror.
  """
  joints = jnp.asarray(order)
  turned = poses[:, joints] * jnp.asarray([[[-1.0, 1.0, 1.0]]])
  return (
    jnp.where(flip[:, None, None], turned, poses),
    jnp.where(flip[:, None], valid[:, joints], valid),
  )


def root_centre(poses: Float[Array, "N J 3"], root: tuple[int, ...]) -> Float[Array, "N J 3"]:
  """x_j − mean of the root joints."""
  return poses - jnp.mean(poses[:, jnp.asarray(root)], axis=1, keepdims=True)


def standardise(
  poses_mm: Float[Array, "N J 3"], frozen: Mapping[str, Array]
) -> Float[Array, "N J 3"]:
  """(x − mean) / scale, with what a checkpoint holds of `LabelStatistics`."""
  return (poses_mm - frozen["mean_mm"][None]) / _of_all_coordinates(frozen)


def to_mm(poses: Float[Array, "N J 3"], frozen: Mapping[str, Array]) -> Float[Array, "N J 3"]:
  """mean + scale · x: the inverse of `standardise`."""
  return poses * _of_all_coordinates(frozen) + frozen["mean_mm"][None]


def _of_all_coordinates(frozen: Mapping[str, Array]) -> Float[Array, "1 J 3"]:
  """The scale of each coordinate."""
  return jnp.broadcast_to(frozen["scale_mm"], frozen["mean_mm"].shape)[None]
