import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.methods.background_treatment import (
  foreground,
  keep_empty,
  keep_or_remove,
  remove_background,
  substitute_background,
)
from jaxpose.models.resnet import normalise_image

RNG = np.random.default_rng(0)
BACKGROUND = RNG.uniform(0.2, 0.8, (2, 4, 5, 3)).astype(np.float32)
PERSON = RNG.uniform(size=(2, 4, 5)) < 0.4
# only one channel differs where the person is, by 0.15, and all by less elsewhere
IMAGE = BACKGROUND + np.where(PERSON, 0.15, 0.05)[..., None] * np.float32([0, -1, 0])
OTHER = RNG.uniform(size=BACKGROUND.shape).astype(np.float32)


def test_what_differs_in_any_channel_is_the_person():
  found = foreground(jnp.asarray(IMAGE), jnp.asarray(BACKGROUND), 0.1)
  np.testing.assert_array_equal(found[..., 0], PERSON)


def test_the_rest_is_nothing_to_the_networks_or_another_background():
  image, background = jnp.asarray(IMAGE), jnp.asarray(BACKGROUND)
  removed = np.asarray(remove_background(image, background, 0.1))
  np.testing.assert_allclose(removed[PERSON], IMAGE[PERSON], atol=1e-6)
  np.testing.assert_allclose(normalise_image(jnp.asarray(removed))[~PERSON], 0, atol=1e-6)
  other = np.asarray(substitute_background(image, background, jnp.asarray(OTHER), 0.1))
  np.testing.assert_allclose(other, np.where(PERSON[..., None], IMAGE, OTHER), atol=1e-6)


@pytest.mark.parametrize(
  ("treatment", "stays"), [("keep", True), ("remove", False), ("substitute", True), ("mix", False)]
)
def test_frames_alone_lose_their_background_where_training_ever_took_it(treatment, stays):
  image = jnp.asarray(IMAGE)
  frames = {"background": jnp.asarray(np.round(255 * BACKGROUND), jnp.uint8)}
  found = keep_or_remove(treatment, image, frames, 0.1)
  expected = IMAGE if stays else remove_background(image, jnp.asarray(BACKGROUND), 0.1)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_was_removed_stays_so_when_colours_change():
  removed = remove_background(jnp.asarray(IMAGE), jnp.asarray(BACKGROUND), 0.1)
  changed = 0.5 * removed + 0.1
  found = np.asarray(keep_empty("remove", removed, changed))
  np.testing.assert_allclose(found, np.where(PERSON[..., None], changed, removed), atol=1e-6)
  np.testing.assert_array_equal(keep_empty("keep", removed, changed), changed)
