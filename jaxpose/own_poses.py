"""Poses that a supervised network reads in new frames by itself: no probe, no training data."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpose import files
from jaxpose.skeleton import Skeleton

_FILE = "skeleton.json"


@dataclasses.dataclass(frozen=True)
class OwnPoses:
  """What stands in a regressor's place where the network gives poses.

  Attributes:
    skeleton: of the poses.
    turned: poses are as a camera would see them that looks at the person (P3 §3.4): a video whose
      camera is not calibrated does not tell how far that is from where it looked.
  """

  skeleton: Skeleton
  turned: bool


def open_network(
  experiment: Any, variables: Mapping[str, Any]
) -> tuple[Callable[[Mapping[str, Any]], dict[str, np.ndarray]], OwnPoses]:
  """(frames -> pose_mm, time_variant, box, presence, as numpy; what kind of poses these are).

  Crops of true boxes, of which new frames have none, are around what differs from the background.

  Args:
    experiment: a `jaxpose.experiment.Experiment` of the method `supervised`.
    variables: of its checkpoint.
  """
  config = experiment.config.copy_and_resolve_references()
  turned, config.supervised.centre_camera = config.supervised.centre_camera, False
  embed = type(experiment)(config, experiment.workdir).make_embed(variables)
  return embed, OwnPoses(experiment.skeleton, bool(turned))


def save_skeleton(workdir: Path, skeleton: Skeleton) -> None:
  """Writes the skeleton of a run's poses beside its configuration."""
  with files.replacing(workdir / _FILE) as partial:
    partial.write_text(json.dumps(skeleton.to_dict(), indent=2), encoding="utf-8")


def load_skeleton(workdir: Path) -> Skeleton | None:
  """The skeleton of a run's poses; None where it wrote none.

  Raises:
    ValueError: the file is damaged.
  """
  path = workdir / _FILE
  if not path.is_file():
    return None
  try:
    return Skeleton.from_dict(files.load_json(path))
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{path} is damaged ({error!r}): run launch/run.py again") from error
