"""One background for each camera of a room, from staged frames, a picture or a clip."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from datasets.video_folder import staging
from datasets.video_folder.staging import StagedCamera
from datasets.video_folder.takes import Take
from jaxpose.data import background, video
from jaxpose.data.records import decode_image, encode_png

_BUDGET_BYTES = 256 << 20
_MOST_FRAMES = {"median": 200, "robust": 80, "still": 80}


@dataclasses.dataclass(frozen=True)
class BackgroundJob:
  """The camera of that name in all takes of a room; a panorama belongs to one take."""

  takes: tuple[Take, ...]
  camera: str
  folder: Path
  staging_folder: Path

  @property
  def target(self) -> Path:
    kind, name = _place(self.takes[0])
    return self.staging_folder / f"background_of_{kind}__{name}__{self.camera}"

  @property
  def label(self) -> str:
    names = ", ".join(take.name for take in self.takes)
    return f"background of camera {self.camera!r}, take {names}"

  def staged(self, take: Take) -> Path:
    return self.staging_folder / f"{take.name}__{self.camera}"


def _place(take: Take) -> tuple[str, str]:
  """("room", its name), or ("take", its name) where no other take shares the background."""
  shared = take.room and take.background != "panorama"
  return ("room", take.room) if shared else ("take", take.name)


def group_jobs(takes: list[Take], folder: Path, staging_folder: Path) -> list[BackgroundJob]:
  """One job for each camera of each room; a take without a room is a room."""
  groups: dict[tuple[tuple[str, str], str], list[Take]] = {}
  for take in takes:
    for camera in take.videos:
      groups.setdefault((_place(take), camera), []).append(take)
  return [
    BackgroundJob(tuple(members), camera, folder, staging_folder)
    for (_, camera), members in groups.items()
  ]


def rows_of_split(take: Take, frame: np.ndarray, split: str) -> Bool[np.ndarray, " n"]:
  """Which of these frames belong to a split."""
  ranges = take.split_ranges
  if ranges is None:
    return np.full(len(frame), take.split == split)
  inside = np.zeros(len(frame), bool)
  for start, stop in ranges.get(split, []):
    inside |= (frame >= start) & (frame < stop)
  return inside


def make_background(job: BackgroundJob) -> float:
  """Estimates and stores a background unless that is done; share of frames with several people.

  Raises:
    ValueError: the takes of a room disagree, or the picture or clip does not fit.
  """
  cv2.setNumThreads(1)
  given_files = [_given(job, field) for field in ("background_image", "background_clip")]
  stages = [staging.stored_fingerprint(job.staged(take)) for take in job.takes]
  given = [staging.file_state(job.folder / file) for file in given_files if file]
  splits = [(take.split, take.background_from) for take in job.takes]
  mark = staging.fingerprint([stages, given, job.takes[0].background, splits])
  if staging.stored_fingerprint(job.target) == mark:
    return float(json.loads((job.target / "meta.json").read_text())["crowded"])
  if len({take.background for take in job.takes}) > 1:
    raise ValueError(f"{job.label}: takes of one room must have one kind of background")
  staged = [StagedCamera.open(job.staged(take)) for take in job.takes]
  if len({camera.geometry for camera in staged}) > 1:
    cuts = [f"{take.name} {camera.geometry}" for take, camera in zip(job.takes, staged)]
    raise ValueError(
      f"{job.label}: the takes of a room differ in frame size, roi or rotate: {', '.join(cuts)}"
    )
  image, homography = _compute(job, staged)
  partial = job.target.with_name(job.target.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  (partial / "background.png").write_bytes(encode_png(image))
  if homography is not None:
    np.save(partial / "homography.npy", homography.astype(np.float32))
  crowded = 0.0
  if homography is None:
    everything = [np.arange(len(camera.frame)) for camera in staged]
    crowded = background.crowded_share(_sample(staged, everything, 60), image)
  (partial / "meta.json").write_text(json.dumps({"fingerprint": mark, "crowded": crowded}))
  shutil.rmtree(job.target, ignore_errors=True)
  partial.rename(job.target)
  return crowded


def load_background(
  job: BackgroundJob,
) -> tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "n 3 3"] | None]:
  """What `make_background` stored."""
  image = decode_image((job.target / "background.png").read_bytes())
  path = job.target / "homography.npy"
  return image, np.load(path, allow_pickle=False) if path.exists() else None


def _compute(
  job: BackgroundJob, staged: list[StagedCamera]
) -> tuple[np.ndarray, np.ndarray | None]:
  camera = staged[0]
  if picture := _given(job, "background_image"):
    return _from_picture(job.folder / picture, camera), None
  if clip := _given(job, "background_clip"):
    return _from_clip(job.folder / clip, camera), None
  method = job.takes[0].background
  if method == "panorama":
    return background.compute_panorama(camera)
  rows = _candidate_rows(job, staged)
  if method == "dive":
    ends = camera.decode([rows[0][0], rows[0][-1]])
    return background.compute_dive(ends[0], ends[1]), None
  frames = _sample(staged, rows, _MOST_FRAMES[method])
  if method == "median":
    return background.compute_median(frames), None
  return background.compute_robust(frames, still=method == "still"), None


def _given(job: BackgroundJob, field: str) -> str:
  """The file that a take of the room names for this camera, "" where none does.

  Raises:
    ValueError: two takes name different ones.
  """
  named = {take.name: str(take.of_camera(field, job.camera)) for take in job.takes}
  files = sorted({file for file in named.values() if file})
  if len(files) > 1:
    raise ValueError(f"{job.label}: takes of one room have different {field}: {', '.join(files)}")
  return files[0] if files else ""


def _candidate_rows(job: BackgroundJob, staged: list[StagedCamera]) -> list[np.ndarray]:
  """Rows of each take in the split to estimate from; all rows where the room has no such frames."""
  rows = []
  for take, camera in zip(job.takes, staged):
    split = take.background_from
    inside = rows_of_split(take, camera.frame, split) if split else np.ones(len(camera.frame), bool)
    rows.append(np.nonzero(inside)[0])
  if not any(len(found) for found in rows) or (
    job.takes[0].background == "dive" and not len(rows[0])
  ):
    rows = [np.arange(len(camera.frame)) for camera in staged]
  return rows


def _sample(staged: list[StagedCamera], rows: list[np.ndarray], most: int) -> np.ndarray:
  """Frames spread evenly over all takes, within the memory budget."""
  height, width = staged[0].geometry.size
  most = max(5, min(most, _BUDGET_BYTES // (3 * height * width)))
  pairs = [(i, int(row)) for i, found in enumerate(rows) for row in found]
  chosen = [pairs[j] for j in background.sample_evenly(len(pairs), most)]
  parts = []
  for i, camera in enumerate(staged):
    wanted = [row for take, row in chosen if take == i]
    if wanted:
      parts.append(camera.decode(wanted))
  return np.concatenate(parts)


def _fit(image: np.ndarray, camera: StagedCamera, where: Path) -> np.ndarray:
  """An image of the size of the video's frames, or of the stored ones, as a stored one."""
  turned_height, turned_width = camera.meta["turned_size"]
  if image.shape[:2] == (turned_height, turned_width):
    return dataclasses.replace(camera.geometry, rotate=0).apply(image)
  if image.shape[:2] == camera.geometry.size:
    return image
  raise ValueError(
    f"{where}: {image.shape[1]}×{image.shape[0]} px, but the video's frames are "
    f"{turned_width}×{turned_height}"
  )


def _from_picture(path: Path, camera: StagedCamera) -> np.ndarray:
  image = cv2.imread(str(path), cv2.IMREAD_COLOR)
  if image is None:
    raise ValueError(f"{path}: no picture that OpenCV can read")
  return _fit(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), camera, path)


def _from_clip(path: Path, camera: StagedCamera) -> np.ndarray:
  """Median of about 50 frames of an empty-room clip, of the first 200 where no length is known."""
  info = video.probe_video(path)
  every = max(1, info.promised_frames // 50)
  rotate = camera.geometry.rotate
  frames = []
  for frame in video.read_frames(path, every=every):
    turned = video.make_geometry(info.width, info.height, rotate=rotate).apply(frame.image)
    frames.append(_fit(turned, camera, path))
    if len(frames) == 200:
      break
  return background.compute_median(np.stack(frames))
