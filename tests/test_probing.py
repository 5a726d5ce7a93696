import json
import types

import numpy as np
import pytest

from configs import dsl
from jaxpose import probing
from jaxpose.embeddings import load_embeddings, save_embeddings
from jaxpose.evaluation.fitting import FitConfig
from jaxpose.evaluation.metrics import metric_name
from jaxpose.evaluation.probe_records import (
  ProbeRecord,
  ProbeResults,
  Reference,
  load_reference,
  load_results,
  save_reference,
  save_results,
)
from jaxpose.evaluation.regressor import Architecture
from jaxpose.evaluation.targets import POSE3D
from jaxpose.experiment import Experiment
from jaxpose.skeleton import Skeleton

SKELETON = Skeleton("three", ("pelvis", "left_hip", "nose"), (0, 0, 0), (), (0,))
MEAN = np.float32([[0, 0, 0], [90, 0, 0], [0, -500, 0]])
TRUE = np.float32([[0, 0, 0], [100, 0, 0], [0, -400, 0]])


class Labels:
  """What it uses of the run's labels."""

  mean_pose_mm = MEAN

  def __init__(self):
    self.learned = np.arange(6)

  def of(self, split):
    assert split == "train"
    return types.SimpleNamespace(ids=(self.learned, np.arange(6)))

  def count(self):
    return 3

  def count_all(self):
    return 8


class Run:
  """What `score_supervised` uses of an experiment: five test frames, three of which count."""

  def __init__(self, workdir):
    self.workdir = workdir
    self.subject_crop = "labels"
    model = types.SimpleNamespace(start_from="")
    self.config = types.SimpleNamespace(seed=3, model=model)
    self.splits = {"train": "train", "test": "test"}
    self.labels = Labels()

  def dataset(self, split):
    index = types.SimpleNamespace(
      num_frames=6,
      labelled=np.array([True, True, True, True, False, False]),
      present=np.array([1, 1, 1, 0, 1, 1]),
    )
    sequences = [{"name": "walk"}, {"name": "jump"}]
    return types.SimpleNamespace(
      index=index, skeleton=SKELETON, num_frames=5, sequences=sequences, split=self.splits[split]
    )

  def train_datasets(self):
    return [self.dataset("train")] * 2  # the data set, and another one of `data.also`

  def fingerprint(self):
    return "f"

  def restore(self, which):
    return {"which": which}

  def make_embed(self, variables):
    assert variables == {"which": ""}

    def embed(batch):
      # twice the true pose, and 7 mm off in depth
      return {"pose_mm": 2 * (batch["pose3d_mm"] - [0, 0, 3000]) + [0, 0, 7]}

    return embed

  def frame_batches(self, split):
    assert split == "test"
    ids = np.array([0, 1, 2, 3, 4, 4])
    poses = np.repeat(TRUE[None] + [0, 0, 3000], 6, axis=0)
    poses[2] = np.nan  # not labelled
    box = np.tile(np.float32([1, 2, 11, 30]), (6, 1))
    box[1] = np.nan
    for start in (0, 3):
      part = slice(start, start + 3)
      yield {
        "frame": ids[part],
        "sequence": np.array([0, 0, 0, 1, 1, 1])[part],
        "present": np.full(3, -1),
        "box_px": box[part],
        "pose3d_mm": poses[part],
        "joint_valid": np.isfinite(poses[part]).all(-1),
        "valid": np.array([True, True, start == 0]),
      }


def test_a_supervised_network_is_scored_on_the_frames_of_a_probe(tmp_path):
  lines = []
  results = probing.score_supervised(Run(tmp_path), progress=lines.append)
  # frame 2 has no pose; the padded last frame counts once: frames 0, 1, 3, 4
  assert results.frames["test_labelled"] == 4
  assert results.frames["train_labelled"] == 8  # of which three were learned from
  assert results.frames["train"] == 2 * 6  # those of `data.also`, too
  assert results.frames["train_left_out_empty"] == 2 * 1
  assert results.rows == ["mean pose", "supervised"]
  assert results.label_counts == [3]
  mean = results.of("mean pose", 3, metric_name("MPJPE", 3))
  np.testing.assert_allclose(mean, (0 + 10 + 100) / 3)
  # frame 1 has no box, and so the mean pose
  found = results.of("supervised", 3, metric_name("MPJPE", 3))
  np.testing.assert_allclose(found, (3 * (0 + 100 + 400) / 3 + mean) / 4)
  scaled = [results.of(row, 3, metric_name("N-MPJPE", 3)) for row in results.rows]
  np.testing.assert_allclose(scaled[1], scaled[0] / 4)
  assert "1 of the test frames have no box" in (tmp_path / "probe" / "results.md").read_text()
  reference = load_reference(tmp_path / "probe" / "reference.json")
  assert reference.record == next(r for r in results.records if r.row == "supervised")
  # frame 0 is of the first sequence, frames 3 and 4 are of the second
  assert results.settings["test_sequences"] == {"jump": 2, "walk": 2}
  by_sequence = results.records[0].sequences_mm  # the mean pose's, the same for equal frames
  assert by_sequence["jump"] == by_sequence["walk"] > 1
  own = reference.record.sequences_mm
  np.testing.assert_allclose([own["jump"], own["walk"]], [0, by_sequence["walk"] / 2], atol=1e-4)
  assert (reference.record.labels, reference.record.seed) == (3, 3)
  assert (reference.num_joints, reference.test_frames) == (3, 4)
  assert "| 3 | supervised |" in (tmp_path / "probe" / "results.md").read_text()
  assert "0.250 of the mean pose's" in lines[-1]


