import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import (
  JITTER,
  SEEN,
  build_tiny_scene,
  flat_frames,
  jitted,
  make_scene_batch,
  random_detector,
)

from jaxpose.methods import scene_method, weak_labels
from jaxpose.methods.dsl import DslOptions, build_dsl
from jaxpose.models.perceptual import PerceptualFeatures

OPTIONS = DslOptions(contrast="dsl", d_max=10.0, temperature=0.2, include_positive=True)


def _build(scene, seen=SEEN, options=OPTIONS):
  return jitted(build_dsl(scene, seen, options, None))


@pytest.fixture(scope="module")
def made():
  method = _build(build_tiny_scene())
  return method, random_detector(method.init(jax.random.key(0), make_scene_batch()))


def test_terms_of_falls_and_of_temporal_samples_do_not_mix(made):
  method, variables = made
  terms, _, _ = method.terms(variables, make_scene_batch(), jax.random.key(1), False)
  assert set(terms) == set(method.objectives["dsl"].terms)
  np.testing.assert_array_equal(terms["dsl"][1], [1, 0])
  for name in ("constant_acceleration", "order", "scale_change"):
    np.testing.assert_array_equal(terms[name][1], [0, 1])
  for name in ("pixel", "box_scale", "tight_box", "box_location"):
    np.testing.assert_array_equal(terms[name][1], [1, 1])
  for value, weight in terms.values():
    assert value.shape == weight.shape == (2,)


def test_pixel_term_is_the_mean_squared_error_of_what_is_rendered(made):
  method, variables = made
  batch = make_scene_batch()
  plain = _build(build_tiny_scene(), dataclasses.replace(SEEN, swap="none"))
  terms, _, _ = plain.terms(variables, batch, jax.random.key(1), False)
  sample = batch["temporal"]
  frames = {
    "image": sample["image"].reshape(8, 24, 32, 3),
    "background": np.repeat(sample["background"], 4, axis=1).reshape(8, 24, 32, 3),
  }
  shown = method.render(variables, frames)
  std = np.array([0.229, 0.224, 0.225])
  error = (np.asarray(shown["reconstruction"]) - frames["image"] / 255.0) ** 2
  np.testing.assert_allclose(
    terms["pixel"][0], (error / std**2).reshape(2, 4, -1).mean((1, 2)), rtol=1e-4
  )
  bare = ((frames["background"] / 255.0 - frames["image"] / 255.0) ** 2).sum((1, 2, 3))
  np.testing.assert_allclose(shown["background_error"], bare, rtol=1e-4)
  np.testing.assert_allclose(shown["gain"], bare - error.sum((1, 2, 3)), rtol=1e-3, atol=1e-2)


def test_priors_see_the_mean_box_of_the_wholemake_scene_batch(made):
  method, variables = made
  batch = make_scene_batch()
  sample = batch["temporal"]
  frames = {
    "image": sample["image"].reshape(8, 24, 32, 3),
    "background": np.repeat(sample["background"], 4, axis=1).reshape(8, 24, 32, 3),
  }
  mean = np.asarray(method.embed(variables, frames)["box"]).mean(0)
  terms, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  # a square of half the shorter side, 24 of 32 x 24 px: 0.5 * 24 / 32 wide, 0.5 high
  scale = (mean[0] - 0.375) ** 2 + (mean[1] - 0.5) ** 2
  tight = (mean[0] - 0.15) ** 2 + (mean[1] - 0.8) ** 2
  location = (mean[2] - 0.1) ** 2 + (mean[3] + 0.2) ** 2
  np.testing.assert_allclose(terms["box_scale"][0], [scale] * 2, rtol=1e-4)
  np.testing.assert_allclose(terms["tight_box"][0], [tight] * 2, rtol=1e-4)
  np.testing.assert_allclose(terms["box_location"][0], [location] * 2, rtol=1e-4)


