"""The command line of the probe on made-up embeddings; no network is trained but the regressors."""

import json
import pathlib
import types

import numpy as np
import pytest
from launching import run_job

from configs import dsl, supervised
from jaxpose import probing
from jaxpose.embeddings import save_embeddings
from jaxpose.evaluation.features import FEATURES
from jaxpose.evaluation.regressor import load_regressor
from jaxpose.skeleton import H36M17


def _make_run(workdir: pathlib.Path) -> None:
  """A work directory as training and export leave it; features tell the pose."""
  config = dsl.get_config("smoke")
  workdir.mkdir(parents=True)
  (workdir / "config.json").write_text(json.dumps(config.to_dict()))
  mixing = np.random.default_rng(9).normal(size=(6, 51)) * 100
  for number, split in enumerate(("train", "test")):
    rng = np.random.default_rng(number)
    hidden = rng.normal(size=(60, 6))
    shared = {
      "presence": np.ones(60, np.float32),
      "present": np.full(60, -1, np.int32),
      "sequence": np.zeros(60, np.int32),
      "camera": np.zeros(60, np.int32),
      "frame": np.arange(60, dtype=np.int32),
      "subject": np.zeros(60, np.int32),
      "subject_names": np.array(["ada"]),
      "sequence_names": np.array([f"{split} walk"]),
      "joint_names": np.array(H36M17.joints),
      "skeleton": np.array(json.dumps(H36M17.to_dict())),
      "pose3d_mm": (hidden @ mixing).reshape(60, 17, 3).astype(np.float32),
      "joint_valid": np.ones((60, 17), bool),
    }
    for prefix, noise in (("", 0.05), ("random_", 4.0)):
      vectors = hidden + noise * rng.normal(size=hidden.shape)
      path = workdir / "embeddings" / f"{prefix}{split}.npz"
      save_embeddings(path, {**shared, "time_variant": vectors.astype(np.float32)})


def test_a_run_is_probed_from_the_command_line(tmp_path):
  _make_run(tmp_path / "run")
  options = ("--regressor=linear", "--learning_rate=0.03", "--steps=150", "--seeds=0,1")
  done = run_job("probe", f"--workdir={tmp_path / 'run'}", "--label_counts=20,50%,all", *options)
  assert done.returncode == 0, done.stderr
  for word in ("| 60 | mean pose |", "| 30 | random |", "| 20 | trained |", "N-MPJPE/17 joints"):
    assert word in done.stdout
  out = tmp_path / "run" / "probe"
  written = {p.name for p in out.iterdir()}
  assert written == {
    "records.json", "results.json", "results.md", "label_efficiency.png", "regressor.npz",
  }  # fmt: skip
  regressor = load_regressor(out / "regressor.npz")
  assert regressor.architecture.kind == "linear"
  assert regressor.skeleton == H36M17


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (("--label_counts=61",), ("61 labels", "only 60")),
    (("--seeds=one",), ("--seeds", "one")),
    (("--subjects=ben",), ("no subject 'ben'", "ada")),
    (("--labels=missing.csv",), ("missing.csv",)),
    (("--dropout=1.5",), ("dropout",)),
    (("--embeddings=elsewhere",), ("elsewhere", "launch/export.py")),
    (("--references=floor.json",), ("floor.json", "configs/supervised.py")),
  ],
)
def test_requests_that_cannot_be_are_said_in_a_line(tmp_path, arguments, words):
  _make_run(tmp_path / "run")
  done = run_job("probe", f"--workdir={tmp_path / 'run'}", *arguments)
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert all(word in done.stderr for word in words), done.stderr


def test_a_folder_that_is_no_run(tmp_path):
  done = run_job("probe", f"--workdir={tmp_path}")
  assert done.returncode == 1
  assert "config.json" in done.stderr


def test_flags_that_a_supervised_run_would_ignore_are_refused(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(supervised.get_config("smoke").to_dict()))
  done = run_job("probe", f"--workdir={tmp_path}", "--labels=mine.csv", "--seeds=1,2", "--width=9")
  assert done.returncode == 1
  assert done.stderr.startswith(f"error: {tmp_path} is a supervised network")
  assert "take out --labels, --seeds, --width" in done.stderr


def test_more_labels_than_there_are_is_said_before_a_training():
  config = dsl.get_config("smoke")
  config.probe.label_counts = (20, 500, 0)
  labels = types.SimpleNamespace(count=lambda: 60)
  run = types.SimpleNamespace(config=config, labels=labels)
  with pytest.raises(ValueError, match=r"config\.probe\.label_counts: asked for 500 .* only 60"):
    probing.check_label_counts(run)
  for count in (0, 500):  # none: the probe is left out
    labels.count = lambda count=count: count
    probing.check_label_counts(run)


def test_2d_keypoints_are_read_by_one_linear_layer_from_all_labels(tmp_path):
  _make_run(tmp_path / "run")
  for path in (tmp_path / "run" / "embeddings").iterdir():
    columns = dict(np.load(path)) | {"image_size": np.array([64, 128])}
    columns["pose2d_px"] = columns["pose3d_mm"][..., :2] / 10 + 40
    save_embeddings(path, columns)
  done = run_job("probe", f"--workdir={tmp_path / 'run'}", "--target=pose2d", "--steps=40")
  assert done.returncode == 0, done.stderr
  for word in ("% of the frame", "| 60 | trained |", "2D error/17 joints", "2D PCK@5%/17 joints"):
    assert word in done.stdout
  assert "| 20 |" not in done.stdout
  assert (
    load_regressor(tmp_path / "run" / "probe2d" / "regressor.npz").architecture.kind == "linear"
  )
  results = json.loads((tmp_path / "run" / "probe2d" / "results.json").read_text())
  assert results["settings"]["target"] == "pose2d"
  assert not (tmp_path / "run" / "probe").exists()
  done = run_job("probe", f"--workdir={tmp_path / 'run'}", "--target=pose2d", "--labels=x.csv")
  assert done.returncode == 1
  assert "take out --labels" in done.stderr


def test_features_are_those_of_the_configuration_or_the_flag(tmp_path):
  _make_run(tmp_path / "run")
  for path in (tmp_path / "run" / "embeddings").iterdir():
    columns = dict(np.load(path))
    looks = np.ones((60, 3), np.float32) * np.arange(60)[:, None]
    save_embeddings(path, columns | {"time_invariant": looks.astype(np.float32)})
  config = json.loads((tmp_path / "run" / "config.json").read_text())
  config["probe"]["features"] = "both"
  (tmp_path / "run" / "config.json").write_text(json.dumps(config))
  widths = []
  for more in ((), ("--features=time_invariant",)):
    done = run_job("probe", f"--workdir={tmp_path / 'run'}", "--label_counts=all", *more)
    assert done.returncode == 0, done.stderr
    regressor = load_regressor(tmp_path / "run" / "probe" / "regressor.npz")
    widths.append((regressor.feature, len(regressor.standardisation.feature_mean)))
  assert widths == [("both", 6 + 3), ("time_invariant", 3)]
  assert "Read from the time-invariant vectors." in done.stdout


def test_help_names_every_feature_that_a_probe_reads():
  shown = run_job("probe", "--help").stdout
  assert all(feature in shown for feature in FEATURES)
