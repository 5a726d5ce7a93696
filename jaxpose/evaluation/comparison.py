"""Methods beside each other: means over trainings, ratios, paired tests, and who has levelled off.

It sees the results of probes and validation curves, not how they came about.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpose.evaluation.metrics import metric_name
from jaxpose.evaluation.probe import MEAN_POSE
from jaxpose.evaluation.probe_records import ProbeRecord, ProbeResults
from jaxpose.evaluation.protocols import ALL

TRAINED, RANDOM = "trained", "random"  # rows of a probe
Column = int | str  # a number of labels, or ALL
Trainings = list[tuple[ProbeResults, list[ProbeRecord]]]  # of each, its records of all probe seeds


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a run has left so far.

  Attributes:
    term: the validation term that its curve is of.
    curve: (steps, values) of it.
    results: of its probe, None while it has not finished.
    iou: median IoU of the boxes that it finds, None without a detector or true boxes.
    feature: what its configuration has the probe read; "" if that is not known.
    frames: how many its training looks at, those of a run that it starts from not counted.
  """

  row: str
  seed: int
  steps: int
  term: str
  curve: tuple[list[float], list[float]]
  results: ProbeResults | None
  iou: float | None
  feature: str = ""
  frames: int = 0


@dataclasses.dataclass(frozen=True)
class Cell:
  """A row at a number of labels.

  Attributes:
    values: N-MPJPE in mm of each training, the mean of its probe seeds.
    ratio: mean ÷ the mean of the reference, None without one.
    paper: the paper's ratio.
    p_value: that the row's sequences are as well known as the reference's, two-sided.
    sequences: pairs that entered the test.
  """

  values: tuple[float, ...]
  ratio: float | None = None
  paper: float | None = None
  p_value: float | None = None
  sequences: int = 0

  @property
  def mean(self) -> float:
    """Over trainings, mm."""
    return float(np.mean(self.values))

  @property
  def deviation(self) -> float | None:
    """Standard deviation over trainings (n − 1), mm; None of a single one."""
    return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclasses.dataclass(frozen=True)
class Line:
  """A row of the table.

  Attributes:
    seeds: of the trainings that enter.
    trained: whether it has runs of its own, or is a baseline of the reference's probes.
    iou: median box IoU of each training with a detector.
    falls: how its validation term changed in the last fifth, see `relative_change`; the training
      that fell most. None where one has no such curve.
    frames: that each training looks at.
  """

  row: str
  seeds: tuple[int, ...]
  cells: dict[Column, Cell]
  trained: bool = True
  iou: tuple[float, ...] = ()
  falls: float | None = None
  frames: int = 0


@dataclasses.dataclass(frozen=True)
class Table:
  """What a study says so far.

  Attributes:
    lines: a line for each row and baseline that a finished run speaks of.
    columns: ascending numbers of labels, `ALL` last.
    metric: the name of the error.
    counts: how many labels `ALL` are, and the test's frames and sequences.
    problems: what is missing or left out, a sentence each.
  """

  lines: list[Line]
  columns: list[Column]
  metric: str
  counts: dict[str, int]
  problems: list[str]


def make_table(
  outcomes: Sequence[Outcome],
  *,
  reference: str,
  paper: Mapping[str, Mapping[Column, float]] | None = None,
) -> Table:
  """All rows beside each other.

  The baselines `random` and `mean pose` are those of the reference's own probes. A run whose probe
  was of another kind than the reference's, or read another feature than its own configuration
  says, is left out and named; one that by its configuration reads another than the reference's is
  named.

  Args:
    reference: the row that ratios and tests are taken to.
    paper: N-MPJPE in mm by row and number of labels, as published.
  """
  problems: list[str] = []
  done = _comparable(outcomes, reference, problems)
  if not done:
    return Table([], [], "N-MPJPE", {}, [*problems, "no run has finished"])
  named = {row: [o for o in done if o.row == row] for row in dict.fromkeys(o.row for o in done)}
  primary = {row: _by_column(found) for row, found in named.items()}
  seeds = {row: tuple(o.seed for o in found) for row, found in named.items()}
  for baseline in (RANDOM, MEAN_POSE):
    records = _by_column(named.get(reference, ()), baseline)
    if records:
      primary[baseline], seeds[baseline] = records, seeds[reference]
  metric, base = _metric(done[0].results), primary.get(reference, {})
  lines = []
  for row, columns in primary.items():
    published = _paper_ratios(paper or {}, row, reference)
    cells = {
      column: _cell(trainings, base.get(column, []), metric, published.get(column))
      for column, trainings in columns.items()
    }
    mine = named.get(row, [])
    found = tuple(o.iou for o in mine if o.iou is not None)
    frames = max((o.frames for o in mine), default=0)
    lines.append(Line(row, seeds[row], cells, bool(mine), found, worst_change(mine), frames))
  order: list[Column] = sorted({c for line in lines for c in line.cells if isinstance(c, int)})
  if any(ALL in line.cells for line in lines):
    order.append(ALL)
  return Table(lines, order, metric, _counts(done[0].results), problems)


