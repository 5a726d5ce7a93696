"""Writes joints over time as `.trc`, the text format of OpenSim and of marker systems."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxpose import files


def camera_to_trc(points_cam: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
  """(x, −y, −z): from camera axes (x right, y down, z away) to X right, Y up, Z to the camera.

  OpenSim takes Y as up; both sets of axes are right-handed.
  """
  return np.asarray(points_cam) * np.array([1.0, -1.0, -1.0])


def save_trc(
  path: str | os.PathLike[str],
  joints: Sequence[str],
  frame: Int[np.ndarray, " N"],
  time_s: Float[np.ndarray, " N"],
  points_mm: Float[np.ndarray, "N J 3"],
  rate_hz: float,
) -> None:
  """Writes marker trajectories in mm, one row per frame; a joint with NaN leaves its cells empty.

  The axes are written as they are: see `camera_to_trc`.

  Raises:
    ValueError: the arrays do not belong together, or a joint's name holds a tab or a line break.
  """
  points = np.asarray(points_mm, np.float64)
  if points.shape != (len(frame), len(joints), 3) or len(time_s) != len(frame):
    raise ValueError(
      f"{path}: {len(frame)} frames, {len(time_s)} times and {len(joints)} joints do not go with "
      f"points of shape {points.shape}"
    )
  if any(set(name) & set("\t\r\n") for name in joints):
    raise ValueError(f"{path}: a joint's name holds a tab or a line break: {list(joints)}")
  path = pathlib.Path(path)
  rate, first = f"{rate_hz:.6g}", int(frame[0]) if len(frame) else 0
  lines = [
    f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame"
    "\tOrigNumFrames",
    f"{rate}\t{rate}\t{len(frame)}\t{len(joints)}\tmm\t{rate}\t{first}\t{len(frame)}",
    "Frame#\tTime\t" + "\t\t\t".join(joints) + "\t\t",
    "\t\t" + "\t".join(f"{axis}{j + 1}" for j in range(len(joints)) for axis in "XYZ"),
    "",
  ]
  for number, moment, pose in zip(frame, time_s, points, strict=True):
    known = np.isfinite(pose).all(axis=1, keepdims=True)
    cells = [f"{v:.3f}" if ok else "" for v, ok in _cells(pose, known)]
    lines.append("\t".join([str(int(number)), f"{float(moment):.6f}", *cells]))
  with files.replacing(path) as partial:
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cells(pose: np.ndarray, known: np.ndarray) -> list[tuple[float, bool]]:
  flags = np.broadcast_to(known, pose.shape)
  return list(zip(pose.ravel().tolist(), flags.ravel().tolist(), strict=True))
