"""Rooms: textured walls and floor, clutter, lamps, and four calibrated cameras around the middle.

A background is cast pixel by pixel from the same room, so that the views of one room agree. Nothing
stands nearer to the middle than the cameras: furniture never hides a person.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Float32

from datasets.rendering import Drawing, rotate
from jaxpose.geometry import Camera

ROOM_HALF_MM = (7400.0, 8800.0)  # from the middle to the walls
FOCAL = 1.32  # focal length in image widths
AMBIENT = 0.55


@dataclasses.dataclass(frozen=True)
class Box:
  """A piece of furniture, along the axes of the room."""

  low: Float[np.ndarray, "3"]
  high: Float[np.ndarray, "3"]
  colour: Float[np.ndarray, "3"]


@dataclasses.dataclass(frozen=True)
class Scene:
  """A room and the cameras in it.

  Attributes:
    cameras: around the middle.
    backgrounds: the empty room in each camera, 0..1.
    floor_xy: where each pixel's ray meets the floor, mm; NaN where it sees something else.
    light: unit vector towards the lamp, world.
    falls: whether a springboard stands in the middle.
  """

  cameras: tuple[Camera, ...]
  backgrounds: tuple[Float32[np.ndarray, "H W 3"], ...]
  floor_xy: tuple[Float32[np.ndarray, "H W 2"], ...]
  light: Float[np.ndarray, "3"]
  falls: bool


def _hash_noise(i: np.ndarray, j: np.ndarray, salt: int) -> Float32[np.ndarray, "*n"]:
  """A number in 0..1 for each pair of integers, by integer arithmetic alone."""
  x = i.astype(np.int64).astype(np.uint32) * np.uint32(0x9E3779B1)
  x ^= j.astype(np.int64).astype(np.uint32) * np.uint32(0x85EBCA77)
  x ^= np.uint32((salt * 0x27D4EB2F) & 0xFFFFFFFF)
  x ^= x >> np.uint32(15)
  x *= np.uint32(0x2C1B3C6D)
  x ^= x >> np.uint32(12)
  x *= np.uint32(0x297A2D39)
  x ^= x >> np.uint32(15)
  return x.astype(np.float32) / np.float32(2**32)


def _value_noise(u: np.ndarray, v: np.ndarray, cell_mm: float, salt: int) -> np.ndarray:
  """Smooth noise in 0..1 of positions in mm, with cells of that size."""
  u, v = u / cell_mm, v / cell_mm
  i, j = np.floor(u), np.floor(v)
  fu, fv = u - i, v - j
  fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
  low = _hash_noise(i, j, salt) * (1 - fu) + _hash_noise(i + 1, j, salt) * fu
  high = _hash_noise(i, j + 1, salt) * (1 - fu) + _hash_noise(i + 1, j + 1, salt) * fu
  return low * (1 - fv) + high * fv


def _surface(
  u: np.ndarray, v: np.ndarray, colours: np.ndarray, pattern: int, size_mm: float, salt: int
) -> Float[np.ndarray, "*n 3"]:
  """Colour of a wall or floor: plain, stripes, tiles or bricks, blotched by two octaves of noise."""
  if pattern == 0:
    mix = np.zeros_like(u)
  elif pattern == 1:
    mix = (np.floor(u / size_mm) % 2).astype(u.dtype)
  elif pattern == 2:
    mix = ((np.floor(u / size_mm) + np.floor(v / size_mm)) % 2).astype(u.dtype)
  else:
    row = np.floor(v / (0.5 * size_mm))
    brick = u / size_mm + 0.5 * (row % 2)
    mix = 0.7 * _hash_noise(np.floor(brick), row, salt + 7)
    joint = (brick - np.floor(brick) < 0.05) | (v / (0.5 * size_mm) - row < 0.1)
    mix = np.where(joint, 1.0, mix)
  base = colours[0] + mix[..., None] * (colours[1] - colours[0])
  blotch = 0.75 * _value_noise(u, v, 900.0, salt) + 0.25 * _value_noise(u, v, 140.0, salt + 1)
  return base * (0.78 + 0.44 * blotch)[..., None]


def _sample_boxes(rng: np.random.Generator, half: float, falls: bool) -> list[Box]:
  """Furniture along the walls; in a hall for divers, a springboard on its post."""
  boxes = []
  for _ in range(int(rng.integers(9, 14))):
    wall = int(rng.integers(4))
    along = rng.uniform(-half + 600, half - 600)
    wide, deep, high = rng.uniform(250, 1100), rng.uniform(150, 400), rng.uniform(300, 2400)
    middle = half - deep - 5
    sign = 1.0 if wall < 2 else -1.0
    centre = np.array([along, sign * middle]) if wall % 2 else np.array([sign * middle, along])
    extent = np.array([wide / 2, deep]) if wall % 2 else np.array([deep, wide / 2])
    base = rng.uniform(0, 1500) if rng.uniform() < 0.35 else 0.0
    boxes.append(
      Box(
        np.append(centre - extent, base),
        np.append(centre + extent, base + high),
        rng.uniform(0.15, 0.9, size=3),
      )
    )
  if falls:
    colour = rng.uniform(0.25, 0.6, size=3)
    boxes.append(Box(np.array([-1500.0, -220, 1110]), np.array([-60.0, 220, 1160]), colour))
    boxes.append(Box(np.array([-1450.0, -90, 0]), np.array([-1250.0, 90, 1110]), 0.7 * colour))
  return boxes


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
    distance = rng.uniform(5400, 6600)
    angle = np.deg2rad(angle)
    eye = np.array([distance * np.cos(angle), distance * np.sin(angle), rng.uniform(1000, 2000)])
    target = np.array([rng.uniform(-250, 250), rng.uniform(-250, 250), rng.uniform(700, 1250)])
    if falls:
      target[2] = 1500.0
    focal = FOCAL * (0.88 if falls else 1.0)
    cameras.append(_look_at(np.round(eye, 3), np.round(target, 3), size, focal))
  return tuple(cameras)


def _cast(
  camera: Camera, half: float, boxes: list[Box], looks: list[tuple], light: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Colour of each pixel (mean of 2 × 2 rays) and where it meets the floor."""
  height, width = camera.height, camera.width
  K = camera.K
  column = (np.arange(2 * width) + 0.5) / 2 - 0.5
  row = (np.arange(2 * height) + 0.5) / 2 - 0.5
  u, v = np.meshgrid((column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1])
  local = np.stack([u, v, np.ones_like(u)], axis=-1)
  ray = rotate(np.swapaxes(camera.R, 0, 1), local)
  ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
  eye = -rotate(np.swapaxes(camera.R, 0, 1), camera.t_mm)
  wall = (np.where(ray[..., :2] > 0, half, -half) - eye[:2]) / ray[..., :2]
  floor = np.where(ray[..., 2] < 0, -eye[2] / ray[..., 2], np.inf)
  distances = [floor, wall[..., 0], wall[..., 1]]
  nearest = np.min(distances, axis=0)
  point = eye + nearest[..., None] * ray
  on_floor = floor <= nearest
  colour = _surface(point[..., 0], point[..., 1], *looks[0])
  for axis in (0, 1):
    for sign in (1, -1):
      seen = ~on_floor & (wall[..., axis] <= nearest) & (ray[..., axis] * sign > 0)
      look = looks[1 + 2 * axis + (sign > 0)]
      painted = _surface(point[..., 1 - axis], point[..., 2], *look)
      shade = 0.72 + 0.28 * max(-sign * light[axis], 0.0)
      colour = np.where(seen[..., None], painted * shade, colour)
  for number, box in enumerate(boxes):
    inverse = 1.0 / ray
    first, second = (box.low - eye) * inverse, (box.high - eye) * inverse
    enter = np.minimum(first, second)
    begin, finish = enter.max(axis=-1), np.maximum(first, second).min(axis=-1)
    hit = (begin < finish) & (begin > 0) & (begin < nearest)
    nearest = np.where(hit, begin, nearest)
    spot = eye + begin[..., None] * ray
    face = enter.argmax(axis=-1)
    grain = _value_noise(spot[..., 0] + spot[..., 1], spot[..., 2], 180.0, number)
    shade = np.array([0.8, 0.65, 1.0])[face] * (0.8 + 0.4 * grain)
    colour = np.where(hit[..., None], box.colour * shade[..., None], colour)
    on_floor &= ~hit
  floor_xy = np.where(on_floor[..., None], point[..., :2], np.nan)

  def halve(image: np.ndarray) -> np.ndarray:
    return 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])

  return halve(np.clip(colour, 0, 1)).astype(np.float32), halve(floor_xy).astype(np.float32)


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
  half = rng.uniform(*ROOM_HALF_MM)
  looks = []
  for surface in range(5):
    base = rng.uniform(0.25, 0.75) + rng.uniform(-0.12, 0.12, size=3)
    other = np.clip(base * rng.uniform(0.6, 1.4), 0.08, 0.95)
    pattern = int(rng.integers(1, 4)) if surface == 0 else int(rng.integers(0, 4))
    looks.append(
      (np.stack([base, other]), pattern, rng.uniform(350, 900), 100 * number + 10 * surface)
    )
  azimuth = rng.uniform(0, 2 * np.pi)
  light = np.array([0.55 * np.cos(azimuth), 0.55 * np.sin(azimuth), 0.835])
  light = np.round(light / np.sqrt((light**2).sum()), 6)
  boxes = _sample_boxes(rng, half, falls)
  cameras = _sample_cameras(rng, views, size, falls)
  cast = [_cast(camera, half, boxes, looks, light) for camera in cameras]
  return Scene(cameras, tuple(c[0] for c in cast), tuple(c[1] for c in cast), light, falls)


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
