"""Worker processes that live no longer than the process that they work for."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable


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
