"""A study of two rows from the command line: killed, with a row that fails, and whole."""

import csv
import os
import subprocess
import sys
import time

import pytest
from launching import ROOT

pytestmark = pytest.mark.slow

STEPS = 24
FAILING = "--config.rows.supervised.overrides=('model.encoder=resnet_nowhere',)"


class Study:
  def __init__(self, folder):
    self.workdir = folder / "study"
    self._command = [
      *(sys.executable, "-u", "launch/study.py", "--config=configs/study.py:smoke"),
      *(f"--workdir={self.workdir}", f"--data_root={folder / 'data'}"),
      *(f"--set=training.steps={STEPS}", "--set=training.log_every=2"),
    ]

  def start(self, *arguments):
    return subprocess.Popen(
      [*self._command, *arguments],
      cwd=ROOT,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def finish(self, *arguments):
    process = self.start(*arguments)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err

  def log(self, row):
    path = self.workdir / "runs" / row / "seed0.log"
    return path.read_text() if path.is_file() else ""

  def rows(self):
    with (self.workdir / "study" / "table.csv").open(encoding="utf-8") as file:
      return {(line["row"], line["labels"]): line for line in csv.DictReader(file)}


def test_a_study_is_killed_goes_on_names_what_fails_and_ends_whole(tmp_path):
  study = Study(tmp_path)
  killed = study.start(FAILING)
  end = time.monotonic() + 300
  while f"step 2/{STEPS}" not in study.log("dsl"):
    assert time.monotonic() < end, study.log("dsl")
    assert killed.poll() is None
    time.sleep(0.1)
  killed.kill()
  killed.communicate(timeout=60)

  status, out, err = study.finish(FAILING)
  assert status == 1
  assert "dsl, seed 0: goes on" in out
  assert "dsl, seed 0: finished in" in out
  log = study.workdir / "runs" / "supervised" / "seed0.log"
  (failure,) = err.strip().splitlines()
  assert failure.startswith("error: supervised, seed 0: exit status 1, error: ")
  assert "resnet_nowhere" in failure
  assert failure.endswith(f"(log: {log})")
  assert study.log("dsl").count("compiling the training step") == 2
  assert "- supervised, seed 0: not finished, last validated at step 0/24" in out
  first = study.rows()
  assert {row for row, _ in first} == {"dsl", "random", "mean pose"}

  status, out, err = study.finish("--table_only")
  assert (status, err) == (0, "")
  assert study.rows() == first

  status, out, err = study.finish()
  assert (status, err) == (0, "")
  assert "dsl, seed 0" not in out  # it is not trained again
  assert "supervised, seed 0: finished in" in out
  whole = study.rows()
  assert {row for row, _ in whole} == {"dsl", "supervised", "random", "mean pose"}
  assert whole.items() >= first.items()
  floor = whole["supervised", "288"]
  ratio = float(floor["mean_mm"]) / float(whole["dsl", "288"]["mean_mm"])
  assert float(floor["ratio"]) == pytest.approx(ratio)
  assert floor["test_sequences"] == "4"
  assert 2 / 2**4 <= float(floor["p_value"]) <= 1
  assert 0 < float(whole["dsl", "20"]["median_iou"]) < 1
  assert floor["median_iou"] == ""
  for name in ("table.md", "label_efficiency.png", "curves.png"):
    assert (study.workdir / "study" / name).stat().st_size
