"""Boxes as affine maps, rotations, cameras, projection and Procrustes, over any leading axes.

Every function works on numpy and on JAX arrays alike, through the array's own namespace, and this
module imports no JAX: loader workers use it too.
"""

from typing import Any, NamedTuple

import numpy as np

Array = Any  # numpy or JAX; shapes are in the docstrings


def _namespace(*arrays: Array) -> Any:
  """The array namespace of the first argument that is no plain numpy array, else numpy's."""
  for array in arrays:
    if not isinstance(array, (np.ndarray, np.generic, float, int, list, tuple)):
      return array.__array_namespace__()
  return np


# --- boxes -------------------------------------------------------------------------------------
# A box is the map of a spatial transformer (P1 §3.1): (s_x, s_y, u_x, u_y) in corner-aligned
# coordinates, frame = s · crop + u, where -1 and 1 are the centres of the outer pixels.


def invert_box(box: Array) -> Array:
  """The inverse map, (1/s_x, 1/s_y, −u_x/s_x, −u_y/s_y): [..., 4] -> [..., 4]."""
  xp = _namespace(box)
  scale, shift = box[..., :2], box[..., 2:]
  return xp.concatenate([1.0 / scale, -shift / scale], axis=-1)


def box_to_corners_px(box: Array, height: int, width: int) -> Array:
  """(x0, y0, x1, y1) in px of a box of an image of height × width: [..., 4] -> [..., 4].

  Pixel centres lie at integers: -1 is pixel 0, 1 is pixel size − 1.
  """
  xp = _namespace(box)
  half = xp.asarray([(width - 1) / 2.0, (height - 1) / 2.0], dtype=box.dtype)
  low = (box[..., 2:] - box[..., :2] + 1.0) * half
  high = (box[..., 2:] + box[..., :2] + 1.0) * half
  return xp.concatenate([low, high], axis=-1)


def corners_px_to_box(corners_px: Array, height: int, width: int) -> Array:
  """The inverse of `box_to_corners_px`: [..., 4] px -> [..., 4]."""
  xp = _namespace(corners_px)
  half = xp.asarray([(width - 1) / 2.0, (height - 1) / 2.0], dtype=corners_px.dtype)
  low = corners_px[..., :2] / half - 1.0
  high = corners_px[..., 2:] / half - 1.0
  return xp.concatenate([(high - low) / 2.0, (high + low) / 2.0], axis=-1)


def mask_to_corners_px(mask: Array, threshold: float) -> Array:
  """(x0, y0, x1, y1) in px of the smallest box around mask ≥ threshold: [..., H, W] -> [..., 4].

  It runs along the outer edges of its pixels, half a pixel from their centres, as true boxes do;
  NaN where nothing reaches the threshold.
  """
  xp = _namespace(mask)
  inside = mask >= threshold
  sides = []
  for axis in (-2, -1):
    line = xp.any(inside, axis=axis)
    size = line.shape[-1]
    first = xp.argmax(line, axis=-1)
    last = size - 1 - xp.argmax(xp.flip(line, axis=-1), axis=-1)
    sides.append((first - 0.5, last + 0.5))
  (x0, x1), (y0, y1) = sides
  corners = xp.stack([x0, y0, x1, y1], axis=-1).astype(np.float32)
  found = xp.any(inside, axis=(-2, -1))
  return xp.where(found[..., None], corners, xp.nan)


def box_iou(first_px: Array, second_px: Array) -> Array:
  """Intersection over union of boxes (x0, y0, x1, y1): [..., 4] × 2 -> [...].

  Empty boxes have an IoU of 0 with everything; NaN corners give NaN.
  """
  xp = _namespace(first_px, second_px)
  low = xp.maximum(first_px[..., :2], second_px[..., :2])
  high = xp.minimum(first_px[..., 2:], second_px[..., 2:])
  inter = xp.prod(xp.maximum(high - low, 0.0), axis=-1)
  first = xp.prod(xp.maximum(first_px[..., 2:] - first_px[..., :2], 0.0), axis=-1)
  second = xp.prod(xp.maximum(second_px[..., 2:] - second_px[..., :2], 0.0), axis=-1)
  union = first + second - inter
  return inter / xp.where(union > 0, union, 1.0)


# --- rotations ---------------------------------------------------------------------------------


