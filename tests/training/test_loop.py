import dataclasses
import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from toy_method import ONE_WEIGHTS, ToyIterator, make_adam, make_batch, make_toy_method

from jaxpose import parallel
from jaxpose.training.checkpoint import latest_step, read_position, restore_for_inference
from jaxpose.training.loop import RunSettings, make_validation, train
from jaxpose.training.monitor import NonFiniteLossError, Watch
from jaxpose.training.writers import JsonLinesWriter, TensorBoardWriter, read_json_lines

TESTS = pathlib.Path(__file__).resolve().parents[1]
OVER = parallel.devices(jax.devices()[:2])
METHOD = make_toy_method()


class KilledError(Exception):
  """Stands for a process that ends between two steps."""


def kill_before(number):
  """Ends the run when it asks for this batch."""

  def before(asked):
    if asked == number:
      raise KilledError

  return before


def _train(
  workdir, *, steps=10, spoilt=None, before=lambda number: None, iterator=ToyIterator, **changes
):
  validation = make_validation(
    METHOD, lambda: [make_batch(100), make_batch(101)], seed=1, over=OVER
  )
  settings = RunSettings(
    seed=7,
    steps=steps,
    accumulate=1,
    frames_per_step=32,
    log_every=4,
    evaluate_every=5,
    checkpoint_every=3,
    keep=2,
    best_metric="validation/reconstruction",
    best_from=0,
    warn_every=100,
    profile_steps=(),
    fingerprint="one",
    data="same",
  )
  own = {field.name for field in dataclasses.fields(RunSettings)} & set(changes)
  settings = dataclasses.replace(settings, **{name: changes.pop(name) for name in own})
  arguments = {
    "initial_batch": make_batch(0),
    "workdir": workdir,
    "optimisers": {"toy": make_adam()},
    "loss_weights": ONE_WEIGHTS,
    "evaluators": [validation],
    "writers": [JsonLinesWriter(workdir / "metrics.jsonl")],
    "watches": [],
    "over": OVER,
  }
  return train(METHOD, lambda: iterator(spoilt, before), settings, **(arguments | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run of ten steps that nothing interrupted."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, _train(workdir)


def _assert_same_run(workdir, result, whole):
  for a, b in zip(jax.tree.leaves(result.state), jax.tree.leaves(whole[1].state), strict=True):
    np.testing.assert_array_equal(a, b)
  assert result[1:] == whole[1][1:]
  assert (workdir / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_what_a_run_leaves(whole, capsys):
  workdir, result = whole
  assert (result.step, result.interrupted, int(result.state.step)) == (10, False, 10)
  assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["10", "9"]
  lines = read_json_lines(workdir / "metrics.jsonl")
  assert [line["step"] for line in lines] == [4, 5, 8, 10, 10]
  assert [line["step"] for line in lines if "train/totals/toy" in line] == [4, 8, 10]
  validated = {n["step"]: n["validation/reconstruction"] for n in lines if len(n) < 12}
  assert set(validated) == {5, 10}
  assert result.best_step == min(validated, key=validated.get)
  assert result.best_value == min(validated.values())
  assert latest_step(workdir, "best") == result.best_step
  assert read_position(workdir)["iterator"] == {"number": 10}


@pytest.mark.parametrize("killed", [5, 9])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, whole, killed):
  # the batch of step 6 (10) is asked for two steps early; the last checkpoint is of step 3 (6 or 9)
  with pytest.raises(KilledError):
    _train(tmp_path, before=kill_before(killed))
  assert latest_step(tmp_path) in (3, 6)
  _assert_same_run(tmp_path, _train(tmp_path), whole)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, whole):
  with pytest.raises(KilledError):
    _train(tmp_path, before=kill_before(2))
  assert latest_step(tmp_path) is None
  _assert_same_run(tmp_path, _train(tmp_path), whole)


def test_a_finished_run_stays_as_it_is_and_can_be_prolonged(tmp_path, whole, capsys):
  _train(tmp_path, steps=8)
  again = _train(tmp_path, steps=8)
  assert again.step == 8
  assert "going on from step 8" in capsys.readouterr().out
  longer = _train(tmp_path)
  for a, b in zip(jax.tree.leaves(longer.state), jax.tree.leaves(whole[1].state), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_nan_stops_the_run_naming_term_and_step(tmp_path):
  with pytest.raises(NonFiniteLossError) as error:
    _train(tmp_path, spoilt=6)
  assert "loss term 'critic'" in str(error.value)
  assert "'reconstruction'" in str(error.value) or "reconstruction" in str(error.value)
  assert "at step 7; training stops, the checkpoint of step 6 is kept" in str(error.value)
  assert latest_step(tmp_path) == 6
  for array in jax.tree.leaves(restore_for_inference(tmp_path)):
    assert np.isfinite(array).all()
  assert _train(tmp_path).step == 10


def test_the_best_checkpoint_is_the_one_of_the_lowest_value(tmp_path):
  values = iter([3.0, 1.0, 2.0, 1.5] * 2)
  seen = []

  def evaluate(variables):
    seen.append(np.asarray(variables["params"]["critic"]["kernel"]))
    yield "score", next(values)

  result = _train(tmp_path, steps=8, evaluate_every=2, evaluators=[evaluate], best_metric="score")
  assert (result.best_step, result.best_value) == (4, 1.0)
  assert latest_step(tmp_path, "best") == 4
  later = {"evaluators": [evaluate], "best_metric": "score", "best_from": 5}
  assert _train(tmp_path / "later", steps=8, evaluate_every=2, **later).best_step == 8
  best = restore_for_inference(tmp_path, "best")["params"]["critic"]["kernel"]
  np.testing.assert_array_equal(best, seen[1])
  with pytest.raises(ValueError, match=r"no evaluator gives 'typo'; they give \['score'\]"):
    _train(tmp_path / "other", steps=1, evaluators=[lambda v: [("score", 1.0)]], best_metric="typo")


def test_a_first_value_of_nan_does_not_stay_the_best(tmp_path):
  values = iter([float("nan"), 3.0, float("nan"), 5.0])

  def evaluate(variables):
    yield "score", next(values)

  result = _train(tmp_path, steps=8, evaluate_every=2, evaluators=[evaluate], best_metric="score")
  assert (result.best_step, result.best_value) == (4, 3.0)
  assert latest_step(tmp_path, "best") == 4


def test_the_best_is_of_the_present_configuration(tmp_path):
  seen = []

  def make_evaluate(name, *values):
    left = iter(values)

    def evaluate(variables):
      seen.append(np.asarray(variables["params"]["critic"]["kernel"]))
      yield name, next(left)

    return {"evaluators": [evaluate], "best_metric": name}

  # the best one of step 5 is kept, the last checkpoint is of step 3
  with pytest.raises(KilledError):
    _train(tmp_path, before=kill_before(6), **make_evaluate("score", 1.0))
  assert (latest_step(tmp_path), latest_step(tmp_path, "best")) == (3, 5)
  other = {"optimisers": {"toy": make_adam(0.5)}, "fingerprint": "two"}
  found = _train(tmp_path, **other, **make_evaluate("score", 4.0, 9.0))
  assert (found.best_step, found.best_value) == (5, 4.0)
  best = restore_for_inference(tmp_path, "best")["params"]["critic"]["kernel"]
  np.testing.assert_array_equal(best, seen[1])
  assert np.abs(seen[1] - seen[0]).max() > 0.1
  # numbers of two metrics do not compare
  other["fingerprint"] = "three"
  found = _train(tmp_path, steps=12, **other, **make_evaluate("error", 70.0))
  assert (found.best_step, found.best_value) == (12, 70.0)
  assert latest_step(tmp_path, "best") == 12


def test_validation_is_the_mean_over_all_examples(whole):
  validation = make_validation(
    METHOD, lambda: [make_batch(100), make_batch(101)], seed=1, over=OVER
  )
  variables = whole[1].state.variables
  found = dict(validation(variables))
  x = np.concatenate([make_batch(100)["x"], make_batch(101)["x"]])
  weight = np.concatenate([make_batch(100)["weight"], make_batch(101)["weight"]])
  y = METHOD.embed(parallel.to_host(variables), {"x": x})["time_variant"]
  np.testing.assert_allclose(found["validation/reconstruction"], np.mean((y - x) ** 2), rtol=1e-5)
  expected = np.sum(np.abs(y).mean(-1) * weight) / weight.sum()
  np.testing.assert_allclose(found["validation/partly"], expected, rtol=1e-5)
  assert "validation/never" not in found


def test_the_iterator_is_closed_whatever_happens(tmp_path):
  made = []

  def iterator(spoilt, before):
    made.append(ToyIterator(spoilt, before))
    return made[-1]

  _train(tmp_path, steps=2, iterator=iterator, evaluators=[])
  with pytest.raises(KilledError):
    _train(tmp_path, before=kill_before(4), iterator=iterator, evaluators=[])
  assert [i.closed for i in made] == [True, True]


def test_collapse_is_warned_of(tmp_path, capsys):
  watch = Watch("output_mean", 50.0, 60.0, "the outputs are odd")
  _train(tmp_path, watches=[watch], evaluators=[])
  assert capsys.readouterr().out.count("WARNING step 4: the outputs are odd") == 1


def test_data_that_end_are_an_error(tmp_path):
  class Short(ToyIterator):
    def __next__(self):
      if self.number == 3:
        raise StopIteration
      return super().__next__()

  writers = [TensorBoardWriter(tmp_path / "tensorboard")]
  with pytest.raises(ValueError, match="data end after step 3, before step 10"):
    _train(tmp_path, iterator=Short, evaluators=[], writers=writers)


def test_another_configuration_is_said(tmp_path, capsys):
  _train(tmp_path, steps=3, evaluators=[])
  _train(tmp_path, steps=4, evaluators=[], fingerprint="two")
  assert "written with another configuration" in capsys.readouterr().out
  with pytest.raises(ValueError, match="checkpoint of another configuration: 'optimisers/toy/"):
    _train(tmp_path, steps=5, optimisers={"toy": make_adam(name="sgd")})


def test_a_folder_serves_one_run_at_a_time(tmp_path):
  def second(number):
    if number == 1:
      _train(tmp_path)

  with pytest.raises(ValueError, match=rf"in use by another run \(process {os.getpid()}\)"):
    _train(tmp_path, before=second)


SCRIPT = """
import os, signal, sys, time
sys.path[:0] = ["tests", "."]
import importlib.util as u
s = u.spec_from_file_location("t", "tests/training/test_loop.py")
t = u.module_from_spec(s); s.loader.exec_module(t)
import pathlib
def before(number):
  print("batch", number, flush=True)
  time.sleep({pause})
def deadly(rename):
  def rename_or_die(source, target, *rest, **options):
    if str(target).endswith({dies_at!r}):
      os.kill(os.getpid(), signal.SIGKILL)
    return rename(source, target, *rest, **options)
  return rename_or_die
if {dies_at!r}:
  os.rename, os.replace = deadly(os.rename), deadly(os.replace)
result = t._train(pathlib.Path({workdir!r}), steps={steps}, before=before)
print("interrupted", result.interrupted)
"""


def _start(workdir, *, steps, pause, dies_at=""):
  """A run in a process of its own; it is killed just before the folder `dies_at` gets its name."""
  code = SCRIPT.format(workdir=str(workdir), steps=steps, pause=pause, dies_at=dies_at)
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as in this process, see conftest.py
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
  }
  return subprocess.Popen(
    [sys.executable, "-c", code],
    cwd=TESTS.parent,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _wait_for(process, line):
  for found in process.stdout:
    if found.strip() == line:
      return
  raise AssertionError("the run ended early")


@pytest.mark.parametrize(
  "folder", ["checkpoints/6", pytest.param("checkpoints_best/5", marks=pytest.mark.slow)]
)
def test_sigkill_while_a_checkpoint_is_written_loses_nothing(tmp_path, whole, folder):
  process = _start(tmp_path, steps=10, pause=0.0, dies_at=folder)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == -signal.SIGKILL, output
  name, number = folder.split("/")
  assert list((tmp_path / name).glob(f"{number}.*tmp*"))
  assert latest_step(tmp_path) == 3
  assert latest_step(tmp_path, "best") == (5 if name == "checkpoints" else None)
  _assert_same_run(tmp_path, _train(tmp_path), whole)


@pytest.mark.slow
def test_sigterm_saves_and_leaves(tmp_path):
  process = _start(tmp_path, steps=100_000, pause=0.05)
  _wait_for(process, "batch 20")
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=30)
  assert process.returncode == 0, output
  assert "all saved; run the same command again to go on" in output
  assert "interrupted True" in output
  step = latest_step(tmp_path)
  assert step is not None
  assert step >= 15
  assert read_position(tmp_path)["iterator"] == {"number": step}


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_nothing(tmp_path, whole):
  for batch in (2, 6, 7, 9):
    process = _start(tmp_path, steps=10, pause=0.01)
    _wait_for(process, f"batch {batch}")
    process.kill()
    process.wait()
    process.stdout.close()
  _assert_same_run(tmp_path, _train(tmp_path), whole)


@pytest.fixture
def compilations():
  """What has been traced or compiled since the test began."""
  found = []

  def listen(event, duration, **details):
    del duration, details
    if event.startswith("/jax/core/compile/"):
      found.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield found
  jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("static", [False, True])
def test_nothing_is_compiled_after_the_second_step(tmp_path, compilations, static):
  scale = jax.jit(lambda x, factor: x * factor, static_argnums=1 if static else ())
  counts = []
  validation = make_validation(METHOD, lambda: [make_batch(100)], seed=1, over=OVER)

  def count(variables):
    if static:  # as a program would be that is compiled for each value of a number
      scale(np.float32(1), len(counts))
    counts.append(len(compilations))
    yield "count", 0.0

  every = {"log_every": 1, "evaluate_every": 1, "checkpoint_every": 1}
  _train(tmp_path, steps=5, evaluators=[validation, count], **every)
  counts.append(len(compilations))
  assert counts[0] > 0
  if static:
    assert counts[1] < counts[2] < counts[3] < counts[4]
  else:
    assert counts[1:] == [counts[1]] * 5


def test_a_profile_holds_the_steps_asked_for(tmp_path, capsys):
  _train(tmp_path, steps=6, profile_steps=(3, 4))
  assert f"the trace of steps 3 to 4 is in {tmp_path / 'profile'}" in capsys.readouterr().out
  (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
  events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
  marks = [event for event in events if event.get("name") == "train"]
  assert sorted(int(mark["args"]["step_num"]) for mark in marks) == [3, 4]
  assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_profile_of_a_run_that_ends_early_is_written(tmp_path):
  with pytest.raises(KilledError):
    _train(tmp_path, profile_steps=(2, 9), before=kill_before(6))
  assert list((tmp_path / "profile").rglob("*.xplane.pb"))
  whole = _train(tmp_path / "without")
  assert whole.step == 10
  assert not (tmp_path / "without" / "profile").exists()
