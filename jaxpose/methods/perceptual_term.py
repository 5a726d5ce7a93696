"""The perceptual error of reconstructions, on windows where these save work (P2 eq. 2)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose.losses import reconstruction
from jaxpose.method import Variables
from jaxpose.models import perceptual_window as windows
from jaxpose.models.perceptual import PerceptualFeatures

SHARES = ((0.6, 0.35), (0.6, 0.6))
"""Boxes, (height, width) in shares of the frame, that windows are made for: upright, and square."""

WORTH = 0.95
"""A window is used where its arithmetic is at most this share of the whole frame's."""

Maps = list[jax.Array]


def branches_are_cheap() -> bool:
  """XLA's CPU backend runs convolutions inside of a `switch` so slowly that windows cost time.

  Measured at full size on one core: a step of 9.4 s with windows to choose from, 3.8 s without.
  """
  return jax.default_backend() != "cpu"


def perceptual_error(
  network: PerceptualFeatures,
  variables: Variables,
  frames: Float[Array, "N H W 3"],
  predicted: Float[Array, "N H W 3"],
  background: Float[Array, "B H W 3"],
  box: Float[Array, "N 4"] | None,
) -> Float[Array, " N"]:
  """`losses.reconstruction.perceptual` of the network's features; all in [0, 1].

  The value is that of the whole frames. The gradient is that of the whole frames inside of the
  boxes, and need not be outside, where a reconstruction depends on nothing that is learned. The
  smallest window of `SHARES` that holds all boxes of this device is taken, else the whole frames.

  The gradient is computed together with the value, so that no features are kept for it.

  Args:
    background: of the N/B frames that follow each other; what `predicted` is outside of the boxes.
    box: None: `predicted` may differ from the background everywhere.
  """
  found = []
  if box is not None:
    height, width = frames.shape[1:3]
    found = _worthwhile(height, width, background.shape[0] / frames.shape[0])
  box = jnp.zeros((frames.shape[0], 4)) if box is None else box
  return _error((network.dtype, tuple(found)), variables, frames, predicted, background, box)


def _worthwhile(height: int, width: int, backgrounds: float) -> list[Any]:
  """(share, window) that save work; `backgrounds`: their number for each frame.

  On the whole frame: label forward, prediction forward and backward. With a window the last two
  shrink and the backgrounds are added.
  """
  made = [(share, windows.make_window(height, width, share)) for share in SHARES]
  return [(s, w) for s, w in made if (1 + backgrounds + 2 * w.work) / 3 <= WORTH]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _error(static, variables, frames, predicted, background, box):
  """Σ over layers of the mean of (f(Î) − f(I))², [N]; `static`: dtype, and the windows."""
  value, _ = _chosen(
    static, lambda f, x: (f(x), None), variables, frames, predicted, background, box
  )
  return value


def _forward(static, *operands):
  def value_and_gradient(function, x):
    value, pull_back = jax.vjp(function, x)
    return value, pull_back(jnp.ones_like(value))[0]

  return _chosen(static, value_and_gradient, *operands)


def _backward(static, gradient, cotangent):
  del static
  return None, None, cotangent[:, None, None, None] * gradient, None, None


_error.defvjp(_forward, _backward)


def _chosen(static, apply, variables, frames, predicted, background, box):
  """`apply(error, predicted)` with the error on the smallest window that holds all boxes."""
  dtype, found = static
  target = windows.features(variables, frames, dtype)[0]

  def branch(window: windows.Window | None) -> Callable[..., Any]:
    def run(predicted: jax.Array) -> Any:
      if window is None:
        error = functools.partial(_whole_error, variables, dtype, target)
      else:
        known = windows.features(variables, background, dtype)[1]
        place = windows.Place(window, box, frames.shape[1:3])
        error = functools.partial(_window_error, variables, dtype, target, known, place)
      return apply(error, predicted)

    return run

  branches = [branch(window) for _, window in found] + [branch(None)]
  if not found:
    return branches[0](predicted)
  fits = [jnp.all(box[:, :2] <= jnp.asarray([[columns, rows]])) for (rows, columns), _ in found]
  index = jnp.argmax(jnp.stack([*fits, jnp.asarray(True)]))
  return jax.lax.switch(index, branches, predicted)


def _whole_error(variables: Variables, dtype: Any, target: Maps, predicted: Array) -> Array:
  maps = windows.features(variables, predicted, dtype)[0]
  return reconstruction.perceptual(_floats(maps), _floats(target))


def _window_error(
  variables: Variables,
  dtype: Any,
  target: Maps,
  known: windows.Background,
  place: windows.Place,
  predicted: Array,
) -> Array:
  """The background's error, and the window's less that of the background in its place."""
  maps = windows.window_features(variables, predicted, known, place, dtype)
  total = jnp.zeros(predicted.shape[0])
  for stage, (inside, label, back) in enumerate(zip(maps, target, known.maps, strict=True)):
    inside, label, back = _floats((inside, label, back))
    each = label.reshape(back.shape[0], -1, *label.shape[1:])
    outside = jnp.square(back[:, None] - each).sum((2, 3, 4)).reshape(-1)
    here, before = place.cut(label, stage), place.cut(back, stage)
    change = jnp.square(inside - here) - jnp.square(before - here)
    total += (outside + change.sum((1, 2, 3))) / label[0].size
  return total


def _floats(maps: Any) -> list[Array]:
  return [x.astype(jnp.float32) for x in maps]
