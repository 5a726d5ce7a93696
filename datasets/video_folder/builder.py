"""The data set of the user's own videos."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar

import tensorflow_datasets as tfds

from datasets.pose_video import PoseVideoBuilder
from datasets.video_folder.assemble import TakeData, split_sequences
from datasets.video_folder.backgrounds import BackgroundJob
from datasets.video_folder.prepare import VERSION
from jaxpose.data.records import Sequence
from jaxpose.skeleton import H36M17, Skeleton, skeleton_from_joint_names


@dataclasses.dataclass(frozen=True)
class Content:
  """What a data set is written from.

  Attributes:
    takes: opened takes, in order.
    backgrounds: (take name, camera name) -> the job that made the background.
    splits: names, in order.
  """

  takes: tuple[TakeData, ...]
  backgrounds: Mapping[tuple[str, str], BackgroundJob]
  splits: tuple[str, ...]

  @property
  def skeleton(self) -> Skeleton:
    """That of the labels; Human3.6M's, for want of any, where there are none."""
    joints = next((data.joints for data in self.takes if data.joints), ())
    return skeleton_from_joint_names("labels", joints) if joints else H36M17

  def check(self) -> None:
    """Checks that all labels name the same joints.

    Raises:
      ValueError: they don't; says which takes differ.
    """
    labelled = [data for data in self.takes if data.joints]
    for data in labelled[1:]:
      if set(data.joints) != set(labelled[0].joints):
        odd = sorted(set(data.joints) ^ set(labelled[0].joints))
        raise ValueError(
          f"takes {labelled[0].take.name!r} and {data.take.name!r} differ in joints ({odd[0]!r}, "
          f"{len(odd)} in all): prepare them as two data sets"
        )


@dataclasses.dataclass
class VideoFolderConfig(tfds.core.BuilderConfig):
  """What the content depends on.

  Attributes:
    fingerprint: of all files and options asked for.
    skipped: takes that were left out because a file of theirs cannot be used.
  """

  fingerprint: str = ""
  skipped: tuple[str, ...] = ()


class VideoFolder(PoseVideoBuilder, skip_registration=True):
  """The user's own videos."""

  VERSION = tfds.core.Version(VERSION)
  content: ClassVar[Content]

  @property
  def skeleton(self) -> Skeleton:
    return self.content.skeleton

  @property
  def splits(self) -> tuple[str, ...]:
    return self.content.splits

  def sequences(self, split: str) -> Iterator[Sequence]:
    content = self.content
    joints = content.skeleton.joints
    for data in content.takes:
      jobs = {name: content.backgrounds[data.take.name, name] for name in data.cameras}
      yield from split_sequences(data, split, jobs, joints)
