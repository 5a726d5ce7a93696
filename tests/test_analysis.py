"""The analyses of a data set and of a run, and their files."""

import json

import numpy as np
import pytest
from launching import run_job
from tiny_data import make_index, open_tiny

from configs import dsl
from datasets.pose_video import prepare
from datasets.synthetic_people.builder import SyntheticPeople
from jaxpose import analysis
from jaxpose.data.index import open_dataset
from jaxpose.embeddings import save_embeddings
from jaxpose.experiment import Experiment


@pytest.fixture(scope="module")
def dives(tmp_path_factory):
  return prepare(SyntheticPeople, tmp_path_factory.mktemp("dives"), config="tiny_diving")


def test_pose_distances_of_a_data_set_by_hand(tmp_path):
  # The poses of a track are one pose, but for the root's x, which is the frame number: root-centred
  # the other two joints move by the frames in between, so the mean over three is 2/3 of them.
  found = analysis.analyse_distances(open_tiny(tmp_path), "frames")
  assert found["distance"][0] == 2  # every other row has a pose
  by_hand = [2 / 3 * distance for distance in found["distance"]]
  np.testing.assert_allclose(found["mpjpe_mm"], by_hand, rtol=1e-5)
  dataset = open_tiny(tmp_path)
  index = dataset.index
  ids = np.flatnonzero(index.labelled)
  track, frame = index.track_of(ids), index.frame[ids]
  pairs = [
    sum(
      (track[i] == track[j]) & (frame[j] - frame[i] == d)
      for i in range(len(ids))
      for j in range(len(ids))
    )
    for d in found["distance"]
  ]
  assert found["pairs"] == pairs
  poses, _ = dataset.read_poses(ids)
  poses = (poses - poses[:, :1]).astype(np.float64)
  within = sum(((poses[track == t] - poses[track == t].mean(0)) ** 2).sum() for t in set(track))
  share = 1 - within / ((poses - poses.mean(0)) ** 2).sum()
  np.testing.assert_allclose(found["constant_share"], share, rtol=1e-4)
  seconds = analysis.analyse_distances(dataset, "s")
  np.testing.assert_allclose(seconds["distance"][0], 2 / 25)
  np.testing.assert_allclose(seconds["near_max"] * 25, found["near_max"])
  with pytest.raises(ValueError, match="'hours'"):
    analysis.analyse_distances(dataset, "hours")


def test_boxes_of_falls_by_hand():
  # centres 1, 4, 9, 20, 30 px of a frame of 20: eq. 9 gives 16 and 49 px², here in half frames
  centre = np.array([1.0, 4, 9, 20, 30, 7, 7, 7, 7])
  box = np.column_stack([centre, centre - 2, centre, centre + 2])
  track = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
  frame = np.array([0, 2, 4, 6, 8, 0, 1, 2, 4])  # the last four are not at equal distances
  found = analysis.box_differences(box, track, frame, 20)
  assert found == pytest.approx({"quadruples": 2, "loss": 65 / 2 / 100, "median": 65 / 2 / 100})
  box[2] = np.nan
  with pytest.raises(ValueError, match="no four neighbouring"):
    analysis.box_differences(box, track, frame, 20)


