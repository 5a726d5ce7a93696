"""Kinematics by hand, feet on the floor, flight under gravity."""

import numpy as np
import pytest

from datasets.synthetic_people import bodies, motion
from datasets.synthetic_people.actions import ACTIONS
from datasets.synthetic_people.appearance import sample_subject
from datasets.synthetic_people.bodies import POINT
from jaxpose.skeleton import H36M17

SOLES = [POINT[name] for name in motion.SOLES]


def make_subject(seed: int = 3) -> bodies.Subject:
  return sample_subject(np.random.default_rng(seed), "somebody")


def pose_of(**angles: float) -> dict[str, np.ndarray]:
  """Points of one frame, upright and facing x but for the given angles."""
  curves = {name: np.array([angles.get(name, 0.0)]) for name in bodies.ANGLES}
  pose = bodies.pose_body(make_subject(), curves, np.eye(3)[None])
  return {name: pose.points[0, i] for name, i in POINT.items()}


def test_joints_come_first_in_the_order_of_the_skeleton():
  assert bodies.POINTS[: bodies.NUM_JOINTS] == H36M17.joints


def test_limbs_hang_down_and_the_nose_points_forward_when_upright():
  p, size = pose_of(), make_subject().length
  np.testing.assert_allclose(p["left_hip"], [0, size["hip_half"], 0], atol=1e-9)
  knee = p["right_hip"] - [0, 0, size["thigh"]]
  np.testing.assert_allclose(p["right_knee"], knee, atol=1e-9)
  top = size["abdomen"] + size["thorax"] + size["head"]
  np.testing.assert_allclose(p["head_top"], [0, 0, top], atol=1e-9)
  assert p["nose"][0] > 30
  assert p["left_toe"][0] > 100 > 0 > p["left_heel"][0]


@pytest.mark.parametrize(
  ("angle", "start", "end", "length", "direction"),
  [
    ("left_hip_flex", "left_hip", "left_knee", "thigh", (1, 0, 0)),
    ("left_hip_abduct", "left_hip", "left_knee", "thigh", (0, 1, 0)),
    ("right_hip_abduct", "right_hip", "right_knee", "thigh", (0, -1, 0)),
    ("right_knee", "right_knee", "right_ankle", "shin", (-1, 0, 0)),
    ("left_shoulder_flex", "left_shoulder", "left_wrist", None, (1, 0, 0)),
    ("right_shoulder_abduct", "right_shoulder", "right_elbow", "upper_arm", (0, -1, 0)),
    ("left_elbow", "left_elbow", "left_wrist", "forearm", (1, 0, 0)),
    ("spine_yaw", "neck", "left_shoulder", None, (-1, 0, None)),
    ("pelvis_pitch", "pelvis", "spine", "abdomen", (1, 0, 0)),
    ("pelvis_roll", "pelvis", "spine", "abdomen", (0, -1, 0)),
  ],
)
def test_ninety_degrees_of_one_angle(angle, start, end, length, direction):
  p = pose_of(**{angle: 90.0})
  bone = p[end] - p[start]
  if length is not None:
    assert np.linalg.norm(bone) == pytest.approx(make_subject().length[length])
  for value, expected in zip(bone / np.linalg.norm(bone), direction):
    if expected is not None:
      assert value == pytest.approx(expected, abs=0.02)


def test_twist_turns_a_bent_elbow_outward():
  for side, sign in (("left", 1.0), ("right", -1.0)):
    p = pose_of(**{f"{side}_elbow": 90.0, f"{side}_shoulder_twist": 90.0})
    bone = p[f"{side}_wrist"] - p[f"{side}_elbow"]
    np.testing.assert_allclose(bone / np.linalg.norm(bone), [0, sign, 0], atol=1e-9)


