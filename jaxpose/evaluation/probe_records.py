"""The rows that a probe produces, and their files: kept while it runs, tables when it is done."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxpose import files
from jaxpose.evaluation.regressor import Regressor, load_regressor, save_regressor
from jaxpose.evaluation.targets import POSE3D, TARGETS, Target

RECORDS, RESULTS, REGRESSOR = "records.json", "results.json", "regressor.npz"
REFERENCE = "reference.json"
_FORMAT = 1
Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class ProbeRecord:
  """One row of the table: scores of one embedding (or baseline), label count and seed.

  Attributes:
    metrics: means over all test frames.
    seconds: that it took.
    sequences_mm: mean N-MPJPE of each test sequence by name, all its cameras together, for paired
      tests; empty where an older version scored it.
  """

  row: str
  labels: int
  seed: int
  metrics: dict[str, float]
  seconds: float
  sequences_mm: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Reference:
  """A row measured elsewhere, to stand in the tables of probes.

  Attributes:
    record: the row.
    num_joints: in the names of its metrics.
    test_frames: labelled test frames of the data that it was scored on.
  """

  record: ProbeRecord
  num_joints: int
  test_frames: int


@dataclasses.dataclass(frozen=True)
class ProbeResults:
  """What `run_probe` found.

  Attributes:
    records: one for each row, label count and seed.
    rows: names of the rows, in the order of the tables.
    label_counts: ascending.
    num_joints: in the names of the metrics.
    frames: how many frames were used and how many left out, and why.
    settings: what the numbers depend on.
  """

  records: list[ProbeRecord]
  rows: list[str]
  label_counts: list[int]
  num_joints: int
  frames: dict[str, int]
  settings: dict[str, Any]

  @property
  def target(self) -> Target:
    """What was read from the embeddings."""
    return TARGETS[self.settings.get("target", POSE3D.name)]

  def of(self, row: str, labels: int, metric: str) -> np.ndarray:
    """The values over seeds: [S]."""
    return np.array([r.metrics[metric] for r in self.records if (r.row, r.labels) == (row, labels)])


class RecordStore:
  """Finished rows on disk, thrown away when anything that they depend on has changed.

  Args:
    directory: holds `records.json` and `regressor.npz`; None keeps nothing on disk.
    settings: what the rows depend on; must be plain JSON.
  """

  def __init__(
    self, directory: str | os.PathLike[str] | None, settings: Mapping[str, Any], say: Report
  ):
    self._directory = pathlib.Path(directory) if directory is not None else None
    self._settings = json.loads(json.dumps(settings))
    self._kept: tuple[int, int] | None = None
    self._regressor: Regressor | None = None
    self.records: dict[tuple[str, int, int], ProbeRecord] = {}
    if self._directory is not None and (self._directory / RECORDS).is_file():
      self._load(self._directory, say)

  def _load(self, directory: pathlib.Path, say: Report) -> None:
    path = directory / RECORDS
    try:
      saved = files.load_json(path)
      same = saved["format"] == _FORMAT and saved["settings"] == self._settings
      records = [ProbeRecord(**values) for values in saved["records"]] if same else []
      found = {(record.row, record.labels, record.seed): record for record in records}
      kept = saved["regressor"]
    except (ValueError, KeyError, TypeError):
      same = False
    if not same:
      say(f"probe: {path} is of other settings or data: starting anew")
      return
    self.records = found
    if self.records:
      say(f"probe: {len(self.records)} finished rows found in {path}")
    if isinstance(kept, list) and len(kept) == 2 and (directory / REGRESSOR).is_file():
      try:
        self._regressor = load_regressor(directory / REGRESSOR)
        self._kept = (kept[0], kept[1])
      except ValueError as error:
        say(f"probe: {error}; it is fitted again")

  def add(self, record: ProbeRecord) -> None:
    """Keeps a finished row."""
    self.records[record.row, record.labels, record.seed] = record
    self._write()

  def keep_regressor(self, labels: int, seed: int, regressor: Regressor) -> None:
    """Saves the fitted regressor of a label count and seed."""
    if self._directory is not None:
      self._kept = None  # until it is there: the records must not claim another one for theirs
      self._write()
      save_regressor(self._directory / REGRESSOR, regressor)
    self._kept, self._regressor = (labels, seed), regressor
    self._write()

  def regressor(self, labels: int, seed: int) -> Regressor | None:
    """The saved regressor, if it is that of this label count and seed."""
    return self._regressor if self._kept == (labels, seed) else None

  def _write(self) -> None:
    if self._directory is None:
      return
    values = {
      "format": _FORMAT,
      "settings": self._settings,
      "records": [dataclasses.asdict(record) for record in self.records.values()],
      "regressor": self._kept,
    }
    write_json(self._directory / RECORDS, values)


def save_results(directory: str | os.PathLike[str], results: ProbeResults) -> pathlib.Path:
  """Writes `results.json`, returns its path."""
  path = pathlib.Path(directory) / RESULTS
  write_json(path, dataclasses.asdict(results))
  return path


def load_results(directory: str | os.PathLike[str]) -> ProbeResults:
  """Reads `results.json`.

  Raises:
    FileNotFoundError: the probe has not finished there.
    ValueError: the file is damaged.
  """
  path = pathlib.Path(directory) / RESULTS
  if not path.is_file():
    raise FileNotFoundError(f"no results at {path}: launch/probe.py writes them")
  values = files.load_json(path)
  try:
    records = [ProbeRecord(**record) for record in values.pop("records")]
    return ProbeResults(records=records, **values)
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} is damaged ({error!r}): run launch/probe.py again") from error


def save_reference(directory: str | os.PathLike[str], reference: Reference) -> pathlib.Path:
  """Writes `reference.json`, returns its path."""
  path = pathlib.Path(directory) / REFERENCE
  write_json(path, {"format": _FORMAT, **dataclasses.asdict(reference)})
  return path


def load_reference(path: str | os.PathLike[str]) -> Reference:
  """Reads what `save_reference` wrote.

  Raises:
    FileNotFoundError: it isn't there.
    ValueError: it is no such file.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(
      f"no reference at {path}: a run of configs/supervised.py writes probe/{REFERENCE}; take it"
      " out of config.probe.references (or --references) to go on without"
    )
  try:
    values = files.load_json(path)
    if values.pop("format") != _FORMAT:
      raise ValueError("another format")
    return Reference(record=ProbeRecord(**values.pop("record")), **values)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} is no reference that a supervised run wrote ({error})") from error


def write_json(path: pathlib.Path, values: Any) -> None:
  """Writes a JSON file as a whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing(path) as partial:
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
