import numpy as np
import pytest
from toy_method import ToyIterator

from jaxpose import parallel
from jaxpose.training.checkpoint import latest_step, read_position
from jaxpose.training.keeper import Keeper
from jaxpose.training.monitor import MetricWindow, NonFiniteLossError
from jaxpose.training.state import TrainState
from jaxpose.training.writers import JsonLinesWriter

POSITION = {"number": 3}
WINDOW = MetricWindow(in_flight=2, rows=[{"totals/toy": 0.1 + 0.2}])


def _state(value):
  return TrainState(np.int32(value), {"params": {"w": np.full(3, value, np.float32)}}, {})


def _keeper(workdir, **changes):
  return Keeper(workdir, **({"keep": 2, "fingerprint": "one", "data": "same"} | changes))


def _save(workdir, step=3, **changes):
  with _keeper(workdir, **changes) as keeper:
    keeper.save(step, _state(step), POSITION, WINDOW, [])


def _resume(workdir, **changes):
  """(what was restored, what was said)."""
  said = []
  with _keeper(workdir, **changes) as keeper:
    found = keeper.resume(_state(0), ToyIterator, parallel.devices(), said.append)
  return found, said


def test_a_run_goes_on_with_state_position_and_window(tmp_path):
  _save(tmp_path)
  (state, step, iterator, rows), said = _resume(tmp_path)
  assert step == 3
  np.testing.assert_array_equal(state.variables["params"]["w"], [3, 3, 3])
  assert iterator.state() == POSITION
  assert rows == [{"totals/toy": 0.1 + 0.2}]
  assert said == [f"going on from step 3 in {tmp_path}"]


def test_a_new_run_has_nothing_to_go_on_from_and_no_best_one(tmp_path):
  with _keeper(tmp_path) as keeper:  # of a run that was killed before its first checkpoint
    keeper.keep_best(2, _state(2), POSITION, WINDOW, {"score": 1.0}, "score")
  assert latest_step(tmp_path, "best") == 2
  (_, step, iterator, rows), said = _resume(tmp_path)
  assert (step, iterator.number, rows, said) == (0, 0, [], [])
  assert latest_step(tmp_path, "best") is None


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"fingerprint": "two"}, "with another configuration; going on"),
    ({"data": "other"}, "with data of other content; going on"),
    (
      {"fingerprint": "two", "data": "other"},
      "with another configuration and data of other content; going on",
    ),
  ],
)
def test_what_has_changed_is_said(tmp_path, changes, words):
  _save(tmp_path)
  (_, step, _, _), said = _resume(tmp_path, **changes)
  assert step == 3
  assert said[0].startswith("WARNING the checkpoint of step 3")
  assert words in said[0]


def test_a_checkpoint_that_does_not_know_its_data_is_not_warned_of(tmp_path, monkeypatch):
  content = Keeper._content

  def without(self, *arguments):
    return {name: x for name, x in content(self, *arguments).items() if name != "data"}

  monkeypatch.setattr(Keeper, "_content", without)
  _save(tmp_path)
  assert len(_resume(tmp_path, data="other")[1]) == 1


def test_lines_are_on_the_disk_before_the_checkpoint_and_the_best_one_before_the_last(tmp_path):
  class Writer(JsonLinesWriter):
    def flush(self):
      events.append(("flushed", latest_step(tmp_path)))

  events = []
  with _keeper(tmp_path) as keeper:
    keeper.keep_best(3, _state(3), POSITION, WINDOW, {"score": 1.0}, "score")
    wait, save = keeper._best.wait, keeper._last.save
    keeper._best.wait = lambda: (wait(), events.append(("best", latest_step(tmp_path, "best"))))
    keeper._last.save = lambda *x: (events.append(("last", x[0])), save(*x))
    keeper.save(3, _state(3), POSITION, WINDOW, [Writer(tmp_path / "lines")])
    assert events == [("flushed", None), ("best", 3), ("last", 3)]
  position = read_position(tmp_path)
  assert (position["best_step"], position["best_value"]) == (3, 1.0)


def test_what_is_saved_is_what_was_known_when_it_was_saved(tmp_path):
  window = MetricWindow(in_flight=2, rows=[{"totals/toy": 1.0}])
  with _keeper(tmp_path) as keeper:
    keeper.save(3, _state(3), POSITION, window, [])
    window.rows().append({"totals/toy": 2.0})
  assert read_position(tmp_path)["window"] == [{"totals/toy": 1.0}]


def test_a_loss_that_is_not_finite_names_what_is_kept(tmp_path):
  with _keeper(tmp_path) as keeper:
    with pytest.raises(NonFiniteLossError, match="training stops, nothing was"), keeper.advice():
      raise NonFiniteLossError("x is nan")
    keeper.save(3, _state(3), POSITION, WINDOW, [])
    with pytest.raises(NonFiniteLossError, match=r"x is nan.*of step 3 is kept"), keeper.advice():
      raise NonFiniteLossError("x is nan")
