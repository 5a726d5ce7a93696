"""What lies on disk: shards of records with random access, and background images with a cache."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jaxpose.data import records
from jaxpose.data.transforms import Letterbox, letterbox_image

# Backgrounds kept per process: a fixed camera shows one, a shuffled run touches all of a data set.
BACKGROUND_CACHE_BYTES = 512 * 2**20


class Shards:
  """Random access to the records of a split. Readers open on first use; safe across threads."""

  def __init__(self, paths: list[Path], lengths: list[int], where: str):
    self._paths = paths
    self._ends = np.cumsum(lengths)
    self._lengths = lengths
    self._where = where
    self._readers: dict[int, Any] = {}
    self._lock = threading.Lock()

  def __getstate__(self) -> dict[str, Any]:
    return {"_paths": self._paths, "_lengths": self._lengths, "_where": self._where}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__init__(state["_paths"], state["_lengths"], state["_where"])  # type: ignore[misc]

  def read(self, ids: Int[np.ndarray, " n"]) -> Iterator[bytes]:
    """The records `ids`, in their order.

    One at a time in the calling thread, so that a record is decoded while it lies in the
    processor's cache: that costs a third of a list of records read by the reader's threads.
    """
    shard_of = np.searchsorted(self._ends, ids, side="right")
    for record, shard in zip(ids.tolist(), shard_of.tolist()):
      reader = self._open(shard)
      try:
        data = reader.read([record - int(self._ends[shard]) + self._lengths[shard]])[0]
      except (RuntimeError, IndexError) as error:
        raise ValueError(
          f"{self._where}, record {record}: damaged in {self._paths[shard].name} ({error}); "
          "prepare the data set again"
        ) from error
      yield data

  def _open(self, shard: int) -> Any:
    reader = self._readers.get(shard)
    if reader is not None:
      return reader
    from array_record.python import array_record_module

    with self._lock:
      if shard not in self._readers:
        path = self._paths[shard]
        reader = array_record_module.ArrayRecordReader(
          str(path), options="readahead_buffer_size:0", file_reader_buffer_size=32768
        )
        if not reader.ok() or reader.num_records() != self._lengths[shard]:
          raise ValueError(
            f"{self._where}: shard {path.name} is cut short or damaged: "
            f"{reader.num_records() if reader.ok() else 0} of {self._lengths[shard]} records can "
            "be read; prepare the data set again"
          )
        self._readers[shard] = reader
      return self._readers[shard]


class BackgroundCache:
  """Background images by file name and size, the least recently used dropped first."""

  def __init__(self, directory: Path):
    self._directory = directory
    self._images: OrderedDict[Any, np.ndarray] = OrderedDict()
    self._bytes = 0
    self._lock = threading.Lock()

  def image(self, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """The image as stored."""
    return self._get((name, None), lambda: self._load(name))

  def letterboxed(self, name: str, box: Letterbox) -> UInt8[np.ndarray, "H W 3"]:
    """The image, resized and padded."""

    def make() -> np.ndarray:
      out = np.empty((*box.frame_size, 3), np.uint8)
      letterbox_image(self._load(name), box, out)
      return out

    return self._get((name, box.frame_size), make)

  def _get(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
    with self._lock:
      if key in self._images:
        self._images.move_to_end(key)
        return self._images[key]
    image = make()
    with self._lock:
      if key not in self._images:
        self._images[key] = image
        self._bytes += image.nbytes
        while self._bytes > BACKGROUND_CACHE_BYTES and len(self._images) > 1:
          self._bytes -= self._images.popitem(last=False)[1].nbytes
    return image

  def _load(self, name: str) -> np.ndarray:
    path = self._directory / name
    if not path.exists():
      raise ValueError(f"background {path} is missing; prepare the data set again")
    try:
      return records.decode_image(path.read_bytes())
    except ValueError as error:
      raise ValueError(f"background {path} is damaged; prepare the data set again") from error
