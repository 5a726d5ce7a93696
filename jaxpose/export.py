"""Embeds every frame of a data set and writes the vectors, boxes, presence, ids and labels.

Columns (N frames, in order of sequence, camera, frame):

  time_variant [N, Dv], time_invariant [N, Di]
  box [N, 4]            (s_x, s_y, u_x, u_y), see geometry.box_to_corners_px; box_px [N, 4] px
  mask_box_px [N, 4]    px of the smallest box around the mask ≥ 0.15 of its maximum; NaN: no mask
  presence [N]          0 (empty) to 1 (a person), calibrated on the training frames' presence_gain;
                        1 where the run reconstructs nothing, which has no masks and gains either
  presence_gain [N]     squared error of the bare background minus that of the reconstruction
  background_error [N]  squared error of the bare background
  mask_max [N]          largest value of the unnormalised mask
  sequence, camera, frame, time_s, subject, action [N]
  present [N]           as recorded: -1 unknown, 0 empty, 1 person
  box_true_px [N, 4], pose2d_px [N, J, 2], pose3d_mm [N, J, 3] (camera frame), joint_valid [N, J],
  camera_K [N, 3, 3]    NaN where unknown; px of the letterboxed frame (image_size)

Constants: sequence_names, subject_names, action_names, joint_names, parents, root, skeleton (JSON),
image_size (height, width), presence_calibration [4], config (JSON), checkpoint, weights (their
digest), split, source.
"""

import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpose import geometry, provenance
from jaxpose.embeddings import EmbeddingWriter, load_embeddings
from jaxpose.evaluation.label_table import is_filled_in, write_label_table
from jaxpose.evaluation.presence import (
  PresenceCalibration,
  calibrate_presence,
  estimate_presence,
)
from jaxpose.evaluation.protocols import has_person
from jaxpose.evaluation.suggest import suggest_frames
from jaxpose.skeleton import Skeleton

TRAIN, TEST = "train", "test"
RANDOM_PREFIX = "random_"
SUGGESTIONS = "suggestions.csv"
NPZ_BELOW_BYTES = 2**30
_CALIBRATION_ROWS = 1_000_000
_PROGRESS_S = 5.0
_CALIBRATION, _PRESENCE = ("presence_calibration",), ("presence", "present")
Batch = Mapping[str, Any]
Embed = Callable[[Batch], Mapping[str, Any]]
Say = Callable[[str], None]

# Columns of a batch of frames, and what they are called in the export.
_IDS = ("sequence", "camera", "frame", "time_s", "subject", "action")
_LABELS = {
  "present": "present",
  "box_px": "box_true_px",
  "pose2d_px": "pose2d_px",
  "pose3d_mm": "pose3d_mm",
  "joint_valid": "joint_valid",
  "K": "camera_K",
}
# What a method's `embed` gives keeps its name, but for these.
_NAMES = {"gain": "presence_gain"}


