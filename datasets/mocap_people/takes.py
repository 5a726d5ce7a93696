"""Which parts of which clips are filmed, and who is in which split."""

import dataclasses
import hashlib
import itertools
import sys
from collections.abc import Iterator

import numpy as np

from datasets.mocap_people.clips import Clip
from datasets.synthetic_people import bodies
from datasets.synthetic_people.bodies import Pose
from datasets.synthetic_people.generator import SPLITS
from datasets.synthetic_people.motion import CALM_FPS

FLOOR_PERCENTILE = 10.0  # of the frames' lowest heights: the floor, and not a slip of the tracking
SHARES = {"test": 0.2, "validation": 0.08}  # of the motion; the rest is for training
_FEWEST = 6  # frames of a take: half a second


@dataclasses.dataclass(frozen=True)
class Take:
  """A part of a clip, to be filmed once.

  Attributes:
    name: of the sequence.
    number: of the take in its split.
    subject, action, height_mm: of its clip.
    pose: the frames of the take.
    fps: of these frames.
  """

  name: str
  number: int
  subject: str
  action: str
  height_mm: float
  pose: Pose
  fps: float


def step_of(clip: Clip) -> int:
  """n: every n-th frame is filmed, which is about as often as the embedded people, 12 a second."""
  return max(1, round(clip.fps / CALM_FPS))


def split_clips(clips: list[Clip]) -> dict[str, list[Clip]]:
  """Clips of each split: no performer is in two of them.

  Performers, in the order of the digests of their names, go to the test split until it has a fifth
  of the motion (in seconds), then to validation, then to training; so a folder is always split
  alike. Where there are fewer than three performers, clips take their place.

  Raises:
    ValueError: there are fewer than three clips.
  """
  if len(clips) < len(SPLITS):
    names = ", ".join(clip.name for clip in clips)
    raise ValueError(f"{len(SPLITS)} motions at least are needed to have as many splits: {names}")
  by_file = len({clip.subject for clip in clips}) < len(SPLITS)
  groups: dict[str, list[Clip]] = {}
  for clip in clips:
    groups.setdefault(clip.name if by_file else clip.subject, []).append(clip)
  order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
  total = sum(_seconds(clip) for clip in clips)
  splits: dict[str, list[Clip]] = {split: [] for split in SPLITS}
  for place, name in enumerate(order):
    left = len(order) - place
    wanted = ("test", "validation", "train")
    for later, split in enumerate(wanted):
      full = sum(map(_seconds, splits[split])) >= SHARES.get(split, 1.0) * total
      must_leave = left <= len(wanted) - 1 - later  # the others need one each
      if split == "train" or not splits[split] or not (full or must_leave):
        break
    splits[split] += groups[name]
  return {split: sorted(members, key=lambda clip: clip.name) for split, members in splits.items()}


def _seconds(clip: Clip) -> float:
  return len(clip.pose.points) / clip.fps


def cut_takes(
  splits: dict[str, list[Clip]], split: str, most_frames: int, most_instants: int, passes: int
) -> Iterator[Take]:
  """The takes of a split.

  Each clip is cut into takes of equal length. All are filmed `passes` times at most, each time from
  another of the frames between those that are filmed; fewer times, or only evenly spread takes,
  where that would be more than `most_instants` for all splits together.
  """
  once = sum(
    len(range(0, len(c.pose.points), step_of(c))) for part in splits.values() for c in part
  )
  passes = int(np.clip(most_instants // max(once, 1), 1, passes))
  ranges = [
    (clip, turn, frames)
    for turn in range(passes)
    for clip in splits[split]
    for frames in _cut(clip, most_frames, turn * step_of(clip) // passes)
  ]
  kept = max(1, int(len(ranges) * min(1.0, most_instants / once))) if ranges else 0
  for number, i in enumerate(np.linspace(0, len(ranges) - 1, kept).round().astype(int)):
    clip, turn, frames = ranges[i]
    name = f"{clip.name}@{frames.start}" + (f"_{turn}" if turn else "")
    pose = bodies.select(clip.pose, frames)
    rate = clip.fps / step_of(clip)
    yield Take(name, number, clip.subject, clip.action, clip.height_mm, pose, rate)


def _cut(clip: Clip, most_frames: int, begin: int) -> list[slice]:
  """Frames of the takes of a clip, those too short left out."""
  step, end = step_of(clip), len(clip.pose.points)
  count = len(range(begin, end, step))
  edges = np.linspace(0, count, -(-count // most_frames) + 1).round().astype(int)
  parts = [
    slice(begin + int(first) * step, min(begin + int(last) * step, end), step)
    for first, last in itertools.pairwise(edges)
    if last - first >= _FEWEST
  ]
  if not parts and begin == 0:
    print(f"left out {clip.name}: shorter than {_FEWEST} frames", file=sys.stderr)
  return parts
