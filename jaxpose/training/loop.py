"""The training loop: step, log, evaluation, checkpoint, each one line."""

import contextlib
import dataclasses
import pathlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxpose import parallel
from jaxpose.method import Method, Variables
from jaxpose.training.interruption import StopRequest, check_shared, workdir_lock
from jaxpose.training.keeper import Keeper, TrainIterator
from jaxpose.training.monitor import MetricWindow, Progress, Warner, Watch
from jaxpose.training.optimiser import Optimiser
from jaxpose.training.profile import Profile
from jaxpose.training.state import TrainState, make_state
from jaxpose.training.step import (
  LossWeight,
  Metrics,
  make_eval_step,
  make_train_step,
  mean_of_sums,
)
from jaxpose.training.writers import TIMES, Writer

IN_FLIGHT = 2  # steps, and batches, that are under way on the devices at one time
GRACE_S = 20.0  # for leaving after SIGTERM; machines are usually taken away after 30 s

Evaluator = Callable[[Variables], Iterable[tuple[str, float]]]


@dataclasses.dataclass(frozen=True)
class RunSettings:
  """How long a run is, and what is done how often.

  Attributes:
    seed: of the initial variables and of what is drawn in the steps.
    steps: number of the last step.
    accumulate: parts of a step, see `make_train_step`.
    frames_per_step: frames of a global batch, for the display.
    log_every, evaluate_every, checkpoint_every: in steps. The last step is always logged, evaluated
      and saved; 0 means only then.
    keep: number of last checkpoints kept; the best one by `best_metric` (lowest) is kept beside.
    best_metric: a name that an evaluator gives.
    best_from: the first step that may be the best one.
    warn_every: steps within which the same warning is given once.
    profile_steps: first and last step of a trace in the work directory's `profile`; (): none.
    fingerprint: of the configuration; a checkpoint that has another is used, with a warning.
    data: fingerprint of the data's content; likewise.
  """

  seed: int
  steps: int
  accumulate: int
  frames_per_step: int
  log_every: int
  evaluate_every: int
  checkpoint_every: int
  keep: int
  best_metric: str
  best_from: int
  warn_every: int
  profile_steps: tuple[int, ...]
  fingerprint: str
  data: str


class TrainResult(NamedTuple):
  """Where a run ended. `best_*` are None if nothing was evaluated."""

  state: TrainState
  step: int
  best_step: int | None
  best_value: float | None
  interrupted: bool


def train(
  method: Method,
  make_iterator: Callable[[], TrainIterator],
  settings: RunSettings,
  *,
  initial_batch: Any,
  workdir: pathlib.Path | str,
  optimisers: Mapping[str, Optimiser],
  loss_weights: Mapping[str, LossWeight],
  evaluators: Sequence[Evaluator],
  writers: Sequence[Writer],
  watches: Sequence[Watch],
  over: parallel.Devices | None = None,
  on_start: Callable[[], None] | None = None,
) -> TrainResult:
  """Trains to the last step, going on from the last checkpoint in `workdir` if there is one.

  Everything that decides the numbers is in the checkpoint or in the arguments, so a run that was
  killed and started again ends with the same bits as one that never was.

  Args:
    make_iterator: the training batches from the start, global batch / number of processes each.
    initial_batch: what `method.init` sees.
    evaluators: from variables to (name, value) pairs; `make_validation` makes one.
    watches: summaries that warn.
    over: devices, all by default.
    on_start: called by the first process once the work directory belongs to this run and what it
      holds fits, before the first step.

  Raises:
    Stopped: a signal came too late to be looked for, after the last step: all is saved. Only where
      the program's own `StopRequest` is open; a signal's other handlers do as they do.
    NonFiniteLossError: names term and step; nothing is saved after the last good checkpoint.
    ValueError: the data end before the last step; no evaluator gives `settings.best_metric`; the
      work directory is in use, or holds the checkpoint of another configuration.
  """
  over = over or parallel.devices()
  say = _print_line if over.process == 0 else _print_nothing
  writers = list(writers) if over.process == 0 else []
  with contextlib.ExitStack() as stack:
    keeper, stop = stack.enter_context(_open_workdir(pathlib.Path(workdir), settings, over))
    state = make_state(method, initial_batch, optimisers=optimisers, seed=settings.seed, over=over)
    state, start, iterator, rows = keeper.resume(state, make_iterator, over, say)
    stack.callback(iterator.close)
    train_step = make_train_step(
      method,
      loss_weights=loss_weights,
      optimisers=optimisers,
      seed=settings.seed,
      accumulate=settings.accumulate,
      over=over,
    )
    if on_start is not None and over.process == 0:
      on_start()
    for writer in writers:
      stack.callback(writer.close)
      writer.restart(start)
    journal = _Journal(settings, writers, watches, say, start=start, rows=rows)
    profile = Profile(pathlib.Path(workdir) / "profile", settings.profile_steps, say)
    stack.callback(profile.close)
    batches = _batches(iterator, over, start, settings.steps)
    return _take_steps(
      state, batches, train_step, evaluators, settings, journal, keeper, stop, profile
    )


def make_validation(
  method: Method,
  make_batches: Callable[[], Iterable[Any]],
  *,
  seed: int,
  over: parallel.Devices,
) -> Evaluator:
  """An evaluator: every term (and summary) of the method on the same batches every time.

  Yields (`validation/<term>`, Σ v·w / Σ w over all batches) and `validation/summaries/<name>`.

  Args:
    make_batches: the validation batches of this process, the same at every call.
  """
  step = make_eval_step(method, seed=seed, over=over)

  def evaluate(variables: Variables) -> Iterator[tuple[str, float]]:
    sums = [
      jax.device_get(step(variables, parallel.shard_batch(batch, over), number))
      for number, batch in enumerate(make_batches())
    ]
    if not sums:
      raise ValueError("there are no validation batches; give a smaller batch size or more data")
    for name, value in mean_of_sums(sums).items():
      yield f"validation/{name}", value

  return evaluate


