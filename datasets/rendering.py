"""Draws shaded capsules with a z-buffer over a background, all frames of a track at once.

Whatever gives 3D points (joint angles, motion capture) is drawn by the same code: a person is a set
of capsules, each with a body frame and a material. Only elementwise + − × ÷ √ and comparisons run
here, which IEEE 754 rounds alike everywhere: equal points give equal pixels on every machine.
"""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from jaxpose.geometry import Camera

SUBSAMPLES = 3  # sub-pixels along each side of a pixel
PLAIN, TORSO, HEAD = 0, 1, 2  # kinds of material


@dataclasses.dataclass(frozen=True)
class Materials:
  """How each of the K capsules looks; colours are RGB in 0..1.

  Attributes:
    kind: PLAIN limbs, TORSO (emblem on the front), HEAD (face on the front, hair elsewhere).
    front, back: colour of the half that faces forward in the body frame, and of the other one.
    end: colour beyond `split` along the capsule (bare skin under a sleeve, a sock).
    split: position along the capsule, 0..1 from start to end, where `end` begins; > 1 for never.
    stripe: colour of the rings around the capsule.
    stripe_rate: rings from start to end; 0 for none.
    emblem: colour of the panel on the chest (TORSO) or of the face (HEAD).
    offset_mm: how far left of the body's middle plane the axis lies (TORSO).
  """

  kind: Int[np.ndarray, " K"]
  front: Float32[np.ndarray, "K 3"]
  back: Float32[np.ndarray, "K 3"]
  end: Float32[np.ndarray, "K 3"]
  split: Float32[np.ndarray, " K"]
  stripe: Float32[np.ndarray, "K 3"]
  stripe_rate: Float32[np.ndarray, " K"]
  emblem: Float32[np.ndarray, "K 3"]
  offset_mm: Float32[np.ndarray, " K"]


@dataclasses.dataclass(frozen=True)
class Capsules:
  """K capsules in F frames, world coordinates in mm.

  Attributes:
    start, end: end points of the axes.
    start_radius_mm, end_radius_mm: half the thickness at either end.
    axes: body frame of each capsule; its columns are forward, left and up in world coordinates.
    materials: how they look.
  """

  start: Float[np.ndarray, "F K 3"]
  end: Float[np.ndarray, "F K 3"]
  start_radius_mm: Float[np.ndarray, " K"]
  end_radius_mm: Float[np.ndarray, " K"]
  axes: Float[np.ndarray, "F K 3 3"]
  materials: Materials


@dataclasses.dataclass(frozen=True)
class Drawing:
  """A person without a background.

  Attributes:
    colour: premultiplied by `coverage`, 0..1.
    coverage: part of each pixel that the person covers, 0..1.
    origin: (column, row) of the first pixel of `colour` in the image.
  """

  colour: Float32[np.ndarray, "F h w 3"]
  coverage: Float32[np.ndarray, "F h w"]
  origin: tuple[int, int]


def rotate(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
  """M v written out, so that no library chooses the order of the sum: [..., 3, 3], [..., 3]."""
  return (
    matrix[..., :, 0] * vector[..., None, 0]
    + matrix[..., :, 1] * vector[..., None, 1]
    + matrix[..., :, 2] * vector[..., None, 2]
  )


def to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
  """R x + t: [..., 3] mm -> [..., 3] mm."""
  return rotate(camera.R, points) + camera.t_mm


def to_pixels(points_cam: np.ndarray, camera: Camera) -> np.ndarray:
  """Pinhole projection without distortion: [..., 3] mm -> [..., 2] px."""
  x, y, z = points_cam[..., 0], points_cam[..., 1], points_cam[..., 2]
  K = camera.K
  return np.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], axis=-1)


