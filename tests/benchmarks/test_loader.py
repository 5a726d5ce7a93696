"""How near the loader comes to its bound, the decoder alone; run with -m slow."""

import time

import cv2
import numpy as np
import pytest
from tiny_data import LEG

from datasets.pose_video import PoseVideoBuilder, prepare
from jaxpose.data import records
from jaxpose.data.batches import TemporalConfig
from jaxpose.data.index import open_dataset
from jaxpose.data.pipeline import make_batches

SIZE, FRAMES = 500, 240


class Textured(PoseVideoBuilder):
  """Frames of 500 × 500 px with texture, about 70 kB each."""

  skeleton = LEG
  splits = ("train",)

  def sequences(self, split):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    base = (128 + 60 * np.sin(x / 17) + 60 * np.cos(y / 23))[..., None] * np.ones(3)
    images = []
    for _ in range(FRAMES):
      noise = cv2.resize(rng.normal(0, 25, (SIZE // 4, SIZE // 4, 3)), (SIZE, SIZE))
      images.append(records.encode_jpeg(np.clip(base + noise, 0, 255).astype(np.uint8), 92))
    number = np.arange(FRAMES)
    track = records.Track(
      "c", None, images, number, number / 25, base.clip(0, 255).astype(np.uint8)
    )
    yield records.Sequence("s", "a", "b", 25.0, [track])


def cpu_seconds(*functions, repeats=12):
  """Least processor time of each function, in turns: what other processes do counts less."""
  found = [[] for _ in functions]
  for _ in range(repeats):
    for function, seconds in zip(functions, found):
      began = time.process_time()
      function()
      seconds.append(time.process_time() - began)
  return [min(seconds) for seconds in found]


@pytest.mark.slow
def test_a_batch_costs_little_more_than_its_decoding(tmp_path):
  cv2.setNumThreads(1)
  dataset = open_dataset(prepare(Textured, tmp_path), "train")
  batches = make_batches(
    dataset,
    temporal=TemporalConfig(near_max=10, far_min=60),
    batch_size=16,
    seed=0,
    image_size=None,
  )
  maker = batches._maker
  maker[0]
  _, ids, _ = maker.draw_temporal(1, maker.examples(1))
  unique = np.unique(ids)
  files = [
    np.frombuffer(records.parse_record(data, ("image",))["image"], np.uint8)
    for data in dataset._shards.read(unique)
  ]
  decoding, whole = cpu_seconds(
    lambda: [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files], lambda: maker[1]
  )
  print(
    f"\n{len(unique)} frames of {SIZE} px: decoder {len(unique) / decoding:.0f} frames/s, "
    f"loader {len(unique) / whole:.0f} frames/s per core ({decoding / whole:.3f})"
  )
  assert decoding / whole > 0.6  # what is left: reading, copying into the batch, fresh memory
