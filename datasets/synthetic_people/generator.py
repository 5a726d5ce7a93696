"""Sequences of the embedded data as pure functions of (options, split, number)."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from datasets import rendering
from datasets.synthetic_people import bodies, motion
from datasets.synthetic_people.actions import ACTIONS
from datasets.synthetic_people.appearance import build_capsules, sample_subject
from datasets.synthetic_people.bodies import NUM_JOINTS, POINT, Subject
from datasets.synthetic_people.scene import AMBIENT, Scene, build_scene, shade_floor
from jaxpose import processes
from jaxpose.data.records import PERSON, Sequence, Track, encode_jpeg, encode_png

SPLITS = ("train", "validation", "test")
_SHADOWS = ("left_ankle", "right_ankle", "pelvis")
_SHADOW_MM = 330.0


@dataclasses.dataclass(frozen=True)
class Options:
  """What a data set holds.

  Attributes:
    seed: of everything.
    motions: sequences in the train, validation and test split.
    subjects: people in each of them; nobody is in two splits.
    frames: of a sequence.
    actions: one after the other in a sequence that is no dive.
    views: synchronised cameras.
    height, width: of the images, px.
    rooms: different scenes, each with its own cameras.
    diving_share: part of the sequences that are dives; 1 for nothing else.
    noise: standard deviation of the sensor's noise, of 255.
    jpeg_quality: of the images.
  """

  seed: int = 0
  motions: tuple[int, int, int] = (288, 24, 64)
  subjects: tuple[int, int, int] = (16, 2, 4)
  frames: int = 26
  actions: int = 1
  views: int = 4
  height: int = 128
  width: int = 128
  rooms: int = 8
  diving_share: float = 0.05
  noise: float = 2.5
  jpeg_quality: int = 92

  def __post_init__(self) -> None:
    for name in ("frames", "actions", "views", "height", "width", "rooms"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
    if self.frames % self.actions:
      raise ValueError(f"{self.frames} frames cannot be shared out among {self.actions} actions")
    for name in ("motions", "subjects"):
      value = getattr(self, name)
      if len(value) != len(SPLITS) or min(value) < 1:
        raise ValueError(f"{name} must be three numbers above 0 ({', '.join(SPLITS)}), not {value}")


def generate_split(options: Options, split: str, workers: int) -> Iterator[Sequence]:
  """The sequences of a split in order, whatever the number of worker processes (0: none)."""
  numbers = range(options.motions[SPLITS.index(split)])
  yield from in_processes(functools.partial(generate_sequence, options, split), numbers, workers)


def in_processes(
  make: Callable[[Any], Sequence], jobs: Iterable[Any], workers: int
) -> Iterator[Sequence]:
  """`map(make, jobs)` in order, by that many worker processes; 0 for none but this one."""
  if workers == 0:
    yield from map(make, jobs)
    return
  with processes.pool(workers) as pool:
    waiting: list = []
    for job in jobs:  # a few ahead of the writer, no more: memory stays bounded
      waiting.append(pool.submit(make, job))
      if len(waiting) > 4 * workers:
        yield waiting.pop(0).result()
    for future in waiting:
      yield future.result()


def generate_sequence(options: Options, split: str, number: int) -> Sequence:
  """Sequence `number` of a split: one motion seen by all cameras of one room."""
  part = SPLITS.index(split)
  rng = np.random.default_rng(np.random.SeedSequence([options.seed, 3, part, number]))
  subject = build_subject(options.seed, split, number % options.subjects[part])
  action = _choose_action(options, part, number)
  falls = action == motion.DIVING
  if falls or options.actions == 1:
    take = motion.sample_motion(subject, action, options.frames, rng)
  else:
    further = rng.choice(sorted(ACTIONS), options.actions - 1)
    take = motion.sample_session(subject, (action, *further), options.frames, rng)
  room = int(rng.integers(options.rooms))
  size = (options.height, options.width)
  scene = build_scene(options.seed, room, options.views, size, falls)
  take = dataclasses.replace(take, pose=bodies.quantise(take.pose))
  quality = (options.noise, options.jpeg_quality)
  tracks = [film(scene, view, subject, take, rng, *quality) for view in range(options.views)]
  return Sequence(f"{split}_{number:05d}", subject.name, action, take.fps, tracks)


def _choose_action(options: Options, part: int, number: int) -> str:
  """Dives at regular intervals; the other actions equally often, in a new order every round."""
  if (number + 0.5) * options.diving_share % 1.0 + options.diving_share >= 1.0:
    return motion.DIVING
  actions = sorted(ACTIONS)
  turn, place = divmod(number, len(actions))
  order = np.random.SeedSequence([options.seed, 4, part, turn])
  return actions[np.random.default_rng(order).permutation(len(actions))[place]]


@functools.lru_cache(maxsize=256)
def build_subject(seed: int, split: str, number: int) -> Subject:
  """Person `number` of a split."""
  part = SPLITS.index(split)
  rng = np.random.default_rng(np.random.SeedSequence([seed, 1, part, number]))
  return sample_subject(rng, f"{split}_{number:02d}")


def film(
  scene: Scene,
  view: int,
  subject: Subject,
  take: motion.Motion,
  rng: np.random.Generator,
  noise: float,
  jpeg_quality: int,
) -> Track:
  """What camera `view` sees: images, silhouettes, boxes, joints. The last two are of `Options`."""
  camera = scene.cameras[view]
  points, frames = take.pose.points, len(take.pose.points)
  drawing = rendering.draw_capsules(
    build_capsules(subject, take.pose), camera, scene.light, AMBIENT
  )
  images = np.repeat(scene.backgrounds[view][None], frames, axis=0)
  shadows = points[:, [POINT[name] for name in _SHADOWS]]
  shade_floor(images, scene.floor_xy[view], shadows, _SHADOW_MM)
  rendering.composite(images, drawing)
  images *= 255.0 * rng.uniform(0.985, 1.015, size=(frames, 1, 1, 1)).astype(np.float32)
  images += np.float32(noise) * rng.standard_normal(images.shape, dtype=np.float32)
  pixels = np.clip(images + 0.5, 0, 255).astype(np.uint8)
  masks, boxes = rendering.masks_and_boxes(drawing, camera.height, camera.width)
  joints = rendering.to_camera(points[:, :NUM_JOINTS], camera)
  return Track(
    camera_name=f"camera_{view}",
    camera=camera,
    images=[encode_jpeg(image, jpeg_quality) for image in pixels],
    frame=np.arange(frames, dtype=np.int32),
    time_s=np.arange(frames) / take.fps,
    background=np.clip(scene.backgrounds[view] * 255.0 + 0.5, 0, 255).astype(np.uint8),
    falling=take.falling,
    present=np.full(frames, PERSON, np.int8),
    box_px=boxes,
    pose2d_px=rendering.to_pixels(joints, camera).astype(np.float32),
    pose3d_mm=joints.astype(np.float32),
    joint_valid=np.ones((frames, NUM_JOINTS), bool),
    masks=[encode_png(mask) for mask in masks],
  )
