"""Where numbers go: JSON lines, TensorBoard."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxpose import files

TIMES = "time/"  # names of what differs between two runs of the same configuration


@runtime_checkable
class Writer(Protocol):
  """Takes the numbers of a run. Only the first process of a run calls it."""

  def restart(self, step: int) -> None:
    """Called once before anything else: the run goes on after `step` (0: it is new)."""

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Numbers of one step."""

  def flush(self) -> None:
    """Returns when all is on the disk."""

  def close(self) -> None:
    """Called once after everything else."""


class JsonLinesWriter:
  """One JSON object a line, `{"step": 10, name: number, ...}`; null where a number is not finite.

  A resumed run first drops the lines after the step that it resumes from, and leaves out what
  depends on the clock, so that its file equals that of a run never interrupted.
  """

  def __init__(self, path: pathlib.Path | str) -> None:
    self._path = pathlib.Path(path)
    self._file: Any = None

  def restart(self, step: int) -> None:
    """Drops lines after `step`, and a last line that was cut off.

    Raises:
      ValueError: another line is damaged; names it.
    """
    kept = [text for line, text in _lines(self._path) if line["step"] <= step] if step else []
    self._path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(self._path) as partial:
      partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    self._file = self._path.open("a", encoding="utf-8")

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Appends one line."""
    numbers = {
      name: float(value) if math.isfinite(value) else None
      for name, value in values.items()
      if not name.startswith(TIMES)
    }
    if numbers:
      self._file.write(json.dumps({"step": step} | numbers) + "\n")
      self._file.flush()

  def flush(self) -> None:
    """Forces the lines to the disk."""
    self._file.flush()
    os.fsync(self._file.fileno())

  def close(self) -> None:
    """Closes the file."""
    if self._file is not None:
      self._file.close()


class TensorBoardWriter:
  """TensorBoard event files, written without TensorFlow."""

  def __init__(self, folder: pathlib.Path | str) -> None:
    self._folder = pathlib.Path(folder)
    self._writer: Any = None

  def restart(self, step: int) -> None:
    """Opens a new event file; TensorBoard then hides events of older files after `step`.

    A new run hides them all: one that was killed before its first checkpoint left some.
    """
    from tensorboardX import SummaryWriter

    self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """One point on each curve."""
    for name, value in values.items():
      self._writer.add_scalar(name, value, step)

  def flush(self) -> None:
    """Hands the events to the operating system."""
    self._writer.flush()

  def close(self) -> None:
    """Closes the event file."""
    if self._writer is not None:
      self._writer.close()


def read_json_lines(path: pathlib.Path | str) -> list[dict[str, Any]]:
  """The lines of a `JsonLinesWriter`, without a last one that was cut off.

  Raises:
    ValueError: another line is damaged; names it.
  """
  return [line for line, _ in _lines(pathlib.Path(path))]


def _lines(path: pathlib.Path) -> list[tuple[dict[str, Any], str]]:
  """(what it says, its text) of each whole line."""
  if not path.is_file():
    return []
  text = path.read_bytes()
  found = []
  for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
    try:
      values = json.loads(line)
      int(values["step"])
      found.append((values, line.decode()))
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{path}, line {number}, is damaged ({error}); remove the line, and with it its numbers, to"
        " go on"
      ) from error
  return found
