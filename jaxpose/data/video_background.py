"""The empty scene behind the frames of one video, by any of the methods or from a file."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jaxpose.data import background as backgrounds
from jaxpose.data import transforms, video

BACKGROUNDS = ("robust", "median", "still", "dive", "panorama")
_PANORAMA_SIDE = 256  # px: longest side of the frames that are registered, as prepare stores them
_SAMPLES = 80  # frames that a background is estimated from
Image = UInt8[np.ndarray, "_ _ 3"]  # of any size


@dataclasses.dataclass(frozen=True)
class FixedBackground:
  """One picture for a camera that stands still, letterboxed as the networks see it."""

  image: Image

  def at(self, rows: Sequence[int]) -> UInt8[np.ndarray, "B H W 3"]:
    """The same behind each frame."""
    return np.broadcast_to(self.image, (len(rows), *self.image.shape))


@dataclasses.dataclass(frozen=True)
class PanoramaBackground:
  """What each frame of a turning camera shows of a panorama, P2 §S.1.

  Attributes:
    panorama: the empty scene.
    homographies: frame px -> panorama px, for frames of `frame_size` (height, width).
    size: (height, width) that the networks see.
  """

  panorama: UInt8[np.ndarray, "P Q 3"]
  homographies: Float[np.ndarray, "n 3 3"]
  frame_size: tuple[int, int]
  size: tuple[int, int]

  def at(self, rows: Sequence[int]) -> UInt8[np.ndarray, "B H W 3"]:
    """Behind the frames of these numbers, counted from 0 among the predicted ones, letterboxed."""
    shown = [
      transforms.warp_panorama(self.panorama, self.homographies[row], self.frame_size)
      for row in rows
    ]
    return np.stack([transforms.letterboxed(image, self.size) for image in shown])


def find_background(
  path: pathlib.Path,
  how: str,
  size: tuple[int, int],
  frame_size: tuple[int, int],
  every: int = 1,
) -> FixedBackground | PanoramaBackground:
  """The empty scene behind each frame, letterboxed to `size`.

  Args:
    path: the video.
    how: one of `BACKGROUNDS`, or an image or clip of the empty scene.
    frame_size: (height, width) of the video's frames.
    every: only each n-th frame is registered for a panorama, as only these are predicted.

  Raises:
    FileNotFoundError: `how` is neither a method nor a file.
    ValueError: the file is no image and no clip, or of another shape than the video; or frames of a
      moving camera have too little in common to be registered.
  """
  if how == "panorama":
    return _find_panorama(path, every, size, frame_size)
  if how in BACKGROUNDS:
    return FixedBackground(_estimate(path, how, size))
  return FixedBackground(_read_background(how, size, frame_size))


def _read_background(how: str, size: tuple[int, int], frame_size: tuple[int, int]) -> Image:
  file = pathlib.Path(how)
  if not file.is_file():
    raise FileNotFoundError(
      f"background {how!r}: no such file, and none of {', '.join(BACKGROUNDS)}"
    )
  if file.suffix.lower() in video.VIDEO_SUFFIXES:
    info = video.probe_video(file)
    _check_shape(file, (info.height, info.width), frame_size)
    return backgrounds.compute_median(np.stack(_sample_video(file, size)))
  picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
  if picture is None:
    raise ValueError(f"background {file}: neither an image nor a video that OpenCV reads")
  _check_shape(file, picture.shape[:2], frame_size)
  return transforms.letterboxed(np.ascontiguousarray(picture[..., ::-1]), size)


def _check_shape(file: pathlib.Path, given: Sequence[int], frame_size: tuple[int, int]) -> None:
  if abs(given[1] / given[0] - frame_size[1] / frame_size[0]) > 0.02:
    raise ValueError(
      f"background {file} is {given[1]}×{given[0]} px, the video {frame_size[1]}×{frame_size[0]}: "
      "give a picture of the same camera"
    )


class _SmallFrames:
  """A video's frames at `_PANORAMA_SIDE`, without bars, decoded anew each time they are asked for.

  Bars of a letterbox would stand still while the scene moves, so they must not be registered.
  """

  def __init__(self, path: pathlib.Path, every: int, geometry: video.FrameGeometry) -> None:
    self._path, self._every, self._geometry = path, every, geometry

  def __iter__(self) -> Iterator[Image]:
    for frame in video.read_frames(self._path, every=self._every):
      yield self._geometry.apply(frame.image)


def _find_panorama(
  path: pathlib.Path, every: int, size: tuple[int, int], frame_size: tuple[int, int]
) -> PanoramaBackground:
  height, width = frame_size
  geometry = video.make_geometry(width, height, image_size=_PANORAMA_SIDE)
  frames = _SmallFrames(path, every, geometry)
  panorama, homographies = backgrounds.compute_panorama(frames)
  return PanoramaBackground(panorama, homographies, geometry.size, size)


def _estimate(path: pathlib.Path, how: str, size: tuple[int, int]) -> Image:
  frames = np.stack(_sample_video(path, size))
  if how == "median":
    return backgrounds.compute_median(frames)
  if how == "dive":
    return backgrounds.compute_dive(frames[0], frames[-1])
  return backgrounds.compute_robust(frames, still=how == "still")


def _sample_video(path: pathlib.Path, size: tuple[int, int]) -> list[Image]:
  """Evenly spaced frames from the first to the last, between `_SAMPLES` and twice as many.

  They are letterboxed to `size` at once: a hundred frames as filmed would fill the memory.

  One pass, whatever the header promises: each time that there are too many, every other one goes.
  """
  kept: list[Image] = []
  stride, last = 1, None
  for frame in video.read_frames(path):
    last = frame
    if frame.number % stride == 0:
      kept.append(transforms.letterboxed(frame.image, size))
      if len(kept) > 2 * _SAMPLES:
        kept, stride = kept[::2], 2 * stride
  if last is None:
    raise video.VideoError(f"{path}: no frame decodes")
  if last.number % stride:
    kept.append(transforms.letterboxed(last.image, size))
  return kept
