"""The terms of made-up passes through a scene, without its networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import SEEN, build_tiny_scene

from jaxpose import parallel
from jaxpose.methods import scene_terms
from jaxpose.methods.weak_labels import Head

WHOLE, BOXED = build_tiny_scene(detector=None), build_tiny_scene()


def make_pass(samples=2):
  """(frames, what the networks made of them) of 5 x 6 px; the first frame is of one colour."""
  rng = np.random.default_rng(0)
  frames, drawn = rng.random((2, 4 * samples, 5, 6, 3), np.float32)
  frames[0] = 0.5
  boxes = rng.random((4 * samples, 4), np.float32)
  return jnp.asarray(frames), {"reconstruction": jnp.asarray(drawn), "box": jnp.asarray(boxes)}


@pytest.mark.parametrize("pixel_loss", ["l1", "l2"])
@pytest.mark.parametrize("least", [None, 0.9])
def test_pixel_errors_are_in_deviations_of_all_images_or_of_their_own(pixel_loss, least):
  frames, out = make_pass()
  options = dataclasses.replace(SEEN, pixel_loss=pixel_loss, label_statistics=least)
  value, weight = scene_terms.pass_terms(WHOLE, options, {}, frames, out)["pixel"]
  # both are moved by one mean, so that of their difference the deviations alone are left
  usual = np.array([0.229, 0.224, 0.225])
  own = np.ones((8, 1, 1, 3))
  if least is not None:
    own = np.maximum(np.std(np.asarray(frames) / usual, axis=(1, 2), keepdims=True), least)
    assert (own == least).sum() == 3  # the even frame
  error = np.abs(np.asarray(out["reconstruction"] - frames)) / usual / own
  each = np.mean(error if pixel_loss == "l1" else error**2, axis=(1, 2, 3))
  np.testing.assert_allclose(value, each.reshape(2, 4).mean(1), rtol=1e-5)
  np.testing.assert_array_equal(weight, [1, 1])


def test_each_term_of_falls_is_of_its_own_formula():
  box = np.tile(np.float32([0.2, 0.3, 0.0, 0.0]), (8, 1))
  box[4:, 3] = [0.0, 0.1, 0.1, 0.5]
  box[7, 0] = 0.4
  frames, out = make_pass()
  sample = {"gravity": jnp.array([False, True])}
  options = dataclasses.replace(SEEN, decode=False, order_threshold=0.03)
  found = scene_terms.pass_terms(BOXED, options, sample, frames, out | {"box": jnp.asarray(box)})
  # (u4 + 3 u2) - (u1 + 3 u3) = 0.5 + 0.3 - 0.0 - 0.3; the middle step is 0.03 too short; the
  # last frame is wider by 0.2. The person who stands still makes three steps that are too short.
  expected = {"constant_acceleration": (0, 0.25), "order": (0.09, 0.03), "scale_change": (0, 0.04)}
  for name, values in expected.items():
    np.testing.assert_allclose(found[name][0], values, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found[name][1], [0, 1], err_msg=name)


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("scene", [WHOLE, BOXED], ids=["whole", "boxed"])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_pass_has_the_terms_that_are_named(decode, scene, tracked):
  frames, out = make_pass()
  options = dataclasses.replace(SEEN, decode=decode)
  sample = {"gravity": jnp.array([False, True])} if tracked else {}
  found = scene_terms.pass_terms(scene, options, sample, frames, out)
  named = {"perceptual": True, "tracked": tracked}
  names = scene_terms.term_names(scene, options, **named)
  assert sorted(names) == sorted([*found, *(["perceptual"] if decode else [])])
  without = scene_terms.term_names(scene, options, **named | {"perceptual": False})
  assert sorted(without) == sorted(found)


def test_summaries_tell_how_large_boxes_are_and_how_they_differ():
  box = jnp.array([[0.2, 0.4, 0.0, 0.1], [0.4, 0.4, 0.2, 0.1]])
  # widths 0.2 and 0.4, heights alike
  expected = {"box_scale_mean": 0.35, "box_scale_spread": 0.05, "box_shift_spread": 0.05}
  found = scene_terms.summaries({"box": box})
  assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
  mask = {"mask_max": jnp.array([0.5, 1.0]), "mask_frame": jnp.zeros((2, 4, 5, 1)).at[0, 1].set(1)}
  found = scene_terms.summaries({"box": box, **mask})
  assert {name: float(value) for name, value in found.items()} == pytest.approx(
    {**expected, "mask_max_mean": 0.75, "mask_area": 5 / 40}
  )


def test_summaries_tell_how_vectors_differ_for_their_size():
  out = {"box": jnp.zeros((2, 4))}
  out["time_variant"] = jnp.array([[1.0, 2.0], [3.0, 2.0]])  # variances 1 and 0, squares 5 and 4
  out["time_invariant"] = jnp.zeros((2, 0))
  found = scene_terms.summaries(out)
  assert float(found["time_variant_spread"]) == pytest.approx((1 / 9) ** 0.5)
  assert "time_invariant_spread" not in found
  out["time_invariant"] = jnp.zeros((2, 3))
  assert float(scene_terms.summaries(out)["time_invariant_spread"]) == 0
  apart = {name: value[:, None] for name, value in out.items()}  # one on each device
  found = jax.vmap(scene_terms.summaries, axis_name=parallel.AXIS)(apart)
  np.testing.assert_allclose(found["time_variant_spread"], [(1 / 9) ** 0.5] * 2, rtol=1e-6)


def test_boxes_of_different_devices_are_spread_too():
  box = jnp.array([[[0.2, 0.4, 0.0, 0.1]], [[0.4, 0.4, 0.2, 0.1]]])  # one on each device
  found = jax.vmap(lambda own: scene_terms.summaries({"box": own}), axis_name=parallel.AXIS)(box)
  np.testing.assert_allclose(found["box_scale_spread"], [0.05] * 2, rtol=1e-5)
  np.testing.assert_allclose(found["box_shift_spread"], [0.05] * 2, rtol=1e-5)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"pixel_loss": "huber"}, "pixel_loss must be one of l1, l2, not 'huber'"),
    ({"background": "mix"}, "background must be one of keep, remove, not 'mix'"),
  ],
)
def test_options_that_there_are_not_are_named(change, words):
  scene_terms.check_options(WHOLE, SEEN)
  with pytest.raises(ValueError, match=words):
    scene_terms.check_options(WHOLE, dataclasses.replace(SEEN, **change))


def test_joints_need_a_vector_to_be_read_from():
  labelled = dataclasses.replace(SEEN, head=Head(8, 1))
  scene_terms.check_options(WHOLE, labelled)
  bare = WHOLE.clone(encoder=WHOLE.encoder.clone(time_variant_size=0))
  with pytest.raises(ValueError, match=r"2D joints are read from config\.model\.time_variant > 0"):
    scene_terms.check_options(bare, labelled)
