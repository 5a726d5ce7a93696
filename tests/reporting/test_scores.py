import json

import made_up_run
import numpy as np
import pytest

from jaxpose.evaluation.probe_records import ProbeRecord, ProbeResults
from jaxpose.reporting import scores
from jaxpose.reporting.rendered import true_boxes

SIZE = made_up_run.SIZE


@pytest.fixture(scope="module")
def run():
  dataset = made_up_run.Dataset()
  return dataset, made_up_run.embeddings(dataset)


def test_the_box_table_has_the_found_boxes_and_three_baselines(run):
  dataset, arrays = run
  box = np.array([0.5, 0.5, 0.0, 0.0])
  table = scores.gather_boxes(dataset, arrays, split="test", image_size=SIZE, untrained=box)
  rows = {row[0]: row[1:] for row in table.rows}
  assert rows["found by the detector"] == ["1.00", "1.00", "100%"]
  # blurred and closed, the difference is 1 px larger on every side than the person's 8 × 20 px; the
  # true boxes of this made-up run go through the centres of the outer px
  assert rows["background difference"][0] == f"{7 * 19 / (10 * 22):.2f}"
  # people 8 × 20 px at 5 places 5 px apart: no constant box overlaps more than three of them
  assert float(rows["best constant box"][1]) < 0.5
  # the untrained box spans 11.75..35.25 × 7.75..23.25; the median person is at 19..26 × 6..25, with
  # sides of 7 and 19 px: intersection 7 · 15.5, union 23.5 · 15.5 + 7 · 3.5
  assert rows["untrained detector"][0] == f"{7 * 15.5 / (23.5 * 15.5 + 7 * 3.5):.2f}"
  assert "30 frames" in table.note
  without = {k: v for k, v in arrays.items() if k != "box_true_px"}
  assert scores.gather_boxes(dataset, without, split="test", image_size=SIZE, untrained=box) is None
  # joints in two corners of the box: the box around them is the box
  corners = arrays["box_true_px"].reshape(-1, 2, 2)[
    :, np.arange(arrays["joint_valid"].shape[1]) % 2
  ]
  joints = without | {"pose2d_px": corners}
  table = scores.gather_boxes(dataset, joints, split="test", image_size=SIZE, untrained=box)
  assert table.rows[0] == ["found by the detector", "1.00", "1.00", "100%"]
  assert "around the joints" in table.note


def test_boxes_around_known_joints_stand_for_boxes_that_nobody_recorded():
  pose = np.array(
    [
      *([[3.0, 9], [8, 2], [np.nan, 99]], [[np.nan, 1], [2, 2], [3, np.nan]]),
      [[1, 5], [np.nan, 2], [4, 6]],
    ]
  )
  arrays = {
    "frame": np.arange(3),
    "box_true_px": np.full((3, 4), np.nan),
    "pose2d_px": pose,
  }
  found, around_joints = true_boxes(arrays)
  assert around_joints
  np.testing.assert_array_equal(found, [[3, 2, 8, 9], [np.nan] * 4, [1, 5, 4, 6]])
  arrays["box_true_px"][1] = [0, 0, 5, 5]
  found, around_joints = true_boxes(arrays)
  assert not around_joints
  np.testing.assert_array_equal(found, arrays["box_true_px"])


def test_timelines_are_in_order_of_time_and_mixed_tracks_come_first(run):
  dataset, arrays = run
  presence = arrays["presence"].copy()
  presence[:24] = 1.0  # tracks 0 to 3 are never empty
  order = np.random.default_rng(2).permutation(36)
  shuffled = {
    k: v[order] for k, v in {**arrays, "presence": presence}.items() if np.ndim(v) and len(v) == 36
  }
  lines = scores.gather_timelines(
    dataset, shuffled, split="test", image_size=SIZE, limit=3, thumbnails=2, seed=0
  )
  assert [line.title for line in lines] == ["test: c · cam0", "test: c · cam1", "test: a · cam0"]
  np.testing.assert_array_equal(lines[0].presence, [0, 1, 1, 1, 1, 1])
  np.testing.assert_array_equal(lines[0].known, [0, 1, 1, 1, 1, 1])
  assert [caption for caption, _ in lines[0].seen_empty] == ["frame 10"]
  assert len(lines[0].seen_occupied) == 2
  assert lines[2].seen_empty == lines[2].seen_occupied == []  # nothing to compare
  assert (lines[0].seen_empty[0][1] == dataset.background(0)).all()


