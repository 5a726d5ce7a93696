"""Decodes each camera of each take once, into JPEG frames that wait for the data set to be written.

A staged camera is a folder that appears by one rename when it is complete, with a fingerprint of
its source and options: a rerun keeps those that still match.
"""

import dataclasses
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from datasets.video_folder.takes import Take
from jaxpose import files
from jaxpose.data import video
from jaxpose.data.records import decode_image, encode_jpeg

_MOST_FRAMES = 10_000_000  # of a video, four days of it: a damaged header promises any number
_ROUNDED = 0.005  # of a rate in a header, at most
_VERSION = 2  # of the staged format: raised when its meaning changes


@dataclasses.dataclass(frozen=True)
class StageJob:
  """One camera of one take.

  Attributes:
    take: whose camera it is.
    camera: its name.
    folder: what the take's paths are relative to.
    staging: where staged cameras lie.
    quality: of the JPEG frames, 1 to 100.
  """

  take: Take
  camera: str
  folder: Path
  staging: Path
  quality: int

  @property
  def source(self) -> Path:
    return self.folder / self.take.videos[self.camera]

  @property
  def target(self) -> Path:
    return self.staging / f"{self.take.name}__{self.camera}"

  @property
  def label(self) -> str:
    return f"{self.source} (take {self.take.name!r}, camera {self.camera!r})"