def rotation_about(axis: str, angle_rad: Array) -> Array:
  """Right-handed rotation about a coordinate axis: [...] rad -> [..., 3, 3].

  Raises:
    ValueError: the axis is not x, y or z.
  """
  if axis not in ("x", "y", "z"):
    raise ValueError(f"axis must be 'x', 'y' or 'z', not {axis!r}")
  xp = _namespace(angle_rad)
  angle = xp.asarray(angle_rad)
  c, s = xp.cos(angle), xp.sin(angle)
  one, zero = xp.ones_like(c), xp.zeros_like(c)
  rows = {
    "x": ((one, zero, zero), (zero, c, -s), (zero, s, c)),
    "y": ((c, zero, s), (zero, one, zero), (-s, zero, c)),
    "z": ((c, -s, zero), (s, c, zero), (zero, zero, one)),
  }[axis]
  return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def rotation_from_axis_angle(vector_rad: Array) -> Array:
  """Rodrigues: rotation by ‖v‖ about v, [..., 3] rad -> [..., 3, 3]."""
  xp = _namespace(vector_rad)
  v = xp.asarray(vector_rad)
  square = xp.sum(v * v, axis=-1)[..., None, None]
  safe = xp.where(square > 1e-12, square, 1.0)
  angle = xp.sqrt(safe)
  zero = xp.zeros_like(v[..., 0])
  x, y, z = v[..., 0], v[..., 1], v[..., 2]
  cross = xp.stack(
    [
      xp.stack([zero, -z, y], axis=-1),
      xp.stack([z, zero, -x], axis=-1),
      xp.stack([-y, x, zero], axis=-1),
    ],
    axis=-2,
  )
  small = square <= 1e-12
  sine = xp.where(small, 1.0 - square / 6.0, xp.sin(angle) / angle)
  cosine = xp.where(small, 0.5 - square / 24.0, (1.0 - xp.cos(angle)) / safe)
  eye = xp.broadcast_to(xp.eye(3, dtype=v.dtype), cross.shape)
  return eye + sine * cross + cosine * (cross @ cross)


# --- cameras -----------------------------------------------------------------------------------


class Camera(NamedTuple):
  """A calibrated camera: x_cam = R · x_world + t, axes x right, y down, z forward.

  Attributes:
    K: intrinsics [..., 3, 3] px, pixel centres at integers.
    R: rotation world -> camera [..., 3, 3].
    t_mm: translation [..., 3] mm.
    distortion: OpenCV's (k1, k2, p1, p2, k3) [..., 5].
    width, height: size in px of the images that K belongs to.
  """

  K: Array
  R: Array
  t_mm: Array
  distortion: Array
  width: int
  height: int


def world_to_camera(points_world: Array, camera: Camera) -> Array:
  """R x + t: [..., P, 3] mm -> [..., P, 3] mm."""
  xp = _namespace(points_world)
  rotated = points_world @ xp.swapaxes(camera.R, -1, -2)
  return rotated + camera.t_mm[..., None, :]


def camera_to_world(points_cam: Array, camera: Camera) -> Array:
  """Rᵀ (x − t): [..., P, 3] mm -> [..., P, 3] mm."""
  return (points_cam - camera.t_mm[..., None, :]) @ camera.R


def camera_centre(camera: Camera) -> Array:
  """−Rᵀ t, the camera's place in the world: [..., 3] mm."""
  return -(camera.t_mm[..., None, :] @ camera.R)[..., 0, :]


def project(points_cam: Array, camera: Camera) -> Array:
  """Pinhole projection with radial and tangential distortion: [..., P, 3] mm -> [..., P, 2] px.

  With r² = x² + y² of the normalised point, OpenCV's model:
  x' = x (1 + k1 r² + k2 r⁴ + k3 r⁶) + 2 p1 x y + p2 (r² + 2 x²), y' likewise with p1, p2 exchanged.
  Points at or behind the camera's plane give NaN.
  """
  xp = _namespace(points_cam)
  depth = points_cam[..., 2]
  z = xp.where(depth > 0, depth, xp.nan)
  x, y = points_cam[..., 0] / z, points_cam[..., 1] / z
  k1, k2, p1, p2, k3 = (camera.distortion[..., i, None] for i in range(5))
  r2 = x * x + y * y
  radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
  xd = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
  yd = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y
  K = camera.K[..., None, :, :]
  u = K[..., 0, 0] * xd + K[..., 0, 1] * yd + K[..., 0, 2]
  v = K[..., 1, 1] * yd + K[..., 1, 2]
  return xp.stack([u, v], axis=-1)


