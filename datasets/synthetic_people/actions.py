"""What people do: a library of actions, each a few numbers drawn at random, limbs going together.

An action gives curves of joint angles (`bodies.ANGLES`, degrees) and of heading over time in s.
"""

from collections.abc import Callable

import numpy as np

from datasets.synthetic_people import bodies

Curves = bodies.Angles
Rng = np.random.Generator


def ease(t: np.ndarray, start: float, finish: float) -> np.ndarray:
  """0 before `start`, 1 after `finish`, 10 x³ − 15 x⁴ + 6 x⁵ between: no jerk at either end."""
  x = np.clip((t - start) / max(finish - start, 1e-6), 0, 1)
  return x * x * x * (10 + x * (6 * x - 15))


def _visit(rng: Rng, t: np.ndarray, slow: float = 0.9) -> np.ndarray:
  """0 → 1 → 0: to a position, a rest there, and back; may begin or end on the way."""
  span = t[-1] - t[0]
  go, rest, back = rng.uniform(0.55, slow), rng.uniform(0.0, 0.4), rng.uniform(0.55, slow)
  start = t[0] + rng.uniform(-0.25, max(span - go - rest - 0.3 * back, 0.05))
  return ease(t, start, start + go) - ease(t, start + go + rest, start + go + rest + back)


def stand(t: np.ndarray, rng: Rng) -> Curves:
  """Upright with a little of everything: slow sway, slightly bent knees and elbows."""
  curves = {name: np.zeros_like(t) for name in bodies.ANGLES}
  sway = np.sin(2 * np.pi * (rng.uniform(0.2, 0.4) * t + rng.uniform()))
  curves["spine_pitch"] += rng.uniform(0, 8) + 1.5 * sway
  curves["head_yaw"] += rng.uniform(-15, 15) + 8 * sway
  for side in ("left", "right"):
    curves[f"{side}_shoulder_abduct"] += rng.uniform(6, 14)
    curves[f"{side}_elbow"] += rng.uniform(8, 22)
    curves[f"{side}_knee"] += 8.0
    curves[f"{side}_hip_flex"] += 6.0
    curves[f"{side}_hip_abduct"] += rng.uniform(2, 5)
    curves[f"{side}_hip_twist"] += rng.uniform(2, 8)
    curves[f"{side}_ankle"] += 2.0
  return curves


def _heading(t: np.ndarray, rng: Rng, rate_deg_s: float) -> np.ndarray:
  """Direction that the person faces, degrees: any at first, turning at that rate."""
  drift = rate_deg_s * (t - t[0])
  wave = 0.15 * rate_deg_s * np.sin(2 * np.pi * 0.4 * t + rng.uniform(0, 6))
  return rng.uniform(0, 360) + drift + wave


def _step(curves: Curves, phase: np.ndarray, stride: float, lift: float, arms: float) -> None:
  """Adds a gait cycle, in place: the arms swing against the legs, the trunk against the pelvis.

  Args:
    curves: of a standing person.
    phase: of the cycle, rad.
    stride: amplitude of the hips, degrees.
    lift: by how much the knee of the free leg bends, degrees.
    arms: amplitude of the shoulders, degrees.
  """
  for side, shift in (("left", 0.0), ("right", np.pi)):
    p = phase + shift
    swing = np.maximum(np.cos(p + 0.4), 0)
    flex = stride * np.sin(p) + 0.28 * lift * swing * swing
    bend = lift * swing * swing
    curves[f"{side}_hip_flex"] += flex
    curves[f"{side}_knee"] += bend
    curves[f"{side}_ankle"] += 0.55 * (bend - flex)
    curves[f"{side}_shoulder_flex"] -= arms * np.sin(p)
    curves[f"{side}_elbow"] += 0.5 * arms * (1 - np.sin(p))
  curves["pelvis_yaw"] -= 0.22 * stride * np.sin(phase)
  curves["spine_yaw"] += 0.45 * stride * np.sin(phase)


