"""Who the people are and what they wear; from joints to capsules."""

import dataclasses

import numpy as np

from datasets.rendering import HEAD, PLAIN, TORSO, Capsules, Materials, rotate
from datasets.synthetic_people.bodies import POINT, Pose, Subject

NEVER = 2.0  # a split that no point of a capsule lies beyond


@dataclasses.dataclass(frozen=True)
class Part:
  """A capsule of the body: from one point to another, with offsets in a body frame, in mm.

  Attributes:
    name: unique; the limbs' begins with their side.
    start, end: names of POINTS.
    axes: which frame offsets and the front of the clothes refer to: pelvis, chest or head.
    radius_mm: half the thickness at start and end of a person of girth 1.
    start_offset, end_offset: forward, left, up.
    kind: what is painted on it.
  """

  name: str
  start: str
  end: str
  axes: str
  radius_mm: tuple[float, float]
  start_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
  end_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
  kind: int = PLAIN


def _limbs(side: str) -> tuple[Part, ...]:
  return (
    Part(f"{side}_upper_arm", f"{side}_shoulder", f"{side}_elbow", "chest", (52, 43)),
    Part(f"{side}_forearm", f"{side}_elbow", f"{side}_wrist", "chest", (42, 32)),
    Part(f"{side}_hand", f"{side}_wrist", f"{side}_hand", "chest", (38, 44)),
    Part(f"{side}_thigh", f"{side}_hip", f"{side}_knee", "pelvis", (84, 60)),
    Part(f"{side}_shin", f"{side}_knee", f"{side}_ankle", "pelvis", (58, 42)),
    Part(f"{side}_foot", f"{side}_heel", f"{side}_toe", "pelvis", (38, 34)),
  )


def _halves(
  name: str,
  start: str,
  end: str,
  axes: str,
  radius: tuple[float, float],
  low: float,
  high: float,
) -> tuple[Part, ...]:
  """Two capsules side by side: a trunk is wider than deep."""
  return tuple(
    Part(f"{name}_{side}", start, end, axes, radius, (0, s * low, 0), (0, s * high, 0), TORSO)
    for side, s in (("left", 1.0), ("right", -1.0))
  )


PARTS = (
  Part("hips", "left_hip", "right_hip", "pelvis", (92, 92), (0, -20, 10), (0, 20, 10)),
  *_halves("belly", "pelvis", "spine", "pelvis", (92, 90), 55, 50),
  *_halves("chest", "spine", "neck", "chest", (92, 88), 55, 82),
  Part("shoulders", "left_shoulder", "right_shoulder", "chest", (56, 56)),
  Part("neck", "neck", "nose", "chest", (52, 50), (0, 0, -20), (-45, 0, 0)),
  Part("head", "neck", "head_top", "head", (82, 98), (12, 0, 105), (8, 0, -98), HEAD),
  Part("nose", "nose", "nose", "head", (26, 16), (14, 0, 8), (62, 0, 0)),
  Part("hair", "head_top", "neck", "head", (70, 48), (-62, 0, -90), (-92, 0, 40)),
  *_limbs("left"),
  *_limbs("right"),
)

_SKIN = ((0.95, 0.80, 0.69), (0.87, 0.67, 0.53), (0.76, 0.56, 0.42), (0.60, 0.42, 0.30))
_HAIR = ((0.10, 0.08, 0.07), (0.24, 0.15, 0.09), (0.38, 0.22, 0.10), (0.16, 0.16, 0.19))


def _colour(rng: np.random.Generator, saturation: tuple, value: tuple) -> np.ndarray:
  """A colour of any hue, with saturation and value within ranges: RGB 0..1."""
  hue = rng.uniform(0, 6)
  s, v = rng.uniform(*saturation), rng.uniform(*value)
  wave = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
  return v * (1 - s + s * np.clip(wave, 0, 1))


# Lengths of a typical adult in parts of the height, and which factor of a person's own varies each.
PROPORTIONS = {
  "thigh": (0.245, "legs"),
  "shin": (0.246, "legs"),
  "sole": (0.024, ""),
  "heel": (0.015, ""),
  "foot": (0.098, ""),
  "abdomen": (0.150, ""),
  "thorax": (0.155, ""),
  "head": (0.155, ""),
  "nose_height": (0.068, ""),
  "nose_depth": (0.040, ""),
  "shoulder_half": (0.104, "wide"),
  "shoulder_drop": (0.018, ""),
  "hip_half": (0.058, "wide"),
  "upper_arm": (0.172, "arms"),
  "forearm": (0.150, "arms"),
  "hand": (0.050, "arms"),
}
_FACTORS = {"legs": (0.96, 1.04), "arms": (0.96, 1.04), "wide": (0.93, 1.07)}


def sample_subject(rng: np.random.Generator, name: str, height_mm: float | None = None) -> Subject:
  """A person with proportions, build, clothes, skin and hair of their own.

  Args:
    rng: source of all of it.
    name: of the person.
    height_mm: None for any from 1.55 to 1.92 m.
  """
  height = rng.uniform(1550, 1920)
  height = height if height_mm is None else height_mm
  own = {factor: rng.uniform(*limits) for factor, limits in _FACTORS.items()}
  length = {
    part: share * height * own.get(factor, 1.0) for part, (share, factor) in PROPORTIONS.items()
  }
  girth = rng.uniform(0.88, 1.16) * height / 1750
  long_hair = bool(rng.uniform() < 0.5)
  return Subject(name, length, girth, long_hair, _sample_clothes(rng))


