"""How near the loader comes to its bound, the decoder alone, and how PyTorch's loader does.

pytest tests/benchmarks/test_loader.py -m slow -s

All in one run, in turns, with as many worker processes each, on the same frames of 500 × 500 px.
Wall clock says what a user gets, but of a machine that others use too it says little: processor
time over all processes of a variant says what a frame costs.
"""

import multiprocessing
import os
import time

import cv2
import loader_peers
import numpy as np
import pytest
from tiny_data import LEG

from datasets.pose_video import PoseVideoBuilder, prepare
from jaxpose.data import records
from jaxpose.data.batches import TemporalConfig
from jaxpose.data.index import open_dataset
from jaxpose.data.pipeline import make_batches

SIZE, IMAGES, FRAMES = 500, 120, 2400
WORKERS, BATCH, STEPS = 2, 16, 40
DRAINED = 8 * WORKERS  # batches, after which none is ready in any queue
ROUNDS, TURN = 5, 20


class Textured(PoseVideoBuilder):
  """Frames of 500 × 500 px with texture, about 70 kB each; every image stands for several."""

  skeleton = LEG
  splits = ("train",)

  def sequences(self, split):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    base = (128 + 60 * np.sin(x / 17) + 60 * np.cos(y / 23))[..., None] * np.ones(3)
    images = []
    for _ in range(IMAGES):
      noise = cv2.resize(rng.normal(0, 25, (SIZE // 4, SIZE // 4, 3)), (SIZE, SIZE))
      images.append(records.encode_jpeg(np.clip(base + noise, 0, 255).astype(np.uint8), 92))
    number = np.arange(FRAMES)
    empty = base.clip(0, 255).astype(np.uint8)
    files = images * (FRAMES // IMAGES)
    yield records.Sequence(
      "s", "a", "b", 25.0, [records.Track("c", None, files, number, number / 25, empty)]
    )


class Loader:
  """An iterator and the processes that serve it."""

  def __init__(self, make):
    before = set(multiprocessing.active_children())
    self.iterator = make()
    next(self.iterator)
    self._processes = set(multiprocessing.active_children()) - before

  def turn(self, batches):
    """(seconds, processor seconds) of so many batches, from empty queues to empty queues."""
    for _ in range(DRAINED):
      next(self.iterator)
    busy, began = self._processor_seconds(), time.perf_counter()
    for _ in range(batches):
      next(self.iterator)
    return time.perf_counter() - began, self._processor_seconds() - busy

  def _processor_seconds(self):
    ticks = 0
    for process in self._processes:
      with open(f"/proc/{process.pid}/stat") as file:
        ticks += sum(int(x) for x in file.read().rsplit(")", 1)[1].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads processor times in /proc")
def test_frames_per_second_beside_the_decoder_and_torch(tmp_path):
  torch = pytest.importorskip("torch")
  directory = prepare(Textured, tmp_path)
  batches = make_batches(
    open_dataset(directory, "train"),
    temporal=TemporalConfig(near_max=10, far_min=60),
    batch_size=BATCH,
    seed=0,
    image_size=None,
    workers=WORKERS,
    prefetch=2 * WORKERS,
  )
  maker = batches._maker
  ids = np.stack([maker.draw_temporal(k, maker.examples(k))[1] for k in range(STEPS)])

  def open_torch():
    frames = np.tile(ids.reshape(-1, ids.shape[-1]), (100, 1))
    return iter(
      torch.utils.data.DataLoader(
        loader_peers.TorchFrames(directory, frames),
        batch_size=BATCH,
        num_workers=WORKERS,
        prefetch_factor=2,
        worker_init_fn=loader_peers.one_thread,
        multiprocessing_context="spawn",
      )
    )

  own, peer = Loader(lambda: batches), Loader(open_torch)
  shown = next(peer.iterator).numpy()
  expected = maker._temporal_batch(1, maker.examples(1))["image"]
  np.testing.assert_array_equal(shown, expected)  # like with like
  decoders = loader_peers.Decoders(directory, ids.reshape(STEPS, -1), WORKERS)
  found = []
  for _ in range(ROUNDS):
    found.append([variant.turn(TURN) for variant in (own, peer, decoders)])
    time.sleep(1)  # the queues fill up again
  batches.close()
  decoders.close()
  per_second = TURN * BATCH * ids.shape[-1] / np.array(found)  # [round, variant, wall or processor]
  print(f"\nframes/s with {WORKERS} workers; ratio to the decoder, median and range of {ROUNDS}")
  for column, name in enumerate(("wall clock", "per processor")):
    for row, variant in enumerate(("loader", "torch", "decoder")):
      ratio = per_second[:, row, column] / per_second[:, 2, column]
      print(
        f"  {name:13} {variant:8} {np.median(per_second[:, row, column]):6.0f}   "
        f"{np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f})"
      )
