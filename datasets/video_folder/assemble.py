"""From staged cameras, calibration, labels and backgrounds to the sequences of a data set."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from datasets.video_folder.backgrounds import BackgroundJob, load_background, rows_of_split
from datasets.video_folder.staging import StagedCamera, common_frames
from datasets.video_folder.takes import Take
from jaxpose.data import calibration, labels, records
from jaxpose.geometry import Camera


@dataclasses.dataclass(frozen=True)
class TakeData:
  """A take whose files were all read and found to belong together.

  Attributes:
    take: its description.
    fps: of the source.
    frame: [n] frames that all cameras have.
    time_s: [n] when they were: the first camera's times, for all cameras one clock.
    rows: camera name -> [n] rows of its staged frames.
    cameras: camera name -> staged frames.
    calibrated: camera name -> camera of the stored frames, where there is one.
    projections: camera name -> labels of the n frames seen by it, where there are some.
    joints: names of the labels' joints, () without labels.
  """

  take: Take
  fps: float
  frame: Int[np.ndarray, " n"]
  time_s: Float[np.ndarray, " n"]
  rows: Mapping[str, Int[np.ndarray, " n"]]
  cameras: Mapping[str, StagedCamera]
  calibrated: Mapping[str, Camera]
  projections: Mapping[str, labels.Projection]
  joints: tuple[str, ...]


def open_take(take: Take, folder: Path, staging_folder: Path) -> TakeData:
  """Reads calibration and labels of a staged take and checks them against its frames.

  Raises:
    FileNotFoundError, ValueError: something is missing or doesn't fit; says what.
  """
  cameras = {
    name: StagedCamera.open(staging_folder / f"{take.name}__{name}") for name in take.videos
  }
  frame = common_frames(take, cameras)
  rows = {name: np.searchsorted(staged.frame, frame) for name, staged in cameras.items()}
  fps = float(next(iter(cameras.values())).meta["fps"])
  time_s = _shared_clock(take, cameras, rows, fps)
  calibrated = _open_cameras(take, folder, cameras)
  projections: dict[str, labels.Projection] = {}
  joints: tuple[str, ...] = ()
  if take.labels:
    found = labels.load_labels(
      folder / take.labels,
      units=take.labels_units or None,
      axes=take.labels_axes,
      fps=take.labels_fps or None,
    )
    joints = found.joints
    points = _points_of_frames(take, found, frame, time_s)
    if not np.isfinite(points).any():
      raise labels.LabelError(
        f"{folder / take.labels}: no label falls on a frame of take {take.name!r}; see "
        "labels_start and labels_align"
      )
    keep = moving_frames(points, take.min_movement_mm)
    frame, time_s, points = frame[keep], time_s[keep], points[keep]
    rows = {name: own[keep] for name, own in rows.items()}
    for name in cameras:
      if name in calibrated:
        where = f"take {take.name!r}, camera {name!r}, {folder / take.labels}"
        projections[name] = labels.project_labels(points, calibrated[name], where)
  return TakeData(take, fps, frame, time_s, rows, cameras, calibrated, projections, joints)


def _shared_clock(
  take: Take,
  cameras: Mapping[str, StagedCamera],
  rows: Mapping[str, Int[np.ndarray, " n"]],
  fps: float,
) -> Float[np.ndarray, " n"]:
  """The first camera's times. Warns where another's are over half a frame away from them."""
  times = {name: staged.time_s[rows[name]] for name, staged in cameras.items()}
  clock = times[next(iter(times))]
  for name, own in times.items():
    apart = float(np.abs(own - clock).max(initial=0.0))
    if take.cameras_align == "" and apart > 0.5 / fps:
      warnings.warn(
        f"take {take.name!r}: frames of one number are up to {apart:.3f} s apart by the clock of"
        f" camera {name!r}, and are taken for one instant: say cameras_align = 'time', or 'frame'"
        " if one clock triggers the cameras",
        stacklevel=2,
      )
  return clock


def _points_of_frames(
  take: Take,
  found: labels.Labels,
  frame: Int[np.ndarray, " n"],
  time_s: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n J 3"]:
  if take.labels_align == "frame":
    return labels.take_rows(found, frame - round(take.labels_start))
  return labels.resample(found, time_s - take.labels_start)


def moving_frames(points_mm: Float[np.ndarray, "n J 3"], least_mm: float) -> Bool[np.ndarray, " n"]:
  """The first labelled frame, and each in which a joint is `least_mm` from its place in the last.

  The last is that which was kept last, the joint one that both know. Where they know none in common
  a frame is kept, and so are frames without labels.
  """
  keep = np.ones(len(points_mm), bool)
  last = None
  if not least_mm:
    return keep
  for number, points in enumerate(points_mm):
    if not np.isfinite(points).all(axis=1).any():
      continue
    if last is not None:
      moved = np.linalg.norm(points - last, axis=1)
      keep[number] = np.isnan(moved).all() or np.nanmax(moved) >= least_mm
    if keep[number]:
      last = points
  return keep


def _open_cameras(
  take: Take, folder: Path, cameras: Mapping[str, StagedCamera]
) -> dict[str, Camera]:
  calibrated = {}
  for name, staged in cameras.items():
    file = take.of_camera("calibration", name)
    if not file:
      continue
    known = calibration.load_calibration(folder / file, take.calibration_units or None)
    single = isinstance(take.calibration, Mapping) and len(known) == 1
    called = take.calibration_names.get(name, next(iter(known)) if single else name)
    camera = calibration.find_camera(known, called, folder / file)
    height, width = staged.meta["turned_size"]
    where = f"take {take.name!r}, camera {name!r}, {folder / file}"
    camera = calibration.fit_to_frames(camera, width, height, where)
    calibrated[name] = calibration.fit_to_geometry(camera, staged.geometry)
  return calibrated


class _Images(Iterable[bytes]):
  """JPEG files of some rows of a staged camera, read as they are written."""

  def __init__(self, staged: StagedCamera, rows: np.ndarray):
    self._staged = staged
    self._rows = rows

  def __iter__(self) -> Iterator[bytes]:
    return self._staged.read(self._rows)


def split_sequences(
  data: TakeData, split: str, backgrounds: Mapping[str, BackgroundJob], joints: tuple[str, ...]
) -> Iterator[records.Sequence]:
  """The parts of a take that belong to a split, one sequence for each range of frames.

  Args:
    data: the take.
    split: name of the split.
    backgrounds: camera name -> the job that made its background.
    joints: order of the joints in the data set.
  """
  ranges = data.take.split_ranges
  if ranges is None:
    parts = [(data.take.name, rows_of_split(data.take, data.frame, split))]
  else:
    parts = []
    for start, stop in ranges.get(split, []):
      inside = (data.frame >= start) & (data.frame < stop)
      parts.append((f"{data.take.name}_{start}_{stop}", inside))
  for name, inside in parts:
    if inside.any():
      tracks = [
        _build_track(data, camera, inside, backgrounds[camera], joints) for camera in data.cameras
      ]
      yield records.Sequence(name, data.take.subject, data.take.action, data.fps, tracks)


def _build_track(
  data: TakeData,
  name: str,
  inside: Bool[np.ndarray, " n"],
  job: BackgroundJob,
  joints: tuple[str, ...],
) -> records.Track:
  staged, rows = data.cameras[name], data.rows[name][inside]
  image, homography = load_background(job)
  frame = data.frame[inside]
  track = records.Track(
    camera_name=name,
    camera=data.calibrated.get(name),
    images=_Images(staged, rows),
    frame=frame.astype(np.int32),
    time_s=data.time_s[inside],
    background=image,
    homography=None if homography is None else homography[rows],
    falling=in_ranges(frame, data.take.falling),
    present=_presence(data.take, frame),
  )
  if name in data.projections:
    projection = data.projections[name]
    order = [data.joints.index(joint) for joint in joints]
    track.pose3d_mm = projection.pose3d_mm[inside][:, order].astype(np.float32)
    track.pose2d_px = projection.pose2d_px[inside][:, order].astype(np.float32)
    track.joint_valid = np.isfinite(track.pose3d_mm).all(-1)
  return track


def in_ranges(frame: Int[np.ndarray, " n"], ranges: Iterable[Iterable[int]]) -> np.ndarray:
  """Which frames lie in one of the ranges [first, last + 1]."""
  inside = np.zeros(len(frame), bool)
  for start, stop in ranges:
    inside |= (frame >= start) & (frame < stop)
  return inside


def _presence(take: Take, frame: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
  present = np.full(len(frame), records.UNKNOWN, np.int32)
  present[in_ranges(frame, take.empty)] = records.EMPTY
  present[in_ranges(frame, take.person)] = records.PERSON
  return present
