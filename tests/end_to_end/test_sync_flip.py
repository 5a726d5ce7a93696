"""Synchronisation and flip on the smallest data: alone, from data to report, and beside DSL."""

import html
import json

import jax
import numpy as np
import pytest

from configs import dsl, sync_flip
from jaxpose import analysis, assembly
from jaxpose.experiment import Experiment
from jaxpose.export import export_run
from jaxpose.report import make_report


def _short(config, data):
  config.data.directory = str(data)
  config.training.steps = 2
  config.training.log_every = 1
  config.training.checkpoint_every = 2
  config.training.validate_every = 2
  config.training.validation_batches = 1
  return config


@pytest.fixture(scope="module")
def run(tiny_people, tmp_path_factory):
  config = _short(sync_flip.get_config("smoke"), tiny_people)
  config.pairs.background = "mix"
  experiment = Experiment(config, tmp_path_factory.mktemp("run"))
  experiment.train()
  export_run(experiment, progress=lambda line: None)
  return experiment


def _metrics(experiment):
  return [json.loads(line) for line in (experiment.workdir / "metrics.jsonl").open()]


def test_it_reads_pairs_alone_and_logs_both_heads(run):
  batch = run.train_batches().peek()
  assert set(batch) == {"pair"}
  assert batch["pair"]["substitute"].shape == (4, 2, 64, 64, 3)
  first, *_, last = _metrics(run)
  for name in ("synchronisation", "flip"):
    assert first[f"train/terms/{name}"] > 0
    assert 0 <= first[f"train/terms/{name}_accuracy"] <= 1
    assert 0 <= last[f"validation/{name}_accuracy"] <= 1
    assert f"validation/{name}" in last
  assert assembly.frames_per_example(run.config) == 2


def test_the_export_holds_the_boxes_of_the_crops(run):
  with np.load(run.workdir / "embeddings" / "test.npz", allow_pickle=False) as exported:
    assert exported["time_variant"].shape[1] == 128
    assert exported["time_invariant"].shape[1] == 0
    found, true = exported["box_px"], exported["box_true_px"]
  known = np.isfinite(true).all(axis=1)
  assert known.any()
  side = (found[:, 2] - found[:, 0])[known]
  longest = np.max(true[:, 2:] - true[:, :2], axis=1)[known]
  np.testing.assert_allclose(side, 1.25 * longest, rtol=1e-3)
  centre = (found[:, :2] + found[:, 2:] - true[:, :2] - true[:, 2:])[known] / 2
  np.testing.assert_allclose(centre, 0, atol=1e-2)


def test_its_report_and_analysis_say_which_views_are_synchronised(run):
  assert not run.decodes
  assert not run.detects
  text = html.unescape(make_report(run, frames=2).read_text(encoding="utf-8"))
  for part in ("Views of one instant", "The same pose of other people", "random frame"):
    assert part in text
  assert "found by the detector" not in text
  found = analysis.analyse_run(run, progress=lambda line: None)
  assert set(found["synchronisation"]["accuracy"]) == {"train", "test"}
  assert (run.workdir / "analysis" / "synchronisation.png").read_bytes()[1:4] == b"PNG"
  text = (run.workdir / "analysis" / "analysis.md").read_text(encoding="utf-8")
  assert "Are two views of one instant?" in text


def test_frames_of_anybody_are_embedded_without_true_boxes(run):
  frames = dict(next(iter(run.frame_batches("test"))))
  embed = run.make_embed(run.restore("last"))
  box = embed({n: frames[n] for n in ("image", "background")})["box"]
  with_labels = embed(frames)["box"]
  known = np.isfinite(frames["box_px"]).all(axis=1)
  # the difference finds nearly the same people
  assert np.median(np.abs(box - with_labels)[known]) < 0.1
  assert np.abs(box - with_labels)[known].max() > 0


@pytest.mark.slow
def test_it_learns_beside_dsl_on_the_same_networks(tiny_people, tmp_path):
  config = _short(dsl.get_config("smoke"), tiny_people)
  config.methods = ("dsl", "sync_flip")
  config.pairs.crop = "detector"
  config.pairs.background = config.scene.background = "remove"
  config.pairs.gap_max = 12.0
  config.sync_flip.features = "time_variant"
  experiment = Experiment(config, tmp_path)
  assert set(experiment.train_batches().peek()) == {"temporal", "pair"}
  assert assembly.frames_per_example(config) == 6
  start = experiment.method.init(
    jax.random.fold_in(jax.random.key(0), 0), experiment.train_batches().peek()
  )
  assert set(start["params"]) == {"detector", "encoder", "decoder", "sync_flip"}
  assert set(experiment.method.objectives["combined"].parameters) == set(start["params"])
  assert experiment.train().step == 2
  first, *_, last = _metrics(experiment)
  for name in ("pixel", "dsl", "synchronisation", "flip"):
    assert np.isfinite(first[f"train/terms/{name}"])
    assert np.isfinite(last[f"validation/{name}"])
  assert 0 <= last["validation/box_iou"] <= 1
  total = first["train/totals/combined"]
  weights = experiment.loss_weights()
  assert weights["flip"] == weights["synchronisation"] == 1.0
  assert total > first["train/terms/synchronisation"] + first["train/terms/flip"]
  assert experiment.decodes
  assert experiment.detects
  found = experiment.make_embed(experiment.restore("last"))(
    next(iter(experiment.frame_batches("test")))
  )
  assert found["time_variant"].shape == (128, 128)
  assert "gain" in found
