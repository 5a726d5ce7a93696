"""The empty room: walls, floor and furniture with procedural textures, cast ray by ray.

All views are cast from the same room, so that they agree. Furniture stands at the walls, behind the
cameras: it never hides a person.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float32

from datasets.rendering import rotate
from jaxpose.geometry import Camera

PLAIN, STRIPES, TILES, BRICKS = range(4)
_BOX_SHADE = np.array([0.8, 0.65, 1.0])  # faces across x, y and z


@dataclasses.dataclass(frozen=True)
class Surface:
  """How a wall or the floor looks.

  Attributes:
    colours: of the two parts of the pattern, RGB 0..1.
    pattern: PLAIN, STRIPES, TILES or BRICKS.
    size_mm: of a stripe, tile or brick.
    salt: number of its noise.
  """

  colours: Float[np.ndarray, "2 3"]
  pattern: int
  size_mm: float
  salt: int


@dataclasses.dataclass(frozen=True)
class Box:
  """A piece of furniture, along the axes of the room."""

  low: Float[np.ndarray, "3"]
  high: Float[np.ndarray, "3"]
  colour: Float[np.ndarray, "3"]


@dataclasses.dataclass(frozen=True)
class Room:
  """A square room around the middle.

  Attributes:
    half_mm: from the middle to the walls.
    floor: its look.
    walls: looks of the walls at −x, +x, −y and +y.
    boxes: furniture.
    light: unit vector towards the lamp, world.
  """

  half_mm: float
  floor: Surface
  walls: tuple[Surface, Surface, Surface, Surface]
  boxes: tuple[Box, ...]
  light: Float[np.ndarray, "3"]


def _hash_noise(i: np.ndarray, j: np.ndarray, salt: int) -> Float32[np.ndarray, " *n"]:
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


def _paint(
  surface: Surface, u: Float[np.ndarray, "h w"], v: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
  """Colour of a surface at (u, v) mm: its pattern, blotched by two octaves of noise."""
  size, salt = surface.size_mm, surface.salt
  if surface.pattern == PLAIN:
    mix = np.zeros_like(u)
  elif surface.pattern == STRIPES:
    mix = np.floor(u / size) % 2
  elif surface.pattern == TILES:
    mix = (np.floor(u / size) + np.floor(v / size)) % 2
  else:
    row = np.floor(v / (0.5 * size))
    brick = u / size + 0.5 * (row % 2)
    joint = (brick - np.floor(brick) < 0.05) | (v / (0.5 * size) - row < 0.1)
    mix = np.where(joint, 1.0, 0.7 * _hash_noise(np.floor(brick), row, salt + 7))
  first, second = surface.colours
  blotch = 0.75 * _value_noise(u, v, 900.0, salt) + 0.25 * _value_noise(u, v, 140.0, salt + 1)
  return (first + mix[..., None] * (second - first)) * (0.78 + 0.44 * blotch)[..., None]


def sample_room(
  rng: np.random.Generator, number: int, half_mm: tuple[float, float], board_mm: float | None
) -> Room:
  """A room of any colours and patterns.

  Args:
    rng: source of everything but the noise.
    number: of the room: which noise.
    half_mm: least and greatest distance from the middle to the walls.
    board_mm: height of a springboard whose tip is in the middle; None for none.
  """
  half = rng.uniform(*half_mm)
  surfaces = []
  for place in range(5):
    base = rng.uniform(0.25, 0.75) + rng.uniform(-0.12, 0.12, size=3)
    other = np.clip(base * rng.uniform(0.6, 1.4), 0.08, 0.95)
    pattern = int(rng.integers(STRIPES if place == 0 else PLAIN, BRICKS + 1))
    salt = 100 * number + 10 * place
    surfaces.append(Surface(np.stack([base, other]), pattern, rng.uniform(350, 900), salt))
  floor, *walls = surfaces
  azimuth = rng.uniform(0, 2 * np.pi)
  light = np.round([0.55 * np.cos(azimuth), 0.55 * np.sin(azimuth), 0.835], 6)
  boxes = tuple(_sample_furniture(rng, half) + _springboard(rng, board_mm))
  return Room(half, floor, (walls[0], walls[1], walls[2], walls[3]), boxes, light)


def _sample_furniture(rng: np.random.Generator, half: float) -> list[Box]:
  """Boxes along the walls, on the floor or hung up."""
  boxes = []
  for _ in range(int(rng.integers(12, 18))):
    wall = int(rng.integers(4))
    along = rng.uniform(-half + 600, half - 600)
    wide, deep, high = rng.uniform(250, 1100), rng.uniform(150, 400), rng.uniform(300, 2400)
    distance = (half - deep - 5) * (1.0 if wall < 2 else -1.0)
    centre = np.array([along, distance]) if wall % 2 else np.array([distance, along])
    extent = np.array([wide / 2, deep]) if wall % 2 else np.array([deep, wide / 2])
    base = rng.uniform(0, 1500) if rng.uniform() < 0.35 else 0.0
    low, high_corner = np.append(centre - extent, base), np.append(centre + extent, base + high)
    boxes.append(Box(low, high_corner, rng.uniform(0.15, 0.9, size=3)))
  return boxes


def _springboard(rng: np.random.Generator, board_mm: float | None) -> list[Box]:
  """A board along −x that ends just before the middle, on a post."""
  if board_mm is None:
    return []
  colour = rng.uniform(0.25, 0.6, size=3)
  board = Box(np.array([-1500.0, -220, board_mm - 50]), np.array([-60.0, 220, board_mm]), colour)
  post = Box(np.array([-1450.0, -90, 0]), np.array([-1250.0, 90, board_mm - 50]), 0.7 * colour)
  return [board, post]


def cast_background(
  room: Room, camera: Camera
) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W 2"]]:
  """The empty room as a camera sees it, the mean of 2 × 2 rays per pixel.

  Returns:
    colour 0..1, and where each pixel sees the floor: x, y in mm, NaN where it sees something else.
  """
  eye, ray = _rays(camera)
  wall = (np.where(ray[..., :2] > 0, room.half_mm, -room.half_mm) - eye[:2]) / ray[..., :2]
  floor = np.where(ray[..., 2] < 0, -eye[2] / ray[..., 2], np.inf)
  nearest = np.minimum(floor, np.minimum(wall[..., 0], wall[..., 1]))
  point = eye + nearest[..., None] * ray
  on_floor = floor <= nearest
  colour = _paint(room.floor, point[..., 0], point[..., 1])
  for number, surface in enumerate(room.walls):
    axis, sign = number // 2, 2 * (number % 2) - 1
    seen = ~on_floor & (wall[..., axis] <= nearest) & (ray[..., axis] * sign > 0)
    shade = 0.72 + 0.28 * max(-sign * room.light[axis], 0.0)
    painted = _paint(surface, point[..., 1 - axis], point[..., 2]) * shade
    colour = np.where(seen[..., None], painted, colour)
  for number, box in enumerate(room.boxes):
    hit, nearest = _draw_box(colour, box, number, eye, ray, nearest)
    on_floor &= ~hit
  floor_xy = np.where(on_floor[..., None], point[..., :2], np.nan)
  return _halve(np.clip(colour, 0, 1)), _halve(floor_xy)


def _rays(camera: Camera) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "h w 3"]]:
  """The camera's place and the direction of 2 × 2 rays per pixel, world."""
  K, inverse = camera.K, np.swapaxes(camera.R, 0, 1)
  column = (np.arange(2 * camera.width) + 0.5) / 2 - 0.5
  row = (np.arange(2 * camera.height) + 0.5) / 2 - 0.5
  x, y = np.meshgrid((column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1])
  ray = rotate(inverse, np.stack([x, y, np.ones_like(x)], axis=-1))
  return -rotate(inverse, camera.t_mm), np.where(np.abs(ray) < 1e-9, 1e-9, ray)


