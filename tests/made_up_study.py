"""Results of probes as a study has them, of numbers that can be reckoned by hand."""

from jaxpose.evaluation.comparison import Outcome
from jaxpose.evaluation.probe_records import ProbeRecord, ProbeResults

NAME = "N-MPJPE/3 joints"
SEQUENCES = ("a", "b", "c", "d", "e", "f")
FIT = {"steps": 7, "architecture": {"width": 5}}


def errors(first, step=0.0):
  """Error of each of six sequences: first, first + step, first + 2 step, ..."""
  return {name: first + step * i for i, name in enumerate(SEQUENCES)}


def record(row, labels, seed, value, sequences=None):
  metrics = {NAME: value, "MPJPE/3 joints": 2 * value}
  return ProbeRecord(row, labels, seed, metrics, 1.0, sequences or {})


def results(records, *, total=400, rows=None, frames=60, **settings):
  rows = rows or ["mean pose", *dict.fromkeys(r.row for r in records if r.row != "mean pose")]
  return ProbeResults(
    records=records,
    rows=rows,
    label_counts=sorted({r.labels for r in records}),
    num_joints=3,
    frames={"train_labelled": total, "test_labelled": frames},
    settings={
      "feature": "time_variant",
      "skeleton": "three",
      "fit": FIT,
      "test_sequences": dict.fromkeys(SEQUENCES, frames // 6),
    }
    | settings,
  )


def outcome(row, seed, found, *, steps=100, curve=([80.0, 100.0], [1.0, 1.0]), iou=None, term="px"):
  return Outcome(row, seed, steps, term, curve, found, iou, frames=32 * steps)


def whole():
  """The reference `dsl` with two trainings of two probe seeds, `ae` with one, and a supervised one.

  At all 400 labels: dsl 100 and 104 (mean 102, deviation √8), its random encoder 153, its mean pose
  204; ae 153; supervised 51. At 20 labels: dsl 120 and 120, ae 180.
  """
  first = [
    *(
      record("trained", 400, 0, 99.0, errors(90, 2)),
      record("trained", 400, 1, 101.0, errors(92, 2)),
    ),
    record("trained", 20, 0, 120.0, errors(110)),
    record("random", 400, 0, 153.0, errors(150, 1)),
    record("mean pose", 400, 0, 204.0, errors(200, 1)),
  ]
  second = [
    *(
      record("trained", 400, 0, 104.0, errors(97, 2)),
      record("trained", 400, 1, 104.0, errors(97, 2)),
    ),
    record("trained", 20, 0, 120.0, errors(112)),
    record("random", 400, 0, 153.0, errors(150, 1)),
    record("mean pose", 400, 0, 204.0, errors(200, 1)),
  ]
  # 1, 2, ..., 5 more than dsl's mean and, on the last sequence, 6 less: ranks 1 to 5 against 6
  ae = {
    name: 94.0 + 2 * i + (i + 1) * (-1 if name == "f" else 1) for i, name in enumerate(SEQUENCES)
  }
  third = [record("trained", 400, 0, 153.0, ae), record("trained", 20, 0, 180.0, errors(170))]
  floor = [
    record("mean pose", 400, 0, 204.0, errors(200, 1)),
    record("supervised", 400, 0, 51.0, errors(50, 1)),
  ]
  supervised = results(floor)
  del supervised.settings["fit"], supervised.settings["feature"]
  return [
    outcome("ae", 0, results(third), curve=([50.0, 80.0, 100.0], [2.0, 1.0, 0.9]), iou=0.5),
    outcome("dsl", 0, results(first), iou=0.625),
    outcome("dsl", 3, results(second), iou=0.875),
    outcome("supervised", 0, supervised, term="pose"),
  ]
