"""Reads DeepMimic's motions: rows of quaternions in JSON, for a character that is a file too."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from datasets.mocap_people.motion import Chain, Motion, pose_tree, read_text, turn_about

# Values in a row of each type of joint.
_SIZES = {"none": 0, "spherical": 4, "revolute": 1, "fixed": 0}
# Ends that have no joint lie half a body's size along this axis: up from the neck, forward.
_ENDS = {"neck": 1, "left_ankle": 0, "right_ankle": 0}


def load_json(path: Path) -> dict[str, Any] | None:
  """What a `.txt` or `.json` file holds; None for one that is no JSON object.

  Raises:
    ValueError: it begins like one, but is damaged.
  """
  text = read_text(path)
  if not text.lstrip().startswith("{"):
    return None
  try:
    return json.loads(text)
  except (json.JSONDecodeError, RecursionError) as error:
    raise ValueError(f"damaged JSON: {error}") from error


def read_deepmimic(path: Path, character: Path) -> Motion:
  """Reads a motion of a character.

  A row of `Frames` is the time to the next row in s, the root's place in m, the root's rotation,
  and for each joint a quaternion (spherical), an angle about z in rad (revolute) or nothing
  (fixed); quaternions are w, x, y, z. Joints hang at their `Attach` in the parent. The head's top
  and the toes, which are no joints, are ends of the shapes in `BodyDefs`.

  Raises:
    ValueError: one of the files is none of these, or damaged; says where.
  """
  try:
    chains, kinds = _parse_character(load_json(character) or {})
  except (ValueError, KeyError, TypeError, IndexError) as error:
    raise ValueError(f"{character.name}: no DeepMimic character ({error})") from error
  rows = _parse_rows(load_json(path) or {}, 8 + sum(_SIZES[kind] for kind in kinds))
  local = {0: _from_quaternions(rows[:, 4:8])}
  column = 8
  for number, kind in enumerate(kinds):
    values = rows[:, column : column + _SIZES[kind]]
    column += _SIZES[kind]
    if kind == "spherical":
      local[number] = _from_quaternions(values)
    elif kind == "revolute":
      local[number] = turn_about((2,), np.rad2deg(values))
  positions, rotations = pose_tree(chains, local, {0: rows[:, 1:4]}, len(rows))
  time_s = np.concatenate([[0.0], np.cumsum(rows[:-1, 0])])
  return Motion(tuple(c.name for c in chains), positions, rotations, time_s, 1000.0)


def _parse_rows(content: dict[str, Any], columns: int) -> np.ndarray:
  frames = content.get("Frames")
  if not isinstance(frames, list) or not frames:
    raise ValueError("no Frames: no DeepMimic motion")
  for number, row in enumerate(frames):
    if not isinstance(row, list) or len(row) != columns:
      size = len(row) if isinstance(row, list) else 0
      raise ValueError(f"frame {number} has {size} values, but the character needs {columns}")
  try:
    return np.array(frames, np.float64)
  except (ValueError, TypeError) as error:
    raise ValueError(f"a frame holds something that is no number ({error})") from error


def _from_quaternions(wxyz: np.ndarray) -> np.ndarray:
  """Rotation matrices [F, 3, 3] of quaternions, which need not be of length 1."""
  norm = np.sqrt((wxyz**2).sum(axis=1, keepdims=True))
  if not norm.min() > 0.5:
    raise ValueError("a quaternion is not of length 1")
  w, x, y, z = np.moveaxis(wxyz / norm, 1, 0)
  rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ]
  return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _parse_character(content: dict[str, Any]) -> tuple[list[Chain], list[str]]:
  """Joints, then ends; and the types of the joints."""
  chains, kinds = [], []
  for number, joint in enumerate(content["Skeleton"]["Joints"]):
    kind, parent = joint["Type"], int(joint["Parent"])
    if kind not in _SIZES or not -1 <= parent < number or (parent < 0) != (number == 0):
      raise ValueError(f"joint {joint['Name']!r} of type {kind!r} with parent {parent}")
    if any(float(joint.get(f"AttachTheta{axis}", 0.0)) for axis in "XYZ"):
      raise ValueError(f"joint {joint['Name']!r} is attached at an angle, which cannot be read")
    chains.append(Chain(str(joint["Name"]), parent, _attach(joint)))
    kinds.append(kind)
  numbers = {chain.name: i for i, chain in enumerate(chains)}
  for body in content["BodyDefs"]:
    if body["Name"] in _ENDS:
      axis = _ENDS[body["Name"]]
      end = _attach(body)
      end[axis] += float(body[f"Param{axis}"]) / 2
      chains.append(Chain(f"{body['Name']}_end", numbers[body["Name"]], end))
  return chains, kinds


def _attach(item: dict[str, Any]) -> np.ndarray:
  return np.array([float(item[f"Attach{axis}"]) for axis in "XYZ"])
