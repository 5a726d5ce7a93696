"""Falls are drawn by the schedule, each example by its own number."""

import numpy as np
import pytest

from jaxpose.data.curriculum import check_schedule, choose_gravity, fraction_at

SCHEDULE = ((0, 1.0), (5, 0.25), (9, 0.0))


def test_a_piece_begins_at_its_step():
  assert [fraction_at(SCHEDULE, step) for step in (0, 4, 5, 8, 9, 1000)] == [1, 1, 0.25, 0.25, 0, 0]


def test_fractions_are_met_and_the_ends_are_exact():
  examples = np.arange(40_000)
  assert choose_gravity(SCHEDULE, 4, 3, examples).all()
  assert not choose_gravity(SCHEDULE, 9, 3, examples).any()
  chosen = choose_gravity(SCHEDULE, 5, 3, examples)
  assert abs(chosen.mean() - 0.25) < 0.01
  np.testing.assert_array_equal(choose_gravity(SCHEDULE, 6, 3, examples[700:800]), chosen[700:800])
  assert (choose_gravity(SCHEDULE, 5, 4, examples) != chosen).any()


@pytest.mark.parametrize(
  "wrong", [(), ((1, 0.5),), ((0, 0.5), (5, 0.1), (5, 0.2)), ((0, 1.5),), ((0, -0.1),)]
)
def test_wrong_schedules_are_errors(wrong):
  with pytest.raises(ValueError):
    check_schedule(wrong)
