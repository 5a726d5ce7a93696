"""Hands batches from loader workers to their parent in shared memory that is used again and again.

Fresh memory costs a page fault for every 4 KiB: for frames of 500 px as much as half of decoding
them. So a worker keeps the memory of its large arrays, a file each in a folder for shared memory.
The last byte of a file says whose turn it is: the worker sets it when it begins an array, the
parent clears it when nobody looks at the array any more. Once both have mapped a file its name
goes, so that the memory ends with them, however they end.
"""

import dataclasses
import math
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

_FREE, _TAKEN = 0, 1


@dataclasses.dataclass(frozen=True)
class Reference:
  """What goes through the pipe in place of a large array: the name of its file, and its shape."""

  name: str
  shape: tuple[int, ...]
  dtype: str


class Pool:
  """A worker's side: makes arrays in shared memory, and refers to them.

  Args:
    folder: for the files; the parent's `Opener` has the same.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    self._folder = Path(folder)
    self._maps: dict[str, mmap.mmap] = {}
    self._names: dict[int, str] = {}  # by address

  def allocate(self, shape: tuple[int, ...], dtype: type) -> Shaped[np.ndarray, "..."]:
    """An array with any content, in memory that is free or else new.

    Raises:
      OSError: there is no shared memory left.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    free = (n for n, m in self._maps.items() if len(m) == size + 1 and m[size] == _FREE)
    name = next(free, None) or self._create(size + 1)
    self._maps[name][size] = _TAKEN
    array: np.ndarray = np.ndarray(shape, dtype, buffer=self._maps[name])
    self._names[_address(array)] = name
    return array

  def refer(self, batch: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """The batch with a `Reference` for each array that `allocate` made, reshaped or not."""
    return {kind: {k: self._refer(v) for k, v in x.items()} for kind, x in batch.items()}

  def _refer(self, array: np.ndarray) -> Any:
    name = self._names.get(_address(array))
    return array if name is None else Reference(name, array.shape, array.dtype.str)

  def _create(self, size: int) -> str:
    name = f"{os.getpid()}-{len(self._maps)}"
    with open(self._folder / name, "x+b") as file:
      try:
        os.posix_fallocate(file.fileno(), 0, size)  # writing beyond what there is would kill
      except OSError as error:
        raise OSError(
          error.errno,
          f"no {size / 2**20:.0f} MiB of shared memory left in {self._folder.parent} "
          f"({error.strerror}): use fewer workers (0 needs none) or less prefetch, or enlarge it",
        ) from error
      self._maps[name] = mmap.mmap(file.fileno(), size)
    return name


class Opener:
  """The parent's side: arrays of references; the memory goes back with the last view of each."""

  def __init__(self, folder: str | os.PathLike[str]):
    self._folder = Path(folder)
    self._maps: dict[str, mmap.mmap] = {}

  def open(self, value: Any) -> Shaped[np.ndarray, "..."]:
    """The array that a reference stands for; arrays as they are."""
    if not isinstance(value, Reference):
      return value.view(np.ndarray)
    if value.name not in self._maps:
      path = self._folder / value.name
      with open(path, "r+b") as file:
        self._maps[value.name] = mmap.mmap(file.fileno(), 0)
      path.unlink()
    memory = self._maps[value.name]
    loan = _Loan(value.shape, value.dtype, buffer=memory)
    weakref.finalize(loan, _give_back, memory).atexit = False
    return loan.view(np.ndarray)


class _Loan(np.ndarray):
  """Every view holds the array that it is a view of as long as that is of another class: this."""


def _give_back(memory: mmap.mmap) -> None:
  memory[len(memory) - 1] = _FREE


def _address(array: np.ndarray) -> int:
  return array.__array_interface__["data"][0]
