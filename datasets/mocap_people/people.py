"""From a file's joints to the person that is drawn: H36M-17, ends of the limbs, body frames."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.mocap_people.motion import Motion
from datasets.rendering import rotate
from datasets.synthetic_people.appearance import PROPORTIONS
from datasets.synthetic_people.bodies import POINT, POINTS, Pose

SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True)
class Naming:
  """How a family of files calls the joints: candidates, the first that is there is taken.

  Attributes:
    name: of the family, for messages.
    sides: how names of the left and the right side begin.
    limbs: joint -> rest of its name after the side.
    trunk: joint -> names. `spine` names several: that nearest to the middle between pelvis and neck
      is taken. `head` is the joint that turns with the head, `head_top` the end above it.
  """

  name: str
  sides: tuple[str, str]
  limbs: dict[str, tuple[str, ...]]
  trunk: dict[str, tuple[str, ...]]

  def find(self, joints: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Numbers of the candidates that are there for each joint, and what is missing."""
    plain = {name.split(":")[-1].lower(): i for i, name in reversed(list(enumerate(joints)))}
    wanted = dict(self.trunk)
    for side, prefix in zip(SIDES, self.sides):
      wanted |= {
        f"{side}_{joint}": tuple(prefix + name for name in names)
        for joint, names in self.limbs.items()
      }
    found = {
      joint: tuple(plain[name.lower()] for name in names if name.lower() in plain)
      for joint, names in wanted.items()
    }
    missing = [" or ".join(wanted[joint]) for joint, numbers in found.items() if not numbers]
    return found, missing


NAMINGS = (
  Naming(
    "CMU as BVH",
    ("Left", "Right"),
    {
      "hip": ("Hip",),
      "knee": ("Knee",),
      "ankle": ("Ankle",),
      "toe": ("Toe_end", "Toe"),
      "shoulder": ("Shoulder",),
      "elbow": ("Elbow",),
      "wrist": ("Wrist",),
    },
    {
      "spine": ("Chest", "Chest2"),
      "neck": ("Neck",),
      "head": ("Head",),
      "head_top": ("Head_end", "Head"),
    },
  ),
  Naming(
    "LAFAN1, Mixamo",
    ("Left", "Right"),
    {
      "hip": ("UpLeg",),
      "knee": ("Leg",),
      "ankle": ("Foot",),
      "toe": ("ToeBase_end", "Toe_end", "ToeBase", "Toe"),
      "shoulder": ("Arm",),
      "elbow": ("ForeArm",),
      "wrist": ("Hand",),
    },
    {
      "spine": ("Spine", "Spine1", "Spine2"),
      "neck": ("Neck1", "Neck"),
      "head": ("Head",),
      "head_top": ("Head_end", "HeadTop_End", "Head"),
    },
  ),
  Naming(
    "CMU as ASF",
    ("l", "r"),
    {
      "hip": ("hipjoint",),
      "knee": ("femur",),
      "ankle": ("tibia",),
      "toe": ("toes", "foot"),
      "shoulder": ("clavicle",),
      "elbow": ("humerus",),
      "wrist": ("wrist",),
    },
    {
      "spine": ("lowerback", "upperback"),
      "neck": ("lowerneck",),
      "head": ("head",),
      "head_top": ("head",),
    },
  ),
  Naming(
    "DeepMimic",
    ("left_", "right_"),
    {
      "hip": ("hip",),
      "knee": ("knee",),
      "ankle": ("ankle",),
      "toe": ("ankle_end",),
      "shoulder": ("shoulder",),
      "elbow": ("elbow",),
      "wrist": ("wrist",),
    },
    {"spine": ("chest",), "neck": ("neck",), "head": ("neck",), "head_top": ("neck_end",)},
  ),
)

# Units that files without one are written in: mm, cm, inch, CMU's (1/0.45 inch), m.
_UNITS_MM = (1.0, 10.0, 25.4, 25.4 / 0.45, 1000.0)
_LEG_MM = 850.0  # thigh and shin of an adult
_LEG_RATIO = 1.6  # by how much a leg may differ from it
_LEGS = PROPORTIONS["thigh"][0] + PROPORTIONS["shin"][0]  # of the height


def build_person(motion: Motion, unit_mm: float = 0.0) -> tuple[Pose, float]:
  """The drawn person in each frame, z up, mm, and the height that belongs to the legs, mm.

  Hips, knees, ankles, shoulders, elbows, wrists, spine and neck are the file's joints. The pelvis
  is the middle of the hips, as in Human3.6M. The head goes from the neck towards the file's end of
  the head, and is as long as an adult's where that end lies below the crown; the nose, which no
  file has, lies before it where an adult's does, and the way that the head faces in its own axes is
  the way that the chest faces on average. Toes are the file's; heels and hands, which are drawn but
  no joints of the skeleton, follow feet and forearms.

  Args:
    motion: of one person.
    unit_mm: of files that don't say theirs; 0 for the one of mm, cm, inch, 1/0.45 inch (CMU) and
      m that makes the legs nearest to 850 mm.

  Raises:
    ValueError: joints are missing, or legs are of no human's length.
  """
  places, head_axes = _find_joints(motion)
  leg = _leg_length(places)
  unit = motion.unit_mm or unit_mm or min(_UNITS_MM, key=lambda u: abs(np.log(leg * u / _LEG_MM)))
  if not _LEG_MM / _LEG_RATIO < leg * unit < _LEG_MM * _LEG_RATIO:
    raise ValueError(
      f"a leg of {leg:.4g} units is {leg * unit:.0f} mm with {unit:g} mm to the unit: no human's; "
      "give the unit of BVH files by the option unit_mm"
    )
  height = leg * unit / _LEGS
  raised = {name: unit * _upright(place) for name, place in places.items()}
  points = np.zeros((len(motion.time_s), len(POINTS), 3))
  for name in POINTS:
    if name in raised:
      points[:, POINT[name]] = raised[name]
  points[:, POINT["pelvis"]] = 0.5 * (raised["left_hip"] + raised["right_hip"])
  pelvis = _frame(points, "hip", "pelvis", "spine")
  chest = _frame(points, "shoulder", "spine", "neck")
  head = _put_head(points, raised["head_top"], _upright(head_axes), chest, height)
  for side in SIDES:
    _put_foot(points, side, height)
    _put_hand(points, side, height)
  return Pose(points, pelvis, chest, head), height


