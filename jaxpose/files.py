"""Files that are there as a whole or not at all, and files that are read whatever is in them."""

import contextlib
import fcntl
import json
import os
import pathlib
import tomllib
import zipfile
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

PARTIAL = ".partial"  # what ends the name of a file or folder that is being written
_SMALL_BYTES = 2**28  # arrays of so many bytes are read from a file of any size
_MOST_EXPANSION = 100  # of a larger archive: bytes of arrays for each byte of the file


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A path beside `path` to write to; takes its place at the end, or goes if there is an error.

  Raises:
    OSError: it cannot be written; names `path`, of which the former content is still there.
  """
  path = pathlib.Path(path)
  partial = path.with_name(path.name + PARTIAL)
  try:
    yield partial
    os.replace(partial, path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.filename in (None, str(partial)):
      raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    raise


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[bool]:
  """Holds an exclusive lock on a file; it is released when the process ends, however it ends.

  Gives whether it is held: a file system without locks keeps nobody out.
  """
  with pathlib.Path(path).open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
      yield False
      return
    yield True


def load_npz(
  path: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
  """The arrays of an `.npz` by name, without pickles and without more memory than it can fill.

  What an array's header declares must be what the archive holds, and that no more than
  `_MOST_EXPANSION` times the size of the file, if it is large at all.

  Args:
    names: the only arrays to read, as far as there are; None for all.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged, holds Python objects or declares more than it has.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no file {path}")
  try:
    with zipfile.ZipFile(path) as archive:
      sizes = [member.file_size for member in archive.infolist()]
      if sum(sizes) > max(_SMALL_BYTES, _MOST_EXPANSION * path.stat().st_size):
        raise ValueError(f"it would grow to {sum(sizes)} bytes")
      for member in archive.infolist():
        _check_npy(archive, member)
    with np.load(path, allow_pickle=False) as arrays:
      return {name: arrays[name] for name in arrays.files if names is None or name in names}
  except Exception as error:  # zip, zlib and numpy have many ways to say that bytes make no sense
    raise ValueError(f"{path} is damaged, or no .npz without pickles: {error}") from error


def _check_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
  """Raises ValueError unless a member is as long as the header of its array says."""
  with archive.open(member) as file:
    version = np.lib.format.read_magic(file)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    if version[0] not in read:
      raise ValueError(f"{member.filename} is of version {version}")
    shape, _, dtype = read[version[0]](file)
    if dtype.hasobject:
      raise ValueError(f"{member.filename} holds Python objects, which would need a pickle")
    count = dtype.itemsize
    for length in shape:
      count *= length
    if not dtype.itemsize or min(shape, default=0) < 0 or count != member.file_size - file.tell():
      raise ValueError(f"{member.filename} declares {shape} of {dtype}, but is of another size")


def parse_toml(text: str, where: str) -> dict[str, Any]:
  """The tables of a TOML text.

  Raises:
    ValueError: it is none; begins with `where`.
  """
  try:
    return tomllib.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{where}: no valid TOML: {error}") from error


def load_json(path: str | os.PathLike[str]) -> dict[str, Any]:
  """The object in a JSON file.

  Raises:
    OSError: it cannot be read.
    ValueError: it is damaged, or holds something else than an object.
  """
  try:
    values = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  if not isinstance(values, dict):
    raise ValueError(f"{path} is damaged: it holds no JSON object")
  return values
