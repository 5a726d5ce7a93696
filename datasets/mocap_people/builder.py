"""The TFDS builder of motion capture from a folder.

`launch/prepare.py --source=mocap_people --path=FOLDER`, or `config.data.source` and `.path`.
"""

import dataclasses
import functools
from collections.abc import Iterator

import tensorflow_datasets as tfds

from datasets.mocap_people.clips import Clip, fingerprint, load_clips
from datasets.mocap_people.generator import Options, generate_split
from datasets.mocap_people.takes import split_clips
from datasets.pose_video import PoseVideoBuilder
from datasets.synthetic_people.builder import Drawn
from datasets.synthetic_people.generator import SPLITS
from jaxpose.data.records import Sequence
from jaxpose.skeleton import H36M17, Skeleton


@dataclasses.dataclass(kw_only=True)
class MocapPeopleConfig(tfds.core.BuilderConfig):
  """A folder and a size.

  Attributes:
    options: `Options` says what each means.
    fingerprint: of the folder's motion files.
  """

  options: Options = dataclasses.field(default_factory=Options)
  fingerprint: str = dataclasses.field(default="", init=False)

  def __post_init__(self) -> None:
    if self.options.path:
      self.fingerprint = fingerprint(self.options.path)


SESSIONS = Options(frames=104, piece=32)
TINY = Options(images=480, passes=1, frames=12, height=64, width=64, rooms=2)


class MocapPeople(Drawn, PoseVideoBuilder):
  """People who move as recorded by motion capture, drawn in textured rooms, with exact labels."""

  VERSION = tfds.core.Version("1.1.0")
  BUILDER_CONFIGS = [  # noqa: RUF012 - the name and type that TFDS asks for
    MocapPeopleConfig(name="default", description="All motion, 40,000 images of 128 px at most."),
    MocapPeopleConfig(
      name="sessions",
      description="As many frames, in takes of 8.7 s that are joined from pieces of 2.7 s at most.",
      options=SESSIONS,
    ),
    MocapPeopleConfig(name="tiny", description="A few short sequences of 64 px.", options=TINY),
  ]

  @property
  def _options(self) -> Options:
    config = self.builder_config
    assert isinstance(config, MocapPeopleConfig)
    return config.options

  @property
  def skeleton(self) -> Skeleton:
    return H36M17

  @property
  def splits(self) -> tuple[str, ...]:
    return SPLITS

  @functools.cached_property
  def _clips(self) -> dict[str, list[Clip]]:
    """Of each split."""
    return split_clips(load_clips(self._options.path, self._options.unit_mm))

  def sequences(self, split: str) -> Iterator[Sequence]:
    workers = 0 if self._options.images < 4000 else self._workers
    return generate_split(self._options, self._clips, split, workers)
