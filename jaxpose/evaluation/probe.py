"""How well a pose can be read from an embedding with few labels (P2 §4.3, label efficiency).

For each number of labels and each seed, a regressor is trained on that many frames of the training
videos and scored on the test videos, for each embedding. Beside them stands the mean pose of the
same labels. Nothing is chosen by the test videos: the number of steps is fixed, the last weights
are scored.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpose.evaluation import fitting, metrics, protocols
from jaxpose.evaluation.blocks import blocks
from jaxpose.evaluation.features import TIME_VARIANT, feature_column
from jaxpose.evaluation.label_table import LabelTable
from jaxpose.evaluation.probe_records import ProbeRecord, ProbeResults, RecordStore, Report
from jaxpose.evaluation.protocols import LabelCount, LabelledFrames
from jaxpose.evaluation.regressor import Regressor
from jaxpose.evaluation.targets import POSE2D_CROP, POSE3D, Target
from jaxpose.skeleton import Skeleton, skeleton_from_joint_names

MEAN_POSE = "mean pose"
Embeddings = Mapping[str, Any]


def run_probe(
  train_embeddings: Mapping[str, Embeddings],
  test_embeddings: Mapping[str, Embeddings],
  *,
  label_counts: Sequence[LabelCount],
  seeds: Sequence[int],
  fit: fitting.FitConfig,
  feature: str = TIME_VARIANT,
  target: Target = POSE3D,
  table: LabelTable | None = None,
  subjects: Sequence[str] = (),
  references: Sequence[ProbeRecord] = (),
  directory: str | os.PathLike[str] | None = None,
  progress: Report | None = None,
) -> tuple[ProbeResults, Regressor]:
  """Trains and scores all regressors.

  Args:
    train_embeddings, test_embeddings: name of the row (`trained`, `random`, ...) -> exported arrays
      of the same frames. The labels are read from the first row.
    label_counts: numbers, shares (0.1 or "10%") or "all".
    seeds: each draws other label frames, initial weights and minibatches.
    feature: the vectors to read the pose from, see `features.feature_column`.
    target: what is read: 3D poses, or 2D keypoints in the frame.
    table: labels from a file, see `label_table`.
    subjects: see `protocols.of_subjects`.
    references: rows measured elsewhere (such as a supervised network) to stand in the same tables.
    directory: where finished rows are kept, so that a run that was stopped goes on; also where the
      fitted regressor is saved. None: nothing is written.
    progress: called with one line of text at a time.

  Returns:
    The results, and the regressor of the first row fitted on the most labels with the first seed.
    Without any labelled test frame the results hold no records.

  Raises:
    ValueError: embeddings of different frames, no labels, more labels asked for than there are.
  """
  say: Report = progress if progress is not None else lambda line: None
  rows = list(train_embeddings)
  _check_rows(train_embeddings, test_embeddings, seeds)
  first_train, first_test = train_embeddings[rows[0]], test_embeddings[rows[0]]
  skeleton = find_skeleton(first_train, table)
  train, test = _find_labels(first_train, first_test, skeleton, target, table)
  train = protocols.of_subjects(train, first_train, subjects)
  counts = protocols.resolve_label_counts(label_counts, len(train.rows))
  sequences = protocols.sequence_names(first_test, test.rows)
  settings: dict[str, Any] = {
    "fit": dataclasses.asdict(fit),
    "feature": feature,
    "target": target.name,
    "skeleton": skeleton.name,
    "data": _digest(train_embeddings, test_embeddings, feature, train, test),
    "labels": _digest({}, {}, feature, train, test),
    "subjects": list(subjects),
    "weights": str(first_train.get("weights", "")),
    "test_sequences": protocols.count_sequences(sequences),
  }
  job = _Job(
    *(rows, counts, list(seeds), fit, feature, target, skeleton, train, test),
    *(sequences, settings, say),
    weights=settings["weights"],
  )
  store = RecordStore(directory, settings, say)
  _score_all(job, store, train_embeddings, test_embeddings)
  regressor = _final_regressor(job, store, train_embeddings)
  frames = _frame_counts(train, test, first_train, first_test)
  return _make_results(job, store, references, frames), regressor


def _find_labels(
  train: Embeddings,
  test: Embeddings,
  skeleton: Skeleton,
  target: Target,
  table: LabelTable | None,
) -> tuple[LabelledFrames, LabelledFrames]:
  """The labelled frames of both splits.

  Raises:
    ValueError: training frames have labels, but none of them the root.
  """
  if target != POSE3D:
    crop = target == POSE2D_CROP
    return (
      protocols.keypoint_frames(train, in_crop=crop),
      protocols.keypoint_frames(test, in_crop=crop),
    )
  found = protocols.labelled_frames(train, skeleton, split="train", table=table)
  if not len(found.rows) and found.left_out_root:
    roots = ", ".join(skeleton.joints[joint] for joint in skeleton.root)
    raise ValueError(
      f"none of {found.left_out_root} labelled training frames has the root of skeleton"
      f" {skeleton.name} ({roots}): poses are measured from it, so label it too"
    )
  return found, protocols.labelled_frames(test, skeleton, split="test", table=table)


@dataclasses.dataclass(frozen=True)
class _Job:
  rows: list[str]
  counts: list[int]
  seeds: list[int]
  fit: fitting.FitConfig
  feature: str
  target: Target
  skeleton: Skeleton
  train: LabelledFrames
  test: LabelledFrames
  sequences: np.ndarray  # that the test frames are of
  settings: dict[str, Any]
  say: Report
  weights: str


def find_skeleton(embeddings: Embeddings, table: LabelTable | None = None) -> Skeleton:
  """The skeleton that was exported with the data set, or that of the label table's columns.

  The table's counts where the data set has no pose of its own and lacks joints of the table.

  Raises:
    ValueError: there are no labels of either kind.
  """
  own = None
  if "skeleton" in embeddings:
    own = Skeleton.from_dict(json.loads(str(embeddings["skeleton"])))
  if table is not None and table.joints:
    fits = own is not None and set(table.joints) <= set(own.joints)
    if not fits and not _has_poses(embeddings):
      return skeleton_from_joint_names("labels", table.joints)
  if own is None:
    raise ValueError(
      "the data set has no 3D labels: fill in a table of poses and give it with --labels=FILE"
    )
  return own


def _has_poses(embeddings: Embeddings) -> bool:
  poses = embeddings.get("pose3d_mm", ())
  return any(np.isfinite(rows).any() for _, rows in blocks(poses))


def _check_rows(
  train_embeddings: Mapping[str, Embeddings],
  test_embeddings: Mapping[str, Embeddings],
  seeds: Sequence[int],
) -> None:
  rows = list(train_embeddings)
  if not rows or list(test_embeddings) != rows or not seeds:
    raise ValueError(f"need the same rows to train and test on, and seeds: {rows}, {seeds}")
  for embeddings in (train_embeddings, test_embeddings):
    for name in rows[1:]:
      protocols.check_same_frames(embeddings[rows[0]], embeddings[name], name)


def _score_all(
  job: _Job,
  store: RecordStore,
  train_embeddings: Mapping[str, Embeddings],
  test_embeddings: Mapping[str, Embeddings],
) -> None:
  if not len(job.test.rows):
    job.say("probe: no labelled test frame; the regressor is fitted but not scored")
    return
  for count in job.counts:
    for seed in job.seeds:
      if (MEAN_POSE, count, seed) not in store.records:
        chosen = protocols.sample_label_subset(len(job.train.rows), count, seed)
        pose = fitting.mean_pose(job.train.poses_mm[chosen], job.train.valid[chosen])
        poses = np.broadcast_to(pose, job.test.poses_mm.shape)
        store.add(ProbeRecord(MEAN_POSE, count, seed, *_score(poses, job, time.monotonic())))
  todo = [
    (row, count, seed)
    for row in job.rows
    for count in job.counts
    for seed in job.seeds
    if (row, count, seed) not in store.records
  ]
  started, loaded = time.monotonic(), ""
  for done, (row, count, seed) in enumerate(todo):
    if row != loaded:
      data = _training_data(train_embeddings[row], job)
      test = np.asarray(feature_column(test_embeddings[row], job.feature)[job.test.rows])
      loaded = row
    before = time.monotonic()
    chosen = protocols.sample_label_subset(len(job.train.rows), count, seed)
    regressor = _fit(data, chosen, seed, job, f"{row}, {count} labels, seed {seed}", done == 0)
    record = ProbeRecord(row, count, seed, *_score(regressor.predict(test), job, before))
    store.add(record)
    left = (time.monotonic() - started) / (done + 1) * (len(todo) - done - 1)
    name = metrics.metric_name(job.target.main, job.skeleton.num_joints)
    job.say(
      f"probe {done + 1}/{len(todo)}: {row}, {count} labels, seed {seed}: {name} "
      f"{record.metrics[name]:.{job.target.digits}f} {job.target.unit}; {left:.0f} s left"
    )
    if row == job.rows[0] and count == job.counts[-1] and seed == job.seeds[0]:
      store.keep_regressor(count, seed, dataclasses.replace(regressor, weights=job.weights))


def _training_data(embeddings: Embeddings, job: _Job) -> fitting.TrainingData:
  features, train = feature_column(embeddings, job.feature), job.train
  return fitting.make_training_data(features, train.rows, train.poses_mm, train.valid)


def _fit(
  data: fitting.TrainingData,
  chosen: Int[np.ndarray, " n"],
  seed: int,
  job: _Job,
  what: str,
  talk: bool,
) -> Regressor:
  def report(step: int, loss: float) -> None:
    job.say(f"probe: {what}: step {step}/{job.fit.steps}, loss {loss:.4f}")

  return fitting.fit_regressor(
    data,
    chosen,
    job.fit,
    seed=seed,
    skeleton=job.skeleton,
    feature=job.feature,
    progress=report if talk else None,
  )


def _score(
  predicted: np.ndarray, job: _Job, begin: float
) -> tuple[dict[str, float], float, dict[str, float]]:
  """(metrics, seconds since `begin`, errors by sequence, of 3D poses only) of a record."""
  true, valid, root = job.test.poses_mm, job.test.valid, job.skeleton.root
  if job.target != POSE3D:
    scores = metrics.keypoint_metrics(predicted, true, valid)
    return scores, round(time.monotonic() - begin, 3), {}
  scores = metrics.pose_metrics(predicted, true, valid, root=root)
  by_sequence = metrics.sequence_errors(predicted, true, valid, job.sequences, root=root)
  return scores, round(time.monotonic() - begin, 3), by_sequence


def _final_regressor(
  job: _Job, store: RecordStore, train_embeddings: Mapping[str, Embeddings]
) -> Regressor:
  row, count, seed = job.rows[0], job.counts[-1], job.seeds[0]
  kept = store.regressor(count, seed)
  if kept is not None:
    return kept
  data = _training_data(train_embeddings[row], job)
  chosen = protocols.sample_label_subset(len(job.train.rows), count, seed)
  regressor = _fit(data, chosen, seed, job, f"regressor of {row}, {count} labels", True)
  regressor = dataclasses.replace(regressor, weights=job.weights)
  store.keep_regressor(count, seed, regressor)
  return regressor


def _make_results(
  job: _Job, store: RecordStore, references: Sequence[ProbeRecord], frames: dict[str, int]
) -> ProbeResults:
  """The records that were asked for (a store may hold more), and the references."""
  own = [MEAN_POSE, *job.rows]
  wanted = {(row, count, seed) for row in own for count in job.counts for seed in job.seeds}
  records = [record for key, record in store.records.items() if key in wanted]
  return ProbeResults(
    [*records, *references],
    [*own, *dict.fromkeys(reference.row for reference in references)],
    sorted({*job.counts, *(reference.labels for reference in references)}),
    job.skeleton.num_joints,
    frames,
    job.settings,
  )


def _frame_counts(
  train: LabelledFrames, test: LabelledFrames, train_all: Embeddings, test_all: Embeddings
) -> dict[str, int]:
  counts = {}
  for split, chosen, everything in (("train", train, train_all), ("test", test, test_all)):
    counts[split] = len(everything["frame"])
    counts[f"{split}_labelled"] = len(chosen.rows)
    counts[f"{split}_left_out_empty"] = chosen.left_out_empty
    counts[f"{split}_left_out_root_unknown"] = chosen.left_out_root
  counts["test_also_train"] = len(_frames(test, test_all) & _frames(train, train_all))
  return counts


def _frames(labelled: LabelledFrames, embeddings: Embeddings) -> set[tuple[str, int, int]]:
  """(sequence, camera, frame) of the labelled frames."""
  names = np.asarray(embeddings["sequence_names"])
  columns = (np.asarray(embeddings[key][labelled.rows]) for key in ("sequence", "camera", "frame"))
  return {(str(names[s]), int(c), int(f)) for s, c, f in zip(*columns, strict=True)}


def _digest(
  train_embeddings: Mapping[str, Embeddings],
  test_embeddings: Mapping[str, Embeddings],
  feature: str,
  *labels: LabelledFrames,
) -> str:
  """Changes with any number that enters the results."""
  digest = hashlib.sha256()
  for split in (train_embeddings, test_embeddings):
    for row, embeddings in split.items():
      digest.update(row.encode())
      for _, rows in blocks(feature_column(embeddings, feature)):
        digest.update(np.ascontiguousarray(rows).data)
  for frames in labels:
    for array in (frames.rows, frames.poses_mm, frames.valid):
      digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()[:16]
