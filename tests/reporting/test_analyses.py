"""The tables of analyses, cell by cell, from made-up findings."""

from jaxpose.reporting import analyses

CLUSTERS = {
  "split": "test",
  "time_invariant": {"accuracy": 0.9123, "chance": 0.4011, "subjects": 3, "frames": 89},
  "time_variant": {"accuracy": 0.515, "chance": 0.402, "subjects": 3, "frames": 88},
}
DISTANCES = {
  "unit": "s",
  "frames": 60,
  "num_joints": 17,
  "distance": [0.04, 0.4, 2.0],
  "mpjpe_mm": [12.34, 90.0, 126.0],
  "pairs": [59, 50, 7],
  "constant_share": 0.579,
  "plateau_mm": 120.0,
  "near_max": 0.08,
  "far_min": 1.6,
}
FALLS = {
  "exact": [{"travel_deg": 30.0, "pitch_deg": 7.5, "acceleration_px_s2": 981.26, "drift": 0.0423}],
  "boxes": {"quadruples": 41, "loss": 0.00321},
  "assumed": {
    "distance_mm": 3400.0,
    "duration_s": 1.0,
    "speed_mm_s": 800.0,
    "focal_px": 512.4,
    "fps": 25.0,
  },
}
FALLS["exact"][0]["loss"] = 4.56e-6


def test_clusters_are_told_as_percentages_beside_chance():
  (table,) = analyses.analysis_tables({"disentanglement": CLUSTERS})
  assert table.header[1:] == ["KMeans subject accuracy", "chance", "subjects", "frames"]
  assert table.rows == [
    ["time-variant", "51.5%", "40.2%", 3, 88],
    ["time-invariant", "91.2%", "40.1%", 3, 89],
  ]
  assert "of test frames" in table.note


def test_what_is_left_out_is_said_in_place_of_rows():
  found = {"split": "test", "left_out": "one subject only"}
  (table,) = analyses.analysis_tables({"disentanglement": found})
  assert (table.rows, table.note) == ([], "one subject only")
  text = analyses.markdown([table])
  assert "one subject only" in text
  assert "|" not in text


def test_pose_distances_are_told_as_shares_of_the_plateau():
  (table,) = analyses.analysis_tables({"pose_distance": DISTANCES})
  assert table.header == ["distance, s", "MPJPE/17 joints, mm", "of the plateau", "pairs"]
  # 12.34, 90 and 126 of 120 mm
  assert table.rows == [
    ["0.04", "12.3", "10%", 59],
    ["0.4", "90.0", "75%", 50],
    ["2", "126.0", "105%", 7],
  ]
  flags = "--config.sampling.unit=s --config.sampling.near_max=0.08 --config.sampling.far_min=1.6"
  assert f"{flags}. 58% of the variance of poses lies between tracks" in table.note
  assert analyses.sampling_flags(DISTANCES) == flags
  older = {name: value for name, value in DISTANCES.items() if name != "constant_share"}
  (table_of_older,) = analyses.analysis_tables({"pose_distance": older})
  assert table_of_older.note.endswith(flags)
  assert "60 frames" in table.note
  assert "120.0 mm" in table.note


def test_falls_are_told_by_their_angles_and_true_boxes_below():
  (table,) = analyses.analysis_tables({"gravity": FALLS})
  assert table.rows == [
    ["30°, 7.5°", "981.3", "4.2%", "4.56e-06"],
    ["centres of the true boxes", "–", "–", "3.21e-03"],
  ]
  for word in ("3.4 m away for 1 s", "at 0.8 m/s, f = 512 px, 25 frames/s", "over 41 quadruples"):
    assert word in table.note


def test_tables_stand_in_one_order_whatever_was_found_first():
  sync = {"left_out": "of another checkpoint"}
  found = {"synchronisation": sync, "gravity": FALLS, "pose_distance": DISTANCES}
  tables = analyses.analysis_tables(found | {"disentanglement": CLUSTERS})
  words = ("Who is it", "Pose distance", "How constant", "Are two views")
  assert all(t.title.startswith(word) for t, word in zip(tables, words, strict=True))


def test_markdown_has_a_row_a_line():
  tables = analyses.analysis_tables({"disentanglement": CLUSTERS})
  assert analyses.markdown(tables).splitlines() == [
    "# Analyses",
    "",
    "## Who is it? Clusters against subjects",
    "",
    tables[0].note,
    "",
    "| vectors | KMeans subject accuracy | chance | subjects | frames |",
    "|---|---:|---:|---:|---:|",
    "| time-variant | 51.5% | 40.2% | 3 | 88 |",
    "| time-invariant | 91.2% | 40.1% | 3 | 89 |",
  ]
