import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from jaxpose import geometry
from jaxpose.methods.subject_crops import crop_boxes, disturb_boxes, mirror, turn

OPTIONS = {"enlarge": 1.5, "shift": 0.0, "scale": 0.0}


def test_the_crop_is_the_enlarged_square_around_the_true_box():
  # 6 wide, 10 high around (8, 9): a side of 15 px; the frame is 24 x 32 px
  box = jnp.asarray([[5, 4, 11, 14], [np.nan] * 4, [5, 4, 5, 4]], jnp.float32)
  found, known = crop_boxes(box, jnp.zeros((3, 3)), (24, 32), **OPTIONS)
  corners = geometry.box_to_corners_px(np.asarray(found), 24, 32)
  np.testing.assert_allclose(corners[0], [0.5, 1.5, 15.5, 16.5], rtol=1e-5)
  np.testing.assert_array_equal(known, [True, False, False])
  np.testing.assert_array_equal(found[1:], [[1, 1, 0, 0]] * 2)


def test_draws_move_and_scale_the_square():
  options = OPTIONS | {"shift": 0.1, "scale": 0.2}
  draws = jnp.asarray([[1.0, 1.0, -0.5]])
  found, _ = crop_boxes(jnp.asarray([[5.0, 4, 11, 14]]), draws, (24, 32), **options)
  # side 15 * 1.2 = 18; centre (8 + 0.1 * 18, 9 - 0.05 * 18) = (9.8, 8.1)
  corners = geometry.box_to_corners_px(np.asarray(found), 24, 32)
  np.testing.assert_allclose(corners[0], [0.8, -0.9, 18.8, 17.1], rtol=1e-5)


def test_boxes_of_any_shape_move_in_their_own_sides():
  # 0.4 x 0.2 grows by a half to 0.6 x 0.3; a tenth of the new side is 0.12 and 0.06
  box = jnp.asarray([[0.4, 0.2, 0.1, -0.3]])
  found = disturb_boxes(box, jnp.asarray([[0.5, 1.0, -1.0]]), shift=0.1, scale=1.0)
  np.testing.assert_allclose(found, [[0.6, 0.3, 0.1 + 0.12, -0.3 - 0.06]], rtol=1e-5)


def test_crops_turn_about_their_centre():
  image = np.random.default_rng(0).uniform(size=(5, 5, 2)).astype(np.float32)
  quarters = jnp.asarray([0.0, np.pi / 2, np.pi])
  found = np.asarray(turn(jnp.asarray(np.stack([image] * 3)), quarters))
  for number, one in enumerate(found):
    np.testing.assert_allclose(one, np.rot90(image, -number), atol=1e-5)
  slanted = np.asarray(turn(jnp.asarray(image[None]), jnp.asarray([np.deg2rad(25)])))[0]
  peer = scipy.ndimage.rotate(image, -25, reshape=False, order=1, mode="nearest")
  np.testing.assert_allclose(slanted, peer, atol=1e-5)


def test_only_chosen_crops_are_mirrored():
  crops = np.random.default_rng(0).uniform(size=(2, 3, 4, 3)).astype(np.float32)
  found = mirror(jnp.asarray(crops), jnp.asarray([False, True]))
  np.testing.assert_array_equal(found, np.stack([crops[0], crops[1, :, ::-1]]))
