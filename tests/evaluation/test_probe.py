import json

import numpy as np
import pytest

from jaxpose.evaluation import fitting, metrics, probe, probe_report
from jaxpose.evaluation.label_table import LabelTable
from jaxpose.evaluation.probe_records import (
  ProbeRecord,
  ProbeResults,
  RecordStore,
  load_results,
)
from jaxpose.evaluation.regressor import Architecture, load_regressor
from jaxpose.skeleton import Skeleton

_SKELETON = Skeleton("three", ("pelvis", "left_hip", "nose"), (0, 0, 0), (), (0,))
_FIT = fitting.FitConfig(Architecture("linear"), 150, 16, 0.03)
_NAME = metrics.metric_name("N-MPJPE", 3)


def _split(frames: int, seed: int, noise: float) -> dict:
  """Features that tell the pose up to noise."""
  rng = np.random.default_rng(seed)
  hidden = rng.normal(size=(frames, 4))
  mixing = np.random.default_rng(99).normal(size=(4, 9))
  pose = (hidden @ mixing * 100).reshape(frames, 3, 3) + [0, 0, 3000]
  pose[:, 1] += [0, 200, 0]
  return {
    "time_variant": (hidden + noise * rng.normal(size=hidden.shape)).astype(np.float32),
    "presence": np.ones(frames, np.float32),
    "present": np.full(frames, -1),
    "sequence": np.zeros(frames, int),
    "camera": np.zeros(frames, int),
    "frame": np.arange(frames),
    "sequence_names": np.array(["walk"]),
    "joint_names": np.array(_SKELETON.joints),
    "skeleton": np.array(json.dumps(_SKELETON.to_dict())),
    "pose3d_mm": pose,
    "joint_valid": np.ones((frames, 3), bool),
  }


def _data() -> tuple[dict, dict]:
  train = {"trained": _split(120, 0, 0.1), "random": _split(120, 0, 3.0)}
  test = {"trained": _split(60, 1, 0.1), "random": _split(60, 1, 3.0)}
  return train, test


def test_rows_stand_in_the_right_order_of_error():
  train, test = _data()
  results, regressor = probe.run_probe(
    train, test, label_counts=[20, "all"], seeds=[0, 1], fit=_FIT
  )
  assert results.rows == ["mean pose", "trained", "random"]
  assert results.label_counts == [20, 120]
  assert len(results.records) == 3 * 2 * 2
  trained, mean = results.of("trained", 120, _NAME), results.of("mean pose", 120, _NAME)
  assert len(trained) == 2
  assert trained.mean() < 0.6 * mean.mean()
  assert trained.mean() < 0.8 * results.of("random", 120, _NAME).mean()
  assert results.frames["train_labelled"] == 120
  # the regressor returned is that of the first row, most labels, first seed
  predicted = regressor.predict(test["trained"]["time_variant"])
  target = test["trained"]["pose3d_mm"]
  scores = metrics.pose_metrics(predicted, target, root=(0,))
  np.testing.assert_allclose(scores[_NAME], results.of("trained", 120, _NAME)[0], rtol=1e-6)


def test_labels_of_some_subjects_alone_are_learned_from():
  train, test = _data()
  for row in train.values():
    row["subject_names"] = np.array(["ada", "ben", "cleo"])
    row["subject"] = np.repeat(np.int32([2, 0, 1]), [70, 20, 30])
  run = {"label_counts": ["all"], "seeds": [0], "fit": _FIT}
  results, _ = probe.run_probe(train, test, subjects=("cleo", "ben"), **run)
  assert results.label_counts == [100]
  assert results.frames["train_labelled"] == 100
  # by these a study tells probes of other labels apart, whatever vectors they read
  assert results.settings["subjects"] == ["cleo", "ben"]
  whole, _ = probe.run_probe(train, test, **run)
  again, _ = probe.run_probe({"trained": train["random"]}, {"trained": test["random"]}, **run)
  assert whole.settings["subjects"] == []
  assert again.settings["data"] != whole.settings["data"]
  assert again.settings["labels"] == whole.settings["labels"] != results.settings["labels"]
  kept = np.r_[0:70, 90:120]
  pose = metrics.root_centre(train["trained"]["pose3d_mm"], (0,))[kept].mean(axis=0)
  target = metrics.root_centre(test["trained"]["pose3d_mm"], (0,))
  expected = np.linalg.norm(pose - target, axis=-1).mean()
  np.testing.assert_allclose(results.of("mean pose", 100, "MPJPE/3 joints"), expected, rtol=1e-5)
  with pytest.raises(ValueError, match="no subject 'dan': the training data have ada, ben, cleo"):
    probe.run_probe(train, test, subjects=("dan",), **run)
  for row in train.values():
    row["joint_valid"][70:90] = False
  with pytest.raises(ValueError, match="no training frame of ada has a label"):
    probe.run_probe(train, test, subjects=("ada",), **run)
  for row in train.values():
    del row["subject_names"]
  with pytest.raises(ValueError, match="the embeddings name no subjects"):
    probe.run_probe(train, test, subjects=("ada",), **run)


