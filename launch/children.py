"""The runs of a study as processes: who takes which, what each may use, and how all end in order.

A run belongs to who holds the lock of its file; the kernel gives it back when its process ends,
however that ends, so that what a dead worker leaves is taken over. The child holds the lock too: it
is not given back while a run whose study was killed still saves.
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from jaxpose import study
from jaxpose.training.interruption import Stopped, StopRequest

POLL_S = 0.5
PROGRESS_S = 30.0
SAVE_S = 45.0  # for the children to save and end; training itself takes 20 s at most
_PARENT_DIED = 1  # PR_SET_PDEATHSIG of prctl(2)

Command = Callable[[study.Run], list[str]]


class Child:
  """A process that writes to a log, pinned to its share of the cores, and ends with this one.

  Args:
    command: what it runs.
    log: is appended to.
    slot: which of `slots` processes beside each other it is.
    keep: open files that it holds too.
  """

  def __init__(
    self,
    command: Sequence[str],
    log: pathlib.Path,
    *,
    slot: int = 0,
    slots: int = 1,
    keep: Sequence[IO[str]] = (),
  ) -> None:
    cores, libc = share_of_cores(slot, slots), ctypes.CDLL(None)

    def prepare() -> None:
      libc.prctl(_PARENT_DIED, signal.SIGTERM)
      os.sched_setaffinity(0, cores)

    self.log, self.begin = log, time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
      self._process = subprocess.Popen(
        command,
        stdout=out,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=_environment(slots),
        pass_fds=[file.fileno() for file in keep],
        process_group=0,  # Ctrl-C is this program's to hand on
        preexec_fn=prepare,
      )

  @property
  def status(self) -> int | None:
    """Exit status, None while it runs."""
    return self._process.poll()

  def stop(self) -> None:
    """Asks it to save and end."""
    self._process.terminate()

  def wait(self, deadline: float) -> None:
    """Waits until it has ended; from `deadline` (`time.monotonic`) on it is killed."""
    try:
      self._process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()


def share_of_cores(slot: int, slots: int) -> set[int]:
  """The cores of one of several processes: as many for each; all, where there are too few."""
  cores = sorted(os.sched_getaffinity(0))
  each = len(cores) // slots
  return set(cores[slot * each : (slot + 1) * each] if each else cores)


def _environment(slots: int) -> dict[str, str]:
  """Of a child; several share the memory of an accelerator, which JAX takes whole by default."""
  shared = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / slots:.2f}"} if slots > 1 else {}
  return shared | dict(os.environ)


def run_one(command: Sequence[str], log: pathlib.Path) -> None:
  """Runs a process to its end.

  Raises:
    Stopped: a signal came; the process has been asked to end, and has.
    ValueError: it failed; quotes its last words and names its log.
  """
  child = Child(command, log)
  with _stopping(lambda: [child]):
    while child.status is None:
      time.sleep(POLL_S)
  if child.status:
    raise ValueError(f"{last_words(log)} (log: {log})")


class Runner:
  """Takes the runs of a study that nobody else has taken until none is left.

  Args:
    runs: in the order in which they are wanted.
    command: what trains one.
    jobs: how many beside each other.
    worker, workers: which of several such programs on the same folder this is. Each begins with
      every `workers`-th run, goes on with those of others, and waits for what others are at, to
      take it over should they die.
    say: takes a line.
  """

  def __init__(
    self,
    runs: Sequence[study.Run],
    command: Command,
    *,
    jobs: int,
    worker: int,
    workers: int,
    say: Callable[[str], None],
  ) -> None:
    own = list(runs[worker::workers])
    self._runs, self._order = runs, own + [run for run in runs if run not in own]
    self._command, self._jobs, self._workers, self._say = command, jobs, workers, say
    self._children: dict[int, tuple[study.Run, Child, IO[str]]] = {}
    self._given_up: dict[str, str] = {}
    # What failed before is tried again; what fails from now on, here or elsewhere, is not.
    self._before = {str(run): run.state() for run in runs}
    self._watch = Watch(runs, say)

  def run(self) -> dict[str, str]:
    """Returns the runs that failed, by name: last words and log.

    Raises:
      Stopped: a signal came; the children have saved and ended.
      ValueError: several workers share a folder that knows no locks.
    """
    with _stopping(lambda: [child for _, child, _ in self._children.values()]):
      while self._step():
        time.sleep(POLL_S)
    return self._given_up

  def _step(self) -> bool:
    """Sees what has ended and starts what can; whether anything is left."""
    for slot, (run, child, lock) in list(self._children.items()):
      if child.status is not None:
        self._end(run, child)
        del self._children[slot]
        lock.close()
    waiting = [run for run in self._order if self._is_open(run)]
    for slot in sorted(set(range(self._jobs)) - set(self._children)):
      for run in waiting:
        if run.is_ready and self._claim(run, slot):
          waiting.remove(run)
          break
    self._watch.report([run for run, _, _ in self._children.values()])
    return bool(waiting or self._children)

  def _is_open(self, run: study.Run) -> bool:
    """Is it neither finished, nor given up, nor under way here?"""
    if str(run) in self._given_up or any(run is one for one, _, _ in self._children.values()):
      return False
    if str(run.after) in self._given_up:
      self._given_up[str(run)] = f"it starts from {run.after}, which failed"
      return False
    state = run.state()
    if state.get("state") == study.FAILED and state != self._before[str(run)]:
      self._given_up[str(run)] = str(state.get("why", ""))
    return state.get("state") != study.FINISHED and str(run) not in self._given_up

  def _claim(self, run: study.Run, slot: int) -> bool:
    """Starts a run unless another process is at it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = run.lock.open("a")
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.close()
      return False
    except OSError as error:
      if self._workers > 1:
        lock.close()
        raise ValueError(
          f"{run.lock}: this file system knows no locks ({error.strerror}), so that workers would"
          " train the same runs: use another folder, or one program with --jobs"
        ) from error
    if not self._is_open(run):  # somebody finished it meanwhile
      lock.close()
      return False
    run.begin()
    command = self._command(run)
    self._say(f"{run}: {'goes on' if run.step() else 'begins'}; log: {run.log}")
    child = Child(command, run.log, slot=slot, slots=self._jobs, keep=[lock])
    self._children[slot] = (run, child, lock)
    return True

  def _end(self, run: study.Run, child: Child) -> None:
    """Writes down how a run ended."""
    seconds = round(time.monotonic() - child.begin, 1)
    if child.status == 0 and run.results.is_file():
      run.set_state(study.FINISHED, seconds=seconds)
      self._say(f"{run}: finished in {seconds / 60:.1f} minutes")
      return
    what = f"exit status {child.status}" if child.status else "ended without probe results"
    why = f"{what}, {last_words(run.log)} (log: {run.log})"
    run.set_state(study.FAILED, why=why, time=time.time())
    self._given_up[str(run)] = why
    self._say(f"{run}: failed, {why}")


