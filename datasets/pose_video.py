"""The base of every data set builder: sequences of tracks in, ArrayRecord and index out.

A subclass says what its skeleton, splits and sequences are. This class writes, without TensorFlow,

  <data_dir>/<name>/<config>/<version>/
    dataset_info.json, features.json, <name>-<split>.array_record-0000i-of-0000n
    index_<split>.npz        the columns that samplers need, one value per frame or track
    sequences_<split>.json   names, cameras, frame rates, skeleton, background of each track
    backgrounds/*.png        each different background once

all of it inside TFDS's temporary directory, which is renamed when it is complete: a build that dies
leaves nothing that looks whole. Equal input gives equal bytes.
"""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxpose import files
from jaxpose.data import records, wire
from jaxpose.geometry import Camera
from jaxpose.skeleton import Skeleton


class PoseVideoBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Writes pose video data sets. Subclasses give `skeleton`, `splits`, `sequences` and VERSION."""

  VERSION = tfds.core.Version("1.0.0")
  code_path = (
    None  # TFDS would look there for checksums, through a module that it doesn't depend on
  )

  def __init_subclass__(cls, **kwargs: Any) -> None:
    """Keeps subclasses out of TFDS's global register, where names may clash."""
    super().__init_subclass__(**({"skip_registration": True} | kwargs))

  def __init__(self, *, file_format: str = "array_record", **kwargs: Any):
    super().__init__(file_format=file_format, **kwargs)
    self._tables: dict[str, _SplitTable] = {}

  @property
  def skeleton(self) -> Skeleton:
    """The joints of `pose2d_px` and `pose3d_mm`."""
    raise TypeError(f"{type(self).__name__} must say what its skeleton is")

  @property
  def splits(self) -> tuple[str, ...]:
    """Names of the splits, in the order in which they are built."""
    raise TypeError(f"{type(self).__name__} must say what its splits are")

  def sequences(self, split: str) -> Iterator[records.Sequence]:
    """Yields the sequences of a split, always in the same order."""
    raise TypeError(f"{type(self).__name__} must yield its sequences")

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=(type(self).__doc__ or "").strip(),
      features=records.build_features(self.skeleton.num_joints),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    return {split: self._generate_examples(split) for split in self.splits}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    table = self._tables[split] = _SplitTable(Path(self.data_dir), self.skeleton)
    key = 0
    for sequence in self.sequences(split):
      table.add(sequence)
      for camera, track in enumerate(sequence.tracks):
        for record in self._track_records(table, sequence, camera, track):
          table.add_content(record)
          yield key, record
          key += 1
    if key == 0:
      raise ValueError(f"{self.name}, split {split!r}: there are no sequences")

  def _track_records(
    self, table: "_SplitTable", sequence: records.Sequence, camera: int, track: records.Track
  ) -> Iterator[dict[str, Any]]:
    where = f"sequence {sequence.name!r}, track {track.camera_name!r}"
    ids = table.ids(sequence)
    stream = records.track_records(track, camera=camera, num_joints=self.skeleton.num_joints, **ids)
    try:
      first = next(stream)
      height, width = records.decode_image(first["image"]).shape[:2]
      table.add_track(sequence, track, (height, width))
      yield first
      yield from stream
    except ValueError as error:
      raise ValueError(f"{where}: {error}") from error

  def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
    super()._download_and_prepare(dl_manager, download_config)
    for split, table in self._tables.items():
      table.save(split, config_options(self.builder_config))

  def _example_writer(self) -> tfds.core.ExampleWriter:
    return _SortedExampleWriter(self.info.file_format)

  def _log_download_bytes(self) -> None:
    """Nothing is downloaded."""

  def _log_download_done(self) -> None:
    """Nothing is downloaded."""


class _SortedExampleWriter(tfds.core.ExampleWriter):
  """Puts the features of each record in order of name: a protobuf map's order is arbitrary."""

  def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
    return super().write(path, ((key, wire.sort_example(data)) for key, data in examples))


