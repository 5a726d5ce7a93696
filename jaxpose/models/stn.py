"""Spatial transformer for axis-aligned boxes: detector, crop, paste, bump window.

A box (s_x, s_y, u_x, u_y) maps crop to frame, frame = s · crop + u, in corner-aligned normalised
coordinates (−1 and 1 are the centres of the outer pixels). Bilinear sampling on such a map is
separable: 1-D `jax.scipy.ndimage.map_coordinates` along rows and then along columns, or products
with matrices of its weights.
Everything here is float32 (bfloat16 would round the coordinate 377.3 to 378).
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from jaxpose import geometry

Form = Literal["auto", "matrix", "gather", "plane"]
Outside = Literal["border", "zeros"]

_MODE = {"border": "nearest", "zeros": "constant"}


def sampling_coordinates(
  scale: Float[Array, ""], shift: Float[Array, ""], count: int, size: int
) -> Float[Array, " count"]:
  """Pixel positions (s · linspace(−1, 1, count) + u + 1)/2 · (size − 1) on an axis of `size`."""
  grid = jnp.linspace(-1.0, 1.0, count)
  return (scale * grid + shift + 1) * (0.5 * (size - 1))


def sampling_matrix(
  coordinates: Float[Array, " count"], size: int, outside: Outside
) -> Float[Array, "count size"]:
  """Row i holds the bilinear weights of c = `coordinates[i]`: 1 − f at ⌊c⌋, f = c − ⌊c⌋ after it.

  Multiplying by it samples any signal of that length, with the values and gradients of
  `map_coordinates`, at the speed of a matrix product. Nothing is gathered or scattered.
  """
  below = jnp.floor(coordinates)
  share = (coordinates - below)[:, None]
  first = below.astype(jnp.int32)[:, None]
  second = first + 1
  if outside == "border":
    first, second = jnp.clip(first, 0, size - 1), jnp.clip(second, 0, size - 1)
  position = jnp.arange(size)[None]
  return jnp.where(position == first, 1 - share, 0) + jnp.where(position == second, share, 0)


def _resample_matrix(image, rows, columns, outside):
  """[H, W, C] -> [h, w, C] as products of `sampling_matrix` with all columns, then all rows."""

  def along_first(x, coordinates):
    matrix = sampling_matrix(coordinates, x.shape[0], outside)
    flat = x.reshape(x.shape[0], -1)
    product = jnp.matmul(matrix, flat, precision=jax.lax.Precision.HIGHEST)
    return product.reshape(coordinates.shape[0], *x.shape[1:])

  return _separably(along_first, image, rows, columns)


def _resample_gather(image, rows, columns, outside):
  """[H, W, C] -> [h, w, C] by 1-D `map_coordinates`, of whole rows and of whole columns."""

  def along_first(x, coordinates):
    sample = jax.vmap(
      lambda line: map_coordinates(line, [coordinates], 1, _MODE[outside]), in_axes=1, out_axes=1
    )
    return sample(x.reshape(x.shape[0], -1)).reshape(coordinates.shape[0], *x.shape[1:])

  return _separably(along_first, image, rows, columns)


def _separably(along_first, image, rows, columns):
  """Resamples rows and columns, the axis first that leaves less for the other."""

  def along_second(x):
    return along_first(x.swapaxes(0, 1), columns).swapaxes(0, 1)

  if rows.shape[0] * image.shape[1] <= image.shape[0] * columns.shape[0]:
    return along_second(along_first(image, rows))
  return along_first(along_second(image), rows)


def _resample_plane(image, rows, columns, outside):
  """[H, W, C] -> [h, w, C] by one 2-D `map_coordinates`: slow, kept to test the others."""
  grid = jnp.meshgrid(rows, columns, indexing="ij")
  sample = jax.vmap(
    lambda plane: map_coordinates(plane, grid, 1, _MODE[outside]), in_axes=2, out_axes=2
  )
  return sample(image)


_RESAMPLE = {"matrix": _resample_matrix, "gather": _resample_gather, "plane": _resample_plane}


def _resample(images, scale_shift, size, outside, form):
  """Samples each of `images` [N, H, W, C] on its own map [N, 4] to `size`."""
  if form not in _RESAMPLE:
    raise ValueError(f"form {form!r} of the STN: choose one of auto, {', '.join(_RESAMPLE)}")
  if outside not in _MODE:
    raise ValueError(f"outside {outside!r} of the STN: choose one of {', '.join(_MODE)}")
  height, width = images.shape[1:3]

  def one(image, box):
    rows = sampling_coordinates(box[1], box[3], size[0], height)
    columns = sampling_coordinates(box[0], box[2], size[1], width)
    return _RESAMPLE[form](image, rows, columns, outside)

  return jax.vmap(one)(images.astype(jnp.float32), scale_shift.astype(jnp.float32))


@functools.partial(jax.jit, static_argnames=("size", "outside", "form"))
def crop(
  images: Float[Array, "N H W C"],
  box: Float[Array, "N 4"],
  size: tuple[int, int],
  *,
  outside: Outside = "border",
  form: Form = "auto",
) -> Float[Array, "N h w C"]:
  """crop(p) = image(s · p + u), bilinear (P1 §3.1).

  What lies outside of the frame repeats its border, so that a box over the edge makes no dark bar
  which the encoder would have to explain (no paper says; "zeros" is the other choice).

  Args:
    images: any scale of values.
    box: (s_x, s_y, u_x, u_y).
    size: (h, w) of the crop.
    outside: "border" or "zeros" beyond the frame.
    form: "gather" (1-D gathers), "matrix" (products with `sampling_matrix`), "plane" (2-D), or
      "auto", the fastest by measurement: "gather", as no gradient flows to the images.
  """
  return _resample(images, box, size, outside, "gather" if form == "auto" else form)


@functools.partial(jax.jit, static_argnames=("size", "outside", "form"))
def paste(
  crops: Float[Array, "N h w C"],
  box: Float[Array, "N 4"],
  size: tuple[int, int],
  *,
  outside: Outside,
  form: Form = "auto",
) -> Float[Array, "N H W C"]:
  """frame(p) = crop((p − u)/s), bilinear: the inverse map of `crop`.

  Args:
    crops: RGB ("border": the frame around the box repeats the crop's edge) or masks ("zeros").
    box: (s_x, s_y, u_x, u_y), the box that the crop was taken with.
    size: (H, W) of the frame.
    outside: what stands outside of the box.
    form: see `crop`; "auto" is "matrix", whose gradient to the crop needs no scattered additions.
  """
  inverse = geometry.invert_box(box)
  return _resample(crops, inverse, size, outside, "matrix" if form == "auto" else form)


def bump_window(height: int, width: int) -> Float[Array, "h w 1"]:
  """exp(1 − 1/(1 − √(x⁴ + y⁴))) inside of √(x⁴ + y⁴) < 1 and 0 outside; 1 in the centre.

  Multiplied onto a crop or mask it goes to 0, with all derivatives, before the crop's edge, which
  keeps the box's gradient finite there (NSD).
  """
  y, x = jnp.meshgrid(
    jnp.linspace(-1.0, 1.0, height), jnp.linspace(-1.0, 1.0, width), indexing="ij"
  )
  radius = jnp.sqrt(x**4 + y**4)
  inside = radius < 1
  # The unused branch must not divide by zero: its NaN would live on in the gradient.
  room = jnp.where(inside, 1 - radius, 1.0)
  return jnp.where(inside, jnp.exp(1 - 1 / room), 0.0)[..., None]


def box_from_logits(logits: Float[Array, "N 4"]) -> Float[Array, "N 4"]:
  """(s, u) = (0.2 + 0.8 · σ(a), 0.8 · tanh(b)) for logits (a_x, a_y, b_x, b_y).

  The bounds are NSD's. A bound of the shift that depended on the scale would get the box stuck in
  a corner.
  """
  scale = 0.2 + 0.8 * nn.sigmoid(logits[:, :2])
  shift = 0.8 * jnp.tanh(logits[:, 2:])
  return jnp.concatenate([scale, shift], axis=1)


def _scale_bias_init(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
  """(0.5, 0.5, 0, 0): the first scale is 0.2 + 0.8 · σ(0.5) = 0.698, the first shift 0."""
  del key
  return jnp.asarray([0.5, 0.5, 0.0, 0.0], dtype).reshape(shape)


class Detector(nn.Module):
  """Box of the one person in the frame (P1 §3.1): backbone, then a linear layer to 4 logits.

  The linear layer starts at weight 0, so that training starts from one centred box for all.
  """

  backbone: nn.Module

  @nn.compact
  def __call__(self, images: Float[Array, "N H W 3"], train: bool) -> Float[Array, "N 4"]:
    """Box (s_x, s_y, u_x, u_y) from a normalised image, float32."""
    features = self.backbone(images, train).astype(jnp.float32)
    logits = nn.Dense(
      4, kernel_init=nn.initializers.zeros_init(), bias_init=_scale_bias_init, name="box"
    )(features)
    return box_from_logits(logits)
