"""Calibrated cameras around the middle of a room, and shadows on its floor."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Float32

from datasets.rendering import rotate
from datasets.synthetic_people.motion import BOARD_MM
from datasets.synthetic_people.room import cast_background, sample_room
from jaxpose.geometry import Camera

ROOM_HALF_MM = (8800.0, 10200.0)  # from the middle to the walls
DISTANCE_MM = (6800.0, 8000.0)  # of the cameras from the middle
HEIGHT_MM = (1000.0, 2000.0)  # of the cameras
FOCAL, DIVE_FOCAL = 2.15, 1.55  # focal length in image widths
AIM_MM, DIVE_AIM_MM = (700.0, 1250.0), (1400.0, 1600.0)  # height that cameras point at
AMBIENT = 0.55


@dataclasses.dataclass(frozen=True)
class Scene:
  """A room and the cameras in it.

  Attributes:
    cameras: around the middle.
    backgrounds: the empty room in each camera, 0..1.
    floor_xy: where each pixel's ray meets the floor, mm; NaN where it sees something else.
    light: unit vector towards the lamp, world.
  """

  cameras: tuple[Camera, ...]
  backgrounds: tuple[Float32[np.ndarray, "H W 3"], ...]
  floor_xy: tuple[Float32[np.ndarray, "H W 2"], ...]
  light: Float[np.ndarray, "3"]


def _look_at(eye: np.ndarray, target: np.ndarray, size: tuple[int, int], focal: float) -> Camera:
  """A level camera at `eye` that has `target` in the middle of its image (height, width)."""
  forward = target - eye
  forward = forward / np.sqrt((forward**2).sum())
  right = np.array([forward[1], -forward[0], 0.0])
  right /= np.sqrt((right**2).sum())
  down = np.cross(forward, right)
  R = np.stack([right, down, forward])
  height, width = size
  K = np.array(
    [[focal * width, 0, (width - 1) / 2], [0, focal * width, (height - 1) / 2], [0, 0, 1.0]]
  )
  return Camera(K, R, -rotate(R, eye), np.zeros(5), width, height)


def _sample_cameras(
  rng: np.random.Generator, views: int, size: tuple[int, int], falls: bool
) -> tuple[Camera, ...]:
  """Cameras on a ring; of divers, on the half of it that the board doesn't hide."""
  cameras = []
  start = rng.uniform(0, 360)
  for view in range(views):
    if falls:
      angle = -95 + 190 * (view + 0.5) / views + rng.uniform(-12, 12)
    else:
      angle = start + 360 * view / views + rng.uniform(-20, 20)
    distance, angle = rng.uniform(*DISTANCE_MM), np.deg2rad(angle)
    eye = [distance * np.cos(angle), distance * np.sin(angle), rng.uniform(*HEIGHT_MM)]
    target = [*rng.uniform(-250, 250, size=2), rng.uniform(*(DIVE_AIM_MM if falls else AIM_MM))]
    focal = DIVE_FOCAL if falls else FOCAL
    cameras.append(_look_at(np.round(eye, 3), np.round(target, 3), size, focal))
  return tuple(cameras)


@functools.lru_cache(maxsize=32)
def build_scene(seed: int, number: int, views: int, size: tuple[int, int], falls: bool) -> Scene:
  """Room `number` of a data set, the same in every process.

  Args:
    seed: of the data set.
    number: which room.
    views: cameras.
    size: (height, width) of the images.
    falls: with a springboard, for divers.
  """
  rng = np.random.default_rng(np.random.SeedSequence([seed, 2, number, int(falls)]))
  room = sample_room(rng, number, ROOM_HALF_MM, BOARD_MM if falls else None)
  cameras = _sample_cameras(rng, views, size, falls)
  cast = [cast_background(room, camera) for camera in cameras]
  return Scene(cameras, tuple(c[0] for c in cast), tuple(c[1] for c in cast), room.light)


def shade_floor(
  images: Float32[np.ndarray, "F H W 3"],
  floor_xy: Float32[np.ndarray, "H W 2"],
  spots: Float[np.ndarray, "F S 3"],
  radius_mm: float,
) -> None:
  """Darkens the floor under points near it, in place: 1 − 0.5 h (1 − d²/r²)², d across the floor.

  Args:
    images: 0..1.
    floor_xy: of the camera, as in `Scene`.
    spots: world, mm; h falls from 1 on the floor to 0 at a height of 2 r.
    radius_mm: r.
  """
  strength = 0.5 * np.clip(1 - spots[..., 2] / (2 * radius_mm), 0, 1)
  for frame in range(len(images)):
    shadow = np.zeros(floor_xy.shape[:2], np.float32)
    for spot, amount in zip(spots[frame], strength[frame]):
      if amount <= 0:
        continue
      x, y = floor_xy[..., 0] - np.float32(spot[0]), floor_xy[..., 1] - np.float32(spot[1])
      near = 1 - (x * x + y * y) / np.float32(radius_mm**2)
      near = np.where(near > 0, near, 0)
      shadow = np.maximum(shadow, np.float32(amount) * near * near)
    images[frame] *= 1 - shadow[..., None]
