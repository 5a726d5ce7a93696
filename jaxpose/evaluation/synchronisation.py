"""How well a network knows which views are of one instant, from features and its head (P3 §4.3)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpose.evaluation import metrics

_WIDTH = 16  # frames: P3's gaps lie within [Δ − 7, Δ + 8]
_WINDOWS = 8  # which reach 128 frames, P3's d_max


class Head(NamedTuple):
  """The head that tells synchronised views: F₁ = σ(w · ReLU(fuse(a, b)) + c) (P3 §3.3).

  Attributes:
    fusion: mult, concat, add or diff.
    kernel, bias: w and c.
  """

  fusion: str
  kernel: Float[np.ndarray, " F"]
  bias: float

  def logits(
    self, first: Float[np.ndarray, "#N D"], second: Float[np.ndarray, "#N D"]
  ) -> Float[np.ndarray, " N"]:
    """w · ReLU(fuse(a, b)) + c of pairs of feature vectors: as F₁, and never equal where sure."""
    first, second = np.broadcast_arrays(np.asarray(first), np.asarray(second))
    fused = np.maximum(_FUSE[self.fusion](first, second), 0.0)
    return fused @ np.asarray(self.kernel) + self.bias


def _sigmoid(logits: Any) -> Any:
  return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))


_FUSE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  "mult": np.multiply,
  "add": np.add,
  "diff": np.subtract,
  "concat": lambda a, b: np.concatenate([a, b], axis=-1),
}


class Views(NamedTuple):
  """Frames of several cameras, and what the network made of them.

  Attributes:
    features: [N, D]; a memory-mapped array will do.
    sequence, camera, frame: of each row; frame counts source frames.
  """

  features: Any
  sequence: Int[np.ndarray, " N"]
  camera: Int[np.ndarray, " N"]
  frame: Int[np.ndarray, " N"]


class GapAccuracy(NamedTuple):
  """A point of P3's Figure 4.

  Attributes:
    gap: Δ, and low, high: the gaps of its unsynchronised pairs, in frames, both included.
    accuracy: share of right answers at a probability of ½; half of the pairs are synchronised.
    pairs: of both kinds together.
  """

  gap: int
  low: int
  high: int
  accuracy: float
  pairs: int


def gap_windows(longest: int) -> list[tuple[int, int, int]]:
  """(Δ, least gap, greatest gap) side by side from a gap of 1 on: P3's [Δ − 7, Δ + 8], 8 of them.

  Where the longest take is shorter than they reach they are narrower, so that there still are 8.

  Args:
    longest: span of a sequence, frames.
  """
  width = max(1, min(_WIDTH, longest // _WINDOWS))
  starts = [1 + number * width for number in range(_WINDOWS)]
  return [(low + (width - 1) // 2, low, low + width - 1) for low in starts if low <= longest]


def accuracy_by_gap(views: Views, head: Head, *, pairs: int, seed: int) -> list[GapAccuracy]:
  """P3's Figure 4: accuracy of "synchronised" against the time between unsynchronised views.

  For each window, `pairs` synchronised pairs, and as many unsynchronised ones with a gap drawn
  evenly from the window, of one sequence and different cameras. Windows without a pair are left
  out.
  """
  table = _Places(views)
  if not len(table.sequences):
    return []
  found = []
  rng = np.random.default_rng(seed)
  for gap, low, high in gap_windows(table.longest):
    other = table.draw(rng, pairs, low, high)
    same = table.draw(rng, pairs, 0, 0)
    count = min(len(other), len(same))
    if count == 0:
      continue
    right = []
    for drawn, truth in ((same[:count], True), (other[:count], False)):
      first, second = (np.asarray(views.features[drawn[:, view]]) for view in range(2))
      right.append((head.logits(first, second) > 0) == truth)
    found.append(GapAccuracy(gap, low, high, float(np.mean(right)), 2 * count))
  return found


class _Places:
  """The frames of every sequence by camera and frame number."""

  def __init__(self, views: Views) -> None:
    camera, frame = np.asarray(views.camera, np.int64), np.asarray(views.frame, np.int64)
    self.frame, self.camera = frame, camera
    self.sequence = np.asarray(views.sequence, np.int64)
    self.low = int(frame.min()) if len(frame) else 0
    self.span = int(frame.max()) - self.low + 1 if len(frame) else 1
    self.cameras = int(camera.max()) + 1 if len(camera) else 1
    key = self.key(self.sequence, camera, frame)
    self.order = np.argsort(key, kind="stable")
    self.sorted = key[self.order]
    tracks = np.unique(np.stack([self.sequence, camera]), axis=1)
    self.sequences, count = np.unique(tracks[0], return_counts=True)
    self.sequences = self.sequences[count > 1]
    self.rows = np.flatnonzero(np.isin(self.sequence, self.sequences))
    self.tracks = {s: tracks[1][tracks[0] == s] for s in self.sequences.tolist()}
    spans = [np.ptp(frame[self.sequence == s]) for s in self.sequences]
    self.longest = int(max(spans, default=0))

  def key(self, sequence: np.ndarray, camera: np.ndarray, frame: np.ndarray) -> np.ndarray:
    inside = np.clip(frame - self.low, -1, self.span)
    return (sequence * self.cameras + camera) * (self.span + 2) + inside + 1

  def find(self, sequence: np.ndarray, camera: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Rows, -1 where there is no such frame."""
    wanted = self.key(sequence, camera, frame)
    place = np.minimum(np.searchsorted(self.sorted, wanted), len(self.sorted) - 1)
    return np.where(self.sorted[place] == wanted, self.order[place], -1)

  def other_camera(self, rng: np.random.Generator, rows: np.ndarray) -> np.ndarray:
    """Another camera of the sequence of each row, all as likely."""
    found = np.empty(len(rows), np.int64)
    for i, row in enumerate(rows.tolist()):
      own = self.tracks[int(self.sequence[row])]
      found[i] = rng.choice(own[own != self.camera[row]])
    return found

  def draw(self, rng: np.random.Generator, count: int, low: int, high: int) -> np.ndarray:
    """Up to `count` pairs of rows [n, 2] with low ≤ |Δ frame| ≤ high; some tries miss."""
    kept = np.zeros((0, 2), np.int64)
    for _ in range(8):
      rows = rng.choice(self.rows, count)
      gap = rng.integers(low, high + 1, count) * rng.choice([-1, 1], count)
      camera = self.other_camera(rng, rows)
      partner = self.find(self.sequence[rows], camera, self.frame[rows] + gap)
      kept = np.concatenate([kept, np.stack([rows, partner], 1)[partner >= 0]])
      if len(kept) >= count:
        break
    return kept[:count]


