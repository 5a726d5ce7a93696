"""Makes the batch of one step: which frames, by the samplers; then their pixels."""

import dataclasses
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxpose.data import curriculum, pair_batch, pairs, sampling, views
from jaxpose.data.clock import Clock, make_clock, uniform
from jaxpose.data.labelled import LabelledFrames
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.sources import (
  Source,
  build_of_any,
  check_weights,
  choose,
  describe,
  probabilities,
)
from jaxpose.data.views import ViewsConfig

# Streams of random numbers: every kind of draw has its own.
_TEMPORAL_SOURCE, _PAIR_SOURCE, _VIEWS_SOURCE = 30, 31, 32

# What a method may learn from of the frames of a sample.
TRAINING_LABELS = ("present", "box_px", "pose2d_px", "pose3d_mm", "joint_valid")
CAMERA_LABELS = (*TRAINING_LABELS, "K")  # of a frame that is learned from alone

Batch = dict[str, dict[str, np.ndarray]]

# Makes the large arrays of a batch; loader workers put memory here that their parent sees too.
allocate: Callable[[tuple[int, ...], type], np.ndarray] = np.empty


@dataclasses.dataclass(frozen=True)
class TemporalConfig:
  """Distances of the four frames of a temporal sample.

  Attributes:
    near_max: greatest distance of the near frame (P1 §S.2: 10 frames).
    far_min, far_max: least and greatest distance of the far frame; None: to the track's end.
    unit: of all distances: "frames" of the source, or "s".
    gravity: (first step, share of the examples that are equidistant quadruples of a fall).
    spacing_min, spacing_max: distance of neighbouring frames of such a quadruple.
    second_far: a second far frame takes the place of the intermediate one.
    labels: adds present, box, 2D and 3D pose and joint validity of each frame. It changes no draw,
      and so no fingerprint.
  """

  near_max: float
  far_min: float
  far_max: float | None = None
  unit: str = "frames"
  gravity: tuple[tuple[int, float], ...] = ((0, 0.0),)
  spacing_min: float = 1
  spacing_max: float = 1
  second_far: bool = False
  labels: bool = dataclasses.field(default=False, repr=False)


class _Tables(NamedTuple):
  """What each source can give; None where it cannot."""

  clocks: list[Clock]
  triplets: list[sampling.Triplets | None]
  quadruples: list[sampling.Quadruples | None]
  pairs: list[pairs.Pairs | None]
  views: list[views.SourceViews | None]


