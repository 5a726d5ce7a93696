"""Reads Biovision files (`.bvh`): a tree of joints, then one row of channels per frame."""

import dataclasses
from pathlib import Path

import numpy as np

from datasets.mocap_people.motion import Chain, Motion, pose_tree, read_text, to_floats, turn_about

_AXES = {"X": 0, "Y": 1, "Z": 2}


@dataclasses.dataclass(frozen=True)
class _Joint:
  """A joint and its channels: (what, axis), in the order of the columns."""

  chain: Chain
  channels: tuple[tuple[str, int], ...]


def read_bvh(path: Path) -> Motion:
  """Reads a file.

  Rotations of a joint are applied in the order of its channels, the first outermost. Position
  channels take the place of the joint's OFFSET in their axes. Angles are degrees; the unit of
  length is not in the file. An `End Site` is the joint `PARENT_end`.

  Raises:
    ValueError: it is no such file, or damaged; says where.
  """
  text = read_text(path)
  hierarchy, found, rest = text.partition("MOTION")
  if not found:
    raise ValueError("no line MOTION: no BVH file, or cut off")
  joints = _parse_hierarchy(hierarchy.split())
  time_s, rows = _parse_rows(rest, sum(len(joint.channels) for joint in joints))
  chains = [joint.chain for joint in joints]
  local, moved, column = {}, {}, 0
  for number, joint in enumerate(joints):
    columns = rows[:, column : column + len(joint.channels)]
    column += len(joint.channels)
    turns = [i for i, (what, _) in enumerate(joint.channels) if what == "rotation"]
    if turns:
      axes = tuple(joint.channels[i][1] for i in turns)
      local[number] = turn_about(axes, columns[:, turns])
    if len(turns) < len(joint.channels):
      moved[number] = np.tile(joint.chain.offset, (len(rows), 1))
      for i, (what, axis) in enumerate(joint.channels):
        if what == "position":
          moved[number][:, axis] = columns[:, i]
  positions, rotations = pose_tree(chains, local, moved, len(rows))
  return Motion(tuple(c.name for c in chains), positions, rotations, time_s, None)


class _Words:
  """The words of the hierarchy, one after the other."""

  def __init__(self, words: list[str]):
    self._words = words
    self._next = 0

  def __bool__(self) -> bool:
    return self._next < len(self._words)

  def take(self, count: int = 1) -> list[str]:
    """The next words.

    Raises:
      ValueError: there are no more.
    """
    if self._next + count > len(self._words):
      raise ValueError("HIERARCHY ends in the middle of a joint")
    self._next += count
    return self._words[self._next - count : self._next]

  def take_until(self, stop: str) -> list[str]:
    """The words before the next `stop`, which is taken too."""
    taken = []
    while (word := self.take()[0]) != stop:
      taken.append(word)
    return taken


def _parse_hierarchy(text: list[str]) -> list[_Joint]:
  """All joints, parents first, in the order of their channels."""
  words = _Words(text)
  if words.take() != ["HIERARCHY"]:
    raise ValueError("does not begin with HIERARCHY: no BVH file")
  joints: list[_Joint] = []
  open_joints: list[int] = []
  while words:
    (word,) = words.take()
    if word == "}" and open_joints:
      open_joints.pop()
      continue
    parent = open_joints[-1] if open_joints else -1
    name = " ".join(words.take_until("{"))
    if (word in ("End", "JOINT") and parent < 0) or word not in ("ROOT", "JOINT", "End"):
      raise ValueError(f"HIERARCHY: {word!r} where ROOT, JOINT or End Site is expected")
    if word == "End":
      name = f"{joints[parent].chain.name}_end"
    open_joints.append(len(joints))
    joints.append(_parse_joint(words, name, parent, with_channels=word != "End"))
  if open_joints or not joints:
    raise ValueError("HIERARCHY: a joint is not closed, or there is none")
  return joints


def _parse_joint(words: _Words, name: str, parent: int, *, with_channels: bool) -> _Joint:
  if words.take() != ["OFFSET"]:
    raise ValueError(f"joint {name!r} has no OFFSET")
  offset = to_floats(words.take(3), f"OFFSET of {name!r}")
  if not with_channels:
    return _Joint(Chain(name, parent, offset), ())
  what, count = words.take(2)
  if what != "CHANNELS" or not count.isdigit():
    raise ValueError(f"joint {name!r} has no CHANNELS")
  channels = []
  for channel in words.take(int(count)):
    axis, kind = channel[:1].upper(), channel[1:].lower()
    if axis not in _AXES or kind not in ("rotation", "position"):
      raise ValueError(f"joint {name!r} has a channel {channel!r}")
    channels.append((kind, _AXES[axis]))
  return _Joint(Chain(name, parent, offset), tuple(channels))


def _parse_rows(text: str, columns: int) -> tuple[np.ndarray, np.ndarray]:
  """Times in s and the values of the channels [F, columns]."""
  lines = text.strip().split("\n", 2)
  keys = ("Frames:", "Frame Time:")
  values = []
  for key, line in zip(keys, lines):
    if not line.strip().lower().startswith(key.lower()):
      raise ValueError(f"MOTION: {line.strip()[:40]!r} where {key!r} is expected")
    values.append(to_floats([line.strip()[len(key) :].strip()], key)[0])
  if len(lines) < 3:
    raise ValueError("MOTION: there are no frames")
  frames, step = values
  numbers = to_floats(lines[2].split(), "MOTION")
  if numbers.size != frames * columns or not columns:
    raise ValueError(
      f"MOTION: {frames:g} frames of {columns} channels are promised, but there are "
      f"{numbers.size} values: damaged or cut off"
    )
  if not 0 < step < np.inf:
    raise ValueError(f"MOTION: a frame time of {step:g} s")
  return np.arange(int(frames)) * step, numbers.reshape(int(frames), columns)
