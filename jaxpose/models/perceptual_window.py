"""Perceptual features of frames that equal a known background outside of a box.

Behind each convolution only the positions that see the box differ from the background's. So the
features are computed on a window, layer by layer, and what lies around it comes from one pass over
the background, which several frames share. Values inside, and gradients inside of the box, are
those of the whole frame: nothing is cut off, zeros stand where the frame ends.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxpose.models.resnet import normalise_image

STRIDES = (4, 8, 16)
"""Pixels from one position of the stages' maps to the next."""

REACH = (21, 49, 105)
"""How far a position sees, px: 3 of the stem's 7x7, 2 of its maximum, then 4 · 4 · 1 of layer1's
four 3x3 convolutions at stride 4, 4 + 3 · 8 of layer2's and 8 + 3 · 16 of layer3's."""

WORK = (3 / 7, 2 / 7, 2 / 7)
"""Shares of the arithmetic: stem and layer1, layer2, layer3."""

_FRAME = ((0, 0), (1, 1), (1, 1), (0, 0))

Variables = dict[str, Any]
Around = Callable[[jax.Array, int, int], jax.Array]


class Extent(NamedTuple):
  """Positions of a stage's map along one axis: all of them, and those of a window."""

  all: int
  window: int


class Window(NamedTuple):
  """Sizes of the windows on the three maps, for boxes of up to some share of the frame."""

  rows: tuple[Extent, ...]
  columns: tuple[Extent, ...]

  @property
  def work(self) -> float:
    """Arithmetic of the window, as a share of the whole frame's."""
    shares = [
      r.window * c.window / (r.all * c.all) for r, c in zip(self.rows, self.columns, strict=True)
    ]
    return sum(work * share for work, share in zip(WORK, shares, strict=True))


class Background(NamedTuple):
  """What `features` meets on its way: the padded input of each block's convolutions; the maps."""

  inputs: list[Float[Array, "B ..."]]
  maps: list[Float[Array, "B ..."]]


def make_window(height: int, width: int, share: tuple[float, float]) -> Window:
  """The window for boxes of at most `share` (rows, columns) of a frame of height × width px."""
  return Window(_extents(height, share[0]), _extents(width, share[1]))


def features(
  variables: Variables, images: Float[Array, "N H W 3"], dtype: Any
) -> tuple[list[Float[Array, "N ..."]], Background]:
  """The maps of `perceptual.PerceptualFeatures`, and what `window_features` needs of them.

  Args:
    variables: of that module.
    dtype: of the convolutions.
  """
  inputs: list[jax.Array] = []

  def around(x: jax.Array, stage: int, stride: int) -> jax.Array:
    del stage, stride
    inputs.append(jnp.pad(x, _FRAME))
    return inputs[-1]

  net = _Layers(variables, dtype)
  x = net.stem(normalise_image(images), ((3, 3), (3, 3)))
  x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
  maps = net.stages(x, around)
  return maps, Background(inputs, maps)


class Place:
  """Where each frame's window lies on each stage's map: around all positions that see the box."""

  def __init__(self, window: Window, box: Float[Array, "N 4"], frame: tuple[int, int]) -> None:
    box = jax.lax.stop_gradient(box)
    self.window = window
    self.rows = _starts(box[:, 3] - box[:, 1], frame[0], window.rows)
    self.columns = _starts(box[:, 2] - box[:, 0], frame[1], window.columns)

  def cut(self, maps: Float[Array, "B h w C"], stage: int) -> Float[Array, "N ..."]:
    """The window of each frame on maps of its own, or on those that B/N frames share."""
    return self.cut_wider(maps, stage, 0)

  def cut_wider(self, maps: Float[Array, "B h w C"], stage: int, more: int) -> jax.Array:
    """The same with `more` rows and columns, on maps that are padded by half of them."""
    size = (self.window.rows[stage].window + more, self.window.columns[stage].window + more)
    return cut(maps, self.rows[stage], self.columns[stage], size)


def window_features(
  variables: Variables,
  images: Float[Array, "N H W 3"],
  background: Background,
  place: Place,
  dtype: Any,
) -> list[Float[Array, "N ..."]]:
  """The maps' windows of images that equal the background outside of their boxes.

  Args:
    background: `features` of the B backgrounds; each belongs to N/B images, one after the other.
    place: where the windows lie.
  """
  net = _Layers(variables, dtype)
  inputs = iter(jax.lax.stop_gradient(background.inputs))
  window = place.window

  def around(x: jax.Array, stage: int, stride: int) -> jax.Array:
    known = next(inputs)
    rows, columns = place.rows[stage], place.columns[stage]
    if stride == 1:
      wide = place.cut_wider(known, stage, 2)
      inner = jnp.pad(jnp.ones((1, *x.shape[1:3], 1), bool), _FRAME)
      return jnp.where(inner, jnp.pad(x, _FRAME), wide)
    # output i sees inputs 2i − 1 to 2i + 1, which in the padded map are 2i to 2i + 2
    size = (2 * window.rows[stage].window + 1, 2 * window.columns[stage].window + 1)
    wide = cut(jnp.pad(known, ((0, 0), (0, 1), (0, 1), (0, 0))), 2 * rows, 2 * columns, size)
    before = (place.rows[stage - 1], place.columns[stage - 1])
    return _put(wide, x, before[0] + 1 - 2 * rows, before[1] + 1 - 2 * columns)

  return net.stages(_window_stem(net, images, place), around)


