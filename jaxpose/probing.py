"""How well a run knows poses: a probe of its exported embeddings, or a supervised network's own."""

import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpose.crops import LABELS
from jaxpose.data.records import EMPTY
from jaxpose.data.subjects import subject_boxes
from jaxpose.embeddings import load_embeddings
from jaxpose.evaluation import label_table, metrics, probe, probe_report, protocols
from jaxpose.evaluation.fitting import FitConfig
from jaxpose.evaluation.probe_records import (
  REFERENCE,
  REGRESSOR,
  ProbeRecord,
  ProbeResults,
  Reference,
  load_reference,
  save_reference,
)
from jaxpose.evaluation.protocols import ALL, LabelCount
from jaxpose.evaluation.regressor import Architecture, save_regressor
from jaxpose.evaluation.targets import POSE3D, Target
from jaxpose.export import RANDOM_PREFIX, TEST, TRAIN

TRAINED, RANDOM, SUPERVISED = "trained", "random", "supervised"
FINE_TUNED = "fine-tuned"  # a supervised network that started from another run
Path = str | os.PathLike[str]

_SCORED = ("frame", "sequence", "present", "box_px", "pose3d_mm", "joint_valid")
_PROGRESS_S = 5.0


def probe_embeddings(
  folder: Path,
  out: Path,
  *,
  fit: FitConfig,
  label_counts: Sequence[LabelCount],
  seeds: Sequence[int],
  feature: str,
  target: Target = POSE3D,
  labels: Path | None = None,
  subjects: Sequence[str] = (),
  references: Sequence[Path] = (),
  progress: Callable[[str], None] = print,
) -> ProbeResults:
  """Runs the probe on an export and writes records, results, table, curve and regressor to `out`.

  Args:
    folder: holds the exports `train` and `test`, and, if it is to stand in the tables, those of an
      untrained encoder, `random_train` and `random_test`.
    label_counts: numbers, shares ("10%" or 0.1) or "all".
    feature: the vectors that are read, of `features.FEATURES`.
    target: what is read from them; labels and references are those of 3D poses.
    labels: a label table that says which frames are labelled, see `evaluation.label_table`.
    subjects: names of those whose labels are learned from, as in P3's protocol S1; empty: all.
    references: files of rows measured elsewhere, see `score_supervised`.

  Raises:
    FileNotFoundError: there is no export, no label table, or no reference.
    ValueError: no labels, or fewer than asked for; a reference of other poses or test frames; an
      export that was stopped between the splits.
  """
  table = label_table.read_label_table(labels) if labels is not None else None
  train, test = _load_exports(folder, progress)
  others = _load_references(references, test[TRAINED], train[TRAINED], table)
  results, regressor = probe.run_probe(
    train,
    test,
    label_counts=label_counts,
    seeds=seeds,
    fit=fit,
    feature=feature,
    target=target,
    table=table,
    subjects=subjects,
    references=others,
    directory=out,
    progress=progress,
  )
  save_regressor(pathlib.Path(out) / REGRESSOR, regressor)
  probe_report.write_probe_report(out, results)
  return results