class Retrieval(NamedTuple):
  """The most probably synchronised frame of each query.

  Attributes:
    query, found: rows [n]; of `find_in_others` the second are rows of the other set.
    probability: that they are synchronised [n].
  """

  query: Int[np.ndarray, " n"]
  found: Int[np.ndarray, " n"]
  probability: Float[np.ndarray, " n"]


class FrameErrors(NamedTuple):
  """How far found frames are from the queries' instants, in frames (P3 Fig. 5).

  Attributes:
    mean, median: of |Δ|.
    random: mean of |Δ| of all frames that could have been found.
    queries: their number.
  """

  mean: float
  median: float
  random: float
  queries: int


def find_in_other_camera(
  views: Views, head: Head, *, queries: int, seed: int
) -> tuple[Retrieval, FrameErrors] | None:
  """P3's Figure 5: the frame of another camera of the sequence that is most probably synchronised.

  None where no sequence has two cameras.
  """
  table = _Places(views)
  if not len(table.rows):
    return None
  rng = np.random.default_rng(seed)
  rows = rng.choice(table.rows, min(queries, len(table.rows)), replace=False)
  cameras = table.other_camera(rng, rows)
  found, probability, chance = [], [], []
  for row, camera in zip(rows.tolist(), cameras.tolist(), strict=True):
    own = (table.sequence == table.sequence[row]) & (table.camera == camera)
    candidates = np.flatnonzero(own)
    answers = head.logits(np.asarray(views.features[row])[None], views.features[candidates])
    found.append(int(candidates[np.argmax(answers)]))
    probability.append(float(_sigmoid(answers.max())))
    chance.append(float(np.abs(table.frame[candidates] - table.frame[row]).mean()))
  errors = np.abs(table.frame[found] - table.frame[rows])
  score = FrameErrors(
    float(errors.mean()), float(np.median(errors)), float(np.mean(chance)), len(rows)
  )
  return Retrieval(rows, np.array(found), np.array(probability)), score


def find_in_others(
  features: Any,
  queries: Int[np.ndarray, " n"],
  others: Any,
  groups: Sequence[Int[np.ndarray, " _"]],
  head: Head,
) -> list[Retrieval]:
  """P3's Figure 6: of each group of other frames (a subject) that which most probably fits a query.

  Args:
    features, queries: vectors [N, D] and the rows that are looked for.
    others, groups: vectors [M, D] and the rows of each group.
  """
  found = []
  for rows in groups:
    group = np.asarray(others[rows])
    best, probability = [], []
    for query in queries.tolist():
      answers = head.logits(np.asarray(features[query])[None], group)
      best.append(int(rows[np.argmax(answers)]))
      probability.append(float(_sigmoid(answers.max())))
    found.append(Retrieval(np.asarray(queries), np.array(best), np.array(probability)))
  return found


def pose_distances(
  first_mm: Float[np.ndarray, "N J 3"],
  second_mm: Float[np.ndarray, "N J 3"],
  valid: Bool[np.ndarray, "N J"],
  root: Sequence[int],
) -> Mapping[str, float]:
  """Mean N-MPJPE and P-MPJPE of pairs of poses whose roots are valid in both; {} without any.

  N-MPJPE is in the axes of each camera: it counts the angle between two views as an error, which
  P-MPJPE takes out.
  """
  rooted = valid[:, list(root)].all(axis=1)
  if not rooted.any():
    return {}
  known = valid[rooted]
  first, second = (
    np.where(known[..., None], metrics.root_centre(pose[rooted], root), 0.0)
    for pose in (first_mm, second_mm)
  )
  joints = known.shape[1]
  return {
    metrics.metric_name("N-MPJPE", joints): float(metrics.n_mpjpe(first, second, known).mean()),
    metrics.metric_name("P-MPJPE", joints): float(metrics.p_mpjpe(first, second, known).mean()),
  }