def test_poses_are_predicted_and_centred_on_the_root(run):
  dataset, arrays = run
  views = scores.gather_poses(
    dataset, arrays, made_up_run.regressor(), image_size=SIZE, count=2, worst=1, seed=0
  )
  assert len(views) == 3
  assert views[2].title.startswith("worst: ")
  # the true left hand is 10 · id + 200 mm to the right of the hip, farthest off in the last frame
  assert views[2].title == "worst: c · cam1 · frame 20"
  np.testing.assert_allclose(views[2].true_mm[1], [10 * 35 + 200, -300, 50])
  # predicted: the box's left, top and right edges, 29, 6 and 36 px
  np.testing.assert_allclose(views[2].predicted_mm[1], [29, 6, 36])
  error = 2 / 3 * np.linalg.norm([550 - 29, -306, 14])
  assert f"MPJPE {error:.0f} mm" in views[2].notes


def test_poses_without_labels_are_shown_alone(run):
  dataset, arrays = run
  bare = {k: v for k, v in arrays.items() if k not in ("pose3d_mm", "joint_valid", "present")}
  views = scores.gather_poses(
    dataset, bare, made_up_run.regressor(), image_size=SIZE, count=2, worst=1, seed=0
  )
  assert len(views) == 2
  assert all(np.isnan(view.true_mm).all() and view.notes == "" for view in views)
  assert not any("frame 10" in view.title for view in views)  # nobody there


def test_probe_tables_have_mean_and_spread_over_seeds():
  names = [f"{m}/17 joints" for m in ("MPJPE", "N-MPJPE", "P-MPJPE")]
  records = [
    ProbeRecord("trained", 50, 0, dict.fromkeys(names, 100.0), 1.0),
    ProbeRecord("trained", 50, 1, dict.fromkeys(names, 104.0), 1.0),
    ProbeRecord("mean pose", 50, 0, dict.fromkeys(names, 150.0), 1.0),
    ProbeRecord("trained", 200, 0, dict.fromkeys(names, 90.0), 1.0),
  ]
  tables = scores.probe_tables(
    ProbeResults(records, ["mean pose", "trained"], [50, 200], 17, {}, {})
  )
  assert [table.title for table in tables] == [f"{name}, mm" for name in names]
  # two seeds, 100 and 104: mean 102, standard deviation √(2² + 2²)
  assert tables[1].rows == [["50", "150.0", "102.0 ± 2.8"], ["200", "–", "90.0"]]
  assert scores.probe_tables(ProbeResults([], ["a"], [1], 17, {}, {})) == []


def test_curves_survive_a_killed_run(tmp_path):
  path = tmp_path / "metrics.jsonl"
  rows = [
    {"step": 10, "train/loss": 3.0, "note": "words", "flag": True},
    {"step": 20, "train/loss": 2.0},
    {"step": 20, "train/loss": 1.5, "validation/pixel": 0.1},  # after a resume
    ["no", "row"],
  ]
  text = "\n".join(json.dumps(row) for row in rows)
  path.write_text(text + '\n{"step": 30, "train/lo')
  assert scores.load_curves(path) == {
    "train/loss": ([10.0, 20.0], [3.0, 1.5]),
    "validation/pixel": ([20.0], [0.1]),
  }
  assert scores.load_curves(tmp_path / "none.jsonl") == {}
