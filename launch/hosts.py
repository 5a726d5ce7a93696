"""A run that several processes share: how they find each other, and what is said if one is lost.

JAX ends a process in which a collective fails or whose companions fall silent, often by an abort
that no Python code can follow. So the job proper runs in a child, and its parent, which never
touches JAX, hands signals on, says what happened and gives the exit status.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from absl import flags

from launch import cli

HEARTBEAT_S = 25  # silence after which a process counts as lost; all have ended within a minute
JOIN_S = 600  # for the other processes to come, which may still be copying data
LOST = 75  # exit status: run the same command again (EX_TEMPFAIL)
_LIFELINE = "JAXPOSE_LIFELINE"  # file descriptor that closes when the parent is gone

_COORDINATOR = flags.DEFINE_string(
  "coordinator",
  "",
  "HOST:PORT of process 0, where several processes share a run; `auto` asks Cloud TPU, Slurm,"
  " Open MPI or Kubernetes.",
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many share the run; not with `auto`.")
_PROCESS = flags.DEFINE_integer("process", None, "Which this is, from 0 on; not with `auto`.")


def is_parent() -> bool:
  """Whether this process is to start the job proper and watch it, instead of being it."""
  return bool(_COORDINATOR.value) and _LIFELINE not in os.environ


def supervise() -> int:
  """Runs this command again as a child; its exit status, or `LOST` with a line that says why."""
  read, write = os.pipe()
  environment = os.environ | {_LIFELINE: str(read)}
  child = subprocess.Popen([sys.executable, *sys.argv], env=environment, pass_fds=(read,))
  os.close(read)
  signal.set_wakeup_fd(-1)  # the child's to answer are all signals, and it takes the time it needs
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
  signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
  status = child.wait()
  os.close(write)
  if 0 <= status < LOST:
    return status
  why = "" if status == LOST else f", ended by {signal.Signals(-status).name}"
  print(
    f"error: a process of this run was lost{why}: it failed, was ended, or its network did."
    " Checkpoints are kept; start the command again on the machines that are there, as many as"
    " you like, and the run goes on from the last one",
    file=sys.stderr,
    flush=True,
  )
  return LOST


@contextlib.contextmanager
def together() -> Iterator[None]:
  """The processes joined into one JAX program inside of the block, where the flags ask for it.

  What goes wrong inside ends this process at once: waiting for the others, as JAX would at the
  end of the program, would be in vain, since they wait for this one.

  Raises:
    ValueError: the processes do not find each other.
  """
  if not _COORDINATOR.value:
    yield
    return
  import jax

  _end_with_parent()
  handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
  _join()
  # JAX now hears SIGTERM, and lets all processes save the same step, which may take longer than
  # what else hears signals would wait; Ctrl-C is to do the same.
  watched = signal.set_wakeup_fd(-1)
  signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
  try:
    yield
    jax.distributed.shutdown()
    for number, handler in handlers.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(watched, warn_on_full_buffer=False)
  except BaseException as error:
    status = cli.report(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(LOST if isinstance(error, jax.errors.JaxRuntimeError) else status)


def is_first() -> bool:
  """Whether this process does what only one should do."""
  if not _COORDINATOR.value:
    return True
  import jax

  return jax.process_index() == 0


def _join() -> None:
  import jax

  how: dict[str, Any] = {}
  if _COORDINATOR.value != "auto":
    how = {
      "coordinator_address": _COORDINATOR.value,
      "num_processes": _PROCESSES.value,
      "process_id": _PROCESS.value,
      "cluster_detection_method": "deactivate",
    }
  print("waiting for the other processes of the run ...", flush=True)
  try:
    jax.distributed.initialize(
      **how, initialization_timeout=JOIN_S, heartbeat_timeout_seconds=HEARTBEAT_S
    )
  except (RuntimeError, ValueError) as error:
    raise ValueError(
      f"the processes of the run did not find each other: {str(error).splitlines()[0]};"
      " --coordinator=auto needs Cloud TPU, Slurm, Open MPI or Kubernetes, elsewhere give"
      " HOST:PORT of process 0, --processes and --process, and start all within"
      f" {JOIN_S // 60} minutes"
    ) from error


def _end_with_parent() -> None:
  """Ends this process when its parent is gone, however that ended."""
  lifeline = int(os.environ[_LIFELINE])

  def wait() -> None:
    os.read(lifeline, 1)  # nothing is ever written: it returns at the end of the file
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


def check_flags(*, trains: bool) -> None:
  """Raises ValueError where the flags contradict each other, or the job (`trains`?) is for one."""
  if _COORDINATOR.value and not trains:
    raise ValueError(
      "several processes share the training alone: run the other --stages in one process, without"
      " --coordinator"
    )
  numbers = (_PROCESSES.value, _PROCESS.value)
  if _COORDINATOR.value in ("", "auto"):
    if numbers != (None, None):
      raise ValueError("--processes and --process go with --coordinator=HOST:PORT")
    return
  host, colon, port = _COORDINATOR.value.rpartition(":")
  if not host or not colon or not port.isdecimal():
    raise ValueError(f"--coordinator={_COORDINATOR.value}: give HOST:PORT of process 0, or auto")
  count, process = numbers
  if count is None or process is None or not 0 <= process < count:
    raise ValueError(
      f"--processes={count} --process={process}: give the number of processes, and which this is,"
      " from 0 on"
    )
