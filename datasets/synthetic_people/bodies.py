"""People: proportions, clothes, forward kinematics and the capsules that they are drawn with.

Body frames are forward, left, up (right-handed); the world is x, y on the floor and z up, in mm.
Left limbs are light and ringed, right limbs plain and dark, on every person: what a viewer needs to
tell them apart, since a silhouette does not show it.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.rendering import Materials, rotate

# Angles of a pose in degrees. Positive: pitch leans forward, roll to the right, yaw to the left;
# limbs flex forward (knees backward), abduct outward; twist turns elbow or knee outward.
TRUNK_ANGLES = (
  "pelvis_pitch",
  "pelvis_roll",
  "pelvis_yaw",
  "spine_pitch",
  "spine_roll",
  "spine_yaw",
  "head_pitch",
  "head_yaw",
)
LIMB_ANGLES = (
  "shoulder_flex",
  "shoulder_abduct",
  "shoulder_twist",
  "elbow",
  "hip_flex",
  "hip_abduct",
  "hip_twist",
  "knee",
  "ankle",
)
ANGLES = TRUNK_ANGLES + tuple(f"{side}_{a}" for side in ("left", "right") for a in LIMB_ANGLES)

# Least and greatest angle of a healthy adult, degrees.
LIMITS_DEG = {
  "pelvis_pitch": (-40, 95),
  "pelvis_roll": (-40, 40),
  "pelvis_yaw": (-60, 60),
  "spine_pitch": (-30, 80),
  "spine_roll": (-35, 35),
  "spine_yaw": (-50, 50),
  "head_pitch": (-45, 50),
  "head_yaw": (-70, 70),
  "shoulder_flex": (-55, 180),
  "shoulder_abduct": (-20, 175),
  "shoulder_twist": (-90, 90),
  "elbow": (0, 145),
  "hip_flex": (-25, 125),
  "hip_abduct": (-20, 50),
  "hip_twist": (-40, 45),
  "knee": (0, 140),
  "ankle": (-45, 35),
}

# H36M-17's order, then the points that only the drawing needs.
POINTS = (
  "pelvis",
  "right_hip",
  "right_knee",
  "right_ankle",
  "left_hip",
  "left_knee",
  "left_ankle",
  "spine",
  "neck",
  "nose",
  "head_top",
  "left_shoulder",
  "left_elbow",
  "left_wrist",
  "right_shoulder",
  "right_elbow",
  "right_wrist",
  "left_heel",
  "left_toe",
  "right_heel",
  "right_toe",
  "left_hand",
  "right_hand",
)
POINT = {name: i for i, name in enumerate(POINTS)}
NUM_JOINTS = 17
SOLE_MM = 38.0  # of the foot's capsule: how far the floor lies under heel and toe

# Share of body mass of each segment, between two points (de Leva's rounded, limbs per side).
SEGMENT_MASS = (
  ("pelvis", "neck", 0.435),
  ("neck", "head_top", 0.069),
  ("shoulder", "elbow", 0.027),
  ("elbow", "wrist", 0.016),
  ("wrist", "hand", 0.006),
  ("hip", "knee", 0.142),
  ("knee", "ankle", 0.043),
  ("heel", "toe", 0.014),
)


Angles = dict[str, np.ndarray]  # a curve over the frames for each of ANGLES, degrees


@dataclasses.dataclass(frozen=True)
class Subject:
  """One person: segment lengths and thicknesses in mm, and colours in RGB 0..1."""

  name: str
  length: dict[str, float]
  girth: float
  long_hair: bool
  materials: Materials


@dataclasses.dataclass(frozen=True)
class Pose:
  """Where a person is in F frames.

  Attributes:
    points: world coordinates of POINTS, mm.
    pelvis_axes, chest_axes, head_axes: body frames; columns forward, left, up.
  """

  points: Float[np.ndarray, "F P 3"]
  pelvis_axes: Float[np.ndarray, "F 3 3"]
  chest_axes: Float[np.ndarray, "F 3 3"]
  head_axes: Float[np.ndarray, "F 3 3"]


def rotation(axis: int, angle_deg: Float[np.ndarray, " *n"]) -> Float[np.ndarray, "*n 3 3"]:
  """Right-handed rotation about axis 0, 1 or 2."""
  angle = np.deg2rad(angle_deg)
  c, s = np.cos(angle), np.sin(angle)
  out = np.zeros((*angle.shape, 3, 3))
  i, j = (axis + 1) % 3, (axis + 2) % 3
  out[..., axis, axis] = 1.0
  out[..., i, i], out[..., i, j] = c, -s
  out[..., j, i], out[..., j, j] = s, c
  return out


def turn(*parts: np.ndarray) -> np.ndarray:
  """Product of rotations, leftmost outermost."""
  product = parts[0]
  for part in parts[1:]:
    product = np.einsum("...ij,...jk->...ik", product, part)
  return product


def clip_to_limits(angles: Angles) -> Angles:
  """Angles within `LIMITS_DEG`."""
  return {
    name: np.clip(value, *LIMITS_DEG[name.removeprefix("left_").removeprefix("right_")])
    for name, value in angles.items()
  }


def pose_body(
  subject: Subject,
  angles: Angles,
  root_axes: Float[np.ndarray, "F 3 3"],
) -> Pose:
  """Forward kinematics with the pelvis at the origin and its reference frame `root_axes`.

  Args:
    subject: whose segment lengths.
    angles: one curve for each of ANGLES, degrees.
    root_axes: heading (and somersault) of the whole body; columns forward, left, up.
  """
  a, size = angles, subject.length
  pelvis = turn(
    root_axes,
    rotation(2, a["pelvis_yaw"]),
    rotation(1, a["pelvis_pitch"]),
    rotation(0, a["pelvis_roll"]),
  )
  half = turn(
    rotation(1, a["spine_pitch"] / 2),
    rotation(0, a["spine_roll"] / 2),
    rotation(2, a["spine_yaw"] / 2),
  )
  waist = turn(pelvis, half)
  chest = turn(waist, half)
  head = turn(chest, rotation(2, a["head_yaw"]), rotation(1, a["head_pitch"]))
  pose = Pose(np.zeros((len(pelvis), len(POINTS), 3)), pelvis, chest, head)
  _put(pose, "spine", "pelvis", waist, (0, 0, size["abdomen"]))
  _put(pose, "neck", "spine", chest, (0, 0, size["thorax"]))
  _put(pose, "nose", "neck", head, (size["nose_depth"], 0, size["nose_height"]))
  _put(pose, "head_top", "neck", head, (0, 0, size["head"]))
  for side, sign in (("left", 1.0), ("right", -1.0)):
    _put_arm(pose, size, a, side, sign)
    _put_leg(pose, size, a, side, sign)
  return pose


def _put(pose: Pose, name: str, parent: str, axes: np.ndarray, offset: tuple) -> None:
  """Places a point at an offset (forward, left, up) in mm from another one, in place."""
  shift = rotate(axes, np.array(offset, np.float64))
  pose.points[:, POINT[name]] = pose.points[:, POINT[parent]] + shift


def _put_arm(pose: Pose, size: dict[str, float], a: Angles, side: str, sign: float) -> None:
  chest = pose.chest_axes
  upper = turn(
    chest,
    rotation(0, sign * a[f"{side}_shoulder_abduct"]),
    rotation(1, -a[f"{side}_shoulder_flex"]),
    rotation(2, sign * a[f"{side}_shoulder_twist"]),
  )
  fore = turn(upper, rotation(1, -a[f"{side}_elbow"]))
  shoulder = (0, sign * size["shoulder_half"], -size["shoulder_drop"])
  _put(pose, f"{side}_shoulder", "neck", chest, shoulder)
  _put(pose, f"{side}_elbow", f"{side}_shoulder", upper, (0, 0, -size["upper_arm"]))
  _put(pose, f"{side}_wrist", f"{side}_elbow", fore, (0, 0, -size["forearm"]))
  _put(pose, f"{side}_hand", f"{side}_wrist", fore, (0, 0, -size["hand"]))


def _put_leg(pose: Pose, size: dict[str, float], a: Angles, side: str, sign: float) -> None:
  pelvis = pose.pelvis_axes
  thigh = turn(
    pelvis,
    rotation(0, sign * a[f"{side}_hip_abduct"]),
    rotation(1, -a[f"{side}_hip_flex"]),
    rotation(2, sign * a[f"{side}_hip_twist"]),
  )
  shin = turn(thigh, rotation(1, a[f"{side}_knee"]))
  foot = turn(shin, rotation(1, -a[f"{side}_ankle"]))
  _put(pose, f"{side}_hip", "pelvis", pelvis, (0, sign * size["hip_half"], 0))
  _put(pose, f"{side}_knee", f"{side}_hip", thigh, (0, 0, -size["thigh"]))
  _put(pose, f"{side}_ankle", f"{side}_knee", shin, (0, 0, -size["shin"]))
  _put(pose, f"{side}_heel", f"{side}_ankle", foot, (-size["heel"], 0, -size["sole"]))
  _put(pose, f"{side}_toe", f"{side}_ankle", foot, (size["foot"], 0, -size["sole"]))


def centre_of_mass(points: Float[np.ndarray, "F P 3"]) -> Float[np.ndarray, "F 3"]:
  """Σ m (start + end) / 2 over the segments of SEGMENT_MASS, whose masses sum to 1: mm."""
  total = np.zeros((len(points), 3))
  for start, end, mass in SEGMENT_MASS:
    sides = ("",) if start in POINT else ("left_", "right_")
    for side in sides:
      total += mass * 0.5 * (points[:, POINT[side + start]] + points[:, POINT[side + end]])
  return total


def move(pose: Pose, offset: Float[np.ndarray, "F 3"]) -> Pose:
  """The pose shifted by an offset per frame, mm."""
  return dataclasses.replace(pose, points=pose.points + offset[:, None, :])


def turn_around(pose: Pose, angle_deg: float) -> Pose:
  """The whole take turned about the vertical."""
  turned = rotation(2, np.array(angle_deg))
  axes = (turn(turned, a) for a in (pose.pelvis_axes, pose.chest_axes, pose.head_axes))
  return Pose(np.einsum("ij,fpj->fpi", turned, pose.points), *axes)


def select(pose: Pose, frames: slice | np.ndarray) -> Pose:
  """Some of the frames."""
  return Pose(*(getattr(pose, f.name)[frames] for f in dataclasses.fields(pose)))


def quantise(pose: Pose) -> Pose:
  """Points to µm and axes to 1e-6, so that the last bits of a machine's sine do not show."""
  axes = (np.round(a, 6) for a in (pose.pelvis_axes, pose.chest_axes, pose.head_axes))
  return Pose(np.round(pose.points, 3), *axes)
