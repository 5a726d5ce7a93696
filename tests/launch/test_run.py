import errno
import os
import subprocess
import sys
import time
import types

import pytest
from launching import ROOT, run_job

from launch import cli, run, sources

NO_JOBS = ("__init__", "children", "cli", "hosts", "planning", "sources")
JOBS = sorted(p.stem for p in (ROOT / "launch").glob("*.py") if p.stem not in NO_JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_help_comes_at_once_and_lists_the_jobs_options(job):
  begin = time.monotonic()
  done = run_job(job, "--help")
  assert f"launch/{job}.py:" in done.stdout
  assert "jax" not in done.stderr
  assert time.monotonic() - begin < 20  # 2 s on a quiet machine; this one is shared


@pytest.mark.parametrize(
  ("argument", "word"),
  [
    ("--config=configs/nope.py", "cannot be loaded: [Errno 2] No such file"),
    ("--config.optimizer.learning_rate=1", "optimiser"),
    ("--config.optimiser.learning_rat=1", "no such value: 'learning_rat' Did you mean"),
    ("--config.training.steps=many", "steps"),
    ("--workdirs=x", "workdir"),
    ("--stages=train,tset", "tset"),
    ("stray", "stray"),
  ],
)
def test_a_mistyped_option_is_said_in_one_line_that_names_it(argument, word):
  done = run_job("run", "--config=configs/dsl.py", argument)
  assert done.returncode != 0
  assert done.stderr.startswith("error: ")
  assert word in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
  ("text", "word"),
  [
    ('{"steps": true}', "no Python file that runs: name 'true'"),
    ("def get_config(:", "no Python file that runs: invalid syntax"),
    ("from configs.study import get_config", "give it to launch/study.py"),
  ],
)
def test_what_is_no_configuration_of_a_run_is_said_in_one_line(tmp_path, text, word):
  path = tmp_path / "mine.py"
  path.write_text(text)
  done = run_job("run", f"--config={path}:smoke" if "study" in text else f"--config={path}")
  assert done.returncode != 0
  assert done.stderr.startswith("error: ")
  assert word in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


def test_a_data_set_that_must_be_had_from_its_owners_is_asked_for(tmp_path):
  done = run_job("run", "--config=configs/dsl.py:human36m", f"--workdir={tmp_path}")
  assert done.returncode == 1
  assert "--config.data.directory" in done.stderr


@pytest.mark.parametrize("name", ["encoder_weights", "perceptual_weights", "start_from"])
def test_what_training_begins_with_is_asked_for_before_data_are_built(tmp_path, name):
  done = run_job(
    "run",
    "--config=configs/dsl.py:smoke",
    f"--config.model.{name}={tmp_path}/nowhere",
    f"--data_root={tmp_path / 'data'}",
    f"--workdir={tmp_path / 'run'}",
    "--stages=data,train",
  )
  assert done.returncode == 1
  assert done.stderr.startswith(f"error: config.model.{name}: ")
  assert f"{tmp_path}/nowhere" in done.stderr
  assert list(tmp_path.iterdir()) == []


def test_a_run_without_labels_goes_on_without_the_probe(capsys, monkeypatch):
  monkeypatch.setattr("jaxpose.probing.probe_run", lambda experiment: print("probed"))
  labels = types.SimpleNamespace(count=lambda: 0)
  run._probe(types.SimpleNamespace(labels=labels, workdir="runs/x"))
  said = capsys.readouterr().out
  assert "no training frame has a 3D label" in said
  assert "--workdir=runs/x --labels=FILE" in said
  assert "probed" not in said
  labels.count = lambda: 1
  run._probe(types.SimpleNamespace(labels=labels, workdir="runs/x"))
  assert capsys.readouterr().out == "probed\n"


def test_every_folder_of_own_videos_has_a_run_of_its_own(tmp_path):
  def workdir(name, path):
    config = types.SimpleNamespace(name=name, data=types.SimpleNamespace(path=path))
    return run._default_workdir("video", config)

  folders = tmp_path / "a" / "walk", tmp_path / "b" / "walk"
  first, second = (workdir("own", str(folder)) for folder in folders)
  assert first == f"runs/video_{sources.folder_name(folders[0])}" != second
  assert workdir("nsd_own", str(folders[0])) == first.replace("video_", "video_nsd_")
  assert workdir("nsd_own", "") == "runs/video_nsd_own"
  assert workdir("own", "") == "runs/video_own"
  assert workdir("flesh_p0", str(folders[0])) == "runs/video_flesh_p0"


def test_the_librarys_warnings_are_seen_and_not_those_of_others():
  job = """
import logging
from absl import logging as absl_logging
from launch import cli

def main(argv):
  logging.getLogger("jaxpose.data").warning("ours")
  absl_logging.warning("theirs")
  absl_logging.error("theirs, an error")

cli.run_app(main)
"""
  done = subprocess.run(
    [sys.executable, "-c", job], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert "ours" in done.stderr
  assert "theirs" not in done.stderr


def test_an_error_of_the_system_comes_with_what_to_do(capsys):
  def fail(number):
    def main(argv):
      raise OSError(number, os.strerror(number), "/some/file")

    return main

  for number, words in (
    (errno.ENOSPC, "free some space and run the same command again"),
    (errno.EROFS, "name a folder that can be written"),
    (errno.EEXIST, "a file lies where a folder is needed"),
    (errno.ENOTDIR, "a file lies where a folder is needed"),
    (errno.ENOENT, "cannot be made: name another"),
  ):
    assert cli._guarded(fail(number), ["job"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "/some/file" in said
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_place_that_cannot_be_written_is_said_before_a_training(tmp_path, tiny_people):
  (tmp_path / "file").write_text("mine")
  common = ("--config=configs/dsl.py:smoke", f"--config.data.directory={tiny_people}")
  done = run_job("run", *common, f"--workdir={tmp_path / 'file' / 'run'}")
  assert done.returncode == 1
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith("error: ")
  assert f"{tmp_path / 'file'}" in last
  assert "Traceback" not in done.stderr
  assert (tmp_path / "file").read_text() == "mine"
