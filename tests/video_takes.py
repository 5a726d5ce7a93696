"""Small videos of a walking square, one or two cameras of it, and what is prepared from them."""

import json

import cv2
import numpy as np

from datasets.video_folder.prepare import prepare_videos
from jaxpose.data import records

JOINTS = ("RHip", "LHip", "Head")
CALIBRATION = """
[{name}]
name = "{name}"
size = [64.0, 48.0]
matrix = [[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]]
distortions = [0.0, 0.0, 0.0, 0.0]
rotation = [0.0, 0.0, 0.0]
translation = [{x}, 0.0, 4.0]
"""


def write_video(path, count, *, fps=10.0, shift=0, width=64, height=48):
  """A square walks to the right, 2 px a frame; its grey tells the frame: 60 + 4 (i + shift)."""
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
  for i in range(count):
    image = np.full((height, width, 3), 20, np.uint8)
    left = (2 * (i + shift)) % (width - 16)
    image[16:32, left : left + 16] = 60 + 4 * (i + shift)
    writer.write(image)
  writer.release()


def frame_code(data):
  """Which frame of `write_video` it is, from the square's grey."""
  return round((float(np.sort(records.decode_image(data)[..., 0].ravel())[-60:].mean()) - 60) / 4)


def read(directory, split):
  """(index columns, description, records) of a split."""
  with np.load(directory / f"index_{split}.npz") as archive:
    index = {key: archive[key] for key in archive.files}
  described = json.loads((directory / f"sequences_{split}.json").read_text())
  files = sorted(directory.glob(f"video_folder-{split}.array_record*"))
  found = [records.parse_record(data) for file in files for data in read_all(file)]
  return index, described, found


def read_all(file):
  from array_record.python.array_record_module import ArrayRecordReader

  return ArrayRecordReader(str(file)).read_all()


def prepare(folder, out, **options):
  lines = []
  options.setdefault("workers", 1)
  return prepare_videos(folder, out, say=lines.append, **options), "\n".join(lines)


def two_cameras(tmp_path, extra="", **lengths):
  folder = tmp_path / "in"
  write_video(folder / "a.avi", lengths.get("a", 12))
  write_video(folder / "b.avi", lengths.get("b", 12), shift=lengths.get("shift", 0))
  cameras = [("a", 0.0), ("b", 0.5)]
  text = "".join(CALIBRATION.format(name=n, x=x) for n, x in cameras)
  (folder / "cal.toml").write_text(text)
  poses = np.zeros((12, 3, 3)) + [[0.0, 0.1, 0], [0.2, 0.1, 0], [0.1, -0.6, 0.1]]
  poses[:, :, 0] += np.arange(12)[:, None] * 0.02
  poses[3:6, 2] = np.nan  # too long a gap to bridge
  np.savez(folder / "labels.npz", joints3d_m=poses, names=np.array(JOINTS), fps=10)
  (folder / "takes.toml").write_text(
    '[[take]]\nname = "both"\nvideos = { a = "a.avi", b = "b.avi" }\ncalibration = "cal.toml"\n'
    'labels = "labels.npz"\n' + extra
  )
  return folder, poses