def test_segment_masses_are_the_whole_body():
  mass = sum(m * (1 if start in POINT else 2) for start, _, m in bodies.SEGMENT_MASS)
  assert mass == pytest.approx(1.0)
  points = np.zeros((1, len(bodies.POINTS), 3))
  points[0, POINT["left_hip"]] = [30.0, 0, 0]
  points[0, POINT["left_knee"]] = [50.0, 0, 8]
  expected = [[0.142 * 40 + 0.043 * 25, 0, 0.142 * 4 + 0.043 * 4]]
  np.testing.assert_allclose(bodies.centre_of_mass(points), expected)


def test_limits_hold_on_both_sides():
  clipped = bodies.clip_to_limits({"left_knee": np.array([-5.0, 160.0])})
  np.testing.assert_array_equal(clipped["left_knee"], [0.0, 140.0])


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_people_stand_on_the_floor_near_the_middle_with_rigid_bones(action):
  subject = make_subject()
  lengths = []
  for seed in range(4):
    take = motion.sample_motion(subject, action, 24, np.random.default_rng(seed))
    points = take.pose.points
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points[:, SOLES, 2].min(axis=1), bodies.SOLE_MM, atol=1e-6)
    assert np.hypot(*points[:, 0, :2].T).max() <= motion.ROAM_MM + 1e-6
    speed = np.linalg.norm(np.diff(points, axis=0), axis=-1) * take.fps
    assert speed.max() < 14000
    assert not take.falling.any()
    parents = np.array(H36M17.parents)
    joints = points[:, : bodies.NUM_JOINTS]
    bones = np.linalg.norm(joints - joints[:, parents], axis=-1)
    lengths.append(bones[:, [i for i, n in enumerate(H36M17.joints) if n != "head_top"]])
  np.testing.assert_allclose(np.concatenate(lengths), lengths[0][:1].repeat(96, 0), atol=1e-6)


def test_walkers_go_where_they_look_and_their_standing_foot_stays():
  for seed in range(4):
    take = motion.sample_motion(make_subject(), "walking", 24, np.random.default_rng(seed))
    points = take.pose.points
    step = np.diff(points[:, 0, :2], axis=0)
    ahead = (step * take.pose.pelvis_axes[1:, :2, 0]).sum(axis=1)
    assert 0.4 < ahead.mean() * take.fps / 1000 < 2.2  # m/s
    move = np.linalg.norm(np.diff(points[:, SOLES, :2], axis=0), axis=-1)
    low = points[1:, SOLES, 2] - bodies.SOLE_MM + points[:-1, SOLES, 2] - bodies.SOLE_MM
    standing = np.take_along_axis(move, low.argmin(axis=1)[:, None], axis=1)
    assert np.median(standing) < 0.25 * np.median(move.max(axis=1))


def test_arms_swing_against_the_legs():
  correlations = []
  for seed in range(6):
    take = motion.sample_motion(make_subject(), "walking", 24, np.random.default_rng(seed))
    forward = take.pose.pelvis_axes[:, None, :, 0]
    ahead = ((take.pose.points - take.pose.points[:, :1]) * forward).sum(axis=-1)
    leg = ahead[:, POINT["left_ankle"]] - ahead[:, POINT["right_ankle"]]
    arm = ahead[:, POINT["left_wrist"]] - ahead[:, POINT["right_wrist"]]
    correlations.append(np.corrcoef(leg, arm)[0, 1])
  assert max(correlations) < -0.5


def test_divers_fall_under_gravity_and_only_then():
  for seed in range(8):
    take = motion.sample_motion(make_subject(), motion.DIVING, 30, np.random.default_rng(seed))
    fall = take.falling
    start = int(fall.argmax())
    assert 0 < start < 22
    assert fall[start:].all()
    com = bodies.centre_of_mass(take.pose.points)
    standing = take.pose.points[:, SOLES, 2].min(axis=1) < motion.BOARD_MM + bodies.SOLE_MM + 1e-6
    off = int(standing.argmin())  # the board; the first frames in the air lead up
    assert standing[:off].all()
    assert start - off <= 0.27 * take.fps + 1  # 2.6 m/s at most
    second = np.diff(com[off:], 2, axis=0) * take.fps**2
    np.testing.assert_allclose(second, np.broadcast_to([0, 0, -9810.0], second.shape), atol=1e-3)
    assert (np.diff(com[start:, 2]) < 0).all()
    assert com[:, 2].argmax() in (start - 1, start)
    assert com[-1, 2] > 300
    up = take.pose.chest_axes[:, 2, 2]
    assert up[0] > 0.8  # upright on the board
    assert up.min() < 0  # head down in the air