def test_mean_pose_row_by_hand():
  train, test = _data()
  results, _ = probe.run_probe(train, test, label_counts=["all"], seeds=[0], fit=_FIT)
  pose = metrics.root_centre(train["trained"]["pose3d_mm"], (0,)).mean(axis=0)
  target = metrics.root_centre(test["trained"]["pose3d_mm"], (0,))
  expected = np.linalg.norm(pose - target, axis=-1).mean()
  found = results.of("mean pose", 120, metrics.metric_name("MPJPE", 3))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_records_hold_the_errors_of_the_test_sequences():
  train, test = _data()
  for part in test.values():  # 45 frames of the second name, 15 of the first; frame 50 has no pose
    part["sequence"] = (np.arange(60) >= 15).astype(int)
    part["sequence_names"] = np.array(["walk", "jump"])
    part["pose3d_mm"][50] = np.nan
  results, regressor = probe.run_probe(train, test, label_counts=["all"], seeds=[0], fit=_FIT)
  assert results.settings["test_sequences"] == {"jump": 44, "walk": 15}
  for record in results.records:
    weighted = record.sequences_mm["jump"] * 44 + record.sequences_mm["walk"] * 15
    np.testing.assert_allclose(weighted / 59, record.metrics[_NAME], rtol=1e-5)
  predicted = regressor.predict(test["trained"]["time_variant"])[:15]
  scores = metrics.pose_metrics(predicted, test["trained"]["pose3d_mm"][:15], root=(0,))
  trained = next(r for r in results.records if r.row == "trained")
  np.testing.assert_allclose(trained.sequences_mm["walk"], scores[_NAME], rtol=1e-5)


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
  train, test = _data()
  options = {"seeds": [0], "fit": _FIT, "directory": tmp_path}
  lines: list[str] = []

  def stop_at_the_third(line: str) -> None:
    if line.startswith("probe 3/4"):
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    probe.run_probe(train, test, label_counts=[20, "all"], **options, progress=stop_at_the_third)
  results, regressor = probe.run_probe(
    train, test, label_counts=[20, "all"], **options, progress=lines.append
  )
  assert "5 finished rows found" in lines[0]  # two mean poses, three fits
  assert [line for line in lines if line.startswith("probe 1/1: random, 120")]
  whole, _ = probe.run_probe(train, test, label_counts=[20, "all"], seeds=[0], fit=_FIT)
  kept = {(r.row, r.labels): r.metrics for r in results.records}
  assert kept == {(r.row, r.labels): r.metrics for r in whole.records}
  features = test["trained"]["time_variant"]
  np.testing.assert_array_equal(
    load_regressor(tmp_path / "regressor.npz").predict(features), regressor.predict(features)
  )


def test_other_data_or_settings_start_anew(tmp_path):
  train, test = _data()
  run = {"label_counts": [20], "seeds": [0], "fit": _FIT, "directory": tmp_path}
  probe.run_probe(train, test, **run)
  train["trained"]["time_variant"][0, 0] += 1e-3
  lines: list[str] = []
  probe.run_probe(train, test, **run, progress=lines.append)
  assert "starting anew" in lines[0]
  again: list[str] = []
  probe.run_probe(train, test, **run, progress=again.append)
  assert len(again) == 1
  assert "3 finished rows" in again[0]


def test_a_damaged_record_file_starts_anew(tmp_path):
  (tmp_path / "records.json").write_text("{")
  lines: list[str] = []
  assert RecordStore(tmp_path, {}, lines.append).records == {}
  assert "starting anew" in lines[0]


