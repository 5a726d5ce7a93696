"""Worker processes that live no longer than the process that they work for."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor


def serve_parent(leave: Callable[[], None] | None = None) -> None:
  """Runs first in a worker: signals are the parent's to answer, and its end is the worker's.

  A worker that the parent no longer needs must be killed: SIGTERM it ignores, as the shell and the
  schedulers of clusters send it to all processes of a job at once.

  Args:
    leave: called when the parent has gone, before the worker goes too.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  parent = multiprocessing.parent_process()

  def wait() -> None:
    if parent is not None:
      parent.join()  # returns however the parent dies
      if leave is not None:
        leave()
      os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
  """Processes that are waited for, but not where there is an error or the job is asked to stop."""
  others = set(multiprocessing.active_children())
  context = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(workers, mp_context=context, initializer=serve_parent) as executor:
    try:
      yield executor
    except BaseException:
      executor.shutdown(wait=False, cancel_futures=True)
      for process in set(multiprocessing.active_children()) - others:
        process.kill()  # so what it writes must count only once it is whole
      raise
