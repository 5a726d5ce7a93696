"""Reads camera calibrations and fits them to the frames that are stored.

Formats: Pose2Sim and aniposelib TOML (one table a camera, Rodrigues vectors), caliscope TOML
(tables below `cameras`, rotation matrices), Qualisys `.qca.txt` (XML), OpenCV FileStorage YAML, XML
or JSON (one camera a file).
"""

import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jaxpose import files
from jaxpose.data.video import FrameGeometry
from jaxpose.geometry import Camera, rotation_from_axis_angle

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_QUALISYS_SUBPIXELS = 64.0
_MOST_NUMBERS = 64  # of a matrix of a camera


class CalibrationError(ValueError):
  """A calibration that cannot be used; the message names file, camera or key, and the remedy."""


def load_calibration(path: str | Path, units: str | None = None) -> dict[str, Camera]:
  """Reads all cameras of a calibration file, by name.

  Args:
    path: the file; its content, not its ending, tells TOML, Qualisys XML and OpenCV apart.
    units: "mm", "cm" or "m" of the translations; None guesses (Qualisys always has mm).

  Raises:
    FileNotFoundError: there is no such file.
    CalibrationError: it is in none of the formats, lacks a key, or its unit cannot be told.
  """
  file = Path(path)
  if not file.is_file():
    raise FileNotFoundError(f"no calibration {file}")
  if units is not None and units not in UNITS_MM:
    raise CalibrationError(f"{file}: units must be one of {', '.join(UNITS_MM)}, not {units!r}")
  text = file.read_bytes().decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
  if file.suffix.lower() == ".toml":
    cameras = _read_toml(file, text)
  elif text.startswith("<") and "<opencv_storage" not in text[:500]:
    return _read_qualisys(file, text)
  else:
    cameras = _read_opencv(file)
  factor = _unit_factor(file, cameras, units)
  return {name: camera._replace(t_mm=camera.t_mm * factor) for name, camera in cameras.items()}


def _unit_factor(file: Path, cameras: Mapping[str, Camera], units: str | None) -> float:
  """mm per unit of the translations; cameras stand 0.3 to 60 m from what they look at."""
  if units is not None:
    return UNITS_MM[units]
  distances = [float(np.linalg.norm(camera.t_mm)) for camera in cameras.values()]
  typical = float(np.median([d for d in distances if d > 0] or [0.0]))
  if typical <= 60:
    return UNITS_MM["m"]
  if typical >= 600:
    return UNITS_MM["mm"]
  raise CalibrationError(
    f"{file}: cameras stand {typical:.0f} units from the origin, which may be cm or mm: "
    "give `calibration_units`"
  )


def _read_toml(file: Path, text: str) -> dict[str, Camera]:
  try:
    tables = files.parse_toml(text, str(file))
  except ValueError as error:
    raise CalibrationError(str(error)) from error
  if isinstance(tables.get("cameras"), dict):
    tables = {f"cam_{key}": value for key, value in tables["cameras"].items()}
  cameras: dict[str, Camera] = {}
  for key, table in tables.items():
    if not isinstance(table, dict) or "matrix" not in table:
      continue
    where = f"{file}, camera {key!r}"
    if table.get("fisheye", False):
      raise CalibrationError(f"{where}: a fisheye model; undistort the video to a pinhole first")
    if table.get("rotation_count", 0):
      raise CalibrationError(f"{where}: rotation_count is set; calibrate the turned video")
    name = str(table.get("name", key))
    cameras[name] = _build_camera(
      where,
      size=_need(table, "size", where),
      matrix=table["matrix"],
      distortion=table.get("distortions", ()),
      rotation=_need(table, "rotation", where),
      translation=_need(table, "translation", where),
    )
  if not cameras:
    raise CalibrationError(f"{file}: no table with a `matrix`: is this a camera calibration?")
  return cameras


def _need(table: Mapping[str, Any], key: str, where: str) -> Any:
  if key not in table:
    raise CalibrationError(f"{where}: the key {key!r} is missing")
  return table[key]


def _build_camera(
  where: str, *, size: Any, matrix: Any, distortion: Any, rotation: Any, translation: Any
) -> Camera:
  """A checked Camera; `t_mm` still in the file's unit."""
  try:
    K = np.asarray(matrix, float)
    turn = np.asarray(rotation, float)
    t = np.asarray(translation, float).ravel()
    coefficients = np.asarray(distortion, float).ravel()
    width, height = (round(float(v)) for v in size)
  except (TypeError, ValueError, OverflowError) as error:
    raise CalibrationError(f"{where}: {error}") from error
  if K.shape != (3, 3) or t.shape != (3,) or turn.size not in (3, 9):
    raise CalibrationError(
      f"{where}: matrix, rotation and translation have shapes {K.shape}, {turn.shape}, {t.shape}"
    )
  R = turn.reshape(3, 3) if turn.size == 9 else rotation_from_axis_angle(turn.ravel())
  values = np.concatenate([K.ravel(), R.ravel(), t, coefficients])
  if not np.isfinite(values).all() or min(K[0, 0], K[1, 1]) <= 0 or min(width, height) <= 0:
    raise CalibrationError(f"{where}: focal length, size or another value is not finite, above 0")
  if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
    raise CalibrationError(f"{where}: the rotation is no rotation (R Rᵀ ≠ 1 or a reflection)")
  if np.any(coefficients[5:] != 0):
    raise CalibrationError(
      f"{where}: {coefficients.size} distortion coefficients; only k1 k2 p1 p2 k3 are supported: "
      "undistort the video first"
    )
  padded = np.zeros(5)
  padded[: min(5, coefficients.size)] = coefficients[:5]
  return Camera(K, R, t, padded, width, height)


