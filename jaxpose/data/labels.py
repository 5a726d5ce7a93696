"""Reads 3D joint positions (`.trc`, `.csv`, `.npz`), resamples them to frames and checks them."""

import csv
import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxpose import files
from jaxpose.data.calibration import UNITS_MM
from jaxpose.geometry import Camera, project, world_to_camera

_BODY_MM = (300.0, 4000.0)  # size of a person's bounding box that is believed
_SAME_S = 1e-6  # times that differ by less are one: files round them to microseconds
_MOST_CELLS = 1_000_000  # of a table, besides as many as its file has room for
_AXES = re.compile(r"(-?[xyz]){3}")


class LabelError(ValueError):
  """Labels that cannot be used; the message names file and field, and the remedy."""


@dataclasses.dataclass(frozen=True)
class Labels:
  """3D joints over time, in the world of the cameras.

  Attributes:
    joints: names.
    time_s: [n] since the first row where the file has no times of its own.
    points_mm: [n, J, 3]; NaN where a joint is not known.
  """

  joints: tuple[str, ...]
  time_s: Float[np.ndarray, " n"]
  points_mm: Float[np.ndarray, "n J 3"]


def load_labels(
  path: str | Path,
  *,
  units: str | None = None,
  axes: str = "xyz",
  fps: float | None = None,
) -> Labels:
  """Reads 3D labels.

  Args:
    path: `.trc`; `.csv` with a column per coordinate (`X_RHip`, `RHip_x`, `RHip.x`) and maybe
      `time`; `.npz` with one [n, J, 3] array (its name may end in `_m`, `_cm` or `_mm`), `names`,
      and `fps` or `time_s`.
    units: "mm", "cm" or "m"; None takes the file's own word, else guesses from the body's size.
    axes: where the world's x, y and z come from: "zxy" makes world = (file z, file x, file y);
      "-" before a letter turns it round.
    fps: rows per second, over what the file says; without meaning where rows have times.

  Raises:
    FileNotFoundError: there is no such file.
    LabelError: the format, the unit or the size of the body is not believable.
  """
  file = Path(path)
  if not file.is_file():
    raise FileNotFoundError(f"no labels {file}")
  readers = {".trc": _read_trc, ".csv": _read_csv, ".npz": _read_npz}
  if file.suffix.lower() not in readers:
    raise LabelError(f"{file}: labels must end in {', '.join(readers)}")
  try:
    joints, time_s, points, own_units, own_fps = readers[file.suffix.lower()](file)
  except (UnicodeDecodeError, OverflowError, csv.Error) as error:
    raise LabelError(f"{file}: {error}") from error
  if points.shape[0] == 0 or points.shape[1] == 0:
    raise LabelError(f"{file}: no rows or no joints")
  if len(set(joints)) != len(joints):
    raise LabelError(f"{file}: a joint name occurs twice: {list(joints)}")
  points = _turn_axes(file, np.where(np.isfinite(points), points, np.nan), axes)
  factor = _unit_factor(file, points, units if units is not None else own_units)
  if time_s is None:
    rate = fps if fps is not None else own_fps
    if rate is None or not rate > 0:
      raise LabelError(f"{file}: neither times nor a rate: give `labels_fps`")
    time_s = np.arange(len(points)) / rate
  if not np.all(np.isfinite(time_s)) or np.any(np.diff(time_s) <= 0):
    raise LabelError(f"{file}: times must increase from row to row")
  return Labels(tuple(joints), np.asarray(time_s, float), points * factor)


def _turn_axes(file: Path, points: np.ndarray, axes: str) -> np.ndarray:
  parts = re.findall(r"-?[xyz]", axes)
  if not _AXES.fullmatch(axes) or {part[-1] for part in parts} != set("xyz"):
    raise LabelError(f"{file}: axes must order x, y and z, such as 'zxy' or 'x-zy', not {axes!r}")
  order = ["xyz".index(part[-1]) for part in parts]
  signs = np.array([-1.0 if part.startswith("-") else 1.0 for part in parts])
  if np.linalg.det(np.eye(3)[order] * signs[:, None]) < 0:
    warnings.warn(f"{file}: axes {axes!r} mirror the labels: left becomes right", stacklevel=3)
  return points[..., order] * signs


def _body_size(points: Float[np.ndarray, "n J 3"]) -> float:
  """Median over rows of the diagonal of the joints' bounding box, in the unit of the points."""
  known = np.isfinite(points).all(-1).sum(1) >= max(2, points.shape[1] // 2)
  if not known.any():
    return float("nan")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)
    span = np.nanmax(points[known], axis=1) - np.nanmin(points[known], axis=1)
  return float(np.nanmedian(np.linalg.norm(span, axis=-1)))


