"""Sections of a configuration as what a batch is drawn by, for experiment.py."""

import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxpose.data.batches import TemporalConfig
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.sources import Source
from jaxpose.data.views import ViewsConfig


def make_temporal_config(config: ConfigDict, *, train: bool) -> TemporalConfig:
  """Section `sampling`; outside of training with the share of falls that it ends with."""
  sampling = config.sampling
  gravity = tuple((int(step), float(share)) for step, share in sampling.gravity)
  return TemporalConfig(
    near_max=sampling.near_max,
    far_min=sampling.far_min,
    far_max=_limit(sampling.far_max),
    unit=sampling.unit,
    gravity=gravity if train else ((0, gravity[-1][1]),),
    spacing_min=sampling.spacing_min,
    spacing_max=sampling.spacing_max,
    second_far=sampling.second_far,
    labels=config.scene.pose2d,
  )


def make_pair_config(config: ConfigDict) -> PairConfig:
  """What section `pairs` says of the frames of a batch."""
  pairs = config.pairs
  return PairConfig(
    gap_min=pairs.gap_min,
    gap_max=pairs.gap_max,
    unit=pairs.unit,
    synchronised=pairs.synchronised,
    unsynchronised=pairs.unsynchronised,
    flipped=pairs.flipped,
    crop=pairs.crop,
    substitute=pairs.background in ("substitute", "mix"),
    single_view=pairs.single_view,
    per_example=pairs.per_example,
  )


def make_views_config(config: ConfigDict) -> ViewsConfig:
  """What section `views` says of the frames of a batch; rotations where a method needs them."""
  views = config.views
  return ViewsConfig(
    gap_min=views.gap_min,
    gap_max=_limit(views.gap_max),
    unit=views.unit,
    rotation="nsd" in config.methods,
    labels=config.scene.pose2d,
  )


def _limit(distance: float | None) -> float | None:
  """The greatest distance as samplers have it: None for inf, and for the None of older runs."""
  return None if distance is None or math.isinf(distance) else distance


def check_videos(config: ConfigDict, sources: Sequence[Source]) -> None:
  """Raises ValueError where DrNet's discriminator would never see frames of two videos."""
  videos = sum(source.dataset.index.num_tracks for source in sources)
  together = config.batch_size // config.optimiser.accumulation
  if "drnet" in config.methods and min(videos, together) < 2:
    folders = ", ".join(str(source.dataset.directory) for source in sources)
    raise ValueError(
      "config.methods has 'drnet', whose discriminator tells frames of one video from those of"
      " another: it needs two videos, and config.batch_size at least twice"
      f" config.optimiser.accumulation; {folders} has {videos} and {together} examples are seen at"
      " once"
    )
