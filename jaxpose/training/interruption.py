"""Signals that ask a program to end, and the lock that keeps two runs out of one folder."""

import contextlib
import os
import pathlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
  """Unwinds a program that was asked to end; it ends with status 0."""


class StopRequest:
  """What SIGTERM (or Ctrl-C) asks for: a loop that saves and leaves, or a program that just ends.

  As it is, the signal is noted, and a loop looks between two steps (`asked`). With `at_once` nobody
  need look: the signal raises `Stopped` in the main thread, wherever that is. Requests nest: while
  a loop's is open it alone hears. A signal that came too late for the loop to look is passed on
  when its request closes, so that none is lost.

  Where the main thread does not come to look, or to unwind, within `grace_s` (while XLA compiles,
  say), `give_up` is called from another thread and the process ends with status 0; what was last
  saved stays. A second Ctrl-C interrupts as usual. Outside of the main thread, where Python allows
  no handlers, nothing is watched.
  """

  def __init__(self, *, grace_s: float, give_up: Callable[[], None], at_once: bool = False) -> None:
    self._grace_s, self._give_up, self._at_once = grace_s, give_up, at_once
    self._asked = threading.Event()
    self._over = threading.Event()
    self._answered = False
    self._received: signal.Signals | None = None
    self._previous: dict[signal.Signals, object] = {}

  def __enter__(self) -> "StopRequest":
    alone = self._at_once or _process_count() == 1
    if threading.current_thread() is not threading.main_thread() or not alone:
      return self
    self._read, self._write = socket.socketpair()
    self._write.setblocking(False)
    self._previous_fd = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
    for number in _SIGNALS:
      self._previous[number] = signal.signal(number, self._handle)
    threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    if self._at_once and self._asked.is_set():
      return  # the process is ending: another signal changes nothing, and the time still runs
    self._over.set()
    for number, handler in self._previous.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
    if self._previous:
      signal.set_wakeup_fd(self._previous_fd)
      self._write.close()
    if kind is None and self._received is not None and not self._answered:
      signal.raise_signal(self._received)

  def asked(self, step: int) -> bool:
    """Whether to stop after `step`; the same answer on all processes of a run."""
    if _process_count() > 1:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    self._answered = self._asked.is_set()
    return self._answered

  def _handle(self, number: int, _: object) -> None:
    if self._asked.is_set():
      if number == signal.SIGINT:
        raise KeyboardInterrupt
      return
    self._received = signal.Signals(number)
    self._asked.set()
    if self._at_once:
      raise Stopped(0)

  def _watch(self) -> None:
    """Runs beside the main thread: the C-level handler writes even while that is busy."""
    while True:
      received = self._read.recv(1)
      if not received:
        self._read.close()
        return
      if received[0] in _SIGNALS:
        break
    if not self._over.wait(self._grace_s):
      self._give_up()
      os._exit(0)


def _process_count() -> int:
  """Of this run; imports jax late, which a program that only prints its options can do without."""
  import jax

  return jax.process_count()


@contextlib.contextmanager
def workdir_lock(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of `workdir` as long as this process lives, also if it is killed.

  Raises:
    ValueError: another run uses the folder.
  """
  import fcntl

  path = workdir / ".lock"
  with path.open("a+", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      raise ValueError(
        f"{workdir} is in use by another run (process {file.read().strip() or 'unknown'});"
        " wait for it, stop it, or choose another work directory"
      ) from None
    except OSError:  # a file system without locks: nobody is kept out
      pass
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    os.fsync(file.fileno())  # another machine may want to read it
    yield


def check_shared(workdir: pathlib.Path) -> None:
  """Makes sure that all processes of a run see the folder that the first one has locked.

  Raises:
    ValueError: this process sees another folder of that name.
  """
  import jax

  from jaxpose import parallel

  if jax.process_count() == 1:
    return
  path = workdir / ".lock"
  owner = parallel.of_first(os.getpid())
  seen = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
  if seen != str(owner):
    raise ValueError(
      f"process {jax.process_index()} does not see the {workdir} of process 0: name a folder that"
      " all machines of the run share by --workdir"
    )
