"""From angle curves to poses in the world: feet that stand still, and flight under gravity.

The place on the floor follows from the feet: the lower foot stands still, so that walking moves on
by its own steps. Divers leave the board, and then their centre of mass obeys z = z₀ + v t − g t²/2.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from datasets.synthetic_people import bodies
from datasets.synthetic_people.actions import ACTIONS, Curves, ease, stand
from datasets.synthetic_people.bodies import POINT, Pose, Subject

DIVING = "diving"
CALM_FPS, DIVE_FPS = 12.0, 25.0
SUBSTEPS = 4  # of a frame, when the feet's path is added up
ROAM_MM = 1450.0  # how far from the middle people go
GRAVITY_MM_S2 = 9810.0
BOARD_MM = 1160.0  # height of the springboard's surface
SOLES = ("left_heel", "left_toe", "right_heel", "right_toe")
_PASSING_S = 0.7
_TURNS = 6  # directions of which people take the one that keeps them in the room
_CONTACT_MM = 12.0  # height over the lower foot at which a foot bears e⁻¹ of the weight
_LOWEST_MM = 900.0  # how deep the centre of mass falls before a dive's last frame


@dataclasses.dataclass(frozen=True)
class Motion:
  """A person's poses in the world, F frames at `fps`.

  Attributes:
    pose: mm, z up, the floor at z = 0.
    falling: in free flight and on the way down, from its highest frame on.
  """

  pose: Pose
  falling: Bool[np.ndarray, " F"]
  fps: float


def sample_motion(subject: Subject, action: str, frames: int, rng: np.random.Generator) -> Motion:
  """One take of an action.

  Raises:
    ValueError: there is no action of that name.
  """
  if action == DIVING:
    return _sample_dive(subject, frames, rng)
  t = np.arange(frames * SUBSTEPS) / (CALM_FPS * SUBSTEPS)
  return _calm_motion(_act(subject, *_draw(action, t, rng)), rng)


def sample_session(
  subject: Subject, actions: Sequence[str], frames: int, rng: np.random.Generator
) -> Motion:
  """Actions one after the other, with a turn between them that keeps people in the room.

  Args:
    subject: who.
    actions: each is given as many frames; they pass into each other in `_PASSING_S`.
    frames: a multiple of the number of actions.
    rng: for all that is drawn.

  Raises:
    ValueError: there is no action of one of the names, or it is a dive.
  """
  steps = frames // len(actions) * SUBSTEPS
  passing = round(_PASSING_S * CALM_FPS * SUBSTEPS)
  t = np.arange(steps + passing) / (CALM_FPS * SUBSTEPS)
  weight = ease(np.arange(passing), 0, passing - 1)
  whole: Curves = {}
  where_mm = np.zeros(2)
  for action in actions:
    curves, heading = _draw(action, t, rng)
    path = _act(subject, curves, heading).points[:, POINT["pelvis"], :2]
    angle = _turn_inwards(path[-1] - path[0], where_mm, rng)
    where_mm = where_mm + _turned(path[-1] - path[0], angle)
    heading = heading + angle
    if whole:  # the shorter way round
      heading -= 360 * np.round((heading[0] - whole["heading"][-1]) / 360)
    added = curves | {"heading": heading}
    whole = {n: _pass_on(whole[n], added[n], weight) for n in whole} or added
  whole = {name: curve[: len(actions) * steps] for name, curve in whole.items()}
  heading = whole.pop("heading")
  return _calm_motion(_act(subject, whole, heading), rng)


def _draw(action: str, t: np.ndarray, rng: np.random.Generator) -> tuple[Curves, np.ndarray]:
  """Curves and heading of an action that is no dive."""
  if action not in ACTIONS:
    raise ValueError(f"no action {action!r}; there are {', '.join((*ACTIONS, DIVING))}")
  return ACTIONS[action](t, rng)


def _pass_on(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
  """Two curves as one, of which the last values of the first fade into the first of the second."""
  n = len(weight)
  return np.concatenate([before[:-n], (1 - weight) * before[-n:] + weight * after[:n], after[n:]])


def _turn_inwards(way: np.ndarray, start: np.ndarray, rng: np.random.Generator) -> float:
  """By how many degrees to turn a way so that it ends near the middle: the best of a few."""
  angles = rng.uniform(0, 360, _TURNS)
  ends = [np.linalg.norm(start + _turned(way, angle)) for angle in angles]
  return float(angles[int(np.argmin(ends))])


def _turned(way: np.ndarray, angle_deg: float) -> np.ndarray:
  return bodies.rotation(2, np.array(angle_deg))[:2, :2] @ way


def _act(subject: Subject, curves: Curves, heading: np.ndarray) -> Pose:
  """The poses of the curves, on the feet; they begin anywhere."""
  pose = bodies.pose_body(subject, bodies.clip_to_limits(curves), bodies.rotation(2, heading))
  return bodies.move(pose, _stand_on_feet(pose.points))


def _calm_motion(pose: Pose, rng: np.random.Generator) -> Motion:
  """Every frame of poses between frames too, somewhere in the room."""
  pose = bodies.select(pose, slice(None, None, SUBSTEPS))
  return Motion(place(pose, rng), np.zeros(len(pose.points), bool), CALM_FPS)


def _stand_on_feet(points: Float[np.ndarray, "F P 3"]) -> Float[np.ndarray, "F 3"]:
  """Offsets that put the lowest sole on the floor and let the foot that bears the weight stand."""
  soles = points[:, [POINT[name] for name in SOLES]]
  offset = np.zeros((len(points), 3))
  lowest = soles[..., 2].min(axis=1)
  offset[:, 2] = bodies.SOLE_MM - lowest
  load = np.exp(-(soles[..., 2] - lowest[:, None]) / _CONTACT_MM)
  load /= load.sum(axis=1, keepdims=True)
  load = 0.5 * (load[1:] + load[:-1])
  slip = (np.diff(soles[..., :2], axis=0) * load[..., None]).sum(axis=1)
  offset[1:, :2] = -np.cumsum(slip, axis=0)
  return offset


def place(pose: Pose, rng: np.random.Generator) -> Pose:
  """Moves the whole take to a place from which the person stays within ROAM_MM of the middle."""
  path = pose.points[:, POINT["pelvis"], :2]
  centre = 0.5 * (path.min(axis=0) + path.max(axis=0))
  reach = np.sqrt(((path - centre) ** 2).sum(axis=1).max())
  room = max(ROAM_MM - reach, 0.0)
  angle, radius = rng.uniform(0, 2 * np.pi), room * np.sqrt(rng.uniform())
  goal = radius * np.array([np.cos(angle), np.sin(angle)])
  return bodies.move(pose, np.broadcast_to(np.append(goal - centre, 0.0), (len(path), 3)))


def _sample_dive(subject: Subject, frames: int, rng: np.random.Generator) -> Motion:
  """Stands on the board, jumps, and falls turning: tucked, piked or straight."""
  t = np.arange(frames) / DIVE_FPS
  speed_up, speed_out = rng.uniform(1700, 2600), rng.uniform(500, 1100)
  drop = BOARD_MM + 0.55 * sum(subject.length[k] for k in ("thigh", "shin", "thorax", "head"))
  drop = max(drop - _LOWEST_MM, 300.0)
  airtime = (speed_up + np.sqrt(speed_up**2 + 2 * GRAVITY_MM_S2 * drop)) / GRAVITY_MM_S2
  takeoff = max(t[-1] - airtime, 0.0) + rng.uniform(0.0, 0.12)
  curves, fold = _dive_curves(t, takeoff, airtime, rng)
  backward = rng.uniform() < 0.3
  turned = np.full(frames, 180.0 if backward else 0.0)
  pitch = _somersault(t, takeoff, airtime, fold, rng)
  axes = bodies.turn(bodies.rotation(2, turned), bodies.rotation(1, -pitch if backward else pitch))
  pose = bodies.pose_body(subject, bodies.clip_to_limits(curves), axes)
  offset = _stand_on_feet(pose.points)
  toe = pose.points[0, [POINT["left_toe"], POINT["right_toe"]], 0].max()
  offset += np.array([-90.0 - toe, 0.0, BOARD_MM])
  com = bodies.centre_of_mass(pose.points)
  flying = t > takeoff
  start = int(np.argmax(flying))
  since = (t - t[start])[flying, None]
  flight = com[start] + offset[start] + np.array([speed_out, 0.0, speed_up]) * since
  flight[:, 2] -= 0.5 * GRAVITY_MM_S2 * since[:, 0] ** 2
  offset[flying] = flight - com[flying]
  falling = flying & (t - t[start] >= speed_up / GRAVITY_MM_S2)
  return Motion(bodies.move(pose, offset), falling, DIVE_FPS)


def _dive_curves(
  t: np.ndarray, takeoff: float, airtime: float, rng: np.random.Generator
) -> tuple[Curves, np.ndarray]:
  """Joint angles of a dive, and how much the body is folded, 0..1."""
  curves = stand(t, rng)
  crouch = ease(t, takeoff - 0.4, takeoff - 0.18) - ease(t, takeoff - 0.18, takeoff)
  reach = ease(t, takeoff - 0.2, takeoff + 0.1)
  fold = ease(t, takeoff + 0.05, takeoff + 0.3 * airtime)
  fold = fold - ease(t, takeoff + 0.62 * airtime, takeoff + 0.92 * airtime)
  hip, knee, spine = [(110, 125, 45), (110, 0, 40), (12, 0, 0)][int(rng.integers(3))]
  bent = fold * rng.uniform(0.75, 1.0)
  for side in ("left", "right"):
    curves[f"{side}_hip_flex"] += 45 * crouch + hip * bent - 5 * reach
    curves[f"{side}_knee"] += 70 * crouch + knee * bent - 7 * reach
    curves[f"{side}_ankle"] += 28 * crouch - 35 * ease(t, takeoff, takeoff + 0.15)
    curves[f"{side}_shoulder_flex"] += 160 * reach - (95 if hip > 50 else 140) * bent
    curves[f"{side}_elbow"] += (35 if knee else 0) * bent
  curves["pelvis_pitch"] += 20 * crouch
  curves["spine_pitch"] += spine * bent
  return curves, fold if hip > 50 else 0 * fold


def _somersault(
  t: np.ndarray, takeoff: float, airtime: float, fold: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Pitch of the whole body, degrees: it turns faster while folded, as its inertia is less then."""
  rate = (t > takeoff) * (1 + 1.6 * fold) / DIVE_FPS
  plain = rng.uniform(130, 200) / airtime
  return np.cumsum(rate * plain) - rate[0] * plain