def _read_qualisys(file: Path, text: str) -> dict[str, Camera]:
  """Qualisys: place and axes of the camera in mm, y up and z back in its own frame; 1/64 px."""
  if "<!DOCTYPE" in text or "<!ENTITY" in text:
    raise CalibrationError(f"{file}: XML with a document type is not read")
  try:
    root = ElementTree.fromstring(text)
  except ElementTree.ParseError as error:
    raise CalibrationError(f"{file}: no valid XML: {error}") from error
  cameras: dict[str, Camera] = {}
  for element in root.iter("camera"):
    name = element.get("serial", str(len(cameras)))
    where = f"{file}, camera {name!r}"
    parts = {tag: element.find(tag) for tag in ("fov_video", "transform", "intrinsic")}
    missing = [tag for tag, part in parts.items() if part is None]
    if missing:
      raise CalibrationError(f"{where}: the element <{missing[0]}> is missing")
    attributes = {tag: dict(part.attrib) for tag, part in parts.items() if part is not None}
    cameras[name] = _qualisys_camera(where, attributes)
  if not cameras:
    raise CalibrationError(f"{file}: XML without a <camera>: is this a Qualisys calibration?")
  return cameras


def _qualisys_camera(where: str, attributes: dict[str, dict[str, str]]) -> Camera:
  def number(tag: str, key: str) -> float:
    try:
      return float(_need(attributes[tag], key, f"{where}, <{tag}>"))
    except ValueError as error:
      raise CalibrationError(f"{where}, <{tag}>: {key}: {error}") from error

  def pixels(key: str) -> float:
    return number("intrinsic", key) / _QUALISYS_SUBPIXELS

  axes = np.array([[number("transform", f"r{i}{j}") for j in (1, 2, 3)] for i in (1, 2, 3)])
  centre = np.array([number("transform", axis) for axis in "xyz"])
  R = np.diag([1.0, -1.0, -1.0]) @ axes
  matrix = [
    [pixels("focalLengthU"), pixels("skew"), pixels("centerPointU")],
    [0.0, pixels("focalLengthV"), pixels("centerPointV")],
    [0.0, 0.0, 1.0],
  ]
  names = ("radialDistortion1", "radialDistortion2", "tangentalDistortion1")
  distortion = [pixels(key) for key in (*names, "tangentalDistortion2", "radialDistortion3")]
  size = (
    number("fov_video", "right") - number("fov_video", "left") + 1,
    number("fov_video", "bottom") - number("fov_video", "top") + 1,
  )
  return _build_camera(
    where, size=size, matrix=matrix, distortion=distortion, rotation=R, translation=-R @ centre
  )


_OPENCV_KEYS: dict[str, tuple[str, ...]] = {
  "matrix": ("camera_matrix", "cameraMatrix", "K", "intrinsic_matrix", "intrinsics"),
  "distortion": ("distortion_coefficients", "dist_coeffs", "distCoeffs", "dist", "D"),
  "rotation": ("R", "rotation", "rvec", "rotation_vector", "rotation_matrix"),
  "translation": ("T", "t", "translation", "tvec", "translation_vector"),
}


def _read_opencv(file: Path) -> dict[str, Camera]:
  """One camera a file, named after the file; without R and T it stands at the origin."""
  try:
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
  except (cv2.error, SystemError) as error:
    raise CalibrationError(f"{file}: OpenCV's FileStorage cannot read it") from error
  if not storage.isOpened():
    raise CalibrationError(f"{file}: no TOML, Qualisys XML or OpenCV FileStorage file")
  try:
    found = {}
    for field, names in _OPENCV_KEYS.items():
      nodes = [storage.getNode(name) for name in names]
      found[field] = next((_opencv_matrix(n) for n in nodes if not n.empty() and n.isMap()), None)
    width, height = (_opencv_size(storage, key) for key in ("width", "height"))
  except cv2.error as error:
    raise CalibrationError(f"{file}: {error}") from error
  finally:
    storage.release()
  if found["matrix"] is None:
    raise CalibrationError(f"{file}: no camera matrix under {', '.join(_OPENCV_KEYS['matrix'])}")
  if not width or not height:
    raise CalibrationError(f"{file}: image_width and image_height are missing")
  given = {k: v for k, v in found.items() if v is not None}
  rotation = given.get("rotation", np.eye(3))
  translation = given.get("translation", np.zeros(3))
  camera = _build_camera(
    str(file),
    size=(width, height),
    matrix=given["matrix"],
    distortion=given.get("distortion", np.zeros(5)),
    rotation=rotation,
    translation=translation,
  )
  return {file.stem: camera}