def _draw_box(
  colour: Float[np.ndarray, "h w 3"],
  box: Box,
  number: int,
  eye: Float[np.ndarray, "3"],
  ray: Float[np.ndarray, "h w 3"],
  nearest: Float[np.ndarray, "h w"],
) -> tuple[Bool[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
  """Paints a box into `colour` where nothing is nearer; returns where, and what is nearest now."""
  first, second = (box.low - eye) / ray, (box.high - eye) / ray
  enter, leave = np.minimum(first, second), np.maximum(first, second)
  begin = enter.max(axis=-1)
  hit = (begin < leave.min(axis=-1)) & (begin > 0) & (begin < nearest)
  spot = eye + begin[hit][:, None] * ray[hit]
  grain = _value_noise(spot[:, 0] + spot[:, 1], spot[:, 2], 180.0, number)
  shade = _BOX_SHADE[enter[hit].argmax(axis=-1)] * (0.8 + 0.4 * grain)
  colour[hit] = box.colour * shade[:, None]
  return hit, np.where(hit, begin, nearest)


def _halve(image: Float[np.ndarray, "h w C"]) -> Float32[np.ndarray, "H W C"]:
  """Mean of 2 × 2 values."""
  quarters = image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
  return (0.25 * quarters).astype(np.float32)
