"""Exported embeddings on disk: one `.npz`, or, for large sets, sharded `.npy` and a manifest.

Both hold the same keys and are read by `load_embeddings`; neither holds pickles. A folder of shards
looks like this, and is written in flat memory:

  manifest.json           rows of each shard, type and shape of each column; written last
  constants.npz           what is not one value a frame: names, skeleton, configuration
  <column>-00000.npy ...  the rows, shard by shard
"""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, overload

import numpy as np

from jaxpose import files

MANIFEST, CONSTANTS = "manifest.json", "constants.npz"
FORMAT = 1
_SHARD_ROWS = 1_000_000
Arrays = Mapping[str, np.ndarray]


class ShardedArray:
  """Memory-mapped rows of several files that reads like one array: [N, ...].

  Indexing by a row, a slice, numbers or a mask reads only those rows; `np.asarray` reads all.
  """

  def __init__(self, parts: Sequence[np.ndarray]) -> None:
    self._parts = list(parts)
    self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
    self.dtype = self._parts[0].dtype
    self.shape = (int(self._starts[-1]), *self._parts[0].shape[1:])

  @property
  def ndim(self) -> int:
    return len(self.shape)

  def __len__(self) -> int:
    return self.shape[0]

  @overload
  def __getitem__(self, key: slice | np.ndarray) -> np.ndarray: ...

  @overload
  def __getitem__(self, key: Any) -> np.ndarray | np.generic: ...

  def __getitem__(self, key: Any) -> np.ndarray | np.generic:
    if isinstance(key, tuple):
      single = isinstance(key[0], (int, np.integer))
      return self[key[0]][key[1:] if single else (slice(None), *key[1:])]
    if isinstance(key, (int, np.integer)):
      return self._rows(np.array([range(len(self))[key]]))[0]
    if isinstance(key, slice):
      return self._rows(np.arange(*key.indices(len(self))))
    rows = np.asarray(key)
    if rows.dtype == bool:
      if rows.shape != (len(self),):
        raise IndexError(f"a mask of {rows.shape} for {len(self)} rows")
      rows = np.flatnonzero(rows)
    return self._rows(np.where(rows < 0, rows + len(self), rows).astype(np.int64))

  def _rows(self, rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(-1)
    if len(flat) and (flat.min() < 0 or flat.max() >= len(self)):
      raise IndexError(f"rows from {flat.min()} to {flat.max()} of an array of {len(self)}")
    result = np.empty((len(flat), *self.shape[1:]), self.dtype)
    part_of = np.searchsorted(self._starts, flat, side="right") - 1
    for number in np.unique(part_of):
      here = part_of == number
      result[here] = self._parts[number][flat[here] - self._starts[number]]
    return result.reshape(*rows.shape, *self.shape[1:])

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    if copy is False:
      raise ValueError("rows of several files cannot be one array without a copy")
    return np.concatenate(self._parts).astype(dtype or self.dtype, copy=False)

  def parts(self) -> Iterator[np.ndarray]:
    """The memory-mapped arrays of the shards, in order."""
    return iter(self._parts)


def load_embeddings(
  path: str | os.PathLike[str], split: str = "", names: Collection[str] | None = None
) -> dict[str, Any]:
  """Arrays of an export by key.

  Args:
    path: an `.npz`, a folder of shards, or, with `split`, the folder that holds `split.npz` or the
      folder `split`.
    names: the only columns and constants to read of an `.npz`, as far as it has them; None for all.

  Returns:
    numpy arrays; the columns of a sharded set are memory-mapped (`ShardedArray` where there are
    several shards).

  Raises:
    FileNotFoundError: there is no such export, or it is unfinished.
    ValueError: a file is damaged or missing.
  """
  path = pathlib.Path(path)
  if split:
    path = path / split
  if not path.suffix and path.with_name(path.name + ".npz").is_file():
    path = path.with_name(path.name + ".npz")
  if path.is_file():
    try:
      return dict(files.load_npz(path, names))
    except ValueError as error:
      raise ValueError(f"{error}; export again") from error
  if not (path / MANIFEST).is_file():
    raise FileNotFoundError(f"no exported embeddings at {path}: launch/export.py writes them")
  return _load_shards(path)


def load_splits(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
  """Arrays of the exports in a run's folder: of "train", then "test", those that there are.

  Raises:
    FileNotFoundError: there is neither.
    ValueError: a file is damaged or missing.
  """
  found: dict[str, dict[str, Any]] = {}
  for split in ("train", "test"):
    with contextlib.suppress(FileNotFoundError):
      found[split] = load_embeddings(folder, split)
  if not found:
    raise FileNotFoundError(f"no exported embeddings in {folder}: launch/export.py writes them")
  return found


def _load_shards(folder: pathlib.Path) -> dict[str, Any]:
  try:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["format"] != FORMAT:
      raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
    result: dict[str, Any] = {}
    for name, column in manifest["columns"].items():
      parts = []
      for number, rows in enumerate(manifest["shards"]):
        part = np.load(_shard(folder, name, number), mmap_mode="r", allow_pickle=False)
        if part.shape != (rows, *column["shape"]) or str(part.dtype) != column["dtype"]:
          raise ValueError(f"shard {number} of {name} is {part.dtype} {part.shape}")
        parts.append(part)
      result[name] = parts[0] if len(parts) == 1 else ShardedArray(parts)
    return result | files.load_npz(folder / CONSTANTS)
  except Exception as error:
    raise ValueError(f"{folder} is damaged: {error}; export again") from error


def save_embeddings(path: str | os.PathLike[str], arrays: Arrays) -> None:
  """Writes one `.npz`, whole or not at all.

  Raises:
    ValueError: an array would need a pickle.
  """
  path = pathlib.Path(path)
  for name, array in arrays.items():
    if np.asarray(array).dtype.hasobject:
      raise ValueError(f"column {name} holds Python objects; give plain arrays")
  path.parent.mkdir(parents=True, exist_ok=True)
  with _named_errors(path), files.replacing(path) as partial, open(partial, "wb") as file:
    np.savez(file, **dict(arrays))  # type: ignore[arg-type]


class EmbeddingWriter:
  """Streams rows to shards; nothing appears at `path` before `commit`.

  Use as a context: leaving it without `commit` removes what was written.

  Args:
    path: the folder to write; replaced if there is one.
    shard_rows: rows of a file.
  """

  def __init__(self, path: str | os.PathLike[str], shard_rows: int = _SHARD_ROWS) -> None:
    self._path = pathlib.Path(path)
    self._folder = self._path.with_name(self._path.name + files.PARTIAL)
    self._shard_rows = shard_rows
    self._columns: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    self._open: dict[str, _Shard] = {}
    self._shards: list[int] = []
    self.nbytes = 0
    shutil.rmtree(self._folder, ignore_errors=True)
    self._folder.mkdir(parents=True)

  def __enter__(self) -> "EmbeddingWriter":
    return self

  def __exit__(self, *_: object) -> None:
    for shard in self._open.values():
      shard.abandon()
    shutil.rmtree(self._folder, ignore_errors=True)

  @property
  def rows(self) -> int:
    """Rows written so far."""
    return sum(self._shards) + (next(iter(self._open.values())).rows if self._open else 0)

  def append(self, columns: Arrays) -> None:
    """Adds rows: the same columns, types and shapes at every call.

    Raises:
      ValueError: columns of unequal length, or other ones than before, or Python objects.
    """
    arrays = {name: np.asarray(array) for name, array in columns.items()}
    self._check(arrays)
    count, start = len(next(iter(arrays.values()))), 0
    while start < count:
      with _named_errors(self._path):
        if not self._open:
          number = len(self._shards)
          for name, (dtype, shape) in self._columns.items():
            self._open[name] = _Shard(_shard(self._folder, name, number), dtype, shape)
        room = self._shard_rows - next(iter(self._open.values())).rows
        for name, shard in self._open.items():
          shard.append(arrays[name][start : start + room])
          self.nbytes += arrays[name][start : start + room].nbytes
        start += min(room, count - start)
        if next(iter(self._open.values())).rows == self._shard_rows:
          self._close_shard()

  def _check(self, arrays: dict[str, np.ndarray]) -> None:
    kinds = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    if not self._columns:
      bad = [name for name, (dtype, _) in kinds.items() if dtype.hasobject]
      if bad or not kinds:
        raise ValueError(f"columns {bad} hold Python objects; give plain arrays")
      self._columns = kinds
    if kinds != self._columns:
      wrong = sorted(n for n in {*kinds, *self._columns} if kinds.get(n) != self._columns.get(n))
      raise ValueError(f"columns {', '.join(wrong)} differ in name, type or shape from before")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
      raise ValueError(f"columns of unequal length: {lengths}")

  def _close_shard(self) -> None:
    self._shards.append(next(iter(self._open.values())).rows)
    for shard in self._open.values():
      shard.close()
    self._open = {}

  def column(self, name: str) -> ShardedArray:
    """A column written so far; no rows can be added to the shard in progress after that."""
    with _named_errors(self._path):
      if self._open:
        self._close_shard()
    return ShardedArray(
      [
        np.load(_shard(self._folder, name, i), mmap_mode="r", allow_pickle=False)
        for i in range(len(self._shards))
      ]
    )

  def _whole(self, name: str) -> Any:
    """A column as numpy saves it: from disk if it is one file, else read when its turn comes."""
    column = self.column(name)
    parts = list(column.parts())
    return parts[0] if len(parts) == 1 else column

  def derive(self, name: str, source: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Adds the column function(source), computed shard by shard."""
    for number, part in enumerate(self.column(source).parts()):
      values = np.asarray(function(part))
      with _named_errors(self._path):
        np.save(_shard(self._folder, name, number), values, allow_pickle=False)
      self._columns[name] = (values.dtype, values.shape[1:])
      self.nbytes += values.nbytes

  def commit(self, constants: Arrays, *, npz_below: int = 0) -> pathlib.Path:
    """Finishes the export and returns where it lies.

    Args:
      constants: arrays that are not one value a row.
      npz_below: an export of fewer bytes becomes one `.npz` beside `path` instead of a folder.

    Raises:
      ValueError: no row was written.
    """
    if not self.rows:
      raise ValueError(f"{self._path}: there is no frame to export")
    if self._open:
      with _named_errors(self._path):
        self._close_shard()
    if self.nbytes < npz_below:
      columns = {name: self._whole(name) for name in self._columns}
      packed = self._path.with_name(self._path.name + ".npz")
      save_embeddings(packed, {**columns, **constants})
      shutil.rmtree(self._path, ignore_errors=True)
      return packed
    save_embeddings(self._folder / CONSTANTS, constants)
    manifest = {
      "format": FORMAT,
      "rows": self.rows,
      "shards": self._shards,
      "columns": {
        name: {"dtype": str(dtype), "shape": list(shape)}
        for name, (dtype, shape) in self._columns.items()
      },
    }
    with _named_errors(self._path):
      (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
      shutil.rmtree(self._path, ignore_errors=True)
      os.replace(self._folder, self._path)
      self._path.with_name(self._path.name + ".npz").unlink(missing_ok=True)
    return self._path


class _Shard:
  """One `.npy` file that grows: the header is written again with the final length."""

  def __init__(self, path: pathlib.Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    self.rows = 0
    self._dtype, self._shape = dtype, shape
    self._file = open(path, "wb")  # noqa: SIM115  closed by close or abandon
    self._header_bytes = self._write_header()

  def append(self, rows: np.ndarray) -> None:
    self._file.write(np.ascontiguousarray(rows).data)
    self.rows += len(rows)

  def close(self) -> None:
    self._file.seek(0)
    if self._write_header() != self._header_bytes:
      raise AssertionError("numpy pads headers so that the number of rows can grow in place")
    self._file.close()

  def abandon(self) -> None:
    self._file.close()

  def _write_header(self) -> int:
    header = {
      "descr": np.lib.format.dtype_to_descr(self._dtype),
      "fortran_order": False,
      "shape": (self.rows, *self._shape),
    }
    file: BinaryIO = self._file
    np.lib.format.write_array_header_2_0(file, header)
    return file.tell()


def _shard(folder: pathlib.Path, name: str, number: int) -> pathlib.Path:
  return folder / f"{name}-{number:05d}.npy"


@contextlib.contextmanager
def _named_errors(path: pathlib.Path) -> Iterator[None]:
  """Says where there is no space, or no right to write."""
  try:
    yield
  except OSError as error:
    raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
