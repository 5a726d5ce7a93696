"""Tables of frames to label and of their poses: plain CSV that a person can fill in.

One line is one frame. Columns:

  sequence   name of the sequence          camera  its number in the sequence
  frame      the source's frame number     id      row in the exported embeddings (not read)
  split      train or test; without the column, train
  <joint>_x_mm, <joint>_y_mm, <joint>_z_mm  the pose in the camera's axes (x right, y down,
             z forward), any origin; empty cells: that joint (or the whole pose) is not given here

A line without any pose stands for the labels that the data set itself has for that frame.
"""

import csv
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxpose import files

_KEYS = ("sequence", "camera", "frame")
_AXES = ("_x_mm", "_y_mm", "_z_mm")
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
    ValueError: a column is missing or there twice, a cell is no number, a camera or frame no whole
      one, a joint lacks a coordinate, a frame is listed twice, or the table is empty; the message
      names file, line and column.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no label table at {path}: launch/export.py --suggest=N writes one")
  with open(path, newline="", encoding="utf-8-sig") as file:
    reader = csv.DictReader(file)
    columns = [c.strip() for c in reader.fieldnames or []]
    reader.fieldnames = columns
    lines = [(reader.line_num, line) for line in reader]
  missing = [key for key in _KEYS if key not in columns]
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
      given = [axis for axis in _AXES if (line[joint + axis] or "").strip()]
      if given and len(given) < 3:
        raise ValueError(f"{where}: joint {joint} has {given} only; give all three or none")
      if given:
        table.pose3d_mm[i, j] = [_number(line, joint + axis, where) for axis in _AXES]
  keys = list(zip(table.split, table.sequence, table.camera, table.frame, strict=True))
  if len(set(keys)) < len(keys):
    key = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"{path}: frame {key} is listed twice")
  return table


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


def _whole(line: Mapping[str, str], column: str, where: str) -> int:
  value = _number(line, column, where)
  if not value.is_integer():
    raise ValueError(f"{where}: column {column} holds {line[column]!r}, not a whole number")
  return int(value)
