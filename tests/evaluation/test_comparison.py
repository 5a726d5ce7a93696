import dataclasses
import itertools
import math
import warnings

import made_up_study
import pytest
from made_up_study import outcome, record, results

from jaxpose.evaluation import comparison
from jaxpose.evaluation.comparison import make_table


def _lines(outcomes, **options):
  table = make_table(outcomes, reference="dsl", **options)
  return table, {line.row: line for line in table.lines}


def test_means_deviations_and_ratios_by_hand():
  table, lines = _lines(made_up_study.whole())
  assert table.columns == [20, "all"]
  assert table.metric == made_up_study.NAME
  assert table.counts == {"labels": 400, "frames": 60, "sequences": 6}
  assert list(lines) == ["dsl", "ae", "supervised", "random", "mean pose"]
  dsl = lines["dsl"].cells["all"]
  assert dsl.values == (100.0, 104.0)  # the first is the mean of its probe seeds, 99 and 101
  assert dsl.mean == 102
  assert dsl.deviation == pytest.approx(math.sqrt(8))  # ((−2)² + 2²) / (2 − 1)
  assert (dsl.ratio, dsl.p_value) == (1.0, None)
  ae = lines["ae"].cells
  assert (ae["all"].ratio, ae[20].ratio) == (153 / 102, 180 / 120)
  assert ae["all"].deviation is None
  assert lines["supervised"].cells["all"].ratio == 0.5
  assert 20 not in lines["supervised"].cells
  assert lines["random"].cells["all"].ratio == 1.5
  assert lines["mean pose"].cells["all"].ratio == 2
  assert lines["mean pose"].cells["all"].deviation == 0
  assert (lines["dsl"].seeds, lines["random"].seeds) == ((0, 3), (0, 3))
  assert (lines["dsl"].trained, lines["random"].trained) == (True, False)
  assert (lines["dsl"].iou, lines["supervised"].iou) == ((0.625, 0.875), ())


def test_the_papers_ratios_stand_beside_those_of_rows_that_it_has():
  paper = {"dsl": {100: 50.0, "all": 40.0}, "ae": {20: 3.0, "all": 60.0}, "other": {"all": 1.0}}
  _, lines = _lines(made_up_study.whole(), paper=paper)
  assert lines["ae"].cells["all"].paper == 1.5
  assert lines["ae"].cells[20].paper is None  # the paper's reference has no 20 labels
  assert lines["dsl"].cells["all"].paper is None
  assert lines["random"].cells["all"].paper is None


def test_the_paired_test_by_counting_signs():
  # Of 6 ranks every one of the 2^6 signs is as likely. All of one sign: 2 of 64.
  assert comparison.paired_p_value([2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 1, 1]) == pytest.approx(2 / 64)
  sums = [
    sum(r for r, s in zip(range(1, 7), signs) if s) for signs in itertools.product((0, 1), repeat=6)
  ]
  share = sum(total <= 6 for total in sums) / 64  # the one fall has rank 6
  _, lines = _lines(made_up_study.whole())
  cell = lines["ae"].cells["all"]
  assert cell.p_value == pytest.approx(2 * share)
  assert cell.sequences == 6
  assert lines["random"].cells["all"].p_value == pytest.approx(2 / 64)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert comparison.paired_p_value([1.0, 2.0], [1.0, 2.0]) == 1


def test_errors_of_sequences_are_means_over_probe_seeds_then_trainings():
  a = [record("trained", 9, 0, 1, {"a": 1.0, "b": 9.0}), record("trained", 9, 1, 1, {"a": 5.0})]
  b = [record("trained", 9, 0, 1, {"a": 11.0, "b": 2.0})]
  trainings = [(results(a), a), (results(b), b)]
  assert comparison.sequence_means(trainings) == {"a": 7.0}  # ((1 + 5) / 2 + 11) / 2


def test_other_test_frames_are_compared_but_not_tested():
  outcomes = made_up_study.whole()
  outcomes[0].results.settings["test_sequences"]["a"] -= 1
  _, lines = _lines(outcomes)
  assert lines["ae"].cells["all"].ratio == 1.5
  assert lines["ae"].cells["all"].p_value is None


def test_records_without_errors_of_sequences_are_not_tested():
  outcomes = made_up_study.whole()
  found = outcomes[0].results
  found.records[:] = [dataclasses.replace(r, sequences_mm={}) for r in found.records]
  _, lines = _lines(outcomes)
  assert lines["ae"].cells["all"].ratio == 1.5
  assert lines["ae"].cells["all"].p_value is None


