"""Which examples of a batch are falls, by step: schedules that are constant piece by piece."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxpose.data.clock import uniform

_GRAVITY = 20  # stream of random numbers


def check_schedule(schedule: Sequence[tuple[int, float]]) -> None:
  """Checks a schedule of (first step, fraction).

  Raises:
    ValueError: it does not begin at step 0, is not in order, or a fraction is not in 0..1.
  """
  steps = [step for step, _ in schedule]
  if not steps or steps[0] != 0 or any(b <= a for a, b in itertools.pairwise(steps)):
    raise ValueError(f"a schedule must begin at step 0 and its steps increase, not {schedule}")
  if not all(0 <= fraction <= 1 for _, fraction in schedule):
    raise ValueError(f"fractions of a schedule lie between 0 and 1, not {schedule}")


def fraction_at(schedule: Sequence[tuple[int, float]], step: int) -> float:
  """The fraction of the last entry that begins at `step` or before."""
  return [fraction for first, fraction in schedule if first <= step][-1]


def choose_gravity(
  schedule: Sequence[tuple[int, float]], step: int, seed: int, examples: Int[np.ndarray, " B"]
) -> Bool[np.ndarray, " B"]:
  """Which examples are to be equidistant quadruples of a fall (P1's two stages for diving).

  Each is one with the probability of the step, by its own number: the same however a batch is
  split. Probability 0 and 1 are exact.
  """
  return uniform(seed, _GRAVITY, examples) < fraction_at(schedule, step)
