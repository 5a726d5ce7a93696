import time

import pytest
from launching import ROOT, run_job

JOBS = sorted(p.stem for p in (ROOT / "launch").glob("*.py") if p.stem not in ("__init__", "cli"))


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
    ("--config.optimizer.learning_rate=1", "optimiser"),
    ("--config.optimiser.learning_rat=1", "learning_rate"),
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


def test_a_data_set_that_must_be_had_from_its_owners_is_asked_for(tmp_path):
  done = run_job("run", "--config=configs/dsl.py:human36m", f"--workdir={tmp_path}")
  assert done.returncode == 1
  assert "--config.data.directory" in done.stderr
