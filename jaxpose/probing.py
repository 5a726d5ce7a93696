"""The pose probe of a run: from its exported embeddings to tables, curve and fitted regressor."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxpose.embeddings import load_embeddings
from jaxpose.evaluation import label_table, probe, probe_report
from jaxpose.evaluation.fitting import FitConfig
from jaxpose.evaluation.probe_records import REGRESSOR, ProbeRecord, ProbeResults
from jaxpose.evaluation.protocols import ALL, LabelCount
from jaxpose.evaluation.regressor import Architecture, save_regressor
from jaxpose.export import RANDOM_PREFIX, TEST, TRAIN

TRAINED, RANDOM = "trained", "random"


def probe_embeddings(
  folder: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  fit: FitConfig,
  label_counts: Sequence[LabelCount],
  seeds: Sequence[int],
  feature: str = "time_variant",
  labels: str | os.PathLike[str] | None = None,
  references: Sequence[ProbeRecord] = (),
  progress: Callable[[str], None] = print,
) -> ProbeResults:
  """Runs the probe on an export and writes records, results, table, curve and regressor to `out`.

  Args:
    folder: holds the exports `train` and `test`, and, if it is to stand in the tables, those of an
      untrained encoder, `random_train` and `random_test`.
    label_counts: numbers, shares ("10%" or 0.1) or "all".
    labels: a label table that says which frames are labelled, see `evaluation.label_table`.
    references: rows measured elsewhere.

  Raises:
    FileNotFoundError: there is no export, or no label table.
    ValueError: no labels, or fewer than asked for.
  """
  table = label_table.read_label_table(labels) if labels is not None else None
  train = {TRAINED: load_embeddings(folder, TRAIN)}
  test = {TRAINED: load_embeddings(folder, TEST)}
  try:
    train[RANDOM] = load_embeddings(folder, RANDOM_PREFIX + TRAIN)
    test[RANDOM] = load_embeddings(folder, RANDOM_PREFIX + TEST)
  except FileNotFoundError:
    progress(f"probe: no embeddings of an untrained encoder in {folder}")
    train.pop(RANDOM, None)
  results, regressor = probe.run_probe(
    train,
    test,
    label_counts=label_counts,
    seeds=seeds,
    fit=fit,
    feature=feature,
    table=table,
    references=references,
    directory=out,
    progress=progress,
  )
  save_regressor(pathlib.Path(out) / REGRESSOR, regressor)
  probe_report.write_probe_report(out, results)
  return results


def fit_config(values: Mapping[str, Any]) -> FitConfig:
  """The `probe` section of a configuration as a `FitConfig`."""
  return FitConfig(
    Architecture(
      kind=values["regressor"],
      width=values["width"],
      depth=values["depth"],
      dropout=values["dropout"],
      batch_norm=values["batch_norm"],
    ),
    steps=values["steps"],
    batch_size=values["batch_size"],
    learning_rate=values["learning_rate"],
  )


def label_counts(values: Sequence[LabelCount]) -> list[LabelCount]:
  """Label counts of a configuration, in which 0 means all."""
  return [ALL if value == 0 else value for value in values]


def probe_run(
  experiment: Any,
  *,
  labels: str | os.PathLike[str] | None = None,
  references: Sequence[ProbeRecord] = (),
  progress: Callable[[str], None] = print,
) -> ProbeResults:
  """The probe of a run's embeddings as its configuration asks, written to `probe` in its workdir.

  Args:
    experiment: a `jaxpose.experiment.Experiment`.
    labels, references: see `probe_embeddings`.

  Raises:
    FileNotFoundError: nothing was exported.
    ValueError: no labels, or fewer than asked for.
  """
  values = experiment.config.probe
  return probe_embeddings(
    experiment.workdir / "embeddings",
    experiment.workdir / "probe",
    fit=fit_config(values),
    label_counts=label_counts(values["label_counts"]),
    seeds=tuple(values["seeds"]),
    labels=labels,
    references=references,
    progress=progress,
  )