class _SplitTable:
  """Collects what goes beside the records: index columns, sequence descriptions, backgrounds."""

  def __init__(self, directory: Path, skeleton: Skeleton):
    self._directory = directory
    self._skeleton = skeleton
    self._sequences: list[dict[str, Any]] = []
    self._subjects: dict[str, int] = {}
    self._actions: dict[str, int] = {}
    self._backgrounds: dict[str, int] = {}
    self._frames: dict[str, list[np.ndarray]] = {}
    self._tracks: dict[str, list[int]] = {}
    self._start = 0
    self._content = hashlib.sha256()

  def add(self, sequence: records.Sequence) -> None:
    """Checks a sequence and opens its description."""
    records.check_sequence(sequence, self._skeleton.num_joints)
    if any(known["name"] == sequence.name for known in self._sequences):
      raise ValueError(f"two sequences are named {sequence.name!r}")
    self._subjects.setdefault(sequence.subject, len(self._subjects))
    self._actions.setdefault(sequence.action, len(self._actions))
    description = {
      "name": sequence.name,
      "subject": sequence.subject,
      "action": sequence.action,
      "fps": float(sequence.fps),
      "tracks": [],
    }
    self._sequences.append(description)

  def ids(self, sequence: records.Sequence) -> dict[str, int]:
    """Numbers of the sequence added last, of its subject and of its action."""
    return {
      "sequence": len(self._sequences) - 1,
      "subject": self._subjects[sequence.subject],
      "action": self._actions[sequence.action],
    }

  def add_track(
    self, sequence: records.Sequence, track: records.Track, size: tuple[int, int]
  ) -> None:
    """Adds a track of the sequence added last; its frames have `size` (height, width).

    Raises:
      ValueError: background or calibration is of another size.
    """
    moving = track.homography is not None
    if not moving and track.background.shape[:2] != size:
      raise ValueError(f"frames of {size}, but a background of {track.background.shape[:2]}")
    if track.camera is not None and (track.camera.height, track.camera.width) != size:
      raise ValueError(
        f"frames of {size} (height, width), but a calibration for "
        f"{(track.camera.height, track.camera.width)}"
      )
    background = self._save_background(track.background)
    tracks = self._sequences[-1]["tracks"]
    columns = {
      "start": self._start,
      "length": track.length,
      "sequence": len(self._sequences) - 1,
      "camera": len(tracks),
      "background": self._backgrounds.setdefault(background, len(self._backgrounds)),
      "moving": int(moving),
    }
    for name, value in columns.items():
      self._tracks.setdefault(name, []).append(value)
    tracks.append(
      {
        "name": track.camera_name,
        "size": [int(size[0]), int(size[1])],
        "background": background,
        "moving": moving,
        "camera": None if track.camera is None else _camera_to_dict(track.camera),
      }
    )
    self._add_frames(track)

  def _add_frames(self, track: records.Track) -> None:
    n = track.length
    frames = {
      "frame": np.asarray(track.frame, np.int32),
      "time_s": np.asarray(track.time_s, np.float32),
      "falling": np.zeros(n, bool) if track.falling is None else np.asarray(track.falling, bool),
      "present": np.full(n, records.UNKNOWN, np.int8)
      if track.present is None
      else np.asarray(track.present, np.int8),
      "labelled": records.labelled_frames(track),
    }
    for name, column in frames.items():
      self._frames.setdefault(name, []).append(column)
    self._start += n

  def add_content(self, record: Mapping[str, Any]) -> None:
    """Takes a record into the digest of all, by which a training knows its data again."""
    for name in sorted(record):
      self._content.update(name.encode())
      self._content.update(_as_bytes(record[name]))

  def _save_background(self, image: np.ndarray) -> str:
    """Writes an image unless it is there already; returns its file's name."""
    digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    path = self._directory / "backgrounds" / f"{digest.hexdigest()[:20]}.png"
    if not path.exists():
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(records.encode_png(image))
    return path.name

  def save(self, split: str, options: dict[str, Any]) -> None:
    """Writes index_<split>.npz and sequences_<split>.json."""
    types: dict[str, Any] = {"start": np.int64, "length": np.int64, "moving": np.bool_}
    columns: dict[str, Any] = {
      f"track_{k}": np.array(v, types.get(k, np.int32)) for k, v in self._tracks.items()
    }
    columns |= {f"frame_{k}": np.concatenate(v) for k, v in self._frames.items()}
    np.savez(self._directory / f"index_{split}.npz", **columns)
    description = {
      "format_version": records.FORMAT_VERSION,
      "skeleton": self._skeleton.to_dict(),
      "subjects": list(self._subjects),
      "actions": list(self._actions),
      "backgrounds": list(self._backgrounds),
      "options": options,
      "content": self._content.hexdigest()[:32],
      "sequences": self._sequences,
    }
    path = self._directory / f"sequences_{split}.json"
    path.write_text(json.dumps(description, indent=1) + "\n")


