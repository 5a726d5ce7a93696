"""One HTML file that shows what a run has learned, failures included; it needs no network."""

import datetime
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpose import analysis, files, provenance
from jaxpose.embeddings import load_splits
from jaxpose.evaluation.metrics import metric_name
from jaxpose.evaluation.probe_records import RESULTS, ProbeResults, load_results
from jaxpose.evaluation.probe_report import seen_before
from jaxpose.evaluation.regressor import load_regressor
from jaxpose.evaluation.targets import POSE2D, POSE2D_CROP
from jaxpose.pretext import evaluate_pretext
from jaxpose.reporting import analyses, pretext, rendered, scores, sections
from jaxpose.reporting.content import Report
from jaxpose.reporting.markup import number

FILE = "report.html"
_WORST = 4  # failures in each group
_TRACKS = 8  # timelines and backgrounds of each split
_THUMBNAILS = 3  # of each kind below a timeline
_SWAPS = 6  # side of the swap grid
_POSES = 8
_AGAIN = "launch/{}.py makes those of the exported one."


def make_report(
  experiment: Any,
  *,
  which: str = "",
  frames: int | None = None,
  seed: int | None = None,
  path: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
  """Writes the report of a run whose embeddings have been exported; returns its path.

  Args:
    experiment: `jaxpose.experiment.Experiment` of the run.
    which: checkpoint, "best" or "last"; the configured one by default.
    frames: frames drawn from each split; the configuration's by default.
    seed: draws them; the configuration's by default.
    path: where to write; `report.html` in the work directory by default.

  Raises:
    FileNotFoundError: the run has no checkpoint or no exported embeddings.
  """
  frames = experiment.config.report.frames if frames is None else frames
  seed = experiment.config.report.seed if seed is None else seed
  target = pathlib.Path(path) if path is not None else experiment.workdir / FILE
  report = gather_report(experiment, which=which, frames=frames, seed=seed)
  save_report(report, target)
  return target


def save_report(report: Report, path: str | os.PathLike[str]) -> None:
  """Writes the page, as a whole or not at all."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing(path) as partial:
    partial.write_text(sections.build_page(report), encoding="utf-8")


def gather_report(experiment: Any, *, which: str, frames: int, seed: int) -> Report:
  """Collects pictures and numbers of a run.

  Raises:
    FileNotFoundError: the run has no checkpoint or no exported embeddings.
  """
  workdir = pathlib.Path(experiment.workdir)
  exported = load_splits(workdir / "embeddings")
  variables = experiment.restore(which)
  render = experiment.make_render(variables)
  decode = experiment.make_decode(variables) if experiment.decodes else None
  report = Report(
    title=f"jaxpose: {workdir.resolve().name}",
    date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
    summary=[],
    curves=scores.load_curves(workdir / "metrics.jsonl"),
    config=experiment.config_json(),
  )
  size = experiment.image_size
  for split, embeddings in exported.items():
    dataset = experiment.dataset(split)
    look = {"split": split, "image_size": size, "seed": seed}
    _add_frames(report, dataset, embeddings, render, decode, frames, look)
  _add_scores(report, experiment, exported, seed)
  evaluated = evaluate_pretext(experiment, exported, seed)
  if evaluated is not None:
    report.pretext = pretext.gather_pretext(evaluated, experiment.dataset, render, size)
  _add_analyses(report, workdir, provenance.weights_of(next(reversed(exported.values()))))
  report.summary = _summary(report, experiment, exported, which)
  drawn = which or experiment.config.export.checkpoint
  report.warnings += _other_weights(exported, provenance.digest_weights(variables), drawn)
  report.warnings += _warnings(exported)
  return report


def _add_frames(
  report: Report,
  dataset: Any,
  embeddings: Mapping[str, Any],
  render: rendered.Render,
  decode: Any,
  frames: int,
  look: dict[str, Any],
) -> None:
  """Adds pictures, backgrounds, presence over time and swaps of one split's frames."""
  report.groups += rendered.gather_frames(
    dataset, embeddings, render, count=frames, worst=_WORST, **look
  )
  report.backgrounds += rendered.gather_backgrounds(dataset, look["split"], _TRACKS)
  report.timelines += scores.gather_timelines(
    dataset, embeddings, limit=_TRACKS, thumbnails=_THUMBNAILS, **look
  )
  grid = rendered.gather_swaps(dataset, embeddings, render, decode, count=_SWAPS, **look)
  report.swaps += [] if grid is None else [grid]


def _add_scores(
  report: Report, experiment: Any, exported: Mapping[str, Mapping[str, Any]], seed: int
) -> None:
  """Box table, poses and probe tables, of the test split where there is one."""
  import jax.numpy as jnp

  from jaxpose.models import stn

  split = "test" if "test" in exported else "train"
  dataset, embeddings = experiment.dataset(split), exported[split]
  start = np.asarray(stn.box_from_logits(jnp.array([[0.5, 0.5, 0.0, 0.0]])))[0]
  if experiment.detects:
    report.boxes = scores.gather_boxes(
      dataset, embeddings, split=split, image_size=experiment.image_size, untrained=start
    )
  probe = pathlib.Path(experiment.workdir) / "probe"
  weights = provenance.weights_of(embeddings)
  if (probe / RESULTS).is_file():
    results = load_results(probe)
    report.probe_tables = scores.probe_tables(results)
    if seen := seen_before(results):
      report.warnings.append(seen)
    report.warnings += _of_another("The probe's tables are", results.settings, weights, "probe")
    plot = probe / "label_efficiency.png"
    report.label_plot = plot.read_bytes() if plot.is_file() else None
  if (probe / "regressor.npz").is_file():
    regressor = load_regressor(probe / "regressor.npz")
    if provenance.differ(regressor.weights, weights):
      again = _AGAIN.format("probe")
      report.warnings.append(f"No 3D poses: the regressor is of another checkpoint: {again}")
      return
    report.skeleton = regressor.skeleton
    report.poses = scores.gather_poses(
      dataset,
      embeddings,
      regressor,
      image_size=experiment.image_size,
      count=_POSES,
      worst=_WORST // 2,
      seed=seed,
    )


def _add_analyses(report: Report, workdir: pathlib.Path, weights: str) -> None:
  """Errors of 2D keypoints and analyses, where there are any; says which are of other weights."""
  for target in (POSE2D, POSE2D_CROP):
    if (workdir / target.folder / RESULTS).is_file():
      results = load_results(workdir / target.folder)
      report.probe_tables += scores.probe_tables(results)
      what = f"The tables in {target.folder} are"
      report.warnings += _of_another(what, results.settings, weights, "probe")
  folder = workdir / analysis.FOLDER
  if (folder / analysis.JSON).is_file():
    path = folder / analysis.JSON
    try:
      found = {k: v for k, v in files.load_json(path).items() if k != "synchronisation"}
      report.warnings += _of_another("The analyses are", found, weights, "analyse")
      report.analyses = analyses.analysis_tables(found)
    except (LookupError, TypeError, ValueError) as error:
      raise ValueError(f"{path} is damaged ({error!r}): run launch/analyse.py again") from error
    plot = folder / analysis.PLOT
    report.distance_plot = plot.read_bytes() if plot.is_file() else None


def _of_another(what: str, made: Mapping[str, Any], weights: str, program: str) -> list[str]:
  """Says that something was made of other weights than what is exported."""
  if not provenance.differ(str(made.get("weights", "")), weights):
    return []
  return [f"{what} of another checkpoint: {_AGAIN.format(program)}"]


def _summary(
  report: Report, experiment: Any, exported: Mapping[str, Mapping[str, Any]], which: str
) -> list[tuple[str, str]]:
  config, first = experiment.config, next(iter(exported.values()))
  rows = [
    ("configuration", f"{config.name} ({', '.join(config.methods)})"),
    ("checkpoint", str(first.get("checkpoint", which or config.export.checkpoint))),
    ("data", str(config.data.source or config.data.directory)),
    (
      "frames",
      ", ".join(f"{len(arrays['frame'])} {split}" for split, arrays in exported.items()),
    ),
    ("size of frames", "{} × {} px (height × width)".format(*experiment.image_size)),
  ]
  if report.boxes is not None:
    medians = "; ".join(f"{row[0]} {row[1]}" for row in report.boxes.rows)
    rows.append(("boxes, median IoU", medians))
  right = _presence_score(exported)
  if right is not None:
    rows.append(("presence", right))
  probe = pathlib.Path(experiment.workdir) / "probe"
  if (probe / RESULTS).is_file():
    rows += _probe_summary(load_results(probe))
  for name, (_, values) in report.curves.items():
    if name.startswith("validation/") and name.endswith(config.training.best_by):
      rows.append((f"best {name}", number(float(np.nanmin(values)), 4)))
  return rows


def _probe_summary(results: ProbeResults) -> list[tuple[str, str]]:
  name = metric_name("N-MPJPE", results.num_joints)
  rows = []
  for labels in results.label_counts[-1:]:
    found = [(row, results.of(row, labels, name)) for row in results.rows]
    text = "; ".join(f"{row} {values.mean():.1f}" for row, values in found if len(values))
    if text:
      rows.append((f"{name}, {labels} labels", f"{text} mm"))
  return rows


def _presence_score(exported: Mapping[str, Mapping[str, Any]]) -> str | None:
  """Share of the frames of known state whose presence is right, empty and occupied apart."""
  parts = []
  for split, arrays in exported.items():
    if "present" not in arrays:
      continue
    known = np.asarray(arrays["present"])
    seen = np.asarray(arrays["presence"]) >= 0.5
    for state, name in ((1, "with a person"), (0, "empty")):
      rows = known == state
      if rows.any():
        share = np.mean(seen[rows] == bool(state))
        parts.append(f"{split}: right on {share:.1%} of {rows.sum()} frames {name}")
  return "; ".join(parts) or None


def _other_weights(
  exported: Mapping[str, Mapping[str, Any]], weights: str, drawn: str
) -> list[str]:
  """Says which exported splits are of other weights than the pictures."""
  return [
    f"{split}: pictures are drawn by the checkpoint {drawn!r}, but boxes, presence, poses and"
    f" tables are of the exported one ({arrays.get('checkpoint', 'unknown')}): launch/export.py"
    " exports another."
    for split, arrays in exported.items()
    if provenance.differ(provenance.weights_of(arrays), weights)
  ]


def _warnings(exported: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """What a reader should know before trusting anything below."""
  found = []
  for split, arrays in exported.items():
    box = np.asarray(arrays["box_px"], np.float64)
    size = np.maximum(box[:, 2:] - box[:, :2], 1e-6)
    if len(box) > 1 and (box.std(axis=0) < 0.01 * size.mean()).all():
      found.append(f"{split}: the box is the same on all frames; the detector has not moved.")
    if "mask_max" in arrays and np.nanmedian(np.asarray(arrays["mask_max"], np.float64)) < 0.05:
      found.append(f"{split}: the mask is nearly empty on most frames; nothing is painted.")
    presence = np.asarray(arrays["presence"])
    if (presence < 0.5).all():
      found.append(f"{split}: every frame is taken to be empty.")
  return found
