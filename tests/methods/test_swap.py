import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.methods import swap
from jaxpose.shapes import FAR, INTERMEDIATE, NEAR, REFERENCE

KEYS = jax.random.split(jax.random.key(3), 2000)


def test_another_never_keeps_its_own_and_draws_all_nine_derangements_alike():
  sources = np.asarray(swap.sample_appearance_sources(KEYS, swap="another", probability=0.0))
  assert (sources != np.arange(4)).all()
  assert (np.sort(sources, axis=1) == np.arange(4)).all()
  _, counts = np.unique(sources, axis=0, return_counts=True)
  # 2000 / 9 = 222 with a standard deviation of 14
  assert len(counts) == 9
  assert counts.min() > 222 - 70


def test_none_keeps_its_own():
  sources = swap.sample_appearance_sources(KEYS[:5], swap="none", probability=1.0)
  np.testing.assert_array_equal(sources, np.tile(np.arange(4), (5, 1)))


def test_pairs_exchange_only_across_the_two_groups():
  sources = np.asarray(swap.sample_appearance_sources(KEYS, swap="pairs", probability=1.0))
  close, away = {REFERENCE, NEAR}, {FAR, INTERMEDIATE}
  for row in np.unique(sources, axis=0):
    assert {row[REFERENCE], row[NEAR]} == away
    assert {row[FAR], row[INTERMEDIATE]} == close
    np.testing.assert_array_equal(row[row], np.arange(4))  # an exchange is its own inverse
  assert len(np.unique(sources, axis=0)) == 2


def test_pairs_exchange_with_the_probability_asked_for():
  sources = np.asarray(swap.sample_appearance_sources(KEYS, swap="pairs", probability=0.25))
  moved = (sources[:, REFERENCE] != REFERENCE).mean()
  assert abs(moved - 0.25) < 0.04


def test_take_sources_of_an_asymmetric_sample():
  vectors = jnp.arange(8.0).reshape(1, 4, 2)
  taken = swap.take_sources(vectors, jnp.array([[2, 0, 3, 3]]))
  np.testing.assert_array_equal(taken[0], [[4, 5], [0, 1], [6, 7], [6, 7]])


def test_unknown_swap():
  with pytest.raises(ValueError, match="another"):
    swap.sample_appearance_sources(KEYS, swap="p1", probability=0.5)
