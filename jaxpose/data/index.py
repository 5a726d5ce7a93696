"""Opens a prepared data set: a few integer arrays to sample from, and random access to frames."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxpose import files
from jaxpose.data import records, transforms
from jaxpose.data.columns import FRAME_COLUMNS, TRACK_COLUMNS, Index
from jaxpose.data.description import adds_up, check_description
from jaxpose.data.storage import BackgroundCache, Shards
from jaxpose.skeleton import Skeleton

LABELS = (*records.LABEL_FIELDS, "K")  # that a data set may have of a frame


def open_dataset(directory: str | Path, split: str) -> "Dataset":
  """Opens one split of a prepared data set; reads no frames yet.

  Args:
    directory: of the data set.
    split: its name; or several, such as "test|train": the first of them that the data set has.

  Raises:
    FileNotFoundError: the folder, the split or a shard is missing.
    ValueError: a file is damaged, or of another format version.
  """
  directory = Path(directory)
  if not (directory / "dataset_info.json").exists():
    raise FileNotFoundError(
      f"no prepared data set in {directory}: dataset_info.json is missing; run launch/prepare.py"
    )
  there = _split_names(directory)
  split = next((name for name in split.split("|") if name in there), split)
  description = _load_description(directory, split)
  index = _load_index(directory, split, description)
  shards, lengths = _find_shards(directory, split)
  if sum(lengths) != index.num_frames:
    raise ValueError(
      f"{directory}, split {split}: {sum(lengths)} records but an index of {index.num_frames} "
      "frames; prepare the data set again"
    )
  return Dataset(directory, split, index, description, shards, lengths)


def _split_names(directory: Path) -> list[str]:
  return sorted(p.stem.removeprefix("sequences_") for p in directory.glob("sequences_*.json"))


def _load_description(directory: Path, split: str) -> dict[str, Any]:
  path = directory / f"sequences_{split}.json"
  if not path.exists():
    there = ", ".join(_split_names(directory))
    raise FileNotFoundError(f"{directory} has no split {split!r}; it has {there}")
  try:
    description = files.load_json(path)
  except ValueError as error:
    raise ValueError(f"{error}; prepare the data set again") from error
  version = description.get("format_version")
  if version != records.FORMAT_VERSION:
    raise ValueError(
      f"{path} has format version {version}, this code reads {records.FORMAT_VERSION}; "
      "prepare the data set again"
    )
  try:
    check_description(description)
  except (ValueError, LookupError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} is damaged ({error!r}); prepare the data set again") from error
  return description


def _load_index(directory: Path, split: str, description: dict[str, Any]) -> Index:
  path = directory / f"index_{split}.npz"
  if not path.exists():
    raise FileNotFoundError(f"{path} is missing; prepare the data set again")
  sequences = description["sequences"]
  subjects = {name: i for i, name in enumerate(description["subjects"])}
  actions = {name: i for i, name in enumerate(description["actions"])}
  try:
    columns = files.load_npz(path)
    index = Index(
      **{name: columns[f"track_{name}"] for name in TRACK_COLUMNS},
      **{name: columns[f"frame_{name}"] for name in FRAME_COLUMNS},
      subject=np.array([subjects[s["subject"]] for s in sequences], np.int32),
      action=np.array([actions[s["action"]] for s in sequences], np.int32),
      fps=np.array([s["fps"] for s in sequences], np.float64),
    )
  except (KeyError, ValueError) as error:
    raise ValueError(f"{path} is damaged ({error}); prepare the data set again") from error
  tracks = {name: getattr(index, name) for name in TRACK_COLUMNS}
  frames = {name: getattr(index, name) for name in FRAME_COLUMNS}
  if not adds_up(tracks, frames, description):
    raise ValueError(f"{path} is damaged (its tracks do not add up); prepare the data set again")
  return index


def _find_shards(directory: Path, split: str) -> tuple[list[Path], list[int]]:
  path = directory / "dataset_info.json"
  try:
    info = files.load_json(path)
    lengths = next(s["shardLengths"] for s in info["splits"] if s["name"] == split)
    lengths = [int(length) for length in lengths]
    name = str(info["name"])
    if Path(name).name != name or min(lengths, default=-1) < 0:
      raise ValueError(f"name {name!r}, shards of {lengths}")
  except (ValueError, LookupError, TypeError, StopIteration) as error:
    raise ValueError(
      f"{path} does not describe split {split!r} ({error!r}); prepare the data set again"
    ) from error
  count = len(lengths)
  shards = [directory / f"{name}-{split}.array_record-{i:05d}-of-{count:05d}" for i in range(count)]
  for shard in shards:
    if not shard.exists():
      raise FileNotFoundError(f"shard {shard} is missing; prepare the data set again")
  return shards, lengths


class Dataset:
  """One split of a prepared data set; picklable, and safe across threads and processes.

  Attributes:
    directory, split: where it lies.
    index: the columns that samplers need.
    sequences: description of each sequence: name, subject, action, fps, tracks.
    subjects, actions: names that the numbers in the index stand for.
    skeleton: joints of the poses.
  """

  def __init__(
    self,
    directory: Path,
    split: str,
    index: Index,
    description: dict[str, Any],
    shards: list[Path],
    lengths: list[int],
  ):
    self.directory = directory
    self.split = split
    self.index = index
    self.sequences: list[dict[str, Any]] = description["sequences"]
    self.subjects: list[str] = description["subjects"]
    self.actions: list[str] = description["actions"]
    self.skeleton = Skeleton.from_dict(description["skeleton"])
    self._background_names: list[str] = description["backgrounds"]
    self._where = f"data set {directory}, split {split}"
    self._shards = Shards(shards, lengths, self._where)
    self._cache = BackgroundCache(directory / "backgrounds")

  def __reduce__(self) -> Any:
    return open_dataset, (self.directory, self.split)

  @property
  def num_frames(self) -> int:
    return self.index.num_frames

  def fingerprint(self) -> str:
    """Changes with the content of the records, and what the data set was prepared from."""
    path = self.directory / f"sequences_{self.split}.json"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

  @property
  def frame_size(self) -> tuple[int, int] | None:
    """(height, width) of all frames, or None where they differ."""
    sizes = {tuple(track["size"]) for s in self.sequences for track in s["tracks"]}
    return sizes.pop() if len(sizes) == 1 else None

  def read(
    self,
    ids: Int[np.ndarray, " n"],
    *,
    image_size: tuple[int, int] | None = None,
    with_labels: bool = False,
  ) -> dict[str, np.ndarray]:
    """Reads frames, letterboxed to `image_size`, with their backgrounds.

    Args:
      ids: frame numbers in the split.
      image_size: (height, width); None keeps the data set's one size.
      with_labels: adds `records.LABEL_FIELDS`, px following the letterbox, and K [n, 3, 3] of the
        letterboxed frame (NaN where there is no calibration).

    Returns:
      image [n, H, W, 3], background [n, H, W, 3] and what `columns` returns.

    Raises:
      IndexError: an id is out of range.
      ValueError: a record is damaged, or sizes differ without an `image_size`.
    """
    ids = np.asarray(ids, np.int64)
    n = len(ids)
    height, width = self.output_size(image_size)
    batch = {
      "image": np.empty((n, height, width, 3), np.uint8),
      "background": np.empty((n, height, width, 3), np.uint8),
    }
    if with_labels:
      batch |= self.make_labels(n)
    self.fill(batch, ids, np.arange(n), np.arange(n))
    return batch | self.columns(ids)

  def fill(
    self,
    batch: dict[str, np.ndarray],
    ids: Int[np.ndarray, " n"],
    places: Int[np.ndarray, " n"],
    background_places: Int[np.ndarray, " n"],
  ) -> None:
    """Decodes frames into rows of preallocated arrays; a repeated frame is read once.

    Args:
      batch: image [N, H, W, 3], background [M, H, W, 3], and what `make_labels` makes, or none.
      ids: frame numbers in the split.
      places: row of `image` and of the labels that each frame goes to.
      background_places: row of `background`, or -1.

    Raises:
      IndexError: an id is out of range.
      ValueError: a record is damaged.
    """
    self._check_ids(ids)
    unique, inverse = np.unique(ids, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    tracks = self.index.track_of(unique).tolist()
    found = self._shards.read(unique)
    for frame_id, track, rows, data in zip(unique.tolist(), tracks, groups, found):
      to = background_places[rows]
      try:
        self._fill_one(batch, track, data, places[rows].tolist(), to[to >= 0].tolist())
      except ValueError as error:
        raise ValueError(f"{self._where}, record {frame_id}: {error}") from error

  def read_masks(
    self, ids: Int[np.ndarray, " n"], *, image_size: tuple[int, int] | None = None
  ) -> UInt8[np.ndarray, "n H W"]:
    """True silhouettes 0..255, letterboxed, for evaluation.

    Raises:
      IndexError: an id is out of range.
      ValueError: a frame has none, or it is damaged.
    """
    ids = np.asarray(ids, np.int64)
    self._check_ids(ids)
    masks = np.empty((len(ids), *self.output_size(image_size)), np.uint8)
    for i, data in enumerate(self._shards.read(ids)):
      try:
        mask = records.decode_mask(records.parse_record(data, ("mask",))["mask"])
      except ValueError as error:
        raise ValueError(f"{self._where}, record {ids[i]}: {error}") from error
      box = transforms.make_letterbox(mask.shape, masks.shape[1:])
      transforms.letterbox_image(mask, box, masks[i])
    return masks

  def read_poses(
    self, ids: Int[np.ndarray, " n"]
  ) -> tuple[Float[np.ndarray, "n J 3"], Bool[np.ndarray, "n J"]]:
    """3D poses (mm, camera frame) and which joints are valid, see `read_labels`."""
    labels = self.read_labels(ids, ("pose3d_mm", "joint_valid"))
    return labels["pose3d_mm"], labels["joint_valid"]

  def read_labels(
    self, ids: Int[np.ndarray, " n"], names: Collection[str] = LABELS
  ) -> dict[str, np.ndarray]:
    """Labels `names` of `LABELS`, px of the frames as they are stored; decodes no image.

    Raises:
      IndexError: an id is out of range.
      ValueError: a record is damaged.
    """
    ids = np.asarray(ids, np.int64)
    self._check_ids(ids)
    labels = self.make_labels(len(ids), names)
    wanted = tuple(name for name in records.LABEL_FIELDS if name in labels)
    for i, (track, data) in enumerate(zip(self.index.track_of(ids), self._shards.read(ids))):
      try:
        self._fill_labels(labels, [i], track, records.parse_record(data, wanted), np.eye(3))
      except ValueError as error:
        raise ValueError(f"{self._where}, record {ids[i]}: {error}") from error
    return labels

  def _check_ids(self, ids: Int[np.ndarray, " n"]) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= self.num_frames):
      raise IndexError(f"{self._where} has frames 0..{self.num_frames - 1}, not {ids}")

  def background(self, number: int) -> UInt8[np.ndarray, "H W 3"]:
    """A background image as stored: of a frame's size, or a panorama."""
    return self._cache.image(self._background_names[number])

  def backgrounds_of(
    self, ids: Int[np.ndarray, " n"], image_size: tuple[int, int]
  ) -> UInt8[np.ndarray, "n H W 3"]:
    """The letterboxed backgrounds of frames; reads a record only where the camera moves.

    Raises:
      IndexError: an id is out of range.
      ValueError: a record is damaged.
    """
    self._check_ids(ids)
    out = np.empty((len(ids), *image_size, 3), np.uint8)
    tracks = self.index.track_of(ids)
    for i, track in enumerate(tracks.tolist()):
      sequence = self.sequences[self.index.sequence[track]]
      size = tuple(sequence["tracks"][self.index.camera[track]]["size"])
      box = transforms.make_letterbox((int(size[0]), int(size[1])), image_size)
      name = self._background_names[self.index.background[track]]
      if not self.index.moving[track]:
        out[i] = self._cache.letterboxed(name, box)
        continue
      (data,) = self._shards.read(ids[i : i + 1])
      homography = records.parse_record(data, ("homography",))["homography"]
      frame = transforms.warp_panorama(self._cache.image(name), homography, box.size)
      transforms.letterbox_image(frame, box, out[i])
    return out

  def output_size(self, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """`image_size`, or the data set's own.

    Raises:
      ValueError: neither is there: its frames differ in size.
    """
    if image_size is not None:
      return (int(image_size[0]), int(image_size[1]))
    size = self.frame_size
    if size is None:
      raise ValueError(f"{self._where} has frames of several sizes: give an image_size")
    return size

  def columns(self, ids: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """sequence, camera, frame, time_s, subject, action and falling of frames, [n] each."""
    index = self.index
    track = index.track_of(ids)
    sequence = index.sequence[track]
    return {
      "sequence": sequence,
      "camera": index.camera[track],
      "frame": index.frame[ids],
      "time_s": index.time_s[ids],
      "subject": index.subject[sequence],
      "action": index.action[sequence],
      "falling": index.falling[ids],
    }

  def make_labels(self, n: int, names: Collection[str] = LABELS) -> dict[str, np.ndarray]:
    """Arrays [n, ...] for `fill` to write the labels `names` of `LABELS` into."""
    joints = self.skeleton.num_joints
    arrays = {
      "present": np.empty(n, np.int32),
      "box_px": np.empty((n, 4), np.float32),
      "pose2d_px": np.empty((n, joints, 2), np.float32),
      "pose3d_mm": np.empty((n, joints, 3), np.float32),
      "joint_valid": np.empty((n, joints), bool),
      "K": np.full((n, 3, 3), np.nan, np.float32),
    }
    return {name: arrays[name] for name in names}

  def _fill_one(
    self,
    batch: dict[str, np.ndarray],
    track: int,
    data: bytes,
    places: list[int],
    background_places: list[int],
  ) -> None:
    """Decodes one record into its rows of the batch."""
    moving = bool(self.index.moving[track]) and bool(background_places)
    labels = [name for name in records.LABEL_FIELDS if name in batch]
    names = ("image", *labels, *(("homography",) if moving else ()))
    record = records.parse_record(data, names)
    image = records.decode_image(record["image"])
    box = transforms.make_letterbox(image.shape[:2], batch["image"].shape[1:3])
    transforms.letterbox_image(image, box, batch["image"][places[0]])
    for place in places[1:]:
      batch["image"][place] = batch["image"][places[0]]
    if background_places:
      name = self._background_names[self.index.background[track]]
      if moving:
        panorama = self._cache.image(name)
        frame = transforms.warp_panorama(panorama, record["homography"], image.shape[:2])
        shown = np.empty_like(batch["background"][0])
        transforms.letterbox_image(frame, box, shown)
      else:
        shown = self._cache.letterboxed(name, box)
      batch["background"][background_places] = shown
    if labels or "K" in batch:
      self._fill_labels(batch, places, track, record, box.matrix)

  def _fill_labels(
    self,
    batch: dict[str, np.ndarray],
    places: list[int],
    track: int,
    record: dict[str, Any],
    matrix: Float[np.ndarray, "3 3"],
  ) -> None:
    moved = {"box_px": transforms.transform_box, "pose2d_px": transforms.transform_points}
    for name in records.LABEL_FIELDS:
      if name in batch:
        value = record[name]
        batch[name][places] = moved[name](matrix, value) if name in moved else value
    if "K" not in batch:
      return
    sequence = self.sequences[self.index.sequence[track]]
    camera = sequence["tracks"][self.index.camera[track]]["camera"]
    if camera is not None:
      batch["K"][places] = matrix @ np.asarray(camera["K"])
