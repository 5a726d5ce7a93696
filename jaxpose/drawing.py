"""Boxes, masks, skeletons, strips and grids drawn onto arrays; numpy and OpenCV only.

Images are RGB, uint8 [H, W, 3]; every function returns a new image and leaves its input alone.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxpose.skeleton import Skeleton

Colour = tuple[int, int, int]
Image = UInt8[np.ndarray, "_ _ 3"]  # of any size

RED: Colour = (214, 40, 40)
GREEN: Colour = (38, 150, 70)
BLUE: Colour = (29, 110, 220)
ORANGE: Colour = (245, 130, 20)
VIOLET: Colour = (160, 60, 200)
GREY: Colour = (150, 150, 150)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (20, 20, 20)

_SHIFT = 4  # OpenCV's fixed-point bits: lines are drawn to 1/16 px

# Which camera axes (x right, y down, z away) lie along the picture's columns and rows, with signs.
VIEWS: dict[str, tuple[tuple[int, float], tuple[int, float]]] = {
  "front": ((0, 1.0), (1, 1.0)),  # as the camera sees it
  "side": ((2, 1.0), (1, 1.0)),  # from the camera's right: near is left, far is right
  "top": ((0, 1.0), (2, -1.0)),  # from above: near is at the bottom
}


def to_uint8(image: Any) -> UInt8[np.ndarray, " *shape"]:
  """round(255 · clip(image, 0, 1)) of floats; uint8 goes through; booleans become 0 and 255."""
  image = np.asarray(image)
  if image.dtype == np.uint8:
    return image
  scaled = np.nan_to_num(image.astype(np.float32)) * 255.0
  return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def to_rgb(image: Any) -> Image:
  """uint8 RGB of [H, W], [H, W, 1] or [H, W, 3] in [0, 1] or uint8; grey is repeated.

  Raises:
    ValueError: the shape is none of these.
  """
  image = to_uint8(image)
  if image.ndim == 2:
    image = image[..., None]
  if image.ndim != 3 or image.shape[2] not in (1, 3):
    raise ValueError(f"an image has shape [H, W], [H, W, 1] or [H, W, 3], not {image.shape}")
  return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def fit(image: Image, height: int, width: int, fill: Colour = BLACK) -> Image:
  """The whole image at the largest size that fits, centred on `fill`: [height, width, 3]."""
  scale = min(height / image.shape[0], width / image.shape[1])
  rows = min(height, max(1, round(image.shape[0] * scale)))
  columns = min(width, max(1, round(image.shape[1] * scale)))
  method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
  canvas = np.full((height, width, 3), fill, np.uint8)
  top, left = (height - rows) // 2, (width - columns) // 2
  small = cv2.resize(np.ascontiguousarray(image), (columns, rows), interpolation=method)
  canvas[top : top + rows, left : left + columns] = small
  return canvas


def enlarge(image: Image, least_side: int) -> tuple[Image, float]:
  """The image scaled up (never down) until its shorter side has `least_side` px, and the factor.

  Coordinates follow as (x + 0.5) · factor − 0.5 (`scale_px`).
  """
  factor = max(1.0, least_side / min(image.shape[:2]))
  if factor == 1.0:
    return np.array(image), 1.0
  size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
  return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC), factor


def scale_px(
  points_px: Float[np.ndarray, " *shape"], factor: float
) -> Float[np.ndarray, " *shape"]:
  """Pixel coordinates (centres at integers) after scaling the image by `factor`."""
  return (np.asarray(points_px, np.float64) + 0.5) * factor - 0.5


def draw_box(
  image: Image, box_px: Float[np.ndarray, " 4"], colour: Colour, thickness: int | None = None
) -> Image:
  """Outline of (x0, y0, x1, y1), pixel centres at integers; a box with NaN draws nothing."""
  canvas = np.array(image)
  if not np.all(np.isfinite(box_px)):
    return canvas
  line = thickness or line_width(image)
  low, high = _fixed(np.asarray(box_px)[:2]), _fixed(np.asarray(box_px)[2:])
  cv2.rectangle(canvas, low, high, colour, line, cv2.LINE_AA, _SHIFT)
  return canvas


def tint_mask(
  image: Image, mask: Float[np.ndarray, "H W *one"], colour: Colour, strength: float = 0.5
) -> Image:
  """(1 − a) · image + a · colour with a = strength · mask, the mask in [0, 1].

  Raises:
    ValueError: mask and image differ in size.
  """
  alpha = np.asarray(mask, np.float32).reshape(mask.shape[0], mask.shape[1], 1)
  if alpha.shape[:2] != image.shape[:2]:
    raise ValueError(f"mask {alpha.shape[:2]} and image {image.shape[:2]} differ in size")
  alpha = strength * np.clip(np.nan_to_num(alpha), 0.0, 1.0)
  mixed = (1.0 - alpha) * image + alpha * np.asarray(colour, np.float32)
  return np.rint(mixed).astype(np.uint8)


def draw_skeleton(
  image: Image,
  points_px: Float[np.ndarray, "J 2"],
  skeleton: Skeleton,
  colours: tuple[Colour, Colour, Colour] = (BLUE, ORANGE, WHITE),
  thickness: int | None = None,
) -> Image:
  """Bones and joints at `points_px`; bones that end in NaN are left out.

  Args:
    colours: of the person's left side, right side and middle.
  """
  canvas = np.array(image)
  line = thickness or line_width(image)
  side = _joint_sides(skeleton)
  limit = 100.0 * max(image.shape[:2])  # far outside of OpenCV's fixed-point range
  seen = np.isfinite(points_px).all(axis=1) & (np.abs(np.nan_to_num(points_px)) < limit).all(axis=1)
  for child, parent in skeleton.bones:
    if seen[child] and seen[parent]:
      start, end = _fixed(points_px[child]), _fixed(points_px[parent])
      cv2.line(canvas, start, end, colours[side[child]], line, cv2.LINE_AA, _SHIFT)
  for joint in np.flatnonzero(seen):
    centre, radius = _fixed(points_px[joint]), round(0.8 * line * 2**_SHIFT)
    cv2.circle(canvas, centre, radius, colours[side[joint]], -1, cv2.LINE_AA, _SHIFT)
  return canvas


def pose_in_box(
  pose_mm: Float[np.ndarray, "*batch J 3"],
  box_px: Float[np.ndarray, "*batch 4"],
  fill: float = 0.85,
) -> Float[np.ndarray, "*batch J 2"]:
  """Where to draw a pose without depth: orthographic, scaled into its box, [..., J, 2] px.

  The pose's x and y (camera axes) are scaled alike and moved so that their bounding rectangle has
  the box's centre and takes at most `fill` of its width and height. So the drawing shows the pose
  as predicted, at a place and size that come from the box alone: no perspective, no absolute depth.
  """
  flat = np.asarray(pose_mm, np.float64)[..., :2]
  box = np.asarray(box_px, np.float64)
  low, high = np.nanmin(flat, axis=-2), np.nanmax(flat, axis=-2)
  room = fill * np.maximum(box[..., 2:] - box[..., :2], 1e-6)
  scale = np.min(room / np.maximum(high - low, 1e-6), axis=-1)
  centre = (box[..., :2] + box[..., 2:]) / 2
  return (flat - (low + high)[..., None, :] / 2) * scale[..., None, None] + centre[..., None, :]


def draw_pose_view(
  poses_mm: Sequence[Float[np.ndarray, "J 3"]],
  skeleton: Skeleton,
  view: str,
  size: int,
  colours: Sequence[tuple[Colour, Colour, Colour]],
  reach_mm: float,
) -> Image:
  """Root-centred poses over each other on white, seen orthographically: [size, size, 3].

  Args:
    poses_mm: camera axes; the last is drawn on top.
    view: "front", "side" or "top" (`VIEWS`).
    colours: for each pose, of left side, right side and middle.
    reach_mm: distance from the middle of the picture to its edges; 500 mm grid lines behind.

  Raises:
    ValueError: there is no such view.
  """
  if view not in VIEWS:
    raise ValueError(f"no view {view!r}; there are {', '.join(VIEWS)}")
  canvas = np.full((2 * size, 2 * size, 3), 255, np.uint8)  # drawn at twice the size: smooth lines
  scale = size / reach_mm
  for step in np.arange(-np.floor(reach_mm / 500), np.floor(reach_mm / 500) + 1):
    place = round(size + 500 * step * scale)
    shade = (205, 205, 205) if step == 0 else (235, 235, 235)
    cv2.line(canvas, (place, 0), (place, 2 * size), shade, 1)
    cv2.line(canvas, (0, place), (2 * size, place), shade, 1)
  (column, column_sign), (row, row_sign) = VIEWS[view]
  signs = np.array([column_sign, row_sign])
  for pose, colour in zip(poses_mm, colours, strict=True):
    points = np.asarray(pose)[:, [column, row]] * signs * scale + size
    canvas = draw_skeleton(canvas, points, skeleton, colour, max(3, size // 45))
  return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def draw_text(image: Image, text: str, row: int = 0) -> Image:
  """Writes ASCII `text` over the image's top left corner, `row` lines down, on a dark ground."""
  height = max(14, image.shape[0] // 20)
  canvas = np.array(image)
  top = row * height
  part = canvas[top : top + height]
  if len(part):
    canvas[top : top + height] = _write((part * 0.35).astype(np.uint8), text, 0)
  return canvas


def grid(images: Sequence[Sequence[Image]], gap: int = 4, fill: Colour = WHITE) -> Image:
  """Rows of images of one size with gaps between them; short rows end in `fill`.

  Raises:
    ValueError: there are no images, or their sizes differ.
  """
  shapes = {image.shape for row in images for image in row}
  if len(shapes) != 1:
    raise ValueError(f"a grid takes images of one shape, not {sorted(shapes)}")
  height, width, _ = next(iter(shapes))
  columns = max(len(row) for row in images)
  rows = len(images)
  canvas = np.full(
    (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), fill, dtype=np.uint8
  )
  for i, row in enumerate(images):
    for j, image in enumerate(row):
      top, left = i * (height + gap), j * (width + gap)
      canvas[top : top + height, left : left + width] = image
  return canvas


def timeline(
  values: Float[np.ndarray, " N"],
  known: Int[np.ndarray, " N"],
  *,
  width: int = 900,
  height: int = 44,
) -> Image:
  """Presence along a sequence: bars of `values` in [0, 1], over them what is known.

  Blue where the value reaches 0.5, grey below; the bar's height is the value. The strip above holds
  green where `known` is 1 (a person), light grey where 0 (empty), white where -1 (unknown).

  Raises:
    ValueError: there are no frames, or not one `known` for each.
  """
  values, known = np.asarray(values, np.float64), np.asarray(known)
  if not len(values) or values.shape != known.shape:
    raise ValueError(f"a timeline needs frames: values {values.shape}, known {known.shape}")
  frame = (np.arange(width) * len(values)) // width
  canvas = np.full((height, width, 3), 248, np.uint8)
  strip = max(4, height // 6)
  bars = height - strip - 2
  level = np.rint(np.clip(np.nan_to_num(values[frame]), 0, 1) * bars).astype(int)
  filled = np.arange(bars)[:, None] >= bars - np.maximum(level, 1)[None]
  shade = np.where((values[frame] >= 0.5)[:, None], np.array(BLUE), np.array(GREY))
  area = canvas[strip + 2 :]
  area[:] = np.where(filled[..., None], shade[None], area)
  colours = np.array([WHITE, (205, 205, 205), GREEN], np.uint8)
  canvas[:strip] = colours[np.clip(known[frame], -1, 1) + 1][None]
  return canvas


def line_width(image: Image) -> int:
  """A line's thickness that suits the image: 1 px up to 200 px, then in proportion."""
  return max(1, round(min(image.shape[:2]) / 200))


def _fixed(point: Any) -> tuple[int, int]:
  """OpenCV's fixed-point form of a point."""
  x, y = np.rint(np.asarray(point, np.float64) * 2**_SHIFT).astype(int)
  return int(x), int(y)


def _joint_sides(skeleton: Skeleton) -> Int[np.ndarray, " J"]:
  """0 for joints of the left side, 1 for the right, 2 for the middle."""
  side = np.full(skeleton.num_joints, 2)
  for left, right in skeleton.pairs:
    side[left], side[right] = 0, 1
  return side


def _write(strip: Image, text: str, left: int) -> Image:
  """`text` in white on the strip, as large as its height and width allow."""
  plain = text.encode("ascii", "replace").decode()
  height, width = strip.shape[:2]
  font = cv2.FONT_HERSHEY_SIMPLEX
  scale = height / 30.0
  (length, _), _ = cv2.getTextSize(plain, font, scale, 1)
  scale *= min(1.0, (width - left - 6) / max(length, 1))
  canvas = np.ascontiguousarray(strip)
  place = (left + 3, round(height * 0.72))
  cv2.putText(canvas, plain, place, font, scale, WHITE, max(1, height // 22), cv2.LINE_AA)
  return canvas
