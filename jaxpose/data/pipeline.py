"""Loaders: batches in the order of steps, read ahead by threads or by worker processes."""

import atexit
import functools
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxpose import processes
from jaxpose.data import batches
from jaxpose.data.batches import Batch, BatchMaker, TemporalConfig
from jaxpose.data.handover import Opener, Pool
from jaxpose.data.index import Dataset
from jaxpose.data.labelled import LabelledFrames
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.sources import Source
from jaxpose.data.views import ViewsConfig

_ENDLESS = 1 << 40  # steps
_DEATHS = 3  # of workers, with no batch between them, until a loader gives up
_SHARED_MEMORY = "/dev/shm"
_SHARED_ARRAY_BYTES = 1 << 10  # smaller arrays go through a pipe, which must never fill up

_WORKER_DIED = "Worker process was terminated"  # how grain begins to say that one was killed

_running: Any = weakref.WeakSet()  # iterators with workers
_pool: Pool | None = None  # of this process, if it is a loader worker


def _close_all() -> None:
  """Ends workers before the interpreter takes itself apart."""
  for iterator in list(_running):
    iterator.close()


def make_batches(
  sources: Sequence[Source] | Dataset,
  *,
  temporal: TemporalConfig | None,
  batch_size: int,
  seed: int,
  image_size: tuple[int, int] | None,
  pair: PairConfig | None = None,
  views: ViewsConfig | None = None,
  labelled: LabelledFrames | None = None,
  host_index: int = 0,
  host_count: int = 1,
  workers: int = 0,
  prefetch: int = 2,
  start_step: int = 0,
) -> "BatchIterator":
  """An endless iterator over training batches; see `BatchIterator`.

  Args:
    sources: a data set, or several with their weights.
    temporal: distances of temporal samples; None for none.
    batch_size: samples of all hosts together.
    seed: decides the draws, with the step.
    image_size: (height, width) of frames; None keeps the data set's one size.
    pair: pairs of views; None for none.
    views: two cameras at two instants; None for none.
    labelled: the frames that single labelled frames are drawn from; None for none.
    host_index, host_count: which share of each batch this process reads.
    workers: loader processes; 0 reads ahead in a thread of this process.
    prefetch: batches kept ready, by the thread or all workers together.
    start_step: of the first batch.

  Raises:
    ValueError: the arguments contradict each other, or the data cannot give what is asked for.
  """
  if isinstance(sources, Dataset):
    sources = [Source(sources)]
  maker = BatchMaker(
    sources,
    temporal=temporal,
    pair=pair,
    views=views,
    labelled=labelled,
    batch_size=batch_size,
    seed=seed,
    image_size=image_size,
    host_index=host_index,
    host_count=host_count,
  )
  return BatchIterator(maker, workers=workers, prefetch=prefetch, start_step=start_step)


