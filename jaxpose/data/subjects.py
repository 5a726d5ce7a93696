"""Where the person is in a frame, for crops that no detector finds: true boxes, or what differs."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxpose.crops import DIFFERENCE, LABELS
from jaxpose.data.records import EMPTY

BOX_LABELS = ("box_px", "present", "pose2d_px")  # what `labelled_boxes` looks at


def subject_boxes(frames: Mapping[str, Any], crop: str) -> Float[np.ndarray, "N 4"]:
  """Boxes (x0, y0, x1, y1) px that crops are centred on; NaN where unknown.

  Args:
    frames: image and background [N, H, W, 3]; with true boxes also box_px [N, 4] and what else of
      `BOX_LABELS` is known.
    crop: "labels", `labelled_boxes`, or, of frames that come without the column (a user's video),
      those of "difference", the largest region that differs from the background.

  Raises:
    ValueError: another value of `crop`.
  """
  if crop not in (LABELS, DIFFERENCE):
    raise ValueError(f"boxes of subjects come from {LABELS} or {DIFFERENCE}, not {crop!r}")
  if crop == LABELS and "box_px" in frames:
    return labelled_boxes(frames)
  found = [
    box_from_background_difference(image, background)
    for image, background in zip(frames["image"], frames["background"], strict=True)
  ]
  return np.array(found, np.float32).reshape(-1, 4)


def labelled_boxes(frames: Mapping[str, Any]) -> Float[np.ndarray, "N 4"]:
  """True boxes px; where nobody drew one but joints of a person are known, the box around these.

  Args:
    frames: box_px [N, 4], and either no more of `BOX_LABELS` or all of them.
  """
  drawn = np.asarray(frames["box_px"], np.float32)
  if "pose2d_px" not in frames:
    return drawn
  around = boxes_around_joints(frames["pose2d_px"])
  missing = ~np.isfinite(drawn).all(-1) & (np.asarray(frames["present"]) != EMPTY)
  return np.where(missing[:, None], around, drawn).astype(np.float32)


def boxes_around_joints(pose2d_px: Float[np.ndarray, "N J 2"]) -> Float[np.ndarray, "N 4"]:
  """(min x, min y, max x, max y) over the finite joints; NaN where fewer than two are.

  A little too small for a person: hands, feet and the head's top reach beyond the joints.
  """
  pose = np.asarray(pose2d_px, np.float64)
  valid: Bool[np.ndarray, "N J"] = np.all(np.isfinite(pose), axis=-1)
  low = np.where(valid[..., None], pose, np.inf).min(axis=1)
  high = np.where(valid[..., None], pose, -np.inf).max(axis=1)
  known = valid.sum(axis=1) > 1
  return np.where(known[:, None], np.concatenate([low, high], axis=1), np.nan)


def box_from_background_difference(
  image: UInt8[np.ndarray, "H W 3"],
  background: UInt8[np.ndarray, "H W 3"],
  *,
  threshold: int | None = None,
  least_share: float = 0.001,
) -> Float[np.ndarray, " 4"]:
  """Box of the largest region that differs from the background: (x0, y0, x1, y1) px, else NaN.

  The box runs along the outer edges of its pixels, as true boxes do. The difference is the largest
  over the channels, blurred by 5 px; the threshold is Otsu's, but at
  least 15 grey levels so that noise alone isn't split; gaps up to 5 px are closed.

  Args:
    threshold: a fixed grey level in place of Otsu's.
    least_share: smaller regions, as a share of the image, are no person.
  """
  if image.shape != background.shape:
    raise ValueError(f"image {image.shape} and background {background.shape} differ in shape")
  difference = cv2.blur(cv2.absdiff(image, background).max(axis=-1), (5, 5))
  level = float(threshold) if threshold is not None else 0.0
  if threshold is None:
    level = max(cv2.threshold(difference, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0], 15.0)
  mask = (difference > level).astype(np.uint8)
  mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
  _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
  areas = stats[1:, cv2.CC_STAT_AREA]
  if not len(areas) or areas.max() < least_share * mask.size:
    return np.full(4, np.nan, np.float32)
  x, y, width, height = stats[1 + int(np.argmax(areas)), :4]
  return np.array([x, y, x + width, y + height], np.float32) - 0.5
