"""Prepares the user's own videos: stages cameras in parallel, makes backgrounds, writes the set."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from datasets.video_folder import backgrounds, staging
from datasets.video_folder.assemble import TakeData, in_ranges, open_take
from datasets.video_folder.previews import write_preview
from datasets.video_folder.takes import Take, load_takes
from jaxpose import files, processes
from jaxpose.data import video

VERSION = "1.0.0"
_CROWDED = 0.25  # share of frames from which a second person is suspected


@dataclasses.dataclass(frozen=True)
class Report:
  """What came of it.

  Attributes:
    directory: the prepared data set; None if no take could be used.
    skipped: take name -> why it was left out.
  """

  directory: Path | None
  skipped: dict[str, str]


def prepare_videos(
  path: str | Path,
  out: str | Path,
  *,
  config_name: str = "default",
  takes_file: str | None = None,
  pattern: str | None = None,
  overrides: dict[str, Any] | None = None,
  quality: int = 92,
  workers: int = 0,
  say: Callable[[str], None] = print,
) -> Report:
  """Prepares the videos of a folder as `<out>/video_folder/<config_name>/1.0.0`.

  Takes of which a file is missing, damaged, empty or does not fit are named and left out. The data
  set appears by a rename when it is complete. What was decoded before an interruption is kept.
  Only one process at a time prepares a set; the others wait and find it done.

  Args:
    path: the folder of the videos.
    out: the folder of prepared data sets.
    config_name: name of this one.
    takes_file, pattern, overrides: see `load_takes`.
    quality: of the stored JPEG frames.
    workers: processes; 0 takes one per core.
    say: gets each line of progress.

  Raises:
    FileNotFoundError, ValueError: the folder or the description of takes is wrong.
    OSError: no space left, or `out` cannot be written.
  """
  folder = Path(path).expanduser().resolve()
  takes = load_takes(folder, takes_file=takes_file, pattern=pattern, overrides=overrides)
  root = Path(out).expanduser().resolve()
  final = root / "video_folder" / config_name / VERSION
  mark = request_fingerprint(takes, folder, quality)
  work = _Work(folder, root / ".staging" / config_name, workers or os.cpu_count() or 1, say, {})
  if _is_up_to_date(work, final, mark):
    return Report(final, {})
  work.staged.parent.mkdir(parents=True, exist_ok=True)
  with files.locked(work.staged.with_name(f"{config_name}.lock")):
    if _is_up_to_date(work, final, mark):
      return Report(final, {})
    return _prepare(work, takes, final, mark, quality)


@dataclasses.dataclass(frozen=True)
class _Work:
  """What all stages of a preparation share.

  Attributes:
    folder: of the videos.
    staged: folder of what was decoded, until the data set is complete.
    workers: processes.
    say: gets each line of progress.
    skipped: take name -> why it is left out; each stage adds those that it fails on.
  """

  folder: Path
  staged: Path
  workers: int
  say: Callable[[str], None]
  skipped: dict[str, str]

  def job(self, take: Take, camera: str, quality: int) -> staging.StageJob:
    return staging.StageJob(take, camera, self.folder, self.staged, quality)


def _is_up_to_date(work: _Work, final: Path, mark: str) -> bool:
  found = _stored_options(final) == {"fingerprint": mark, "skipped": []}
  if found:
    work.say(f"{final} is up to date")
  return found


def _prepare(work: _Work, takes: list[Take], final: Path, mark: str, quality: int) -> Report:
  work.staged.mkdir(parents=True, exist_ok=True)
  usable = _decode(work, _announce(work, takes, quality), quality)
  opened, grouped = _make_backgrounds(work, _open_takes(work, usable))
  for name, reason in work.skipped.items():
    work.say(f"skipped take {name!r}: {reason}")
  if not opened:
    return Report(None, work.skipped)
  _check_splits(work, takes, opened)
  left_out = tuple(f"{name}: {reason}" for name, reason in work.skipped.items())
  if _stored_options(final) == {"fingerprint": mark, "skipped": list(left_out)}:
    work.say(f"{final} is up to date, but for what was skipped")
    return Report(final, work.skipped)
  _write(final, work.staged, opened, grouped, (mark, left_out))
  if not work.skipped:
    shutil.rmtree(work.staged, ignore_errors=True)
  return Report(final, work.skipped)


def _check_splits(work: _Work, takes: Sequence[Take], opened: Sequence[TakeData]) -> None:
  """Raises ValueError where a split of `takes` has no frames: another would stand in for it."""
  for split in dict.fromkeys(name for take in takes for name in take.split_names):
    if not any(_has_split(data, split) for data in opened):
      skipped = f"; skipped: {', '.join(work.skipped)}" if work.skipped else ""
      raise ValueError(
        f"{work.folder}: split {split!r} has no frames: its takes were skipped, its range lies"
        f" outside of every take, or nobody moves in it{skipped}"
      )


def _announce(work: _Work, takes: list[Take], quality: int) -> list[Take]:
  """Opens every file once; says how many frames, how much disk and time; drops what cannot open."""
  frames, staged, written, seconds = 0, 0.0, 0.0, 0.0
  usable = []
  for take in takes:
    try:
      opened = time.monotonic()
      infos = {
        camera: video.probe_video(work.folder / file, take.source_fps or None)
        for camera, file in take.videos.items()
      }
      # a first frame costs about as much as opening the file: ten times a later one
      a_frame = 0.1 * (time.monotonic() - opened) / len(infos)
      for camera, info in infos.items():
        geometry = staging.make_geometry(take, camera, info)
        plan = staging.plan_frames(take, infos, camera)
        stop = info.promised_frames if plan.stop is None else plan.stop
        if info.promised_frames:
          stop = min(stop, info.promised_frames)
        kept = len(range(plan.start, stop, plan.every))
        size = kept * geometry.size[0] * geometry.size[1] * 0.25  # bytes a pixel of a JPEG frame
        frames, written = frames + kept, written + size
        if not staging.is_staged(work.job(take, camera, quality)):
          staged, seconds = staged + size, seconds + a_frame * stop
      usable.append(take)
    except (OSError, ValueError) as error:
      if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        raise
      work.skipped[take.name] = str(error)
  need, free = staged + written, shutil.disk_usage(work.staged).free
  work.say(
    f"{len(usable)} takes, {sum(len(t.videos) for t in usable)} videos, about {frames} frames; "
    f"about {need / 1e6:.0f} MB of disk needed ({free / 1e6:.0f} MB free); roughly "
    f"{seconds / max(1, work.workers):.0f} s with {work.workers} processes"
  )
  if need > free:
    raise OSError(f"{work.staged}: {need / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")
  return usable


def _decode(work: _Work, takes: list[Take], quality: int) -> list[Take]:
  """Stages every camera of every take; the takes of which all could be."""
  jobs = [work.job(take, camera, quality) for take in takes for camera in take.videos]
  for job, meta in _run(work, staging.stage_camera, jobs, "decoding"):
    if meta["missing"] > 0:
      work.say(
        f"warning: {job.label}: the header promises {meta['missing']} frames more than decode"
      )
  return [take for take in takes if take.name not in work.skipped]


def _run(
  work: _Work, function: Callable[[Any], Any], jobs: Sequence[Any], title: str
) -> list[tuple[Any, Any]]:
  """(job, result) of the jobs that worked; the others' takes go to `skipped` with the reason."""
  from tqdm import tqdm

  done: list[tuple[Any, Any]] = []
  outcomes = contextlib.closing(_outcomes(function, jobs, min(work.workers, len(jobs))))
  bar = tqdm(total=len(jobs), desc=title, unit="camera", disable=not sys.stderr.isatty())
  with bar, outcomes as found:
    for job, result, error in found:
      bar.update()
      if error is None:
        done.append((job, result))
      elif isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        raise error  # no space left, no permission: nothing to do with this one file
      else:
        takes = getattr(job, "takes", None) or (job.take,)
        for take in takes:
          work.skipped.setdefault(take.name, f"{job.label}: {error}")
  order = {id(job): i for i, job in enumerate(jobs)}
  return sorted(done, key=lambda pair: order[id(pair[0])])


