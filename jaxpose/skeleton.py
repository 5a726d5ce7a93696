"""Joint names, parents, left/right pairs and the root of the skeletons that the data sets use."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """A set of named joints.

  Attributes:
    name: how configs and data sets call it.
    joints: joint names, in the order of the J axis.
    parents: index of each joint's parent; a joint without one names itself.
    pairs: (left, right) indices of the joints that a mirror exchanges.
    root: the joints whose mean is the origin of root-centred poses: one pelvis joint, or both hips.

  Raises:
    ValueError: the fields do not belong together.
  """

  name: str
  joints: tuple[str, ...]
  parents: tuple[int, ...]
  pairs: tuple[tuple[int, int], ...]
  root: tuple[int, ...]

  def __post_init__(self) -> None:
    count = len(self.joints)
    if len(set(self.joints)) != count:
      raise ValueError(f"skeleton {self.name}: a joint name occurs twice in {self.joints}")
    if len(self.parents) != count or not all(0 <= p < count for p in self.parents):
      raise ValueError(f"skeleton {self.name}: parents must name one of {count} joints each")
    if not self.root or not all(0 <= r < count for r in self.root):
      raise ValueError(f"skeleton {self.name}: root {self.root} names no joint of 0..{count - 1}")

  @property
  def num_joints(self) -> int:
    return len(self.joints)

  @property
  def flip_permutation(self) -> np.ndarray:
    """Joint order after a mirror: `pose[..., flip_permutation, :]` swaps left and right."""
    order = np.arange(self.num_joints)
    for left, right in self.pairs:
      order[left], order[right] = right, left
    return order

  @property
  def bones(self) -> tuple[tuple[int, int], ...]:
    """(child, parent) of every bone."""
    return tuple((j, p) for j, p in enumerate(self.parents) if j != p)

  def to_dict(self) -> dict[str, Any]:
    """Plain lists, for JSON."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> "Skeleton":
    """The inverse of `to_dict`."""
    return cls(
      name=values["name"],
      joints=tuple(values["joints"]),
      parents=tuple(values["parents"]),
      pairs=tuple((left, right) for left, right in values["pairs"]),
      root=tuple(values["root"]),
    )


