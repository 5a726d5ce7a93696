"""The real job, stopped and killed wherever it is, ends as if nothing had happened.

`-m slow`; moments are drawn from a seed, so that a failure can be had again, or nearly: how far a
process has come by then is the machine's affair.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from launching import ROOT, workers_of

from jaxpose.embeddings import load_embeddings
from jaxpose.training import checkpoint

TEMPORARY = "checkpoints*/*.orbax-checkpoint-tmp*"
LEAVE_S = 30.0  # after SIGTERM
TRAIN = (
  "--config.data.workers=2",
  "--config.training.steps=60",
  "--config.training.log_every=2",
  "--config.training.checkpoint_every=3",
  "--config.training.validate_every=10",
)

pytestmark = pytest.mark.slow


class Jobs:
  """Starts launch/run.py on the smallest configuration, with data and compiled programs shared."""

  def __init__(self, folder):
    self.folder = folder

  def start(self, name, *arguments, data="data"):
    return subprocess.Popen(
      [
        *(sys.executable, "-u", "launch/run.py", "--config=configs/dsl.py:smoke"),
        *(f"--workdir={self.folder / name}", f"--data_root={self.folder / data}", *arguments),
      ],
      cwd=ROOT,
      env=os.environ | {"HOME": str(self.folder), "JAX_PLATFORMS": "cpu"},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  def finish(self, name, *arguments, **options):
    process = self.start(name, *arguments, **options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
  return Jobs(tmp_path_factory.mktemp("interruptions"))


@pytest.fixture(scope="module")
def whole(jobs):
  """The work directory of a training that nothing interrupted, and its seconds when warm."""
  jobs.finish("cold", *TRAIN, "--stages=train")  # compiles
  begin = time.monotonic()
  jobs.finish("whole", *TRAIN, "--stages=train")
  return jobs.folder / "whole", time.monotonic() - begin


@pytest.fixture(scope="module")
def journey(jobs):
  """The work directory of a whole journey that nothing interrupted."""
  jobs.finish("journey")
  return jobs.folder / "journey"


def _assert_same_training(found, expected):
  assert (found / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
  for which, folder in checkpoint.FOLDERS.items():
    step = checkpoint.latest_step(expected, which)
    assert checkpoint.latest_step(found, which) == step
    (a, position), (b, own) = (
      checkpoint.read_arrays(x / folder / str(step)) for x in (found, expected)
    )
    assert position == own
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), (_, y) in zip(
      jax.tree_util.tree_leaves_with_path(a), jax.tree_util.tree_leaves_with_path(b), strict=True
    ):
      assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), jax.tree_util.keystr(path)


def _assert_same_results(found, expected):
  for name in ("train", "test", "random_train", "random_test"):
    a, b = (load_embeddings(folder / "embeddings", name) for folder in (found, expected))
    assert a.keys() == b.keys()
    for column in set(a) - {"config", "source"}:  # they name the folder of the data
      np.testing.assert_array_equal(a[column], b[column], err_msg=f"{name}, {column}")
  assert (found / "embeddings/suggestions.csv").read_bytes() == (
    expected / "embeddings/suggestions.csv"
  ).read_bytes()
  assert _scores(found) == _scores(expected)
  with np.load(found / "probe/regressor.npz") as a, np.load(expected / "probe/regressor.npz") as b:
    for column in b.files:
      np.testing.assert_array_equal(a[column], b[column])
  for name in ("probe/results.md", "probe/label_efficiency.png"):
    assert (found / name).read_bytes() == (expected / name).read_bytes()
  assert (found / "report.html").read_text().rstrip().endswith("</html>")
  left = [path for path in found.rglob("*") if path.name.endswith((".partial", ".incomplete"))]
  assert not left


def _scores(workdir):
  results = json.loads((workdir / "probe/results.json").read_text())
  for record in results["records"]:
    del record["seconds"]
  return results


def _wait(process, until, seconds):
  """Whether `until` came true before the process ended, looked at every millisecond."""
  end = time.monotonic() + seconds
  while process.poll() is None and time.monotonic() < end:
    if until():
      return True
    time.sleep(0.001)
  return False


def _lines_written(path, count):
  """Becomes true when the file has grown so many times since the first look."""
  seen = {"size": None, "times": 0}

  def look():
    size = path.stat().st_size if path.is_file() else 0
    seen["times"] += seen["size"] is not None and size > seen["size"]
    seen["size"] = size
    return seen["times"] >= count

  return look


def _kill(process, kind, workdir, rng, duration_s):
  """Kills the job or one of its workers; False if it ended before.

  Args:
    kind: "job": at any moment from its start to its end; "steps": after a number of log lines;
      "write": then, when a checkpoint begins to be written; "worker": some time after its start.
  """
  moment_s, delay_s, count = rng.uniform(0, duration_s), rng.uniform(0, 0.02), rng.integers(1, 12)
  if kind == "job":
    _wait(process, lambda: False, moment_s)
  elif kind == "worker":
    _wait(process, lambda: bool(workers_of(process.pid)), 60)
    _wait(process, lambda: False, delay_s * 100)
    for worker in workers_of(process.pid)[:1]:
      os.kill(worker, signal.SIGKILL)
      return process.poll() is None
    return False
  else:
    _wait(process, _lines_written(workdir / "metrics.jsonl", count), 60)
    if kind == "write":
      before = set(workdir.glob(TEMPORARY))
      _wait(process, lambda: bool(set(workdir.glob(TEMPORARY)) - before), 60)
    time.sleep(delay_s)
  if process.poll() is not None:
    return False
  process.kill()
  process.wait()
  return True


def test_a_training_killed_at_twenty_moments_ends_with_the_same_bits(jobs, whole):
  expected, duration_s = whole
  rng = np.random.default_rng(1)
  kinds = ["job"] * 5 + ["steps"] * 5 + ["write"] * 6 + ["worker"] * 4
  life, halves, restarts = 1, set(), 0
  for number, kind in enumerate(rng.permutation(kinds)):
    hit = False
    while not hit:
      workdir = jobs.folder / f"killed_{life}"
      process = jobs.start(workdir.name, *TRAIN, "--stages=train")
      hit = _kill(process, kind, workdir, rng, duration_s)
      if kind == "worker" or not hit:  # it goes on without a worker, or ended before
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        _assert_same_training(workdir, expected)
        restarts += output.count("a loader worker was killed")
        life += 1
      else:
        process.stdout.close()
    left = {(life, path, path.stat().st_ino) for path in workdir.glob(TEMPORARY)}
    print(
      f"kill {number}: {kind} of life {life}, checkpoint {checkpoint.latest_step(workdir)},"
      f" {len(left - halves)} half-written"
    )
    halves |= left
  jobs.finish(f"killed_{life}", *TRAIN, "--stages=train")
  _assert_same_training(jobs.folder / f"killed_{life}", expected)
  assert len(halves) >= 3, "hardly a kill fell into a write"
  assert restarts >= 2, "hardly a worker was missed"


STAGES = {  # and the line after which the signal comes
  "data": "data: synthetic_people",
  "compilation": "compiling the training step",
  "training": "step 5/20",
  "last validation": "step 20/20",
  "export": r"^export train: 128/",
  "random export": "export random_train: 128/",
  "probe": "step 10/50, loss",
  "report": r"^probe (\d+)/\1:|^probe: 6 finished rows",
}


def test_sigterm_in_every_stage_leaves_with_status_0_and_goes_on(jobs, journey):
  workdir = jobs.folder / "stopped"
  for stage, line in STAGES.items():
    process = jobs.start("stopped", data="data_of_stopped")
    output = ""
    for said in process.stdout:
      output += said
      if re.search(line, said):
        break
    else:
      raise AssertionError(f"{stage}: {output}")
    time.sleep(0.05)
    begin = time.monotonic()
    process.terminate()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, f"{stage}: {output}{rest}"
    assert time.monotonic() - begin < LEAVE_S, stage
    assert "run the same command again to go on" in rest.splitlines()[-1], f"{stage}: {rest}"
    assert "Traceback" not in rest
    print(f"{stage}: left in {time.monotonic() - begin:.1f} s: {rest.splitlines()[-1]}")
  jobs.finish("stopped", data="data_of_stopped")
  _assert_same_training(workdir, journey)
  _assert_same_results(workdir, journey)


def test_a_journey_killed_at_any_moment_ends_with_the_same_results(jobs, journey):
  begin = time.monotonic()
  jobs.finish("journey_again")
  duration = time.monotonic() - begin
  rng = np.random.default_rng(2)
  workdir = jobs.folder / "journey_killed"
  for moment in np.sort(rng.uniform(0, duration, 8)):
    process = jobs.start(workdir.name, data="data_of_killed")
    _wait(process, lambda: False, moment)
    process.kill()
    process.communicate()
  jobs.finish(workdir.name, data="data_of_killed")
  _assert_same_training(workdir, journey)
  _assert_same_results(workdir, journey)
  a, b = (jobs.folder / name / "synthetic_people/tiny" for name in ("data", "data_of_killed"))
  files = sorted(path.relative_to(a) for path in a.rglob("*") if path.is_file())
  assert files == sorted(path.relative_to(b) for path in b.rglob("*") if path.is_file())
  assert all((a / file).read_bytes() == (b / file).read_bytes() for file in files)
  shutil.rmtree(workdir)
