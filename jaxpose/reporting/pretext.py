"""The pretext task of pairs of views as tables, a curve and pictures (P3 §4.3, Figures 4 to 6)."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxpose import drawing
from jaxpose.reporting.content import Image, Pretext, Table
from jaxpose.reporting.rendered import Render, frame_ids, render_frames

Found = Mapping[str, Any]


def pretext_tables(found: Found) -> list[Table]:
  """Accuracy by gap, and what was found in other cameras and subjects."""
  if "left_out" in found:
    return [Table("Are two views of one instant?", [], [], found["left_out"])]
  tables = [_accuracy(found["accuracy"])]
  if "other_camera" in found:
    tables.append(_other_camera(found["other_camera"], found["called"]))
  if "other_subjects" in found:
    tables.append(_other_subjects(found["other_subjects"]))
  return tables


def _accuracy(curves: Mapping[str, list[Mapping[str, Any]]]) -> Table:
  windows = sorted({(p["gap"], p["low"], p["high"]) for curve in curves.values() for p in curve})
  rows = []
  for gap, low, high in windows:
    points = [[p for p in curve if p["gap"] == gap] for curve in curves.values()]
    cells = [f"{p[0]['accuracy']:.1%}" if p else "" for p in points]
    rows.append([f"{gap} ({low} to {high})", *cells])
  note = (
    "Half of the pairs are of one instant, half are apart by a gap; of one sequence and different"
    " cameras. Right is an answer on the right side of a probability of 0.5: 50% is chance."
  )
  title = "Are two views of one instant?"
  return Table(title, ["gap, frames", *(f"accuracy, {split}" for split in curves)], rows, note)


def _other_camera(found: Found, split: str) -> Table:
  row = [f"{found[k]:.1f}" for k in ("mean", "median", "random")]
  note = (
    f"Of {found['queries']} {split} frames, the frame of another camera of the sequence that is"
    " most probably of the same instant."
  )
  header = ["mean error, frames", "median error, frames", "mean error of a random frame"]
  return Table("The same instant in another camera", header, [row], note)


def _other_subjects(found: Found) -> Table:
  names = list(found["found"])
  rows = [
    [title, *(f"{found[key][name]:.1f}" for name in names)]
    for key, title in (("found", "found"), ("random", "random frame"))
    if found[key]
  ]
  note = (
    f"Of {found['queries']} test frames, that of the other people among {found['frames']} training"
    " frames which is most probably of the same instant: mean distance of the two poses, mm."
    " N-MPJPE counts the angle between the two cameras as an error, P-MPJPE does not."
  )
  return Table("The same pose of other people", ["frame", *names], rows, note)


def plot_accuracy(found: Found) -> bytes:
  """Accuracy against the gap, a line for each split (P3 Fig. 4); PNG."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6, 4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  for split, curve in found["accuracy"].items():
    axes.plot([p["gap"] for p in curve], [p["accuracy"] for p in curve], marker="o", label=split)
  axes.axhline(0.5, linestyle="--", color="gray", label="chance")
  axes.set_xlabel("gap of the pairs that are not synchronised, frames")
  axes.set_ylabel("accuracy")
  axes.legend()
  axes.grid(alpha=0.3)
  out = io.BytesIO()
  figure.savefig(out, dpi=150, format="png")
  return out.getvalue()


def gather_pretext(
  found: Found,
  dataset: Callable[[str], Any],
  render: Render,
  image_size: tuple[int, int],
) -> Pretext:
  """What the report shows of an evaluation: crops of the queries above those of the answers."""
  if "left_out" in found:
    return Pretext(pretext_tables(found))
  grids = []
  if "other_camera" in found:
    data, caption = dataset(found["split"]), "frames of one camera, and those found in another"
    grids.append((caption, _grid(found["other_camera"]["shown"], data, data, render, image_size)))
  if "other_subjects" in found:
    caption = "test frames, and below each that found for each of a few training subjects"
    both = dataset("test"), dataset("train")
    grids.append((caption, _grid(found["other_subjects"]["shown"], *both, render, image_size)))
  return Pretext(pretext_tables(found), plot_accuracy(found), grids)


def _grid(
  shown: list[Found], queries: Any, found: Any, render: Render, image_size: tuple[int, int]
) -> Image:
  """A column for each query: its crop, and below it those of its answers with probabilities."""
  columns = []
  for line in shown:
    crops = _crops(queries, [line["query"]], render, image_size)
    answers = _crops(found, line["found"], render, image_size)
    texts = [f"{answer['probability']:.2f}" for answer in line["found"]]
    crops += [drawing.draw_text(crop, text) for crop, text in zip(answers, texts, strict=True)]
    columns.append(crops)
  return drawing.grid([list(row) for row in zip(*columns, strict=True)])


def _crops(
  dataset: Any, frames: list[Found], render: Render, image_size: tuple[int, int]
) -> list[Image]:
  columns = {name: np.array([f[name] for f in frames]) for name in ("sequence", "camera", "frame")}
  ids = frame_ids(dataset, columns, np.arange(len(frames)))
  rendered = render_frames(dataset, ids, render, image_size)
  return [drawing.enlarge(drawing.to_rgb(crop), 128)[0] for crop in rendered["crop"]]