class BatchIterator:
  """Batches from a step on: the same numbers whatever the number of workers.

  Each batch has, for B samples of this host,

    temporal: image uint8 [B, 4, H, W, 3]; background uint8 [B, 1, H, W, 3], or [B, 4, ...] where a
      camera moves; frame int32 [B, 4]; position float32 [B, 4], time from the reference in the unit
      of the config; sequence, camera, subject int32 [B]; example uint32 [B]; gravity bool [B]: the
      four are equidistant frames of a fall in order of time; with labels also present int32 [B, 4],
      box_px float32 [B, 4, 4], pose2d_px float32 [B, 4, J, 2], pose3d_mm float32 [B, 4, J, 3],
      joint_valid bool [B, 4, J]
    pair: image, background uint8 [B, 2, H, W, 3], and substitute like them; subject_px float32
      [B, 2, 4], the box that a crop is centred on, NaN where unknown; frame, camera int32 [B, 2];
      sequence, subject int32 [B]; example uint32 [B]; synchronised, flipped bool [B]; mirrored bool
      [B, 2], the view of a flipped pair that is to be mirrored (images and boxes are not)
    views: image, background uint8 [B, 4, H, W, 3], of camera a and b at time 1, a and b at time 2;
      frame, camera int32 [B, 4]; sequence, subject int32 [B]; example uint32 [B]; where asked for,
      rotation float32 [B, 4, 3, 3], R from world to each frame's camera, and labels as above
    labelled: image uint8 [B, H, W, 3], and background like it where asked for; present int32 [B];
      box_px, pose2d_px, pose3d_mm, joint_valid as above, [B, ...]; K float32 [B, 3, 3]; example
      uint32 [B]

  as far as asked for. `close` it, or use it in a `with` statement, to end its workers. Where one of
  them is killed all are started again, at the same batch.
  """

  def __init__(self, maker: BatchMaker, *, workers: int, prefetch: int, start_step: int):
    if workers < 0 or prefetch < 1:
      raise ValueError(f"need workers >= 0 and prefetch >= 1, not {workers} and {prefetch}")
    self._maker = maker
    self._workers, self._prefetch = workers, prefetch
    self._step = start_step
    self._batches: Any = None
    self._folder: tempfile.TemporaryDirectory | None = None
    self._opener: Opener | None = None
    maker.tables  # noqa: B018  what the data cannot give is an error now, not in a worker
    if workers:
      # each worker's batches: in the making, in its queue, in the queue of the thread that reads it
      _check_shared_memory(maker, workers * (2 * _worker_buffer(workers, prefetch) + 2))

  @property
  def step(self) -> int:
    """Of the next batch."""
    return self._step

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    batch = self._read()
    self._step += 1
    opener = self._opener
    if opener is None:
      return batch
    return {kind: {k: opener.open(v) for k, v in x.items()} for kind, x in batch.items()}

  def _start_reading(self) -> Any:
    folder = ""
    if self._workers:
      shared = _SHARED_MEMORY if os.path.isdir(_SHARED_MEMORY) else None
      self._folder = tempfile.TemporaryDirectory(
        prefix="jaxpose-", dir=shared, ignore_cleanup_errors=True
      )
      folder = self._folder.name
      self._opener = Opener(folder)
    return _start(self._maker, self._step, self._workers, self._prefetch, folder=folder)

  def peek(self) -> Batch:
    """The next batch, made here and now: starts no thread and no worker, and moves nothing on."""
    return self._maker[self._step]

  def _read(self) -> Any:
    """The next batch as workers hand it over, whatever happens to the workers.

    Raises:
      OSError: they are killed again and again.
    """
    for death in range(1, _DEATHS + 1):
      if self._batches is None:
        self._batches = self._start_reading()
        if not _running:  # handlers run last in, first out: this before those of grain's imports
          atexit.unregister(_close_all)
          atexit.register(_close_all)
        _running.add(self)
      try:
        return next(self._batches)
      except RuntimeError as error:
        if _WORKER_DIED not in str(error):
          raise
        self.close()
        logging.getLogger(__name__).warning(
          "a loader worker was killed before batch %d (%d of %d in a row); starting them again",
          self._step,
          death,
          _DEATHS,
        )
    raise OSError(
      f"loader workers were killed {_DEATHS} times in a row before batch {self._step}, probably for"
      " lack of memory: use fewer of them (0 needs none) or less prefetch, and go on"
    )

  def state(self) -> dict[str, Any]:
    """The position, for a checkpoint: plain JSON values."""
    return {"step": self._step, "fingerprint": self._maker.fingerprint()}

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on where `state` was taken, with any number of hosts and workers.

    Raises:
      ValueError: it was taken with other data or another configuration; says which.
    """
    own = self._maker.fingerprint()
    for name, value in own.items():
      if state["fingerprint"].get(name) != value:
        raise ValueError(
          f"the checkpoint's data loader had {name} = {state['fingerprint'].get(name)}, "
          f"this one has {value}: use the same configuration and data, or another workdir"
        )
    self.close()
    self._step = int(state["step"])

  def close(self) -> None:
    """Ends threads and worker processes; a later `next` starts them again."""
    if self._batches is not None:
      self._batches.close()
      self._batches = None
      _running.discard(self)
    if self._folder is not None:
      self._folder.cleanup()
      self._folder = self._opener = None

  def __enter__(self) -> "BatchIterator":
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()


class _Steps:
  """grain's random-access source: element k is the batch of step start + k."""

  def __init__(self, maker: Any, start: int, length: int):
    self._maker, self._start, self._length = maker, start, length

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, k: Any) -> Any:
    batch = self._maker[self._start + int(k)]
    return batch if _pool is None else _pool.refer(batch)


