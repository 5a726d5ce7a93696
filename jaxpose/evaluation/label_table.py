"""Tables of frames to label and of their poses: plain CSV that a person can fill in.

One line is one frame. Columns:

  sequence   name of the sequence          camera  its number in the sequence
  frame      the source's frame number     id      row in the exported embeddings (not read)
  split      train or test; without the column, train
  <joint>_x_mm, <joint>_y_mm, <joint>_z_mm  the pose in the camera's axes (x right, y down,
             z forward), any origin; empty cells: that joint (or the whole pose) is not given here

An empty cell may say `nan`. A line without any pose stands for the labels that the data set itself
has for that frame.
"""

import csv
import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpose import files

_KEYS = ("sequence", "camera", "frame")
_AXES = ("_x_mm", "_y_mm", "_z_mm")
_BLANK = ("", "nan")  # cells of what is not known
_POSE_MM = (10.0, 10_000.0)  # a few joints of a hand; a person. 2 m written as 2 are below
_MOST_CELLS = 1_000_000  # of a table, besides as many as its file has room for
SPLITS = ("train", "test")


class LabelTable(NamedTuple):
  """A label table: M frames, and the poses given for them.

  Attributes:
    sequence, camera, frame, split: [M] lists that say which frames.
    joints: names of the joints that have columns; empty if the table has no poses.
    pose3d_mm: [M, J, 3] in camera axes; NaN where not given.
  """

  sequence: list[str]
  camera: list[int]
  frame: list[int]
  split: list[str]
  joints: tuple[str, ...]
  pose3d_mm: Float[np.ndarray, "M J 3"]


def write_label_table(
  path: str | os.PathLike[str],
  embeddings: Mapping[str, Any],
  rows: Int[np.ndarray, " M"],
  *,
  split: str,
  joints: Sequence[str] = (),
) -> None:
  """Writes the given rows of exported embeddings as a table, with empty columns for `joints`."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  rows = np.asarray(rows)
  sequences = np.asarray(embeddings["sequence_names"])[np.asarray(embeddings["sequence"][rows])]
  cameras, frames = np.asarray(embeddings["camera"][rows]), np.asarray(embeddings["frame"][rows])
  with files.replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([*_KEYS, "id", "split", *(j + axis for j in joints for axis in _AXES)])
    blank = [""] * (3 * len(joints))
    for name, camera, frame, row in zip(sequences, cameras, frames, rows, strict=True):
      writer.writerow([name, int(camera), int(frame), int(row), split, *blank])


def read_label_table(path: str | os.PathLike[str]) -> LabelTable:
  """Reads a table.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no CSV in UTF-8, a column is missing or there twice, a cell is no number, a
      camera or frame no whole one, a joint lacks a coordinate, a frame is listed twice, the poses
      are not in mm, or the table is empty; the message names file, line and column.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no label table at {path}: launch/export.py --suggest=N writes one")
  columns, lines = _read_lines(path)
  missing = [key for key in _KEYS if key not in columns]
  if missing and len(columns) == 1 and ";" in columns[0]:
    raise ValueError(f"{path}: save the table with commas between its columns, not semicolons")
  if missing:
    raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(columns)}")
  twice = [c for i, c in enumerate(columns) if c and c in columns[:i]]
  if twice:
    raise ValueError(f"{path}: more than one column {', '.join(twice)}")
  joints = _joint_names(columns, path)
  if not lines:
    raise ValueError(f"{path}: the table lists no frame")
  table = LabelTable([], [], [], [], joints, np.full((len(lines), len(joints), 3), np.nan))
  for i, (number, line) in enumerate(lines):
    where = f"{path}, line {number}"
    table.sequence.append((line["sequence"] or "").strip())
    table.camera.append(_whole(line, "camera", where))
    table.frame.append(_whole(line, "frame", where))
    table.split.append((line.get("split") or "train").strip())
    if table.split[-1] not in SPLITS:
      raise ValueError(f"{where}: split {table.split[-1]!r} is neither train nor test")
    for j, joint in enumerate(joints):
      given = [axis for axis in _AXES if (line[joint + axis] or "").strip().lower() not in _BLANK]
      if given and len(given) < 3:
        raise ValueError(f"{where}: joint {joint} has {given} only; give all three or none")
      if given:
        table.pose3d_mm[i, j] = [_finite(line, joint + axis, where) for axis in _AXES]
  keys = list(zip(table.split, table.sequence, table.camera, table.frame, strict=True))
  if len(set(keys)) < len(keys):
    key = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"{path}: frame {key} is listed twice")
  _check_unit(table, path)
  return table