def draw_capsules(
  capsules: Capsules, camera: Camera, light_world: Float[np.ndarray, "3"], ambient: float
) -> Drawing:
  """Draws the capsules with Lambert shading: ambient + (1 − ambient) max(0, n · l).

  Each capsule is seen in weak perspective: at its ends it has the scale of their depths. A pixel
  meets the side of the cylinder where |m − t d|² + s² = r², or else the sphere at an end; the
  nearest capsule wins. Light comes from `light_world` (unit vector towards the lamp).

  Raises:
    ValueError: part of a capsule lies behind the camera, or the lens has distortion.
  """
  if np.any(camera.distortion):
    raise ValueError("capsules are drawn for a lens without distortion")
  table = _screen_table(capsules, camera)
  low, high = _pixel_window(table, camera)
  hit = _intersect(table, *_candidates(table, low, high), low)
  fragments = _z_buffer(hit, capsules.start.shape[0], low, high)
  shape = (capsules.start.shape[0], high[1] - low[1], high[0] - low[0])
  light_cam = rotate(camera.R, np.asarray(light_world)).astype(np.float32)
  colour = _shade(fragments, capsules, camera, light_cam, np.float32(ambient))
  pixel = fragments["pixel"]
  size = shape[0] * shape[1] * shape[2]
  share = np.float32(1.0 / SUBSAMPLES**2)
  planes = [np.bincount(pixel, weights=colour[:, c], minlength=size) for c in range(3)]
  total = np.stack(planes, axis=-1).astype(np.float32) * share
  coverage = np.bincount(pixel, minlength=size).astype(np.float32) * share
  return Drawing(total.reshape(*shape, 3), coverage.reshape(shape), (int(low[0]), int(low[1])))


def _screen_table(capsules: Capsules, camera: Camera) -> dict[str, np.ndarray]:
  """Ends, extents and radii of all capsules in px, flattened capsule by capsule: each [K·F]."""
  ends = [to_camera(np.swapaxes(p, 0, 1), camera) for p in (capsules.start, capsules.end)]
  if min(float(e[..., 2].min()) for e in ends) < 100.0:
    raise ValueError("a capsule lies at or behind the camera: move the camera away")
  focal = camera.K[0, 0]
  scale = [focal / e[..., 2] for e in ends]
  pixels = [to_pixels(e, camera) for e in ends]
  depth_scale = focal / ends[0][..., 2].mean()
  radii = [
    np.asarray(r)[:, None] * s
    for r, s in zip((capsules.start_radius_mm, capsules.end_radius_mm), scale)
  ]
  depth = [e[..., 2] * depth_scale for e in ends]
  offset = ends[0][..., 2].min() * depth_scale
  a = {"ax": pixels[0][..., 0], "ay": pixels[0][..., 1], "az": depth[0] - offset, "ra": radii[0]}
  b = {"dx": pixels[1][..., 0], "dy": pixels[1][..., 1], "dz": depth[1] - offset, "dr": radii[1]}
  table = {k: v.ravel().astype(np.float32) for k, v in (a | b).items()}
  for start, delta in zip(a, b):
    table[delta] = table[delta] - table[start]
  flat = table["dx"] ** 2 + table["dy"] ** 2
  table["flat"] = np.maximum(flat, np.float32(1e-3))
  table["solid"] = table["flat"] + table["dz"] ** 2
  table["slope"] = np.sqrt(table["solid"] / table["flat"])
  return table


def _pixel_window(table: dict[str, np.ndarray], camera: Camera) -> tuple[list[int], list[int]]:
  """First and one past the last (column, row) that any capsule in any frame touches."""
  low, high = [], []
  for axis, size in (("x", camera.width), ("y", camera.height)):
    least, most = _extent(table, axis)
    first = min(max(int(np.floor(least.min())), 0), size - 1)
    low.append(first)
    high.append(min(max(int(np.ceil(most.max())) + 1, first + 1), size))
  return low, high


def _extent(table: dict[str, np.ndarray], axis: str) -> tuple[np.ndarray, np.ndarray]:
  """Least and greatest coordinate of each capsule's silhouette, px."""
  start, end = table["a" + axis], table["a" + axis] + table["d" + axis]
  first, last = table["ra"], table["ra"] + table["dr"]
  return np.minimum(start - first, end - last), np.maximum(start + first, end + last)