def _load_exports(
  folder: Path, progress: Callable[[str], None]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
  """(train, test) of the trained encoder and, where it belongs to it, of the untrained one."""
  train = {TRAINED: load_embeddings(folder, TRAIN)}
  test = {TRAINED: load_embeddings(folder, TEST)}
  own = [str(e[TRAINED].get("checkpoint", "")) for e in (train, test)]
  if own[0] != own[1]:
    raise ValueError(
      f"the embeddings in {folder} are of two checkpoints, {TRAIN} of {own[0]} and {TEST} of"
      f" {own[1]}: the export was stopped between them; run launch/export.py again"
    )
  try:
    train[RANDOM] = load_embeddings(folder, RANDOM_PREFIX + TRAIN)
    test[RANDOM] = load_embeddings(folder, RANDOM_PREFIX + TEST)
  except FileNotFoundError:
    progress(f"probe: no embeddings of an untrained encoder in {folder}")
    train.pop(RANDOM, None)
  if RANDOM in train and not _same_crops(train, test):
    progress("probe: the embeddings of an untrained encoder are of another checkpoint: left out")
    del train[RANDOM], test[RANDOM]
  return train, test


def _same_crops(*exports: Mapping[str, Mapping[str, Any]]) -> bool:
  """Did the untrained encoder see the crops of the checkpoint that the trained one is of?"""

  def checkpoint(found: Mapping[str, Any]) -> str:
    return str(found.get("checkpoint", ""))

  return all(checkpoint(e[RANDOM]).endswith(checkpoint(e[TRAINED])) for e in exports)


def _load_references(
  paths: Sequence[Path],
  test: Mapping[str, Any],
  train: Mapping[str, Any],
  table: label_table.LabelTable | None,
) -> list[ProbeRecord]:
  """The rows in the files, each of the skeleton and the number of test frames of this probe."""
  found = [(path, load_reference(path)) for path in paths]
  if not found:
    return []
  skeleton = probe.find_skeleton(train, table)
  frames = protocols.labelled_frames(test, skeleton, split=TEST, table=table)
  own = (skeleton.num_joints, len(frames.rows))
  names = {metrics.metric_name(metric, skeleton.num_joints) for metric in POSE3D.metrics}
  for path, reference in found:
    other = (reference.num_joints, reference.test_frames)
    if other != own:
      raise ValueError(
        f"the reference {path} is of {other[1]} labelled test frames of {other[0]} joints, this"
        f" probe of {own[1]} frames of {own[0]} joints: use one made with the same data"
      )
    missing = names - set(reference.record.metrics)
    if missing:
      raise ValueError(f"the reference {path} has no {', '.join(sorted(missing))}: score it again")
  return [reference.record for _, reference in found]


def fit_config(values: Mapping[str, Any] | ConfigDict) -> FitConfig:
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


def check_label_counts(experiment: Any) -> None:
  """Says before a training that there are not as many labels as its probe will ask for.

  Data without any label are let through: the probe waits for a table of labels then.

  Raises:
    ValueError: `config.probe.label_counts` asks for more than the training frames have.
  """
  available = experiment.labels.count()
  if available:
    try:
      protocols.resolve_label_counts(label_counts(experiment.config.probe.label_counts), available)
    except ValueError as error:
      raise ValueError(f"config.probe.label_counts: {error}") from error


def probe_run(
  experiment: Any,
  *,
  labels: Path | None = None,
  progress: Callable[[str], None] = print,
) -> ProbeResults:
  """The probe of a run's embeddings as its configuration asks, written to `probe` in its workdir.

  Args:
    experiment: a `jaxpose.experiment.Experiment`.
    labels: see `probe_embeddings`.

  Raises:
    FileNotFoundError: nothing was exported, or a reference is missing.
    ValueError: no labels, or fewer than asked for; a reference of other poses or test frames.
  """
  values = experiment.config.probe
  return probe_embeddings(
    experiment.workdir / "embeddings",
    experiment.workdir / "probe",
    fit=fit_config(values),
    label_counts=label_counts(values["label_counts"]),
    seeds=tuple(values["seeds"]),
    feature=values["features"],
    labels=labels,
    subjects=tuple(values["subjects"]),
    references=tuple(values["references"]),
    progress=progress,
  )


def score_supervised(
  experiment: Any, *, which: str = "", progress: Callable[[str], None] = print
) -> ProbeResults:
  """Scores a supervised network on the test frames that a probe would be scored on.

  Writes to `probe` in its workdir: the tables, and `reference.json`, whose row `supervised`, or
  `fine-tuned` where it started from another run, stands in the tables of probes that name it, at
  the number of labels that it learned from. Beside it stands the mean pose of these labels.
  Frames without a box (config.supervised.crop) cannot be cropped: there the mean pose stands in,
  so that all rows of a table are of the same frames, and the tables say so. Where no frame has one
  there is no row, and no reference.

  Args:
    experiment: a `jaxpose.experiment.Experiment` of the method `supervised`.
    which: the "best" or "last" checkpoint; empty: the configured one.

  Raises:
    FileNotFoundError: there is no checkpoint, or no data.
  """
  begin = time.monotonic()
  skeleton = experiment.dataset(TEST).skeleton
  frames = _predict_frames(experiment, experiment.make_embed(experiment.restore(which)), progress)
  test = protocols.labelled_frames(frames, skeleton, split=TEST)
  boxed = np.isfinite(frames["box_px"][test.rows]).all(axis=-1)
  if experiment.subject_crop is None:  # the detector finds one in every frame
    boxed = np.ones_like(boxed)
  true, valid = test.poses_mm, test.valid
  sequences = protocols.sequence_names(frames, test.rows)
  labels, seed = experiment.labels.count(), int(experiment.config.seed)
  own = FINE_TUNED if experiment.config.model.start_from else SUPERVISED
  mean = np.broadcast_to(experiment.labels.mean_pose_mm, true.shape)
  read = np.where(boxed[:, None, None], frames["pose_mm"][test.rows], mean)
  poses = {probe.MEAN_POSE: mean, own: read}
  records = {}
  for row, predicted in poses.items() if boxed.any() else ():
    scores = metrics.pose_metrics(predicted, true, valid, root=skeleton.root)
    seconds = round(time.monotonic() - begin, 3) if row == own else 0.0
    errors = metrics.sequence_errors(predicted, true, valid, sequences, root=skeleton.root)
    records[row] = ProbeRecord(row, labels, seed, scores, seconds, errors)
  results = ProbeResults(
    list(records.values()),
    list(records),
    [labels],
    skeleton.num_joints,
    _count_frames(experiment, test, boxed),
    {
      "skeleton": skeleton.name,
      "fingerprint": experiment.fingerprint(),
      "test_sequences": protocols.count_sequences(sequences),
    },
  )
  _write_supervised(experiment.workdir / "probe", results, len(test.rows), progress)
  return results


def _write_supervised(
  out: pathlib.Path, results: ProbeResults, test_frames: int, progress: Callable[[str], None]
) -> None:
  """Writes tables and reference, and says what the network, the last record, is worth."""
  probe_report.write_probe_report(out, results)
  if not results.records:
    for stale in (REFERENCE, probe_report.PLOT):
      (out / stale).unlink(missing_ok=True)
    progress("probe: no test frame has both a 3D pose and what is cropped: nothing to score")
    return
  base, own = results.records
  reference = Reference(own, results.num_joints, test_frames)
  name = metrics.metric_name("N-MPJPE", results.num_joints)
  error = own.metrics[name]
  for line in metrics.describe_variants(own.metrics):
    progress(f"probe: {line}")
  progress(
    f"probe: {own.row}, {own.labels} labels, seed {own.seed}: {name} {error:.1f} mm,"
    f" {error / base.metrics[name]:.3f} of the mean pose's; {save_reference(out, reference)}"
  )


def _count_frames(
  experiment: Any, test: protocols.LabelledFrames, boxed: np.ndarray
) -> dict[str, int]:
  train = [dataset.index for dataset in experiment.train_datasets()]
  learned = np.zeros(0, int)
  if experiment.dataset(TEST).split == experiment.dataset(TRAIN).split:
    learned = experiment.labels.of(TRAIN).ids[0]
  return {
    "train": sum(index.num_frames for index in train),
    "train_labelled": experiment.labels.count_all(),
    "train_left_out_empty": sum(int((i.labelled & (i.present == EMPTY)).sum()) for i in train),
    "train_left_out_root_unknown": 0,  # those have no weight in training, but aren't counted
    "test": experiment.dataset(TEST).num_frames,
    "test_labelled": len(test.rows),
    "test_without_box": int((~boxed).sum()),
    "test_left_out_empty": test.left_out_empty,
    "test_left_out_root_unknown": test.left_out_root,
    "test_also_train": int(np.isin(test.rows, learned).sum()),
  }


def _predict_frames(
  experiment: Any, embed: Callable[[Any], Mapping[str, Any]], progress: Callable[[str], None]
) -> dict[str, np.ndarray]:
  """Labels and predicted poses of all test frames, as an export would have them."""
  columns: dict[str, list[np.ndarray]] = {}
  done, total, told = 0, experiment.dataset(TEST).num_frames, time.monotonic()
  for batch in experiment.frame_batches(TEST):
    keep = np.asarray(batch["valid"], bool)
    found = {name: np.asarray(batch[name]) for name in _SCORED}
    found["box_px"] = subject_boxes(batch, experiment.subject_crop or LABELS)  # what crops were of
    found["pose_mm"] = np.asarray(embed(batch)["pose_mm"])
    for name, values in found.items():
      columns.setdefault(name, []).append(values[keep])
    done += int(keep.sum())
    if time.monotonic() - told > _PROGRESS_S or done == total:
      progress(f"probe: predicted {done}/{total} test frames")
      told = time.monotonic()
  frames = {name: np.concatenate(parts) for name, parts in columns.items()}
  dataset = experiment.dataset(TEST)
  frames["joint_names"] = np.array(dataset.skeleton.joints)
  frames["sequence_names"] = np.array([sequence["name"] for sequence in dataset.sequences])
  return frames
