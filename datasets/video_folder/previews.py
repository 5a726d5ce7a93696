"""One picture a camera: background, a frame, their difference, the labels drawn into it."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from datasets.video_folder.assemble import TakeData
from datasets.video_folder.backgrounds import BackgroundJob, load_background
from jaxpose.skeleton import skeleton_from_joint_names

_ROWS = 3  # frames shown


def write_preview(
  path: Path, data: TakeData, camera: str, jobs: Mapping[tuple[str, str], BackgroundJob]
) -> None:
  """Writes the picture for a person to look at: is the background empty, do the labels fit?"""
  image, homography = load_background(jobs[data.take.name, camera])
  picked = np.linspace(0, len(data.frame) - 1, _ROWS + 2).round().astype(int)[1:-1]
  staged, rows = data.cameras[camera], data.rows[camera]
  lines = []
  for i in picked:
    frame = staged.decode([rows[i]])[0]
    height, width = frame.shape[:2]
    if homography is None:
      behind = image
    else:
      inverse = np.linalg.inv(homography[rows[i]].astype(float))
      behind = cv2.warpPerspective(image, inverse, (width, height))
    drawn = draw_labels(frame, data, camera, int(i))
    lines.append(np.concatenate([behind, frame, cv2.absdiff(frame, behind), drawn], axis=1))
  cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(lines), cv2.COLOR_RGB2BGR))


def draw_labels(
  frame: UInt8[np.ndarray, "H W 3"], data: TakeData, camera: str, i: int
) -> UInt8[np.ndarray, "H W 3"]:
  """A copy of the frame with the bones and joints of its labels, left in blue, right in red."""
  out = frame.copy()
  if camera not in data.projections:
    return out
  points = data.projections[camera].pose2d_px[i]
  skeleton = skeleton_from_joint_names("labels", data.joints)
  left = {a for a, _ in skeleton.pairs}
  right = {b for _, b in skeleton.pairs}
  for joint, parent in enumerate(skeleton.parents):
    if not np.isfinite(points[[joint, parent]]).all():
      continue
    colour = (40, 90, 255) if joint in left else (255, 60, 40) if joint in right else (60, 220, 60)
    ends = [
      (round(float(points[k, 0]) * 16), round(float(points[k, 1]) * 16)) for k in (joint, parent)
    ]
    if max(abs(v) for end in ends for v in end) < 1 << 20:
      cv2.line(out, ends[0], ends[1], colour, 1, cv2.LINE_AA, shift=4)
      cv2.circle(out, ends[0], 24, colour, -1, cv2.LINE_AA, shift=4)
  return out