def test_dsl_term_sees_the_time_variant_vectors_of_a_sample(made):
  method, variables = made
  batch = make_scene_batch(gravity=(False, False))
  sample = batch["temporal"]
  frames = {
    "image": sample["image"].reshape(8, 24, 32, 3),
    "background": np.repeat(sample["background"], 4, axis=1).reshape(8, 24, 32, 3),
  }
  vectors = np.asarray(method.embed(variables, frames)["time_variant"], np.float64)
  unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).reshape(2, 4, 6)
  similarity = np.einsum("bd,btd->bt", unit[:, 0], unit[:, 1:])
  # distances 1, 6 and 12 of d_max 10: weights 1 - 0.2, 1.2 - 1 and min(2.4 - 1, 1)
  expected = 0.8 * abs(similarity[:, 0] - 1) + 0.2 * abs(similarity[:, 1]) + abs(similarity[:, 2])
  terms, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  np.testing.assert_allclose(terms["dsl"][0], expected, rtol=1e-3)


def test_another_frames_appearance_is_decoded(made):
  method, variables = made
  batch = make_scene_batch()
  swapped, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  plain = _build(build_tiny_scene(), dataclasses.replace(SEEN, swap="none"))
  own, _, _ = plain.terms(variables, batch, jax.random.key(1), False)
  assert np.abs(swapped["pixel"][0] - own["pixel"][0]).max() > 1e-6
  np.testing.assert_allclose(swapped["dsl"][0], own["dsl"][0])


def test_jitter_changes_training_only_and_batch_statistics_move():
  method = _build(build_tiny_scene(), dataclasses.replace(SEEN, jitter=JITTER))
  plain = _build(build_tiny_scene())
  batch = make_scene_batch(gravity=(False, False))
  variables = random_detector(method.init(jax.random.key(0), batch))
  key = jax.random.key(1)
  train, updated, _ = method.terms(variables, batch, key, True)
  without, _, _ = plain.terms(variables, batch, key, True)
  assert np.abs(train["dsl"][0] - without["dsl"][0]).max() > 1e-4
  still, same, _ = method.terms(variables, batch, key, False)
  np.testing.assert_allclose(
    still["dsl"][0], plain.terms(variables, batch, key, False)[0]["dsl"][0]
  )
  before = jax.tree.leaves(variables["batch_stats"])
  assert any(
    np.abs(a - b).max() > 0 for a, b in zip(before, jax.tree.leaves(updated["batch_stats"]))
  )
  for a, b in zip(before, jax.tree.leaves(same["batch_stats"]), strict=True):
    np.testing.assert_array_equal(a, b)


def test_draws_follow_the_example_and_not_its_place_in_themake_scene_batch():
  method = _build(build_tiny_scene(dropout=0.5))
  batch = make_scene_batch(gravity=(False, False))
  variables = method.init(jax.random.key(0), batch)
  flipped = {"temporal": {name: value[::-1] for name, value in batch["temporal"].items()}}
  first, _, _ = method.terms(variables, batch, jax.random.key(1), True)
  second, _, _ = method.terms(variables, flipped, jax.random.key(1), True)
  np.testing.assert_allclose(first["pixel"][0], second["pixel"][0][::-1], rtol=1e-5)


def test_decode_gives_the_crop_that_render_pastes(made):
  method, variables = made
  sample = make_scene_batch()["temporal"]
  frames = {"image": sample["image"][:, 0], "background": sample["background"][:, 0]}
  shown = method.render(variables, frames)
  crop, pasted = method.decode(variables, shown["time_variant"], shown["time_invariant"])
  np.testing.assert_allclose(crop, shown["decoded"], rtol=1e-5)
  np.testing.assert_allclose(pasted, shown["mask_crop"], atol=1e-5)
  for mask, box in zip(np.asarray(shown["mask_frame"])[..., 0], shown["mask_box_px"]):
    rows, columns = np.nonzero(mask >= 0.15)
    assert (mask >= 0.5).sum() < len(rows)
    sides = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
    np.testing.assert_allclose(box, sides)
  alone = method.encode(variables, {"image": frames["image"]})
  assert set(alone) == {"time_variant", "time_invariant", "box"}
  for name, value in alone.items():
    np.testing.assert_allclose(value, shown[name], atol=1e-5)


