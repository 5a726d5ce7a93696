"""Reads frames from any file that OpenCV opens; trims, sub-samples, turns, crops, resizes them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

VIDEO_SUFFIXES = (
  *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts", ".m2ts"),
  *(".3gp", ".flv", ".ogv", ".ts"),
)
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class VideoError(ValueError):
  """A video that cannot be used; the message names the file and the remedy."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What the header promises; only `width` and `height` were seen in a decoded frame.

  Attributes:
    path: the file.
    width, height: px of the frames as they are shown (rotation metadata applied).
    fps: frames per second.
    promised_frames: number of frames by the header, 0 if it does not say; fewer may decode.
  """

  path: str
  width: int
  height: int
  fps: float
  promised_frames: int


@dataclasses.dataclass(frozen=True)
class Frame:
  """One frame: its number in the file, its time, its picture (RGB)."""

  number: int
  time_s: float
  image: UInt8[np.ndarray, "H W 3"]


def find_videos(folder: str | Path) -> list[Path]:
  """All files below a folder whose name ends like a video's, sorted; hidden ones left out.

  Raises:
    FileNotFoundError: there is no such folder, or no video in it.
  """
  root = Path(folder)
  if not root.is_dir():
    raise FileNotFoundError(f"no folder {root}: name the folder that holds the videos")
  found = [
    path
    for path in sorted(root.rglob("*"))
    if path.suffix.lower() in VIDEO_SUFFIXES
    and path.is_file()
    and not any(part.startswith(".") for part in path.relative_to(root).parts)
  ]
  if not found:
    raise FileNotFoundError(f"no video below {root}; known endings: {', '.join(VIDEO_SUFFIXES)}")
  return found


def _open(path: str | Path) -> cv2.VideoCapture:
  file = Path(path)
  if not file.is_file():
    raise FileNotFoundError(f"no video {file}")
  if file.stat().st_size == 0:
    raise VideoError(f"{file}: the file is empty (0 bytes); copy it again")
  capture = cv2.VideoCapture(str(file))
  if not capture.isOpened():
    capture.release()
    raise VideoError(f"{file}: OpenCV cannot open it; it is damaged or no video: re-encode it")
  return capture


def probe_video(path: str | Path, fps: float | None = None) -> VideoInfo:
  """Opens a video and decodes its first frame.

  Args:
    path: the file.
    fps: frame rate to use instead of the header's.

  Raises:
    FileNotFoundError: there is no such file.
    VideoError: it cannot be opened, holds no frame, or has no sensible frame rate.
  """
  capture = _open(path)
  try:
    done, image = capture.read()
    if not done or image is None:
      raise VideoError(f"{path}: not one frame decodes; the file is damaged or holds no video")
    rate = fps if fps is not None else capture.get(cv2.CAP_PROP_FPS)
    if not (math.isfinite(rate) and 0 < rate <= 2000):
      raise VideoError(f"{path}: the header's frame rate is {rate}; give `source_fps`")
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    promised = int(count) if math.isfinite(count) and 0 < count < 1e9 else 0
    return VideoInfo(str(path), image.shape[1], image.shape[0], float(rate), promised)
  finally:
    capture.release()


def read_frames(
  path: str | Path,
  *,
  start: int = 0,
  stop: int | None = None,
  every: int = 1,
  fps: float | None = None,
) -> Iterator[Frame]:
  """Yields frames `start`, `start + every`, ... below `stop`, decoded one after the other.

  Never seeks, for seeking is inexact in many containers. Ends where decoding ends, whatever number
  of frames the header promises. Times come from the file; one that does not increase is replaced by
  the time before it + 1 / fps.

  Raises:
    FileNotFoundError: there is no such file.
    VideoError: it cannot be opened or has no sensible frame rate.
    ValueError: `start` or `every` makes no sense.
  """
  if start < 0 or every < 1:
    raise ValueError(f"{path}: start must be >= 0 and every >= 1, not {start} and {every}")
  rate = probe_video(path, fps).fps
  capture = _open(path)
  try:
    number, time_s = 0, -math.inf
    while stop is None or number < stop:
      if not capture.grab():
        return
      told = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
      time_s = _next_time(time_s, told, number, rate, forced=fps is not None)
      if number >= start and (number - start) % every == 0:
        done, image = capture.retrieve()
        if not done or image is None:
          return
        yield Frame(number, time_s, _to_rgb(image))
      number += 1
  finally:
    capture.release()


def _next_time(before_s: float, told_s: float, number: int, rate: float, forced: bool) -> float:
  if forced:
    return number / rate
  if math.isfinite(told_s) and told_s > before_s:
    return told_s
  return 0.0 if number == 0 else before_s + 1.0 / rate


def _to_rgb(image: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
  if image.ndim == 2 or image.shape[2] == 1:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@dataclasses.dataclass(frozen=True)
class FrameGeometry:
  """From a decoded frame to a stored one: turn, cut out, shrink.

  Attributes:
    rotate: further clockwise turn in degrees, 0, 90, 180 or 270, on top of the metadata's.
    roi: (x, y, width, height) px of the turned frame, the part to keep.
    size: (height, width) px of the stored frame.
  """

  rotate: int
  roi: tuple[int, int, int, int]
  size: tuple[int, int]

  @property
  def scale(self) -> tuple[float, float]:
    """(x, y) stored px per px of the turned frame."""
    return self.size[1] / self.roi[2], self.size[0] / self.roi[3]

  def points_to_stored(self, points_px: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """(p − corner + ½) · scale − ½, with pixel centres at integers."""
    corner = np.asarray(self.roi[:2], float)
    return (points_px - corner + 0.5) * np.asarray(self.scale) - 0.5

  def apply(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The stored frame.

    Raises:
      ValueError: the frame is smaller than the region of interest.
    """
    turned = cv2.rotate(image, _TURNS[self.rotate]) if self.rotate else image
    x, y, width, height = self.roi
    part = turned[y : y + height, x : x + width]
    if part.shape[:2] != (height, width):
      raise ValueError(f"a frame of {turned.shape[:2]} does not hold the region {self.roi}")
    if (height, width) == self.size:
      return np.ascontiguousarray(part)
    return cv2.resize(part, (self.size[1], self.size[0]), interpolation=cv2.INTER_AREA)