def _walk(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  phase = 2 * np.pi * (rng.uniform(0.75, 1.05) * t + rng.uniform())
  _step(curves, phase, rng.uniform(18, 28), rng.uniform(45, 60), rng.uniform(15, 35))
  curves["pelvis_pitch"] += rng.uniform(0, 6)
  return curves, _heading(t, rng, rng.choice([-1, 1]) * rng.uniform(10, 80))


def _jog(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  phase = 2 * np.pi * (rng.uniform(1.15, 1.4) * t + rng.uniform())
  _step(curves, phase, rng.uniform(20, 30), rng.uniform(75, 100), rng.uniform(25, 40))
  curves["pelvis_pitch"] += rng.uniform(6, 14)
  for side in ("left", "right"):
    curves[f"{side}_elbow"] += rng.uniform(55, 70)
    curves[f"{side}_knee"] += 12
    curves[f"{side}_hip_flex"] += 10
  return curves, _heading(t, rng, rng.choice([-1, 1]) * rng.uniform(50, 110))


def _march(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  phase = 2 * np.pi * (rng.uniform(0.75, 1.0) * t + rng.uniform())
  _step(curves, phase, 8.0, 50.0, rng.uniform(30, 50))
  for side, shift in (("left", 0.0), ("right", np.pi)):
    swing = np.maximum(np.cos(phase + shift), 0)
    curves[f"{side}_hip_flex"] += rng.uniform(55, 70) * swing * swing
    curves[f"{side}_knee"] += 25 * swing * swing
  return curves, _heading(t, rng, rng.uniform(-90, 90))


def _turn(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  phase = 2 * np.pi * (rng.uniform(0.9, 1.2) * t + rng.uniform())
  _step(curves, phase, 4.0, rng.uniform(35, 50), rng.uniform(5, 15))
  side = rng.choice([-1, 1])
  curves["head_yaw"] += side * 20
  curves["spine_yaw"] += side * 10
  if rng.uniform() < 0.5:
    _hold_arms(curves, rng)
  return curves, _heading(t, rng, side * rng.uniform(90, 180))


def _hold_arms(curves: Curves, rng: Rng) -> None:
  """Both arms in one of a few positions that people hold while they do something else."""
  flex, abduct, elbow, twist = [
    (0, 42, 95, -55),  # hands on hips
    (38, 6, 78, 5),  # carrying a box
    (5, 82, 8, 0),  # balancing
    (150, 22, 45, 0),  # hands over the head
  ][int(rng.integers(4))]
  for side in ("left", "right"):
    for name, value in (
      ("shoulder_flex", flex),
      ("shoulder_abduct", abduct),
      ("elbow", elbow),
      ("shoulder_twist", twist),
    ):
      curve = curves[f"{side}_{name}"]
      curves[f"{side}_{name}"] = 0.25 * (curve - curve.mean()) + value + rng.uniform(-6, 6)


def _stroll(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  """Walks with the arms held, or waving."""
  curves, heading = _walk(t, rng)
  if rng.uniform() < 0.6:
    _hold_arms(curves, rng)
  else:
    _wave(curves, t, rng, "left" if rng.uniform() < 0.5 else "right", np.ones_like(t))
  return curves, heading


def _wave(curves: Curves, t: np.ndarray, rng: Rng, side: str, amount: np.ndarray) -> None:
  """One arm up, the forearm to and fro."""
  swing = np.sin(2 * np.pi * (rng.uniform(0.9, 1.4) * t + rng.uniform()))
  targets = {
    "shoulder_abduct": rng.uniform(90, 130) + 12 * swing,
    "shoulder_flex": rng.uniform(0, 20),
    "elbow": 55 + 28 * swing,
    "shoulder_twist": 85.0,
  }
  for name, value in targets.items():
    curve = curves[f"{side}_{name}"]
    curves[f"{side}_{name}"] = curve + amount * (value - curve)


def _greet(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  side = "left" if rng.uniform() < 0.5 else "right"
  _wave(curves, t, rng, side, _visit(rng, t))
  curves["spine_roll"] += rng.uniform(-6, 6)
  return curves, _heading(t, rng, rng.uniform(-50, 50))


def _reach(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  """Reaches up, forward or aside with one arm or both."""
  curves = stand(t, rng)
  amount = _visit(rng, t)
  kind = int(rng.integers(3))
  flex = (rng.uniform(140, 172), rng.uniform(70, 105), rng.uniform(0, 20))[kind]
  abduct = (rng.uniform(0, 20), rng.uniform(0, 15), rng.uniform(75, 110))[kind]
  sides = (("left", "right"), ("left",), ("right",))[int(rng.integers(3))]
  for side in sides:
    curves[f"{side}_shoulder_flex"] += amount * flex
    curves[f"{side}_shoulder_abduct"] += amount * abduct
  if len(sides) == 1:
    sign = 1.0 if sides[0] == "right" else -1.0
    curves["spine_yaw"] += sign * amount * (25.0 if kind == 1 else 5.0)
    curves["spine_roll"] += -sign * amount * 10.0
  if kind == 0:
    curves["head_pitch"] -= 25 * amount
  return curves, _heading(t, rng, rng.uniform(-50, 50))


def _crouch(curves: Curves, amount: np.ndarray, knee: float, lean: float) -> None:
  """Bends both legs with the feet flat: trunk and thighs fold to keep the weight over them."""
  for side in ("left", "right"):
    curves[f"{side}_knee"] += amount * knee
    curves[f"{side}_hip_flex"] += amount * (0.5 * knee + lean)
    curves[f"{side}_ankle"] += amount * 0.42 * knee
  curves["pelvis_pitch"] += amount * lean


def _pick_up(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  amount = _visit(rng, t, slow=1.1)
  deep = rng.uniform(0.6, 1.0)
  _crouch(curves, amount, rng.uniform(15, 75), 55 * deep)
  curves["spine_pitch"] += amount * 40 * deep
  sides = (("left", "right"), ("left",), ("right",))[int(rng.integers(3))]
  for side in ("left", "right"):
    flex = rng.uniform(70, 95) * deep if side in sides else rng.uniform(0, 40)
    curves[f"{side}_shoulder_flex"] += amount * flex
  if rng.uniform() < 0.5:
    curves["spine_yaw"] += amount * rng.uniform(-30, 30)
  return curves, _heading(t, rng, rng.uniform(-40, 40))


def _squat(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  amount = _visit(rng, t, slow=1.1)
  _crouch(curves, amount, rng.uniform(75, 115), rng.uniform(15, 30))
  arms = rng.uniform(60, 95) if rng.uniform() < 0.6 else rng.uniform(10, 30)
  for side in ("left", "right"):
    curves[f"{side}_shoulder_flex"] += amount * arms
    curves[f"{side}_hip_abduct"] += amount * 10
    curves[f"{side}_hip_twist"] += amount * 12
  return curves, _heading(t, rng, rng.uniform(-40, 40))


def _sit(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  """Sits down or rises: thighs level, shins upright, hands on the knees."""
  curves = stand(t, rng)
  amount = ease(t, t[0] + rng.uniform(-0.2, 0.6), t[0] + rng.uniform(1.2, 1.9))
  if rng.uniform() < 0.5:
    amount = 1 - amount
  passing = 4 * amount * (1 - amount)
  for side in ("left", "right"):
    curves[f"{side}_knee"] += amount * 80
    curves[f"{side}_hip_flex"] += amount * 82 + passing * 25
    curves[f"{side}_shoulder_flex"] += amount * 28 + passing * 20
    curves[f"{side}_elbow"] += amount * 35
  curves["pelvis_pitch"] += 28 * passing
  curves["spine_pitch"] += amount * rng.uniform(0, 15)
  return curves, _heading(t, rng, rng.uniform(-30, 30))


def _kick(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  side, other = ("left", "right") if rng.uniform() < 0.5 else ("right", "left")
  when, high = t[0] + rng.uniform(0.7, 1.4), rng.uniform(50, 95)
  back = ease(t, when - 0.6, when - 0.25) - ease(t, when - 0.25, when)
  hit = ease(t, when - 0.25, when + 0.1) - ease(t, when + 0.2, when + 0.8)
  curves[f"{side}_hip_flex"] += high * hit - 22 * back
  curves[f"{side}_knee"] += 75 * back + 12 * hit
  curves[f"{side}_ankle"] -= 20 * hit
  curves[f"{other}_knee"] += 10 * (back + hit)
  curves[f"{other}_hip_flex"] += 5 * (back + hit)
  curves[f"{other}_shoulder_flex"] += 45 * hit - 20 * back
  curves[f"{side}_shoulder_flex"] -= 30 * hit
  for arm in ("left", "right"):
    curves[f"{arm}_shoulder_abduct"] += 30 * (back + hit)
  curves["pelvis_pitch"] -= 12 * hit
  return curves, _heading(t, rng, rng.uniform(-30, 30))


def _throw(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  curves = stand(t, rng)
  side, other, sign = ("left", "right", 1.0) if rng.uniform() < 0.5 else ("right", "left", -1.0)
  when = t[0] + rng.uniform(0.9, 1.6)
  cock = ease(t, when - 0.8, when - 0.2) - ease(t, when - 0.2, when + 0.1)
  fling = ease(t, when - 0.2, when + 0.15) - ease(t, when + 0.3, when + 1.0)
  curves[f"{side}_shoulder_abduct"] += 85 * cock + 10 * fling
  curves[f"{side}_shoulder_flex"] += -20 * cock + 95 * fling
  curves[f"{side}_elbow"] += 85 * cock + 5 * fling
  curves[f"{side}_shoulder_twist"] += 70 * cock
  curves[f"{other}_shoulder_flex"] += 60 * cock - 15 * fling
  curves["spine_yaw"] += sign * (30 * cock - 30 * fling)
  curves["pelvis_yaw"] += sign * (15 * cock - 15 * fling)
  curves["spine_pitch"] += -8 * cock + 18 * fling
  curves[f"{other}_hip_flex"] += 18 * (cock + fling)
  curves[f"{other}_knee"] += 14 * (cock + fling)
  curves[f"{side}_hip_flex"] -= 10 * (cock + fling)
  return curves, _heading(t, rng, rng.uniform(-30, 30))


def _stretch(t: np.ndarray, rng: Rng) -> tuple[Curves, np.ndarray]:
  """Arms up or on the hips, leans to one side; or a lunge forward."""
  curves = stand(t, rng)
  amount = _visit(rng, t, slow=1.1)
  if rng.uniform() < 0.5:
    _hold_arms(curves, rng)
    lean = rng.choice([-1, 1]) * rng.uniform(18, 32)
    curves["spine_roll"] += amount * lean
    curves["pelvis_roll"] += amount * 0.25 * lean
  else:
    front, rear = ("left", "right") if rng.uniform() < 0.5 else ("right", "left")
    deep = rng.uniform(0.6, 1.0) * amount
    curves[f"{front}_hip_flex"] += 75 * deep
    curves[f"{front}_knee"] += 78 * deep
    curves[f"{front}_ankle"] += 8 * deep
    curves[f"{rear}_hip_flex"] -= 22 * deep
    curves[f"{rear}_knee"] += 35 * deep
    curves[f"{rear}_ankle"] -= 25 * deep
    for side in ("left", "right"):
      curves[f"{side}_shoulder_abduct"] += rng.uniform(0, 60) * deep
  return curves, _heading(t, rng, rng.uniform(-40, 40))


ACTIONS: dict[str, Callable[[np.ndarray, Rng], tuple[Curves, np.ndarray]]] = {
  "walking": _walk,
  "strolling": _stroll,
  "jogging": _jog,
  "marching": _march,
  "turning": _turn,
  "greeting": _greet,
  "reaching": _reach,
  "picking_up": _pick_up,
  "squatting": _squat,
  "sitting": _sit,
  "kicking": _kick,
  "throwing": _throw,
  "stretching": _stretch,
}
