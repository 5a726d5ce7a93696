"""Scores of found boxes, and the baselines that a found box must beat."""

import itertools

import numpy as np
from jaxtyping import Bool, Float

from jaxpose import geometry
from jaxpose.data.sampling import evenly_spread

_STARTS = 6
_SAMPLE = 1000  # boxes that the search for the constant box looks at


def box_metrics(
  predicted_px: Float[np.ndarray, "N 4"],
  true_px: Float[np.ndarray, "N 4"],
  present: Bool[np.ndarray, " N"] | None = None,
) -> dict[str, float]:
  """Median and mean IoU over the frames with a person, and the share at or above 0.5.

  Frames that are empty or have no true box (NaN) don't enter; a missing prediction (NaN) on a
  frame that has one counts as 0.

  Raises:
    ValueError: no frame has a person and a true box.
  """
  true_px = np.asarray(true_px, np.float64)
  known = np.isfinite(true_px).all(axis=-1)
  if present is not None:
    known = known & np.asarray(present, bool)
  if not known.any():
    raise ValueError("no frame with a person and a true box: nothing to score boxes against")
  iou = np.nan_to_num(geometry.box_iou(np.asarray(predicted_px, np.float64)[known], true_px[known]))
  return {
    "IoU/median": float(np.median(iou)),
    "IoU/mean": float(iou.mean()),
    "IoU>=0.5/share": float((iou >= 0.5).mean()),
    "IoU/frames": int(known.sum()),
  }


def best_constant_box(
  true_px: Float[np.ndarray, "N 4"], present: Bool[np.ndarray, " N"] | None = None
) -> Float[np.ndarray, " 4"]:
  """argmax over boxes b of the mean over frames of IoU(b, true box): [4] px.

  Pattern search from the best of the median box, the hull and boxes of the set, halving its step
  until 0.05 px; on sets of over 1000 boxes it looks at 1000 evenly spaced ones.

  Raises:
    ValueError: no frame has a person and a true box.
  """
  boxes = np.asarray(true_px, np.float64)
  keep = np.isfinite(boxes).all(axis=-1)
  if present is not None:
    keep &= np.asarray(present, bool)
  boxes = boxes[keep]
  if not len(boxes):
    raise ValueError("no frame with a person and a true box: no constant box to choose")
  boxes = evenly_spread(boxes, _SAMPLE)
  starts = np.stack([np.median(boxes, axis=0), boxes.mean(axis=0), _hull(boxes)])
  starts = np.concatenate([starts, boxes[:: max(1, len(boxes) // 50)]])
  scores = np.array([geometry.box_iou(start[None], boxes).mean() for start in starts])
  found = [_climb(start, boxes) for start in starts[np.argsort(-scores)[:_STARTS]]]
  return max(found, key=lambda pair: pair[1])[0]


def _hull(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " 4"]:
  return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


# Every side of (x0, y0, x1, y1) goes down, stays or goes up.
_MOVES = np.array([m for m in itertools.product((-1.0, 0.0, 1.0), repeat=4) if any(m)])


def _climb(
  start: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "N 4"]
) -> tuple[Float[np.ndarray, " 4"], float]:
  best, score = start, float(geometry.box_iou(start[None], boxes).mean())
  step = max(float((boxes[:, 2:] - boxes[:, :2]).mean()) / 2, 1.0)
  while step > 0.05:
    candidates = best + step * _MOVES
    scores = geometry.box_iou(candidates[:, None], boxes[None]).mean(axis=1)
    winner = int(np.argmax(scores))
    if scores[winner] > score:
      best, score = candidates[winner], float(scores[winner])
    else:
      step /= 2
  return best, score