def _comparable(outcomes: Sequence[Outcome], reference: str, problems: list[str]) -> list[Outcome]:
  """The finished runs whose probe was that of the reference, or of the first run without one."""
  done = [o for o in outcomes if o.results is not None and o.results.records]
  for outcome in outcomes:
    name = f"{outcome.row}, seed {outcome.seed}"
    if outcome.results is None:
      reached = int(outcome.curve[0][-1]) if outcome.curve[0] else 0
      problems.append(f"{name}: not finished, last validated at step {reached}/{outcome.steps}")
    elif not outcome.results.records:
      problems.append(f"{name}: no labelled test frame was scored")
  done.sort(key=lambda o: o.row != reference)  # stable
  kept = []
  for outcome in done:
    first, own = _kind(done[0].results), _kind(outcome.results)
    other = [key for key in own if key in first and own[key] != first[key]]
    read = outcome.results.settings.get("feature", "") if outcome.results else ""
    if outcome.feature and read and read != outcome.feature:
      problems.append(
        f"{outcome.row}, seed {outcome.seed}: left out, its probe reads {read}, its configuration"
        f" {outcome.feature}"
      )
    elif other:
      key = other[0]
      problems.append(
        f"{outcome.row}, seed {outcome.seed}: left out, its probe had {key} {own[key]}, that of"
        f" {done[0].row} {first[key]}"
      )
    else:
      kept.append(outcome)
      problems += _other_feature(outcome, done[0])
  return kept


def _other_feature(outcome: Outcome, first: Outcome) -> list[str]:
  """A sentence where a row's probe reads something else than that of the first."""
  own, its = (o.results.settings.get("feature") if o.results else None for o in (outcome, first))
  if None in (own, its) or own == its:
    return []
  return [f"{outcome.row}, seed {outcome.seed}: its probe reads {own}, that of {first.row} {its}"]


def _kind(results: ProbeResults | None) -> dict[str, Any]:
  """What must be equal for two probes to be compared; a supervised network has its own labels."""
  assert results is not None
  settings = results.settings
  found = {"skeleton": settings["skeleton"]} if "skeleton" in settings else {}
  found |= {"joints": results.num_joints}
  if "fit" not in settings:
    return found
  found |= settings["fit"] | {"labelled frames": results.frames["train_labelled"]}
  names = ("subjects", "labels")
  return found | {name: settings[name] for name in names if name in settings}


def _primary(results: ProbeResults) -> str:
  """The row of a probe that its run stands for."""
  rows = {record.row for record in results.records}
  return TRAINED if TRAINED in rows else next(r for r in results.rows if r != MEAN_POSE)


def _by_column(outcomes: Sequence[Outcome], row: str = "") -> dict[Column, Trainings]:
  """The records of a row of every probe (without: what its run stands for) by number of labels."""
  found: dict[Column, Trainings] = {}
  for outcome in outcomes:
    results = outcome.results
    assert results is not None
    columns: dict[Column, list[ProbeRecord]] = {}
    for record in results.records:
      if record.row == (row or _primary(results)):
        every = record.labels == results.frames["train_labelled"]
        columns.setdefault(ALL if every else record.labels, []).append(record)
    for column, records in columns.items():
      found.setdefault(column, []).append((results, records))
  return found


