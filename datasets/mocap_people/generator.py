"""Films takes of motion capture in the rooms of the embedded data."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator

import numpy as np

from datasets.mocap_people.clips import Clip
from datasets.mocap_people.sessions import SHORTEST_PIECE, join_takes
from datasets.mocap_people.takes import FLOOR_PERCENTILE, Take, cut_takes
from datasets.rendering import to_camera, to_pixels
from datasets.synthetic_people import bodies
from datasets.synthetic_people.appearance import build_capsules, sample_subject
from datasets.synthetic_people.bodies import POINT, Pose, Subject
from datasets.synthetic_people.generator import SPLITS, film, in_processes
from datasets.synthetic_people.motion import ROAM_MM, Motion, place
from datasets.synthetic_people.scene import Scene, build_scene
from jaxpose.data.records import Sequence

_TRIES = 8  # places at which a take is tried to be seen whole
_ROAM_SHARES = (1.0, 0.75, 0.5)  # of ROAM_MM, tried in turn


@dataclasses.dataclass(frozen=True)
class Options:
  """What a data set holds.

  Attributes:
    path: folder of the motion files, and of those in folders below it.
    unit_mm: length of a unit of BVH files, which don't say theirs; 0 to tell it from the legs.
    seed: of everything.
    images: at most, over all splits.
    passes: how often each clip is filmed at most, each time elsewhere and turned, at other frames;
      of pieces there are as many as `images` need.
    frames: of a sequence at most; a longer clip is cut.
    piece: frames of a clip at most before another one follows in the same sequence, which then has
      exactly `frames`; 0: a sequence is of one clip.
    views: synchronised cameras.
    height, width: of the images, px.
    rooms: different scenes, each with its own cameras.
    noise: standard deviation of the sensor's noise, of 255.
    jpeg_quality: of the images.
  """

  path: str = ""
  unit_mm: float = 0.0
  seed: int = 0
  images: int = 40_000
  passes: int = 6
  frames: int = 26
  piece: int = 0
  views: int = 4
  height: int = 128
  width: int = 128
  rooms: int = 8
  noise: float = 2.5
  jpeg_quality: int = 92

  def __post_init__(self) -> None:
    for name in ("images", "passes", "frames", "views", "height", "width", "rooms"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
    if self.piece and self.piece < SHORTEST_PIECE:
      raise ValueError(f"piece must be at least {SHORTEST_PIECE} frames, or 0, not {self.piece}")
    if self.unit_mm < 0:
      raise ValueError(f"unit_mm must be positive, or 0, not {self.unit_mm}")


def generate_split(
  options: Options, splits: dict[str, list[Clip]], split: str, workers: int
) -> Iterator[Sequence]:
  """The sequences of a split in order, whatever the number of worker processes (0: none)."""
  instants = max(1, options.images // options.views)
  if options.piece:
    takes = join_takes(
      splits,
      split,
      frames=options.frames,
      piece=options.piece,
      instants=instants,
      seed=options.seed,
    )
  else:
    takes = cut_takes(splits, split, options.frames, instants, options.passes)
  yield from in_processes(functools.partial(film_take, options, split), takes, workers)


def film_take(options: Options, split: str, take: Take) -> Sequence:
  """One take seen by all cameras of one room, turned and placed at random."""
  seeds = [options.seed, 5, SPLITS.index(split), take.number]
  rng = np.random.default_rng(np.random.SeedSequence(seeds))
  subject = build_subject(options.seed, take.subject, take.height_mm)
  size = (options.height, options.width)
  scene = build_scene(options.seed, int(rng.integers(options.rooms)), options.views, size, False)
  pose = stand_on_floor(subject, bodies.turn_around(take.pose, rng.uniform(0, 360)))
  pose = bodies.quantise(place_in_sight(pose, scene, rng))
  motion = Motion(pose, np.zeros(len(pose.points), bool), take.fps)
  quality = (options.noise, options.jpeg_quality)
  tracks = [film(scene, view, subject, motion, rng, *quality) for view in range(options.views)]
  return Sequence(take.name, take.subject, take.action, take.fps, tracks)


def build_subject(seed: int, name: str, height_mm: float) -> Subject:
  """Clothes and build of a performer, the same in all takes; as thick as goes with the height."""
  number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
  rng = np.random.default_rng(np.random.SeedSequence([seed, 6, number]))
  return sample_subject(rng, name, height_mm)


def gather(pose: Pose, roam_mm: float) -> Pose:
  """Shrinks a path across the floor that is wider than people may roam; feet slide there.

  Each frame is moved as a whole, by (s − 1)(p − c): p the pelvis, c the middle of its path, s = 1
  on paths that stay within `roam_mm` of c and `roam_mm` over the greatest distance on others.
  """
  path = pose.points[:, POINT["pelvis"], :2]
  centre = 0.5 * (path.min(axis=0) + path.max(axis=0))
  reach = float(np.sqrt(((path - centre) ** 2).sum(axis=1).max()))
  if reach <= roam_mm:
    return pose
  offset = np.zeros((len(path), 3))
  offset[:, :2] = (roam_mm / reach - 1) * (path - centre)
  return bodies.move(pose, offset)


def stand_on_floor(subject: Subject, pose: Pose) -> Pose:
  """Moves a take up or down as a whole, so that its lowest parts lie on the floor, z = 0.

  That is the tenth percentile over the frames of the lowest surface of the drawn body.
  """
  capsules = build_capsules(subject, pose)
  start = capsules.start[..., 2] - capsules.start_radius_mm
  end = capsules.end[..., 2] - capsules.end_radius_mm
  lowest = np.minimum(start, end).min(axis=1)
  floor = np.percentile(lowest, FLOOR_PERCENTILE)
  return bodies.move(pose, np.tile([0.0, 0.0, -floor], (len(lowest), 1)))


def place_in_sight(pose: Pose, scene: Scene, rng: np.random.Generator) -> Pose:
  """Of a few places in the room, the first where all cameras see all points, or the best.

  Where there is none, the path is shrunk further: see `gather`.
  """
  best, outside = pose, np.inf
  for share in _ROAM_SHARES:
    gathered = gather(pose, share * ROAM_MM)
    for _ in range(_TRIES):
      placed = place(gathered, rng)
      found = count_unseen(placed, scene)
      if found < outside:
        best, outside = placed, found
      if outside == 0:
        return best
  return best


def count_unseen(pose: Pose, scene: Scene) -> int:
  """How many points fall outside the picture, over all frames and cameras."""
  total = 0
  for camera in scene.cameras:
    pixels = to_pixels(to_camera(pose.points, camera), camera)
    inside = (pixels > -0.5) & (pixels < np.array([camera.width, camera.height]) - 0.5)
    total += int((~inside.all(axis=-1)).sum())
  return total
