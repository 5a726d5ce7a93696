"""How constant the acceleration of a fall is in the image (P2 §S.3).

A body falls by x(t) = x₀ + v t + g t²/2. Where its depth stays the same, the projection has the
constant acceleration f g / z; where it changes, the acceleration drifts. The tracking losses
(P1 eq. 9) take it for constant.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

GRAVITY_MM_S2 = 9810.0


class Fall(NamedTuple):
  """A fall as a camera sees it.

  Attributes:
    distance_mm: depth of the start.
    travel_deg: between the image plane and the horizontal direction of travel; away from the
      camera if positive.
    pitch_deg: by which the camera looks down: what falls by h recedes by h · sin(pitch), as it
      falls straight away from a camera that looks straight down.
    speed_mm_s, rise_mm_s: horizontal and upward speed at the start.
    duration_s: of the fall.
  """

  distance_mm: float
  travel_deg: float = 0.0
  pitch_deg: float = 0.0
  speed_mm_s: float = 800.0
  rise_mm_s: float = 2000.0
  duration_s: float = 1.0


class Drift(NamedTuple):
  """What the projection of a fall does along the image's vertical axis.

  Attributes:
    acceleration_px_s2: mean second difference over the fall.
    drift: (largest − smallest) / |mean| of the second differences.
    loss: mean of P1 eq. 9 over quadruples of frames `spacing_s` apart, in half frames squared.
  """

  acceleration_px_s2: float
  drift: float
  loss: float


def fall_points(fall: Fall, time_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 3"]:
  """Places of the falling body in camera axes (x right, y down, z away), mm."""
  travel, pitch = np.deg2rad([fall.travel_deg, fall.pitch_deg])
  down = np.array([0.0, np.cos(pitch), np.sin(pitch)])
  away = np.array([0.0, -np.sin(pitch), np.cos(pitch)])
  forward = np.cos(travel) * np.array([1.0, 0.0, 0.0]) + np.sin(travel) * away
  t = time_s[:, None]
  sunk = -fall.rise_mm_s * t + GRAVITY_MM_S2 / 2 * t**2
  return np.array([0.0, 0.0, fall.distance_mm]) + fall.speed_mm_s * t * forward + sunk * down


def measure_drift(
  fall: Fall, *, focal_px: float, height_px: int, fps: float, spacing: int = 1
) -> Drift:
  """Projects a fall, v = f y / z, and takes differences in time.

  Args:
    focal_px: vertical focal length.
    height_px: of the frame: half of it is the unit of the loss.
    fps: frames a second.
    spacing: frames between those of a quadruple.

  Raises:
    ValueError: the fall is shorter than four such frames, or passes the camera.
  """
  time_s = np.arange(int(fall.duration_s * fps + 1e-9) + 1) / fps
  if len(time_s) < 3 * spacing + 1:
    raise ValueError(f"a fall of {fall.duration_s} s has no four frames {spacing} apart")
  points = fall_points(fall, time_s)
  if points[:, 2].min() <= 0:
    raise ValueError("the fall passes the camera's plane")
  v = focal_px * points[:, 1] / points[:, 2]
  second = np.diff(v, 2) * fps**2
  return Drift(
    float(second.mean()),
    float(np.ptp(second) / abs(second.mean())),
    float(third_differences(v / (height_px / 2), spacing).mean()),
  )


def third_differences(u: Float[np.ndarray, " T"], spacing: int) -> Float[np.ndarray, " M"]:
  """((u_4 + 3 u_2) − (u_1 + 3 u_3))² (P1 eq. 9) of every quadruple `spacing` apart."""
  parts = [u[i * spacing : len(u) - (3 - i) * spacing] for i in range(4)]
  return np.square(parts[3] + 3 * parts[1] - parts[0] - 3 * parts[2])