def _candidates(
  table: dict[str, np.ndarray], low: list[int], high: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(capsule, column, row) of all sub-pixels in the bounding box of each capsule, in its order."""
  boxes = []
  for axis, first, stop in (("x", low[0], high[0]), ("y", low[1], high[1])):
    least, most = _extent(table, axis)
    begin = np.floor((least + 0.5 - first) * SUBSAMPLES).astype(np.int64)
    finish = np.ceil((most + 0.5 - first) * SUBSAMPLES).astype(np.int64)
    limit = (stop - first) * SUBSAMPLES
    begin = np.clip(begin, 0, limit)
    boxes.append((begin, np.clip(finish, begin, limit)))
  (x0, x1), (y0, y1) = boxes
  width = x1 - x0
  count = width * (y1 - y0)
  owner = np.repeat(np.arange(len(count)), count)
  local = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
  row = local // np.repeat(np.maximum(width, 1), count)
  column = local - row * np.repeat(width, count)
  column += x0[owner]
  row += y0[owner]
  return owner, column, row


def _intersect(
  table: dict[str, np.ndarray],
  owner: np.ndarray,
  column: np.ndarray,
  row: np.ndarray,
  low: list[int],
) -> dict[str, np.ndarray]:
  """Where each sub-pixel's ray meets its capsule; rays that miss are left out."""
  half = np.float32(0.5 / SUBSAMPLES - 0.5)
  step = np.float32(1.0 / SUBSAMPLES)
  mx = column.astype(np.float32) * step + np.float32(low[0] + half) - table["ax"][owner]
  my = row.astype(np.float32) * step + np.float32(low[1] + half) - table["ay"][owner]
  dx, dy = table["dx"][owner], table["dy"][owner]
  along = (mx * dx + my * dy) / table["flat"][owner]
  clipped = np.clip(along, 0, 1)
  ox, oy = mx - clipped * dx, my - clipped * dy
  radius = table["ra"][owner] + clipped * table["dr"][owner]
  inside = np.flatnonzero(ox * ox + oy * oy < radius * radius)
  owner, mx, my, dx, dy = owner[inside], mx[inside], my[inside], dx[inside], dy[inside]
  along, radius, dz = along[inside], radius[inside], table["dz"][owner]
  # the side of the cylinder: the ray meets it before its axis, by `lift` in depth
  ox, oy = mx - along * dx, my - along * dy
  lift = np.sqrt(np.maximum(radius * radius - ox * ox - oy * oy, 0)) * table["slope"][owner]
  t = np.clip(along - lift * dz / table["solid"][owner], 0, 1)
  radius = table["ra"][owner] + t * table["dr"][owner]
  # a sphere of that radius about the axis point: exact at the caps, and on straight cylinders
  nx, ny = mx - t * dx, my - t * dy
  nz = -np.sqrt(np.maximum(radius * radius - nx * nx - ny * ny, 0))
  return {
    "owner": owner,
    "column": column[inside],
    "row": row[inside],
    "t": t,
    "depth": table["az"][owner] + t * dz + nz,
    "nx": nx / radius,
    "ny": ny / radius,
    "nz": nz / radius,
  }


def _z_buffer(
  hit: dict[str, np.ndarray], frames: int, low: list[int], high: list[int]
) -> dict[str, np.ndarray]:
  """Keeps the nearest hit of every sub-pixel, and names its pixel in the window."""
  width, height = high[0] - low[0], high[1] - low[1]
  capsule, frame = np.divmod(hit["owner"], frames)
  bounds = np.searchsorted(capsule, np.arange(capsule[-1] + 2))
  sub = (frame * (height * SUBSAMPLES) + hit["row"]) * (width * SUBSAMPLES) + hit["column"]
  nearest = np.full(frames * height * width * SUBSAMPLES**2, np.inf, np.float32)
  winner = np.full(len(nearest), -1, np.int64)
  for first, last in itertools.pairwise(bounds):
    place, depth = sub[first:last], hit["depth"][first:last]
    closer = np.flatnonzero(depth < nearest[place])
    nearest[place[closer]] = depth[closer]
    winner[place[closer]] = closer + first
  kept = winner[winner >= 0]
  fragments = {k: v[kept] for k, v in hit.items()}
  fragments["capsule"], fragments["frame"] = capsule[kept], frame[kept]
  rows = frame[kept] * height + fragments["row"] // SUBSAMPLES
  fragments["pixel"] = rows * width + fragments["column"] // SUBSAMPLES
  return fragments


def _shade(
  fragments: dict[str, np.ndarray],
  capsules: Capsules,
  camera: Camera,
  light_cam: Float32[np.ndarray, "3"],
  ambient: np.float32,
) -> Float32[np.ndarray, "M 3"]:
  """Colour of every visible fragment: its texture times ambient + (1 − ambient) max(0, n · l)."""
  nx, ny, nz = fragments["nx"], fragments["ny"], fragments["nz"]
  diffuse = np.maximum(nx * light_cam[0] + ny * light_cam[1] + nz * light_cam[2], 0)
  frames = capsules.start.shape[0]
  view = [rotate(camera.R, capsules.axes[..., :, i]) for i in range(3)]
  order = fragments["capsule"] + fragments["frame"] * capsules.start.shape[1]
  body = []
  for axis in view:  # the normal in the body frame: forward, left, up
    a = axis.reshape(frames * axis.shape[1], 3).astype(np.float32)[order]
    body.append(a[:, 0] * nx + a[:, 1] * ny + a[:, 2] * nz)
  radius = np.asarray(capsules.start_radius_mm, np.float32)[fragments["capsule"]]
  texture = _texture(capsules.materials, fragments["capsule"], fragments["t"], radius, *body)
  return texture * (ambient + (1 - ambient) * diffuse)[:, None]


def _texture(
  materials: Materials,
  capsule: Int[np.ndarray, " M"],
  t: Float32[np.ndarray, " M"],
  radius_mm: Float32[np.ndarray, " M"],
  forward: Float32[np.ndarray, " M"],
  left: Float32[np.ndarray, " M"],
  up: Float32[np.ndarray, " M"],
) -> Float32[np.ndarray, "M 3"]:
  """Unlit colour at position t along a capsule with normal (forward, left, up)."""
  colour = np.where(forward[:, None] > 0, materials.front[capsule], materials.back[capsule])
  rings = t * materials.stripe_rate[capsule]
  ringed = rings - np.floor(rings) > 0.5
  colour[ringed] = materials.stripe[capsule[ringed]]
  beyond = t > materials.split[capsule]
  colour[beyond] = materials.end[capsule[beyond]]
  kind = materials.kind[capsule]
  side = materials.offset_mm[capsule] + radius_mm * left
  panel = (kind == TORSO) & (forward > 0.2) & (np.abs(side) < 75.0)
  face = (kind == HEAD) & (forward > 0.15) & (up < 0.62)
  eyes = face & (np.abs(np.abs(left) - 0.42) < 0.16) & (np.abs(up - 0.22) < 0.13)
  shown = panel | face
  colour[shown] = materials.emblem[capsule[shown]]
  colour[eyes] = 0.08
  return colour


def composite(
  background: Float32[np.ndarray, "F H W 3"], drawing: Drawing
) -> Float32[np.ndarray, "F H W 3"]:
  """Lays the person over the background, in place: b (1 − coverage) + colour, 0..1."""
  x0, y0 = drawing.origin
  height, width = drawing.coverage.shape[1:]
  part = background[:, y0 : y0 + height, x0 : x0 + width]
  part *= 1 - drawing.coverage[..., None]
  part += drawing.colour
  return background


def masks_and_boxes(
  drawing: Drawing, height: int, width: int
) -> tuple[UInt8[np.ndarray, "F H W"], Float32[np.ndarray, "F 4"]]:
  """Silhouettes (255 where coverage ≥ 1/2) and the tight boxes of them, x0 y0 x1 y1.

  A box runs along the outer edges of its pixels, whose centres lie at integers; NaN for nobody.
  """
  inside = drawing.coverage >= 0.5
  x0, y0 = drawing.origin
  masks = np.zeros((len(inside), height, width), np.uint8)
  masks[:, y0 : y0 + inside.shape[1], x0 : x0 + inside.shape[2]] = inside * np.uint8(255)
  boxes = np.full((len(inside), 4), np.nan, np.float32)
  for axis, start in ((1, x0), (2, y0)):
    line = np.asarray(np.any(inside, axis=axis))
    seen = np.any(line, axis=1)
    first = line.argmax(axis=1) + start - 0.5
    last = line.shape[1] - line[:, ::-1].argmax(axis=1) + start - 0.5
    boxes[seen, axis - 1], boxes[seen, axis + 1] = first[seen], last[seen]
  return masks, boxes
