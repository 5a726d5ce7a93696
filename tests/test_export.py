import json
import types

import numpy as np
import pytest

from jaxpose import export, provenance
from jaxpose.embeddings import load_embeddings
from jaxpose.evaluation import suggest
from jaxpose.evaluation.label_table import read_label_table
from jaxpose.evaluation.presence import calibrate_presence, estimate_presence
from jaxpose.evaluation.protocols import has_person
from jaxpose.skeleton import Skeleton

_SKELETON = Skeleton("two", ("pelvis", "nose"), (0, 0), (), (0,))
_SOURCE = export.Source(
  sequence_names=["walk", "run"],
  subject_names=["S1"],
  action_names=["gait"],
  skeleton=_SKELETON,
  image_size=(5, 9),
  config='{"seed": 0}',
  fingerprint="abc",
  checkpoint="best, step 3",
  data="here, split train, 10 frames",
)


def _frames(count: int, seed: int = 0) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {
    "image": rng.integers(0, 255, size=(count, 5, 9, 3)).astype(np.uint8),
    "background": np.zeros((count, 5, 9, 3), np.uint8),
    "sequence": np.arange(count, dtype=np.int32) // 6,
    "camera": np.zeros(count, np.int32),
    "frame": np.arange(count, dtype=np.int32) * 5,
    "time_s": np.arange(count, dtype=np.float32) / 10,
    "subject": np.zeros(count, np.int32),
    "action": np.zeros(count, np.int32),
    "falling": np.zeros(count, bool),
    "present": np.full(count, -1, np.int32),
    "box_px": rng.normal(size=(count, 4)).astype(np.float32),
    "pose2d_px": rng.normal(size=(count, 2, 2)).astype(np.float32),
    "pose3d_mm": rng.normal(size=(count, 2, 3)).astype(np.float32),
    "joint_valid": np.ones((count, 2), bool),
    "K": np.full((count, 3, 3), np.nan, np.float32),
  }


def _batches(frames: dict[str, np.ndarray], size: int):
  """As make_frame_batches: the last batch repeats its last frame, valid False."""
  count = len(frames["frame"])
  for start in range(0, count, size):
    rows = np.minimum(np.arange(start, start + size), count - 1)
    yield {name: array[rows] for name, array in frames.items()} | {
      "valid": np.arange(start, start + size) < count,
      "ids": rows,
    }


def _embed(batch) -> dict[str, np.ndarray]:
  """Vectors that name their frame; the gain is 0 in frames that are multiples of 15, else 100."""
  frame = np.asarray(batch["frame"], np.float32)
  return {
    "time_variant": np.stack([frame, -frame, frame**2], axis=1),
    "time_invariant": batch["image"].mean(axis=(1, 2)).astype(np.float64),
    "box": np.stack([frame * 0 + 0.5, frame * 0 + 0.25, frame / 100, -frame / 100], axis=1),
    "mask_max": frame / 50,
    "gain": np.where(frame % 15 == 0, 0.01 * frame, 100 + frame),
    "background_error": np.where(frame % 15 == 0, 20, 150 + frame),
  }


def _export(folder, frames, *, size=4, split="train", embed=_embed, source=_SOURCE, **options):
  return export.export_embeddings(
    embed,
    _batches(frames, size),
    folder,
    split,
    source,
    num_frames=len(frames["frame"]),
    **options,
  )


@pytest.mark.parametrize(("npz_below", "size"), [(2**30, 4), (0, 4), (0, 7), (2**30, 11)])
def test_every_frame_once_without_padding(tmp_path, npz_below, size):
  frames = _frames(10)
  path = _export(tmp_path, frames, size=size, npz_below=npz_below)
  assert path == (tmp_path / "train.npz" if npz_below else tmp_path / "train")
  found = load_embeddings(tmp_path, "train")
  for name in ("sequence", "frame", "time_s", "present", "pose3d_mm", "joint_valid"):
    np.testing.assert_array_equal(np.asarray(found[name]), frames[name])
  np.testing.assert_array_equal(np.asarray(found["box_true_px"]), frames["box_px"])
  np.testing.assert_array_equal(np.asarray(found["time_variant"])[:, 1], -frames["frame"])
  assert found["time_invariant"].dtype == np.float32
  assert list(found["sequence_names"]) == ["walk", "run"]
  assert json.loads(str(found["config"])) == {"seed": 0}
  assert str(found["checkpoint"]) == "best, step 3"
  assert Skeleton.from_dict(json.loads(str(found["skeleton"]))) == _SKELETON
  assert "falling" not in found


