"""What the loop knows of the steps since the last log line, and what it says about them."""

import contextlib
import dataclasses
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax


class NonFiniteLossError(FloatingPointError):
  """A term, total or gradient that is not a finite number."""


class MetricWindow:
  """The metrics of the steps since the last log line.

  Metrics stay on the device, so that asking for them does not hold up the next step; those older
  than `in_flight` steps are fetched, which also keeps the host from running far ahead.
  """

  def __init__(self, *, in_flight: int, rows: Sequence[Mapping[str, float]]) -> None:
    """Starts with `rows`, the steps since the last log line of a resumed run."""
    self._in_flight = in_flight
    self._pending: deque[tuple[int, Any]] = deque()
    self._rows = [dict(row) for row in rows]

  def add(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Takes the metrics of `step`.

    Raises:
      NonFiniteLossError: an earlier step was not finite.
    """
    self._pending.append((step, metrics))
    self._fetch(self._in_flight)

  def rows(self) -> list[dict[str, float]]:
    """All steps since the last log line, complete; raises as `add` does."""
    self._fetch(0)
    return self._rows

  def take(self) -> dict[str, float]:
    """Means over the window, which then is empty; raises as `add` does.

    A term's mean is Σ term·weight / Σ weight over the steps; a term that no step had is left out.
    Rows of a run whose configuration has changed may have other names: each has its own steps.
    """
    rows, self._rows = self.rows(), []
    means = {}
    for name in dict.fromkeys(name for row in rows for name in row):
      kind, _, term = name.partition("/")
      own = [row for row in rows if name in row]
      shares = [row[f"weights/{term}"] if kind == "terms" else 1.0 for row in own]
      if sum(shares) > 0:
        means[name] = math.fsum(row[name] * s for row, s in zip(own, shares)) / math.fsum(shares)
    return means

  def _fetch(self, keep: int) -> None:
    while len(self._pending) > keep:
      step, metrics = self._pending.popleft()
      row = {name: float(value) for name, value in jax.device_get(metrics).items()}
      if not row.pop("finite"):
        raise NonFiniteLossError(f"{_culprit(row)} at step {step}")
      self._rows.append(row)


def _culprit(row: Mapping[str, float]) -> str:
  bad = [name for name, value in row.items() if not math.isfinite(value)]
  for kind, words in (
    ("terms", "loss term"),
    ("totals", "total of objective"),
    ("gradient_norms", "gradient of objective"),
  ):
    found = [name.partition("/")[2] for name in bad if name.startswith(kind + "/")]
    if found:
      more = f" (and {', '.join(found[1:])})" if found[1:] else ""
      return f"{words} '{found[0]}'{more} is {row[f'{kind}/{found[0]}']}"
  return f"{bad} not finite"


@dataclasses.dataclass(frozen=True)
class Watch:
  """A summary of the method that warns when its mean leaves [low, high]."""

  summary: str
  low: float
  high: float
  message: str


def make_collapse_watches(
  *, box_scale_low: float, box_scale_high: float, mask_max_low: float, vector_spread_low: float
) -> tuple[Watch, ...]:
  """Warnings of the two ways in which detection collapses, and of vectors that say nothing.

  Args:
    box_scale_low, box_scale_high: where `box_scale_mean` counts as being at its bound.
    mask_max_low: where `mask_max_mean` counts as an empty mask.
    vector_spread_low: where `time_variant_spread` and `time_invariant_spread` count as one vector
      for all frames.
  """
  return (
    Watch(
      "box_scale_mean",
      box_scale_low,
      box_scale_high,
      "the boxes sit at a bound of their size; look at the box priors' loss weights",
    ),
    Watch(
      "mask_max_mean",
      mask_max_low,
      math.inf,
      "the masks are empty: everything is taken from the background",
    ),
    *(
      Watch(
        f"{name}_spread",
        vector_spread_low,
        math.inf,
        f"the {name.replace('_', '-')} vectors are nearly the same for all frames",
      )
      for name in ("time_variant", "time_invariant")
    ),
  )


class Warner:
  """Says what watches find, the same thing at most once in `every` steps."""

  def __init__(self, watches: Sequence[Watch], *, every: int) -> None:
    self._watches, self._every = tuple(watches), every
    self._last: dict[str, int] = {}

  def check(self, step: int, means: Mapping[str, float]) -> list[str]:
    """The warnings due at `step`.

    Raises:
      ValueError: the method does not give a summary that is watched.
    """
    lines = []
    for watch in self._watches:
      name = f"summaries/{watch.summary}"
      if name not in means:
        given = sorted(n.partition("/")[2] for n in means if n.startswith("summaries/"))
        raise ValueError(f"the method gives no summary '{watch.summary}'; it gives {given}")
      due = step - self._last.get(watch.summary, -self._every) >= self._every
      if due and not watch.low <= means[name] <= watch.high:
        self._last[watch.summary] = step
        lines.append(
          f"WARNING step {step}: {watch.message}"
          f" ({watch.summary} = {means[name]:.3g}, not within [{watch.low:g}, {watch.high:g}])"
        )
    return lines


class Progress:
  """Speed and time left, from the time spent on steps (not on evaluation and saving)."""

  def __init__(self, *, start: int, steps: int, frames_per_step: int) -> None:
    self._steps, self._frames = steps, frames_per_step
    self._last = start
    self._since = time.perf_counter()
    self._elsewhere = 0.0

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Time in here does not count."""
    begin = time.perf_counter()
    yield
    self._elsewhere += time.perf_counter() - begin

  def measure(self, step: int) -> dict[str, float]:
    """`steps_per_s`, `frames_per_s`, `left_s` since the call before."""
    now = time.perf_counter()
    spent = max(now - self._since - self._elsewhere, 1e-9)
    rate = (step - self._last) / spent
    self._last, self._since, self._elsewhere = step, now, 0.0
    return {
      "steps_per_s": rate,
      "frames_per_s": rate * self._frames,
      "left_s": (self._steps - step) / rate if rate else math.inf,
    }

  def line(self, step: int, speed: Mapping[str, float], means: Mapping[str, float]) -> str:
    """`step 100/500 · 3.1 steps/s · ...` with totals and terms."""
    numbers = [
      f"{name.partition('/')[2]} {value:.4g}"
      for kind in ("totals/", "terms/")
      for name, value in means.items()
      if name.startswith(kind)
    ]
    head = (
      f"step {step}/{self._steps} · {speed['steps_per_s']:.2f} steps/s"
      f" · {speed['frames_per_s']:.0f} frames/s · {clock(speed['left_s'])} left"
    )
    return " · ".join([head, *numbers])


def clock(seconds: float) -> str:
  """Hours:minutes:seconds."""
  if not math.isfinite(seconds):
    return "?"
  minutes, s = divmod(round(seconds), 60)
  hours, m = divmod(minutes, 60)
  return f"{hours}:{m:02d}:{s:02d}"
