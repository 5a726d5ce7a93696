"""The whole journey from the command line, on the smallest configuration."""

import json

import numpy as np
import pytest
from launching import run_job


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("journey")
  arguments = (f"--workdir={folder / 'run'}", f"--data_root={folder / 'data'}")
  done = run_job("run", "--config=configs/dsl.py:smoke", *arguments)
  assert done.returncode == 0, done.stdout + done.stderr
  return folder, arguments, done


def test_every_stage_leaves_its_files(run):
  folder, _, done = run
  for name in ("config.json", "metrics.jsonl", "report.html", "probe/regressor.npz"):
    assert (folder / "run" / name).stat().st_size > 0
    assert str(folder / "run" / name) in done.stdout or name == "metrics.jsonl"
  with np.load(folder / "run" / "embeddings" / "test.npz", allow_pickle=False) as exported:
    count = len(exported["box"])
    assert exported["time_variant"].shape == (count, 128)
    assert exported["pose3d_mm"].shape == (count, 17, 3)
    assert np.isfinite(exported["presence"]).all()


def test_the_table_holds_mean_pose_trained_and_random(run):
  folder, _, _ = run
  table = (folder / "run" / "probe" / "results.md").read_text()
  for row in ("mean pose", "trained", "random", "N-MPJPE/17 joints"):
    assert row in table


def test_a_second_start_finds_everything_done(run):
  folder, arguments, _ = run
  before = (folder / "run" / "metrics.jsonl").read_bytes()
  again = run_job("run", "--config=configs/dsl.py:smoke", *arguments)
  assert again.returncode == 0, again.stderr
  assert (folder / "run" / "metrics.jsonl").read_bytes() == before
  assert "finished before" in again.stdout


def test_an_untrained_encoder_is_left_out_where_it_is_not_wanted(run):
  folder, arguments, _ = run
  untrained = folder / "run" / "embeddings" / "random_test.npz"
  untrained.unlink()
  done = run_job(
    "run", "--config=configs/dsl.py:smoke", *arguments, "--stages=export", "--norandom"
  )
  assert done.returncode == 0, done.stderr
  assert "export test: finished before" in done.stdout
  assert not untrained.exists()


def test_training_goes_on_where_it_stopped(run):
  folder, arguments, _ = run
  more = run_job(
    "run",
    "--config=configs/dsl.py:smoke",
    *arguments,
    "--config.training.steps=25",
    "--stages=train",
  )
  assert more.returncode == 0, more.stderr
  steps = [json.loads(x)["step"] for x in (folder / "run" / "metrics.jsonl").open()]
  assert "going on from step 20" in more.stdout
  assert steps == sorted(steps)
  assert steps[-1] == 25