def _opencv_matrix(node: cv2.FileNode) -> np.ndarray | None:
  """A matrix, None where its parts do not fit.

  Read number by number: OpenCV's own reader ends the process on some damaged files.
  """
  rows, columns, data = (node.getNode(name) for name in ("rows", "cols", "data"))
  if not (rows.isInt() and columns.isInt() and data.isSeq()):
    return None
  shape = (int(rows.real()), int(columns.real()))
  numbers = [data.at(i) for i in range(min(data.size(), _MOST_NUMBERS + 1))]
  fits = min(shape) > 0 and len(numbers) == shape[0] * shape[1] <= _MOST_NUMBERS
  if not fits or not all(n.isInt() or n.isReal() for n in numbers):
    return None
  return np.array([n.real() for n in numbers]).reshape(shape)


def _opencv_size(storage: cv2.FileStorage, side: str) -> int:
  for name in (f"image_{side}", f"image{side.capitalize()}", side):
    node = storage.getNode(name)
    if not node.empty() and (node.isInt() or node.isReal()) and 0 < node.real() < 2**31:
      return int(node.real())
  return 0


def find_camera(cameras: Mapping[str, Camera], name: str, file: str | Path) -> Camera:
  """The camera called `name`; `cam01`, `cam_1` and `Cam-001` are one name.

  Raises:
    CalibrationError: there is none, or more than one: the calibration of another take?
  """
  if name in cameras:
    return cameras[name]
  matches = [key for key in cameras if _plain(key) == _plain(name)]
  if len(matches) != 1:
    raise CalibrationError(
      f"{file}: {'no' if not matches else 'more than one'} camera {name!r} among "
      f"{', '.join(cameras)}: the calibration of another take? Else say which is which with "
      "`calibration_names`"
    )
  return cameras[matches[0]]


def _plain(name: str) -> str:
  parts = re.findall(r"[a-z]+|\d+", name.lower())
  return " ".join(str(int(part)) if part.isdigit() else part for part in parts)


def fit_to_frames(
  camera: Camera, width: int, height: int, where: str, *, tolerance: float = 0.03
) -> Camera:
  """The camera of frames of width × height, where the calibration was made at another size.

  One factor for both sides (within `tolerance` / 6): the frames were rescaled. Otherwise, if each
  side differs by at most `tolerance`, rows or columns were added or lost at the right or lower edge
  (encoders pad to multiples of 16), so that K stays. Warns in both cases.

  Raises:
    CalibrationError: the shape of the picture is another one.
  """
  if (camera.width, camera.height) == (width, height):
    return camera
  sx, sy = width / camera.width, height / camera.height
  sizes = f"the calibration is for {camera.width}×{camera.height}, the frames are {width}×{height}"
  if abs(math.log(sx / sy)) <= tolerance / 6:
    warnings.warn(f"{where}: {sizes}: rescaled by {sx:.4f}", stacklevel=2)
    return scale_camera(camera, (0, 0), (sx, sy), (height, width))
  if max(abs(math.log(sx)), abs(math.log(sy))) <= tolerance:
    warnings.warn(f"{where}: {sizes}: taken as cut at the right or lower edge", stacklevel=2)
    return camera._replace(width=width, height=height)
  turned = " (turned? see `rotate`)" if abs(math.log(sx * sy)) < 1e-6 else ""
  raise CalibrationError(f"{where}: {sizes}{turned}: the calibration of another camera or mode?")


def scale_camera(
  camera: Camera,
  corner: Sequence[float],
  scale: tuple[float, float],
  size: tuple[int, int],
) -> Camera:
  """The camera after cutting at `corner` (x, y) px, then scaling: p -> (p − corner + ½) s − ½.

  Args:
    camera: of the uncut frames.
    corner: upper left corner of the part that is kept.
    scale: factors (x, y).
    size: (height, width) px of the result.
  """
  A = np.eye(3)
  for axis in (0, 1):
    A[axis, axis] = scale[axis]
    A[axis, 2] = (0.5 - corner[axis]) * scale[axis] - 0.5
  return camera._replace(K=A @ camera.K, width=int(size[1]), height=int(size[0]))


def fit_to_geometry(camera: Camera, geometry: FrameGeometry) -> Camera:
  """The camera of stored frames from that of turned, uncut ones."""
  return scale_camera(camera, geometry.roi[:2], geometry.scale, geometry.size)
