"""From a video to poses: `.npz`, `.trc` and an overlay video, in batches and in flat memory."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from jaxpose import files
from jaxpose.api import Model, read_poses
from jaxpose.data import transforms, trc, video
from jaxpose.data.video_background import find_background
from jaxpose.evaluation.regressor import Regressor
from jaxpose.overlay import OverlayWriter, is_overlay
from jaxpose.own_poses import OwnPoses

_CHECK_EVERY = 10  # frames between two looks for a second person
_TWO_SHARE = 0.2  # of the frames with somebody: from here on a second person is reported
_CHANGE = 25  # grey levels that a region differs by
_LEAST_AREA = 0.0015  # of the picture: smaller regions are nobody
Say = Callable[[str], None]
Image = UInt8[np.ndarray, "_ _ 3"]  # of any size


@dataclasses.dataclass(frozen=True)
class Options:
  """How videos are read and what is written.

  Attributes:
    background: one of `video_background.BACKGROUNDS`, estimated from the video itself ("panorama"
      for a camera that turns), or the path of an image or of a clip of the empty scene.
    every: only each n-th frame.
    overlay: write the overlay video too.
  """

  background: str = "robust"
  every: int = 1
  overlay: bool = True

  def __post_init__(self) -> None:
    if self.every < 1:
      raise ValueError(f"every must be at least 1, not {self.every}")


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What was written for one video, and what a user should know of it."""

  files: list[pathlib.Path]
  frames: int
  warnings: list[str]


def predict_videos(
  model: Model,
  regressor: Regressor | OwnPoses,
  source: str | os.PathLike[str],
  out: str | os.PathLike[str],
  options: Options,
  say: Say = print,
) -> tuple[list[Prediction], list[str]]:
  """Predicts a video, or every video below a folder, into the folder `out`.

  Overlay videos that were written into that folder before are left out.

  Returns:
    The predictions, and a line for each video that could not be used; the others go on.

  Raises:
    FileNotFoundError: there is no such video or folder, or no video in it.
  """
  root = pathlib.Path(source)
  if root.is_dir():
    paths = [path for path in video.find_videos(root) if not is_overlay(path)]
    if not paths:
      raise FileNotFoundError(f"no video below {root} but overlays")
    stems = _unique_stems([path.relative_to(root) for path in paths])
  elif root.is_file():
    paths, stems = [root], [pathlib.Path(root.stem)]
  else:
    raise FileNotFoundError(f"no video and no folder {root}")
  done, failed = [], []
  for i, (path, stem) in enumerate(zip(paths, stems, strict=True)):
    say(f"{i + 1}/{len(paths)}: {path}")
    try:
      done.append(predict_video(model, regressor, path, pathlib.Path(out) / stem, options))
    except (ValueError, OSError, cv2.error) as error:
      failed.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
      say(f"  skipped: {failed[-1]}")
      continue
    for text in done[-1].warnings:
      say(f"  warning: {text}")
    say(f"  {done[-1].frames} frames: {', '.join(str(file) for file in done[-1].files)}")
  return done, failed


