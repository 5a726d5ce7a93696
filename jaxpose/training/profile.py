"""Where the time of some steps goes: a trace by jax.profiler."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax


class Profile:
  """Traces the steps from the first to the last of `steps`, both included; () traces nothing.

  The trace holds what host and devices do, with a mark at each step. It is kept in
  `folder`/plugins/profile/TIME: `*.xplane.pb` for TensorBoard's profile plugin, and
  `perfetto_trace.json.gz` for ui.perfetto.dev.
  """

  def __init__(
    self, folder: pathlib.Path, steps: Sequence[int], say: Callable[[str], None]
  ) -> None:
    self._folder, self._say = folder, say
    self._first, self._last = steps or (1, 0)
    self._running = False

  @contextlib.contextmanager
  def of(self, step: int, results: Callable[[], Any]) -> Iterator[None]:
    """Around a step; `results` are waited for before the trace of the last one ends."""
    if not self._first <= step <= self._last:
      yield
      return
    if not self._running:
      jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
      self._running = True
    with jax.profiler.StepTraceAnnotation("train", step_num=step):
      yield
    if step == self._last:
      results()
      self.close()

  def close(self) -> None:
    """Writes the trace, where one is running: also that of a run that ends early."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
      self._say(f"the trace of steps {self._first} to {self._last} is in {self._folder}")