def back_project(points_px: Array, K: Array) -> Array:
  """Unit vector to what a pixel shows, K⁻¹ (u, v, 1) over its length: [..., 2] -> [..., 3].

  Lens distortion is left out of account.

  Args:
    K: intrinsics [..., 3, 3] px of the image that the points are of.
  """
  xp = _namespace(points_px, K)
  y = (points_px[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
  x = (points_px[..., 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
  ray = xp.stack([x, y, xp.ones_like(x)], axis=-1)
  return ray / xp.sqrt(xp.sum(ray * ray, axis=-1))[..., None]


def rotation_to_optical_axis(ray: Array) -> Array:
  """The smallest rotation R with R r = (0, 0, 1): a camera turned to look along r (P3 §3.4).

  With v = r × (0, 0, 1) it is I + [v] + [v]² / (1 + r_z). Points turned by it have the coordinates
  that the turned camera, in the same place, gives them. A mirror x → −x of the ray mirrors R.

  Args:
    ray: unit vectors [..., 3] in the camera's axes, before the camera (r_z > 0).

  Returns:
    [..., 3, 3].
  """
  xp = _namespace(ray)
  x, y, z = ray[..., 0], ray[..., 1], ray[..., 2]
  share = 1.0 / (1.0 + z)
  rows = (
    (1.0 - x * x * share, -x * y * share, -x),
    (-x * y * share, 1.0 - y * y * share, -y),
    (x, y, z),
  )
  return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


# --- alignment of poses ------------------------------------------------------------------------


def scale_align(predicted: Array, target: Array, weight: Array | None = None) -> Array:
  """s · p with the least-squares scale s = ⟨p, g⟩ / ⟨p, p⟩ of each pose: [..., J, 3] mm.

  Args:
    weight: [..., J] weight of each joint in both products; joints of weight 0 may hold anything.
  """
  xp = _namespace(predicted, target)
  p, g = _masked(predicted, weight), _masked(target, weight)
  w = 1.0 if weight is None else weight[..., None]
  dot = xp.sum(w * p * g, axis=(-2, -1))
  square = xp.sum(w * p * p, axis=(-2, -1))
  scale = dot / xp.where(square > 0, square, 1.0)
  return predicted * scale[..., None, None]


def procrustes_align(predicted: Array, target: Array, weight: Array | None = None) -> Array:
  """The similarity of p that is nearest to g, s R p + t without reflection: [..., J, 3] mm.

  Kabsch's solution: with the centred poses' covariance pᵀ W g = U S Vᵀ, R = V D Uᵀ where D flips
  the smallest singular direction if det(V Uᵀ) < 0, and s = tr(S D) / ⟨p, p⟩.

  Args:
    weight: [..., J] weight of each joint in the fit; joints of weight 0 may hold anything.
  """
  xp = _namespace(predicted, target)
  p, g = _masked(predicted, weight), _masked(target, weight)
  w = xp.ones_like(p[..., :1]) if weight is None else xp.asarray(weight, dtype=p.dtype)[..., None]
  total = xp.sum(w, axis=-2, keepdims=True)
  total = xp.where(total > 0, total, 1.0)
  p_mean = xp.sum(w * p, axis=-2, keepdims=True) / total
  g_mean = xp.sum(w * g, axis=-2, keepdims=True) / total
  pc, gc = p - p_mean, g - g_mean
  U, S, Vt = xp.linalg.svd(xp.swapaxes(pc, -1, -2) @ (w * gc))
  V, Ut = xp.swapaxes(Vt, -1, -2), xp.swapaxes(U, -1, -2)
  sign = xp.where(xp.linalg.det(V @ Ut) < 0, -1.0, 1.0)
  flip = xp.stack([xp.ones_like(sign), xp.ones_like(sign), sign], axis=-1)
  rotation = (V * flip[..., None, :]) @ Ut
  square = xp.sum(w * pc * pc, axis=(-2, -1))
  scale = xp.sum(S * flip, axis=-1) / xp.where(square > 0, square, 1.0)
  moved = (predicted - p_mean) @ xp.swapaxes(rotation, -1, -2)
  return moved * scale[..., None, None] + g_mean


def _masked(pose: Array, weight: Array | None) -> Array:
  """The pose with 0 in place of joints of weight 0, so that what they hold cannot leak."""
  if weight is None:
    return pose
  xp = _namespace(pose)
  return xp.where(weight[..., None] > 0, pose, 0.0)