def fingerprint(parts: Any) -> str:
  """A digest of anything that JSON can hold."""
  text = json.dumps(parts, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_state(path: Path) -> tuple[str, int, int]:
  """(path, size, time of change) of a file.

  Raises:
    FileNotFoundError: there is none.
  """
  if not path.is_file():
    raise FileNotFoundError(f"no file {path}")
  stat = path.stat()
  return str(path.resolve()), stat.st_size, stat.st_mtime_ns


_STAGE_FIELDS = (
  *("trim", "trim_s", "every", "fps", "source_fps", "image_size", "rotate", "roi", "offset_s"),
  "cameras_align",
)


def stage_fingerprint(job: StageJob) -> str:
  """What a staged camera depends on: the files of the take, and the options of its frames."""
  options = {name: getattr(job.take, name) for name in _STAGE_FIELDS}
  files = [file_state(job.folder / file) for file in job.take.videos.values()]
  return fingerprint([_VERSION, job.camera, job.quality, options, files])


def stored_fingerprint(folder: Path) -> str:
  """The fingerprint of a staged folder, "" where there is none."""
  try:
    return str(json.loads((folder / "meta.json").read_text())["fingerprint"])
  except (OSError, ValueError, KeyError, TypeError):
    return ""


@dataclasses.dataclass(frozen=True)
class Plan:
  """Which frames of a camera are kept.

  Attributes:
    fps: of the take: its first camera's.
    start, stop, every: frames of the take.
    by_time: whether frames are matched by time rather than by number.
    source_fps: of this camera's file.
  """

  fps: float
  start: int
  stop: int | None
  every: int
  by_time: bool
  source_fps: float


def plan_frames(take: Take, infos: Mapping[str, video.VideoInfo], camera: str) -> Plan:
  """Frame numbers of the take that are wanted, and how this camera finds them."""
  fps = infos[next(iter(take.videos))].fps
  if take.trim_s:
    bounds = [round(second * fps) for second in take.trim_s]
  else:
    bounds = [int(frame) for frame in take.trim]
  start = bounds[0] if bounds else 0
  stop = bounds[1] if len(bounds) > 1 else None
  every = max(1, round(fps / take.fps)) if take.fps else take.every
  by_time = _align_by_time(take, list(infos.values()), stop)
  return Plan(fps, start, stop, every, by_time, infos[camera].fps)


def _align_by_time(take: Take, infos: Sequence[video.VideoInfo], stop: int | None) -> bool:
  """Whether equal numbers are other instants: see `Take.cameras_align`.

  Files of one length are of cameras that one clock triggers, however their headers round the rate.
  """
  if take.cameras_align:
    return take.cameras_align == "time"
  if any(take.of_camera("offset_s", name) for name in take.videos):
    return True
  if len(infos) == 1:
    return False
  rates, counts = [info.fps for info in infos], [info.promised_frames for info in infos]
  drift = max(rates) / min(rates) - 1  # frames a frame
  if min(counts) == max(counts):
    return drift > _ROUNDED
  return drift * min(stop or max(counts), max(counts)) > 0.5


def _select(job: StageJob, plan: Plan, promised: int) -> Iterator[tuple[int, float, np.ndarray]]:
  """Yields (frame of the take, time_s, image)."""
  forced = job.take.source_fps or None
  if not plan.by_time:
    for frame in video.read_frames(
      job.source, start=plan.start, stop=plan.stop, every=plan.every, fps=forced
    ):
      yield frame.number, frame.time_s, frame.image
    return
  offset = float(job.take.of_camera("offset_s", job.camera))
  late = round(max(offset, 0.0) * plan.fps)
  stop = plan.start + late + _MOST_FRAMES * plan.every
  if plan.stop is not None or promised:
    stop = min(stop, plan.stop if plan.stop is not None else promised * 2 + 1000 + late)
  numbers = np.arange(plan.start, stop, plan.every)
  tolerance = 0.501 / min(plan.fps, plan.source_fps)
  frames = video.read_frames(job.source, fps=forced)
  for i, frame in video.select_by_time(frames, numbers / plan.fps - offset, tolerance):
    yield int(numbers[i]), float(numbers[i] / plan.fps), frame.image


def make_geometry(take: Take, camera: str, info: video.VideoInfo) -> video.FrameGeometry:
  """How a camera's frames are turned, cut and shrunk.

  Raises:
    ValueError: the options do not suit the file.
  """
  return video.make_geometry(
    info.width,
    info.height,
    rotate=take.of_camera("rotate", camera),
    roi=take.of_camera("roi", camera) or None,
    image_size=take.image_size,
  )


def is_staged(job: StageJob) -> bool:
  """Has this very job been done?"""
  return stored_fingerprint(job.target) == stage_fingerprint(job)


def stage_camera(job: StageJob) -> dict[str, Any]:
  """Decodes, cuts, shrinks and encodes the frames of a camera unless that is done; its meta data.

  Raises:
    FileNotFoundError: a file is missing.
    VideoError: a file is damaged or empty, or holds none of the frames asked for.
    ValueError: options that do not suit the file.
  """
  cv2.setNumThreads(1)
  mark = stage_fingerprint(job)
  if is_staged(job):
    return json.loads((job.target / "meta.json").read_text())
  forced = job.take.source_fps or None
  infos = {
    name: video.probe_video(job.folder / file, forced) for name, file in job.take.videos.items()
  }
  info = infos[job.camera]
  geometry = make_geometry(job.take, job.camera, info)
  plan = plan_frames(job.take, infos, job.camera)
  promised = infos[next(iter(job.take.videos))].promised_frames
  partial = job.target.with_name(job.target.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  numbers, times, ends = _write_frames(job, geometry, _select(job, plan, promised), partial)
  if not numbers:
    raise video.VideoError(
      f"{job.source}: no frame from {plan.start} to {plan.stop or 'its end'} decodes; see trim"
    )
  np.savez(partial / "columns.npz", frame=numbers, time_s=times, end=ends)
  last = plan.stop if plan.stop is not None else info.promised_frames
  meta = {
    "fingerprint": mark,
    "fps": plan.fps,
    "frames": len(numbers),
    "turned_size": _turned_size(info, geometry.rotate),
    "geometry": dataclasses.asdict(geometry),
    "missing": 0
    if plan.by_time
    else max(0, min(last, info.promised_frames) - numbers[-1] - plan.every),
  }
  (partial / "meta.json").write_text(json.dumps(meta))
  shutil.rmtree(job.target, ignore_errors=True)
  partial.rename(job.target)
  return meta


def _turned_size(info: video.VideoInfo, rotate: int) -> tuple[int, int]:
  """(height, width) after the turn."""
  return (info.width, info.height) if rotate in (90, 270) else (info.height, info.width)


def _write_frames(
  job: StageJob,
  geometry: video.FrameGeometry,
  frames: Iterator[tuple[int, float, np.ndarray]],
  folder: Path,
) -> tuple[list[int], list[float], list[int]]:
  numbers: list[int] = []
  times: list[float] = []
  ends: list[int] = []
  with (folder / "frames.bin").open("wb") as stream:
    for number, time_s, image in frames:
      try:
        data = encode_jpeg(geometry.apply(image), job.quality)
      except ValueError as error:
        raise video.VideoError(f"{job.source}, frame {number}: {error}") from error
      stream.write(data)
      numbers.append(number)
      times.append(time_s)
      ends.append(stream.tell())
  return numbers, times, ends


@dataclasses.dataclass(frozen=True)
class StagedCamera:
  """A staged camera, frames read when they are asked for."""

  folder: Path
  meta: Mapping[str, Any]
  frame: Int[np.ndarray, " n"]
  time_s: Float[np.ndarray, " n"]
  end: Int[np.ndarray, " n"]

  @classmethod
  def open(cls, folder: Path) -> "StagedCamera":
    meta = json.loads((folder / "meta.json").read_text())
    columns = files.load_npz(folder / "columns.npz")
    return cls(folder, meta, columns["frame"], columns["time_s"], columns["end"])

  @property
  def geometry(self) -> video.FrameGeometry:
    values = self.meta["geometry"]
    roi, size = values["roi"], values["size"]
    return video.FrameGeometry(
      values["rotate"], (roi[0], roi[1], roi[2], roi[3]), (size[0], size[1])
    )

  def read(self, rows: Sequence[int] | np.ndarray) -> Iterator[bytes]:
    """Yields the JPEG files of the rows."""
    with (self.folder / "frames.bin").open("rb") as stream:
      for row in rows:
        start = int(self.end[row - 1]) if row else 0
        stream.seek(start)
        yield stream.read(int(self.end[row]) - start)

  def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """All frames, RGB, decoded one by one; as often as they are asked for."""
    return map(decode_image, self.read(range(len(self.frame))))

  def decode(self, rows: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "n H W 3"]:
    """The frames of the rows, RGB."""
    return np.stack([decode_image(data) for data in self.read(rows)])


def common_frames(take: Take, cameras: Mapping[str, StagedCamera]) -> Int[np.ndarray, " n"]:
  """The frames of the take that every camera has.

  Raises:
    ValueError: a camera has far fewer than the others; says which.
  """
  common = next(iter(cameras.values())).frame
  for staged in cameras.values():
    common = np.intersect1d(common, staged.frame)
  counts = {name: len(staged.frame) for name, staged in cameras.items()}
  text = ", ".join(f"{name} {count}" for name, count in counts.items())
  longest = max(counts.values())
  if len(common) < min((1 - take.length_tolerance) * longest, longest - 2):
    raise ValueError(
      f"take {take.name!r}: its cameras have {len(common)} of up to {longest} frames in common "
      f"({text}): files of unequal length, or wrong offset_s? See trim, length_tolerance"
    )
  if len(common) < longest:
    warnings.warn(f"take {take.name!r}: keeps {len(common)} common frames of {text}", stacklevel=2)
  return common
