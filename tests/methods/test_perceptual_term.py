import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose import geometry
from jaxpose.losses import reconstruction
from jaxpose.methods import perceptual_term
from jaxpose.models import perceptual_window, stn
from jaxpose.models.perceptual import PerceptualFeatures

pytestmark = pytest.mark.usefixtures("optimised")

HEIGHT, WIDTH = 276, 322  # maps of 69 x 81, 35 x 41 and 18 x 21: strides that do not divide
SMALL = (0.1, 0.08)


@pytest.fixture(scope="module")
def network():
  """A network whose features are of one size in all layers, and whose batch norm does something."""
  made = PerceptualFeatures()
  variables = jax.jit(made.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  rng = np.random.default_rng(1)

  def draw(leaf):
    if leaf.ndim == 1:
      return rng.uniform(0.3, 0.9, leaf.shape).astype(np.float32)
    return leaf

  return made, jax.tree.map(draw, variables)


def whole_error(network, variables, frames, predicted):
  """By the module itself, on whole frames."""
  features = functools.partial(network.apply, variables)
  return reconstruction.perceptual(features(predicted), features(frames))


def compose(crops, box, background):
  """A reconstruction as the scene makes one: a mask that is 0 at the crop's rim."""
  size = background.shape[1:3]
  mask = jnp.tile(stn.bump_window(*crops.shape[1:3])[None], (len(crops), 1, 1, 1))
  mask = stn.paste(mask, box, size, outside="zeros")
  return mask * stn.paste(crops, box, size, outside="border") + (1 - mask) * background


def scene(boxes, seed=0):
  """Two backgrounds for four frames, crops, and the boxes (x, y, half a size) in shares."""
  keys = jax.random.split(jax.random.key(seed), 3)
  background = jax.random.uniform(keys[0], (2, HEIGHT, WIDTH, 3))
  frames = jax.random.uniform(keys[1], (4, HEIGHT, WIDTH, 3))
  crops = jax.random.uniform(keys[2], (4, 16, 16, 3))
  return frames, background, crops, jnp.asarray(boxes, jnp.float32)


ROOMY, TALL = (0.08, 0.1), (0.05, 0.1)  # half sizes, in half frames
PLACES = {
  "inside": [(*ROOMY, 0.1, -0.2), (*TALL, -0.4, 0.3), (0.03, 0.02, 0, 0), (*ROOMY, 0.5, 0.5)],
  "at the border": [(*ROOMY, 0.92, 0), (*ROOMY, -0.93, -0.9), (*TALL, 0, 0.9), (*TALL, -0.8, 0.8)],
  "beyond": [(*ROOMY, 1, 1), (*ROOMY, -0.99, 0.3), (*TALL, 0.2, -1.04), (0.01, 0.01, 0.7, 0)],
}


def make_gradient(error):
  """Errors by frame, and gradients to crops and boxes; nothing is a constant of the program."""

  def total(crops, box, variables, frames, background):
    predicted = compose(crops, box, jnp.repeat(background, 2, 0))
    errors = error(variables, frames, predicted, background, box)
    return (errors * jnp.asarray([1.0, 2, 3, 4])).sum(), errors

  return jax.jit(jax.grad(total, (0, 1), has_aux=True))


def arguments(network, boxes):
  frames, background, crops, box = scene(boxes)
  return crops, box, network[1], frames, background


@pytest.fixture(scope="module")
def compared(network):
  """(boxes) -> which form ran, once it is like the module itself on whole frames."""
  whole = functools.partial(whole_error, network[0])
  reference = make_gradient(lambda v, f, p, background, box: whole(v, f, p))
  taken = []

  def marked(name, original):
    def wrapped(*given):
      jax.debug.callback(lambda: taken.append(name))
      return original(*given)

    return wrapped

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(perceptual_term, "SHARES", (SMALL,))
    patch.setattr(perceptual_term, "WORTH", 10.0)
    for name in ("_whole_error", "_window_error"):
      patch.setattr(perceptual_term, name, marked(name, getattr(perceptual_term, name)))
    tested = make_gradient(functools.partial(perceptual_term.perceptual_error, network[0]))
    tested = tested.lower(*arguments(network, PLACES["inside"])).compile()

  def compare(boxes):
    taken.clear()
    given = arguments(network, boxes)
    got, expected = tested(*given), reference(*given)
    jax.effects_barrier()
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)
    for found, wanted in zip(got[0], expected[0], strict=True):
      for one, other in zip(found, wanted, strict=True):  # frame by frame
        assert np.linalg.norm(other) > 0
        assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(other)
    return set(taken)

  return compare


