"""Crops around known boxes, moved, scaled, turned and mirrored with draws of their own."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float

from jaxpose import geometry


def crop_boxes(
  box_px: Float[Array, "N 4"],
  draws: Float[Array, "N 3"],
  size: tuple[int, int],
  *,
  enlarge: float,
  shift: float,
  scale: float,
) -> tuple[Float[Array, "N 4"], Bool[Array, " N"]]:
  """(STN boxes of the squares to crop, whether the box is known); unknown: the whole frame.

  Args:
    box_px: boxes (x0, y0, x1, y1) of the person, NaN where unknown.
    draws: see `disturb_boxes`.
    size: (height, width) of the frames, px.
    enlarge: side of the square, in longer sides of the box.
    shift, scale: see `disturb_boxes`.
  """

  def one(corners: Float[Array, "4"]) -> tuple[Array, Array]:
    extent = corners[2:] - corners[:2]
    known = jnp.all(jnp.isfinite(corners)) & (jnp.max(extent) > 0)
    half = enlarge * jnp.max(extent) / 2.0
    centre = (corners[:2] + corners[2:]) / 2.0
    square = jnp.concatenate([centre - half, centre + half])
    return geometry.corners_px_to_box(square, *size), known

  squares, known = jax.vmap(one)(box_px.astype(jnp.float32))
  boxes = disturb_boxes(squares, draws, shift=shift, scale=scale)
  whole = jnp.asarray([[1.0, 1.0, 0.0, 0.0]])
  return jnp.where(known[:, None], boxes, whole), known


def disturb_boxes(
  boxes: Float[Array, "N 4"], draws: Float[Array, "N 3"], *, shift: float, scale: float
) -> Float[Array, "N 4"]:
  """STN boxes whose sides change by a factor 1 + `scale`·d₀, and which then move.

  The centre moves by `shift`·(d₁, d₂) of the new sides.

  Args:
    draws: d, in [−1, 1].
  """
  sides = boxes[:, :2] * (1.0 + scale * draws[:, :1])
  return jnp.concatenate([sides, boxes[:, 2:] + 2.0 * shift * sides * draws[:, 1:]], axis=1)


def turn(crops: Float[Array, "N h w C"], angle_rad: Float[Array, " N"]) -> Float[Array, "N h w C"]:
  """Each crop turned about its centre, bilinear; the content turns clockwise by a positive angle.

  What lies outside of the crop repeats its border.
  """
  height, width = crops.shape[1:3]
  rows, columns = jnp.meshgrid(
    jnp.arange(height) - (height - 1) / 2.0, jnp.arange(width) - (width - 1) / 2.0, indexing="ij"
  )

  def one(crop: Float[Array, "h w C"], angle: Float[Array, ""]) -> Float[Array, "h w C"]:
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    from_rows = cosine * rows - sine * columns + (height - 1) / 2.0
    from_columns = sine * rows + cosine * columns + (width - 1) / 2.0
    sample = jax.vmap(
      lambda plane: map_coordinates(plane, [from_rows, from_columns], 1, "nearest"), 2, 2
    )
    return sample(crop)

  return jax.vmap(one)(crops, angle_rad)


def mirror(crops: Float[Array, "N h w C"], chosen: Bool[Array, " N"]) -> Float[Array, "N h w C"]:
  """The chosen crops with left and right exchanged."""
  return jnp.where(chosen[:, None, None, None], crops[:, :, ::-1], crops)