class BatchMaker:
  """Random access to the batches of a run: `maker[step]` is a function of (seed, step, host).

  Picklable: a loader worker gets the arguments and makes its own tables.

  Raises:
    ValueError: the arguments contradict each other, or a source cannot give what is asked for.
  """

  def __init__(
    self,
    sources: Sequence[Source],
    *,
    temporal: TemporalConfig | None,
    pair: PairConfig | None,
    batch_size: int,
    seed: int,
    image_size: tuple[int, int] | None,
    host_index: int,
    host_count: int,
    views: ViewsConfig | None = None,
    labelled: LabelledFrames | None = None,
  ):
    if not sources:
      raise ValueError("a loader needs at least one data set")
    if temporal is None and pair is None and views is None and labelled is None:
      raise ValueError(
        "neither temporal samples, nor pairs, nor views, nor labelled frames are asked for"
      )
    if batch_size % host_count or not 0 <= host_index < host_count:
      raise ValueError(
        f"host {host_index} of {host_count}: a global batch of {batch_size} cannot be shared evenly"
      )
    check_weights(sources)
    skeletons = {source.dataset.skeleton.joints for source in sources}
    asked = labelled is not None or any(c is not None and c.labels for c in (temporal, views))
    self._one_skeleton = len(skeletons) == 1
    if asked and len(skeletons) > 1:
      raise ValueError("labels are asked for of data sets whose skeletons differ: use one of them")
    self.sources = tuple(sources)
    self.temporal, self.pair, self.views = temporal, pair, views
    self.labelled = labelled
    self.batch_size, self.seed = batch_size, seed
    self.image_size = self.sources[0].dataset.output_size(image_size)
    self.host_index, self.host_count = host_index, host_count
    self._tables: _Tables | None = None
    self._lock = threading.Lock()

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {"_tables": None, "_lock": None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state)
    self._lock = threading.Lock()

  @property
  def tables(self) -> _Tables:
    """The sampling tables, made on first use."""
    with self._lock:
      if self._tables is None:
        self._tables = self._make_tables()
      return self._tables

  def fingerprint(self) -> dict[str, Any]:
    """What decides the batches, for a checkpoint: not hosts or workers, which may change."""
    return {
      "seed": self.seed,
      "batch_size": self.batch_size,
      "image_size": list(self.image_size),
      "temporal": None if self.temporal is None else repr(self.temporal),
      "pair": None if self.pair is None else repr(self.pair),
      "views": None if self.views is None else repr(self.views),
      "labelled": None if self.labelled is None else self.labelled.describe(),
      "data": [describe(source) for source in self.sources],
    }

  def examples(self, step: int) -> Int[np.ndarray, " b"]:
    """Global numbers of this host's examples at a step."""
    share = self.batch_size // self.host_count
    return np.arange(share) + step * self.batch_size + self.host_index * share

  def __getitem__(self, step: int) -> Batch:
    examples = self.examples(step)
    batch = {}
    if self.temporal is not None:
      batch["temporal"] = self._temporal_batch(step, examples)
    if self.pair is not None:
      batch["pair"] = self._pair_batch(pair_batch.numbers(examples, self.pair))
    if self.views is not None:
      batch["views"] = self._views_batch(examples)
    if self.labelled is not None:
      batch["labelled"] = self._labelled_batch(self.labelled, examples)
    return batch

  def draw_temporal(
    self, step: int, examples: Int[np.ndarray, " b"]
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(source [b], ids [b, 4] in it, gravity [b]) of the examples of a step; reads no frames."""
    assert self.temporal is not None
    tables = self.tables
    gravity = curriculum.choose_gravity(self.temporal.gravity, step, self.seed, examples)
    u = uniform(self.seed, _TEMPORAL_SOURCE, examples)
    by_triplets = choose(
      u,
      probabilities(self.sources, [0 if t is None else len(t.references) for t in tables.triplets]),
    )
    by_quadruples = choose(
      u, probabilities(self.sources, [0 if t is None else len(t.ids) for t in tables.quadruples])
    )
    source = np.where(gravity, by_quadruples, by_triplets)
    ids = np.zeros((len(examples), 4), np.int64)
    for number in range(len(self.sources)):
      rows = np.flatnonzero((source == number) & ~gravity)
      triplets, quadruples = tables.triplets[number], tables.quadruples[number]
      if rows.size and triplets is not None:
        ids[rows] = sampling.sample_triplets(
          triplets, self.seed, examples[rows], second_far=self.temporal.second_far
        )
      rows = np.flatnonzero((source == number) & gravity)
      if rows.size and quadruples is not None:
        ids[rows] = sampling.sample_quadruples(quadruples, self.seed, examples[rows])
    return source, ids, gravity

  def draw_pairs(self, examples: Int[np.ndarray, " b"]) -> tuple[np.ndarray, pairs.PairSample]:
    """(source [b], views) of the examples; reads no frames."""
    tables = self.tables.pairs
    u = uniform(self.seed, _PAIR_SOURCE, examples)
    source = choose(
      u, probabilities(self.sources, [0 if t is None else t.num_references for t in tables])
    )
    n = len(examples)
    sample = pairs.PairSample(*(np.zeros(s, np.int64) for s in ((n, 2), n, n)))
    for number, table in enumerate(tables):
      rows = np.flatnonzero(source == number)
      if rows.size and table is not None:
        for whole, part in zip(sample, pairs.sample_pairs(table, self.seed, examples[rows])):
          whole[rows] = part
    return source, sample

  def draw_views(
    self, examples: Int[np.ndarray, " b"]
  ) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, "b 4"]]:
    """(source [b], ids [b, 4] in it) of the examples; reads no frames."""
    tables = self.tables.views
    u = uniform(self.seed, _VIEWS_SOURCE, examples)
    sizes = [0 if table is None else len(table.views.references) for table in tables]
    source = choose(u, probabilities(self.sources, sizes))
    ids = np.zeros((len(examples), views.VIEWS_PER_SAMPLE), np.int64)
    for number, table in enumerate(tables):
      rows = np.flatnonzero(source == number)
      if rows.size and table is not None:
        ids[rows] = views.sample_views(table.views, self.seed, examples[rows])
    return source, ids

  def _temporal_batch(self, step: int, examples: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
    assert self.temporal is not None
    source, ids, gravity = self.draw_temporal(step, examples)
    moving = any(s.dataset.index.moving.any() for s in self.sources)
    labels = TRAINING_LABELS if self.temporal.labels else ()
    batch, columns = self._read(source, ids, 4 if moving else 1, labels)
    position = np.zeros(ids.shape, np.float32)
    for number, clock in enumerate(self.tables.clocks):
      rows = np.flatnonzero(source == number)
      position[rows] = clock.elapsed(ids[rows])
    return batch | {
      "frame": columns["frame"],
      "position": position,
      "sequence": columns["sequence"][:, 0],
      "camera": columns["camera"][:, 0],
      "subject": columns["subject"][:, 0],
      "example": examples.astype(np.uint32),
      "gravity": gravity,
    }

  def _pair_batch(self, examples: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
    assert self.pair is not None
    source, sample = self.draw_pairs(examples)
    labels = pair_batch.label_columns(self.pair, one_skeleton=self._one_skeleton)
    batch, columns = self._read(source, sample.ids, 2, labels)
    batch = pair_batch.find_subjects(batch, self.pair)
    if self.pair.substitute:
      batch["substitute"] = allocate(batch["image"].shape, np.uint8)
      datasets = [part.dataset for part in self.sources]
      pair_batch.fill_substitutes(
        batch["substitute"], datasets, source, sample.ids, self.seed, examples
      )
    return batch | {
      "frame": columns["frame"],
      "camera": columns["camera"],
      "sequence": columns["sequence"][:, 0],
      "subject": columns["subject"][:, 0],
      "example": examples.astype(np.uint32),
      "synchronised": sample.kind != pairs.UNSYNCHRONISED,
      "flipped": sample.kind == pairs.FLIPPED,
      "mirrored": pair_batch.mirrored_views(sample),
    }

  def _views_batch(self, examples: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
    assert self.views is not None
    source, ids = self.draw_views(examples)
    labels = TRAINING_LABELS if self.views.labels else ()
    batch, columns = self._read(source, ids, views.VIEWS_PER_SAMPLE, labels)
    for number, table in enumerate(self.tables.views):
      if table is not None and table.rotation is not None:
        rows = np.flatnonzero(source == number)
        track = self.sources[number].dataset.index.track_of(ids[rows])
        rotation = batch.setdefault("rotation", np.zeros((*ids.shape, 3, 3), np.float32))
        rotation[rows] = table.rotation[track]
    return batch | {
      "frame": columns["frame"],
      "camera": columns["camera"],
      "sequence": columns["sequence"][:, 0],
      "subject": columns["subject"][:, 0],
      "example": examples.astype(np.uint32),
    }

  def _labelled_batch(
    self, labelled: LabelledFrames, examples: Int[np.ndarray, " b"]
  ) -> dict[str, np.ndarray]:
    source, ids = labelled.draw(self.seed, examples)
    batch, _ = self._read(source, ids[:, None], int(labelled.reads_background), CAMERA_LABELS)
    batch = {name: x[:, 0] for name, x in batch.items() if x.shape[1]}
    batch["box_px"] = labelled.boxes(batch)
    if not labelled.background:
      batch.pop("background", None)
    return batch | {"example": examples.astype(np.uint32)}

  def _read(
    self,
    source: Int[np.ndarray, " b"],
    ids: Int[np.ndarray, "b t"],
    backgrounds: int,
    labels: Collection[str] = (),
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(image, labels [b, t, ...], background [b, backgrounds, ...]; columns [b, t]) of frames."""
    b, t = ids.shape
    height, width = self.image_size
    batch = {
      "image": allocate((b * t, height, width, 3), np.uint8),
      "background": allocate((b * backgrounds, height, width, 3), np.uint8),
    }
    batch |= self.sources[0].dataset.make_labels(b * t, labels) if labels else {}
    places = np.arange(b * t).reshape(b, t)
    shown = np.where(np.arange(t) < backgrounds, np.arange(b)[:, None] * backgrounds, -1)
    shown = np.where(shown >= 0, shown + np.arange(t), -1)
    columns: dict[str, np.ndarray] = {}
    sequences = subjects = 0  # numbers go on from source to source
    for number, part in enumerate(self.sources):
      rows = np.flatnonzero(source == number)
      flat = ids[rows].ravel()
      part.dataset.fill(batch, flat, places[rows].ravel(), shown[rows].ravel())
      found = part.dataset.columns(flat)
      found["sequence"] = found["sequence"] + np.int32(sequences)
      found["subject"] = found["subject"] + np.int32(subjects)
      for name in ("frame", "sequence", "camera", "subject"):
        column = columns.setdefault(name, np.zeros((b, t), np.int32))
        column[rows] = found[name].reshape(len(rows), t)
      sequences += len(part.dataset.sequences)
      subjects += len(part.dataset.subjects)
    return {name: x.reshape(b, -1, *x.shape[1:]) for name, x in batch.items()}, columns

  def _make_tables(self) -> _Tables:
    temporal, pair, view = self.temporal, self.pair, self.views
    nothing: list[Any] = [None] * len(self.sources)
    triplets = quadruples = nothing
    clocks: list[Clock] = []
    if temporal is not None:
      curriculum.check_schedule(temporal.gravity)
      shares = [share for _, share in temporal.gravity]
      if min(shares) < 1:
        triplets = [_build_triplets(source, temporal) for source in self.sources]
      if max(shares) > 0:
        quadruples = build_of_any(self.sources, lambda source: _build_quadruples(source, temporal))
      clocks = [
        make_clock(source.dataset.index, temporal.unit) if table is None else table.clock
        for source, table in zip(self.sources, triplets)
      ]
    found, seen = nothing, nothing
    if pair is not None:
      found = build_of_any(
        self.sources, lambda s: pair_batch.build_table(s.dataset, s.chosen, pair)
      )
    if view is not None:
      seen = build_of_any(self.sources, lambda s: views.build_source_views(s, view))
    return _Tables(clocks, triplets, quadruples, found, seen)


def _build_triplets(source: Source, config: TemporalConfig) -> sampling.Triplets:
  where = f"{source.dataset.directory}, split {source.dataset.split}"
  try:
    table = sampling.build_triplets(
      source.dataset.index,
      near_max=config.near_max,
      far_min=config.far_min,
      far_max=config.far_max,
      unit=config.unit,
      sequences=source.chosen,
    )
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error
  unused = sampling.unused_tracks(table)
  if source.sequences is None and unused.size:
    logging.getLogger(__name__).warning(
      "%s: %d of %d tracks are too short for far_min %s and give no samples",
      where,
      unused.size,
      source.dataset.index.num_tracks,
      config.far_min,
    )
  return table


def _build_quadruples(source: Source, config: TemporalConfig) -> sampling.Quadruples:
  return sampling.build_quadruples(
    source.dataset.index,
    spacing_min=config.spacing_min,
    spacing_max=config.spacing_max,
    unit=config.unit,
    sequences=source.chosen,
  )