def _unit_factor(file: Path, points: np.ndarray, units: str | None) -> float:
  size = _body_size(points)
  if not np.isfinite(size):
    raise LabelError(f"{file}: no row has half of its joints: all NaN?")
  if units is None:
    for factor in UNITS_MM.values():
      if 400.0 <= size * factor <= 3500.0:
        return factor
    raise LabelError(f"{file}: the body measures {size:.4g} units, no person in mm, cm or m")
  if units not in UNITS_MM:
    raise LabelError(f"{file}: units must be one of {', '.join(UNITS_MM)}, not {units!r}")
  body_mm = size * UNITS_MM[units]
  if not _BODY_MM[0] <= body_mm <= _BODY_MM[1]:
    raise LabelError(
      f"{file}: in {units} the body measures {body_mm:.4g} mm from corner to corner: "
      "another unit? Set `labels_units`"
    )
  return UNITS_MM[units]


_Table = tuple[Sequence[str], np.ndarray | None, np.ndarray, str | None, float | None]


def _numbers(file: Path, rows: Sequence[Sequence[str]], first: int, width: int) -> np.ndarray:
  """[rows, width] of floats; empty cells are NaN."""
  if len(rows) * width > _MOST_CELLS + 4 * file.stat().st_size:
    raise LabelError(f"{file}: {width} columns are named, but the {len(rows)} rows have far fewer")
  table = np.full((len(rows), width), np.nan)
  for i, row in enumerate(rows):
    for j, cell in enumerate(row[:width]):
      text = cell.strip()
      if text:
        try:
          table[i, j] = float(text)
        except ValueError as error:
          raise LabelError(f"{file}, line {first + i}, column {j + 1}: {text!r}") from error
  return table


def _read_trc(file: Path) -> _Table:
  lines = file.read_text(encoding="utf-8-sig").splitlines()
  if len(lines) < 6 or not lines[0].startswith("PathFileType"):
    raise LabelError(f"{file}: no .trc: it must open with PathFileType and hold six lines or more")
  header = dict(zip(lines[1].split("\t"), lines[2].split("\t")))
  names = [name.strip() for name in lines[3].split("\t")[2:] if name.strip()]
  rows = [line.split("\t") for line in lines[5:] if line.strip()]
  table = _numbers(file, rows, 6, 2 + 3 * len(names))
  if str(len(names)) != header.get("NumMarkers", str(len(names))).strip():
    raise LabelError(f"{file}: NumMarkers is {header['NumMarkers']}, but {len(names)} are named")
  units = header.get("Units", "").strip().lower() or None
  points = table[:, 2:].reshape(len(rows), len(names), 3)
  return names, table[:, 1], points, units, None


_COLUMN = re.compile(r"(?:(?P<before>[xyz])[_ .](?P<tail>.+)|(?P<head>.+)[_ .](?P<after>[xyz]))")


def _read_csv(file: Path) -> _Table:
  with file.open(newline="", encoding="utf-8-sig") as stream:
    rows = [row for row in csv.reader(stream) if row]
  if len(rows) < 2:
    raise LabelError(f"{file}: no rows below the header")
  header = [cell.strip() for cell in rows[0]]
  columns: dict[str, dict[str, int]] = {}
  time_column = None
  for i, cell in enumerate(header):
    if cell.lower() in ("time", "time_s", "t"):
      time_column = i
      continue
    for match in [re.fullmatch(_COLUMN.pattern, cell, re.IGNORECASE)]:
      if match:
        name = match["tail"] or match["head"]
        axis = (match["before"] or match["after"]).lower()
        columns.setdefault(name, {})[axis] = i
  joints = [name for name, axes in columns.items() if set(axes) == set("xyz")]
  if not joints:
    raise LabelError(f"{file}: no columns such as X_RHip, Y_RHip, Z_RHip or RHip_x, RHip_y, RHip_z")
  order = [columns[joint][axis] for joint in joints for axis in "xyz"]
  wanted = order if time_column is None else [*order, time_column]
  cells = [[row[i] if i < len(row) else "" for i in wanted] for row in rows[1:]]
  table = _numbers(file, cells, 2, len(wanted))
  points = table[:, : len(order)].reshape(len(cells), len(joints), 3)
  return joints, None if time_column is None else table[:, -1], points, None, None


