"""Reads Acclaim files: bones in `.asf`, their angles over time in `.amc`."""

import dataclasses
from pathlib import Path

import numpy as np

from datasets.mocap_people.motion import Chain, Motion, pose_tree, read_text, to_floats, turn_about
from datasets.synthetic_people.bodies import turn

_FPS = 120.0  # of the CMU database; the format does not say
_INCH_MM = 25.4
_DEGREES = {"deg": 1.0, "rad": 180.0 / np.pi}


@dataclasses.dataclass
class _Bone:
  """A bone: its axes, the degrees of freedom in the order of their values, its vector.

  The vector leads from the bone's start to its end, in units of the file and in axes of the world.
  """

  axes: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3))
  freedoms: tuple[str, ...] = ()
  vector: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))


@dataclasses.dataclass
class _Body:
  """What an `.asf` says."""

  bones: dict[str, _Bone]  # the root's freedoms are its `order`, its vector is its `position`
  parents: dict[str, str]
  unit_mm: float
  degrees: float  # in a unit of angle


def read_acclaim(path: Path, skeleton: Path) -> Motion:
  """Reads a motion (`.amc`) of a body (`.asf`).

  A bone's rotation is C M C⁻¹ in its parent, C from its `axis`, M from its angles; of both the
  first angle is applied first. A joint stands at the end of the bone of its name, as CMU's bones
  are called, `root` at the root. One unit is 1/length inches. Frames are 1/120 s apart, as in the
  CMU database: the format does not say.

  Raises:
    ValueError: one of the files is none of these, or damaged; says where.
  """
  try:
    body = _parse_body(read_text(skeleton))
  except ValueError as error:
    raise ValueError(f"{skeleton.name}: {error}") from error
  values = _parse_frames(read_text(path), body)
  frames = len(values["root"])
  # A bone's place in its parent is the parent's vector; its own turns it, so ends come as children.
  chains: list[Chain] = []
  number: dict[str, int] = {}
  local, moved = {}, {}
  ends: dict[str, int] = {}
  for name, bone in _in_order(body):
    number[name] = len(chains)
    before = body.parents.get(name)
    parent = ends[before] if before else -1
    chains.append(Chain(f"start of {name}", parent, np.zeros(3)))
    turns = [i for i, f in enumerate(bone.freedoms) if f.startswith("r")]
    if turns:
      axes = tuple("xyz".index(bone.freedoms[i][1]) for i in reversed(turns))
      inner = turn_about(axes, values[name][:, turns[::-1]])
      local[number[name]] = turn(bone.axes, inner, np.swapaxes(bone.axes, 0, 1))
    if name == "root":
      moved[number[name]] = bone.vector + _translation(bone, values[name])
      ends[name] = number[name]
      chains[-1] = Chain(name, -1, np.zeros(3))
      continue
    ends[name] = len(chains)
    chains.append(Chain(name, number[name], bone.vector))
  positions, rotations = pose_tree(chains, local, moved, frames)
  kept = sorted(ends.values())
  joints = tuple(chains[i].name for i in kept)
  time_s = np.arange(frames) / _FPS
  return Motion(joints, positions[:, kept], rotations[:, kept], time_s, body.unit_mm)


def _translation(root: _Bone, values: np.ndarray) -> np.ndarray:
  out = np.zeros((len(values), 3))
  for column, freedom in enumerate(root.freedoms):
    if freedom.startswith("t"):
      out[:, "xyz".index(freedom[1])] = values[:, column]
  return out


def _in_order(body: _Body) -> list[tuple[str, _Bone]]:
  """The root and all bones that hang on it, parents first."""
  names = ["root"]
  for name in names:
    names += [child for child, parent in body.parents.items() if parent == name]
  return [(name, body.bones[name]) for name in names]


def _parse_body(text: str) -> _Body:
  sections: dict[str, list[list[str]]] = {}
  lines: list[list[str]] = []
  for line in text.splitlines():
    words = line.partition("#")[0].split()
    if words and words[0].startswith(":"):
      lines = sections.setdefault(words[0][1:].lower(), [])
    elif words:
      lines.append(words)
  for needed in ("units", "root", "bonedata", "hierarchy"):
    if needed not in sections:
      raise ValueError(f"no section :{needed}: no ASF file, or cut off")
  units = {words[0].lower(): words[-1] for words in sections["units"]}
  angle = units.get("angle", "deg").lower()
  length = to_floats([units.get("length", "1")], "length")[0]
  if angle not in _DEGREES or not length > 0:
    raise ValueError(f":units: angle {angle!r}, length {length:g}")
  degrees = _DEGREES[angle]
  bones = {"root": _parse_root(sections["root"], degrees)}
  block: dict[str, list[str]] = {}
  for words in sections["bonedata"]:
    if words[0] == "begin":
      block = {}
    elif words[0] == "end":
      bones[block.get("name", ["?"])[0]] = _parse_bone(block, degrees)
    else:
      block[words[0].lower()] = words[1:]
  parents = _parse_parents(sections["hierarchy"], bones)
  return _Body(bones, parents, _INCH_MM / length, degrees)


