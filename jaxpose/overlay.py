"""The overlay video: box, mask, skeleton and presence drawn over the frames."""

import os
import pathlib

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxpose import drawing
from jaxpose.api import mask_on_image
from jaxpose.skeleton import Skeleton

_ENDINGS = ("_overlay.mp4", "_overlay.partial.mp4")
_DISPLAY = 960  # longest side of the video, px
Image = UInt8[np.ndarray, "_ _ 3"]  # of any size


class OverlayWriter:
  """Writes `<stem>_overlay.mp4`, at most 960 px long; it gets its name when it is finished.

  Args:
    stem: folder and name of the video, without an ending.
    rate_hz: frames per second.
    size: (height, width) of the frames.

  Raises:
    OSError: the file cannot be written.
  """

  def __init__(self, stem: pathlib.Path, rate_hz: float, size: tuple[int, int]) -> None:
    self._target, self._partial = (stem.with_name(stem.name + ending) for ending in _ENDINGS)
    scale = min(1.0, _DISPLAY / max(size))
    self._height, self._width = (max(2, 2 * round(side * scale / 2)) for side in size)
    self._scale = np.array([self._width / size[1], self._height / size[0]])
    code = cv2.VideoWriter.fourcc(*"mp4v")
    shape = (self._width, self._height)
    self._writer = cv2.VideoWriter(str(self._partial), code, rate_hz, shape)
    if not self._writer.isOpened():
      raise OSError(f"cannot write {self._partial}: no space or no permission?")

  def write(self, images: list[Image], found: dict[str, np.ndarray], skeleton: Skeleton) -> None:
    """Draws what was found on each frame (RGB) and appends it."""
    size = (self._height, self._width)
    none = np.zeros((len(images), *size), np.float32)  # of a run that reconstructs nothing
    masks = mask_on_image(found["mask_frame"], size) if "mask_frame" in found else none
    for i, image in enumerate(images):
      small = cv2.resize(image, (self._width, self._height), interpolation=cv2.INTER_AREA)
      box = ((found["box_px"][i].reshape(2, 2) + 0.5) * self._scale - 0.5).ravel()
      presence, pose = float(found["presence"][i]), found["pose3d_mm"][i]
      drawn = draw_overlay(small, masks[i], box, presence, pose, skeleton)
      self._writer.write(np.ascontiguousarray(drawn[..., ::-1]))

  def finish(self) -> pathlib.Path:
    """Closes the video and returns its path."""
    self._writer.release()
    os.replace(self._partial, self._target)
    return self._target

  def discard(self) -> None:
    """Removes what was written."""
    self._writer.release()
    self._partial.unlink(missing_ok=True)


def is_overlay(path: pathlib.Path) -> bool:
  """Was a video written by an `OverlayWriter`, finished or not, by its name?"""
  return path.name.endswith(_ENDINGS)


def draw_overlay(
  image: Image,
  mask: Float[np.ndarray, "H W"],
  box_px: Float[np.ndarray, " 4"],
  presence: float,
  pose_mm: Float[np.ndarray, "J 3"],
  skeleton: Skeleton,
) -> Image:
  """Mask tint, box, skeleton and presence over a frame; only the presence where nobody is seen.

  There is no absolute depth: the root-centred skeleton is drawn orthographically, scaled into the
  rectangle around the mask (`drawing.pose_in_box`), so its place and size come from the mask.
  """
  if presence < 0.5:
    return drawing.draw_text(image, f"empty ({presence:.2f})")
  drawn = drawing.tint_mask(image, mask, drawing.VIOLET, 0.45)
  drawn = drawing.draw_box(drawn, box_px, drawing.RED)
  if np.isfinite(pose_mm).all():
    points = drawing.pose_in_box(pose_mm, _around(mask > 0.5, box_px), fill=0.95)
    drawn = drawing.draw_skeleton(drawn, points, skeleton)
  known = "person" if np.isfinite(presence) else "presence unknown"
  return drawing.draw_text(drawn, f"{known} ({presence:.2f})" if np.isfinite(presence) else known)


def _around(mask: Bool[np.ndarray, "H W"], box_px: Float[np.ndarray, " 4"]) -> np.ndarray:
  """The rectangle around the mask, or the box where the mask is empty."""
  rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
  if not len(rows):
    return np.asarray(box_px, np.float64)
  return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64)
