"""Which frames are scored, and which labels a probe may see."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpose.evaluation import label_table, metrics
from jaxpose.evaluation.blocks import blocks
from jaxpose.skeleton import Skeleton

ALL = "all"
LabelCount = int | float | str
_GOLDEN = (5**0.5 - 1) / 2
_ID_KEYS = ("sequence", "camera", "frame")


class LabelledFrames(NamedTuple):
  """The frames of one split that have a pose.

  Attributes:
    rows: [N] rows of the embeddings, in order of sequence, camera, frame.
    poses_mm: [N, J, 3] root-centred, camera axes; 0 where not valid. Of `keypoint_frames` the
      place in the frame or crop, [N, J, 2], in shares of its width and height.
    valid: [N, J].
    left_out_empty: labelled frames left out because nobody is there.
    left_out_root: labelled frames left out because their root is not known.
  """

  rows: Int[np.ndarray, " N"]
  poses_mm: Float[np.ndarray, "N J K"]
  valid: Bool[np.ndarray, "N J"]
  left_out_empty: int
  left_out_root: int


def has_person(embeddings: Mapping[str, Any]) -> Bool[np.ndarray, " N"]:
  """True where somebody is in the frame: as recorded where known, else by estimated presence."""
  presence = np.asarray(embeddings["presence"])
  known = np.asarray(embeddings["present"]) if "present" in embeddings else None
  estimated = presence >= 0.5
  return estimated if known is None else np.where(known < 0, estimated, known > 0)


def labelled_frames(
  embeddings: Mapping[str, Any],
  skeleton: Skeleton,
  *,
  split: str,
  table: label_table.LabelTable | None = None,
) -> LabelledFrames:
  """The frames that enter the probe: labelled, not empty, with a known root.

  Args:
    table: if given, only the frames that it lists for this split, with the poses that it gives;
      lines without a pose use the data set's own labels.

  Raises:
    ValueError: the table doesn't fit the embeddings or the skeleton, or lists a frame that has a
      pose neither there nor in the data set.
  """
  listed = table is not None and split in table.split
  if table is None or not listed:
    rows, poses, valid = _own_labels(embeddings, skeleton)
  else:
    lines, rows = label_table.match_label_table(table, embeddings, split)
    poses, valid = _labels_of(embeddings, skeleton, rows)
    if table.joints:
      given = _reorder(table, skeleton)[lines]
      finite = np.isfinite(given).all(axis=-1)
      own = finite.any(axis=-1)
      poses[own], valid[own] = given[own], finite[own]
    if not valid.any(axis=-1).all():
      row = rows[int(np.argmin(valid.any(axis=-1)))]
      raise ValueError(
        f"the label table lists the frame with id {row} of {split}, for which neither it nor the"
        " data set has a pose: fill in its columns or take out the line"
      )
  some = valid.any(axis=-1)
  # A pose label is better evidence of a person than the estimated presence: leaving out frames
  # that the networks think empty would spare them their own misses.
  person = np.ones(len(rows), bool)
  if not listed and "present" in embeddings:
    person = np.asarray(embeddings["present"][rows]) != 0
  rooted = valid[:, list(skeleton.root)].all(axis=-1)
  keep = some & person & rooted
  centred = metrics.root_centre(np.where(valid[..., None], poses, 0.0)[keep], skeleton.root)
  centred = np.where(valid[keep][..., None], centred, 0.0).astype(np.float32)
  return LabelledFrames(
    rows[keep],
    centred,
    valid[keep],
    int((some & ~person).sum()),
    int((some & person & ~rooted).sum()),
  )


def of_subjects(
  frames: LabelledFrames, embeddings: Mapping[str, Any], subjects: Sequence[str]
) -> LabelledFrames:
  """The frames of the subjects of these names alone; with no name all of them.

  Raises:
    ValueError: the embeddings name no subjects or have none of these, or no labelled frame of any.
  """
  if not subjects:
    return frames
  if "subject_names" not in embeddings:
    raise ValueError("the embeddings name no subjects: labels cannot be chosen by them")
  names = [str(name) for name in embeddings["subject_names"]]
  for name in subjects:
    if name not in names:
      raise ValueError(f"there is no subject {name!r}: the training data have {', '.join(names)}")
  numbers = [names.index(name) for name in subjects]
  keep = np.isin(np.asarray(embeddings["subject"][frames.rows]), numbers)
  if not keep.any():
    raise ValueError(f"no training frame of {', '.join(subjects)} has a label")
  return frames._replace(
    rows=frames.rows[keep], poses_mm=frames.poses_mm[keep], valid=frames.valid[keep]
  )


def keypoint_frames(embeddings: Mapping[str, Any], *, in_crop: bool) -> LabelledFrames:
  """The frames that enter a probe of 2D keypoints: with a joint in 2D, and not empty.

  Places are shares of the frame; or, `in_crop`, of the found box, all that the encoder sees: where
  that lies in the frame the vectors cannot tell.

  Raises:
    ValueError: the data set has no 2D poses.
  """
  if "pose2d_px" not in embeddings:
    raise ValueError("the data set has no 2D poses: a probe of 2D keypoints needs pose2d_px")
  height, width = (int(side) for side in embeddings["image_size"])
  rows, poses, valid = [np.arange(0)], [], []
  empty = 0
  for first, pixels in blocks(embeddings["pose2d_px"]):
    block = np.arange(first, first + len(pixels))
    known = np.isfinite(pixels).all(axis=-1)
    person = np.ones(len(block), bool)
    if "present" in embeddings:
      person = np.asarray(embeddings["present"][block]) != 0
    keep = known.any(axis=-1) & person
    empty += int((known.any(axis=-1) & ~person).sum())
    low, high = np.zeros((1, 1, 2)), np.array([[[width, height]]], np.float64)
    if in_crop:
      box = np.asarray(embeddings["box_px"][block], np.float64)[:, None]
      low, high = box[..., :2], box[..., 2:]
    shares = np.where(known[..., None], (pixels - low) / (high - low), 0.0)
    rows.append(block[keep])
    poses.append(shares[keep].astype(np.float32))
    valid.append(known[keep])
  return LabelledFrames(
    np.concatenate(rows), np.concatenate(poses), np.concatenate(valid), empty, 0
  )


def _own_labels(
  embeddings: Mapping[str, Any], skeleton: Skeleton
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, "N J 3"], Bool[np.ndarray, "N J"]]:
  """(rows, poses, validity) of the frames of which the data set itself knows a joint."""
  found = [_labels_of(embeddings, skeleton, np.arange(0))]
  rows = [np.arange(0)]
  for first, some in blocks(embeddings["frame"]):
    block = np.arange(first, first + len(some))
    poses, valid = _labels_of(embeddings, skeleton, block)
    known = valid.any(axis=-1)
    rows.append(block[known])
    found.append((poses[known], valid[known]))
  poses, valid = (np.concatenate(parts) for parts in zip(*found))
  return np.concatenate(rows), poses, valid


def _labels_of(
  embeddings: Mapping[str, Any], skeleton: Skeleton, rows: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n J 3"], Bool[np.ndarray, "n J"]]:
  """The data set's own poses, all invalid where it has none (or another skeleton's)."""
  count, joints = len(rows), skeleton.num_joints
  names = tuple(str(name) for name in np.asarray(embeddings.get("joint_names", ())))
  if "pose3d_mm" not in embeddings or names != skeleton.joints:
    return np.full((count, joints, 3), np.nan), np.zeros((count, joints), bool)
  poses = np.array(embeddings["pose3d_mm"][rows], np.float64)
  valid = np.asarray(np.isfinite(poses).all(axis=-1))
  if "joint_valid" in embeddings:
    valid = valid & np.asarray(embeddings["joint_valid"][rows], bool)
  return poses, valid


def _reorder(table: label_table.LabelTable, skeleton: Skeleton) -> Float[np.ndarray, "M J 3"]:
  if set(table.joints) - set(skeleton.joints):
    extra = sorted(set(table.joints) - set(skeleton.joints))
    raise ValueError(
      f"the label table has columns of joints {extra}, which skeleton {skeleton.name} lacks; its "
      f"joints are {', '.join(skeleton.joints)}"
    )
  poses = np.full((len(table.frame), skeleton.num_joints, 3), np.nan)
  for column, joint in enumerate(table.joints):
    poses[:, skeleton.joints.index(joint)] = table.pose3d_mm[:, column]
  return poses


def sequence_names(embeddings: Mapping[str, Any], rows: Int[np.ndarray, " n"]) -> np.ndarray:
  """The name of the sequence that each of some rows is of: [n] text."""
  return np.asarray(embeddings["sequence_names"])[np.asarray(embeddings["sequence"][rows])]


def count_sequences(names: np.ndarray) -> dict[str, int]:
  """Frames of each sequence by name, in alphabetical order."""
  found, counts = np.unique(names, return_counts=True)
  return {str(name): int(count) for name, count in zip(found, counts, strict=True)}


def check_same_frames(first: Mapping[str, Any], other: Mapping[str, Any], name: str) -> None:
  """Raises ValueError unless both embeddings are of the same frames in the same order."""
  for key in _ID_KEYS:
    if not np.array_equal(np.asarray(first[key]), np.asarray(other[key])):
      raise ValueError(
        f"embedding {name!r} is not of the same frames as the first one ({key} differs): export "
        "both again from the same data"
      )


def resolve_label_count(asked: LabelCount, available: int) -> int:
  """The number of labels: an int as it is, a float as a share, "10%" too, "all" as all.

  Raises:
    ValueError: it is none of these, or more than there are.
  """
  if isinstance(asked, str) and asked.strip().lower() == ALL:
    return available
  try:
    share: float | None = None
    if isinstance(asked, str) and asked.strip().endswith("%"):
      share = float(asked.strip()[:-1]) / 100
    elif isinstance(asked, float) or (isinstance(asked, str) and "." in asked):
      share = float(asked)
    count = int(asked) if share is None else max(1, round(share * available))
  except (ValueError, OverflowError):
    raise ValueError(
      f"label count {asked!r} is neither a number, a share such as 0.1 or 10%, nor 'all'"
    ) from None
  if count < 1 or (share is not None and not 0 < share <= 1):
    raise ValueError(f"label count {asked!r}: need at least 1, or a share above 0 and at most 1")
  if count > available:
    raise ValueError(
      f"asked for {count} labels, but only {available} training frames have a usable pose: ask for "
      "fewer, or for 'all'"
    )
  return count


def resolve_label_counts(asked: Sequence[LabelCount], available: int) -> list[int]:
  """Every count of a list, ascending, each once.

  Raises:
    ValueError: as `resolve_label_count`, nothing is asked for, or there is no labelled frame.
  """
  if available < 1:
    raise ValueError(
      "no training frame has a usable pose: give labels with --labels=FILE (launch/export.py "
      "--suggest=N proposes which frames to label)"
    )
  if not asked:
    raise ValueError("no label count: give numbers, shares or 'all'")
  return sorted({resolve_label_count(one, available) for one in asked})


def sample_label_subset(available: int, count: int, seed: int) -> Int[np.ndarray, " count"]:
  """Every K-th of the labelled training frames (P2 §S.1.1), K = available / count, ascending.

  Index i is ⌊(i + u) K⌋; the offset u in [0, 1) is seed · 0.618… mod 1 from 0.5 on, so that
  different seeds see different frames wherever count < available.
  """
  if not 1 <= count <= available:
    raise ValueError(f"cannot take {count} of {available} labelled frames")
  offset = (0.5 + seed * _GOLDEN) % 1.0
  return np.minimum(
    ((np.arange(count) + offset) * available / count).astype(np.int64), available - 1
  )