def test_unknown_action_is_named():
  with pytest.raises(ValueError, match="no action 'flying'"):
    motion.sample_motion(make_subject(), "flying", 8, np.random.default_rng(0))
  with pytest.raises(ValueError, match="no action 'flying'"):
    motion.sample_session(make_subject(), ("walking", "flying"), 8, np.random.default_rng(0))


def _facing(take):
  return np.unwrap(np.arctan2(*take.pose.pelvis_axes[:, [1, 0], 0].T))


def test_a_session_is_its_actions_one_after_the_other_without_a_leap():
  subject, actions = make_subject(), ("squatting", "walking", "greeting")
  for seed in range(4):
    take = motion.sample_session(subject, actions, 78, np.random.default_rng(seed))
    points = take.pose.points
    assert len(points) == len(take.falling) == 78
    pelvis = points[:, 0]
    assert pelvis[:26, 2].min() < 0.9 * pelvis[40:, 2].min()  # squats in the first third alone
    way = np.linalg.norm(np.diff(pelvis[:, :2], axis=0), axis=1)
    assert way[35:52].sum() > 4 * way[62:].sum()  # walks in the second
    np.testing.assert_allclose(points[:, SOLES, 2].min(axis=1), bodies.SOLE_MM, atol=1e-6)
    assert np.linalg.norm(np.diff(points, axis=0), axis=-1).max() * take.fps < 14000
    turns = np.abs(np.diff(_facing(take)))
    assert turns.max() < np.pi / 3  # at most half a turn in 8 frames, eased: 15/8 of the mean


def test_curves_pass_into_each_other():
  before, after = np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30])
  # 2 values fade, by weights 0.25 and 0.75: 0.75 * 3 + 0.25 * 10, 0.25 * 4 + 0.75 * 20
  passed = motion._pass_on(before, after, np.array([0.25, 0.75]))
  np.testing.assert_allclose(passed, [1, 2, 4.75, 16, 30])


def test_sessions_turn_to_where_they_end_nearest_to_the_middle():
  start, way = np.array([1000.0, 0]), np.array([0.0, 900])
  angle = motion._turn_inwards(way, start, np.random.default_rng(4))
  offered = np.deg2rad(np.random.default_rng(4).uniform(0, 360, 6))
  ends = start + 900 * np.stack([-np.sin(offered), np.cos(offered)], axis=1)
  best = np.linalg.norm(ends, axis=1).argmin()
  np.testing.assert_allclose(np.deg2rad(angle), offered[best])
  np.testing.assert_allclose(motion._turned(way, angle), ends[best] - start, atol=1e-9)


def test_in_sessions_poses_change_more_than_in_takes_of_one_action():
  def constant(makes):
    """Share of the variance of poses that lies between takes."""
    poses = [(p := make().pose.points) - p[:, :1] for make in makes]
    within = np.mean([x.var(axis=0).sum() for x in poses])
    return 1 - within / np.concatenate(poses).var(axis=0).sum()

  subject, names = make_subject(), sorted(ACTIONS)
  single, sessions = [], []
  for seed, name in enumerate(names):
    four = np.random.default_rng(seed).permutation(names)[:4]
    rng = np.random.default_rng(seed)
    single.append(lambda name=name, rng=rng: motion.sample_motion(subject, name, 26, rng))
    sessions.append(lambda four=four, rng=rng: motion.sample_session(subject, four, 104, rng))
  assert constant(sessions) < 0.5 * constant(single)