def _as_bytes(value: Any) -> bytes:
  return value if isinstance(value, bytes) else np.asarray(value).tobytes()


def _camera_to_dict(camera: Camera) -> dict[str, Any]:
  return {
    "K": np.asarray(camera.K, float).tolist(),
    "R": np.asarray(camera.R, float).tolist(),
    "t_mm": np.asarray(camera.t_mm, float).ravel().tolist(),
    "distortion": np.asarray(camera.distortion, float).ravel().tolist(),
    "width": int(camera.width),
    "height": int(camera.height),
  }


def config_options(config: Any) -> dict[str, Any]:
  """The fields of a builder config that decide the content of the data, as JSON has them."""
  if config is None or not dataclasses.is_dataclass(config):
    return {}
  inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
  options = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if field.name not in inherited
  }
  return json.loads(json.dumps(options, default=str))


def prepare(
  builder_class: type[PoseVideoBuilder],
  data_dir: str | Path,
  *,
  config: Any = None,
  num_shards: int | None = None,
) -> Path:
  """Builds a data set unless it is there, and returns its folder.

  Only one process at a time builds in `data_dir`; the others wait and find it done.

  Args:
    builder_class: which data set.
    data_dir: the folder of all data sets.
    config: a builder config or the name of one; None for the default.
    num_shards: files per split; None lets TFDS choose by size.

  Raises:
    ValueError: the data set is there, built with other options under the same name.
    OSError: there is no space left, or `data_dir` cannot be written.
  """
  root = Path(data_dir).expanduser().resolve()
  root.mkdir(parents=True, exist_ok=True)
  builder = builder_class(data_dir=root, config=config)
  directory = Path(builder.data_dir)
  if not (directory / "dataset_info.json").exists():
    with files.locked(root / f".{builder.name}.lock") as alone:
      if not (directory / "dataset_info.json").exists():
        _build(builder_class(data_dir=root, config=config), directory, num_shards, alone)
  _check_options(builder, directory)
  return directory


def _build(builder: PoseVideoBuilder, directory: Path, num_shards: int | None, alone: bool) -> None:
  if alone:  # else another process may be at it
    for stale in directory.parent.glob("*incomplete*"):  # versions of TFDS differ in the rest
      shutil.rmtree(stale)  # of a build that was killed
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
  try:
    with tempfile.TemporaryDirectory() as unused:  # else TFDS leaves an empty `downloads` behind
      builder.download_and_prepare(download_dir=unused, download_config=config)
  except RuntimeError as error:  # ArrayRecord and TFDS have no other for a disk that is full
    if os.strerror(errno.ENOSPC) not in str(error):
      raise
    raise OSError(errno.ENOSPC, f"cannot write {directory}: {os.strerror(errno.ENOSPC)}") from error
  finally:
    tfds.enable_progress_bar()


def _check_options(builder: PoseVideoBuilder, directory: Path) -> None:
  wanted = config_options(builder.builder_config)
  for path in sorted(directory.glob("sequences_*.json")):
    found = json.loads(path.read_text()).get("options")
    if found != wanted:
      raise ValueError(
        f"{directory} was built with options {found}, but {wanted} are asked for: "
        "give the config another name, or remove the folder"
      )
