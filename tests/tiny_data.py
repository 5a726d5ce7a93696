"""Made-up indexes and prepared data sets, small and asymmetrical, for tests."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.pose_video import PoseVideoBuilder, prepare
from jaxpose.data import records
from jaxpose.data.batches import BatchMaker, TemporalConfig
from jaxpose.data.columns import Index
from jaxpose.data.index import Dataset, open_dataset
from jaxpose.data.sources import Source
from jaxpose.geometry import Camera
from jaxpose.skeleton import Skeleton

LEG = Skeleton("leg", ("hip", "knee", "ankle"), (0, 0, 1), (), (0,))
HEIGHT, WIDTH = 24, 40


def make_index(
  tracks: Sequence[Sequence[int]],
  *,
  sequences: Sequence[int] | None = None,
  falling: Sequence[Sequence[bool]] | None = None,
  fps: float = 25.0,
) -> Index:
  """An index of tracks given by their frame numbers; each its own sequence unless told."""
  length = np.array([len(track) for track in tracks], np.int64)
  sequence = np.arange(len(tracks)) if sequences is None else np.array(sequences)
  frame = np.concatenate([np.array(t, np.int32) for t in tracks])
  count = int(sequence.max()) + 1
  camera = [list(sequence[:i]).count(s) for i, s in enumerate(sequence)]
  fall = np.zeros(len(frame), bool) if falling is None else np.concatenate([*falling]).astype(bool)
  return Index(
    start=np.cumsum(length) - length,
    length=length,
    sequence=sequence.astype(np.int32),
    camera=np.array(camera, np.int32),
    background=np.zeros(len(tracks), np.int32),
    moving=np.zeros(len(tracks), bool),
    frame=frame,
    time_s=(frame / fps).astype(np.float32),
    falling=fall,
    present=np.full(len(frame), -1, np.int8),
    labelled=np.zeros(len(frame), bool),
    subject=np.zeros(count, np.int32),
    action=np.zeros(count, np.int32),
    fps=np.full(count, fps),
  )


def colour(sequence: int, camera: int, frame: int) -> tuple[int, int, int]:
  """The colour of a whole frame of the tiny data: it says which frame it is."""
  return (20 + 60 * sequence, 30 + 90 * camera, 4 * frame)


def tiny_camera(width: int = WIDTH, height: int = HEIGHT, *, number: int = 0) -> Camera:
  """A camera that looks along z from 3 m, each further one from 1 m more."""
  k = np.array([[50.0, 0, 19], [0, 45, 11], [0, 0, 1]])
  place = np.array([0, 0, 3000.0 + 1000 * number])
  return Camera(k, np.eye(3), place, np.zeros(5), width, height)


def tiny_track(
  sequence: int, camera: int, frames: Sequence[int], *, fps: float = 25.0, **fields: Any
) -> records.Track:
  """A track whose frames have the colours of `colour`, with a 3D pose on even rows."""
  n = len(frames)
  images = [
    records.encode_jpeg(np.full((HEIGHT, WIDTH, 3), colour(sequence, camera, f), np.uint8), 95)
    for f in frames
  ]
  pose = np.full((n, 3, 3), np.nan, np.float32)
  pose[::2] = np.arange(9).reshape(3, 3) * 10 + np.array([0, 0, 3000])
  pose[::2, 0, 0] = np.array(frames)[::2]
  values: dict[str, Any] = {
    "camera": tiny_camera(number=camera),
    "background": np.full((HEIGHT, WIDTH, 3), (200, 10 * sequence, 70 * camera), np.uint8),
    "pose3d_mm": pose,
  } | fields
  return records.Track(
    camera_name=f"cam{camera}",
    images=images,
    frame=np.array(frames, np.int32),
    time_s=np.array(frames) / fps,
    **values,
  )


class TinyVideo(PoseVideoBuilder):
  """Two sequences: one of two cameras with a gap in the second, one of a single falling camera."""

  skeleton = LEG
  splits = ("train", "test")

  def sequences(self, split: str) -> Any:
    last = 30 if split == "train" else 20
    tracks = [
      tiny_track(0, 0, range(3, last)),
      tiny_track(0, 1, [*range(3, 12), *range(15, last)]),
    ]
    yield records.Sequence("walk", "anna", "walking", 25.0, tracks)
    frames = range(0, 22, 2)
    falling = np.array([False, False] + [True] * 8 + [False])
    yield records.Sequence(
      "dive", "bo", "diving", 25.0, [tiny_track(1, 0, frames, falling=falling)]
    )


def open_tiny(folder: Path, split: str = "train") -> Dataset:
  """Builds `TinyVideo` in two shards, unless it is there, and opens a split."""
  return open_dataset(prepare(TinyVideo, folder, num_shards=2), split)


def make_large(folder: Path, tracks: int = 1800, length: int = 2000) -> Path:
  """The tiny data's folder with an index of 3.6 million frames that it doesn't have; no JPEGs."""
  directory = shutil.copytree(open_tiny(folder).directory, folder / "large")
  frames, zeros = tracks * length, np.zeros(tracks, np.int32)
  np.savez(
    directory / "index_train.npz",
    track_start=np.arange(tracks, dtype=np.int64) * length,
    track_length=np.full(tracks, length, np.int64),
    track_sequence=zeros,
    track_camera=zeros,
    track_background=zeros,
    track_moving=zeros.astype(bool),
    frame_frame=np.tile(np.arange(length, dtype=np.int32), tracks),
    frame_time_s=np.tile(np.arange(length, dtype=np.float32) / 50, tracks),
    frame_falling=np.zeros(frames, bool),
    frame_present=np.zeros(frames, np.int8),
    frame_labelled=np.zeros(frames, bool),
  )
  info = json.loads((directory / "dataset_info.json").read_text())
  info["splits"][0]["shardLengths"] = [str(frames - 31), "31"]
  (directory / "dataset_info.json").write_text(json.dumps(info))
  return directory


def make_large_batches(directory, unit="frames"):
  """Batches of 32 x 4 frames of `make_large`'s data, whose tracks have 50 frames/s."""
  scale = 1 if unit == "frames" else 1 / 50
  return BatchMaker(
    [Source(open_dataset(directory, "train"))],
    temporal=TemporalConfig(near_max=10 * scale, far_min=60 * scale, unit=unit),
    pair=None,
    batch_size=32,
    seed=0,
    image_size=None,
    host_index=0,
    host_count=1,
  )