@pytest.mark.parametrize(
  ("change", "word"),
  [
    ({"fit": {**made_up_study.FIT, "steps": 8}}, "steps 8"),
    ({"skeleton": "four"}, "skeleton four"),
    ({"subjects": ["S1"]}, "subjects ['S1'], that of dsl []"),
    ({"labels": "a table's"}, "labels a table's"),
  ],
)
def test_a_probe_of_another_kind_is_left_out_and_named(change, word):
  outcomes = made_up_study.whole()
  for other in outcomes[:-1]:  # the last is a supervised network
    other.results.settings.update({"subjects": [], "labels": "all"})
  outcomes[0].results.settings.update(change)
  table, lines = _lines(outcomes)
  assert "ae" not in lines
  (problem,) = table.problems
  assert problem.startswith("ae, seed 0: left out")
  assert word in problem


def test_a_probe_of_fewer_labels_is_not_taken_for_one_of_all():
  outcomes = made_up_study.whole()
  outcomes[0].results.frames["train_labelled"] = 20  # of all that it had
  table, lines = _lines(outcomes)
  assert "ae" not in lines
  (problem,) = table.problems
  assert "its probe had labelled frames 20, that of dsl 400" in problem
  outcomes[-1].results.frames["train_labelled"] = 500  # what it learns from may be of more data
  assert "supervised" in _lines(outcomes)[1]


def test_a_probe_of_another_feature_is_compared_and_named():
  outcomes = made_up_study.whole()
  for made in outcomes:
    made.results.settings["feature"] = "time_variant"
  table, before = _lines(outcomes)
  assert table.problems == []
  outcomes[0].results.settings["feature"] = "both"
  table, lines = _lines(outcomes)
  assert lines["ae"].cells == before["ae"].cells
  (problem,) = table.problems
  assert problem == "ae, seed 0: its probe reads both, that of dsl time_variant"
  outcomes[0] = dataclasses.replace(outcomes[0], feature="both")
  assert _lines(outcomes)[0] == table
  outcomes[0] = dataclasses.replace(outcomes[0], feature="time_variant")
  table, lines = _lines(outcomes)
  assert "ae" not in lines
  (problem,) = table.problems
  assert problem == "ae, seed 0: left out, its probe reads both, its configuration time_variant"


def test_what_has_not_finished_is_named():
  outcomes = made_up_study.whole()
  outcomes[0] = dataclasses.replace(outcomes[0], results=None, curve=([40.0], [1.0]))
  table, lines = _lines(outcomes)
  assert "ae" not in lines
  assert table.problems == ["ae, seed 0: not finished, last validated at step 40/100"]
  table, lines = _lines([outcomes[0]])
  assert not lines
  assert table.problems[1] == "no run has finished"


def test_without_the_reference_there_are_no_ratios():
  outcomes = [o for o in made_up_study.whole() if o.row == "ae"]
  _, lines = _lines(outcomes)
  assert list(lines) == ["ae"]
  cell = lines["ae"].cells["all"]
  assert (cell.mean, cell.ratio, cell.p_value) == (153, None, None)


def test_change_over_the_last_fifth_by_hand():
  change = comparison.relative_change
  # 2 − s / 100 falls from 1.2 at 80 to 1.0 at 100, whatever there was before
  assert change([20, 80, 90, 100], [77.0, 1.2, 1.1, 1.0], 100) == pytest.approx(-0.2 / 1.2)
  # no point at 80: the line through the last before, at 60, and the end
  assert change([20, 60, 100], [77.0, 1.4, 1.0], 100) == pytest.approx(-0.2 / 1.2)
  # least squares of (80, 4), (90, 1), (100, 4): level at 3
  assert change([80, 90, 100], [4.0, 1.0, 4.0], 100) == pytest.approx(0, abs=1e-9)
  assert change([80, 100], [-1.0, -0.5], 100) == pytest.approx(0.5)  # of its size: a rise
  assert change([80, 90, 100], [1.2, math.nan, 1.0], 100) == pytest.approx(-0.2 / 1.2)
  assert change([80, 90], [1.2, 1.1], 100) is None  # not there yet
  assert change([100], [1.0], 100) is None
  assert change([], [], 100) is None


def test_a_row_falls_as_the_training_that_falls_most():
  flat, falling = ([80.0, 100.0], [1.0, 1.0]), ([80.0, 100.0], [1.0, 0.5])
  found = [outcome("dsl", seed, None, curve=curve) for seed, curve in enumerate((flat, falling))]
  assert comparison.worst_change(found) == pytest.approx(-0.5)
  short = outcome("dsl", 2, None, curve=([80.0], [1.0]))
  assert comparison.worst_change([*found, short]) is None
  _, lines = _lines(made_up_study.whole())
  assert lines["ae"].falls == pytest.approx(-0.1)
  assert lines["random"].falls is None