def test_boxes_in_px(tmp_path):
  # 5 x 9 px, frame 10: half widths 4 and 2; x: (0.1 -+ 0.5 + 1) * 4, y: (-0.1 -+ 0.25 + 1) * 2
  _export(tmp_path, _frames(10))
  found = load_embeddings(tmp_path, "train")
  np.testing.assert_allclose(found["box_px"][2], [2.4, 1.3, 6.4, 2.3], rtol=1e-5)


def test_presence_is_calibrated_on_the_training_frames(tmp_path):
  train, test = _frames(300), _frames(40, seed=1)
  _export(tmp_path, train, size=64)
  found = load_embeddings(tmp_path, "train")
  empty = train["frame"] % 15 == 0
  np.testing.assert_array_equal(found["presence"] < 0.5, empty)
  calibration = export.load_calibration(found)
  assert calibration == calibrate_presence(found["presence_gain"], found["background_error"])

  def faint(batch):
    return {**_embed(batch), "gain": np.full(len(batch["frame"]), 0.02)}

  _export(tmp_path, test, split="test", embed=faint, calibration=calibration)
  seen = load_embeddings(tmp_path, "test")["presence"]
  np.testing.assert_allclose(seen, estimate_presence(np.full(40, 0.02), calibration))
  assert (seen < 0.5).all()  # by themselves, 40 equal gains would all be people


def test_a_finished_split_is_left_alone(tmp_path):
  frames = _frames(10)
  path = _export(tmp_path, frames)
  before = path.stat().st_mtime_ns
  lines: list[str] = []

  def never(batch):
    raise AssertionError("embedded again")

  _export(tmp_path, frames, embed=never, progress=lines.append)
  assert path.stat().st_mtime_ns == before
  assert "finished before" in lines[0]
  assert not export.is_exported(tmp_path, "train", _SOURCE._replace(checkpoint="best, step 4"))
  assert not export.is_exported(tmp_path, "test", _SOURCE)
  assert export.is_exported(tmp_path, "train", _SOURCE._replace(config='{"probe": 1}'))


def test_a_failed_export_leaves_the_former_one(tmp_path):
  frames = _frames(10)
  _export(tmp_path, frames)
  kept = (tmp_path / "train.npz").read_bytes()

  def failing(batch):
    if batch["frame"][0] > 0:
      raise ValueError("damaged record")
    return _embed(batch)

  with pytest.raises(ValueError, match="damaged record"):
    _export(tmp_path, frames, embed=failing, source=_SOURCE._replace(checkpoint="new"))
  assert (tmp_path / "train.npz").read_bytes() == kept
  assert [p.name for p in tmp_path.iterdir()] == ["train.npz"]


def test_an_empty_split_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="split train of here"):
    _export(tmp_path, _frames(0))


def test_progress_is_told_from_the_first_batch(tmp_path):
  lines: list[str] = []
  _export(tmp_path, _frames(10), progress=lines.append)
  assert lines[0].startswith("export train: 4/10 frames")
  assert lines[-1].startswith("export train: 10/10 frames")


# --- a whole run -------------------------------------------------------------------------------


class _Experiment:
  """What export_run asks of an experiment; counts what is made."""

  def __init__(self, workdir):
    self.workdir = workdir
    self.image_size = (5, 9)
    self.config = types.SimpleNamespace(
      export=types.SimpleNamespace(checkpoint="best", suggestions=3)
    )
    self.made: list[str] = []
    self.data = "as filmed"

  def config_json(self):
    return "{}"

  def fingerprint(self):
    return "f"

  def restore(self, which):
    return {"name": which}

  def random_variables(self, trained):
    return {"name": f"random like {trained['name']}"}

  def make_embed(self, variables):
    self.made.append(variables["name"])
    return _embed

  def make_encode(self, variables):
    self.made.append(f"{variables['name']}, encoded only")
    vectors = ("time_variant", "time_invariant", "box")
    return lambda batch: {name: _embed(batch)[name] for name in vectors}

  def dataset(self, split):
    return types.SimpleNamespace(
      sequences=[{"name": f"{split} walk"}, {"name": f"{split} run"}],
      subjects=["S1"],
      actions=["gait"],
      skeleton=_SKELETON,
      directory="data",
      split=split,
      num_frames=12,
      fingerprint=lambda: self.data,
    )

  def frame_batches(self, split):
    return _batches(_frames(12, seed=len(split)), 5)