def _parse_parents(lines: list[list[str]], bones: dict[str, _Bone]) -> dict[str, str]:
  parents = {}
  for words in lines:
    if words[0] in ("begin", "end"):
      continue
    for name in words:
      if name not in bones:
        raise ValueError(f":hierarchy names {name!r}, which is no bone")
    for child in words[1:]:
      if child in parents or child == "root":
        raise ValueError(f":hierarchy: {child!r} has two parents")
      parents[child] = words[0]
  return parents


def _parse_root(lines: list[list[str]], degrees: float) -> _Bone:
  block = {words[0].lower(): words[1:] for words in lines}
  order = tuple(word.lower() for word in block.get("order", ()))
  if sorted(order) != ["rx", "ry", "rz", "tx", "ty", "tz"]:
    raise ValueError(f":root: order {' '.join(order)!r} must be TX TY TZ RX RY RZ in some order")
  turned = [*block.get("orientation", ["0", "0", "0"]), *block.get("axis", ["XYZ"])]
  position = to_floats(block.get("position", ["0", "0", "0"]), ":root position")
  if len(position) != 3:
    raise ValueError(":root: position must be three numbers")
  return _Bone(_parse_axes(turned, degrees, "root"), order, position)


def _parse_bone(block: dict[str, list[str]], degrees: float) -> _Bone:
  name = " ".join(block.get("name", ["without a name"]))
  for needed in ("direction", "length", "axis"):
    if needed not in block:
      raise ValueError(f"bone {name} has no {needed}")
  freedoms = tuple(word.lower() for word in block.get("dof", ()))
  if unknown := set(freedoms) - {"rx", "ry", "rz"}:
    raise ValueError(f"bone {name}: cannot read the degree of freedom {min(unknown)!r}")
  direction = to_floats(block["direction"], f"bone {name}, direction")
  length = to_floats(block["length"], f"bone {name}, length")
  if len(direction) != 3 or len(length) != 1:
    raise ValueError(f"bone {name}: direction must be three numbers and length one")
  return _Bone(_parse_axes(block["axis"], degrees, name), freedoms, direction * length)


def _parse_axes(words: list[str], degrees: float, name: str) -> np.ndarray:
  """C of `a b c ORDER`: the first letter's rotation is applied first."""
  order = words[-1].upper() if words else ""
  if sorted(order) != ["X", "Y", "Z"] or len(words) != 4:
    raise ValueError(f"bone {name}: axis {' '.join(words)!r} must be three angles and their order")
  angles = degrees * to_floats(words[:3], f"bone {name}, axis")
  axes = tuple("XYZ".index(letter) for letter in order)
  return turn_about(axes[::-1], angles[None, ::-1])[0]


def _parse_frames(text: str, body: _Body) -> dict[str, np.ndarray]:
  """The values of each bone that moves, [F, n]: angles in degrees, lengths in units."""
  degrees = body.degrees
  rows: dict[str, list[list[str]]] = {n: [] for n, b in body.bones.items() if b.freedoms}
  frames = 0
  for line in text.splitlines():
    words = line.partition("#")[0].split()
    if not words:
      continue
    if words[0].startswith(":"):
      degrees = {":DEGREES": 1.0, ":RADIANS": _DEGREES["rad"]}.get(words[0].upper(), degrees)
    elif len(words) == 1 and words[0].isdigit():
      _check_frame(rows, frames)
      frames += 1
    elif words[0] not in rows or len(words) - 1 != len(body.bones[words[0]].freedoms):
      raise ValueError(
        f"frame {frames}: {' '.join(words)[:60]!r} is not a bone and its values as the .asf says"
      )
    else:
      rows[words[0]].append(words[1:])
  if not frames:
    raise ValueError("there are no frames: no AMC file, or cut off")
  _check_frame(rows, frames)
  values = {}
  for name, lines in rows.items():
    flat = to_floats([word for words in lines for word in words], f"bone {name}")
    scale = [degrees if f.startswith("r") else 1.0 for f in body.bones[name].freedoms]
    values[name] = flat.reshape(frames, -1) * scale
  return values


def _check_frame(rows: dict[str, list[list[str]]], frames: int) -> None:
  """Raises ValueError unless every bone has one row for each frame so far."""
  for name, lines in rows.items():
    if len(lines) != frames:
      raise ValueError(f"frame {frames}: bone {name!r} is missing or there twice")
