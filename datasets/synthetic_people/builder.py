"""The TFDS builder of the embedded data.

`datasets.pose_video.prepare(SyntheticPeople, folder)` builds it once. Other sizes are configs too:
`SyntheticPeopleConfig(name="wide", options=Options(width=256))`.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from datasets.pose_video import PoseVideoBuilder
from datasets.synthetic_people.generator import SPLITS, Options, generate_split
from jaxpose.data.records import Sequence
from jaxpose.skeleton import H36M17, Skeleton


@dataclasses.dataclass(kw_only=True)
class SyntheticPeopleConfig(tfds.core.BuilderConfig):
  """A size of the embedded data; `Options` says what each option means."""

  options: Options = dataclasses.field(default_factory=Options)


TINY = Options(motions=(6, 2, 4), subjects=(3, 1, 2), frames=12, height=64, width=64, rooms=2)
TINY_DIVES = dataclasses.replace(TINY, diving_share=1.0, frames=30)
FIVE = Options(subjects=(5, 2, 4))
SESSIONS = Options(motions=(72, 6, 16), frames=104, actions=4, diving_share=0.0)
FIVE_SESSIONS = dataclasses.replace(SESSIONS, subjects=FIVE.subjects)
DIVES = Options(motions=(160, 16, 40), diving_share=1.0, frames=30)


class Drawn:
  """Of builders whose frames are drawn by processes; stands before the builder among the bases."""

  def __init__(self, *, workers: int | None = None, **kwargs: Any):
    """See the base.

    Args:
      workers: processes that draw; 0 for none but this one, None for one per core. The data do not
        depend on it.
      **kwargs: of TFDS.
    """
    super().__init__(**kwargs)
    self._workers = len(os.sched_getaffinity(0)) if workers is None else workers


class SyntheticPeople(Drawn, PoseVideoBuilder):
  """Synthetic people in textured rooms, seen by calibrated cameras, with exact 2D and 3D joints."""

  VERSION = tfds.core.Version("1.3.0")
  BUILDER_CONFIGS = [  # noqa: RUF012 - the name and type that TFDS asks for
    SyntheticPeopleConfig(name="default", description="13 actions and some dives."),
    SyntheticPeopleConfig(
      name="five_people",
      description="The default, but five people to train on, as many as in Human3.6M.",
      options=FIVE,
    ),
    SyntheticPeopleConfig(
      name="sessions",
      description="As many frames as the default, in takes four times as long, of four actions.",
      options=SESSIONS,
    ),
    SyntheticPeopleConfig(
      name="five_sessions",
      description="These takes of five people to train on.",
      options=FIVE_SESSIONS,
    ),
    SyntheticPeopleConfig(name="tiny", description="A few short sequences of 64 px.", options=TINY),
    SyntheticPeopleConfig(name="tiny_diving", description="As few dives.", options=TINY_DIVES),
    SyntheticPeopleConfig(name="diving", description="Dives from a springboard.", options=DIVES),
  ]

  @property
  def skeleton(self) -> Skeleton:
    return H36M17

  @property
  def splits(self) -> tuple[str, ...]:
    return SPLITS

  def sequences(self, split: str) -> Iterator[Sequence]:
    config = self.builder_config
    assert isinstance(config, SyntheticPeopleConfig)
    options = config.options
    few = options.motions[SPLITS.index(split)] * options.frames * options.views < 1000
    return generate_split(options, split, 0 if few else self._workers)