def test_perceptual_term_compares_frozen_features_of_frame_and_reconstruction():
  network = PerceptualFeatures()
  weights = jax.jit(network.init)(jax.random.key(5), jnp.zeros((1, 24, 32, 3)))
  method = jitted(build_dsl(build_tiny_scene(), SEEN, OPTIONS, (network, weights)))
  batch = make_scene_batch()
  variables = method.init(jax.random.key(0), batch)
  found, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  frames = {
    "image": batch["temporal"]["image"].reshape(8, 24, 32, 3),
    "background": np.repeat(batch["temporal"]["background"], 4, axis=1).reshape(8, 24, 32, 3),
  }
  # untrained boxes are alike and the appearance hardly counts, so that swaps change little
  shown = method.render(variables, frames)
  seen = network.apply(weights, jnp.asarray(frames["image"] / np.float32(255)))
  drawn = network.apply(weights, shown["reconstruction"])
  expected = sum(((a - b) ** 2).reshape(8, -1).mean(1) for a, b in zip(seen, drawn))
  got = np.asarray(found["perceptual"][0])
  np.testing.assert_allclose(got, np.asarray(expected).reshape(2, 4).mean(1), rtol=0.05)
  assert "perceptual" in method.objectives["dsl"].terms
  assert "perceptual" not in method.objectives["dsl"].parameters


def test_css_compares_near_with_two_far_frames():
  options = dataclasses.replace(OPTIONS, contrast="css")
  method = _build(build_tiny_scene(), options=options)
  batch = make_scene_batch(gravity=(False, True))
  variables = random_detector(method.init(jax.random.key(0), batch))
  terms, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  sample = batch["temporal"]
  frames = {
    "image": sample["image"].reshape(8, 24, 32, 3),
    "background": np.repeat(sample["background"], 4, axis=1).reshape(8, 24, 32, 3),
  }
  vectors = np.asarray(method.embed(variables, frames)["time_variant"], np.float64)
  unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).reshape(2, 4, 6)
  logits = np.einsum("bd,btd->bt", unit[:, 0], unit[:, 1:]) / 0.2  # near, far, far
  expected = np.log(np.exp(logits).sum(1)) - logits[:, 0]
  np.testing.assert_allclose(terms["css"][0], expected, rtol=1e-3)
  np.testing.assert_array_equal(terms["css"][1], [1, 0])
  assert "dsl" not in terms


def test_without_decoding_there_are_boxes_and_vectors_and_no_decoder():
  seen = dataclasses.replace(SEEN, decode=False, swap="none")
  method = _build(build_tiny_scene(time_invariant_size=0), seen)
  batch = make_scene_batch()
  variables = method.init(jax.random.key(0), batch)
  assert set(variables["params"]) == {"detector", "encoder"}
  assert set(method.objectives["dsl"].parameters) == {"detector", "encoder"}
  terms, _, outputs = method.terms(variables, batch, jax.random.key(1), True)
  assert set(terms) == set(method.objectives["dsl"].terms)
  assert not {"pixel", "perceptual"} & set(terms)
  assert "mask_area" not in outputs["summaries"]
  frames = {"image": batch["temporal"]["image"][:, 0]}
  found = method.embed(variables, frames)
  assert set(found) == {"time_variant", "time_invariant", "box", "presence"}
  np.testing.assert_array_equal(found["presence"], [1, 1])
  assert method.render(variables, frames)["crop"].shape == (2, 16, 16, 3)
  assert method.decode is None


def test_without_a_detector_there_are_no_terms_of_boxes():
  seen = dataclasses.replace(SEEN, swap="none")
  method = _build(build_tiny_scene(detector=None, time_invariant_size=0), seen)
  batch = make_scene_batch()
  terms, _, _ = method.terms(method.init(jax.random.key(0), batch), batch, jax.random.key(1), True)
  assert set(terms) == {"pixel", "dsl"}


def test_the_place_of_a_removed_background_is_not_jittered(made):
  _, variables = made
  batch = make_scene_batch()
  batch["temporal"]["image"] = np.repeat(batch["temporal"]["background"], 4, axis=1)  # nobody
  terms = {}
  for background in ("keep", "remove"):
    for jitter in (None, JITTER):
      method = _build(
        build_tiny_scene(), dataclasses.replace(SEEN, background=background, jitter=jitter)
      )
      found = method.terms(variables, batch, jax.random.key(1), True)[0]
      terms[background, jitter is None] = np.asarray(found["dsl"][0])
  assert np.abs(terms["keep", True] - terms["keep", False])[0] > 1e-4
  np.testing.assert_allclose(terms["remove", True], terms["remove", False], atol=1e-6)


