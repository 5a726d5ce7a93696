"""The runs of a study: many methods and seeds on one data set, and what became of each."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpose import assembly, files
from jaxpose.evaluation.comparison import Outcome
from jaxpose.evaluation.probe_records import RESULTS, load_results
from jaxpose.experiment import CONFIG_FILE, Experiment

FINISHED, FAILED = "finished", "failed"
DATA_FILE = "data.json"  # beside the folders of the rows: what data they are of

# What the rows of one table must share: what the probe is given, and how it is trained.
_SHARED = (
  *("data.source", "data.variant", "data.path", "data.directory", "data.also", "data.image_size"),
  *("data.train_split", "data.test_split", "model.crop_size", "export.checkpoint"),
  *("probe.regressor", "probe.width", "probe.depth", "probe.dropout", "probe.batch_norm"),
  *("probe.label_counts", "probe.subjects", "probe.seeds"),
  *("probe.steps", "probe.batch_size", "probe.learning_rate"),
)


@dataclasses.dataclass(frozen=True)
class Run:
  """One training of a row.

  Attributes:
    row: name of the row.
    seed: of the training.
    file: the configuration file, with its variant.
    overrides: KEY=VALUE, in the order in which they are applied.
    config: what follows from both.
    folder: of the runs of its row; what belongs to this one begins with `seed<n>`.
    after: the run whose networks it starts from, which must have finished; None: from nothing.
    random: whether its probe reads an untrained encoder too.
  """

  row: str
  seed: int
  file: str
  overrides: tuple[str, ...]
  config: ConfigDict
  folder: pathlib.Path
  after: "Run | None" = None
  random: bool = False

  @property
  def workdir(self) -> pathlib.Path:
    """The work directory of launch/run.py."""
    return self.folder / f"seed{self.seed}"

  @property
  def log(self) -> pathlib.Path:
    """What the run says."""
    return self.folder / f"seed{self.seed}.log"

  @property
  def lock(self) -> pathlib.Path:
    """Locked while somebody is at it."""
    return self.folder / f"seed{self.seed}.lock"

  @property
  def state_file(self) -> pathlib.Path:
    """How it ended, see `set_state`."""
    return self.folder / f"seed{self.seed}.json"

  @property
  def results(self) -> pathlib.Path:
    """What its probe found."""
    return self.workdir / "probe" / RESULTS

  @property
  def steps(self) -> int:
    """The last step of its training."""
    return int(self.config.training.steps)

  def __str__(self) -> str:
    return f"{self.row}, seed {self.seed}"

  def fingerprint(self) -> str:
    """A hash of everything that its numbers depend on, the probe included."""
    config = self.config
    values = [
      self._learned(config),
      self.steps,
      {key: value for key, value in config.probe.to_dict().items() if key != "references"},
      config.export.checkpoint,
      *([self.after.fingerprint()] if self.after else []),
    ]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

  def _learned(self, config: ConfigDict) -> str:
    """The fingerprint of a configuration, wherever the study lies.

    Where the run starts from another one, that one's fingerprint counts, and not its path.
    """
    if self.after is not None:
      config = config.copy_and_resolve_references()
      config.model.start_from = self.after.row
    return Experiment(config, self.workdir).fingerprint()

  def state(self) -> dict[str, Any]:
    """{"state": `FINISHED` or `FAILED`, ...} of this very configuration, {} if it is neither."""
    try:
      found = files.load_json(self.state_file)
    except (OSError, ValueError):
      return {}
    if found.get("fingerprint") != self.fingerprint():
      return {}
    if found.get("state") == FINISHED:
      unprobed = self.random and not found.get("random")
      return {} if unprobed or not self.results.is_file() else found
    return found

  @property
  def is_ready(self) -> bool:
    """Has the run that it starts from, if any, finished?"""
    return self.after is None or self.after.state().get("state") == FINISHED

  def set_state(self, state: str, **more: Any) -> None:
    """Writes how the run ended."""
    values = {"state": state, "fingerprint": self.fingerprint(), "random": self.random, **more}
    with files.replacing(self.state_file) as partial:
      partial.write_text(json.dumps(values) + "\n", encoding="utf-8")

  def begin(self) -> None:
    """Takes away what would say that the run has finished.

    Raises:
      ValueError: the folder holds the run of another configuration.
    """
    self.folder.mkdir(parents=True, exist_ok=True)
    self.check_folder()
    if self.after is not None:
      with files.replacing(self._start_file) as partial:
        partial.write_text(self.after.fingerprint(), encoding="utf-8")
    self.state_file.unlink(missing_ok=True)
    self.results.unlink(missing_ok=True)

  @property
  def _start_file(self) -> pathlib.Path:
    """The fingerprint of the run that it started from."""
    return self.folder / f"seed{self.seed}.after"

  def check_folder(self) -> None:
    """Raises ValueError where the work directory holds the run of another configuration."""
    if not (self.workdir / CONFIG_FILE).is_file():
      return
    started = self._start_file.read_text("utf-8") if self._start_file.is_file() else ""
    if started and self.after is not None and started != self.after.fingerprint():
      raise ValueError(
        f"{self.workdir} holds a run that started from another one than {self.after} now is: remove"
        " it, or name another --workdir"
      )
    if self._learned(Experiment.from_workdir(self.workdir).config) != self._learned(self.config):
      raise ValueError(
        f"{self.workdir} holds a run of another configuration than row {self.row} now has: remove"
        " it, or name another --workdir"
      )

  def step(self) -> int:
    """The last step that it has told of, 0 if none."""
    path = self.workdir / "metrics.jsonl"
    try:
      with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        lines = file.read().splitlines()
    except OSError:
      return 0
    for line in reversed(lines):
      try:
        return int(json.loads(line)["step"])
      except (ValueError, KeyError, TypeError):
        continue
    return 0


def check_alike(configs: Mapping[str, ConfigDict], reference: str) -> None:
  """Makes sure that all rows are probed alike: same data, crops and budget.

  Raises:
    ValueError: a row differs from the reference; names the key and both values.
  """
  for row, config in configs.items():
    for key in _SHARED:
      own, its = (_value(one, key) for one in (config, configs[reference]))
      if own != its:
        raise ValueError(
          f"row {row} has {key} {own!r}, but the reference {reference} has {its!r}: the rows of a"
          " table are probed alike; set it in config.shared"
        )


def _value(config: ConfigDict, key: str) -> Any:
  section, name = key.split(".")
  return config[section][name]


def knows_data(folder: pathlib.Path, config: ConfigDict) -> bool:
  """Have the runs in a folder been on the data that a configuration asks for, by its words?"""
  return _recorded_data(folder).get("asked") == _asked_data(config)


def check_data(folder: pathlib.Path, config: ConfigDict, directory: str) -> None:
  """Makes sure that the runs in a folder are all on data of one content, and writes down which.

  Args:
    folder: of the runs.
    config: of one of the runs, which share their data, see `check_alike`.
    directory: of the data, prepared.

  Raises:
    ValueError: runs in the folder have been on others.
  """
  asked, config = _asked_data(config), config.copy_and_resolve_references()
  config.data.directory = directory
  experiment = Experiment(config, folder)
  rest = [experiment.dataset(split) for split in ("validation", "test")]
  content = [dataset.fingerprint() for dataset in (*experiment.train_datasets(), *rest)]
  folder.mkdir(parents=True, exist_ok=True)
  with files.locked(folder / ".lock"):  # of several workers all come here at once
    before = _recorded_data(folder)
    if before.get("content", content) != content:
      raise ValueError(
        f"{folder} holds runs on other data than {directory} has now (theirs:"
        f" {', '.join(filter(None, before['asked']))}): name another --workdir, or remove it"
      )
    with files.replacing(folder / DATA_FILE) as partial:
      partial.write_text(json.dumps({"asked": asked, "content": content}) + "\n", encoding="utf-8")


def _recorded_data(folder: pathlib.Path) -> dict[str, Any]:
  try:
    return files.load_json(folder / DATA_FILE)
  except (OSError, ValueError):
    return {}


def _asked_data(config: ConfigDict) -> list[str]:
  data = config.data
  return [str(data[name]) for name in ("source", "variant", "path", "directory")]


def collect(run: Run) -> Outcome:
  """What a run has left so far, the probe only of one that has finished.

  Raises:
    ValueError: a file is damaged.
  """
  from jaxpose.reporting.scores import load_curves

  term = str(run.config.training.best_by)
  curve = load_curves(run.workdir / "metrics.jsonl").get(f"validation/{term}", ([], []))
  results, iou = None, None
  if run.state().get("state") == FINISHED:
    results = load_results(run.results.parent)
    if Experiment(run.config, run.workdir).detects:
      iou = _median_iou(run.workdir / "embeddings")
  feature = str(run.config.probe.features)
  frames = run.steps * run.config.batch_size * assembly.frames_per_example(run.config)
  return Outcome(run.row, run.seed, run.steps, term, curve, results, iou, feature, frames)


def _median_iou(folder: pathlib.Path) -> float | None:
  """Median IoU of the found boxes of the test frames; None where none was exported."""
  from jaxpose.embeddings import load_embeddings
  from jaxpose.export import TEST
  from jaxpose.reporting.rendered import found_iou

  try:
    embeddings = load_embeddings(folder, TEST)
  except FileNotFoundError:
    return None  # a supervised network: it exports nothing
  iou = found_iou(embeddings)
  return float(np.nanmedian(iou)) if np.isfinite(iou).any() else None