def test_falls_are_as_far_away_as_the_people(dives):
  dataset = open_dataset(dives, "train")
  found = analysis.analyse_falls(dataset)
  ids = np.flatnonzero(dataset.index.falling)
  frames = dataset.read(ids, with_labels=True)
  depth = np.median(frames["pose3d_mm"][:, 0, 2])
  np.testing.assert_allclose(found["assumed"]["distance_mm"], depth, rtol=1e-6)
  first = found["exact"][0]
  assert (first["travel_deg"], first["pitch_deg"]) == (0, 0)
  gravity = frames["K"][0, 1, 1] * 9810 / depth
  np.testing.assert_allclose(first["acceleration_px_s2"], gravity, rtol=1e-5)
  assert first["drift"] < 1e-9
  half = analysis.analyse_falls(dataset, tuple(side // 2 for side in dataset.frame_size))
  np.testing.assert_allclose(half["exact"][0]["acceleration_px_s2"], gravity / 2, rtol=1e-5)
  # the box of a diver who turns and folds is far less regular than the fall of its centre
  assert found["boxes"]["loss"] > 100 * max(line["loss"] for line in found["exact"])


def test_whole_tracks_are_chosen_evenly():
  index = make_index([range(10)] * 5)
  chosen = np.ones(50, bool)
  chosen[:5] = False
  # 9 a track on the mean: two tracks of the five, the first and the last
  np.testing.assert_array_equal(
    analysis.whole_tracks(index, chosen, 20), [*range(5, 10), *range(40, 50)]
  )
  assert len(analysis.whole_tracks(index, chosen, 1)) == 5
  with pytest.raises(ValueError, match="no frame"):
    analysis.whole_tracks(index, ~np.ones(50, bool), 9)


def embeddings(subjects):
  """Looks that tell the subject, and poses that do not; the first frame is empty."""
  rng = np.random.default_rng(0)
  subject = np.repeat(np.arange(subjects), 30)
  count = len(subject)
  present = np.ones(count, int)
  present[0] = 0
  return {
    "time_variant": rng.normal(size=(count, 4)).astype(np.float32),
    "time_invariant": (rng.normal(size=(count, 2)) + 40 * subject[:, None]).astype(np.float32),
    "subject": subject,
    "present": present,
    "presence": np.ones(count, np.float32),
  }


def test_looks_tell_the_subject_and_poses_do_not():
  found = analysis.analyse_clusters(embeddings(3), "test", 0)
  looks, poses = found["time_invariant"], found["time_variant"]
  assert (looks["accuracy"], looks["subjects"], looks["frames"]) == (1.0, 3, 89)
  assert poses["accuracy"] < 0.6
  assert "one subject only" in analysis.analyse_clusters(embeddings(1), "test", 0)["left_out"]
  whole = embeddings(2) | {"time_invariant": np.zeros((60, 0), np.float32)}
  assert "time_invariant" not in analysis.analyse_clusters(whole, "test", 0)


def test_a_run_is_analysed_from_the_command_line(tmp_path, dives):
  config = dsl.get_config("smoke")
  config.data.directory = str(dives)
  Experiment(config, tmp_path).save_config()
  arrays = embeddings(3) | {"weights": np.array("0123abc")}
  save_embeddings(tmp_path / "embeddings" / "test.npz", arrays)
  done = run_job("analyse", f"--workdir={tmp_path}")
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "analysis" / "analysis.json").read_text())
  assert set(found) == {"weights", "disentanglement", "pose_distance", "gravity"}
  assert found["weights"] == "0123abc"
  near, far = (found["pose_distance"][name] for name in ("near_max", "far_min"))
  flags = f"--config.sampling.unit=frames --config.sampling.near_max={near}"
  assert f"suggested: {flags} --config.sampling.far_min={far}\n" in done.stdout
  assert 0 < near < far
  text = (tmp_path / "analysis" / "analysis.md").read_text()
  assert text in done.stdout
  for word in ("| time-invariant | 100.0% |", "MPJPE/17 joints, mm", "| 0°, 0° |", "true boxes |"):
    assert word in text
  assert (tmp_path / "analysis" / "pose_distance.png").read_bytes()[1:4] == b"PNG"


def test_data_are_analysed_without_a_run(tmp_path, tiny_people):
  dataset = open_dataset(tiny_people, "train")
  found = analysis.analyse_data(dataset, tmp_path, unit="frames", progress=print)
  assert "disentanglement" not in found
  assert found["pose_distance"]["num_joints"] == 17
  assert json.loads((tmp_path / "analysis.json").read_text()) == found


@pytest.mark.parametrize(
  ("arguments", "word"),
  [
    ((), "--data=DIR"),
    (("--workdir=a", "--data=b"), "--data=DIR"),
    (("--workdir=a", "--unit=s"), "take out --unit"),
    (("--data=nowhere",), "nowhere"),
  ],
)
def test_requests_that_cannot_be_are_said_in_a_line(arguments, word):
  done = run_job("analyse", *arguments)
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert word in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1