@pytest.mark.parametrize("decode", [True, False])
def test_removed_background_is_hidden_from_the_networks_alone(decode):
  batch = make_scene_batch((False, False))
  sample = batch["temporal"]
  # Half of each frame shows the background; the mean colour that replaces it is ImageNet's.
  sample["image"][..., :16, :] = sample["background"][..., :16, :]
  difference = np.abs(sample["image"].astype(int) - sample["background"]).max(-1, keepdims=True)
  mean = np.rint(255 * np.array([0.485, 0.456, 0.406])).astype(np.uint8)
  hidden = {
    "image": np.where(difference > 127.5, sample["image"], mean),
    "background": np.repeat(sample["background"], 4, axis=1),
  }
  frames = {
    "image": sample["image"].reshape(8, 24, 32, 3),
    "background": np.repeat(sample["background"], 4, axis=1).reshape(8, 24, 32, 3),
  }
  seen = dataclasses.replace(SEEN, decode=decode, threshold=0.5)
  removes, keeps = (
    _build(build_tiny_scene(), dataclasses.replace(seen, background=b)) for b in ("remove", "keep")
  )
  variables = random_detector(keeps.init(jax.random.key(0), batch))
  expected = keeps.encode(variables, flat_frames(hidden))
  for look in (removes.encode, removes.embed, removes.render):
    found = look(variables, frames)
    for name in ("box", "time_variant", "time_invariant"):
      np.testing.assert_allclose(found[name], expected[name], atol=2e-2)  # a rounded mean
      assert not np.allclose(keeps.encode(variables, frames)[name], expected[name], atol=1e-1)
  terms, _, _ = removes.terms(variables, batch, jax.random.key(1), False)
  shown = {**batch, "temporal": {**sample, **hidden}}
  treated, _, _ = keeps.terms(variables, shown, jax.random.key(1), False)
  np.testing.assert_allclose(terms["dsl"][0], treated["dsl"][0], rtol=1e-1)
  assert not decode or not np.allclose(terms["pixel"][0], treated["pixel"][0], rtol=1e-3)


def test_what_cannot_learn_is_an_error():
  nothing = dataclasses.replace(OPTIONS, contrast="none")
  with pytest.raises(ValueError, match="nothing to learn from"):
    build_dsl(build_tiny_scene(), dataclasses.replace(SEEN, decode=False), nothing, None)
  joints = dataclasses.replace(SEEN, decode=False, head=weak_labels.Head(8, 1))
  found = build_dsl(build_tiny_scene(), joints, nothing, None)  # P2 §4.5: a backbone's features
  assert "pose2d" in found.objectives["dsl"].terms
  unknown = dataclasses.replace(OPTIONS, contrast="cosine")
  with pytest.raises(ValueError, match="contrast must be one of dsl, css, none, not 'cosine'"):
    build_dsl(build_tiny_scene(), SEEN, unknown, None)


@pytest.mark.parametrize(("backend", "windowed"), [("cpu", False), ("gpu", True)])
def test_features_are_computed_around_boxes_where_branches_are_cheap(
  backend, windowed, monkeypatch
):
  boxes = []

  def error(network, variables, frames, predicted, background, box):
    boxes.append(box)
    return jnp.zeros(len(frames))

  monkeypatch.setattr(scene_method, "perceptual_error", error)
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  method = build_dsl(build_tiny_scene(), SEEN, OPTIONS, (PerceptualFeatures(), {}))
  batch = make_scene_batch()
  plain = build_dsl(build_tiny_scene(), SEEN, OPTIONS, None)
  variables = {**plain.init(jax.random.key(0), batch), "frozen": {"perceptual": {}}}
  jax.jit(method.terms, static_argnums=3)(variables, batch, jax.random.key(1), False)
  assert [box is not None for box in boxes] == [windowed]