def test_a_network_that_started_from_another_run_has_a_row_of_its_own(tmp_path):
  run = Run(tmp_path)
  run.config.model.start_from = "runs/dsl"
  lines = []
  results = probing.score_supervised(run, progress=lines.append)
  assert results.rows == ["mean pose", "fine-tuned"]
  assert load_reference(tmp_path / "probe" / "reference.json").record.row == "fine-tuned"
  # errors 0, 100, 400 and, of the mean pose, 110/3 mm: over three joints, over two, 3/2 of these
  said = "MPJPE in mm: 134.2 (3 joints), 201.2 (2 joints without root), 201.2 (3 joints x3/2)"
  assert f"probe: {said}" in lines
  for name in ("N-MPJPE", "P-MPJPE"):
    (line,) = (line for line in lines if line.startswith(f"probe: {name} in mm:"))
    assert "without root" in line


def test_where_no_test_frame_can_be_cropped_nothing_is_scored(tmp_path):
  run = Run(tmp_path)
  batches = run.frame_batches
  probing.score_supervised(run, progress=lambda line: None)
  run.frame_batches = lambda split: (b | {"box_px": b["box_px"] + np.nan} for b in batches(split))
  lines = []
  results = probing.score_supervised(run, progress=lines.append)
  assert results.records == []
  assert "nothing to score" in lines[-1]
  assert "No test frame that could be scored" in (tmp_path / "probe" / "results.md").read_text()
  # nor is what was scored before
  assert sorted(path.name for path in (tmp_path / "probe").iterdir()) == [
    "results.json",
    "results.md",
  ]


def test_scores_of_training_frames_are_called_so(tmp_path):
  run = Run(tmp_path)
  assert probing.score_supervised(run).frames["test_also_train"] == 0
  run.splits["test"] = "train"  # own videos without a split for testing
  assert probing.score_supervised(run).frames["test_also_train"] == 4
  assert "training frames too" in (tmp_path / "probe" / "results.md").read_text()
  run.labels.learned = np.array([0, 1])  # the labels of one subject; both are scored
  assert probing.score_supervised(run).frames["test_also_train"] == 2


def test_the_detector_finds_a_box_in_every_test_frame(tmp_path):
  run = Run(tmp_path)
  run.subject_crop = None
  results = probing.score_supervised(run, progress=lambda line: None)
  assert results.frames["test_without_box"] == 0  # nor is frame 1, which has no true box


def test_frames_whose_joints_are_known_need_no_box_drawn_around_them(tmp_path):
  run = Run(tmp_path)
  batches = run.frame_batches

  def with_joints(split):
    for batch in batches(split):
      yield batch | {"pose2d_px": batch["pose3d_mm"][..., :2]}

  run.frame_batches = with_joints
  found = probing.score_supervised(run)
  assert found.frames["test_without_box"] == 0  # nor frame 1, around which nobody drew a box


def _export(folder):
  for number, split in enumerate(("train", "test")):
    rng = np.random.default_rng(number)
    count = (30, 20)[number]
    hidden = rng.normal(size=(count, 4))
    pose = (hidden @ np.random.default_rng(9).normal(size=(4, 9)) * 100).reshape(count, 3, 3)
    columns = {
      "time_variant": hidden.astype(np.float32),
      "presence": np.ones(count, np.float32),
      "sequence": np.zeros(count, np.int32),
      "camera": np.zeros(count, np.int32),
      "frame": np.arange(count, dtype=np.int32),
      "sequence_names": np.array(["walk"]),
      "joint_names": np.array(SKELETON.joints),
      "skeleton": np.array(json.dumps(SKELETON.to_dict())),
      "pose3d_mm": pose.astype(np.float32),
    }
    save_embeddings(folder / f"{split}.npz", columns)


