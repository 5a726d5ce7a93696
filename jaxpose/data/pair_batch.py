"""What a batch of pairs of views has beside its frames: subjects, mirrors, other backgrounds."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxpose import crops
from jaxpose.data import pairs, subjects
from jaxpose.data.clock import pick, uniform
from jaxpose.data.columns import Index
from jaxpose.data.index import Dataset

# Streams of random numbers, of either view: every kind of draw has its own.
_TRACK, _FRAME, _MIRROR = (40, 41), (42, 43), (44, 45)


@dataclasses.dataclass(frozen=True)
class PairConfig:
  """Pairs of views (P3 §3.1).

  Attributes:
    gap_min, gap_max: unsynchronised views are farther apart than gap_min, less than gap_max.
    unit: of the gaps: "frames" of the source, or "s".
    synchronised, unsynchronised, flipped: probabilities, adding up to 1.
    crop: what crops are centred on, one of `crops.CROPS`.
    substitute: whether each view has the background of another camera or sequence too.
    single_view: both views are of one camera.
    per_example: how many pairs a batch holds for each of its examples.
  """

  gap_min: float = 4
  gap_max: float = 128
  unit: str = "frames"
  synchronised: float = 1 / 3
  unsynchronised: float = 1 / 3
  flipped: float = 1 / 3
  crop: str = crops.DETECTOR
  substitute: bool = False
  single_view: bool = False
  per_example: int = 1

  def __post_init__(self) -> None:
    if self.crop not in crops.CROPS:
      raise ValueError(
        f"crops of pairs are centred on one of {', '.join(crops.CROPS)}, not {self.crop!r}"
      )
    if self.per_example < 1:
      raise ValueError(f"a batch holds at least 1 pair an example, not {self.per_example}")


def build_table(
  dataset: Dataset, sequences: Int[np.ndarray, " n"] | None, config: PairConfig
) -> pairs.Pairs:
  """The pairs of a data set, or of some of its sequences.

  Raises:
    ValueError: it has none of a kind that is asked for, or no other background.
  """
  if config.substitute and dataset.index.num_tracks < 2:
    raise ValueError("there is one camera only, and so no other background to put in its place")
  return pairs.build_pairs(
    dataset.index,
    gap_min=config.gap_min,
    gap_max=config.gap_max,
    probabilities=(config.synchronised, config.unsynchronised, config.flipped),
    unit=config.unit,
    sequences=sequences,
    single_view=config.single_view,
  )


def numbers(examples: Int[np.ndarray, " b"], config: PairConfig) -> Int[np.ndarray, " B"]:
  """The numbers of the pairs of examples, B = b · per_example: no two examples share one."""
  own = np.arange(config.per_example)
  return (examples[:, None] * config.per_example + own).ravel()


def mirrored_views(sample: pairs.PairSample) -> Bool[np.ndarray, "B 2"]:
  """Which view is to be mirrored: one of a flipped pair, none of others."""
  return sample.mirrored[:, None] == np.arange(2)


def label_columns(config: PairConfig, *, one_skeleton: bool) -> tuple[str, ...]:
  """The labels that the crops of pairs are taken by; joints where all data sets have the same."""
  if config.crop != crops.LABELS:
    return ()
  return subjects.BOX_LABELS if one_skeleton else ("box_px",)


def find_subjects(batch: dict[str, np.ndarray], config: PairConfig) -> dict[str, np.ndarray]:
  """subject_px [B, 2, 4] in place of labels, as `subjects.subject_boxes`; none for detectors.

  Args:
    batch: image, background [B, 2, H, W, 3] and the columns of `label_columns`.
  """
  if config.crop == crops.DETECTOR:
    return batch
  flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in batch.items()}
  boxes = subjects.subject_boxes(flat, config.crop).reshape(-1, 2, 4)
  kept = {name: value for name, value in batch.items() if name not in subjects.BOX_LABELS}
  return kept | {"subject_px": boxes}


def draw_substitutes(
  index: Index, ids: Int[np.ndarray, "n 2"], seed: int, examples: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "n 2"], Bool[np.ndarray, "n 2"]]:
  """(frames whose backgrounds are shown, whether they are shown mirrored), of each view by itself.

  The track is drawn evenly from those of other (sequence, camera), the frame evenly from the track;
  with a static camera all of its frames have one background. Every other background is mirrored,
  whatever becomes of the view: rooms have a left and a right, and would tell a flipped pair.
  """
  own, found, mirrored = index.track_of(ids), np.zeros_like(ids), np.zeros(ids.shape, bool)
  for view in range(2):
    track = pick(uniform(seed, _TRACK[view], examples), index.num_tracks - 1)
    track = track + (track >= own[:, view])
    place = pick(uniform(seed, _FRAME[view], examples), index.length[track])
    found[:, view] = index.start[track] + place
    mirrored[:, view] = uniform(seed, _MIRROR[view], examples) < 0.5
  return found, mirrored


def fill_substitutes(
  out: UInt8[np.ndarray, "B 2 H W 3"],
  datasets: Sequence[Dataset],
  source: Int[np.ndarray, " B"],
  ids: Int[np.ndarray, "B 2"],
  seed: int,
  examples: Int[np.ndarray, " B"],
) -> None:
  """Writes the backgrounds of `draw_substitutes` of every example's data set."""
  for number, dataset in enumerate(datasets):
    rows = np.flatnonzero(source == number)
    if not rows.size:
      continue
    frames, mirrored = draw_substitutes(dataset.index, ids[rows], seed, examples[rows])
    images = dataset.backgrounds_of(frames.ravel(), out.shape[2:4])
    images = images.reshape(len(rows), 2, *out.shape[2:])
    out[rows] = np.where(mirrored[:, :, None, None, None], images[:, :, :, ::-1], images)
