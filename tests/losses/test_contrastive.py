import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.losses import contrastive


def unit(degrees):
  """A vector of that direction; lengths differ, as the cosine must not see them."""
  angle = np.deg2rad(degrees)
  return (1 + degrees / 50) * jnp.asarray([np.cos(angle), np.sin(angle)], jnp.float32)


def test_cosine_similarity_of_known_angles():
  a = jnp.stack([unit(0), unit(20), unit(10)])
  b = jnp.stack([unit(60), unit(110), unit(10)])
  np.testing.assert_allclose(contrastive.cosine_similarity(a, b), [0.5, 0, 1], atol=1e-6)


def test_unit_length_keeps_the_direction_and_a_gradient_at_zero():
  vectors = jnp.asarray([[3.0, -4], [0, 0.5], [0, 0]])
  found = contrastive.unit_length(vectors)
  np.testing.assert_allclose(found, [[0.6, -0.8], [0, 1], [0, 0]], atol=1e-6)
  gradient = jax.grad(lambda v: contrastive.unit_length(v).sum())(vectors)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
  ("distance", "expected"),
  [
    # d_max = 20, sim = cos 60° = ½: weights 1 − d/10 up to 10, then min(d/10 − 1, 1)
    (0, 1.0 * 0.5),
    (4, 0.6 * 0.5),
    (10, 0.0),
    (13, 0.3 * 0.5),
    (20, 1.0 * 0.5),
    (500, 1.0 * 0.5),
  ],
)
def test_dsl_pair_is_piecewise_linear_in_the_distance(distance, expected):
  got = contrastive.dsl_pair(unit(0), unit(60), jnp.asarray(float(distance)), d_max=20)
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_dsl_pair_pulls_near_frames_to_one_and_far_frames_to_zero():
  # sim = cos 120° = −½: |sim − 1| = 1.5 when near, |sim| = 0.5 when far
  near = contrastive.dsl_pair(unit(0), unit(120), jnp.asarray(0.0), d_max=8)
  far = contrastive.dsl_pair(unit(0), unit(120), jnp.asarray(8.0), d_max=8)
  np.testing.assert_allclose([near, far], [1.5, 0.5], atol=1e-6)


def test_dsl_sums_the_pairs_with_the_reference_in_both_directions_of_time():
  vectors = jnp.stack([unit(0), unit(60), unit(120), unit(180)])[None]
  # distances 2, 9, 16 of d_max 16: weights 1 − 2/8, 9/8 − 1 and 1
  expected = 0.75 * 0.5 + 0.125 * 0.5 + 1 * 1
  for position in ([100, 102, 109, 116], [100, 98, 91, 84]):
    got = contrastive.dsl(vectors, jnp.asarray([position], jnp.float32), d_max=16)
    np.testing.assert_allclose(got, [expected], atol=1e-6)


def test_info_nce_with_and_without_the_positive_below():
  reference, positive = unit(0)[None], unit(60)[None]
  negatives = jnp.stack([unit(90), unit(180)])[None]
  # τ = ½: logits 1 for the positive, 0 and −2 for the negatives
  below = 1 + np.exp(-2)
  without = contrastive.info_nce(
    reference, positive, negatives, temperature=0.5, include_positive=False
  )
  np.testing.assert_allclose(without, [np.log(below) - 1], atol=1e-5)
  within = contrastive.info_nce(
    reference, positive, negatives, temperature=0.5, include_positive=True
  )
  np.testing.assert_allclose(within, [np.log(below + np.e) - 1], atol=1e-5)


def test_triplet_is_a_hinge_on_squared_distances():
  reference = jnp.zeros((3, 2))
  positive = jnp.asarray([[1, 0], [0, 2], [3, 0]], jnp.float32)
  negative = jnp.asarray([[3, 0], [2, 1], [0, 1]], jnp.float32)
  # 1 + ½ − 9 < 0; 4 + ½ − 5 < 0; 9 + ½ − 1 = 8.5
  np.testing.assert_allclose(
    contrastive.triplet(reference, positive, negative, margin=0.5), [0, 0, 8.5]
  )
  np.testing.assert_allclose(
    contrastive.triplet(reference, positive, negative, margin=2), [0, 1, 10]
  )


def test_semi_hard_triplet_takes_the_nearest_negative_beyond_the_positive():
  reference = jnp.zeros((3, 1))
  positive = jnp.asarray([[1], [3], [1]], jnp.float32)
  candidates = jnp.asarray([[0.5], [1.2], [2], [-2.5]], jnp.float32)
  may = jnp.ones((3, 4), bool).at[2].set(False)  # example 2 has no negative at all
  got = contrastive.semi_hard_triplet(reference, positive, candidates, may, margin=1)
  # example 0: of ¼, 1.44, 4, 6.25 the least above 1 is 1.44; example 1: none above 9: furthest 6.25
  np.testing.assert_allclose(got, [1 + 1 - 1.44, 9 + 1 - 6.25, 0], rtol=1e-6)
  may = may.at[0, 1].set(False)
  got = contrastive.semi_hard_triplet(reference, positive, candidates, may, margin=4)
  np.testing.assert_allclose(got[0], 1 + 4 - 4, rtol=1e-6)


def test_gradients_at_degenerate_vectors_are_finite_and_moderate():
  zeros, equal = jnp.zeros((2, 4, 3)), jnp.ones((2, 4, 3))
  position = jnp.tile(jnp.asarray([[0.0, 1, 7, 16]]), (2, 1))
  may = jnp.zeros((2, 4), bool).at[0].set(True)

  def every_loss(x):
    reference, near, rest = x[:, 0], x[:, 1], x[:, 2:]
    nce = contrastive.info_nce(reference, near, rest, temperature=0.1, include_positive=True)
    hard = contrastive.semi_hard_triplet(reference, near, x.reshape(-1, 3)[:4], may, margin=0.2)
    return (contrastive.dsl(x, position, d_max=16) + nce + hard).sum()

  for x in (zeros, equal, zeros.at[:, 0, 0].set(1)):
    gradient = jax.grad(every_loss)(x)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 1e6