def _reference(folder, **changes):
  names = [metric_name(metric, 3) for metric in ("MPJPE", "N-MPJPE", "P-MPJPE")]
  record = ProbeRecord("supervised", 30, 0, dict(zip(names, (50.0, 40.0, 30.0))), 1.0)
  values = {"record": record, "num_joints": 3, "test_frames": 20} | changes
  return save_reference(folder, Reference(**values))


def _probe(folder, references):
  return probing.probe_embeddings(
    folder,
    folder / "probe",
    fit=FitConfig(Architecture("linear"), 5, 8, 0.01),
    label_counts=["all"],
    seeds=[0],
    feature="time_variant",
    references=references,
    progress=lambda line: None,
  )


def test_references_stand_in_table_and_results_of_a_probe(tmp_path):
  _export(tmp_path)
  _probe(tmp_path, [_reference(tmp_path / "floor")])
  results = load_results(tmp_path / "probe")
  assert results.rows == ["mean pose", "trained", "supervised"]
  np.testing.assert_array_equal(results.of("supervised", 30, metric_name("N-MPJPE", 3)), [40])
  table = (tmp_path / "probe" / "results.md").read_text()
  share = 40 / results.of("mean pose", 30, metric_name("N-MPJPE", 3))[0]
  assert f"| 30 | supervised | 50.0 | 40.0 | 30.0 | {share:.3f} |" in table


def test_an_untrained_encoder_on_the_crops_of_another_checkpoint_is_left_out(tmp_path):
  _export(tmp_path)
  exports = {split: load_embeddings(tmp_path, split) for split in ("train", "test")}

  def say_checkpoints(trained, random):
    for split, columns in exports.items():
      save_embeddings(tmp_path / f"{split}.npz", columns | {"checkpoint": np.array(trained)})
      save_embeddings(tmp_path / f"random_{split}.npz", columns | {"checkpoint": np.array(random)})

  say_checkpoints("best, step 3", "random encoder, best, step 3")
  assert _probe(tmp_path, []).rows == ["mean pose", "trained", "random"]
  say_checkpoints("best, step 3", "random encoder, best, step 13")  # exported with --norandom since
  assert _probe(tmp_path, []).rows == ["mean pose", "trained"]


def test_an_export_that_was_stopped_between_the_splits_is_not_mixed(tmp_path):
  _export(tmp_path)
  for split, step in (("train", 20), ("test", 10)):
    columns = load_embeddings(tmp_path, split) | {"checkpoint": np.array(f"last, step {step}")}
    save_embeddings(tmp_path / f"{split}.npz", columns)
  with pytest.raises(ValueError, match=r"last, step 20 and test of last, step 10: .*again"):
    _probe(tmp_path, [])


@pytest.mark.parametrize("changes", [{"test_frames": 19}, {"num_joints": 17}])
def test_a_reference_of_other_data_is_refused(tmp_path, changes):
  _export(tmp_path)
  with pytest.raises(ValueError, match="20 frames of 3 joints"):
    _probe(tmp_path, [_reference(tmp_path / "floor", **changes)])


# --- the references that a run's configuration names -------------------------------------------


def _run(workdir, *references):
  """A finished run that was exported, with its configuration read back from its folder."""
  config = dsl.get_config("smoke")
  config.update_from_flattened_dict(
    {
      "probe.regressor": "linear",
      "probe.steps": 5,
      "probe.batch_size": 8,
      "probe.label_counts": (10, 0),
      "probe.seeds": (0, 1),
      "probe.references": tuple(str(path) for path in references),
    }
  )
  Experiment(config, workdir).save_config()
  _export(workdir / "embeddings")
  return Experiment.from_workdir(workdir)


def _probe_run(run):
  return probing.probe_run(run, progress=lambda line: None)