def enable_compilation_cache(folder: pathlib.Path | str) -> None:
  """Keeps compiled programs in `folder`, so that a second start need not compile again."""
  jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(folder).absolute()))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@contextlib.contextmanager
def _open_workdir(
  workdir: pathlib.Path, settings: RunSettings, over: parallel.Devices
) -> Iterator[tuple[Keeper, StopRequest]]:
  """The folder, locked, with what keeps its checkpoints and what hears that the run should end."""
  workdir.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    if over.process == 0:
      stack.enter_context(workdir_lock(workdir))
    check_shared(workdir)
    keeper = stack.enter_context(
      Keeper(workdir, keep=settings.keep, fingerprint=settings.fingerprint, data=settings.data)
    )
    yield keeper, stack.enter_context(StopRequest(grace_s=GRACE_S, give_up=keeper.give_up))


def _take_steps(
  state: TrainState,
  batches: Iterable[tuple[int, Any, dict[str, Any]]],
  train_step: Callable[[TrainState, Any], tuple[TrainState, Metrics]],
  evaluators: Sequence[Evaluator],
  settings: RunSettings,
  journal: "_Journal",
  keeper: Keeper,
  stop: StopRequest,
  profile: Profile,
) -> TrainResult:
  """The loop itself, over (step, batch, position after it)."""
  step, interrupted = journal.start, False
  with keeper.advice():
    for step, batch, position in batches:
      with journal.compiling(step), profile.of(step, journal.window.rows):
        state, metrics = train_step(state, batch)
        journal.add(step, metrics)
      last = step == settings.steps
      if last or _due(step, settings.log_every):
        journal.log(step)
      with journal.progress.paused():
        if last or _due(step, settings.evaluate_every):
          values = journal.evaluate(step, evaluators, state.variables)
          if step >= settings.best_from:
            keeper.keep_best(step, state, position, journal.window, values, settings.best_metric)
        interrupted = not last and stop.asked(step)
        if last or interrupted or _due(step, settings.checkpoint_every):
          keeper.save(step, state, position, journal.window, journal.writers)
      if interrupted:
        break
  keeper.wait()
  if interrupted:
    journal.say(f"stopped after step {step}, all saved; run the same command again to go on")
  return TrainResult(state, step, *keeper.best, interrupted)


def _batches(
  iterator: TrainIterator, over: parallel.Devices, start: int, steps: int
) -> Iterator[tuple[int, Any, dict[str, Any]]]:
  """(step, batch on the devices, position after it), with the next batches already on their way."""
  queue: deque[tuple[Any, dict[str, Any]]] = deque()
  for step in range(start + 1, steps + 1):
    while len(queue) < min(IN_FLIGHT, steps + 1 - step):
      try:
        batch = next(iterator)
      except StopIteration:
        break
      queue.append((parallel.shard_batch(batch, over), iterator.state()))
    if not queue:
      raise ValueError(f"the training data end after step {step - 1}, before step {steps}")
    yield (step, *queue.popleft())


class _Journal:
  """What a run says and writes of its steps after `start`."""

  def __init__(
    self,
    settings: RunSettings,
    writers: Sequence[Writer],
    watches: Sequence[Watch],
    say: Callable[[str], None],
    *,
    start: int,
    rows: Sequence[Mapping[str, float]],
  ) -> None:
    self.start, self.writers, self.say = start, writers, say
    self.window = MetricWindow(in_flight=IN_FLIGHT, rows=rows)
    self.progress = Progress(
      start=start, steps=settings.steps, frames_per_step=settings.frames_per_step
    )
    self._warner = Warner(watches, every=settings.warn_every)

  @contextlib.contextmanager
  def compiling(self, step: int) -> Iterator[None]:
    """Says how long the first step takes, and leaves it out of the speed."""
    if step != self.start + 1:
      yield
      return
    self.say("compiling the training step ...")
    begin = time.perf_counter()
    with self.progress.paused():
      yield
    self.say(f"the first step took {time.perf_counter() - begin:.1f} s, most of it to compile")

  def add(self, step: int, metrics: Metrics) -> None:
    """Takes the metrics of a step, of the first when they are there."""
    self.window.add(step, metrics)
    if step == self.start + 1:
      jax.block_until_ready(metrics)

  def log(self, step: int) -> None:
    """Says and writes the means since the last line, and what the watches find."""
    means = self.window.take()
    speed = self.progress.measure(step)
    self.say(self.progress.line(step, speed, means))
    for line in self._warner.check(step, means):
      self.say(line)
    values = {f"train/{name}": value for name, value in means.items()}
    values |= {f"{TIMES}{name}": speed[name] for name in ("steps_per_s", "frames_per_s")}
    self._write(step, values)

  def evaluate(
    self, step: int, evaluators: Sequence[Evaluator], variables: Variables
  ) -> dict[str, float]:
    """Says, writes and returns what the evaluators find."""
    self.window.rows()  # a step that was not finite is found before its state is judged
    values = {name: float(value) for evaluate in evaluators for name, value in evaluate(variables)}
    if values:
      shown = {name: value for name, value in values.items() if "/summaries/" not in name}
      self.say(f"step {step} · " + " · ".join(f"{n} {v:.4g}" for n, v in shown.items()))
    self._write(step, values)
    return values

  def _write(self, step: int, values: Mapping[str, float]) -> None:
    for writer in self.writers:
      writer.scalars(step, values)


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0


def _print_line(line: str) -> None:
  print(line, flush=True)


def _print_nothing(line: str) -> None:
  del line
