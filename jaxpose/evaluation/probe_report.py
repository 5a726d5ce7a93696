"""The probe's results as a Markdown table and as label-efficiency curves."""

import os
import pathlib

import numpy as np

from jaxpose import files
from jaxpose.evaluation.features import TIME_VARIANT
from jaxpose.evaluation.metrics import metric_name
from jaxpose.evaluation.probe import MEAN_POSE
from jaxpose.evaluation.probe_records import ProbeResults, save_results

MARKDOWN, PLOT = "results.md", "label_efficiency.png"


def write_probe_report(
  directory: str | os.PathLike[str], results: ProbeResults
) -> list[pathlib.Path]:
  """Writes results.json, results.md and label_efficiency.png; returns their paths."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  paths = [save_results(directory, results), directory / MARKDOWN]
  with files.replacing(paths[1]) as partial:
    partial.write_text(markdown_table(results), encoding="utf-8")
  if not results.records:
    (directory / PLOT).unlink(missing_ok=True)  # of earlier labels
  else:
    paths.append(directory / PLOT)
    with files.replacing(paths[-1]) as partial:
      plot_label_efficiency(results, partial)
  return paths


def seen_before(results: ProbeResults) -> str:
  """What it means that some test frames have been learned from; "" where none has."""
  count = results.frames.get("test_also_train")
  if not count:
    return ""
  return (
    f"{count} of the test frames are training frames too: the scores say how well labels are"
    " remembered, not how well new frames are understood. Split the takes."
  )


def markdown_table(results: ProbeResults) -> str:
  """One line for each label count and row: mean ± spread over seeds, and the ratio to mean pose.

  The spread is the standard deviation over seeds (n − 1 in the denominator), if there are several.
  """
  frames = results.frames
  lines = [
    f"Labelled frames: {frames['train_labelled']} of {frames['train']} train, "
    f"{frames['test_labelled']} of {frames['test']} test. Left out as empty: "
    f"{frames['train_left_out_empty']} train, {frames['test_left_out_empty']} test; for want of a "
    f"root: {frames['train_left_out_root_unknown']} train, "
    f"{frames['test_left_out_root_unknown']} test.",
    "",
  ]
  if unread := frames.get("test_without_box"):
    lines += [f"{unread} of the test frames have no box: there the mean pose stands in.", ""]
  if seen := seen_before(results):
    lines += [seen, ""]
  if not results.records:
    return "\n".join([*lines, "No test frame that could be scored.", ""])
  target = results.target
  names = [metric_name(metric, results.num_joints) for metric in target.metrics]
  main = metric_name(target.main, results.num_joints)
  ratio = f"{main} ÷ mean pose"
  features = results.settings.get("feature", TIME_VARIANT)
  read = "" if features == TIME_VARIANT else f" Read from the {features.replace('_', '-')} vectors."
  lines += [f"{target.unit}, mean ± standard deviation over seeds.{read}", ""]
  lines.append("| labels | embedding | " + " | ".join([*names, ratio]) + " |")
  lines.append("|---:|---|" + "---:|" * (len(names) + 1))
  for labels in results.label_counts:
    for row in results.rows:
      cells = [mean_and_spread(results.of(row, labels, name), target.digits) for name in names]
      if any(cells):
        base = results.of(MEAN_POSE, labels, main)
        value = results.of(row, labels, main)
        share = f"{value.mean() / base.mean():.3f}" if len(value) and len(base) else ""
        lines.append(f"| {labels} | {row} | " + " | ".join([*cells, share]) + " |")
  return "\n".join([*lines, ""])


def mean_and_spread(values: np.ndarray, digits: int = 1) -> str:
  """`31.2 ± 0.4`: the mean and, of several, the standard deviation; nothing for no values."""
  if not len(values):
    return ""
  spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
  return f"{values.mean():.{digits}f}{spread}"


def plot_label_efficiency(results: ProbeResults, path: str | os.PathLike[str]) -> None:
  """The main error against the number of labels, a curve a row, band = spread over seeds; PNG."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6, 4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  name = metric_name(results.target.main, results.num_joints)
  for row in results.rows:
    counts = [n for n in results.label_counts if len(results.of(row, n, name))]
    values = [results.of(row, n, name) for n in counts]
    if not counts:
      continue
    mean = np.array([v.mean() for v in values])
    spread = np.array([v.std(ddof=1) if len(v) > 1 else 0.0 for v in values])
    style = "--" if row == MEAN_POSE else "-"
    size = 3 if len(counts) > 1 else 6  # a row of one label count has no line to be seen by
    (line,) = axes.plot(counts, mean, style, marker="o", markersize=size, label=row)
    axes.fill_between(counts, mean - spread, mean + spread, color=line.get_color(), alpha=0.2)
  axes.set_xscale("log")
  axes.set_xlabel("labelled training frames")
  axes.set_ylabel(f"{name}, {results.target.unit}")
  axes.legend()
  axes.grid(alpha=0.3)
  figure.savefig(os.fspath(path), dpi=150, format="png")