def _read_npz(file: Path) -> _Table:
  try:
    arrays = files.load_npz(file)
  except ValueError as error:
    raise LabelError(str(error)) from error
  poses = [k for k, v in arrays.items() if v.ndim == 3 and v.shape[2] == 3 and v.dtype.kind in "fi"]
  if len(poses) != 1:
    raise LabelError(f"{file}: need exactly one array [n, J, 3], found {poses or 'none'}")
  points = np.asarray(arrays[poses[0]], float)
  names = arrays.get("names", arrays.get("joint_names"))
  if names is None or names.dtype.kind not in "US" or names.shape != points.shape[1:2]:
    raise LabelError(f"{file}: `names` must hold the {points.shape[1]} joint names")
  suffix = poses[0].rsplit("_", 1)[-1]
  time_s = arrays.get("time_s")
  if time_s is not None and (time_s.shape != (len(points),) or time_s.dtype.kind not in "fiu"):
    raise LabelError(
      f"{file}: time_s must hold {len(points)} numbers, not {time_s.dtype} {time_s.shape}"
    )
  rate = arrays.get("fps")
  if rate is not None and (rate.shape != () or rate.dtype.kind not in "fiu"):
    raise LabelError(f"{file}: fps must be one number, not {rate.dtype} {rate.shape}")
  fps = None if rate is None else float(rate)
  joints = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
  return joints, time_s, points, suffix if suffix in UNITS_MM else None, fps


def resample(
  labels: Labels, time_s: Float[np.ndarray, " n"], *, max_gap_periods: float = 2.0
) -> Float[np.ndarray, "n J 3"]:
  """Joints at other times: linear between the two known neighbours of each joint, mm.

  Unknown (NaN) outside the labelled time and where the neighbours lie more than `max_gap_periods`
  median label periods apart.
  """
  times = np.asarray(time_s, float)
  period = float(np.median(np.diff(labels.time_s))) if len(labels.time_s) > 1 else 0.0
  limit = max_gap_periods * period * (1 + 1e-6)
  out = np.full((len(times), len(labels.joints), 3), np.nan)
  for joint in range(len(labels.joints)):
    known = np.isfinite(labels.points_mm[:, joint]).all(-1)
    if not known.any():
      continue
    at, points = labels.time_s[known], labels.points_mm[known, joint]
    right = np.clip(np.searchsorted(at, times - _SAME_S), 0, len(at) - 1)
    exact = np.abs(at[right] - times) <= _SAME_S
    left = np.where(exact, right, np.maximum(right - 1, 0))
    gap = at[right] - at[left]
    inside = (times >= at[0] - _SAME_S) & (times <= at[-1] + _SAME_S) & (exact | (gap <= limit))
    share = np.where(gap > 0, (times - at[left]) / np.where(gap > 0, gap, 1.0), 0.0)[:, None]
    value = points[left] + share * (points[right] - points[left])
    out[:, joint] = np.where(inside[:, None], value, np.nan)
  return out


def take_rows(labels: Labels, rows: np.ndarray) -> Float[np.ndarray, "n J 3"]:
  """Joints of the rows asked for; rows that the file does not have are NaN."""
  out = np.full((len(rows), len(labels.joints), 3), np.nan)
  inside = (rows >= 0) & (rows < len(labels.points_mm))
  out[inside] = labels.points_mm[rows[inside]]
  return out


@dataclasses.dataclass(frozen=True)
class Projection:
  """Labels seen by a camera.

  Attributes:
    pose3d_mm: [n, J, 3] in the camera's frame.
    pose2d_px: [n, J, 2]; NaN behind the camera.
    labelled: share of all joints that are known.
    behind, outside: shares of the known joints behind the camera, or in front but not in the image.
  """

  pose3d_mm: Float[np.ndarray, "n J 3"]
  pose2d_px: Float[np.ndarray, "n J 2"]
  labelled: float
  behind: float
  outside: float


def project_labels(
  points_mm: Float[np.ndarray, "n J 3"], camera: Camera, where: str, *, limit: float = 0.5
) -> Projection:
  """Brings labels into the camera's frame and the picture, and looks whether they belong there.

  Warns if over a tenth of the known joints lie outside the picture.

  Raises:
    LabelError: more than `limit` of them lie behind the camera or outside the picture.
  """
  in_camera = world_to_camera(points_mm, camera)
  known = np.isfinite(in_camera).all(-1)
  with np.errstate(invalid="ignore", over="ignore"):
    pixels = np.asarray(project(in_camera, camera))
    x, y = pixels[..., 0], pixels[..., 1]
    seen = (x > -0.5) & (x < camera.width - 0.5) & (y > -0.5) & (y < camera.height - 0.5)
    behind = known & (in_camera[..., 2] <= 0)
  total = max(int(known.sum()), 1)
  result = Projection(
    in_camera,
    pixels,
    float(known.mean()) if known.size else 0.0,
    float(behind.sum()) / total,
    float((known & ~behind & ~seen).sum()) / total,
  )
  text = (
    f"{where}: {result.behind:.0%} of the 3D labels lie behind the camera, "
    f"{result.outside:.0%} outside the picture"
  )
  if result.behind + result.outside > limit:
    raise LabelError(
      f"{text}: wrong `labels_axes`, units, calibration units, or the calibration of another take"
    )
  if result.behind + result.outside > 0.1:
    warnings.warn(text, stacklevel=2)
  return result
