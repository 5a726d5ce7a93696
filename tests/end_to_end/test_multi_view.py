"""Methods of several cameras from the command line, on the smallest configurations."""

import json

import numpy as np
import pytest
from launching import run_job


@pytest.mark.slow
@pytest.mark.parametrize(("method", "term"), [("nsd", "pixel"), ("mv_css", "mv_css")])
def test_the_whole_journey(method, term, tiny_people, tmp_path):
  done = run_job(
    "run",
    f"--config=configs/{method}.py:smoke",
    f"--workdir={tmp_path}",
    f"--config.data.directory={tiny_people}",
    "--config.training.steps=3",
    "--config.training.validate_every=3",
    "--config.training.log_every=1",
  )
  assert done.returncode == 0, done.stdout + done.stderr
  lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
  assert lines[0][f"train/terms/{term}"] > 0
  assert lines[-1][f"validation/{term}"] > 0
  with np.load(tmp_path / "embeddings" / "test.npz", allow_pickle=False) as exported:
    assert exported["time_variant"].shape[1] == {"nsd": 126, "mv_css": 160}[method]
    assert np.isfinite(exported["time_variant"]).all()
  assert "trained" in (tmp_path / "probe" / "results.md").read_text()
  assert (tmp_path / "report.html").stat().st_size > 0
