import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from jaxpose import geometry
from jaxpose.models import stn

BOXES = np.asarray(
  [[0.698, 0.698, 0, 0], [0.3, 0.9, 0.5, -0.4], [1.0, 0.25, -0.7, 0.8]], np.float32
)


def images(height, width, channels=2, seed=0):
  return np.random.default_rng(seed).uniform(size=(3, height, width, channels)).astype(np.float32)


def sample(image, row, column, outside):
  """Bilinear value at one position, from its four neighbours."""
  height, width, channels = image.shape
  value = np.zeros(channels)
  top, left = int(np.floor(row)), int(np.floor(column))
  for i in (top, top + 1):
    for j in (left, left + 1):
      weight = (1 - abs(row - i)) * (1 - abs(column - j))
      if outside == "border":
        value += weight * image[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
      elif 0 <= i < height and 0 <= j < width:
        value += weight * image[i, j]
  return value


@pytest.mark.parametrize("outside", ["border", "zeros"])
@pytest.mark.parametrize("form", ["gather", "matrix", "plane", "auto"])
def test_crop_and_paste_sample_pixel_by_pixel(form, outside):
  frames, crops = images(11, 14), images(5, 6, seed=1)
  boxes, options = jnp.asarray(BOXES), {"outside": outside, "form": form}
  cropped = stn.crop(jnp.asarray(frames), boxes, (5, 6), **options)
  pasted = stn.paste(jnp.asarray(crops), boxes, (11, 14), **options)
  for n, (sx, sy, ux, uy) in enumerate(BOXES):
    for i, j in [(0, 0), (4, 5), (2, 1), (3, 4)]:
      y, x = sy * (2 * i / 4 - 1) + uy, sx * (2 * j / 5 - 1) + ux
      expected = sample(frames[n], (y + 1) / 2 * 10, (x + 1) / 2 * 13, outside)
      np.testing.assert_allclose(cropped[n, i, j], expected, atol=2e-5)
    for i, j in [(0, 0), (10, 13), (5, 6), (7, 3), (2, 9)]:
      y, x = (2 * i / 10 - 1 - uy) / sy, (2 * j / 13 - 1 - ux) / sx
      expected = sample(crops[n], (y + 1) / 2 * 4, (x + 1) / 2 * 5, outside)
      np.testing.assert_allclose(pasted[n, i, j], expected, atol=2e-5)


@pytest.mark.parametrize("outside", ["border", "zeros"])
@pytest.mark.parametrize("form", ["gather", "matrix"])
@pytest.mark.parametrize("function", [stn.crop, stn.paste])
def test_separable_forms_have_the_plane_forms_values_and_gradients(function, form, outside):
  source = images(21, 17) if function is stn.crop else images(9, 8)
  size = (9, 8) if function is stn.crop else (21, 17)
  weights = np.random.default_rng(2).normal(size=(3, *size, 2)).astype(np.float32)

  def value_and_gradients(form):
    def total(image, box):
      out = function(image, box, size, outside=outside, form=form)
      return (out * weights).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(source, BOXES)
    return out, *gradients

  for got, expected in zip(value_and_gradients(form), value_and_gradients("plane"), strict=True):
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_box_gradient_is_the_slope_of_a_ramp():
  # On the image 3·column the crop's mean is 3·(u_x + 1)/2·(W − 1) for any symmetric crop, so
  # d mean / d u_x = 3·(W − 1)/2 = 22.5, and nothing else moves it.
  ramp = jnp.broadcast_to(3 * jnp.arange(16.0)[None, None, :, None], (1, 12, 16, 1))
  box = jnp.asarray([[0.5, 0.4, 0.1, -0.2]])
  for form in ("gather", "matrix"):
    gradient = jax.grad(lambda b, form=form: stn.crop(ramp, b, (6, 6), form=form).mean())(box)
    np.testing.assert_allclose(gradient, [[0, 0, 22.5, 0]], atol=1e-4)


def test_crop_of_the_whole_frame_at_its_size_is_the_frame():
  frames = jnp.asarray(images(7, 9))
  whole = jnp.tile(jnp.asarray([1.0, 1, 0, 0]), (3, 1))
  np.testing.assert_allclose(stn.crop(frames, whole, (7, 9)), frames, atol=1e-6)
  pasted = stn.paste(frames, whole, (7, 9), outside="zeros")
  np.testing.assert_allclose(pasted, frames, atol=1e-6)


def test_box_of_pixels_crops_these_pixels_and_pastes_them_back():
  frames = jnp.asarray(images(13, 17))
  corners = np.asarray([[3, 2, 9, 10]] * 3, np.float32)  # columns 3..9, rows 2..10
  box = geometry.corners_px_to_box(corners, 13, 17)
  inside = stn.crop(frames, box, (9, 7))
  np.testing.assert_allclose(inside, frames[:, 2:11, 3:10], atol=1e-5)
  pasted = np.asarray(stn.paste(inside, box, (13, 17), outside="zeros"))
  np.testing.assert_allclose(pasted[:, 2:11, 3:10], frames[:, 2:11, 3:10], atol=1e-5)
  np.testing.assert_allclose(pasted[:, :2], 0, atol=1e-5)
  bordered = np.asarray(stn.paste(inside, box, (13, 17), outside="border"))
  np.testing.assert_allclose(bordered[:, 0, 5], frames[:, 2, 5], atol=1e-5)


def test_coordinates_stay_float32_when_the_crop_is_bfloat16():
  # Column 377.3 of a ramp: bfloat16 coordinates would give 378.
  ramp = jnp.broadcast_to(jnp.arange(500.0)[None, None, :, None], (1, 4, 500, 1))
  shift = 2 * 377.3 / 499 - 1
  box = jnp.asarray([[0.2, 0.2, shift, 0.0]])
  centre = stn.crop(ramp, box, (3, 3))[0, 1, 1, 0]
  np.testing.assert_allclose(centre, 377.3, atol=1e-3)
  assert stn.paste(ramp.astype(jnp.bfloat16), box, (4, 4), outside="zeros").dtype == jnp.float32


def test_sampling_matrix_rows_are_hat_weights():
  got = stn.sampling_matrix(jnp.asarray([0.0, 1.25, 3.5, -0.25]), 4, "zeros")
  expected = [[1, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 0.5], [0.75, 0, 0, 0]]
  np.testing.assert_allclose(got, expected, atol=1e-6)
  border = stn.sampling_matrix(jnp.asarray([3.5, -0.25]), 4, "border")
  np.testing.assert_allclose(border, [[0, 0, 0, 1], [1, 0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("outside", ["border", "zeros"])
def test_sampling_matrix_is_map_coordinates_of_the_unit_vectors(outside):
  # on, between and beyond the samples; at a sample the slope is that to the next one, in both
  at = jnp.asarray([0.0, 1.25, 2.0, 3.0, 3.5, -0.25, -2.0, 7.5, 4.0, -1.0])
  mode = {"border": "nearest", "zeros": "constant"}[outside]

  def reference(coordinates):
    columns = [map_coordinates(unit, [coordinates], 1, mode) for unit in jnp.eye(4)]
    return jnp.stack(columns, axis=1)

  def matrix(coordinates):
    return stn.sampling_matrix(coordinates, 4, outside)

  np.testing.assert_allclose(matrix(at), reference(at), atol=1e-6)
  np.testing.assert_allclose(jax.jacobian(matrix)(at), jax.jacobian(reference)(at), atol=1e-6)


def test_bump_window_values_and_finite_gradient():
  window = np.asarray(stn.bump_window(5, 9))[..., 0]
  assert window[2, 4] == 1
  # row 1 is y = −½, column 6 is x = ½: √(1/16 + 1/16) = 0.353553
  np.testing.assert_allclose(window[1, 6], np.exp(1 - 1 / (1 - np.sqrt(0.125))), rtol=1e-6)
  np.testing.assert_array_equal(window[0], 0)
  np.testing.assert_array_equal(window[:, -1], 0)

  def through_window(box):
    crop = stn.crop(jnp.asarray(images(16, 16)), box, (8, 8)) * stn.bump_window(8, 8)[None]
    return (crop**2).sum()

  gradient = jax.grad(through_window)(jnp.asarray(BOXES))
  assert np.isfinite(gradient).all()
  assert np.abs(gradient).max() > 0


@pytest.mark.usefixtures("unchecked_signatures")
def test_unknown_forms_are_named():
  frames, boxes = jnp.asarray(images(4, 4)), jnp.asarray(BOXES)
  with pytest.raises(ValueError, match="'fast'"):
    stn.crop(frames, boxes, (2, 2), form="fast")
  with pytest.raises(ValueError, match="'mirror'"):
    stn.paste(frames, boxes, (2, 2), outside="mirror")


def detector():

  class MeanColour(nn.Module):
    @nn.compact
    def __call__(self, x, train):
      return x.mean((1, 2))

  return stn.Detector(MeanColour())


def test_detector_starts_at_one_centred_box():
  x = jnp.asarray(images(6, 6, channels=3))
  box, variables = detector().init_with_output(jax.random.key(0), x, False)
  scale = 0.2 + 0.8 / (1 + np.exp(-0.5))
  np.testing.assert_allclose(scale, 0.698, atol=5e-4)
  np.testing.assert_allclose(box, np.tile([scale, scale, 0, 0], (3, 1)), rtol=1e-6)
  assert not np.any(variables["params"]["box"]["kernel"])


def test_detector_moves_within_its_bounds():
  logits = jnp.asarray([[50.0, -50, 50, -50], [0, 1, 0.5, 0]])
  expected = [[1, 0.2, 0.8, -0.8], [0.6, 0.2 + 0.8 / (1 + np.exp(-1)), 0.8 * np.tanh(0.5), 0]]
  np.testing.assert_allclose(stn.box_from_logits(logits), expected, rtol=1e-5)