def _find_joints(motion: Motion) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Places of the joints in the file's units and axes, and the head's axes."""
  matches = [naming.find(motion.joints) for naming in NAMINGS]
  best = min(range(len(NAMINGS)), key=lambda i: len(matches[i][1]))
  found, missing = matches[best]
  if missing:
    raise ValueError(
      f"joints are missing: {'; '.join(missing[:4])} ({len(missing)} in all). The names are most "
      f"like those of {NAMINGS[best].name}; known are {', '.join(n.name for n in NAMINGS)}"
    )
  x = motion.positions
  places = {joint: x[:, numbers[0]] for joint, numbers in found.items()}
  pelvis = 0.5 * (places["left_hip"] + places["right_hip"])

  def unevenness(number: int) -> float:
    down, up = (x[:, number] - end for end in (pelvis, places["neck"]))
    return abs(float(np.mean(_norm(down) - _norm(up))))

  places["spine"] = x[:, min(found["spine"], key=unevenness)]
  return places, motion.rotations[:, found["head"][0]]


def _leg_length(places: dict[str, np.ndarray]) -> float:
  """Mean length of thigh and shin together, in the file's units."""
  bones = [
    _norm(places[f"{side}_{start}"] - places[f"{side}_{end}"]).mean()
    for side in SIDES
    for start, end in (("hip", "knee"), ("knee", "ankle"))
  ]
  length = float(sum(bones)) / 2
  if not length > 0:
    raise ValueError("hips, knees and ankles are at one place")
  return length


def _upright(places: np.ndarray) -> np.ndarray:
  """(x, y, z) with y up -> (x, −z, y) with z up, of [F, 3] or of the columns of [F, 3, 3]."""
  return np.stack([places[:, 0], -places[:, 2], places[:, 1]], axis=1)


def _norm(vectors: np.ndarray) -> np.ndarray:
  return np.sqrt((vectors**2).sum(axis=-1))


def _unit(vectors: np.ndarray) -> np.ndarray:
  return vectors / np.maximum(_norm(vectors), 1e-9)[..., None]


def _across(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
  """Unit vectors along the part of the vectors that is perpendicular to unit vectors."""
  return _unit(vectors - (vectors * axis).sum(axis=-1, keepdims=True) * axis)


def _frame(points: np.ndarray, pair: str, low: str, high: str) -> Float[np.ndarray, "F 3 3"]:
  """Columns forward, left, up: up from `low` to `high`, left from right to left of a pair."""
  up = _unit(points[:, POINT[high]] - points[:, POINT[low]])
  left = _across(points[:, POINT[f"left_{pair}"]] - points[:, POINT[f"right_{pair}"]], up)
  return np.stack([np.cross(left, up), left, up], axis=-1)


def _put_head(
  points: np.ndarray, top: np.ndarray, axes: np.ndarray, chest: np.ndarray, height: float
) -> Float[np.ndarray, "F 3 3"]:
  """Places head_top and nose, in place; returns the frame of the head.

  Args:
    points: with the neck.
    top: the file's end of the head.
    axes: orientation of the head in the file, in any axes of its own.
    chest: frame of the chest.
    height: of the person.
  """
  neck = points[:, POINT["neck"]]
  up = _unit(top - neck)
  length = np.maximum(_norm(top - neck), PROPORTIONS["head"][0] * height)[:, None]
  faces = rotate(np.swapaxes(axes, 1, 2), chest[..., 0]).mean(axis=0)
  forward = _across(rotate(axes, faces), up)
  points[:, POINT["head_top"]] = neck + length * up
  nose = (PROPORTIONS[f"nose_{which}"][0] * height for which in ("height", "depth"))
  points[:, POINT["nose"]] = neck + next(nose) * up + next(nose) * forward
  return np.stack([forward, np.cross(up, forward), up], axis=-1)


def _put_foot(points: np.ndarray, side: str, height: float) -> None:
  """Places the heel, in place: behind the ankle on a line through the toe under it."""
  knee, ankle, toe = (points[:, POINT[f"{side}_{name}"]] for name in ("knee", "ankle", "toe"))
  along = _unit(toe - ankle)
  down = _across(ankle - knee, along)
  drop = PROPORTIONS["sole"][0] * height
  sine = np.minimum(drop / np.maximum(_norm(toe - ankle), 1e-9), 0.9)[:, None]
  cosine = np.sqrt(1 - sine**2)
  sole, below = cosine * along - sine * down, cosine * down + sine * along
  heel = ankle - PROPORTIONS["heel"][0] * height * sole + drop * below
  points[:, POINT[f"{side}_heel"]] = heel


def _put_hand(points: np.ndarray, side: str, height: float) -> None:
  """Places the hand, in place: on from the wrist along the forearm."""
  elbow, wrist = points[:, POINT[f"{side}_elbow"]], points[:, POINT[f"{side}_wrist"]]
  points[:, POINT[f"{side}_hand"]] = wrist + PROPORTIONS["hand"][0] * height * _unit(wrist - elbow)