def make_geometry(
  width: int,
  height: int,
  *,
  rotate: int = 0,
  roi: Sequence[int] | None = None,
  image_size: int | None = None,
) -> FrameGeometry:
  """Plans how frames of width × height are stored: longest side `image_size`, never enlarged.

  Raises:
    ValueError: a turn that is no multiple of 90, a region outside the frame, a size below 16.
  """
  if rotate not in (0, *_TURNS):
    raise ValueError(f"rotate must be 0, 90, 180 or 270 degrees, not {rotate}")
  if rotate in (90, 270):
    width, height = height, width
  region = (0, 0, width, height) if roi is None else tuple(int(v) for v in roi)
  if len(region) != 4 or min(region) < 0 or min(region[2:]) < 16:
    raise ValueError(f"roi must be [x, y, width, height] in px, at least 16 wide, not {roi}")
  if region[0] + region[2] > width or region[1] + region[3] > height:
    raise ValueError(f"roi {region} leaves the frame of {width}×{height} (width × height)")
  longest = max(region[2:])
  target = longest if image_size is None else min(image_size, longest)
  if target < 16:
    raise ValueError(f"image_size must be at least 16, not {image_size}")
  size = tuple(max(1, round(side * target / longest)) for side in (region[3], region[2]))
  return FrameGeometry(rotate, (region[0], region[1], region[2], region[3]), (size[0], size[1]))


def select_by_time(
  frames: Iterator[Frame], targets_s: Float[np.ndarray, " n"], tolerance_s: float
) -> Iterator[tuple[int, Frame]]:
  """Yields (target number, the frame nearest to it); targets without one are left out.

  Args:
    frames: in order of time.
    targets_s: increasing.
    tolerance_s: the furthest that a frame may lie from its target.
  """
  before: Frame | None = None
  target = 0
  for frame in frames:
    while target < len(targets_s) and targets_s[target] <= frame.time_s:
      best = frame
      if before is not None and 2 * targets_s[target] <= before.time_s + frame.time_s:
        best = before
      if abs(best.time_s - targets_s[target]) <= tolerance_s:
        yield target, best
      target += 1
    if target == len(targets_s):
      return
    before = frame
  if before is not None:
    while target < len(targets_s) and targets_s[target] - before.time_s <= tolerance_s:
      yield target, before
      target += 1
