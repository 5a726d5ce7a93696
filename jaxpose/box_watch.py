"""How well found boxes fit the true ones while a run trains, where the data have true boxes."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxpose import geometry
from jaxpose.data import pipeline
from jaxpose.data.index import Dataset
from jaxpose.data.records import EMPTY
from jaxpose.data.sampling import evenly_spread
from jaxpose.evaluation.boxes import box_metrics

Variables = dict[str, Any]

FRAMES = 256  # of the split that are looked at, evenly spread


def make_box_evaluator(
  encode: Callable[[Variables, Any], dict[str, Any]],
  dataset: Dataset,
  *,
  image_size: tuple[int, int],
  batch_size: int,
) -> Callable[[Variables], Iterator[tuple[str, float]]]:
  """An evaluator that yields (`validation/box_iou`, median IoU of found with true boxes).

  It only tells: labels choose no checkpoint. It yields nothing where no frame that it looks at has
  a true box. All processes look at the same frames.

  Args:
    encode: of a `SceneMethod`, on one device.
    dataset: one split.
    batch_size: frames at a time.
  """
  ids = evenly_spread(np.flatnonzero(dataset.index.present != EMPTY), FRAMES)
  find = jax.jit(lambda variables, frames: encode(variables, frames)["box"])

  def evaluate(variables: Variables) -> Iterator[tuple[str, float]]:
    nonlocal ids
    found, true = [], []
    for batch in pipeline.make_frame_batches(
      dataset, batch_size=batch_size, image_size=image_size, with_labels=True, ids=ids
    ):
      known = batch["valid"] & np.isfinite(batch["box_px"]).all(axis=1)
      if known.any():
        frames = {name: batch[name] for name in ("image", "background")}
        box = np.asarray(find(variables, frames))[known]
        found.append(geometry.box_to_corners_px(box, *image_size))
        true.append(batch["box_px"][known])
    if found:
      score = box_metrics(np.concatenate(found), np.concatenate(true))
      yield "validation/box_iou", score["IoU/median"]
    else:
      ids = ids[:0]

  return evaluate
