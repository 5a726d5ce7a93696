"""The table and the curves of a study as files: Markdown, CSV, PNG."""

import csv
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxpose import files
from jaxpose.config_check import BASELINES
from jaxpose.evaluation.comparison import Cell, Column, Line, Outcome, Table
from jaxpose.evaluation.probe_report import mean_and_spread
from jaxpose.evaluation.protocols import ALL

MARKDOWN, CSV, EFFICIENCY, CURVES = "table.md", "table.csv", "label_efficiency.png", "curves.png"
_NOT_LEVELLED = " †"


def write_study(
  directory: str | os.PathLike[str],
  table: Table,
  outcomes: Sequence[Outcome],
  *,
  reference: str,
  levelled: float,
) -> list[pathlib.Path]:
  """Writes table.md, table.csv, label_efficiency.png and curves.png; returns their paths.

  What there is nothing for yet is not written.

  Args:
    levelled: a row whose validation term falls by more in the last fifth of training is marked.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  paths = [directory / MARKDOWN, directory / CSV]
  with files.replacing(paths[0]) as partial:
    text = markdown(table, reference=reference, levelled=levelled)
    partial.write_text(text, encoding="utf-8")
  with files.replacing(paths[1]) as partial:
    _write_csv(partial, table, levelled)
  drawn = [o for o in outcomes if np.isfinite(np.asarray(o.curve[1], np.float64)).any()]
  if table.lines:
    paths.append(directory / EFFICIENCY)
    with files.replacing(paths[-1]) as partial:
      _plot_efficiency(table, partial)
  if drawn:
    paths.append(directory / CURVES)
    with files.replacing(paths[-1]) as partial:
      _plot_curves(drawn, partial)
  return paths


def markdown(table: Table, *, reference: str, levelled: float) -> str:
  """The table: a line for each row, three columns for each number of labels, notes below."""
  if not table.lines:
    return "\n".join([*_problems(table), ""])
  heads = ["row", "trainings", "frames"]
  for column in table.columns:
    name = f"all ({table.counts['labels']:,})" if column == ALL else f"{column:,}"
    heads += [f"{name} labels", f"÷ {reference} (paper)", "p"]
  heads += ["median IoU", "last fifth"]
  lines = [
    f"{table.metric} in mm on {table.counts['frames']:,} test frames of"
    f" {table.counts['sequences']} sequences.",
    "",
    "| " + " | ".join(heads) + " |",
    "|---|" + "---:|" * (len(heads) - 1),
  ]
  for line in table.lines:
    mark = _NOT_LEVELLED if has_levelled(line, levelled) is False else ""
    cells = [line.row + mark, str(len(line.seeds)), f"{line.frames:,}" if line.frames else ""]
    for column in table.columns:
      cells += _cells(line.cells.get(column))
    iou = f"{np.mean(line.iou):.2f}" if line.iou else ""
    falls = f"{round(100 * line.falls, 1) + 0.0:+.1f} %" if line.falls is not None else ""
    lines.append("| " + " | ".join([*cells, iou, falls]) + " |")
  return "\n".join([*lines, "", *_notes(table, reference, levelled), *_problems(table), ""])


def has_levelled(line: Line, most: float) -> bool | None:
  """Does the validation term fall by no more than `most`? False where unknown, None without one."""
  if not line.trained:
    return None
  return line.falls is not None and line.falls >= -most


def _cells(cell: Cell | None) -> list[str]:
  """Error, ratio and significance."""
  if cell is None:
    return ["", "", ""]
  ratio = f"{cell.ratio:.3f}" if cell.ratio is not None else ""
  if cell.paper is not None:
    ratio = f"{ratio} ({cell.paper:.3f})".strip()
  p_value = "" if cell.p_value is None else f"{cell.p_value:.2g}"
  return [mean_and_spread(np.array(cell.values)), ratio, p_value]


def _notes(table: Table, reference: str, levelled: float) -> list[str]:
  pairs = sorted({c.sequences for line in table.lines for c in line.cells.values() if c.sequences})
  notes = [
    "± is the standard deviation over training seeds, each the mean of its probe seeds.",
    "frames: how many each training looks at, steps times frames a step; those of a training that a"
    " row starts from are not counted.",
    f"÷ {reference}: ratio of the means; in brackets the paper's, on its own data.",
  ]
  if pairs:
    notes.append(
      f"p: two-sided Wilcoxon signed-rank test against {reference} on the errors of the same"
      f" {' or '.join(map(str, pairs))} test sequences, each the mean over its frames, probe seeds"
      " and trainings; not corrected for the number of tests. It says whether other sequences would"
      " show the difference, not whether other trainings would."
    )
  notes.append(
    f"Last fifth: change of the validation term in the last fifth of training. †: it falls by more"
    f" than {100 * levelled:g} %, or is not known: the row does not count yet. Where the learning"
    " rate is brought down to nothing every curve levels off in the end."
  )
  return [f"- {note}" for note in notes]


def _problems(table: Table) -> list[str]:
  return [f"- {problem}" for problem in table.problems]


def _write_csv(path: pathlib.Path, table: Table, levelled: float) -> None:
  """A line for each row and number of labels; empty cells where there is no number."""
  heads = ["row", "labels", "trainings", "mean_mm", "std_mm", "ratio", "paper_ratio", "p_value"]
  with path.open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file)
    more = ["test_sequences", "median_iou", "last_fifth_change", "levelled", "frames"]
    writer.writerow([*heads, *more])
    for line in table.lines:
      iou = float(np.mean(line.iou)) if line.iou else None
      for column in (c for c in table.columns if c in line.cells):
        cell = line.cells[column]
        labels = _labels(table, column)
        numbers = [cell.mean, cell.deviation, cell.ratio, cell.paper, cell.p_value]
        sizes = [cell.sequences or None, iou, line.falls, has_levelled(line, levelled)]
        writer.writerow([line.row, labels, len(cell.values), *numbers, *sizes, line.frames or None])


def _plot_efficiency(table: Table, path: pathlib.Path) -> None:
  """Error against the number of labels, one curve for each row, bars: spread over trainings."""
  figure, (axes,) = _subplots(1)
  colours = _colours([line.row for line in table.lines])
  for line in table.lines:
    columns = [c for c in table.columns if c in line.cells]
    counts = [_labels(table, c) for c in columns]
    cells = [line.cells[c] for c in columns]
    axes.errorbar(
      counts,
      [cell.mean for cell in cells],
      yerr=[cell.deviation or 0.0 for cell in cells],
      color=colours[line.row],
      linestyle="--" if line.row in BASELINES else "-",
      marker="o",
      markersize=3 if len(counts) > 1 else 6,
      capsize=2,
      label=line.row,
    )
  axes.set_xscale("log")
  axes.set_xlabel("labelled training frames")
  axes.set_ylabel(f"{table.metric}, mm")
  figure.legend(loc="outside right upper", fontsize=8)
  axes.grid(alpha=0.3)
  figure.savefig(os.fspath(path), dpi=150, format="png")


def _colours(rows: Iterable[str]) -> dict[str, str]:
  """A colour for each row, the ten strong ones first; greys for the baselines."""
  from matplotlib import colormaps, colors

  order = [*range(0, 20, 2), *range(1, 20, 2)]
  shades = [colors.to_hex(colormaps["tab20"](i)) for i in order]
  methods = [row for row in dict.fromkeys(rows) if row not in BASELINES]
  found = {row: shades[i % len(shades)] for i, row in enumerate(methods)}
  return found | dict(zip(BASELINES, ("black", "dimgrey"), strict=True))


def _labels(table: Table, column: Column) -> int:
  return table.counts["labels"] if isinstance(column, str) else column


def _plot_curves(outcomes: Sequence[Outcome], path: pathlib.Path) -> None:
  """A panel for each validation term, in it the curves of the rows that are chosen by it."""
  terms = list(dict.fromkeys(outcome.term for outcome in outcomes))
  colours = _colours([outcome.row for outcome in outcomes])
  figure, panels = _subplots(len(terms))
  for axes, term in zip(panels, terms, strict=True):
    named: set[str] = set()
    for outcome in (o for o in outcomes if o.term == term):
      label = outcome.row if outcome.row not in named else None
      named.add(outcome.row)
      axes.plot(*outcome.curve, color=colours[outcome.row], marker=".", linewidth=1.2, label=label)
    axes.set_title(f"validation/{term}", fontsize=10)
    axes.set_xlabel("step")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
  figure.savefig(os.fspath(path), dpi=150, format="png")


def _subplots(count: int) -> tuple[Any, list[Any]]:
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6 * count, 4), layout="constrained")
  FigureCanvasAgg(figure)
  return figure, list(figure.subplots(1, count, squeeze=False)[0])