def cut(
  maps: Float[Array, "B h w C"],
  rows: Int[Array, " N"],
  columns: Int[Array, " N"],
  size: tuple[int, int],
) -> Float[Array, "N y x C"]:
  """Windows of `size` from (row, column) on; each map gives the next N/B of them."""
  of_map = (maps.shape[0], rows.shape[0] // maps.shape[0])

  def one(x: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice(x, (row, column, jnp.zeros_like(row)), (*size, x.shape[2]))

  found = jax.vmap(jax.vmap(one, (None, 0, 0)))(maps, rows.reshape(of_map), columns.reshape(of_map))
  return found.reshape(-1, *found.shape[2:])


def _put(into: jax.Array, patch: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """Each of `into` [N, h, w, C] with its patch from (row, column) on."""

  def one(x: jax.Array, y: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice(x, y, (row, column, jnp.zeros_like(row)))

  return jax.vmap(one)(into, patch, rows, columns)


def _extents(side: int, share: float) -> tuple[Extent, ...]:
  """Of each stage; a box of e px is seen by at most (e + 2 · reach)/stride + 1 positions."""
  widest = share * (side - 1) + 2  # one pixel more on both sides, for rounding
  found, count = [], (side + 1) // 2
  for stride, reach in zip(STRIDES, REACH, strict=True):
    count = (count + 1) // 2
    found.append(Extent(count, min(count, int((widest + 2 * reach) // stride) + 1)))
  return tuple(found)


def _starts(
  low: Float[Array, " N"], side: int, extents: tuple[Extent, ...]
) -> list[Int[Array, " N"]]:
  """First position of each stage that sees the box, moved so that the window is in the map.

  Args:
    low: where the box begins, in coordinates from −1 to 1.
  """
  low_px = (low + 1) * (0.5 * (side - 1))
  return [
    jnp.clip(jnp.ceil((low_px - 1 - reach) / stride), 0, e.all - e.window).astype(jnp.int32)
    for e, stride, reach in zip(extents, STRIDES, REACH, strict=True)
  ]


def _window_stem(net: "_Layers", images: Float[Array, "N H W 3"], place: Place) -> jax.Array:
  """Window of the stem's output: position i sees pixels 4i − 5 to 4i + 5, convolved at 2i ± 1."""
  rows, columns = place.rows[0], place.columns[0]
  size = (4 * place.window.rows[0].window + 7, 4 * place.window.columns[0].window + 7)
  padded = jnp.pad(normalise_image(images), ((0, 0), (5, 10), (5, 10), (0, 0)))
  x = net.stem(cut(padded, 4 * rows, 4 * columns, size), "VALID")
  # The maximum must not see convolutions beyond the frame's edge; behind a ReLU 0 never wins.
  real = []
  for axis, start in ((1, rows), (2, columns)):
    position = 2 * start[:, None] - 1 + jnp.arange(x.shape[axis])[None]
    real.append((position >= 0) & (position < (images.shape[axis] + 1) // 2))
  x = jnp.where((real[0][:, :, None] & real[1][:, None, :])[..., None], x, 0)
  return nn.max_pool(x, (3, 3), (2, 2))


class _Layers:
  """ResNet-18's layers from the module's variables; `around` puts what is beside before each."""

  def __init__(self, variables: Variables, dtype: Any) -> None:
    self._params = variables["params"]["backbone"]
    self._statistics = variables["batch_stats"]["backbone"]
    self._dtype = dtype

  def stem(self, images: jax.Array, padding: Any) -> jax.Array:
    """ReLU(BN(conv 7x7, stride 2)), without the maximum."""
    return nn.relu(self._convolve(images, (), "conv1", "bn1", 2, padding))

  def stages(self, x: jax.Array, around: Around) -> list[jax.Array]:
    """The maps behind layer1 to layer3.

    Args:
      around: (x, stage, stride) -> x with what a 3x3 convolution of that stride sees around it.
    """
    maps = []
    for stage in range(len(STRIDES)):
      for block in range(2):
        at, stride = (f"layer{stage + 1}_{block}",), 2 if stage and not block else 1
        wide = around(x, stage, stride)
        y = nn.relu(self._convolve(wide, at, "conv1", "bn1", stride, "VALID"))
        y = self._convolve(around(y, stage, 1), at, "conv2", "bn2", 1, "VALID")
        if stride == 2:
          middle = wide[:, 1::2, 1::2][:, : y.shape[1], : y.shape[2]]
          x = self._convolve(middle, at, "downsample_conv", "downsample_bn", 1, "VALID")
        x = nn.relu(y + x)
      maps.append(x)
    return maps

  def _convolve(
    self, x: jax.Array, at: tuple[str, ...], conv: str, norm: str, stride: int, padding: Any
  ) -> jax.Array:
    """BN(conv(x)) with running statistics, the affine map in float32 as flax does it."""
    params, statistics = self._params, self._statistics
    for part in at:
      params, statistics = params[part], statistics[part]
    y = jax.lax.conv_general_dilated(
      x.astype(self._dtype),
      params[conv]["kernel"].astype(self._dtype),
      (stride, stride),
      padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    statistics, params = statistics[norm], params[norm]
    factor = params["scale"] * jax.lax.rsqrt(statistics["var"] + 1e-5)
    mean, factor, bias = (
      v.reshape(1, 1, 1, -1) for v in (statistics["mean"], factor, params["bias"])
    )
    return ((y - mean) * factor + bias).astype(self._dtype)
