"""Geometry of frames: letterboxing, panorama to frame, mirroring. Pixel centres lie at integers."""

import functools
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8


class Letterbox(NamedTuple):
  """Where an image of `size` lands in a frame of `frame_size`, both (height, width) in px.

  The image is resized to `inner` keeping its aspect ratio (up to a whole number of px), and centred
  at offset (`top`, `left`); the rest is black.
  """

  size: tuple[int, int]
  frame_size: tuple[int, int]
  inner: tuple[int, int]
  top: int
  left: int

  @property
  def matrix(self) -> Float[np.ndarray, "3 3"]:
    """Maps px of the image to px of the frame: x' = (x + ½)·k − ½ + offset."""
    k_y, k_x = (inner / size for inner, size in zip(self.inner, self.size))
    return np.array(
      [
        [k_x, 0, 0.5 * k_x - 0.5 + self.left],
        [0, k_y, 0.5 * k_y - 0.5 + self.top],
        [0, 0, 1],
      ]
    )


@functools.lru_cache(maxsize=64)
def make_letterbox(size: tuple[int, int], frame_size: tuple[int, int]) -> Letterbox:
  """The largest centred fit of an image of `size` into `frame_size`, both (height, width).

  Raises:
    ValueError: a side is not positive.
  """
  if min(*size, *frame_size) <= 0:
    raise ValueError(f"cannot fit an image of {size} into a frame of {frame_size}")
  scale = min(frame / side for frame, side in zip(frame_size, size))
  height, width = (min(f, max(1, round(s * scale))) for f, s in zip(frame_size, size))
  top, left = (frame_size[0] - height) // 2, (frame_size[1] - width) // 2
  return Letterbox(size, frame_size, (height, width), top, left)


def letterbox_image(
  image: UInt8[np.ndarray, "h w *C"], box: Letterbox, out: UInt8[np.ndarray, "H W *C"]
) -> None:
  """Writes `image`, resized and padded with black, into `out` (contiguous)."""
  if box.inner == box.frame_size == box.size:
    out[...] = image
    return
  method = cv2.INTER_AREA if box.inner[0] < box.size[0] else cv2.INTER_LINEAR
  if box.inner == box.frame_size:
    cv2.resize(image, box.inner[::-1], dst=out, interpolation=method)
    return
  out[...] = 0
  inside = out[box.top : box.top + box.inner[0], box.left : box.left + box.inner[1]]
  inside[...] = cv2.resize(image, box.inner[::-1], interpolation=method)


def letterboxed(
  image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "H W 3"]:
  """A copy of `image` of this size (height, width), resized and padded with black."""
  out = np.empty((*size, 3), np.uint8)
  letterbox_image(image, make_letterbox(image.shape[:2], size), out)
  return out


def transform_points(
  matrix: Float[np.ndarray, "3 3"], points_px: Float[np.ndarray, "*batch 2"]
) -> Float[np.ndarray, "*batch 2"]:
  """Applies an affine or projective map to points: (x, y, 1) → M·(x, y, 1), divided by its last."""
  moved = points_px @ matrix[:, :2].T + matrix[:, 2]
  return (moved[..., :2] / moved[..., 2:]).astype(points_px.dtype)


def transform_box(
  matrix: Float[np.ndarray, "3 3"], box_px: Float[np.ndarray, "*batch 4"]
) -> Float[np.ndarray, "*batch 4"]:
  """Applies a letterbox's matrix to boxes (x0, y0, x1, y1)."""
  corners = box_px.reshape(*box_px.shape[:-1], 2, 2)
  return transform_points(matrix, corners).reshape(box_px.shape)


def warp_panorama(
  panorama: UInt8[np.ndarray, "h w 3"],
  homography: Float[np.ndarray, "3 3"],
  size: tuple[int, int],
) -> UInt8[np.ndarray, "H W 3"]:
  """The part of a panorama that a frame shows: out(x) = panorama(H·x), edges repeated.

  Args:
    panorama: background of a moving camera.
    homography: maps px of the frame to px of the panorama (P2 S.1).
    size: (height, width) of the frame.
  """
  return cv2.warpPerspective(
    panorama,
    np.asarray(homography, np.float64),
    size[::-1],
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    borderMode=cv2.BORDER_REPLICATE,
  )
