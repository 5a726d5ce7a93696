"""Long takes: pieces of several clips one after the other, as one performer would do them.

Clips of motion capture mostly last a few seconds, of one action in one direction: most of a pose
then stays as it is for a whole take. Here a performer goes on with what others of the split do,
turned.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from datasets.mocap_people.clips import Clip
from datasets.mocap_people.takes import FLOOR_PERCENTILE, SHARES, Take
from datasets.synthetic_people import bodies
from datasets.synthetic_people.bodies import POINT, Pose
from datasets.synthetic_people.generator import SPLITS
from datasets.synthetic_people.motion import CALM_FPS, SOLES

_PASSING = 6  # frames in which one piece passes into the next: half a second
SHORTEST_PIECE = 2 * _PASSING + 1  # it passes in, and out
_TURN_DEG = 120.0  # by how much people turn at most between two pieces
_TURNS = 6  # directions of which they take the one that ends nearest to where they began

# Every point and the one that it hangs on, which comes before it.
_BONES = (
  *(("spine", "pelvis"), ("neck", "spine"), ("nose", "neck"), ("head_top", "neck")),
  *(
    (f"{side}_{end}", start if start in POINT else f"{side}_{start}")
    for side in ("left", "right")
    for end, start in (
      *(("shoulder", "neck"), ("elbow", "shoulder"), ("wrist", "elbow"), ("hand", "wrist")),
      *(("hip", "pelvis"), ("knee", "hip"), ("ankle", "knee"), ("heel", "ankle"), ("toe", "ankle")),
    )
  ),
)


def join_takes(
  splits: dict[str, list[Clip]],
  split: str,
  *,
  frames: int,
  piece: int,
  instants: int,
  seed: int,
) -> Iterator[Take]:
  """Takes of `frames` frames, each of pieces of at most `piece` frames.

  Performers of the split take turns. A take begins with a clip of its performer, whose bones it
  keeps; further ones are drawn from all of the split.

  Args:
    splits: the clips of every split.
    split: the one to film.
    frames: of a take, 12 a second.
    piece: of a clip at most, the passing into the next one included.
    instants: of all splits together; each has its share.
    seed: of all that is drawn.

  Raises:
    ValueError: no clip of the split is long enough to pass into another.
  """
  clips = [clip for clip in splits[split] if _length(clip) >= SHORTEST_PIECE]
  if not clips:
    raise ValueError(
      f"{split}: no clip lasts {(SHORTEST_PIECE - 1) / CALM_FPS:.0f} s, to be joined with others"
    )
  share = SHARES.get(split, 1 - sum(SHARES.values()))
  performers = sorted({clip.subject for clip in clips})
  for number in range(max(1, round(share * instants / frames))):
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7, SPLITS.index(split), number]))
    subject = performers[number % len(performers)]
    own = [clip for clip in clips if clip.subject == subject]
    first = own[int(rng.integers(len(own)))]
    bones = measure_bones(first.pose)
    pose = _piece(first, piece, bones, rng)
    while len(pose.points) < frames:
      clip = clips[int(rng.integers(len(clips)))]
      pose = pass_on(pose, _piece(clip, piece, bones, rng), bones, rng)
    pose = bodies.select(pose, slice(frames))
    name = f"{first.name}+{number}"
    yield Take(name, number, subject, first.action, first.height_mm, pose, CALM_FPS)


def _length(clip: Clip) -> int:
  """Frames of a clip at `CALM_FPS`."""
  return int((len(clip.pose.points) - 1) / clip.fps * CALM_FPS) + 1


def _piece(clip: Clip, most: int, bones: dict[str, float], rng: np.random.Generator) -> Pose:
  """A part of a clip from a random instant on, with these bones, its lowest sole at z = 0."""
  length = _length(clip)
  start = int(rng.integers(max(1, length - most + 1)))
  at = np.arange(start, min(start + most, length)) * clip.fps / CALM_FPS
  before = np.minimum(at.astype(int), len(clip.pose.points) - 1)
  after = np.minimum(before + 1, len(clip.pose.points) - 1)
  pose = blend(bodies.select(clip.pose, before), bodies.select(clip.pose, after), at - before)
  pose = set_bones(pose, bones)
  soles = pose.points[:, [POINT[name] for name in SOLES], 2]
  floor = np.percentile(soles.min(axis=1), FLOOR_PERCENTILE)
  return bodies.move(pose, np.tile([0.0, 0.0, -floor], (len(pose.points), 1)))


def measure_bones(pose: Pose) -> dict[str, float]:
  """Median length of the bone that ends in each point, mm."""
  found = {}
  for end, start in _BONES:
    bone = pose.points[:, POINT[end]] - pose.points[:, POINT[start]]
    found[end] = float(np.median(np.linalg.norm(bone, axis=-1)))
  return found


def set_bones(pose: Pose, bones: dict[str, float]) -> Pose:
  """The pose with every bone in its direction and of the given length, the pelvis where it is."""
  points = pose.points.copy()
  for end, start in _BONES:
    bone = pose.points[:, POINT[end]] - pose.points[:, POINT[start]]
    length = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-6)
    points[:, POINT[end]] = points[:, POINT[start]] + bone / length * bones[end]
  return dataclasses.replace(pose, points=points)


def blend(first: Pose, second: Pose, weight: Float[np.ndarray, " F"]) -> Pose:
  """(1 − w) first + w second, frame by frame; axes are the rotations nearest to that."""
  w = np.asarray(weight, np.float64)[:, None, None]
  mixed = [
    (1 - w) * getattr(first, f.name) + w * getattr(second, f.name)
    for f in dataclasses.fields(first)
  ]
  return Pose(mixed[0], *(_nearest_rotation(axes) for axes in mixed[1:]))


def _nearest_rotation(axes: Float[np.ndarray, "F 3 3"]) -> Float[np.ndarray, "F 3 3"]:
  u, _, v = np.linalg.svd(axes)
  u[..., -1] *= np.linalg.det(u @ v)[:, None]
  return u @ v


def pass_on(before: Pose, after: Pose, bones: dict[str, float], rng: np.random.Generator) -> Pose:
  """Two pieces as one: the second goes on where the first ends, turned by up to `_TURN_DEG`.

  Of a few such turns that one is taken which ends nearest to the first frame of all.
  """
  facing = _heading_deg(before, -_PASSING) - _heading_deg(after, 0)
  turns = facing + rng.uniform(-_TURN_DEG, _TURN_DEG, _TURNS)
  pelvis = POINT["pelvis"]
  start, home = before.points[-_PASSING, pelvis, :2], before.points[0, pelvis, :2]
  placed = [_place(after, angle, start) for angle in turns]
  ends = [np.linalg.norm(pose.points[-1, pelvis, :2] - home) for pose in placed]
  goes_on = placed[int(np.argmin(ends))]
  weight = (np.arange(_PASSING) + 1) / (_PASSING + 1)
  between = blend(
    bodies.select(before, slice(-_PASSING, None)), bodies.select(goes_on, slice(_PASSING)), weight
  )
  parts = (
    bodies.select(before, slice(-_PASSING)),
    set_bones(between, bones),
    bodies.select(goes_on, slice(_PASSING, None)),
  )
  names = [f.name for f in dataclasses.fields(Pose)]
  return Pose(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _heading_deg(pose: Pose, frame: int) -> float:
  """Direction that the pelvis faces on the floor."""
  forward = pose.pelvis_axes[frame, :2, 0]
  return float(np.rad2deg(np.arctan2(forward[1], forward[0])))


def _place(pose: Pose, angle_deg: float, start_mm: Float[np.ndarray, "2"]) -> Pose:
  """Turned about the vertical, and moved so that the pelvis begins above a place of the floor."""
  turned = bodies.turn_around(pose, angle_deg)
  offset = np.append(start_mm - turned.points[0, POINT["pelvis"], :2], 0.0)
  return bodies.move(turned, np.tile(offset, (len(turned.points), 1)))