@pytest.mark.parametrize(
  "change",
  [
    lambda saved: saved.pop("records"),
    lambda saved: saved["records"][0].pop("row"),
    lambda saved: saved.update(records=[3]),
    lambda saved: saved.pop("regressor"),
  ],
)
def test_a_record_file_that_lacks_something_starts_anew(tmp_path, change):
  store = RecordStore(tmp_path, {"a": 1}, print)
  store.add(ProbeRecord("trained", 5, 0, {"m": 1.0}, 0.0))
  saved = json.loads((tmp_path / "records.json").read_text())
  change(saved)
  (tmp_path / "records.json").write_text(json.dumps(saved))
  lines: list[str] = []
  assert RecordStore(tmp_path, {"a": 1}, lines.append).records == {}
  assert "starting anew" in lines[0]


def test_a_damaged_regressor_is_fitted_again(tmp_path):
  train, test = _data()
  options = {"label_counts": [20], "seeds": [0], "fit": _FIT, "directory": tmp_path}
  _, first = probe.run_probe(train, test, **options)
  (tmp_path / "regressor.npz").write_bytes(b"PK half")
  lines: list[str] = []
  _, again = probe.run_probe(train, test, **options, progress=lines.append)
  assert any("regressor.npz" in line and "fitted again" in line for line in lines)
  features = test["trained"]["time_variant"]
  np.testing.assert_array_equal(again.predict(features), first.predict(features))
  loaded = load_regressor(tmp_path / "regressor.npz")
  np.testing.assert_array_equal(loaded.predict(features), first.predict(features))


def test_a_regressor_says_whose_embeddings_it_reads(tmp_path):
  train, test = _data()
  train["trained"]["weights"] = np.array("of best")
  options = {"label_counts": [20], "seeds": [0], "fit": _FIT}
  results, regressor = probe.run_probe(train, test, **options, directory=tmp_path)
  assert regressor.weights == load_regressor(tmp_path / "regressor.npz").weights == "of best"
  assert results.settings["weights"] == "of best"
  test["trained"] = {**test["trained"], "pose3d_mm": np.full((60, 3, 3), np.nan)}  # none to score
  assert probe.run_probe(train, test, **options)[1].weights == "of best"


def test_labels_without_their_root_are_said_to_lack_it():
  train, test = _data()
  for row in train.values():
    row["joint_valid"][:, 0] = False
  with pytest.raises(ValueError, match=r"none of 120 .* has the root of skeleton three .pelvis."):
    probe.run_probe(train, test, label_counts=["all"], seeds=[0], fit=_FIT)


def test_empty_frames_do_not_enter():
  train, test = _data()
  everything, _ = probe.run_probe(train, test, label_counts=["all"], seeds=[0], fit=_FIT)
  for split in (train, test):
    for row in split.values():
      row["present"][:10] = 0
      row["pose3d_mm"][:10] *= 50
  results, _ = probe.run_probe(train, test, label_counts=["all"], seeds=[0], fit=_FIT)
  assert results.frames["test_left_out_empty"] == results.frames["train_left_out_empty"] == 10
  assert results.label_counts == [110]
  value = results.of("mean pose", 110, _NAME)
  assert abs(value - everything.of("mean pose", 120, _NAME)) < 20


def test_test_frames_that_were_trained_on_are_counted_and_said():
  train, test = _data()  # 120 and 60 frames, numbered from 0, of a sequence of one name
  train["trained"]["present"][:10] = 0
  run = {"label_counts": [20], "seeds": [0], "fit": _FIT}
  results, _ = probe.run_probe(train, test, **run)
  assert results.frames["test_also_train"] == 50
  assert "50 of the test frames are training frames too" in probe_report.markdown_table(results)
  test["trained"]["sequence_names"] = np.array(["run"])
  results, _ = probe.run_probe(train, test, **run)
  assert results.frames["test_also_train"] == 0
  assert "training frames too" not in probe_report.markdown_table(results)


def test_labels_from_a_table_alone():
  # a data set without any labels: three of its frames get poses, none of the test frames does
  train, test = _data()
  truth = train["trained"]["pose3d_mm"]
  for split in (train, test):
    for row in split.values():
      for key in ("pose3d_mm", "joint_valid", "skeleton", "joint_names"):
        del row[key]
  frames = [5, 50, 100]
  table = LabelTable(["walk"] * 3, [0] * 3, frames, ["train"] * 3, _SKELETON.joints, truth[frames])
  lines: list[str] = []
  results, regressor = probe.run_probe(
    train, test, label_counts=["all"], seeds=[0], fit=_FIT, table=table, progress=lines.append
  )
  assert results.records == []
  assert any("fitted but not scored" in line for line in lines)
  assert regressor.skeleton.joints == _SKELETON.joints
  found = regressor.predict(train["trained"]["time_variant"][frames])
  target = metrics.root_centre(truth[frames], (0,))
  assert metrics.mpjpe(found, target).max() < 60  # of a spread of about 200
  with pytest.raises(ValueError, match="--labels=FILE"):
    probe.run_probe(train, test, label_counts=["all"], seeds=[0], fit=_FIT)


