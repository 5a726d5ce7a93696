import csv
import dataclasses

import made_up_study
import pytest

from jaxpose.evaluation.comparison import make_table
from jaxpose.reporting import comparison


def _table(outcomes=None):
  paper = {"dsl": {"all": 40.0}, "ae": {"all": 50.0}}
  return make_table(outcomes or made_up_study.whole(), reference="dsl", paper=paper)


def _cells(text, row):
  (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} ")]
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_row_has_its_numbers():
  text = comparison.markdown(_table(), reference="dsl", levelled=0.2)
  assert "on 60 test frames of 6 sequences" in text
  heads = _cells(text, "row")
  assert heads[2:6] == ["frames", "20 labels", "÷ dsl (paper)", "p"]
  assert heads[6] == "all (400) labels"
  everything = ["102.0 ± 2.8", "1.000", "", "0.75", "+0.0 %"]
  assert _cells(text, "dsl") == ["dsl", "2", "3,200", "120.0 ± 0.0", "1.000", "", *everything]
  everything = ["153.0", "1.500 (1.250)", "0.44", "0.50", "-10.0 %"]
  assert _cells(text, "ae") == ["ae", "1", "3,200", "180.0", "1.500", "0.031", *everything]
  assert _cells(text, "random")[2] == ""
  assert _cells(text, "random")[-5:] == ["153.0 ± 0.0", "1.500", "0.031", "", ""]
  assert "6 test sequences" in text


def test_rows_that_still_fall_are_marked():
  strict = comparison.markdown(_table(), reference="dsl", levelled=0.02)
  assert _cells(strict, "ae")[0] == "ae †"
  assert _cells(strict, "dsl")[0] == "dsl"
  assert _cells(strict, "mean pose")[0] == "mean pose"
  outcomes = made_up_study.whole()
  outcomes[3] = dataclasses.replace(outcomes[3], curve=([], []))
  unknown = comparison.markdown(_table(outcomes), reference="dsl", levelled=0.2)
  assert _cells(unknown, "supervised")[0] == "supervised †"


def test_the_csv_has_a_line_for_each_row_and_number_of_labels(tmp_path):
  outcomes = made_up_study.whole()
  paths = comparison.write_study(tmp_path, _table(), outcomes, reference="dsl", levelled=0.02)
  assert [p.name for p in paths] == ["table.md", "table.csv", "label_efficiency.png", "curves.png"]
  assert all(p.stat().st_size for p in paths)
  lines = {(r["row"], r["labels"]): r for r in csv.DictReader(paths[1].open(encoding="utf-8"))}
  assert len(lines) == 7
  ae = lines["ae", "400"]
  assert (float(ae["mean_mm"]), ae["std_mm"], float(ae["ratio"])) == (153, "", 1.5)
  assert (float(ae["paper_ratio"]), float(ae["p_value"])) == (1.25, pytest.approx(0.4375))
  assert (ae["test_sequences"], ae["levelled"], float(ae["median_iou"])) == ("6", "False", 0.5)
  assert float(lines["dsl", "400"]["std_mm"]) == pytest.approx(8**0.5)
  assert lines["random", "400"]["levelled"] == ""
  assert (ae["frames"], lines["random", "400"]["frames"]) == ("3200", "")


def test_a_study_that_has_nothing_yet_says_so(tmp_path):
  waiting = [made_up_study.outcome("dsl", 0, None, curve=([], []))]
  table = make_table(waiting, reference="dsl")
  paths = comparison.write_study(tmp_path, table, waiting, reference="dsl", levelled=0.02)
  assert [p.name for p in paths] == ["table.md", "table.csv"]
  assert "dsl, seed 0: not finished, last validated at step 0/100" in paths[0].read_text()


def test_twenty_rows_have_colours_of_their_own_and_baselines_are_grey():
  rows = [f"method{i}" for i in range(20)]
  found = comparison._colours([*rows, "random", "mean pose", *rows])
  assert len(set(found.values())) == 22
  assert (found["random"], found["mean pose"]) == ("black", "dimgrey")
