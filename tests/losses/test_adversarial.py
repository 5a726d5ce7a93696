import jax.numpy as jnp
import numpy as np

from jaxpose.losses.adversarial import binary_cross_entropy, feature_distance


def test_cross_entropy_of_certain_and_open_answers():
  logits = jnp.array([0.0, 2.0, -3.0])
  right = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  np.testing.assert_allclose(binary_cross_entropy(logits, 1.0), -np.log(right), rtol=1e-5)
  np.testing.assert_allclose(binary_cross_entropy(logits, 0.0), -np.log(1 - right), rtol=1e-5)
  half = -0.5 * np.log(right) - 0.5 * np.log(1 - right)
  np.testing.assert_allclose(binary_cross_entropy(logits, 0.5), half, rtol=1e-5)
  assert np.argmin(half) == 0  # nobody can be less sure than at 0


def test_cross_entropy_stays_finite_for_a_sure_answer_that_is_wrong():
  np.testing.assert_allclose(binary_cross_entropy(jnp.array([200.0]), 0.0), [200.0])


def test_feature_distance_is_the_mean_square():
  a, b = jnp.array([[1.0, 2.0, 0.0]]), jnp.array([[0.0, 4.0, 0.0]])
  np.testing.assert_allclose(feature_distance(a, b), [5 / 3], rtol=1e-6)