def _outcomes(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Any:
  """Yields (job, result, error) as they come; a decoder that crashes costs its own job only."""
  if workers <= 1:
    for job in jobs:
      yield _attempt(function, job)
    return
  crashed = []
  with processes.pool(workers) as pool:
    futures = {pool.submit(function, job): job for job in jobs}
    for future in concurrent.futures.as_completed(futures):
      error = future.exception()
      if isinstance(error, BrokenProcessPool):
        crashed.append(futures[future])
      else:
        yield futures[future], None if error else future.result(), error
  for job in crashed:  # one by one, to tell the culprit from those that shared its pool
    with processes.pool(1) as pool:
      error = (future := pool.submit(function, job)).exception()
      if isinstance(error, BrokenProcessPool):
        error = ValueError("the decoder crashed on it: the file is damaged")
      yield job, None if error else future.result(), error


def _attempt(function: Callable[[Any], Any], job: Any) -> tuple[Any, Any, Exception | None]:
  try:
    return job, function(job), None
  except Exception as error:
    return job, None, error


def _open_takes(work: _Work, takes: Sequence[Take]) -> list[TakeData]:
  opened = []
  for take in takes:
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always", UserWarning)
      try:
        opened.append(open_take(take, work.folder, work.staged))
      except (FileNotFoundError, ValueError) as error:
        work.skipped[take.name] = str(error)
    for text in dict.fromkeys(str(warning.message) for warning in caught):
      work.say(f"warning: {text}")
  return opened


def _make_backgrounds(
  work: _Work, opened: Sequence[TakeData]
) -> tuple[list[TakeData], list[backgrounds.BackgroundJob]]:
  """The takes that got a background for each camera, and the jobs that made them."""
  jobs = backgrounds.group_jobs([data.take for data in opened], work.folder, work.staged)
  for job, crowded in _run(work, backgrounds.make_background, jobs, "backgrounds"):
    if crowded > _CROWDED:
      work.say(
        f"warning: {job.label}: {crowded:.0%} of the frames seem to show more than one person (or "
        "a bad background): the methods expect one; see trim and roi"
      )
  return [data for data in opened if data.take.name not in work.skipped], jobs


def _write(
  final: Path,
  staging_folder: Path,
  opened: Sequence[TakeData],
  grouped: Sequence[backgrounds.BackgroundJob],
  origin: tuple[str, tuple[str, ...]],
) -> None:
  """Writes the data set beside and moves it into its place; `origin`: fingerprint and skipped."""
  from datasets import pose_video
  from datasets.video_folder.builder import Content, VideoFolder, VideoFolderConfig

  splits = tuple(dict.fromkeys(name for data in opened for name in data.take.split_names))
  jobs = {(take.name, job.camera): job for job in grouped for take in job.takes}
  content = Content(tuple(opened), jobs, splits)
  content.check()
  config = VideoFolderConfig(name=final.parent.name, fingerprint=origin[0], skipped=origin[1])
  building = staging_folder.with_name(f"{staging_folder.name}.building")
  shutil.rmtree(building, ignore_errors=True)
  bound = type("VideoFolder", (VideoFolder,), {"content": content}, skip_registration=True)
  built = pose_video.prepare(bound, building, config=config)
  previews = built / "previews"
  previews.mkdir()
  for data in opened:
    for camera in data.cameras:
      write_preview(previews / f"{data.take.name}__{camera}.jpg", data, camera, jobs)
  _swap(built, final)
  shutil.rmtree(building, ignore_errors=True)


def _has_split(data: TakeData, split: str) -> bool:
  ranges = data.take.split_ranges
  return (
    data.take.split == split
    if ranges is None
    else bool(in_ranges(data.frame, ranges.get(split, [])).any())
  )


def request_fingerprint(takes: Sequence[Take], folder: Path, quality: int) -> str:
  """Of all that a data set depends on: descriptions of takes, and size and time of their files."""
  files: list[Any] = []
  for take in takes:
    names = [*take.videos.values(), take.labels]
    for field in ("calibration", "background_image", "background_clip"):
      value = getattr(take, field)
      names += list(value.values()) if isinstance(value, Mapping) else [value]
    for name in filter(None, names):
      path = folder / name
      files.append(staging.file_state(path) if path.is_file() else (str(path), "missing"))
  return staging.fingerprint([quality, [dataclasses.asdict(take) for take in takes], files])


def _stored_options(final: Path) -> dict[str, Any] | None:
  """The options of a prepared data set, None where there is none."""
  if not (final / "dataset_info.json").is_file():
    return None
  path = next(iter(sorted(final.glob("sequences_*.json"))), None)
  return None if path is None else json.loads(path.read_text()).get("options")


def _swap(built: Path, final: Path) -> None:
  """Puts a complete data set in the place of an older one."""
  final.parent.mkdir(parents=True, exist_ok=True)
  old = final.with_name(final.name + ".old")
  shutil.rmtree(old, ignore_errors=True)
  if final.exists():
    final.rename(old)
  built.rename(final)
  shutil.rmtree(old, ignore_errors=True)
