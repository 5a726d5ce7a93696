"""Files that are there as a whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

PARTIAL = ".partial"  # what ends the name of a file or folder that is being written


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A path beside `path` to write to; takes its place at the end, or goes if there is an error."""
  path = pathlib.Path(path)
  partial = path.with_name(path.name + PARTIAL)
  try:
    yield partial
    os.replace(partial, path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
