"""The analyses of a run as tables, Markdown and a plot."""

import os
from collections.abc import Mapping
from typing import Any

from jaxpose.evaluation import pose_distance
from jaxpose.reporting.content import Table
from jaxpose.reporting.pretext import pretext_tables

Analyses = Mapping[str, Any]


def analysis_tables(found: Analyses) -> list[Table]:
  """A table for each analysis that there is, with what it means."""
  tables = []
  if "disentanglement" in found:
    tables.append(_clusters(found["disentanglement"]))
  if "pose_distance" in found:
    tables.append(_distances(found["pose_distance"]))
  if "gravity" in found:
    tables.append(_falls(found["gravity"]))
  if "synchronisation" in found:
    tables += pretext_tables(found["synchronisation"])
  return tables


def sampling_flags(found: Mapping[str, Any]) -> str:
  """The suggested temporal distances as options of launch/run.py."""
  values = {"unit": found["unit"], "near_max": found["near_max"], "far_min": found["far_min"]}
  return " ".join(f"--config.sampling.{name}={value}" for name, value in values.items())


def _clusters(found: Mapping[str, Any]) -> Table:
  rows = []
  for name, title in (("time_variant", "time-variant"), ("time_invariant", "time-invariant")):
    if name in found:
      value = found[name]
      cells = (f"{100 * value[key]:.1f}%" for key in ("accuracy", "chance"))
      rows.append([title, *cells, value["subjects"], value["frames"]])
  note = found.get("left_out", "")
  if rows:
    note = (
      f"k-means of the vectors of {found['split']} frames, as many clusters as subjects, each"
      " cluster given to one subject in the best way. Looks should tell who it is, pose should not."
      " Chance is that of clusters of the same sizes with members drawn at random."
    )
  header = ["vectors", "KMeans subject accuracy", "chance", "subjects", "frames"]
  return Table("Who is it? Clusters against subjects", header, rows, note)


def _distances(found: Mapping[str, Any]) -> Table:
  unit, joints = found["unit"], found["num_joints"]
  rows = [
    [f"{distance:g}", f"{mpjpe:.1f}", f"{mpjpe / found['plateau_mm']:.0%}", pairs]
    for distance, mpjpe, pairs in zip(
      found["distance"], found["mpjpe_mm"], found["pairs"], strict=True
    )
  ]
  near, far = (f"{share:.0%}" for share in (pose_distance.NEAR_SHARE, pose_distance.FAR_SHARE))
  note = (
    f"Root-centred poses of a track, {found['frames']} frames. The plateau is the mean of pairs at"
    f" no less than half of the longest distance, {found['plateau_mm']:.1f} mm. near_max is the"
    f" longest distance before the curve exceeds {near} of it, far_min the first that reaches"
    f" {far}: {sampling_flags(found)}"
  )
  if "constant_share" in found:  # analyses that were written before do not have it
    note += (
      f". {found['constant_share']:.0%} of the variance of poses lies between tracks: so much of a"
      " pose stays as it is, and what does not change in time can tell it."
    )
  header = [f"distance, {unit}", f"MPJPE/{joints} joints, mm", "of the plateau", "pairs"]
  return Table("Pose distance against temporal distance", header, rows, note)


def _falls(found: Mapping[str, Any]) -> Table:
  rows = [
    [
      f"{line['travel_deg']:g}°, {line['pitch_deg']:g}°",
      f"{line['acceleration_px_s2']:.1f}",
      f"{line['drift']:.1%}",
      f"{line['loss']:.2e}",
    ]
    for line in found["exact"]
  ]
  seen, assumed = found["boxes"], found["assumed"]
  rows.append(["centres of the true boxes", "–", "–", f"{seen['loss']:.2e}"])
  note = (
    f"Exact falls {assumed['distance_mm'] / 1000:.1f} m away for {assumed['duration_s']:g} s,"
    f" forward at {assumed['speed_mm_s'] / 1000:g} m/s, f = {assumed['focal_px']:.0f} px,"
    f" {assumed['fps']:g} frames/s. Drift is the spread of the second difference of the projected"
    " centre over its mean: 0 where the fall stays in a plane parallel to the image. The loss is P1"
    f" eq. 9 in half frames squared; the boxes' is the mean over {seen['quadruples']} quadruples of"
    " neighbouring frames: what it exceeds the exact falls by is the changing shape of the box."
  )
  header = ["travel from the image plane, camera's pitch", "acceleration, px/s²", "drift", "loss"]
  return Table("How constant is the acceleration of a fall?", header, rows, note)


def markdown(tables: list[Table]) -> str:
  """The tables in Markdown."""
  lines = ["# Analyses", ""]
  for content in tables:
    lines += [f"## {content.title}", "", content.note, ""]
    if content.rows:
      lines.append("| " + " | ".join(content.header) + " |")
      lines.append("|---|" + "---:|" * (len(content.header) - 1))
      lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in content.rows]
      lines.append("")
  return "\n".join(lines)


def plot_distances(found: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
  """Pose distance against temporal distance, with the suggested distances; PNG."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6, 4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  axes.plot(found["distance"], found["mpjpe_mm"], marker="o", markersize=3)
  axes.axhline(found["plateau_mm"], linestyle="--", color="gray", label="plateau")
  for name, style in (("near_max", ":"), ("far_min", "-.")):
    axes.axvline(found[name], linestyle=style, color="gray", label=f"{name} {found[name]:g}")
  axes.set_xscale("log")
  axes.set_xlabel(f"temporal distance, {found['unit']}")
  axes.set_ylabel(f"MPJPE/{found['num_joints']} joints, mm")
  axes.set_ylim(bottom=0)
  axes.legend()
  axes.grid(alpha=0.3)
  figure.savefig(os.fspath(path), dpi=150, format="png")
