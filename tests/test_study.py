import dataclasses
import json
import shutil

import numpy as np
import pytest

from configs import dsl, supervised
from jaxpose import study
from jaxpose.embeddings import save_embeddings
from jaxpose.evaluation.probe_records import ProbeResults, save_results
from jaxpose.experiment import Experiment


def _run(tmp_path, seed=0, **changes):
  config = dsl.get_config("smoke")
  config.update_from_flattened_dict(changes)
  return study.Run("dsl", seed, "configs/dsl.py:smoke", (), config, tmp_path / "dsl")


def _finish(run):
  save_results(run.results.parent, ProbeResults([], [], [], 3, {}, {}))
  run.set_state(study.FINISHED)


@pytest.mark.parametrize(
  ("key", "value", "same"),
  [
    ("seed", 1, False),
    ("training.steps", 21, False),
    ("probe.steps", 51, False),
    ("export.checkpoint", "last", False),
    ("optimiser.learning_rate", 0.5, False),
    ("probe.references", ("floor.json",), True),
    ("data.workers", 3, True),
    ("training.log_every", 3, True),
  ],
)
def test_a_finished_run_is_known_by_what_its_numbers_depend_on(tmp_path, key, value, same):
  run = _run(tmp_path)
  run.folder.mkdir()
  assert run.state() == {}
  _finish(run)
  assert run.state()["state"] == "finished"
  assert (_run(tmp_path, **{key: value}).state() == run.state()) == same


def test_a_run_is_not_finished_without_its_results_or_once_begun_again(tmp_path):
  run = _run(tmp_path)
  run.folder.mkdir()
  _finish(run)
  run.results.unlink()
  assert run.state() == {}
  _finish(run)
  run.begin()
  assert run.state() == {}
  assert not run.results.exists()
  run.set_state(study.FAILED, why="of old age")
  assert run.state()["why"] == "of old age"
  run.state_file.write_text("{")
  assert run.state() == {}


def test_a_folder_of_another_configuration_is_refused(tmp_path):
  run = _run(tmp_path)
  run.check_folder()  # there is none yet
  even = {"optimiser.schedule": "constant"}
  longer = _run(tmp_path, **even, **{"training.steps": 99})
  Experiment(longer.config, run.workdir).save_config()
  _run(tmp_path, **even).begin()  # fewer steps of the same
  with pytest.raises(ValueError, match=r"dsl/seed0 holds a run of another configuration"):
    _run(tmp_path, **{"optimiser.learning_rate": 0.5}).begin()


def test_a_run_that_starts_from_another_is_known_wherever_the_study_lies(tmp_path):
  def of(folder, before):
    config = _run(tmp_path, **{"model.start_from": str(folder / "dsl" / "seed0")}).config
    return study.Run("tuned", 0, "configs/dsl.py:smoke", (), config, tmp_path / "tuned", before)

  before = _run(tmp_path)
  run, moved = of(tmp_path, before), of(tmp_path / "moved", before)
  assert run.fingerprint() == moved.fingerprint()
  Experiment(run.config, run.workdir).save_config()
  moved.check_folder()
  run.begin()
  run.check_folder()
  other = _run(tmp_path, **{"optimiser.learning_rate": 0.5})
  assert of(tmp_path, other).fingerprint() != run.fingerprint()
  with pytest.raises(ValueError, match="started from another one than dsl, seed 0 now is"):
    of(tmp_path, other).begin()


def test_a_row_that_becomes_the_reference_is_probed_again_with_the_untrained_encoder(tmp_path):
  run = _run(tmp_path)
  run.folder.mkdir()
  _finish(run)
  reference = dataclasses.replace(run, random=True)
  assert (run.state()["state"], reference.state()) == ("finished", {})
  _finish(reference)
  assert run.state() == reference.state() != {}


