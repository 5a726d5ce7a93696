"""What a run keeps: its last checkpoints, its best one, and how it goes on from them."""

import contextlib
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxpose import parallel
from jaxpose.training.checkpoint import FOLDERS, Checkpoints
from jaxpose.training.monitor import MetricWindow, NonFiniteLossError
from jaxpose.training.state import TrainState
from jaxpose.training.writers import Writer


@runtime_checkable
class TrainIterator(Protocol):
  """Batches of this process, each a tree of fresh arrays, and the position among them."""

  def __iter__(self) -> Iterator[Any]: ...

  def __next__(self) -> Any: ...

  def state(self) -> dict[str, Any]:
    """The position as small JSON data; the same on all processes."""

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on from a position."""

  def close(self) -> None:
    """Ends what works behind it."""


class Keeper:
  """The last and best checkpoints of a run, and what is saved beside the state."""

  def __init__(self, workdir: pathlib.Path, *, keep: int, fingerprint: str, data: str) -> None:
    self._workdir, self._fingerprint, self._data = workdir, fingerprint, data
    self._last = Checkpoints(workdir / FOLDERS["last"], keep=keep)
    self._best = Checkpoints(workdir / FOLDERS["best"], keep=1)
    self.best: tuple[int | None, float | None] = (None, None)
    self._best_metric: str | None = None

  def __enter__(self) -> "Keeper":
    return self

  def __exit__(self, *_: object) -> None:
    self._last.close()
    self._best.close()

  def resume(
    self,
    state: TrainState,
    make_iterator: Callable[[], TrainIterator],
    over: parallel.Devices,
    say: Callable[[str], None],
  ) -> tuple[TrainState, int, TrainIterator, list[dict[str, float]]]:
    """State, step, iterator and metric window of the last checkpoint, or of a new run."""
    restored = self._last.restore(state)
    iterator = make_iterator()
    if restored is None:
      self._best.clear()
      return state, 0, iterator, []
    position = restored.position
    self.best = (position["best_step"], position["best_value"])
    self._best_metric = position.get("best_metric")
    changed = [
      what
      for what, saved, own in (
        ("another configuration", position["fingerprint"], self._fingerprint),
        ("data of other content", position.get("data", self._data), self._data),
      )
      if saved != own
    ]
    if changed:
      say(
        f"WARNING the checkpoint of step {restored.step} in {self._workdir} was written with"
        f" {' and '.join(changed)}; going on with the present one"
      )
      if (self._best.latest_step() or 0) > restored.step:  # these steps will not come again
        self._best.clear()
        self.best = (None, None)
    iterator.restore(position["iterator"])
    say(f"going on from step {restored.step} in {self._workdir}")
    return parallel.replicate(restored.state, over), restored.step, iterator, position["window"]

  def save(
    self,
    step: int,
    state: TrainState,
    position: dict[str, Any],
    window: MetricWindow,
    writers: Sequence[Writer],
  ) -> None:
    """Saves after the lines up to `step` are on the disk, so that none can be missing."""
    content = self._content(position, window)
    for writer in writers:
      writer.flush()
    self._best.wait()  # what this checkpoint says of the best one must be true
    self._last.save(step, state, content)

  def keep_best(
    self,
    step: int,
    state: TrainState,
    position: dict[str, Any],
    window: MetricWindow,
    values: Mapping[str, float],
    metric: str,
  ) -> None:
    """Saves the state if `metric` is lower than ever before; a NaN gives way to anything.

    What was the best by another metric, before the configuration changed, gives way, too.
    """
    if not values:
      return
    if metric not in values:
      raise ValueError(f"no evaluator gives '{metric}'; they give {sorted(values)}")
    lowest = self.best[1] if self._best_metric in (None, metric) else None
    if lowest is None or math.isnan(lowest) or values[metric] < lowest:
      self.best, self._best_metric = (step, values[metric]), metric
      self._best.save(step, state, self._content(position, window))

  def wait(self) -> None:
    """Returns when all is on the disk."""
    self._last.wait()
    self._best.wait()

  @contextlib.contextmanager
  def advice(self) -> Iterator[None]:
    """Adds to a loss that is not finite what is kept, and what to do."""
    try:
      yield
    except NonFiniteLossError as error:
      step = self._last.latest_step()
      kept = "nothing was saved yet" if step is None else f"the checkpoint of step {step} is kept"
      raise NonFiniteLossError(
        f"{error}; training stops, {kept} in {self._last.folder}. Try a lower learning rate or"
        " gradient clipping, and look at what that term is computed from"
      ) from None

  def give_up(self) -> None:
    """The farewell of a run that was asked to leave but could not come to save."""
    print("stopped; run the same command again to go on from the last checkpoint", flush=True)

  def _content(self, position: dict[str, Any], window: MetricWindow) -> dict[str, Any]:
    return {
      "iterator": position,
      "window": window.rows(),
      "best_step": self.best[0],
      "best_value": self.best[1],
      "best_metric": self._best_metric,
      "fingerprint": self._fingerprint,
      "data": self._data,
    }
