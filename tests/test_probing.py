import json
import types

import numpy as np
import pytest

from jaxpose import probing
from jaxpose.embeddings import save_embeddings
from jaxpose.evaluation.fitting import FitConfig
from jaxpose.evaluation.metrics import metric_name
from jaxpose.evaluation.probe_records import (
  ProbeRecord,
  Reference,
  load_reference,
  load_results,
  save_reference,
)
from jaxpose.evaluation.regressor import Architecture
from jaxpose.skeleton import Skeleton

SKELETON = Skeleton("three", ("pelvis", "left_hip", "nose"), (0, 0, 0), (), (0,))
MEAN = np.float32([[0, 0, 0], [90, 0, 0], [0, -500, 0]])
TRUE = np.float32([[0, 0, 0], [100, 0, 0], [0, -400, 0]])


class Run:
  """What `score_supervised` uses of an experiment: five test frames, three of which count."""

  def __init__(self, workdir):
    self.workdir = workdir
    self.config = types.SimpleNamespace(seed=3)
    self.label_statistics = types.SimpleNamespace(mean_mm=MEAN)

  def dataset(self, split):
    index = types.SimpleNamespace(
      num_frames=6,
      labelled=np.array([True, True, True, True, False, False]),
      present=np.array([1, 1, 1, 0, 1, 1]),
    )
    return types.SimpleNamespace(index=index, skeleton=SKELETON, num_frames=5)

  def count_labels(self):
    return 3

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
        "present": np.full(3, -1),
        "box_px": box[part],
        "pose3d_mm": poses[part],
        "joint_valid": np.isfinite(poses[part]).all(-1),
        "valid": np.array([True, True, start == 0]),
      }


def test_a_supervised_network_is_scored_on_the_frames_of_a_probe(tmp_path):
  lines = []
  results = probing.score_supervised(Run(tmp_path), progress=lines.append)
  # frame 2 has no pose, frame 1 no box; the padded last frame counts once: frames 0, 3, 4
  assert results.frames["test_labelled"] == 3
  assert results.frames["train_left_out_empty"] == 1
  assert results.rows == ["mean pose", "supervised"]
  assert results.label_counts == [3]
  found = results.of("supervised", 3, metric_name("MPJPE", 3))
  np.testing.assert_allclose(found, (0 + 100 + 400) / 3)
  np.testing.assert_allclose(results.of("supervised", 3, metric_name("N-MPJPE", 3)), 0, atol=1e-6)
  mean = results.of("mean pose", 3, metric_name("MPJPE", 3))
  np.testing.assert_allclose(mean, (0 + 10 + 100) / 3)
  reference = load_reference(tmp_path / "probe" / "reference.json")
  assert reference.record == next(r for r in results.records if r.row == "supervised")
  assert (reference.record.labels, reference.record.seed) == (3, 3)
  assert (reference.num_joints, reference.test_frames) == (3, 4)  # a probe scores frame 1 too
  assert "| 3 | supervised |" in (tmp_path / "probe" / "results.md").read_text()
  assert "0.000 of the mean pose's" in lines[-1]


def test_test_frames_without_a_box_are_said(tmp_path):
  run = Run(tmp_path)
  batches = run.frame_batches

  def known(split):
    for batch in batches(split):
      yield batch | {"present": np.ones(3, int)}

  run.frame_batches = known
  lines = []
  results = probing.score_supervised(run, progress=lines.append)
  assert results.frames["test_labelled"] == 3
  assert any("1 labelled test frames have no true box" in line for line in lines)
  # but the data have four, which a probe will score
  assert load_reference(tmp_path / "probe" / "reference.json").test_frames == 4


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


@pytest.mark.parametrize("changes", [{"test_frames": 19}, {"num_joints": 17}])
def test_a_reference_of_other_data_is_refused(tmp_path, changes):
  _export(tmp_path)
  with pytest.raises(ValueError, match="20 frames of 3 joints"):
    _probe(tmp_path, [_reference(tmp_path / "floor", **changes)])
