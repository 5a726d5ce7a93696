import math
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.training.monitor import (
  MetricWindow,
  NonFiniteLossError,
  Progress,
  Warner,
  clock,
  make_collapse_watches,
)


def _metrics(loss, weight, finite=1.0, rare_weight=0.0):
  values = {
    "terms/loss": loss,
    "weights/loss": weight,
    "terms/rare": 0.0,
    "weights/rare": rare_weight,
    "totals/main": loss,
    "gradient_norms/main": 1.0,
    "finite": finite,
  }
  return {name: jnp.float32(value) for name, value in values.items()}


def test_means_weigh_terms_by_their_examples():
  window = MetricWindow(in_flight=2, rows=[])
  for step, (loss, weight) in enumerate([(1.0, 1.0), (4.0, 3.0), (9.0, 0.0)]):
    window.add(step, _metrics(loss, weight))
  means = window.take()
  assert means["terms/loss"] == (1 + 12) / 4
  assert means["weights/loss"] == 4 / 3
  assert means["totals/main"] == 14 / 3
  assert "terms/rare" not in means
  assert "finite" not in means
  window.add(4, _metrics(7.0, 1.0))
  assert window.take()["terms/loss"] == 7.0


def test_a_window_goes_on_from_saved_rows():
  whole, first = MetricWindow(in_flight=2, rows=[]), MetricWindow(in_flight=2, rows=[])
  for window in (whole, first):
    window.add(1, _metrics(0.1, 1.0))
  second = MetricWindow(in_flight=2, rows=first.rows())
  for window in (whole, second):
    window.add(2, _metrics(0.7, 2.0))
  assert second.take() == whole.take()


def test_rows_of_another_configuration_have_means_of_their_own():
  # saved before a term and a summary came and another went
  saved = {"terms/gone": 3.0, "weights/gone": 2.0, "totals/main": 1.0}
  window = MetricWindow(in_flight=2, rows=[saved])
  for step, (loss, weight) in enumerate([(1.0, 1.0), (4.0, 3.0)]):
    window.add(step, _metrics(loss, weight))
  means = window.take()
  assert means["terms/gone"] == 3.0
  assert means["terms/loss"] == (1 + 12) / 4
  assert means["gradient_norms/main"] == 1.0
  assert means["totals/main"] == (1 + 1 + 4) / 3


def test_recent_steps_are_not_waited_for():
  class Slow:
    def __init__(self):
      self.fetched = False

    def __array__(self, dtype=None, copy=None):
      self.fetched = True
      return np.ones((), np.float32)

  slow = [Slow() for _ in range(3)]
  window = MetricWindow(in_flight=2, rows=[])
  for step, value in enumerate(slow):
    window.add(step, {"finite": value, "weights/loss": value})
  assert [value.fetched for value in slow] == [True, False, False]


@pytest.mark.parametrize(
  ("loss", "norm", "words"),
  [
    (math.nan, 1.0, "loss term 'loss' is nan at step 17"),
    (2.0, math.inf, "gradient of objective 'main' is inf at step 17"),
  ],
)
def test_what_is_not_finite_is_named(loss, norm, words):
  window = MetricWindow(in_flight=2, rows=[])
  window.add(16, _metrics(1.0, 1.0))
  metrics = _metrics(loss, 1.0, finite=0.0) | {"gradient_norms/main": jnp.float32(norm)}
  window.add(17, metrics)
  window.add(18, _metrics(1.0, 1.0))
  with pytest.raises(NonFiniteLossError, match=words):
    window.add(19, _metrics(1.0, 1.0))


def test_collapse_is_said_but_not_at_every_line():
  watches = make_collapse_watches(
    box_scale_low=0.25, box_scale_high=0.95, mask_max_low=0.1, vector_spread_low=0.2
  )
  warner = Warner(watches, every=100)
  fine = {"box_scale_mean": 0.5, "mask_max_mean": 0.5}
  fine |= {"time_variant_spread": 0.5, "time_invariant_spread": 0.5}

  def check(step, **changes):
    means = {f"summaries/{name}": value for name, value in (fine | changes).items()}
    return warner.check(step, means)

  assert check(10) == []
  (line,) = check(20, box_scale_mean=0.97)
  assert "WARNING step 20: the boxes sit at a bound" in line
  assert "0.97" in line
  assert check(110, box_scale_mean=0.97) == []
  assert len(check(120, box_scale_mean=0.21, mask_max_mean=0.05)) == 2
  assert check(130, box_scale_mean=0.21, mask_max_mean=0.05) == []
  (line,) = check(140, time_invariant_spread=0.19)
  assert "WARNING step 140: the time-invariant vectors are nearly the same" in line
  (line,) = check(150, time_variant_spread=0.19)
  assert "the time-variant vectors are nearly the same" in line
  with pytest.raises(
    ValueError, match=r"no summary 'mask_max_mean'; it gives \['box_scale_mean'\]"
  ):
    warner.check(160, {"summaries/box_scale_mean": 0.5})


def test_speed_leaves_out_pauses(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, "perf_counter", lambda: now[0])
  progress = Progress(start=40, steps=100, frames_per_step=32)
  now[0] += 4.0
  with progress.paused():
    now[0] += 50.0
  now[0] += 1.0
  speed = progress.measure(60)
  assert speed == {"steps_per_s": 4.0, "frames_per_s": 128.0, "left_s": 10.0}
  now[0] += 10.0
  assert progress.measure(70)["steps_per_s"] == 1.0
  line = progress.line(60, speed, {"totals/main": 0.5, "terms/loss": 1 / 3, "learning_rates/m": 1})
  assert line == "step 60/100 · 4.00 steps/s · 128 frames/s · 0:00:10 left · main 0.5 · loss 0.3333"


def test_clock():
  assert clock(3725.4) == "1:02:05"
  assert clock(math.inf) == "?"
