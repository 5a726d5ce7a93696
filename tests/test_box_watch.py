"""Boxes are scored against true ones during training, on frames as the networks see them."""

import jax.numpy as jnp
import numpy as np
from tiny_data import open_tiny

from jaxpose import box_watch
from jaxpose.data import pipeline
from jaxpose.data.index import open_dataset

SIZE = (64, 96)  # not the frames' own: true boxes follow the letterbox


def _encode_constant(variables, batch):
  assert batch["background"].shape == batch["image"].shape  # a method may look at it
  boxes = jnp.tile(variables["box"], (len(batch["image"]), 1))
  return {"box": boxes}


def test_median_iou_of_a_constant_box(tiny_people, monkeypatch):
  monkeypatch.setattr(box_watch, "FRAMES", 23)
  dataset = open_dataset(tiny_people, "validation")
  evaluate = box_watch.make_box_evaluator(_encode_constant, dataset, image_size=SIZE, batch_size=10)
  box = jnp.array([0.3, 0.8, 0.1, 0.0])
  ((name, value),) = evaluate({"box": box})

  # By hand: every frame with somebody in it, 23 of them evenly spread, corners in 96 x 64 px.
  people = np.flatnonzero(dataset.index.present != 0)
  ids = people[np.linspace(0, len(people) - 1, 23).round().astype(int)]
  (batch,) = pipeline.make_frame_batches(
    dataset, batch_size=23, image_size=SIZE, with_labels=True, ids=ids
  )
  x0, x1 = (0.1 - 0.3 + 1) * 95 / 2, (0.1 + 0.3 + 1) * 95 / 2
  y0, y1 = (0.0 - 0.8 + 1) * 63 / 2, (0.0 + 0.8 + 1) * 63 / 2
  ious = []
  for a0, b0, a1, b1 in batch["box_px"]:
    inter = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
    ious.append(inter / ((x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - inter))
  assert name == "validation/box_iou"
  np.testing.assert_allclose(value, np.median(ious), rtol=1e-5)
  assert 0.05 < value < 0.9


def test_nothing_is_said_of_data_without_true_boxes(tmp_path):
  dataset = open_tiny(tmp_path)  # poses, but no boxes
  evaluate = box_watch.make_box_evaluator(_encode_constant, dataset, image_size=SIZE, batch_size=4)
  variables = {"box": jnp.array([0.5, 0.5, 0.0, 0.0])}
  assert list(evaluate(variables)) == []
  assert list(evaluate(variables)) == []
