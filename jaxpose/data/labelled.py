"""Single frames with their labels, drawn from those that are chosen of each source."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpose.crops import DIFFERENCE, LABELS
from jaxpose.data.clock import pick, uniform
from jaxpose.data.subjects import labelled_boxes, subject_boxes

_DRAW = 60  # stream of random numbers, of its own among those of data/


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFrames:
  """The frames to draw from, each as likely as any other.

  Attributes:
    ids: of each source, frame numbers in its split.
    background: whether each comes with its background.
    crop: whose boxes they come with: of `DIFFERENCE`, what differs from the background; else true
      ones, see `subjects.labelled_boxes`.

  Raises:
    ValueError: there is none.
  """

  ids: tuple[Int[np.ndarray, " _"], ...]
  background: bool = False
  crop: str = LABELS

  def __post_init__(self) -> None:
    if not self.count:
      raise ValueError("there is no labelled frame to learn from")

  @property
  def count(self) -> int:
    """How many frames, of all sources."""
    return sum(len(ids) for ids in self.ids)

  def draw(
    self, seed: int, examples: Int[np.ndarray, " b"]
  ) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """(source, id in it) of examples; a function of the seed and each example's number."""
    place = pick(uniform(seed, _DRAW, examples), self.count)
    ends = np.cumsum([len(ids) for ids in self.ids])
    source = np.searchsorted(ends, place, side="right")
    return source, np.concatenate(self.ids)[place]

  @property
  def reads_background(self) -> bool:
    """Is the background of each needed, if only to find its box?"""
    return self.background or self.crop == DIFFERENCE

  def boxes(self, frames: Mapping[str, Any]) -> Float[np.ndarray, "N 4"]:
    """Boxes px of frames with image, background and labels."""
    return subject_boxes(frames, DIFFERENCE) if self.crop == DIFFERENCE else labelled_boxes(frames)

  def describe(self) -> list[Any]:
    """What tells these frames from others, for a checkpoint."""
    return [[len(ids), zlib.crc32(np.asarray(ids, np.int64).tobytes())] for ids in self.ids]