@pytest.mark.parametrize("place", PLACES)
def test_a_window_gives_the_whole_frames_error_and_gradients(compared, place):
  assert compared(PLACES[place]) == {"_window_error"}


@pytest.mark.parametrize("large", [(0.081, 0.1, 0, 0), (0.08, 0.101, 0.3, 0), (1.0, 0.9, 0.2, 0)])
def test_a_box_too_large_for_the_windows_takes_the_whole_frame(compared, large):
  assert compared([*PLACES["inside"][:3], large]) == {"_whole_error"}


def test_without_a_box_nothing_is_taken_for_known(network):
  frames, background, _, _ = scene(PLACES["inside"])
  predicted = frames[::-1]
  error = functools.partial(perceptual_term.perceptual_error, network[0])
  got = jax.jit(error)(network[1], frames, predicted, background, None)
  np.testing.assert_allclose(got, whole_error(*network, frames, predicted), rtol=1e-5)


def test_windows_lie_around_every_position_that_sees_the_box():
  # reference: a position sees the box where its pixels, stride · i ± reach, meet those of the box
  rng = np.random.default_rng(0)
  share = (0.25, 0.15)
  window = perceptual_window.make_window(400, 600, share)
  box = np.stack(
    [
      rng.uniform(0.01, share[1], 200),
      rng.uniform(0.01, share[0], 200),
      *rng.uniform(-1, 1, (2, 200)),
    ],
    axis=1,
  ).astype(np.float32)
  place = perceptual_window.Place(window, jnp.asarray(box), (400, 600))
  corners = geometry.box_to_corners_px(box, 400, 600)
  assert [e.all for e in window.rows] == [100, 50, 25]
  for extents, starts, low, high in (
    (window.rows, place.rows, corners[:, 1], corners[:, 3]),
    (window.columns, place.columns, corners[:, 0], corners[:, 2]),
  ):
    for e, start, stride, reach in zip(extents, starts, (4, 8, 16), (21, 49, 105), strict=True):
      position = np.arange(e.all)[None] * stride
      sees = (position + reach >= low[:, None]) & (position - reach <= high[:, None])
      start = np.asarray(start)[:, None]
      inside = (np.arange(e.all) >= start) & (np.arange(e.all) < start + e.window)
      assert inside[sees].all()
      assert (inside.sum(1) == e.window).all()


def test_the_reach_is_what_the_maps_answer_to(network):
  made, variables = network
  image = jax.random.uniform(jax.random.key(2), (1, 416, 416, 3))
  moved = image.at[0, 208, 208].add(1.0)
  apply = jax.jit(functools.partial(made.apply, variables))
  for stride, reach, before, after in zip((4, 8, 16), (21, 49, 105), apply(image), apply(moved)):
    rows = np.nonzero(np.abs(np.asarray(before - after)).max((0, 2, 3)))[0] * stride
    assert 208 - reach <= rows.min() <= rows.max() <= 208 + reach
    assert rows.max() - rows.min() > 2 * reach - 3 * stride


def test_windows_are_made_where_they_save_work():
  # 0.6 · 499 + 2 + 2 · reach px, by strides: 86 of 125, 50 of 63 and 32 of 32 positions
  (upright, _), (square, window) = perceptual_term._worthwhile(500, 500, backgrounds=0.25)
  assert (upright, square) == ((0.6, 0.35), (0.6, 0.6))
  work = (3 * (86 / 125) ** 2 + 2 * (50 / 63) ** 2 + 2) / 7
  np.testing.assert_allclose(window.work, work)
  # a background for each frame is one pass more, and small frames are seen everywhere
  assert perceptual_term._worthwhile(500, 500, backgrounds=1.0) == []
  assert perceptual_term._worthwhile(128, 128, backgrounds=0.25) == []
