"""Devices and processes: the same numbers however many, and what happens when one is lost."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest
from launching import ROOT, run_job

from datasets.pose_video import prepare
from datasets.synthetic_people.builder import SyntheticPeople
from jaxpose.training import checkpoint

STEPS = 5
# Of the default method, with its priors, swaps, jitter and dropout. The small learning rate keeps
# rounding noise from growing from step to step: a unit near zero that is cut off on one side only
# changes gradients by a thousandth, and Adam makes a whole step of a gradient that is nothing else.
COMPARED = (
  "--config.optimiser.learning_rate=1e-5",
  "--config.optimiser.epsilon=1e-3",
  "--config.training.validation_batches=1",
  f"--config.training.steps={STEPS}",
)
# Batch norm over all devices, and half of the samples falls: each term is missing in some.
MIXED = (
  "--config.model.backbone.norm=batch",
  "--config.sampling.gravity=((0,0.5),)",
  "--config.sampling.far_min=8",
  *(
    f"--config.loss_weights.{n}=(1.0,)" for n in ("constant_acceleration", "order", "scale_change")
  ),
)


def _start(workdir, data, *arguments, processes=1, devices=1):
  """The processes of a run that trains and does nothing else."""
  port = _free_port()
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
  }
  command = [
    sys.executable,
    "launch/run.py",
    "--config=configs/dsl.py:smoke",
    "--stages=train",
    f"--workdir={workdir}",
    f"--config.data.directory={data}",
    *arguments,
  ]
  jobs = []
  for process in range(processes):
    place = [f"--coordinator=localhost:{port}", f"--processes={processes}", f"--process={process}"]
    jobs.append(
      subprocess.Popen(
        command + (place if processes > 1 else []),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  return jobs


def _finish(jobs, timeout=300):
  """(exit status, output) of every job."""
  try:
    outputs = [job.communicate(timeout=timeout)[0] for job in jobs]
  finally:
    for job in jobs:
      job.kill()
  return [(job.returncode, output) for job, output in zip(jobs, outputs, strict=True)]


def _free_port():
  with socket.socket() as found:
    found.bind(("localhost", 0))
    return found.getsockname()[1]


def _train(workdir, data, *arguments, **places):
  for status, output in _finish(_start(workdir, data, *arguments, **places)):
    assert status == 0, output
  step = checkpoint.latest_step(workdir)
  tree, _ = checkpoint.read_arrays(pathlib.Path(workdir) / checkpoint.FOLDERS["last"] / str(step))
  return tree


def _assert_same(found, expected):
  """‖a − b‖ ≤ 1e-5 ‖b‖ for every parameter, and first moments that differ by no more than noise.

  Biases begin at zero and have hardly moved: they count as if their entries were 0.01.
  """
  pairs = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True)
  for (path, a), b in pairs:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if name.startswith("variables"):
      size = max(np.linalg.norm(b), 0.01 * np.sqrt(b.size))
      assert np.linalg.norm(a - b) <= 1e-5 * size, name
    elif "/mu/" in name:
      assert np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(b), name


@pytest.fixture(scope="module")
def tiny_dives(tmp_path_factory):
  """The folder of a few synthetic dives, whose frames are marked as falling."""
  return prepare(SyntheticPeople, tmp_path_factory.mktemp("dives"), config="tiny_diving")


def test_two_processes_give_what_one_device_gives(tmp_path, tiny_dives):
  one = _train(tmp_path / "one", tiny_dives, *COMPARED, *MIXED)
  four = _train(tmp_path / "four", tiny_dives, *COMPARED, *MIXED, processes=2, devices=2)
  _assert_same(four, one)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), MIXED], ids=["default", "mixed"])
def test_any_number_of_devices_gives_what_one_gives(options, tmp_path, tiny_dives):
  one = _train(tmp_path / "one", tiny_dives, *COMPARED, *options)
  for processes, devices in ((1, 2), (1, 4), (2, 1), (2, 2)):
    workdir = tmp_path / f"{processes}x{devices}"
    many = _train(workdir, tiny_dives, *COMPARED, *options, processes=processes, devices=devices)
    _assert_same(many, one)


ENDLESS = ("--config.training.steps=1000000", "--config.training.checkpoint_every=5")


def _wait_for_step(workdir, step):
  deadline = time.monotonic() + 240
  while (checkpoint.latest_step(workdir) or 0) < step:
    assert time.monotonic() < deadline, f"no checkpoint of step {step}"
    time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_and_the_run_goes_on_without(lost, tmp_path, tiny_people):
  jobs = _start(tmp_path, tiny_people, *ENDLESS, processes=2)
  _wait_for_step(tmp_path, 5)
  jobs[lost].kill()  # its child must not outlive it
  begin = time.monotonic()
  status, output = _finish([jobs[1 - lost]], timeout=60)[0]
  assert time.monotonic() - begin < 60
  assert status == 75
  assert "error: a process of this run was lost" in output
  kept = checkpoint.latest_step(tmp_path)
  for processes in (1, 2):
    kept += 5
    going = _start(tmp_path, tiny_people, f"--config.training.steps={kept}", processes=processes)
    done = _finish(going)
    assert [status for status, _ in done] == [0] * processes, done
    assert f"going on from step {kept - 5}" in done[0][1]
    assert checkpoint.latest_step(tmp_path) == kept


@pytest.mark.slow
def test_sigterm_to_one_process_saves_and_ends_all(tmp_path, tiny_people):
  jobs = _start(
    tmp_path, tiny_people, ENDLESS[0], "--config.training.checkpoint_every=3", processes=2
  )
  _wait_for_step(tmp_path, 3)
  jobs[1].send_signal(signal.SIGTERM)
  done = _finish(jobs, timeout=30)
  assert [status for status, _ in done] == [0, 0], done
  assert "run the same command again to go on" in done[0][1]


def test_a_folder_that_is_not_shared_is_an_error(tmp_path, tiny_people):
  port = f"--coordinator=localhost:{_free_port()}"
  jobs = [
    _start(tmp_path / str(process), tiny_people, port, "--processes=2", f"--process={process}")[0]
    for process in range(2)
  ]
  done = _finish(jobs)
  assert done[1][0] == 1
  assert "error: process 1 does not see" in done[1][1]
  assert "--workdir" in done[1][1]
  assert done[0][0] == 75, done[0][1]


@pytest.mark.parametrize(
  ("arguments", "word"),
  [
    (["--coordinator=localhost"], "HOST:PORT"),
    (["--coordinator=localhost:1234"], "--processes"),
    (["--coordinator=localhost:1234", "--processes=2", "--process=2"], "--process=2"),
    (["--processes=2"], "--coordinator"),
    (["--coordinator=auto", "--process=1"], "--coordinator"),
    (["--coordinator=auto", "--stages=export,probe"], "in one process"),
  ],
)
def test_contradicting_flags_are_an_error(arguments, word):
  done = run_job("run", "--config=configs/dsl.py:smoke", *arguments)
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert word in done.stderr


def test_nobody_to_find_is_an_error(tmp_path, tiny_people):
  done = run_job(
    "run",
    "--config=configs/dsl.py:smoke",
    f"--workdir={tmp_path}",
    f"--config.data.directory={tiny_people}",
    "--coordinator=auto",
  )
  assert done.returncode == 1
  assert "did not find each other" in done.stderr.splitlines()[-1]


def test_ctrl_c_leaves_processes_the_time_to_save():
  code = """
    import os, sys, time
    from absl import flags
    from jaxpose.training.interruption import StopRequest
    from launch import hosts

    flags.FLAGS(["run", f"--coordinator=localhost:{sys.argv[1]}", "--processes=1", "--process=0"])
    os.environ["JAXPOSE_LIFELINE"] = str(os.pipe()[0])
    with StopRequest(grace_s=0.5, give_up=lambda: print("given up", flush=True), at_once=True):
      with hosts.together():
        print("ready", flush=True)
        time.sleep(3)
        print("saved", flush=True)
      print("left", flush=True)  # from here on, signals end it at once again
      time.sleep(60)
  """
  process = subprocess.Popen(
    [sys.executable, "-u", "-c", textwrap.dedent(code), str(_free_port())],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    text=True,
  )
  lines = iter(process.stdout.readline, "")
  assert "ready\n" in lines
  process.send_signal(signal.SIGINT)
  assert (next(lines), next(lines)) == ("saved\n", "left\n")
  process.send_signal(signal.SIGTERM)
  assert (process.communicate(timeout=30)[0], process.returncode) == ("", 0)
