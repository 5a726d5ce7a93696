"""What the loader is measured against: the decoder alone, and PyTorch's DataLoader."""

import multiprocessing
import time

import cv2
import numpy as np

from jaxpose.data import records
from jaxpose.data.index import open_dataset


def read_files(directory, ids):
  """The compressed images of frames, in memory: {id: uint8 [n]}."""
  shards = open_dataset(directory, "train")._shards
  unique = np.unique(ids)
  found = (records.parse_record(data, ("image",))["image"] for data in shards.read(unique))
  return {i: np.array(file) for i, file in zip(unique.tolist(), found)}


class Decoders:
  """Processes that only decode; `turn` gives (seconds, processor seconds) for so many batches.

  Process w decodes the batches w, w + count, ... of `ids` [batches, frames], again and again.
  """

  def __init__(self, directory, ids, count):
    context = multiprocessing.get_context("spawn")
    self._pipes, self._processes = [], []
    for w in range(count):
      here, there = context.Pipe()
      own = ids[w::count]
      process = context.Process(target=_decode, args=(there, directory, own), daemon=True)
      process.start()
      self._pipes.append(here)
      self._processes.append(process)
    for pipe in self._pipes:
      pipe.recv()

  def turn(self, batches):
    began = time.perf_counter()
    for pipe in self._pipes:
      pipe.send(batches // len(self._pipes))
    busy = sum(pipe.recv() for pipe in self._pipes)
    return time.perf_counter() - began, busy

  def close(self):
    for pipe, process in zip(self._pipes, self._processes):
      pipe.send(0)
      process.join()


def _decode(pipe, directory, ids):
  cv2.setNumThreads(0)
  files, k = read_files(directory, ids), 0
  pipe.send(0)
  while count := pipe.recv():
    began = time.process_time()
    for _ in range(count):
      for i in ids[k % len(ids)].tolist():
        cv2.imdecode(files[i], cv2.IMREAD_COLOR)
      k += 1
    pipe.send(time.process_time() - began)


class TorchFrames:
  """A map-style data set: the frames [F, H, W, 3] of an example, from files in memory."""

  def __init__(self, directory, ids):
    self._directory, self._ids, self._files = directory, ids, None

  def __len__(self):
    return len(self._ids)

  def __getitem__(self, k):
    import torch

    if self._files is None:
      self._files = read_files(self._directory, self._ids)
    rows = [cv2.imdecode(self._files[i], cv2.IMREAD_COLOR_RGB) for i in self._ids[k].tolist()]
    return torch.from_numpy(np.stack(rows))


def one_thread(number):
  cv2.setNumThreads(0)
