"""The training loop: step, log, evaluation, checkpoint, each one line."""

import contextlib
import pathlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxpose import parallel
from jaxpose.method import Method, Variables
from jaxpose.training.interruption import StopRequest, workdir_lock
from jaxpose.training.keeper import Keeper, TrainIterator
from jaxpose.training.monitor import MetricWindow, Progress, Warner, Watch
from jaxpose.training.optimiser import Optimiser
from jaxpose.training.state import TrainState, make_state
from jaxpose.training.step import LossWeight, make_eval_step, make_train_step, mean_of_sums
from jaxpose.training.writers import TIMES, Writer

IN_FLIGHT = 2  # steps, and batches, that are under way on the devices at one time
GRACE_S = 20.0  # for leaving after SIGTERM; machines are usually taken away after 30 s

Evaluator = Callable[[Variables], Iterable[tuple[str, float]]]


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
  *,
  initial_batch: Any,
  workdir: pathlib.Path | str,
  optimisers: Mapping[str, Optimiser],
  loss_weights: Mapping[str, LossWeight],
  evaluators: Sequence[Evaluator],
  writers: Sequence[Writer],
  watches: Sequence[Watch],
  seed: int,
  steps: int,
  accumulate: int,
  frames_per_step: int,
  log_every: int,
  evaluate_every: int,
  checkpoint_every: int,
  keep: int,
  warn_every: int,
  best_metric: str,
  fingerprint: str,
  over: parallel.Devices | None = None,
) -> TrainResult:
  """Trains to `steps`, going on from the last checkpoint in `workdir` if there is one.

  Everything that decides the numbers is in the checkpoint or in the arguments, so a run that was
  killed and started again ends with the same bits as one that never was. The last step is always
  logged, evaluated and saved; `evaluate_every` and `checkpoint_every` 0 mean only then.

  Args:
    make_iterator: the training batches from the start, global batch / number of processes each.
    initial_batch: what `method.init` sees.
    evaluators: from variables to (name, value) pairs; `make_validation` makes one.
    watches: summaries that warn, at most every `warn_every` steps.
    frames_per_step: frames of a global batch, for the display.
    keep: number of last checkpoints kept; the best one by `best_metric` (lowest) is kept beside.
    fingerprint: of the configuration; a checkpoint that has another is used, with a warning.
    over: devices, all by default.

  Raises:
    NonFiniteLossError: names term and step; nothing is saved after the last good checkpoint.
    ValueError: the data end before the last step; no evaluator gives `best_metric`; the work
      directory is in use, or holds the checkpoint of another configuration.
  """
  workdir, over = pathlib.Path(workdir), over or parallel.devices()
  say = _print_line if over.process == 0 else _print_nothing
  writers = list(writers) if over.process == 0 else []
  workdir.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    if over.process == 0:
      stack.enter_context(workdir_lock(workdir))
    keeper = stack.enter_context(Keeper(workdir, keep=keep, fingerprint=fingerprint))
    stop = stack.enter_context(StopRequest(grace_s=GRACE_S, give_up=keeper.give_up))
    state = make_state(method, initial_batch, optimisers=optimisers, seed=seed, over=over)
    state, start, iterator, rows = keeper.resume(state, make_iterator, over, say)
    stack.callback(iterator.close)
    for writer in writers:
      stack.callback(writer.close)
      writer.restart(start)
    train_step = make_train_step(
      method,
      loss_weights=loss_weights,
      optimisers=optimisers,
      seed=seed,
      accumulate=accumulate,
      over=over,
    )
    window = MetricWindow(in_flight=IN_FLIGHT, rows=rows)
    progress = Progress(start=start, steps=steps, frames_per_step=frames_per_step)
    warner = Warner(watches, every=warn_every)
    step, interrupted = start, False
    with keeper.advice():
      for step, batch, position in _batches(iterator, over, start, steps):
        with _compiling(step == start + 1, progress, say):
          state, metrics = train_step(state, batch)
          window.add(step, metrics)
          if step == start + 1:
            jax.block_until_ready(metrics)
        last = step == steps
        if last or _due(step, log_every):
          _log(step, window, progress, warner, writers, say)
        with progress.paused():
          if last or _due(step, evaluate_every):
            values = _evaluate(step, evaluators, state.variables, window, writers, say)
            keeper.keep_best(step, state, position, window, values, best_metric)
          interrupted = stop.asked(step) and not last
          if last or interrupted or _due(step, checkpoint_every):
            keeper.save(step, state, position, window, writers)
        if interrupted:
          break
    keeper.wait()
    if interrupted:
      say(f"stopped after step {step}, all saved; run the same command again to go on")
    return TrainResult(state, step, *keeper.best, interrupted)


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


def _log(
  step: int,
  window: MetricWindow,
  progress: Progress,
  warner: Warner,
  writers: Sequence[Writer],
  say: Callable[[str], None],
) -> None:
  means = window.take()
  speed = progress.measure(step)
  say(progress.line(step, speed, means))
  for line in warner.check(step, means):
    say(line)
  values = {f"train/{name}": value for name, value in means.items()}
  values |= {f"{TIMES}{name}": speed[name] for name in ("steps_per_s", "frames_per_s")}
  for writer in writers:
    writer.scalars(step, values)


def _evaluate(
  step: int,
  evaluators: Sequence[Evaluator],
  variables: Variables,
  window: MetricWindow,
  writers: Sequence[Writer],
  say: Callable[[str], None],
) -> dict[str, float]:
  window.rows()  # a step that was not finite is found before its state is judged
  values = {name: float(value) for evaluate in evaluators for name, value in evaluate(variables)}
  if values:
    shown = {name: value for name, value in values.items() if "/summaries/" not in name}
    say(f"step {step} · " + " · ".join(f"{n} {v:.4g}" for n, v in shown.items()))
  for writer in writers:
    writer.scalars(step, values)
  return values


@contextlib.contextmanager
def _compiling(first: bool, progress: Progress, say: Callable[[str], None]) -> Iterator[None]:
  """Says how long the first step takes, and leaves it out of the speed."""
  if not first:
    yield
    return
  say("compiling the training step ...")
  begin = time.perf_counter()
  with progress.paused():
    yield
  say(f"the first step took {time.perf_counter() - begin:.1f} s, most of it to compile")


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0


def _print_line(line: str) -> None:
  print(line, flush=True)


def _print_nothing(line: str) -> None:
  del line
