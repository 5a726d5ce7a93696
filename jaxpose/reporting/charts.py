"""Charts of the report: curves as PNG files, and skeletons that turn, as a plotly figure."""

import io
import math
from typing import Any

import numpy as np

from jaxpose import drawing
from jaxpose.reporting.content import Image, PoseView
from jaxpose.skeleton import Skeleton

Curves = dict[str, tuple[list[float], list[float]]]

# True poses in two greens, predicted in two reds: (left side, right side, middle).
TRUE_COLOURS = ((16, 120, 50), (120, 200, 130), (60, 160, 85))
PREDICTED_COLOURS = ((190, 20, 30), (250, 150, 110), (225, 75, 65))


def group_curves(curves: Curves) -> list[tuple[str, Curves]]:
  """Curves by what they measure: "train/terms/pixel" and "validation/pixel" go together.

  Returns (name, {part: curve}) in alphabetical order; curves with fewer than two finite points
  are left out.
  """
  groups: dict[str, Curves] = {}
  for name, (steps, values) in curves.items():
    if np.isfinite(np.asarray(values, np.float64)).sum() < 2:
      continue
    part, _, rest = name.partition("/")
    key, label = (rest.removeprefix("terms/"), part) if rest else (part, part)
    groups.setdefault(key, {})[label] = (steps, values)
  return sorted(groups.items())


def plot_curves(curves: Curves, columns: int = 3) -> bytes:
  """One small chart for each group of curves (`group_curves`): a PNG file.

  The faint line is what was logged, the strong one its running mean over a twentieth of the run.

  Raises:
    ValueError: no curve has two points.
  """
  groups = group_curves(curves)
  if not groups:
    raise ValueError("no curve has two points: nothing to plot")
  figure, axes = _subplots(len(groups), columns)
  shades = ("tab:blue", "tab:orange", "tab:green", "tab:red")
  for axis, (name, lines) in zip(axes, groups, strict=False):
    for shade, (label, (steps, values)) in zip(shades, sorted(lines.items()), strict=False):
      smooth = _running_mean(np.asarray(values, np.float64), max(1, len(values) // 20))
      axis.plot(steps, values, color=shade, alpha=0.3, linewidth=0.8)
      axis.plot(steps, smooth, color=shade, linewidth=1.6, label=label)
    axis.set_title(_plain(name), fontsize=9)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25)
    if len(lines) > 1:
      axis.legend(fontsize=7, frameon=False)
  return _png(figure)


def pose_pictures(pose: PoseView, skeleton: Skeleton, size: int = 240) -> dict[str, Image]:
  """True and predicted pose over each other, from each of `drawing.VIEWS`."""
  both = (pose.true_mm, pose.predicted_mm)
  colours = (TRUE_COLOURS, PREDICTED_COLOURS)
  reach = reach_mm(both)
  return {
    view: drawing.draw_pose_view(both, skeleton, view, size, colours, reach)
    for view in drawing.VIEWS
  }


def reach_mm(poses: Any) -> float:
  """Largest coordinate of the poses with a tenth to spare, at least 500 mm."""
  values = np.abs(np.concatenate([np.ravel(pose) for pose in poses]))
  values = values[np.isfinite(values)]
  return 1.1 * max(float(values.max()) if len(values) else 0.0, 500.0)


def turning_figure(poses: list[PoseView], skeleton: Skeleton) -> dict[str, Any]:
  """The poses as one plotly figure with a slider: {"data": [...], "layout": {...}}.

  The plot's axes are (x, z, −y) of the camera's (x right, y down, z away), so that up is up.
  """
  data: list[dict[str, Any]] = []
  for i, pose in enumerate(poses):
    data.append(_bones(pose.true_mm, skeleton, "true", "rgb(38,150,70)", i == 0))
    data.append(_bones(pose.predicted_mm, skeleton, "predicted", "rgb(214,40,40)", i == 0))
  steps = [
    {
      "label": str(i + 1),
      "method": "restyle",
      "args": [{"visible": [j // 2 == i for j in range(len(data))]}],
    }
    for i in range(len(poses))
  ]
  reach = reach_mm([p for pose in poses for p in (pose.true_mm, pose.predicted_mm)])
  axis = {"range": [-reach, reach], "showspikes": False, "tickfont": {"size": 9}}
  layout = {
    "margin": {"l": 0, "r": 0, "t": 10, "b": 10},
    "legend": {"x": 0.02, "y": 0.98},
    "scene": {
      "xaxis": axis | {"title": {"text": "right (mm)"}},
      "yaxis": axis | {"title": {"text": "away (mm)"}},
      "zaxis": axis | {"title": {"text": "up (mm)"}},
      "aspectmode": "cube",
      "camera": {"eye": {"x": 0.7, "y": -1.6, "z": 0.4}},
    },
    "sliders": [{"active": 0, "steps": steps, "currentvalue": {"prefix": "pose "}}],
  }
  return {"data": data, "layout": layout}


def _bones(
  pose_mm: np.ndarray, skeleton: Skeleton, name: str, colour: str, visible: bool
) -> dict[str, Any]:
  """One line through all bones, broken by None between them and where a joint is unknown."""
  places: list[list[float | None]] = []
  for child, parent in skeleton.bones:
    ends = np.asarray(pose_mm, np.float64)[[child, parent]]
    if np.isfinite(ends).all():
      places += [[round(float(v), 1) for v in (x, z, -y)] for x, y, z in ends]
      places.append([None, None, None])
  x, y, z = ([place[k] for place in places] for k in range(3))
  return {
    "type": "scatter3d",
    "mode": "lines+markers",
    "name": name,
    "x": x,
    "y": y,
    "z": z,
    "line": {"color": colour, "width": 6},
    "marker": {"color": colour, "size": 3},
    "visible": visible,
  }


def _subplots(count: int, columns: int) -> tuple[Any, list[Any]]:
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  columns = min(columns, count)
  rows = math.ceil(count / columns)
  figure = Figure(figsize=(3.4 * columns, 2.2 * rows), layout="constrained", dpi=110)
  FigureCanvasAgg(figure)
  axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
  for axis in axes[count:]:
    axis.axis("off")
  return figure, list(axes)


def _png(figure: Any) -> bytes:
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png", metadata={"Software": None})
  return buffer.getvalue()


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
  """Mean of each value and the width − 1 before it (fewer at the start); NaN is left out."""
  finite = np.isfinite(values)
  total = np.cumsum(np.where(finite, values, 0.0))
  count = np.cumsum(finite)
  total[width:] -= np.cumsum(np.where(finite, values, 0.0))[:-width]
  count[width:] -= np.cumsum(finite)[:-width]
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _plain(text: str) -> str:
  """The text without matplotlib's formula marks."""
  return text.replace("$", r"\$")
