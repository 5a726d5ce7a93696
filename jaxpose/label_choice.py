"""Which labelled frames a supervised network learns from, and what their poses are like."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpose.data.index import Dataset
from jaxpose.data.records import EMPTY
from jaxpose.data.sampling import evenly_spread
from jaxpose.evaluation import protocols
from jaxpose.skeleton import Skeleton

STATISTICS_FRAMES = 5000  # labelled frames that mean pose and scale are computed from, at most


class LabelChoice(NamedTuple):
  """Labelled frames.

  Attributes:
    ids: of each data set, those that are learned from.
    available: how many there are of the subjects that are learned from.
    all: how many there are of all subjects.
  """

  ids: tuple[Int[np.ndarray, " _"], ...]
  available: int
  all: int

  @property
  def size(self) -> int:
    """How many are learned from."""
    return sum(len(ids) for ids in self.ids)


def labelled_ids(dataset: Dataset) -> Int[np.ndarray, " n"]:
  """The frames that have a 3D pose and are not empty."""
  index = dataset.index
  return np.flatnonzero(index.labelled & (index.present != EMPTY))


def choose_labels(
  datasets: Sequence[Dataset],
  *,
  subjects: Sequence[str],
  count: protocols.LabelCount,
  seed: int,
  section: str = "supervised",
) -> LabelChoice:
  """The labelled frames of the subjects, or, as a probe would draw them, every K-th of these.

  Args:
    datasets: with the labels of one after the other.
    subjects: names; empty: all.
    count: a number, a share or all, see `protocols.resolve_label_count`; 0: all.
    seed: draws other frames, see `protocols.sample_label_subset`.
    section: of the configuration, that asks.

  Raises:
    ValueError: there is no such subject, no label of them, or fewer than asked for.
  """
  names = sorted({name for dataset in datasets for name in dataset.subjects})
  for name in subjects:
    if name not in names:
      raise ValueError(
        f"config.{section}.subjects names {name!r}: the training data have {', '.join(names)}"
      )
  every = [labelled_ids(dataset) for dataset in datasets]
  ids = [_of_subjects(*pair, subjects) for pair in zip(datasets, every, strict=True)]
  available = sum(len(part) for part in ids)
  if not available:
    whose = f" of {', '.join(subjects)}" if subjects else ""
    where = ", ".join(f"{d.directory}, split {d.split}" for d in datasets)
    raise ValueError(f"{where}: no 3D labels{whose}, which config.{section} asks for")
  if count != 0:
    try:
      number = protocols.resolve_label_count(count, available)
    except ValueError as error:
      raise ValueError(f"config.supervised.label_count: {error}") from error
    ids = _take(ids, protocols.sample_label_subset(available, number, seed))
  return LabelChoice(tuple(ids), available, sum(len(part) for part in every))


def _of_subjects(
  dataset: Dataset, ids: Int[np.ndarray, " n"], subjects: Sequence[str]
) -> Int[np.ndarray, " m"]:
  if not subjects:
    return ids
  index = dataset.index
  subject = index.subject[index.sequence[index.track_of(ids)]]
  return ids[np.isin(subject, [i for i, n in enumerate(dataset.subjects) if n in subjects])]


def _take(
  ids: Sequence[Int[np.ndarray, " _"]], places: Int[np.ndarray, " m"]
) -> list[Int[np.ndarray, " _"]]:
  """The ids at ascending places of the lists, one after the other, still in their lists."""
  ends = np.cumsum([len(part) for part in ids])
  parts = np.split(places, np.searchsorted(places, ends[:-1]))
  return [part[p - (end - len(part))] for part, p, end in zip(ids, parts, ends, strict=True)]


def compute_statistics(
  datasets: Sequence[Dataset],
  ids: Sequence[Int[np.ndarray, " _"]],
  *,
  normalise: str,
  centre_camera: bool,
) -> tuple[Any, Float[np.ndarray, "J 3"]]:
  """(`pose_target.LabelStatistics`, mean pose mm in the axes of the camera) of labelled frames.

  Of up to `STATISTICS_FRAMES` of them, evenly spaced.

  Args:
    ids: of each data set.
    normalise, centre_camera: of section `supervised`.

  Raises:
    ValueError: no pose has a valid root, or there is no such normalisation.
  """
  from jaxpose.methods import pose_target

  skeleton = datasets[0].skeleton
  names = ("pose3d_mm", *pose_target.TURNED_BY) if centre_camera else ("pose3d_mm", "joint_valid")
  spread = _take(ids, evenly_spread(np.arange(sum(len(part) for part in ids)), STATISTICS_FRAMES))
  found = [d.read_labels(part, names) for d, part in zip(datasets, spread, strict=True)]
  labels = {name: np.concatenate([part[name] for part in found]) for name in names}
  poses, valid = labels["pose3d_mm"], labels["joint_valid"]
  axes = (skeleton.root, tuple(skeleton.flip_permutation.tolist()))
  plain = pose_target.compute_label_statistics(poses, valid, *axes, normalise=normalise)
  if not centre_camera:
    return plain, plain.mean_mm
  rotation = pose_target.camera_rotation(labels, skeleton.root)
  turned = pose_target.compute_label_statistics(
    poses, valid, *axes, normalise=normalise, rotation=rotation
  )
  return turned, plain.mean_mm


def no_statistics(skeleton: Skeleton) -> Any:
  """`pose_target.LabelStatistics` of a skeleton alone, for a network whose checkpoint has its own.

  Mean 0 and scale 1.
  """
  from jaxpose.methods import pose_target

  mirrored = tuple(skeleton.flip_permutation.tolist())
  mean = np.zeros((skeleton.num_joints, 3))
  return pose_target.LabelStatistics(mean, np.ones(()), skeleton.root, mirrored)
