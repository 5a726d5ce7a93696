import jax.numpy as jnp
import numpy as np

from jaxpose.losses.sync_flip import flip, synchronisation

# a synchronised, an unsynchronised and a flipped pair
SYNCHRONISED, FLIPPED = jnp.array([True, False, True]), jnp.array([False, False, True])
F1, F2 = np.array([0.9, 0.3, 0.6]), np.array([0.8, 0.7, 0.4])


def test_the_terms_add_up_to_equation_1():
  logit = np.log(F1 / (1 - F1))
  flipped = -np.log(F2 / (1 - F2))  # of being flipped: F2 is the probability of not being so
  first = synchronisation(jnp.asarray(logit, jnp.float32), SYNCHRONISED, FLIPPED)
  second = flip(jnp.asarray(flipped, jnp.float32), SYNCHRONISED, FLIPPED)
  np.testing.assert_array_equal(first[1], [1, 1, 0])
  np.testing.assert_array_equal(second[1], [1, 0, 1])
  total = sum(float(jnp.sum(value * weight)) for value, weight in (first, second))
  expected = -(np.log(F1[0] * F2[0]) + np.log(1 - F1[1]) + np.log(1 - F2[2]))
  np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_wrong_answers_that_are_sure_stay_finite():
  logits = jnp.array([-300.0, 300.0, 0.0])
  value, _ = synchronisation(logits, SYNCHRONISED, FLIPPED)
  np.testing.assert_allclose(value[:2], [300, 300])