class Source(NamedTuple):
  """What an export is of: written beside the columns.

  Attributes:
    sequence_names, subject_names, action_names: what the numbers in the columns stand for.
    skeleton: of the poses.
    image_size: (height, width) of the frames that are embedded.
    config: of the run, JSON.
    fingerprint: of what the run learns; the rest of the configuration may change.
    checkpoint: which weights.
    data: where the frames come from, and which; the folder may be prepared again.
    weights: digest of the weights that embed, see `provenance`.
  """

  sequence_names: list[str]
  subject_names: list[str]
  action_names: list[str]
  skeleton: Skeleton
  image_size: tuple[int, int]
  config: str
  fingerprint: str
  checkpoint: str
  data: str
  weights: str = ""

  def digest(self, split: str) -> str:
    """Changes with anything that the export depends on."""
    values = {**self._asdict(), "skeleton": self.skeleton.to_dict(), "split": split}
    del values["config"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def export_embeddings(
  embed: Embed,
  batches: Iterable[Batch],
  folder: str | os.PathLike[str],
  split: str,
  source: Source,
  *,
  num_frames: int,
  calibration: PresenceCalibration | None = None,
  npz_below: int = NPZ_BELOW_BYTES,
  progress: Say | None = None,
) -> pathlib.Path:
  """Streams one split to `folder/split.npz`, or, from `npz_below` bytes on, to shards.

  An export of the same source that is already there is left as it is.

  Args:
    embed: a batch of frames -> time_variant, time_invariant, box and more ([B, ...] each); with
      gain and background_error, presence is estimated too.
    batches: as `data.pipeline.make_frame_batches` gives them; padding has `valid` False.
    split: names the file.
    num_frames: for the time left.
    calibration: of presence; None: these frames are the training frames to calibrate on.
    progress: called with one line of text at a time.

  Returns:
    Where it lies.

  Raises:
    ValueError: there is no frame, or no finite gain.
    OSError: it cannot be written.
  """
  say = progress if progress is not None else lambda line: None
  folder = pathlib.Path(folder)
  if is_exported(folder, split, source):
    say(f"export {split}: finished before, in {folder}")
    npz = folder / f"{split}.npz"
    return npz if npz.is_file() else folder / split
  clock = _Clock(say, split, num_frames)
  with EmbeddingWriter(folder / split) as writer:
    for batch in batches:
      keep = np.asarray(batch["valid"], bool)
      vectors = embed(batch)
      writer.append(_columns(batch, vectors, keep, source.image_size))
      clock.tell(int(keep.sum()))
    if not writer.rows:
      raise ValueError(f"split {split} of {source.data} has no frame to export")
    if "gain" in vectors:
      calibration = _derive_presence(writer, calibration)
    return writer.commit(_constants(source, split, calibration), npz_below=npz_below)


def _derive_presence(
  writer: EmbeddingWriter, calibration: PresenceCalibration | None
) -> PresenceCalibration:
  """Adds the column `presence`, calibrated on these very frames where nothing else is given."""
  if calibration is None:
    gains, errors = writer.column("presence_gain"), writer.column("background_error")
    step = -(-len(gains) // _CALIBRATION_ROWS)
    calibration = calibrate_presence(gains[::step], errors[::step])
  border = calibration
  writer.derive("presence", "presence_gain", lambda gain: estimate_presence(gain, border))
  return border


def is_exported(folder: str | os.PathLike[str], split: str, source: Source) -> bool:
  """Is a whole export of the same source there?"""
  try:
    found = load_embeddings(folder, split, names=("source",))
  except (FileNotFoundError, ValueError):
    return False
  return "source" in found and str(found["source"]) == source.digest(split)


def load_calibration(embeddings: Mapping[str, Any]) -> PresenceCalibration | None:
  """The border between empty frames and frames with a person that an export was made with.

  None where the run reconstructs nothing and takes every frame for occupied.
  """
  if "presence_calibration" not in embeddings:
    return None
  return PresenceCalibration(*(float(v) for v in embeddings["presence_calibration"]))


def write_suggestions(
  folder: str | os.PathLike[str], count: int, *, method: str = "kmeans", split: str = TRAIN
) -> pathlib.Path:
  """Writes which exported frames to label to `folder/suggestions.csv`, with empty pose columns.

  Raises:
    ValueError: more frames are asked for than show a person.
  """
  embeddings = load_embeddings(folder, split)
  rows = suggest_frames(embeddings, count, method=method)
  path = pathlib.Path(folder) / SUGGESTIONS
  joints = [str(name) for name in embeddings["joint_names"]]
  write_label_table(path, embeddings, rows, split=split, joints=joints)
  return path


def _columns(
  batch: Batch, vectors: Mapping[str, Any], keep: np.ndarray, image_size: tuple[int, int]
) -> dict[str, np.ndarray]:
  named = {_NAMES.get(name, name): np.asarray(array) for name, array in vectors.items()}
  found = {name: _float32(array)[keep] for name, array in named.items()}
  found["box_px"] = geometry.box_to_corners_px(found["box"], *image_size)
  found.update({name: np.asarray(batch[name])[keep] for name in _IDS})
  found.update({new: np.asarray(batch[old])[keep] for old, new in _LABELS.items() if old in batch})
  return found


def _float32(array: np.ndarray) -> np.ndarray:
  return array.astype(np.float32) if array.dtype != np.float32 else array


def _constants(
  source: Source, split: str, calibration: PresenceCalibration | None
) -> dict[str, np.ndarray]:
  skeleton = source.skeleton
  border = {} if calibration is None else {"presence_calibration": np.array(calibration)}
  return {
    **border,
    "sequence_names": np.array(source.sequence_names, np.str_),
    "subject_names": np.array(source.subject_names, np.str_),
    "action_names": np.array(source.action_names, np.str_),
    "joint_names": np.array(skeleton.joints, np.str_),
    "parents": np.array(skeleton.parents, np.int32),
    "root": np.array(skeleton.root, np.int32),
    "skeleton": np.array(json.dumps(skeleton.to_dict())),
    "image_size": np.array(source.image_size, np.int32),
    "config": np.array(source.config),
    "checkpoint": np.array(source.checkpoint),
    "weights": np.array(source.weights),
    "split": np.array(split),
    "source": np.array(source.digest(split)),
  }


class _Clock:
  """Says how far an export is, at once and then every few seconds."""

  def __init__(self, say: Say, split: str, total: int) -> None:
    self._say, self._split, self._total = say, split, total
    self._done, self._start, self._last = 0, time.monotonic(), -_PROGRESS_S

  def tell(self, frames: int) -> None:
    self._done += frames
    now = time.monotonic()
    if now - self._last < _PROGRESS_S and self._done < self._total:
      return
    self._last = now
    speed = self._done / max(now - self._start, 1e-9)
    left = (self._total - self._done) / max(speed, 1e-9)
    self._say(
      f"export {self._split}: {self._done}/{self._total} frames, {speed:.0f} frames/s, "
      f"{left:.0f} s left"
    )


def export_run(
  experiment: Any,
  *,
  which: str = "",
  splits: Sequence[str] = (TRAIN, TEST),
  random: bool = True,
  suggestions: int | None = None,
  suggestion_method: str = "kmeans",
  folder: str | os.PathLike[str] | None = None,
  progress: Say = print,
) -> pathlib.Path:
  """Exports the splits of a trained run, and the frames that are worth labelling.

  A table of such frames that somebody has written poses into is never replaced.

  Args:
    experiment: a `jaxpose.experiment.Experiment`.
    which: the "best" or "last" checkpoint; empty: the configured one.
    splits: names of splits; "train" comes first in any case, presence is calibrated on it.
    random: the embeddings of an untrained encoder on the same crops too, as `random_<split>`.
    suggestions: how many frames to suggest; None: the configured number, or, where fewer show a
      person, all of them.
    folder: where to write; `embeddings` in the work directory by default.

  Returns:
    The folder.

  Raises:
    FileNotFoundError: there is no checkpoint, or no data.
  """
  from jaxpose.training import checkpoint

  folder = pathlib.Path(folder if folder is not None else experiment.workdir / "embeddings")
  which = which or experiment.config.export.checkpoint
  trained = experiment.restore(which)
  label = f"{which}, step {checkpoint.latest_step(experiment.workdir, which)}"
  weights = provenance.digest_weights(trained)
  splits = [TRAIN, *(split for split in splits if split != TRAIN)]
  made = _Made(label, weights, lambda: experiment.make_embed(trained))
  _export_kind(experiment, folder, "", made, splits, progress)
  if random:

    def make_random() -> Embed:
      return experiment.make_encode(experiment.random_variables(trained))

    made = _Made(f"random encoder, {label}", f"random, {weights}", make_random)
    _export_kind(experiment, folder, RANDOM_PREFIX, made, splits, progress)
  count = suggestions
  if count is None:
    people = int(has_person(load_embeddings(folder, TRAIN, _PRESENCE)).sum())
    count = min(experiment.config.export.suggestions, people)
  if is_filled_in(folder / SUGGESTIONS):
    progress(f"frames to label: {folder / SUGGESTIONS} has been filled in and stays as it is")
  elif count:
    progress(f"frames to label: {write_suggestions(folder, count, method=suggestion_method)}")
  return folder


class _Made(NamedTuple):
  """What embeds: which checkpoint, the digest of its weights, and how it is compiled."""

  checkpoint: str
  weights: str
  make_embed: Callable[[], Embed]


def _export_kind(
  experiment: Any,
  folder: pathlib.Path,
  prefix: str,
  made: _Made,
  splits: Sequence[str],
  progress: Say,
) -> None:
  """One encoder's embeddings of every split; loads and compiles nothing if all are there."""
  sources = {split: _describe(experiment, split, made) for split in splits}
  embed: Embed | None = None
  for split in splits:
    name = prefix + split
    if is_exported(folder, name, sources[split]):
      progress(f"export {name}: finished before, in {folder}")
      continue
    if embed is None:
      embed = made.make_embed()
    known = None
    if split != TRAIN and not prefix:
      known = load_calibration(load_embeddings(folder, TRAIN, _CALIBRATION))
    export_embeddings(
      embed,
      experiment.frame_batches(split),
      folder,
      name,
      sources[split],
      num_frames=experiment.dataset(split).num_frames,
      calibration=known,
      progress=progress,
    )


def _describe(experiment: Any, split: str, made: _Made) -> Source:
  dataset = experiment.dataset(split)
  return Source(
    sequence_names=[sequence["name"] for sequence in dataset.sequences],
    subject_names=list(dataset.subjects),
    action_names=list(dataset.actions),
    skeleton=dataset.skeleton,
    image_size=experiment.image_size,
    config=experiment.config_json(),
    fingerprint=experiment.fingerprint(),
    checkpoint=made.checkpoint,
    data=f"{dataset.directory}, split {dataset.split}, {dataset.num_frames} frames,"
    f" {dataset.fingerprint()}",
    weights=made.weights,
  )