def _metric(results: ProbeResults | None) -> str:
  assert results is not None
  return metric_name("N-MPJPE", results.num_joints)


def _counts(results: ProbeResults | None) -> dict[str, int]:
  assert results is not None
  sequences = results.settings.get("test_sequences", {})
  return {
    "labels": results.frames["train_labelled"],
    "frames": results.frames["test_labelled"],
    "sequences": len(sequences),
  }


def _paper_ratios(
  paper: Mapping[str, Mapping[Column, float]], row: str, reference: str
) -> dict[Column, float]:
  """What the paper found for another row ÷ for the reference, where it has both."""
  own, its = paper.get(row, {}) if row != reference else {}, paper.get(reference, {})
  return {column: own[column] / its[column] for column in own if column in its}


def _cell(trainings: Trainings, base: Trainings, metric: str, paper: float | None) -> Cell:
  """A row's trainings beside those of the reference; without the test for the reference itself."""
  values = _errors(trainings, metric)
  if not base:
    return Cell(values, paper=paper)
  ratio = float(np.mean(values) / np.mean(_errors(base, metric)))
  frames = [results.settings.get("test_sequences") for results, _ in (*trainings, *base)]
  if trainings is base or any(one != frames[0] for one in frames):
    return Cell(values, ratio, paper)
  own, its = sequence_means(trainings), sequence_means(base)
  names = sorted(set(own) & set(its))
  if not names:
    return Cell(values, ratio, paper)
  p_value = paired_p_value([own[name] for name in names], [its[name] for name in names])
  return Cell(values, ratio, paper, p_value, len(names))


def _errors(trainings: Trainings, metric: str) -> tuple[float, ...]:
  """The error of each training, the mean of its probe seeds, mm."""
  return tuple(float(np.mean([r.metrics[metric] for r in records])) for _, records in trainings)


def sequence_means(trainings: Trainings) -> dict[str, float]:
  """Error of each test sequence, mm: the mean over probe seeds, then over trainings."""
  per_training = []
  for _, records in trainings:
    names = set.intersection(*(set(record.sequences_mm) for record in records))
    per_training.append({n: np.mean([r.sequences_mm[n] for r in records]) for n in names})
  shared = set.intersection(*(set(one) for one in per_training))
  return {name: float(np.mean([one[name] for one in per_training])) for name in sorted(shared)}


def paired_p_value(first: Sequence[float], second: Sequence[float]) -> float:
  """Two-sided Wilcoxon signed-rank test of the differences; 1 where all are 0.

  Exact for few pairs without ties: of n pairs that all differ in one direction it is 2 / 2^n.
  """
  from scipy import stats

  differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
  if not differences.any():
    return 1.0
  return float(stats.wilcoxon(differences).pvalue)


# --- has it levelled off? ------------------------------------------------------------------------


def relative_change(steps: Sequence[float], values: Sequence[float], last: float) -> float | None:
  """How a curve changes over the last fifth of training, as a share: −0.03 is a fall of 3 %.

  A straight line y(s) is fitted to the points from the last one at or before 0.8 `last` on; the
  change is (y(last) − y(0.8 last)) / |y(0.8 last)|. None before the end, or with fewer than two
  points.
  """
  s, v = np.asarray(steps, np.float64), np.asarray(values, np.float64)
  s, v = s[np.isfinite(v)], v[np.isfinite(v)]
  if not len(s) or s[-1] < last:
    return None
  begin = 0.8 * last
  before = s[s <= begin]
  keep = s >= (before[-1] if len(before) else begin)
  if keep.sum() < 2:
    return None
  slope, offset = np.polyfit(s[keep], v[keep], 1)
  start = offset + slope * begin
  return float(slope * (last - begin) / abs(start)) if start else None


def worst_change(outcomes: Sequence[Outcome]) -> float | None:
  """The largest fall of a row's curves over the last fifth, None while one is not known."""
  found = [relative_change(*outcome.curve, outcome.steps) for outcome in outcomes]
  known = [change for change in found if change is not None]
  return min(known) if known and len(known) == len(found) else None
