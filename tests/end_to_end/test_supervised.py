"""The supervised floor from the command line, on the smallest configuration."""

import json
import shutil

import cv2
import numpy as np
import pytest
from launching import run_job

from jaxpose.data.subjects import subject_boxes
from jaxpose.evaluation.probe_records import load_reference
from jaxpose.experiment import Experiment
from jaxpose.methods.pose_target import compute_label_statistics


@pytest.fixture(scope="module")
def run(tiny_people, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("floor")
  done = run_job(
    "run",
    "--config=configs/supervised.py:smoke",
    f"--workdir={workdir}",
    f"--config.data.directory={tiny_people}",
    "--config.training.steps=3",
    "--config.training.log_every=1",
    "--config.training.validate_every=3",
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return workdir, done


def test_it_trains_and_is_scored_without_export_or_report(run):
  workdir, done = run
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
  assert [line["step"] for line in lines] == [1, 2, 3, 3]
  assert lines[0]["train/terms/pose"] > 0
  assert lines[0]["train/summaries/labelled"] > 0.5
  assert "validation/pose" in lines[-1]
  for word in ("export: left out", "report: left out", str(workdir / "probe" / "reference.json")):
    assert word in done.stdout
  assert not (workdir / "embeddings").exists()
  assert not (workdir / "report.html").exists()


def test_its_reference_counts_the_labels_of_the_data(run):
  workdir, _ = run
  experiment = Experiment.from_workdir(workdir)
  reference = load_reference(workdir / "probe" / "reference.json")
  train, test = (experiment.dataset(split).index for split in ("train", "test"))
  assert reference.record.row == "supervised"
  assert reference.record.labels == (train.labelled & (train.present != 0)).sum() > 0
  assert reference.test_frames == (test.labelled & (test.present != 0)).sum() > 0
  assert reference.num_joints == 17
  assert 0 < reference.record.metrics["P-MPJPE/17 joints"] < 2000


def test_it_predicts_from_the_true_box_only(run):
  experiment = Experiment.from_workdir(run[0])
  embed = experiment.make_embed(experiment.restore("last"))
  batch = dict(next(iter(experiment.frame_batches("test"))))
  first = embed(batch)
  assert first["pose_mm"].shape == (128, 17, 3)
  batch["background"] = 255 - batch["background"]
  np.testing.assert_allclose(embed(batch)["pose_mm"], first["pose_mm"])
  batch["box_px"] = batch["box_px"] + 9
  assert np.nanmax(np.abs(embed(batch)["pose_mm"] - first["pose_mm"])) > 1e-3


def test_label_statistics_are_those_of_the_training_split(run):
  experiment = Experiment.from_workdir(run[0])
  dataset = experiment.dataset("train")
  ids = np.flatnonzero(dataset.index.labelled & (dataset.index.present != 0))
  labels = dataset.read(ids, with_labels=True)
  whole = compute_label_statistics(
    labels["pose3d_mm"], labels["joint_valid"], (0,), range(17), normalise="pose"
  )
  np.testing.assert_allclose(experiment.labels.statistics.mean_mm, whole.mean_mm, rtol=1e-5)
  assert experiment.labels.statistics.scale_mm == pytest.approx(whole.scale_mm)
  kept = experiment.restore("last")["frozen"]["pose"]
  np.testing.assert_allclose(kept["mean_mm"], whole.mean_mm, rtol=1e-5)


@pytest.mark.parametrize("job", ["export", "report"])
def test_jobs_that_need_a_scene_say_so(run, job):
  done = run_job(job, f"--workdir={run[0]}")
  assert done.returncode == 1
  assert "supervised network" in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


def test_it_predicts_new_video_without_the_data_it_learned_from(run, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(run[0], workdir)
  values = json.loads((workdir / "config.json").read_text())
  values["data"]["directory"] = str(tmp_path / "gone")
  (workdir / "config.json").write_text(json.dumps(values))
  experiment = Experiment.from_workdir(run[0])
  dataset = experiment.dataset("test")
  frames = dataset.read(np.arange(12), image_size=experiment.image_size)
  image, background = frames["image"], frames["background"]
  writer = cv2.VideoWriter(
    str(tmp_path / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, image.shape[2:0:-1]
  )
  for frame in (*image, background[0]):  # in the end nobody is there
    writer.write(np.ascontiguousarray(frame[..., ::-1]))
  writer.release()
  cv2.imwrite(str(tmp_path / "empty.png"), background[0][..., ::-1])
  video, out = tmp_path / "walk.avi", tmp_path / "poses"
  flags = (f"--input={video}", f"--out={out}", f"--background={tmp_path / 'empty.png'}")
  done = run_job("predict", f"--workdir={workdir}", *flags)
  assert done.returncode == 0, done.stderr
  with np.load(out / "walk_poses.npz") as found:
    poses, presence = found["pose3d_mm"], found["presence"]
    assert [*found["joint_names"]] == [*dataset.skeleton.joints]
  np.testing.assert_array_equal(presence, [1] * 12 + [0])
  assert np.isnan(poses[12]).all()
  np.testing.assert_allclose(poses[:12, 0], 0, atol=1e-3)  # the root
  # as in scoring, but for the box, which is that of what differs, and the film's compression
  boxes = subject_boxes(frames, "difference")
  embed = experiment.make_embed(experiment.restore("best"))
  expected = embed({**frames, "box_px": boxes})["pose_mm"]
  np.testing.assert_allclose(poses[:12], expected, atol=15)
  assert (out / "walk_overlay.mp4").stat().st_size > 1000
  done = run_job("predict", f"--workdir={workdir}", *flags, "--regressor=any.npz")
  assert done.returncode == 1
  assert "give it no regressor" in done.stderr


def test_its_probe_is_its_score(run):
  before = load_reference(run[0] / "probe" / "reference.json")
  done = run_job("probe", f"--workdir={run[0]}")
  assert done.returncode == 0, done.stderr
  assert "| supervised |" in done.stdout
  again = load_reference(run[0] / "probe" / "reference.json")
  assert again.record.metrics == pytest.approx(before.record.metrics)
