"""What a report shows, as plain data: sections are made of it, and tests make it up."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxpose.skeleton import Skeleton

Image = UInt8[np.ndarray, "_ _ 3"]  # of any size


@dataclasses.dataclass
class Painted:
  """What a decoder makes of a frame.

  Attributes:
    decoded: what it makes of the crop.
    mask_crop, mask_frame: in [0, 1], in the crop and on the frame.
    reconstruction: what the networks paint over the background.
  """

  decoded: Image
  mask_crop: Float[np.ndarray, "h w"]
  mask_frame: Float[np.ndarray, "H W"]
  reconstruction: Image


@dataclasses.dataclass
class FrameView:
  """All that the networks make of one frame.

  Attributes:
    title: sequence, camera and frame.
    image, background: the frame, and the scene without the person.
    crop: what the encoder sees.
    box_px, box_true_px: x0, y0, x1, y1; NaN where unknown.
    painted: None where nothing is decoded.
    notes: numbers to show beside the title.
  """

  title: str
  image: Image
  background: Image
  crop: Image
  box_px: Float[np.ndarray, " 4"]
  box_true_px: Float[np.ndarray, " 4"]
  painted: Painted | None
  notes: str = ""


@dataclasses.dataclass
class FrameGroup:
  """Frames chosen in one way, e.g. at random or the worst by IoU; `note` says which."""

  split: str
  title: str
  note: str
  frames: list[FrameView]


@dataclasses.dataclass
class SwapGrid:
  """`decoded[r][c]`: the pose (time-variant part) of `poses[r]` in the looks of `looks[c]`."""

  split: str
  poses: list[Image]
  looks: list[Image]
  decoded: list[list[Image]]


@dataclasses.dataclass
class PoseView:
  """A predicted pose beside the true one, root-centred, camera axes, mm."""

  title: str
  image: Image
  predicted_mm: Float[np.ndarray, "J 3"]
  true_mm: Float[np.ndarray, "J 3"]
  notes: str = ""


@dataclasses.dataclass
class Timeline:
  """Presence along the frames of one camera, and pictures of a few frames of both kinds."""

  title: str
  presence: Float[np.ndarray, " N"]
  known: Int[np.ndarray, " N"]
  seen_empty: list[tuple[str, Image]]
  seen_occupied: list[tuple[str, Image]]


@dataclasses.dataclass
class Table:
  """A table as it is shown."""

  title: str
  header: list[str]
  rows: list[list[Any]]
  note: str = ""


@dataclasses.dataclass
class Pretext:
  """How well a run does its own task on pairs of views.

  Attributes:
    plot: accuracy against the gap as a PNG file.
    retrievals: (caption, queries above what was found for them).
  """

  tables: list[Table]
  plot: bytes | None = None
  retrievals: list[tuple[str, Image]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Report:
  """Everything on the page; empty lists and None leave their section out.

  Attributes:
    curves: name -> (steps, values) of everything logged.
    label_plot: the label-efficiency curve as a PNG file.
    analyses: what launch/analyse.py found; distance_plot: its curve as a PNG file.
    config: the experiment's configuration as JSON.
  """

  title: str
  date: str
  summary: list[tuple[str, str]]
  warnings: list[str] = dataclasses.field(default_factory=list)
  groups: list[FrameGroup] = dataclasses.field(default_factory=list)
  boxes: Table | None = None
  swaps: list[SwapGrid] = dataclasses.field(default_factory=list)
  backgrounds: list[tuple[str, Image]] = dataclasses.field(default_factory=list)
  timelines: list[Timeline] = dataclasses.field(default_factory=list)
  skeleton: Skeleton | None = None
  poses: list[PoseView] = dataclasses.field(default_factory=list)
  probe_tables: list[Table] = dataclasses.field(default_factory=list)
  label_plot: bytes | None = None
  pretext: Pretext | None = None
  analyses: list[Table] = dataclasses.field(default_factory=list)
  distance_plot: bytes | None = None
  curves: dict[str, tuple[list[float], list[float]]] = dataclasses.field(default_factory=dict)
  config: str = ""