def _unique_stems(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Names without their ending, with it (`a_avi`) where two would be the same."""
  stems = [path.with_suffix("") for path in paths]
  return [
    stem if stems.count(stem) == 1 else path.with_name(path.name.replace(".", "_"))
    for path, stem in zip(paths, stems, strict=True)
  ]


def predict_video(
  model: Model,
  regressor: Regressor | OwnPoses,
  path: pathlib.Path,
  stem: pathlib.Path,
  options: Options,
) -> Prediction:
  """Predicts one video and writes `<stem>_poses.npz`, `<stem>.trc` and `<stem>_overlay.mp4`.

  The `.npz` holds pose3d_mm [N, J, 3] (root-centred, camera axes x right, y down, z away; NaN where
  presence is below 0.5), presence [N], box_px [N, 4], frame [N] (number in the file), time_s [N],
  joint_names, parents, image_size, turned (are the axes those of a camera that looks at the person,
  see `OwnPoses`?). The `.trc` holds the same poses with X right, Y up, Z towards the camera, in mm.
  Nothing is written under these names before the video is finished.

  Raises:
    FileNotFoundError, ValueError: the video or the background cannot be used.
  """
  info = video.probe_video(path)
  size = (info.height, info.width)
  empty = find_background(path, options.background, model.image_size, size, options.every)
  stem.parent.mkdir(parents=True, exist_ok=True)
  columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
  crowd: list[bool] = []
  rate = info.fps / options.every
  overlay = OverlayWriter(stem, rate, size) if options.overlay else None
  try:
    for frames, small in _batches(path, options.every, model):
      done = len(columns["frame"])
      behind = empty.at(range(done, done + len(frames)))
      found = model.render(small, behind)
      found["box_px"] = model.boxes_on_image(found["box"], size)
      found["pose3d_mm"] = read_poses(found, regressor)
      columns["frame"] += [frame.number for frame in frames]
      columns["time_s"] += [frame.time_s for frame in frames]
      for name in ("pose3d_mm", "presence", "box_px"):
        columns[name] += list(found[name])
      for i, presence in enumerate(found["presence"]):
        if (done + i) % _CHECK_EVERY == 0 and not presence < 0.5:
          crowd.append(count_regions(small[i], behind[i]) > 1)
      if overlay is not None:
        overlay.write([frame.image for frame in frames], found, regressor.skeleton)
    if not columns["frame"]:
      raise video.VideoError(f"{path}: no frame decodes")
    written = _save(stem, columns, regressor, rate, size)
    if overlay is not None:
      written.append(overlay.finish())
  except BaseException:
    if overlay is not None:
      overlay.discard()
    raise
  warnings = _warnings(columns, crowd, info, options)
  if _is_turned(regressor):
    warnings.append("poses are as seen by a camera that looks at the person: none is calibrated")
  return Prediction(written, len(columns["frame"]), warnings)


def _is_turned(regressor: Regressor | OwnPoses) -> bool:
  return isinstance(regressor, OwnPoses) and regressor.turned


_COLUMNS = ("frame", "time_s", "pose3d_mm", "presence", "box_px")


def _batches(
  path: pathlib.Path, every: int, model: Model
) -> Iterator[tuple[list[video.Frame], UInt8[np.ndarray, "B H W 3"]]]:
  """Frames as they are (RGB), and letterboxed for the networks; the last batch may be short."""
  held: list[video.Frame] = []
  for frame in video.read_frames(path, every=every):
    held.append(frame)
    if len(held) == model.batch_size:
      yield held, _letterboxed(held, model.image_size)
      held = []
  if held:
    yield held, _letterboxed(held, model.image_size)


def _letterboxed(frames: list[video.Frame], size: tuple[int, int]) -> UInt8[np.ndarray, "B H W 3"]:
  return np.stack([transforms.letterboxed(frame.image, size) for frame in frames])


# --- more than one person ----------------------------------------------------------------------


def count_regions(image: Image, background: Image, least: float = 0.35) -> int:
  """Separate large regions that differ from the background: more than one may be two people.

  Counts regions of at least `least` of the largest one's area and `_LEAST_AREA` of the picture;
  pieces closer than a fifteenth of its height are one region, and so are people who touch.
  """
  difference = cv2.blur(cv2.absdiff(image, background).max(axis=-1), (3, 3))
  mask = (difference > _CHANGE).astype(np.uint8)
  mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
  reach = max(3, mask.shape[0] // 15)
  joined = cv2.dilate(mask, np.ones((reach, reach), np.uint8))
  count, labels = cv2.connectedComponents(joined)
  areas = np.bincount(labels[mask > 0], minlength=count)[1:]
  if not len(areas) or areas.max() < _LEAST_AREA * mask.size:
    return 0
  return int((areas >= max(least * areas.max(), _LEAST_AREA * mask.size)).sum())


def _warnings(
  columns: dict[str, list[Any]], crowd: list[bool], info: video.VideoInfo, options: Options
) -> list[str]:
  found = []
  presence = np.asarray(columns["presence"])
  if crowd and np.mean(crowd) >= _TWO_SHARE:
    found.append(
      f"two large separate regions differ from the background in {np.mean(crowd):.0%} of the frames"
      " with somebody: more than one person? The networks follow one; their choice may change"
    )
  if np.isnan(presence).all():
    found.append("presence is unknown, every frame is taken to show a person: run launch/export.py")
  elif (presence < 0.5).all():
    found.append("every frame is taken to be empty: is this video like those of the training?")
  decoded = (columns["frame"][-1] + 1) if columns["frame"] else 0
  if decoded + options.every <= 0.9 * info.promised_frames:
    found.append(f"the header promises {info.promised_frames} frames, {decoded} decode: cut short?")
  return found


# --- output ------------------------------------------------------------------------------------


def _save(
  stem: pathlib.Path,
  columns: dict[str, list[Any]],
  regressor: Regressor | OwnPoses,
  rate_hz: float,
  size: tuple[int, int],
) -> list[pathlib.Path]:
  skeleton = regressor.skeleton
  target = stem.with_name(f"{stem.name}_poses.npz")
  pose = np.asarray(columns["pose3d_mm"], np.float32)
  with files.replacing(target) as partial, open(partial, "wb") as file:
    np.savez_compressed(
      file,
      pose3d_mm=pose,
      presence=np.asarray(columns["presence"], np.float32),
      box_px=np.asarray(columns["box_px"], np.float32),
      frame=np.asarray(columns["frame"], np.int32),
      time_s=np.asarray(columns["time_s"], np.float64),
      joint_names=np.array(skeleton.joints),
      parents=np.array(skeleton.parents, np.int32),
      skeleton=np.array(json.dumps(skeleton.to_dict())),
      image_size=np.array(size, np.int32),
      turned=np.array(_is_turned(regressor)),
    )
  markers = stem.with_name(f"{stem.name}.trc")
  trc.save_trc(
    markers,
    skeleton.joints,
    np.asarray(columns["frame"]),
    np.asarray(columns["time_s"]),
    trc.camera_to_trc(pose),
    rate_hz,
  )
  return [target, markers]
