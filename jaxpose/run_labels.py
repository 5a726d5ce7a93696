"""The labels of a run: those that it learns from, their statistics, and how many there are."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpose import label_choice
from jaxpose.data.index import Dataset


class RunLabels:
  """What a configuration says of the labels of its data; read when first asked for."""

  def __init__(
    self, config: ConfigDict, datasets: Callable[[str], Sequence[Dataset]], *, supervised: bool
  ) -> None:
    """Looks at no data yet.

    Args:
      config: of the run.
      datasets: gives the data sets of a split.
      supervised: does the run learn from the labels of all frames, and not from the video alone?
    """
    self._config, self._datasets, self._supervised = config, datasets, supervised

  @functools.cache  # noqa: B019  as an experiment, it lives as long as the program
  def of(self, split: str) -> label_choice.LabelChoice:
    """The labels that a supervised network learns from, or all of another split."""
    values, train = self._config.supervised, split == "train"
    return label_choice.choose_labels(
      self._datasets(split),
      subjects=tuple(values.subjects) if train else (),
      count=values.label_count if train else 0,
      seed=self._config.seed,
    )

  @property
  def statistics(self) -> Any:
    """Mean and scale of what is learned of the labels, a `pose_target.LabelStatistics`."""
    return self._computed[0]

  @property
  def mean_pose_mm(self) -> np.ndarray:
    """Mean of the poses that are learned from, in the axes of the camera: [J, 3]."""
    return self._computed[1]

  @functools.cached_property
  def _computed(self) -> Any:
    values = self._config.supervised
    return label_choice.compute_statistics(
      self._datasets("train"),
      self.of("train").ids,
      normalise=values.normalise,
      centre_camera=values.centre_camera,
    )

  def count(self) -> int:
    """How many frames a supervised network learns from; of others, those their probe may.

    A probe reads the run's own data, without `config.data.also`.
    """
    if self._supervised:
      return self.of("train").size
    own, subjects = self._datasets("train")[0], tuple(self._config.probe.subjects)
    if not subjects:
      return len(label_choice.labelled_ids(own))
    return label_choice.choose_labels(
      [own], subjects=subjects, count=0, seed=0, section="probe"
    ).size

  def count_all(self) -> int:
    """How many training frames have labels, those of `config.data.also` among them."""
    return sum(len(label_choice.labelled_ids(dataset)) for dataset in self._datasets("train"))