def _read_lines(path: pathlib.Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
  """Names of the columns, and (number, cells) of each line."""
  try:
    text = path.read_bytes().decode("utf-8-sig")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [c.strip() for c in reader.fieldnames or []]
    if len(columns) * text.count("\n") > _MOST_CELLS + 4 * len(text):
      raise ValueError(f"{len(columns)} columns are named, but the lines have far fewer")
    reader.fieldnames = columns
    return columns, [(reader.line_num, line) for line in reader]
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: save the table as CSV in UTF-8 ({error})") from error
  except (csv.Error, ValueError) as error:
    raise ValueError(f"{path}: no CSV table: {error}") from error


def _check_unit(table: LabelTable, path: pathlib.Path) -> None:
  """Raises ValueError where the median pose is too small or too large for a person in mm."""
  known = np.isfinite(table.pose3d_mm).all(axis=-1)
  poses = [pose[rows] for pose, rows in zip(table.pose3d_mm, known) if rows.sum() > 1]
  if not poses:
    return
  size = float(np.median([np.linalg.norm(np.ptp(pose, axis=0)) for pose in poses]))
  if not _POSE_MM[0] <= size <= _POSE_MM[1]:
    raise ValueError(
      f"{path}: the joints of a frame span {size:.4g} mm from corner to corner: another unit? The"
      " columns _x_mm, _y_mm, _z_mm hold mm"
    )


def is_filled_in(path: str | os.PathLike[str]) -> bool:
  """Is there a table with any pose in it, or with anything that cannot be read?"""
  path = pathlib.Path(path)
  if not path.is_file():
    return False
  try:
    return bool(np.isfinite(read_label_table(path).pose3d_mm).any())
  except ValueError:  # half filled in, or saved by a spreadsheet in a way of its own
    return True


def match_label_table(
  table: LabelTable, embeddings: Mapping[str, Any], split: str
) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
  """(lines of the table, rows of the embeddings) of the frames of one split, in row order.

  Raises:
    ValueError: the table lists a frame that the embeddings don't have.
  """
  names = np.asarray(embeddings["sequence_names"])[np.asarray(embeddings["sequence"])]
  cameras, frames = np.asarray(embeddings["camera"]), np.asarray(embeddings["frame"])
  rows = {(str(n), int(c), int(f)): i for i, (n, c, f) in enumerate(zip(names, cameras, frames))}
  found = []
  for line, key in enumerate(zip(table.sequence, table.camera, table.frame, strict=True)):
    if table.split[line] != split:
      continue
    if key not in rows:
      raise ValueError(
        f"the label table lists sequence {key[0]!r}, camera {key[1]}, frame {key[2]}, which is not "
        f"among the {len(rows)} exported {split} frames"
      )
    found.append((rows[key], line))
  found.sort()
  return (
    np.array([line for _, line in found], np.int64),
    np.array([row for row, _ in found], np.int64),
  )


def _joint_names(columns: Sequence[str], path: pathlib.Path) -> tuple[str, ...]:
  joints = tuple(c.removesuffix(_AXES[0]) for c in columns if c.endswith(_AXES[0]))
  for joint in joints:
    missing = [joint + axis for axis in _AXES if joint + axis not in columns]
    if missing:
      raise ValueError(f"{path}: joint {joint} has no column {', '.join(missing)}")
  return joints


def _number(line: Mapping[str, str], column: str, where: str) -> float:
  try:
    return float(line[column])
  except (TypeError, ValueError):
    raise ValueError(f"{where}: column {column} holds {line[column]!r}, not a number") from None


def _finite(line: Mapping[str, str], column: str, where: str) -> float:
  value = _number(line, column, where)
  if not math.isfinite(value):
    raise ValueError(f"{where}: column {column} holds {line[column]!r}: leave the cell empty")
  return value


def _whole(line: Mapping[str, str], column: str, where: str) -> int:
  value = _number(line, column, where)
  if not value.is_integer():
    raise ValueError(f"{where}: column {column} holds {line[column]!r}, not a whole number")
  return int(value)
