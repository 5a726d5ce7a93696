import dataclasses
import html.parser
import json

import made_up_run
import ml_collections
import numpy as np
import pytest

from jaxpose import analysis, provenance, report
from jaxpose.embeddings import save_embeddings
from jaxpose.evaluation.probe_records import ProbeRecord, ProbeResults, save_results
from jaxpose.evaluation.regressor import save_regressor

CONFIG = ml_collections.ConfigDict(
  {
    "name": "made up",
    "methods": ("dsl",),
    "data": {"source": "rectangles", "directory": ""},
    "export": {"checkpoint": "best"},
    "training": {"best_by": "pixel"},
    "report": {"frames": 5, "seed": 3},
  }
)
METRICS = [f"{name}/3 joints" for name in ("MPJPE", "N-MPJPE", "P-MPJPE")]


def make_run(tmp_path, names=("a", "b", "c"), **changes):
  experiment = made_up_run.Experiment(tmp_path, CONFIG, names)
  arrays = made_up_run.embeddings(experiment.dataset("test"), **changes)
  for split in ("train", "test"):
    save_embeddings(tmp_path / "embeddings" / f"{split}.npz", arrays)
  rows = [{"step": i, "train/pixel": 1 / (i + 1), "validation/pixel": 0.5} for i in range(5)]
  (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
  return experiment


class _Elements(html.parser.HTMLParser):
  """What a browser makes of a page: elements, names of attributes, and text outside of scripts."""

  def __init__(self):
    super().__init__()
    self.tags, self.attributes, self.shown = [], [], ""

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += [name for name, _ in attrs]

  def handle_data(self, data):
    self.shown += data if self.tags[-1:] != ["script"] else ""


def add_probe(tmp_path):
  values = [("mean pose", 150.0), ("trained", 101.5), ("random", 140.0)]
  records = [ProbeRecord(row, 40, 0, dict.fromkeys(METRICS, v), 1.0) for row, v in values]
  rows = [row for row, _ in values]
  save_results(tmp_path / "probe", ProbeResults(records, rows, [40], 3, {}, {}))
  save_regressor(tmp_path / "probe" / "regressor.npz", made_up_run.regressor())


def test_a_finished_run_makes_a_whole_page(tmp_path):
  experiment = make_run(tmp_path)
  add_probe(tmp_path)
  path = report.make_report(experiment)
  assert path == tmp_path / "report.html"
  text = html.unescape(path.read_text(encoding="utf-8"))
  for part in (
    "train: random frames",
    "test: random frames",
    "5 of 36 frames, drawn with seed 3",
    "test: worst by box IoU",
    "test: worst reconstructions",
    "best constant box",
    "N-MPJPE/3 joints, 40 labels",
    "mean pose 150.0; trained 101.5; random 140.0 mm",
    "found by the detector 1.00",
    "step 7",
    "right on 100.0% of 30 frames with a person",
    "right on 100.0% of 6 frames empty",
    "best validation/pixel",
  ):
    assert part in text, part
  assert 'class="warning"' not in text
  assert not list(tmp_path.rglob("*.partial"))


def test_a_run_that_reconstructs_nothing_shows_frames_and_crops(tmp_path, monkeypatch):
  experiment = make_run(tmp_path)
  gone = ("mask_max", "mask_box_px", "presence_gain", "presence_calibration")
  arrays = made_up_run.embeddings(experiment.dataset("test"))
  kept = {k: v for k, v in arrays.items() if k not in gone}
  for split in ("train", "test"):
    save_embeddings(tmp_path / "embeddings" / f"{split}.npz", kept)
  painted = ("decoded", "mask_crop", "mask_frame", "reconstruction", "gain", "mask_max")
  monkeypatch.setattr(experiment, "decodes", False, raising=False)
  whole = made_up_run.render
  monkeypatch.setattr(
    experiment,
    "make_render",
    lambda variables: lambda frames: {k: v for k, v in whole(frames).items() if k not in painted},
  )
  text = html.unescape(report.make_report(experiment).read_text(encoding="utf-8"))
  assert "test: random frames" in text
  assert "test: worst by box IoU" in text
  assert "crop: " in text
  for part in ("worst reconstructions", "reconstruction: ", "mask on frame", "In other looks"):
    assert part not in text, part


def test_a_run_without_labels_or_probe_has_a_page_too(tmp_path):
  experiment = make_run(tmp_path)
  arrays = made_up_run.embeddings(experiment.dataset("train"))
  gone = ("pose3d_mm", "joint_valid", "present", "box_true_px", "joint_names")
  bare = {k: v for k, v in arrays.items() if k not in gone}
  save_embeddings(tmp_path / "embeddings" / "test.npz", bare)
  out = tmp_path / "elsewhere" / "page.html"
  assert report.make_report(experiment, frames=2, seed=1, path=out) == out
  text = out.read_text(encoding="utf-8")
  assert "3D poses" not in text
  assert "Boxes in numbers" not in text
  assert "2 of 36 frames, drawn with seed 1" in text


def test_the_same_seed_makes_the_same_page(tmp_path):
  experiment = make_run(tmp_path)
  pages = []
  for seed in (1, 1, 2):
    gathered = report.gather_report(experiment, which="", frames=6, seed=seed)
    pages.append([frame.title for group in gathered.groups for frame in group.frames])
  assert pages[0] == pages[1] != pages[2]


def test_hostile_names_are_escaped_everywhere(tmp_path):
  def hostile(what):
    return f"<script>alert({what})</script><img src=x onerror=alert({what})>"

  names = [hostile(f"take {i}") for i in range(3)]
  experiment = make_run(tmp_path, names, checkpoint=hostile("checkpoint"), weights="of another")
  config = CONFIG.copy_and_resolve_references()
  config.name, config.data.source = hostile("name"), hostile("source")
  config.methods, config.training.best_by = (hostile("method"),), hostile("best")
  experiment.config = config
  experiment.config_json = lambda: json.dumps({hostile("key"): hostile("value")})
  curve = {"step": 1, f"validation/{hostile('best')}": 0.5, hostile("curve"): 1.0}
  (tmp_path / "metrics.jsonl").write_text(json.dumps(curve) + "\n")
  add_probe(tmp_path)
  record = ProbeRecord(hostile("row"), 40, 0, dict.fromkeys(METRICS, 1.0), 1.0)
  save_results(tmp_path / "probe", ProbeResults([record], [record.row], [40], 3, {}, {}))
  fitted = made_up_run.regressor()
  joints = tuple(hostile(f"joint {i}") for i in range(3))
  skeleton = dataclasses.replace(fitted.skeleton, name=hostile("skeleton"), joints=joints)
  save_regressor(
    tmp_path / "probe" / "regressor.npz", dataclasses.replace(fitted, skeleton=skeleton)
  )
  text = report.make_report(experiment, which=hostile("which")).read_text(encoding="utf-8")
  page = _Elements()
  page.feed(text)
  for what in ("take 1", "checkpoint", "name", "source", "method", "best", "value", "row", "which"):
    assert hostile(what) in page.shown, what
  assert page.tags.count("script") == 2  # plotly, and the figure to turn
  assert not [name for name in page.attributes if name.startswith("on")]


@pytest.mark.parametrize(
  ("changes", "warning"),
  [
    ({"box_px": np.tile([10.0, 10, 30, 30], (36, 1))}, "box is the same on all frames"),
    ({"mask_max": np.full(36, 0.01)}, "mask is nearly empty"),
    ({"presence": np.zeros(36)}, "taken to be empty"),
  ],
)
def test_what_went_wrong_is_said_at_the_top(tmp_path, changes, warning):
  experiment = make_run(tmp_path, **changes)
  gathered = report.gather_report(experiment, which="", frames=1, seed=0)
  assert any(warning in text for text in gathered.warnings)


def test_frames_that_were_learned_from_are_said_and_empty_scores_left_out(tmp_path):
  experiment = make_run(tmp_path)
  save_results(tmp_path / "probe", ProbeResults([], [], [7], 3, {"test_also_train": 5}, {}))
  gathered = report.gather_report(experiment, which="", frames=1, seed=0)
  assert any("5 of the test frames are training frames too" in text for text in gathered.warnings)
  assert not [name for name, _ in gathered.summary if name.endswith("7 labels")]


def test_what_other_weights_made_is_said_or_left_out(tmp_path):
  experiment = make_run(tmp_path, weights="of best", checkpoint="best, step 7")
  add_probe(tmp_path)
  drawn = provenance.digest_weights(experiment.restore(""))
  gathered = report.gather_report(experiment, which="last", frames=1, seed=0)
  said = [text for text in gathered.warnings if "drawn by the checkpoint 'last'" in text]
  assert [text.split(":")[0] for text in said] == ["train", "test"]
  assert "are of the exported one (best, step 7)" in said[0]
  assert gathered.poses  # a regressor of an older version, which does not say
  path = tmp_path / "probe" / "regressor.npz"
  save_regressor(path, dataclasses.replace(made_up_run.regressor(), weights="of last"))
  for folder in ("probe", "probe2d"):
    save_results(tmp_path / folder, ProbeResults([], [], [], 3, {}, {"weights": "of last"}))
  analysis.write_analysis(tmp_path / "analysis", {"weights": "of last"})
  gathered = report.gather_report(experiment, which="", frames=1, seed=0)
  assert not gathered.poses
  for words in (
    "No 3D poses: the regressor is of another",
    "The probe's tables are of another checkpoint",
    "The tables in probe2d are of another checkpoint: launch/probe.py",
    "The analyses are of another checkpoint: launch/analyse.py",
  ):
    assert any(words in text for text in gathered.warnings), words
  experiment = make_run(tmp_path, weights=drawn)
  save_regressor(path, dataclasses.replace(made_up_run.regressor(), weights=drawn))
  for folder in ("probe", "probe2d"):
    save_results(tmp_path / folder, ProbeResults([], [], [], 3, {}, {"weights": drawn}))
  analysis.write_analysis(tmp_path / "analysis", {"weights": drawn})
  gathered = report.gather_report(experiment, which="", frames=1, seed=0)
  assert gathered.warnings == []
  assert gathered.poses


def test_damaged_results_are_named(tmp_path):
  experiment = make_run(tmp_path)
  add_probe(tmp_path)
  for content in ("{", "[]", '{"records": [{"row": 1}]}', "{}"):
    (tmp_path / "probe" / "results.json").write_text(content)
    with pytest.raises(ValueError, match=r"results\.json is damaged"):
      report.gather_report(experiment, which="", frames=1, seed=0)


def test_a_run_that_was_not_exported_says_what_to_do(tmp_path):
  experiment = made_up_run.Experiment(tmp_path, CONFIG)
  with pytest.raises(FileNotFoundError, match=r"launch/export\.py"):
    report.make_report(experiment)


def test_analyses_and_keypoints_stand_in_the_report_where_they_were_made(tmp_path):
  experiment = make_run(tmp_path)
  add_probe(tmp_path)
  names = [f"{name}/3 joints" for name in ("2D error", "2D PCK@5%", "2D PCK@10%")]
  records = [ProbeRecord("trained", 40, 0, dict.fromkeys(names, 12.345), 1.0)]
  keypoints = ProbeResults(records, ["trained"], [40], 3, {}, {"target": "pose2d"})
  save_results(tmp_path / "probe2d", keypoints)
  score = {"accuracy": 0.875, "chance": 0.25, "subjects": 4, "frames": 36}
  found = {"disentanglement": {"split": "test", "time_invariant": score}}
  analysis.write_analysis(tmp_path / "analysis", found)
  page = html.unescape(report.make_report(experiment).read_text(encoding="utf-8"))
  for part in ("Clusters against subjects", "87.5%", "2D error/3 joints, % of the frame", "12.35"):
    assert part in page
  (tmp_path / "analysis" / "analysis.json").write_text('{"disentanglement": {"time_variant": 3}}')
  with pytest.raises(ValueError, match=r"analysis\.json is damaged"):
    report.make_report(experiment)