def test_a_run_puts_the_references_of_its_configuration_into_its_tables(tmp_path):
  names = [metric_name(metric, 3) for metric in ("MPJPE", "N-MPJPE", "P-MPJPE")]
  other = ProbeRecord("supervised", 30, 1, dict(zip(names, (54.0, 46.0, 36.0))), 1.0)
  run = _run(
    tmp_path / "run", _reference(tmp_path / "one"), _reference(tmp_path / "two", record=other)
  )
  results = _probe_run(run)
  assert results.rows == ["mean pose", "trained", "supervised"]
  assert results.label_counts == [10, 30]
  assert {r.seed for r in results.records if r.row == "trained"} == {0, 1}
  assert load_results(tmp_path / "run" / "probe") == results
  # (40, 46): mean 43, deviation 6 / sqrt 2
  np.testing.assert_array_equal(results.of("supervised", 30, names[1]), [40, 46])
  lines = (tmp_path / "run" / "probe" / "results.md").read_text().splitlines()
  share = 43 / results.of("mean pose", 30, names[1]).mean()
  assert f"| 30 | supervised | 52.0 ± 2.8 | 43.0 ± 4.2 | 33.0 ± 4.2 | {share:.3f} |" in lines
  assert not [line for line in lines if line.startswith("| 10 | supervised")]
  # the other rows are not of another experiment because of them
  said = []
  run.config.probe.references = []
  without = probing.probe_run(run, progress=said.append)
  assert without.rows == ["mean pose", "trained"]
  assert any("8 finished rows found" in line for line in said)
  assert "supervised" not in (tmp_path / "run" / "probe" / "results.md").read_text()


def test_a_reference_that_is_missing_ends_a_probe_before_it_begins(tmp_path):
  run = _run(tmp_path / "run", _reference(tmp_path / "floor"), tmp_path / "gone" / "reference.json")
  with pytest.raises(FileNotFoundError, match=r"gone/reference\.json: .*config\.probe\.references"):
    _probe_run(run)
  assert not (tmp_path / "run" / "probe").exists()


def _results_file(folder):
  """What lies beside a reference, and is easily named in its place."""
  path = save_results(folder, ProbeResults([], [], [], 3, {}, {}))
  return path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"[]", b"\x89PNG\xff", b'{"format": 2}', _results_file])
def test_a_file_that_is_no_reference_is_named(tmp_path, content):
  path = tmp_path / "other.json"
  path.write_bytes(content if isinstance(content, bytes) else content(tmp_path))
  run = _run(tmp_path / "run", path)
  with pytest.raises(ValueError, match=r"other\.json is no reference that a supervised run wrote"):
    _probe_run(run)
  assert not (tmp_path / "run" / "probe").exists()


def test_a_reference_of_other_data_is_named_by_a_run(tmp_path):
  run = _run(tmp_path / "run", _reference(tmp_path / "floor", test_frames=19))
  said = r"floor/reference\.json is of 19 labelled test frames of 3 joints, this probe of 20"
  with pytest.raises(ValueError, match=said):
    _probe_run(run)
  assert not (tmp_path / "run" / "probe").exists()


def test_a_reference_without_the_metrics_of_the_tables_is_refused(tmp_path):
  record = ProbeRecord("supervised", 30, 0, {metric_name("N-MPJPE", 3): 40.0}, 1.0)
  run = _run(tmp_path / "run", _reference(tmp_path / "floor", record=record))
  said = r"floor/reference\.json has no MPJPE/3 joints, P-MPJPE/3 joints"
  with pytest.raises(ValueError, match=said):
    _probe_run(run)
  assert not (tmp_path / "run" / "probe").exists()


def test_the_probe_section_is_the_fit():
  config = dsl.get_config("smoke")
  config.update_from_flattened_dict(
    {
      "probe.regressor": "mlp",
      "probe.width": 21,
      "probe.depth": 3,
      "probe.dropout": 0.35,
      "probe.batch_norm": True,
      "probe.steps": 77,
      "probe.batch_size": 19,
      "probe.learning_rate": 0.004,
    }
  )
  expected = FitConfig(Architecture("mlp", 21, 3, 0.35, True), 77, 19, 0.004)
  assert probing.fit_config(config.probe) == expected
  assert probing.label_counts([100, "10%", 0, 0.5]) == [100, "10%", "all", 0.5]


def test_what_a_section_asks_for_reaches_the_probe(tmp_path, monkeypatch):
  asked = {}

  def run_probe(train, test, **values):
    asked.update(values)
    raise InterruptedError

  monkeypatch.setattr(probing.probe, "run_probe", run_probe)
  run = _run(tmp_path / "run")
  run.config.update_from_flattened_dict(
    {"probe.features": "time_invariant", "probe.subjects": ("anna", "bo"), "probe.seeds": (4,)}
  )
  (tmp_path / "labels.csv").write_text("sequence,camera,frame\nwalk,0,3\n")
  with pytest.raises(InterruptedError):
    probing.probe_run(run, labels=tmp_path / "labels.csv")
  assert (asked["feature"], asked["subjects"]) == ("time_invariant", ("anna", "bo"))
  assert (asked["seeds"], asked["directory"]) == ((4,), run.workdir / "probe")
  assert (asked["target"], asked["label_counts"]) == (POSE3D, [10, "all"])
  assert asked["fit"] == probing.fit_config(run.config.probe)
  assert asked["table"].frame == [3]