def _mirror_pairs(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
  """(left, right) index pairs of joints named alike but for their side."""
  index = {name.lower(): i for i, name in enumerate(joints)}
  pairs = []
  for i, name in enumerate(joints):
    for left, right in _other_side(name.lower()):
      if left and right in index:
        pairs.append((i, index[right]))
        break
  return tuple(pairs)


def _other_side(name: str) -> list[tuple[bool, str]]:
  """Candidates for the mirrored name of a left joint: `left_hip`, `LHip`, `hip_l`, `L.Hip`."""
  found = []
  if "left" in name:
    found.append((True, name.replace("left", "right")))
  if name.startswith("l"):
    found.append((True, "r" + name[1:]))
  if name.endswith(("_l", ".l", "-l")):
    found.append((True, name[:-1] + "r"))
  return found


def _build(name: str, parent_of: dict[str, str | None], root: tuple[str, ...]) -> Skeleton:
  joints = tuple(parent_of)
  index = {joint: i for i, joint in enumerate(joints)}
  parents = tuple(
    i if parent is None else index[parent] for i, parent in enumerate(parent_of.values())
  )
  return Skeleton(name, joints, parents, _mirror_pairs(joints), tuple(index[r] for r in root))


H36M17 = _build(
  "h36m17",
  {
    "pelvis": None,
    "right_hip": "pelvis",
    "right_knee": "right_hip",
    "right_ankle": "right_knee",
    "left_hip": "pelvis",
    "left_knee": "left_hip",
    "left_ankle": "left_knee",
    "spine": "pelvis",
    "neck": "spine",
    "nose": "neck",
    "head_top": "nose",
    "left_shoulder": "neck",
    "left_elbow": "left_shoulder",
    "left_wrist": "left_elbow",
    "right_shoulder": "neck",
    "right_elbow": "right_shoulder",
    "right_wrist": "right_elbow",
  },
  ("pelvis",),
)

_LIMBS13: dict[str, str | None] = {
  "head": None,
  "left_shoulder": "head",
  "right_shoulder": "head",
  "left_elbow": "left_shoulder",
  "right_elbow": "right_shoulder",
  "left_wrist": "left_elbow",
  "right_wrist": "right_elbow",
  "left_hip": "left_shoulder",
  "right_hip": "right_shoulder",
  "left_knee": "left_hip",
  "right_knee": "right_hip",
  "left_ankle": "left_knee",
  "right_ankle": "right_knee",
}
# P2 §S.1.1: 13 joints on MPI-INF-3DHP and diving; neither has a pelvis, so the root is mid-hip.
MPI13 = _build("mpi13", _LIMBS13, ("left_hip", "right_hip"))
DIVING13 = _build("diving13", _LIMBS13, ("left_hip", "right_hip"))

SMPL24 = _build(
  "smpl24",
  {
    "pelvis": None,
    "left_hip": "pelvis",
    "right_hip": "pelvis",
    "spine1": "pelvis",
    "left_knee": "left_hip",
    "right_knee": "right_hip",
    "spine2": "spine1",
    "left_ankle": "left_knee",
    "right_ankle": "right_knee",
    "spine3": "spine2",
    "left_foot": "left_ankle",
    "right_foot": "right_ankle",
    "neck": "spine3",
    "left_collar": "spine3",
    "right_collar": "spine3",
    "head": "neck",
    "left_shoulder": "left_collar",
    "right_shoulder": "right_collar",
    "left_elbow": "left_shoulder",
    "right_elbow": "right_shoulder",
    "left_wrist": "left_elbow",
    "right_wrist": "right_elbow",
    "left_hand": "left_wrist",
    "right_hand": "right_wrist",
  },
  ("pelvis",),
)

SKELETONS = {s.name: s for s in (H36M17, MPI13, DIVING13, SMPL24)}


# Parents by the usual names of marker-less trackers, nearest candidate first.
_PARENT_CANDIDATES: dict[str, tuple[str, ...]] = {
  "knee": ("hip",),
  "ankle": ("knee",),
  "heel": ("ankle",),
  "bigtoe": ("ankle",),
  "smalltoe": ("ankle",),
  "footindex": ("ankle",),
  "toe": ("ankle",),
  "foot": ("ankle",),
  "elbow": ("shoulder",),
  "wrist": ("elbow",),
  "hand": ("wrist",),
  "thumb": ("wrist",),
  "index": ("wrist",),
  "pinky": ("wrist",),
  "hip": ("pelvis", "midhip", "hips", "hip", "shoulder"),
  "shoulder": ("neck", "nose", "head"),
  "eye": ("nose", "head"),
  "ear": ("eye", "nose"),
  "head": ("neck", "nose"),
  "nose": ("head", "neck"),
  "neck": ("spine", "pelvis", "midhip", "hips", "hip"),
}


def _plain(name: str) -> str:
  return name.lower().replace("_", "").replace(".", "").replace("-", "").replace(" ", "")


def _side_and_part(name: str, others: Collection[str]) -> tuple[str, str]:
  """`LBigToe`, `left_big_toe` and `big_toe.L` are all ("l", "bigtoe").

  An L or R of a part that is not among the usual ones counts where `others`, the plain names of all
  joints, have the other side too.
  """
  plain = _plain(name)
  for side in ("left", "right"):
    if plain.startswith(side) or plain.endswith(side):
      return side[0], plain.removeprefix(side).removesuffix(side)
  for side, other in (("l", "r"), ("r", "l")):
    for begins, part, mirrored in (
      (plain.startswith(side), plain[1:], other + plain[1:]),
      (plain.endswith(side), plain[:-1], plain[:-1] + other),
    ):
      if begins and part and (part in _PARENT_CANDIDATES or mirrored in others):
        return side, part
  return "", plain


def skeleton_from_joint_names(name: str, joints: Sequence[str]) -> Skeleton:
  """Builds a skeleton for labels that come with joint names only (`.trc`, `.csv`, `.npz`).

  The root is the pelvis where there is one, else the mean of both hips. Joints whose parent cannot
  be told from their name hang on themselves: they are drawn as points.

  Raises:
    ValueError: there is neither a pelvis nor a pair of hips.
  """
  others = {_plain(joint) for joint in joints}
  keys = [_side_and_part(joint, others) for joint in joints]
  index = {key: i for i, key in enumerate(keys)}
  parents: list[int] = []
  for i, (side, part) in enumerate(keys):
    parent = i
    for candidate in _PARENT_CANDIDATES.get(part, ()):
      for key in ((side, candidate), ("", candidate)):
        if key in index and index[key] != i:
          parent = index[key]
          break
      if parent != i:
        break
    if parent != i and parent < len(parents) and parents[parent] == i:
      parent = i  # nose and head may name each other
    parents.append(parent)
  for key in (("", "pelvis"), ("", "midhip"), ("", "hips"), ("", "hip")):
    if key in index:
      root: tuple[int, ...] = (index[key],)
      break
  else:
    if ("l", "hip") not in index or ("r", "hip") not in index:
      raise ValueError(
        f"skeleton {name}: found neither a pelvis nor a left and a right hip among {list(joints)}"
      )
    root = (index["l", "hip"], index["r", "hip"])
  pairs = tuple(
    (i, index["r", part])
    for (side, part), i in index.items()
    if side == "l" and ("r", part) in index
  )
  return Skeleton(name, tuple(joints), tuple(parents), pairs, root)