def test_a_study_stays_with_data_of_one_content(tmp_path, tiny_people):
  folder, config = tmp_path / "runs", _run(tmp_path).config
  other = _run(tmp_path, **{"data.path": "elsewhere"}).config
  assert not study.knows_data(folder, config)
  study.check_data(folder, config, str(tiny_people))
  assert study.knows_data(folder, config)
  assert not study.knows_data(folder, other)
  moved = shutil.copytree(tiny_people, tmp_path / "moved")
  study.check_data(folder, other, str(moved))  # the same from elsewhere
  assert study.knows_data(folder, other)
  for split in ("train", "validation", "test"):
    path = moved / f"sequences_{split}.json"
    before = path.read_text()
    path.write_text(before + " ")
    with pytest.raises(ValueError, match=r"runs on other data than .*moved has now.*--workdir"):
      study.check_data(folder, config, str(moved))
    path.write_text(before)
  assert study.knows_data(folder, other)


def test_the_step_is_the_last_that_was_told(tmp_path):
  run = _run(tmp_path)
  assert run.step() == 0
  run.workdir.mkdir(parents=True)
  lines = "".join(json.dumps({"step": step, "train/x": 0.1}) + "\n" for step in range(1, 5001))
  (run.workdir / "metrics.jsonl").write_text(lines + '{"step": 77')
  assert run.step() == 5000


def test_rows_are_probed_alike_or_refused():
  configs = {"dsl": dsl.get_config("smoke"), "floor": supervised.get_config("smoke")}
  study.check_alike(configs, "dsl")
  configs["floor"].optimiser.learning_rate = 0.5
  configs["floor"].model.time_variant = 7
  study.check_alike(configs, "dsl")  # what is learned, and how, is the row's
  for key, value, said in (
    ("probe.steps", 51, r"row floor has probe\.steps 51, but the reference dsl has 50"),
    ("model.crop_size", 64, r"row floor has model\.crop_size 64"),
    ("data.source", "videos", r"row floor has data\.source 'videos'"),
    ("probe.label_counts", (20,), r"row floor has probe\.label_counts \(20,\)"),
  ):
    other = supervised.get_config("smoke")
    other.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=said):
      study.check_alike(configs | {"floor": other}, "dsl")


def _embeddings(found, true):
  count = len(found)
  return {
    "time_variant": np.zeros((count, 2), np.float32),
    "presence": np.ones(count, np.float32),
    "sequence": np.zeros(count, np.int32),
    "camera": np.zeros(count, np.int32),
    "frame": np.arange(count, dtype=np.int32),
    "sequence_names": np.array(["walk"]),
    "present": np.array([1] * (count - 1) + [0]),
    "box_px": np.float32(found),
    "box_true_px": np.float32(true),
  }


def test_what_a_run_has_left_is_collected(tmp_path):
  run = _run(tmp_path)
  run.workdir.mkdir(parents=True)
  lines = [{"step": 5, "train/x": 1.0}, {"step": 10, "validation/pixel": 0.5}]
  (run.workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  found = study.collect(run)
  assert (found.row, found.seed, found.steps, found.term) == ("dsl", 0, 20, "pixel")
  assert found.frames == 20 * run.config.batch_size * 4
  assert found.curve == ([10.0], [0.5])
  assert (found.results, found.iou) == (None, None)
  _finish(run)
  assert study.collect(run).iou is None  # nothing exported
  # overlaps of half, of all and of a quarter of the union; the last frame is empty
  boxes = [[0, 0, 5, 10], [0, 0, 10, 10], [0, 0, 5, 5], [0, 0, 10, 10]]
  save_embeddings(run.workdir / "embeddings" / "test.npz", _embeddings(boxes, [[0, 0, 10, 10]] * 4))
  found = study.collect(run)
  assert found.results is not None
  assert found.results.num_joints == 3
  assert found.iou == pytest.approx(0.5, abs=1e-6)
  run.config.model.detector = ""
  _finish(run)
  assert study.collect(run).results is not None
  assert study.collect(run).iou is None  # boxes are not found
  other = dataclasses.replace(run, config=dsl.get_config("synthetic_people"))
  assert study.collect(other).results is None
