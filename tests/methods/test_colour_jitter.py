import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.methods.colour_jitter import colour_jitter

NOTHING = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "probability": 1.0}


def _jitter(images, keys=None, **strengths):
  keys = _keys(len(images)) if keys is None else keys
  return np.asarray(colour_jitter(keys, jnp.asarray(images), **strengths))


def _images(n=3):
  return np.random.default_rng(0).uniform(0.3, 0.6, size=(n, 4, 5, 3)).astype(np.float32)


def _keys(n):
  return jax.random.split(jax.random.key(1), n)


def test_no_strength_changes_nothing():
  images = _images()
  np.testing.assert_allclose(_jitter(images, **NOTHING), images, atol=1e-6)


def test_brightness_scales_each_image_by_a_factor_of_its_own():
  images = _images()
  out = _jitter(images, **(NOTHING | {"brightness": 0.4}))
  ratio = (out / images).reshape(3, -1)
  np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones_like(ratio), rtol=1e-4)
  assert len(np.unique(ratio[:, 0].round(3))) == 3
  assert (ratio >= 0.6).all()
  assert (ratio <= 1.4).all()


def test_contrast_keeps_the_mean_luma_and_saturation_each_pixels():
  images = _images()
  luma = np.array([0.299, 0.587, 0.114])
  out = _jitter(images, **(NOTHING | {"contrast": 0.4}))
  np.testing.assert_allclose((out @ luma).mean((1, 2)), (images @ luma).mean((1, 2)), rtol=1e-4)
  assert np.abs(out - images).max() > 0.01
  out = _jitter(images, **(NOTHING | {"saturation": 0.4}))
  np.testing.assert_allclose(out @ luma, images @ luma, rtol=1e-4)
  assert np.abs(out - images).max() > 0.01


def test_hue_keeps_grey_and_luma():
  images = _images()
  images[0] = images[0, ..., :1]
  out = _jitter(images, **(NOTHING | {"hue": 0.1}))
  np.testing.assert_allclose(out[0], images[0], atol=1e-3)
  luma = np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(out[1:] @ luma, images[1:] @ luma, atol=2e-3)
  assert np.abs(out[1:] - images[1:]).max() > 0.01


def test_probability_leaves_some_images_alone():
  images = _images(400)
  strong = NOTHING | {"brightness": 0.4, "probability": 0.8}
  out = _jitter(images, **strong)
  changed = np.abs(out - images).max((1, 2, 3)) > 0
  assert 0.7 < changed.mean() < 0.9  # 0.8 with a standard deviation of 0.02


def test_an_image_is_jittered_alike_in_any_batch():
  images, keys = _images(), _keys(3)
  strong = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "probability": 0.8}
  whole = _jitter(images, keys, **strong)
  alone = _jitter(images[1:2], keys[1:2], **strong)
  np.testing.assert_allclose(whole[1:2], alone, atol=1e-6)
