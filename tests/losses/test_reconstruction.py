import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.losses import reconstruction


def test_pixel_losses_of_two_examples():
  prediction = jnp.zeros((2, 1, 2, 3))
  label = prediction.at[0, 0, 1].set(jnp.asarray([3.0, 0, -6])).at[1, 0, 0, 2].set(1.5)
  # six values each: |3| + |−6| = 9 and 1.5; squares 45 and 2.25
  np.testing.assert_allclose(reconstruction.l1(prediction, label), [9 / 6, 1.5 / 6])
  np.testing.assert_allclose(reconstruction.l2(prediction, label), [45 / 6, 2.25 / 6])


def test_perceptual_loss_adds_the_layers_means():
  first = jnp.zeros((2, 2, 2, 4))
  second = jnp.zeros((2, 1, 1, 2))
  # layer 1: example 0 differs by 2 in one of 16 values; layer 2: by 3 in one of 2, for example 1
  moved_first = first.at[0, 1, 0, 3].set(2)
  moved_second = second.at[1, 0, 0, 0].set(3)
  got = reconstruction.perceptual([moved_first, moved_second], [first, second])
  np.testing.assert_allclose(got, [4 / 16, 9 / 2])
  with pytest.raises(ValueError, match="shorter"):
    reconstruction.perceptual([first, second], [first])


def test_label_statistics_are_per_image_and_channel():
  rng = np.random.default_rng(0)
  label = rng.normal([1, 5], [2, 0.3], size=(3, 8, 7, 2)).astype(np.float32)
  prediction = rng.normal(size=label.shape).astype(np.float32)
  got_prediction, got_label = reconstruction.normalise_by_label_statistics(
    jnp.asarray(prediction), jnp.asarray(label), minimum_std=1e-3
  )
  for n in range(3):
    for c in range(2):
      mean, std = label[n, ..., c].mean(), label[n, ..., c].std()
      expected = (prediction[n, ..., c] - mean) / std
      np.testing.assert_allclose(got_prediction[n, ..., c], expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(np.asarray(got_label).std((1, 2)), 1, rtol=1e-4)


def test_label_statistics_of_an_even_image_are_bounded():
  label = jnp.full((1, 2, 2, 1), 0.5)
  prediction, _ = reconstruction.normalise_by_label_statistics(label + 0.2, label, minimum_std=0.1)
  np.testing.assert_allclose(prediction, 2, rtol=1e-5)
