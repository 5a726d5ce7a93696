"""What a motion capture file holds, whatever its format: joints over time, y up."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.rendering import rotate
from datasets.synthetic_people.bodies import rotation, turn

MOST_BYTES = 2**30  # of a motion file: larger ones are not


@dataclasses.dataclass(frozen=True)
class Motion:
  """J joints in F frames of a file, y up, right-handed.

  Attributes:
    joints: names as in the file; `NAME_end` for the end of a chain that has no name of its own.
    positions: in units of the file.
    rotations: global orientation of each joint; columns are its axes.
    time_s: of the frames, increasing.
    unit_mm: millimetres in a unit of the file; None where the format does not say.
  """

  joints: tuple[str, ...]
  positions: Float[np.ndarray, "F J 3"]
  rotations: Float[np.ndarray, "F J 3 3"]
  time_s: Float[np.ndarray, " F"]
  unit_mm: float | None

  def __post_init__(self) -> None:
    if len(self.time_s) < 2:
      raise ValueError(f"a motion has two frames at least, not {len(self.time_s)}")
    if not all(np.isfinite(a).all() for a in (self.positions, self.rotations, self.time_s)):
      raise ValueError("the motion holds values that are no finite numbers")
    if np.diff(self.time_s).min() <= 0:
      raise ValueError("the time from one frame to the next must be positive")

  @property
  def fps(self) -> float:
    """Frames a second: 1 over the median time between two frames."""
    return float(1.0 / np.median(np.diff(self.time_s)))


@dataclasses.dataclass(frozen=True)
class Chain:
  """One joint of a tree: its name, the number of its parent (-1: none), its place in it."""

  name: str
  parent: int
  offset: Float[np.ndarray, "3"]


def pose_tree(
  chains: list[Chain],
  local: dict[int, Float[np.ndarray, "F 3 3"]],
  moved: dict[int, Float[np.ndarray, "F 3"]],
  frames: int,
) -> tuple[Float[np.ndarray, "F J 3"], Float[np.ndarray, "F J 3 3"]]:
  """Forward kinematics: x_j = x_p + R_p o_j and R_j = R_p L_j, with p the parent of j.

  Args:
    chains: the joints, parents first.
    local: L_j of the joints that turn.
    moved: o_j of the joints whose place in the parent is given per frame.
    frames: F.

  Returns:
    x and R.
  """
  positions = np.zeros((frames, len(chains), 3))
  rotations = np.broadcast_to(np.eye(3), (frames, len(chains), 3, 3)).copy()
  for number, chain in enumerate(chains):
    offset = moved.get(number, np.broadcast_to(chain.offset, (frames, 3)))
    turned = local.get(number)
    if chain.parent < 0:
      positions[:, number] = offset
    else:
      parent = rotations[:, chain.parent]
      positions[:, number] = positions[:, chain.parent] + rotate(parent, offset)
      rotations[:, number] = parent
    if turned is not None:
      rotations[:, number] = turn(rotations[:, number].copy(), turned)
  return positions, rotations


def turn_about(
  axes: tuple[int, ...], angles_deg: Float[np.ndarray, "F n"]
) -> Float[np.ndarray, "F 3 3"]:
  """R_1 R_2 … R_n of right-handed rotations about these axes (0, 1, 2), leftmost outermost."""
  product = np.broadcast_to(np.eye(3), (len(angles_deg), 3, 3))
  for column, axis in enumerate(axes):
    product = turn(product, rotation(axis, angles_deg[:, column]))
  return product


def to_floats(words: list[str], what: str) -> Float[np.ndarray, " n"]:
  """Words as numbers.

  Raises:
    ValueError: one is none; names it.
  """
  try:
    return np.array(words, np.float64)
  except ValueError:
    bad = next(word for word in words if not _is_float(word))
    raise ValueError(f"{what}: {bad[:40]!r} is no number") from None


def _is_float(word: str) -> bool:
  try:
    float(word)
  except ValueError:
    return False
  return True


def read_text(path: Path) -> str:
  """The text of a file, whatever its line ends.

  Raises:
    ValueError: it is larger than motion capture is.
  """
  if path.stat().st_size > MOST_BYTES:
    raise ValueError(f"larger than {MOST_BYTES >> 20} MiB: no motion capture")
  return path.read_text(encoding="utf-8", errors="replace")