def _start(
  maker: Any,
  step: int,
  workers: int,
  prefetch: int,
  length: int = _ENDLESS,
  folder: str = "",
) -> Any:
  """Starts reading ahead; batch by batch, so that workers deal out whole batches in order.

  Workers put the large arrays of their batches into files in `folder`.
  """
  import grain
  from absl import flags

  if not flags.FLAGS.is_parsed():  # a script or notebook without absl's app: grain asks for flags
    flags.FLAGS.mark_as_parsed()
  steps = grain.MapDataset.source(_Steps(maker, step, length))
  if workers:
    dataset = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.experimental.DatasetOptions(min_shm_size=_SHARED_ARRAY_BYTES)
    dataset = grain.experimental.WithOptionsIterDataset(dataset, options)
    processes = grain.MultiprocessingOptions(
      num_workers=workers, per_worker_buffer_size=_worker_buffer(workers, prefetch)
    )
    start_worker = functools.partial(_init_worker, folder)
    return iter(dataset.mp_prefetch(processes, worker_init_fn=start_worker))
  return iter(
    steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch))
  )


def _worker_buffer(workers: int, prefetch: int) -> int:
  """Batches that each worker holds ready."""
  return -(-prefetch // workers)


def _init_worker(folder: str, number: int, count: int) -> None:
  """Runs first in every worker: shared memory, one thread, no device, an end with the parent."""
  import cv2

  global _pool
  del number, count
  _pool = Pool(folder)
  batches.allocate = _pool.allocate
  os.environ["JAX_PLATFORMS"] = "cpu"
  cv2.setNumThreads(0)
  processes.serve_parent(lambda: shutil.rmtree(folder, ignore_errors=True))


def _check_shared_memory(maker: BatchMaker, count: int) -> None:
  """Workers hand over batches through shared memory: too little of it kills them without a word.

  Raises:
    ValueError: there is too little.
  """
  if not os.path.isdir(_SHARED_MEMORY):
    return
  height, width = maker.image_size
  moving = any(source.dataset.index.moving.any() for source in maker.sources)
  frames = (8 if moving else 5) * (maker.temporal is not None) + 8 * (maker.views is not None)
  if maker.pair is not None:
    frames += (6 if maker.pair.substitute else 4) * maker.pair.per_example
  if maker.labelled is not None:
    frames += 2 if maker.labelled.reads_background else 1
  needed = maker.batch_size // maker.host_count * frames * height * width * 3 * count
  free = shutil.disk_usage(_SHARED_MEMORY).free
  if needed > free:
    raise ValueError(
      f"loader workers need up to {needed / 2**20:.0f} MiB of shared memory, {_SHARED_MEMORY} has "
      f"{free / 2**20:.0f} MiB: use fewer workers (0 needs none) or less prefetch, or enlarge it"
    )


class _FrameMaker:
  """Random access to batches of consecutive frames."""

  def __init__(
    self,
    dataset: Dataset,
    ids: Int[np.ndarray, " n"],
    batch_size: int,
    image_size: tuple[int, int] | None,
    with_labels: bool,
  ):
    self._dataset, self._ids, self._batch_size = dataset, ids, batch_size
    self._image_size, self._with_labels = image_size, with_labels

  def __getitem__(self, k: int) -> dict[str, np.ndarray]:
    ids = self._ids[k * self._batch_size : (k + 1) * self._batch_size]
    padded = np.concatenate([ids, np.repeat(ids[-1:], self._batch_size - len(ids))])
    batch = self._dataset.read(padded, image_size=self._image_size, with_labels=self._with_labels)
    return batch | {"ids": padded, "valid": np.arange(self._batch_size) < len(ids)}


def make_frame_batches(
  dataset: Dataset,
  *,
  batch_size: int,
  image_size: tuple[int, int] | None,
  with_labels: bool = False,
  ids: Int[np.ndarray, " n"] | None = None,
  prefetch: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
  """Every frame once, in order: what `Dataset.read` returns, with ids and valid.

  Args:
    dataset: one split.
    batch_size: frames per batch; the last one is padded by repeating its last frame.
    image_size: (height, width) of frames; None keeps the data set's one size.
    with_labels: adds the labels.
    ids: the only frames to read; None for all.
    prefetch: batches read ahead, in a thread.

  Yields:
    dicts of arrays [batch_size, ...]; `valid` is False for padding.
  """
  chosen = np.arange(dataset.num_frames) if ids is None else np.asarray(ids, np.int64)
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, not {batch_size}")
  maker = _FrameMaker(dataset, chosen, batch_size, image_size, with_labels)
  count = -(-len(chosen) // batch_size)
  if count == 0:
    return
  loaded = _start(maker, 0, 0, prefetch, count)
  try:
    yield from loaded
  finally:
    loaded.close()