def test_joints_of_a_table_that_the_data_set_does_not_know():
  train, test = _data()
  own = train["trained"]
  table = LabelTable(
    ["walk"], [0], [5], ["train"], ("pelvis", "tail"), np.arange(6.0).reshape(1, 2, 3)
  )
  assert probe.find_skeleton(own, table) == _SKELETON  # it has poses: the table must fit them
  own["pose3d_mm"][:] = np.nan
  assert probe.find_skeleton(own, table).joints == ("pelvis", "tail")
  assert probe.find_skeleton(own, table._replace(joints=("nose",))) == _SKELETON
  assert probe.find_skeleton(own) == _SKELETON
  results, regressor = probe.run_probe(
    train, test, label_counts=["all"], seeds=[0], fit=_FIT, table=table
  )
  assert regressor.skeleton.joints == ("pelvis", "tail")
  assert results.num_joints == 2


def test_requests_that_cannot_be():
  train, test = _data()
  with pytest.raises(ValueError, match="only 120 training frames"):
    probe.run_probe(train, test, label_counts=[121], seeds=[0], fit=_FIT)
  with pytest.raises(ValueError, match="same rows"):
    probe.run_probe(train, {"trained": test["trained"]}, label_counts=[5], seeds=[0], fit=_FIT)
  train["random"] = _split(119, 0, 3.0)
  with pytest.raises(ValueError, match="'random'"):
    probe.run_probe(train, test, label_counts=[5], seeds=[0], fit=_FIT)


# --- tables ------------------------------------------------------------------------------------


def _results() -> ProbeResults:
  names = [metrics.metric_name(name, 3) for name in ("MPJPE", "N-MPJPE", "P-MPJPE")]
  values = {("mean pose", 10): [200.0, 240.0], ("trained", 10): [100.0, 120.0]}
  records = [
    ProbeRecord(row, labels, seed, dict.fromkeys(names, value), 1.0)
    for (row, labels), pair in values.items()
    for seed, value in enumerate(pair)
  ]
  records.append(ProbeRecord("supervised", 500, 0, dict.fromkeys(names, 66.0), 9.0))
  frames = dict.fromkeys(
    (
      f"{s}{k}"
      for s in ("train", "test")
      for k in ("", "_labelled", "_left_out_empty", "_left_out_root_unknown")
    ),
    7,
  )
  return ProbeResults(records, ["mean pose", "trained", "supervised"], [10, 500], 3, frames, {})


def test_markdown_table():
  # mean 110, deviation of (100, 120) with n - 1: 14.1; ratio 110 / 220
  lines = probe_report.markdown_table(_results()).splitlines()
  assert "| 10 | mean pose | 220.0 ± 28.3 | 220.0 ± 28.3 | 220.0 ± 28.3 | 1.000 |" in lines
  assert "| 10 | trained | 110.0 ± 14.1 | 110.0 ± 14.1 | 110.0 ± 14.1 | 0.500 |" in lines
  assert "| 500 | supervised | 66.0 | 66.0 | 66.0 |  |" in lines
  assert "N-MPJPE/3 joints ÷ mean pose" in "".join(lines)
  assert len([line for line in lines if line.startswith("| 10 |")]) == 2


def test_report_files(tmp_path):
  paths = probe_report.write_probe_report(tmp_path / "probe", _results())
  assert [p.name for p in paths] == ["results.json", "results.md", "label_efficiency.png"]
  assert load_results(tmp_path / "probe") == _results()
  assert paths[2].read_bytes().startswith(b"\x89PNG")
  with pytest.raises(FileNotFoundError, match=r"launch/probe\.py"):
    load_results(tmp_path)


def test_reference_rows_join_the_table():
  train, test = _data()
  reference = ProbeRecord("supervised", 120, 0, {_NAME: 12.0}, 3.0)
  results, _ = probe.run_probe(
    train, test, label_counts=[20], seeds=[0], fit=_FIT, references=[reference]
  )
  assert results.rows == ["mean pose", "trained", "random", "supervised"]
  assert results.label_counts == [20, 120]
  np.testing.assert_array_equal(results.of("supervised", 120, _NAME), [12.0])