class Watch:
  """Says from time to time how far the runs are.

  The time left counts steps: of all runs that are not finished, at the pace of all since the start.
  What comes after training is in the pace as soon as a run has finished.
  """

  def __init__(self, runs: Sequence[study.Run], say: Callable[[str], None]) -> None:
    self._runs, self._say = runs, say
    self._begin = self._told = time.monotonic()
    self._at_start = self._done()

  def report(self, running: Sequence[study.Run]) -> None:
    """A line for each run under way here, every `PROGRESS_S`."""
    now = time.monotonic()
    if now - self._told < PROGRESS_S:
      return
    self._told = now
    finished = sum(run.state().get("state") == study.FINISHED for run in self._runs)
    left = time_left(
      now - self._begin,
      self._done() - self._at_start,
      sum(run.steps for run in self._runs) - self._done(),
    )
    for run in running:
      step = run.step()
      where = f"step {step}/{run.steps}" if step < run.steps else last_words(run.log)
      self._say(f"{run}: {where}; {finished}/{len(self._runs)} runs finished, {left}")

  def _done(self) -> int:
    """Steps of all runs, a finished one counted whole."""
    return sum(
      run.steps if run.state().get("state") == study.FINISHED else min(run.step(), run.steps)
      for run in self._runs
    )


def time_left(elapsed_s: float, done: int, left: int) -> str:
  """`about 1.5 h left` for so many steps at the pace so far."""
  if done <= 0:
    return "time left not known yet"
  minutes = elapsed_s * left / done / 60
  if minutes < 1:
    return "less than a minute left"
  return f"about {minutes:.0f} min left" if minutes < 90 else f"about {minutes / 60:.1f} h left"


def last_words(log: pathlib.Path) -> str:
  """The last line of a log that says anything."""
  try:
    with log.open("rb") as file:
      file.seek(max(0, log.stat().st_size - 4096))
      lines = file.read().decode("utf-8", "replace").split("\n")
  except OSError:
    return "nothing in its log"
  return next((line.strip() for line in reversed(lines) if line.strip()), "nothing in its log")


@contextlib.contextmanager
def _stopping(children: Callable[[], list[Child]]) -> Iterator[None]:
  """Inside, a signal lets the children save and end before `Stopped` is raised; an error too."""

  def give_up() -> None:
    print("stopped, not all runs in time; run the same command again to go on", flush=True)

  with StopRequest(grace_s=SAVE_S, give_up=give_up, at_once=True):
    try:
      yield
    except BaseException as error:
      running = [child for child in children() if child.status is None]
      if isinstance(error, Stopped) and running:
        print(f"stopping: {len(running)} under way, which save first ...", flush=True)
      for child in running:
        child.stop()
      for child in running:
        child.wait(time.monotonic() + SAVE_S - 5)
      raise


def python(job: str, *arguments: str) -> list[str]:
  """The command of a job of launch/."""
  return [sys.executable, str(pathlib.Path(__file__).with_name(f"{job}.py")), *arguments]
