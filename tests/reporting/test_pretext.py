"""The tables of the pretext task, cell by cell, from made-up findings."""

from jaxpose.reporting import pretext


def point(gap, low, high, accuracy):
  return {"gap": gap, "low": low, "high": high, "accuracy": accuracy}


FOUND = {
  "accuracy": {
    "train": [point(2, 2, 3, 0.613), point(8, 6, 11, 0.95)],
    "test": [point(16, 12, 23, 0.875), point(2, 2, 3, 0.5)],
  },
  "split": "test",
  "called": "test",
  "other_camera": {"queries": 40, "mean": 3.24, "median": 1.0, "random": 21.04},
  "other_subjects": {
    "queries": 30,
    "frames": 900,
    "found": {"N-MPJPE/3 joints": 101.26, "P-MPJPE/3 joints": 80.0},
    "random": {"N-MPJPE/3 joints": 150.0, "P-MPJPE/3 joints": 99.94},
  },
}


def test_accuracies_of_a_gap_stand_in_a_row():
  table = pretext.pretext_tables(FOUND)[0]
  assert table.header == ["gap, frames", "accuracy, train", "accuracy, test"]
  # a gap that a split lacks is left empty
  assert table.rows == [
    ["2 (2 to 3)", "61.3%", "50.0%"],
    ["8 (6 to 11)", "95.0%", ""],
    ["16 (12 to 23)", "", "87.5%"],
  ]


def test_errors_stand_below_their_names_and_beside_those_of_random_frames():
  _, camera, people = pretext.pretext_tables(FOUND)
  assert [name.split(",")[0] for name in camera.header] == [
    "mean error",
    "median error",
    "mean error of a random frame",
  ]
  assert camera.rows == [["3.2", "1.0", "21.0"]]
  assert "Of 40 test frames" in camera.note
  assert people.header == ["frame", "N-MPJPE/3 joints", "P-MPJPE/3 joints"]
  assert people.rows == [["found", "101.3", "80.0"], ["random frame", "150.0", "99.9"]]
  assert "that of the other people among 900 training frames" in people.note


def test_only_what_was_found_is_shown():
  assert len(pretext.pretext_tables({"accuracy": FOUND["accuracy"]})) == 1
  without_poses = {**FOUND["other_subjects"], "found": {}, "random": {}}
  tables = pretext.pretext_tables(FOUND | {"other_subjects": without_poses})
  assert (tables[2].header, tables[2].rows) == (["frame"], [])