@dataclasses.dataclass(frozen=True)
class _Look:
  """The material of one part: fields as in `Materials`; None for the colour of the front."""

  front: np.ndarray
  back: np.ndarray | None = None
  end: np.ndarray | None = None
  split: float = NEVER
  stripe: np.ndarray | None = None
  stripe_rate: float = 0.0
  emblem: np.ndarray | None = None


def _sample_clothes(rng: np.random.Generator) -> Materials:
  """Colours, sleeves and trousers; what tells front from back and left from right is a rule.

  Front: skin for a face, a panel on the chest. Back: hair, the darker half of the shirt. Left: the
  cloth made lighter, with dark rings, white glove and shoe. Right: it made darker, plain, black
  ones. How light the cloth itself is differs as much between people as it can: otherwise a decoder
  that knows the pose knows nearly every pixel, and need not be told whom it draws.
  """
  skin = np.array(_SKIN[rng.integers(len(_SKIN))]) * rng.uniform(0.95, 1.05)
  hair = np.array(_HAIR[rng.integers(len(_HAIR))])
  shirt, trousers = _colour(rng, (0.1, 0.95), (0.2, 0.95)), _colour(rng, (0.1, 0.9), (0.15, 0.9))
  tint = 0.15 * _colour(rng, (0.3, 1.0), (1.0, 1.0))
  panel = tint + (0.85 if shirt.mean() < 0.55 else 0.0)
  sleeve = NEVER if rng.uniform() < 0.4 else rng.uniform(0.15, 0.6)
  shorts = bool(rng.uniform() < 0.5)
  body = _Look(shirt, back=0.55 * shirt, emblem=panel)
  looks = {
    "belly": body,
    "chest": body,
    "shoulders": _Look(shirt, back=0.55 * shirt),
    "hips": _Look(trousers, back=0.7 * trousers),
    "neck": _Look(skin),
    "head": _Look(hair, emblem=skin),
    "nose": _Look(0.82 * skin),
    "hair": _Look(hair),
  }
  for side in ("left", "right"):
    looks |= _limb_looks(side, skin, shirt, trousers, sleeve, shorts)
  return _tabulate(looks)


def _limb_looks(
  side: str,
  skin: np.ndarray,
  shirt: np.ndarray,
  trousers: np.ndarray,
  sleeve: float,
  shorts: bool,
) -> dict[str, _Look]:
  """Sleeves, trouser legs and shoes of one side."""
  if side == "left":
    arm, leg, shoe = 0.35 + 0.65 * shirt, 0.35 + 0.65 * trousers, np.full(3, 0.95)
    arm_ring, leg_ring, rings = 0.4 * shirt, 0.4 * trousers, 2.0
  else:
    arm, leg, shoe = 0.75 * shirt, 0.75 * trousers, np.array([0.10, 0.10, 0.12])
    arm_ring, leg_ring, rings = arm, leg, 0.0
  shin = _Look(leg, stripe=leg_ring, stripe_rate=rings)
  if shorts:
    shin = _Look(skin, end=0.9 * shoe + 0.05, split=0.5)
  looks = {
    "upper_arm": _Look(arm, stripe=arm_ring, stripe_rate=rings),
    "forearm": _Look(arm, end=skin, split=sleeve, stripe=arm_ring, stripe_rate=rings),
    "hand": _Look(shoe),
    "thigh": _Look(leg, stripe=leg_ring, stripe_rate=rings),
    "shin": shin,
    "foot": _Look(shoe),
  }
  return {f"{side}_{part}": look for part, look in looks.items()}


def _tabulate(looks: dict[str, _Look]) -> Materials:
  """One row per part of PARTS; both halves of the trunk share a look."""
  rows = [looks.get(part.name) or looks[part.name.split("_")[0]] for part in PARTS]

  def colours(field: str) -> np.ndarray:
    values = [getattr(row, field) for row in rows]
    filled = [row.front if value is None else value for row, value in zip(rows, values)]
    return np.clip(np.array(filled, np.float32), 0, 1)

  return Materials(
    kind=np.array([part.kind for part in PARTS]),
    front=colours("front"),
    back=colours("back"),
    end=colours("end"),
    split=np.array([row.split for row in rows], np.float32),
    stripe=colours("stripe"),
    stripe_rate=np.array([row.stripe_rate for row in rows], np.float32),
    emblem=colours("emblem"),
    offset_mm=np.array([part.start_offset[1] for part in PARTS], np.float32),
  )


def build_capsules(subject: Subject, pose: Pose) -> Capsules:
  """The capsules of PARTS for a person in F poses."""
  frames = {"pelvis": pose.pelvis_axes, "chest": pose.chest_axes, "head": pose.head_axes}
  ends: dict[str, list[np.ndarray]] = {"start": [], "end": []}
  for part in PARTS:
    for which, point, offset in (
      ("start", part.start, part.start_offset),
      ("end", part.end, part.end_offset),
    ):
      shift = rotate(frames[part.axes], np.array(offset, float) * subject.girth)
      ends[which].append(pose.points[:, POINT[point]] + shift)
  radius = np.array([part.radius_mm for part in PARTS], np.float64) * subject.girth
  if not subject.long_hair:
    hair = [part.name for part in PARTS].index("hair")
    radius[hair] *= 0.8
    ends["end"][hair] = ends["start"][hair]
  return Capsules(
    start=np.stack(ends["start"], axis=1),
    end=np.stack(ends["end"], axis=1),
    start_radius_mm=radius[:, 0],
    end_radius_mm=radius[:, 1],
    axes=np.stack([frames[part.axes] for part in PARTS], axis=1),
    materials=subject.materials,
  )