def test_a_run_exports_both_encoders_and_suggestions(tmp_path):
  experiment = _Experiment(tmp_path)
  folder = export.export_run(experiment, progress=lambda line: None)
  names = ["random_test.npz", "random_train.npz", "suggestions.csv", "test.npz", "train.npz"]
  assert sorted(p.name for p in folder.iterdir()) == names
  assert experiment.made == ["best", "random like best, encoded only"]
  train, test = load_embeddings(folder, "train"), load_embeddings(folder, "test")
  assert export.load_calibration(test) == export.load_calibration(train)
  assert "presence" not in load_embeddings(folder, "random_test")
  assert str(test["split"]) == "test"
  assert str(test["weights"]) == provenance.digest_weights({"name": "best"})
  assert str(test["sequence_names"][0]) == "test walk"
  table = read_label_table(folder / "suggestions.csv")
  assert len(table.frame) == 3
  assert table.joints == ("pelvis", "nose")
  assert set(table.sequence) <= {"train walk", "train run"}
  # again: nothing is embedded, nothing compiled
  experiment.made.clear()
  export.export_run(experiment, progress=lambda line: None)
  assert experiment.made == []
  # data prepared again in the same folder, say with labels put right, are other data
  experiment.data = "put right"
  export.export_run(experiment, progress=lambda line: None)
  assert experiment.made == ["best", "random like best, encoded only"]
  experiment.made.clear()
  (folder / "random_test.npz").unlink()
  export.export_run(experiment, suggestions=0, progress=lambda line: None)
  assert experiment.made == ["random like best, encoded only"]
  # more frames than show a person: the configured number is cut, a number asked for is refused
  experiment.config.export.suggestions = 100
  export.export_run(experiment, progress=lambda line: None)
  people = has_person(load_embeddings(folder, "train"))
  assert len(read_label_table(folder / "suggestions.csv").frame) == people.sum() > 3
  with pytest.raises(ValueError, match="cannot suggest 100 frames"):
    export.export_run(experiment, suggestions=100, progress=lambda line: None)


def test_frames_are_suggested_by_the_method_that_is_asked_for(tmp_path):
  options = {"random": False, "suggestions": 4, "progress": lambda line: None}
  found = {}
  for method in suggest.METHODS:
    folder = export.export_run(_Experiment(tmp_path), suggestion_method=method, **options)
    found[method] = read_label_table(folder / "suggestions.csv").frame
    train = load_embeddings(folder, "train")
    rows = suggest.suggest_frames(train, 4, method=method)
    assert found[method] == train["frame"][rows].tolist()
  assert found["kmeans"] != found["kcenter"]


@pytest.mark.parametrize("cells", [",1,2,3,,,", ",1,,,,,", ";1;2;3;;;"])
def test_labels_that_were_filled_in_survive_another_export(tmp_path, cells):
  experiment = _Experiment(tmp_path)
  path = export.export_run(experiment, progress=lambda line: None) / "suggestions.csv"
  header, *lines = path.read_text().splitlines()
  filled = [line.removesuffix(",,,,,,") + cells for line in lines]
  path.write_text("\n".join([header, *filled]))
  kept = path.read_bytes()
  said = []
  export.export_run(experiment, suggestions=2, progress=said.append)
  assert path.read_bytes() == kept
  assert "has been filled in" in said[-1]
  path.write_text("\n".join([header, *lines]))  # still empty: suggested anew
  export.export_run(experiment, suggestions=2, progress=said.append)
  assert len(read_label_table(path).frame) == 2
