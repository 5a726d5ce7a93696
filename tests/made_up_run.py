"""A run without networks: a bright rectangle on a dark scene, found by background difference."""

import dataclasses
import pathlib

import numpy as np

from jaxpose import geometry
from jaxpose.evaluation.regressor import Architecture, Regressor, Standardisation
from jaxpose.skeleton import Skeleton

SIZE = (32, 48)
SEQUENCES, CAMERAS, FRAMES = 3, 2, 6
TRIPOD = Skeleton("tripod", ("hip", "left", "right"), (0, 0, 0), ((1, 2),), (0,))


@dataclasses.dataclass
class Index:
  start: np.ndarray
  length: np.ndarray
  sequence: np.ndarray
  camera: np.ndarray
  background: np.ndarray
  frame: np.ndarray


class Dataset:
  """Frame 10 of each track is empty; later ones show a person who walks to the right."""

  skeleton = TRIPOD

  def __init__(self, names=("a", "b", "c")):
    tracks = SEQUENCES * CAMERAS
    self.sequences = [
      {"name": name, "tracks": [{"name": f"cam{c}"} for c in range(CAMERAS)]} for name in names
    ]
    self.index = Index(
      start=np.arange(tracks) * FRAMES,
      length=np.full(tracks, FRAMES),
      sequence=np.repeat(np.arange(SEQUENCES), CAMERAS),
      camera=np.tile(np.arange(CAMERAS), SEQUENCES),
      background=np.tile(np.arange(CAMERAS), SEQUENCES),
      frame=np.tile(np.arange(FRAMES) * 2 + 10, tracks),
    )
    self.num_frames = tracks * FRAMES
    self.reads = 0

  def background(self, number):
    return np.full((*SIZE, 3), 20 + 30 * number, np.uint8)

  def boxes(self, ids):
    left = 4.0 + 5 * (np.asarray(ids) % FRAMES)
    top = np.full(len(ids), 6.0)
    found = np.stack([left, top, left + 7, top + 19], axis=1)
    found[np.asarray(ids) % FRAMES == 0] = np.nan
    return found

  def read(self, ids, *, image_size, with_labels=False):
    assert tuple(image_size) == SIZE
    self.reads += len(ids)
    ids = np.asarray(ids)
    track = ids // FRAMES
    background = np.stack([self.background(self.index.background[t]) for t in track])
    image = background.copy()
    boxes = self.boxes(ids)
    for picture, box, sequence in zip(image, boxes, self.index.sequence[track], strict=True):
      if np.isfinite(box).all():
        x0, y0, x1, y1 = box.astype(int)
        picture[y0 : y1 + 1, x0 : x1 + 1] = (220, 60 * sequence, 90)
    batch = {
      "image": image,
      "background": background,
      "sequence": self.index.sequence[track],
      "camera": self.index.camera[track],
      "frame": self.index.frame[ids],
    }
    if with_labels:
      batch |= {"box_px": boxes, "present": np.isfinite(boxes[:, 0]).astype(int)}
    return batch


def render(frames):
  """What the networks would give, from the difference to the background."""
  image, background = (frames[k].astype(np.float32) / 255 for k in ("image", "background"))
  mask = (np.abs(image - background).max(-1) > 0.1).astype(np.float32)
  corners = []
  for one in mask:
    rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
    if len(rows):
      corners.append([columns[0], rows[0], columns[-1], rows[-1]])
    else:
      corners.append([0, 0, image.shape[2] - 1, image.shape[1] - 1])
  corners = np.array(corners, np.float64)
  difference = ((image - background) ** 2).sum((1, 2, 3))
  return {
    "box": geometry.corners_px_to_box(corners, *image.shape[1:3]),
    "crop": image[:, 4:20, 4:20],
    "decoded": image[:, 4:20, 4:20] * 1.2,
    "mask_crop": mask[:, 4:20, 4:20, None],
    "mask_frame": mask[..., None],
    "reconstruction": image * 0.9,
    "time_variant": corners.astype(np.float32),
    "time_invariant": image.mean((1, 2)),
    "gain": difference,
    "mask_max": mask.max((1, 2)),
  }


def decode(time_variant, time_invariant):
  """A crop in the colour of the looks with a bar at the left of the pose; its upper half shows."""
  count = len(time_variant)
  crops = np.repeat(np.repeat(time_invariant[:, None, None], 16, 1), 16, 2)
  for crop, pose in zip(crops, time_variant, strict=True):
    crop[:, int(pose[0]) % 16] = 1.0
  mask = np.full((count, 16, 16, 1), 0.25, np.float32)
  mask[:, 8:] = 0.0
  return crops, mask


def embeddings(dataset, **changes):
  ids = np.arange(dataset.num_frames)
  frames = dataset.read(ids, image_size=SIZE, with_labels=True)
  out = render(frames)
  pose = np.zeros((len(ids), 3, 3), np.float32)
  pose[:, 1] = np.stack([10.0 * ids + 200, -300 + 0 * ids, 50 + 0 * ids], axis=1)
  pose[:, 2] = -pose[:, 1]
  pose += [0, 0, 4000]
  return {
    "time_variant": out["time_variant"],
    "time_invariant": out["time_invariant"],
    "box_px": geometry.box_to_corners_px(out["box"], *SIZE),
    "presence": (out["gain"] > 0).astype(np.float32),
    "presence_gain": out["gain"],
    "mask_max": out["mask_max"],
    "sequence": frames["sequence"],
    "camera": frames["camera"],
    "frame": frames["frame"],
    "subject": frames["sequence"],
    "present": frames["present"],
    "box_true_px": frames["box_px"],
    "pose3d_mm": pose,
    "joint_valid": np.ones((len(ids), 3), bool),
    "joint_names": np.array(TRIPOD.joints),
    "checkpoint": "step 7",
    **changes,
  }


def regressor(width=4):
  """Left hand at (f0, f1, f2) mm, right hand opposite, from features f."""
  kernel = np.zeros((width, 9), np.float32)
  kernel[0, 3] = kernel[1, 4] = kernel[2, 5] = 1
  kernel[0, 6] = kernel[1, 7] = kernel[2, 8] = -1
  return Regressor(
    Architecture("linear"),
    {"params": {"Dense_0": {"kernel": kernel, "bias": np.zeros(9, np.float32)}}},
    Standardisation(
      np.zeros(width, np.float32), np.ones(width, np.float32), np.zeros((3, 3), np.float32), 1.0
    ),
    TRIPOD,
    "time_variant",
  )


class Experiment:
  """What report.py uses of an experiment."""

  image_size = SIZE
  decodes = detects = True

  def __init__(self, workdir: pathlib.Path, config, names=("a", "b", "c")):
    self.workdir, self.config = workdir, config
    self._dataset = Dataset(names)

  def restore(self, which):
    return {}

  def make_render(self, variables):
    return render

  def make_decode(self, variables):
    return decode

  def dataset(self, split):
    return self._dataset

  def config_json(self):
    return '{"name": "made up"}'
