import dataclasses

import jax
import numpy as np
import pytest
from scenes import SEEN, build_tiny_scene, jitted, make_scene_batch, random_detector
from toy_method import make_adam

from jaxpose import parallel
from jaxpose.methods.drnet import GROUP, DrnetOptions, build_drnet
from jaxpose.training.state import make_state
from jaxpose.training.step import make_train_step

OPTIONS = DrnetOptions(discriminator_width=5, normalise=True)
FALSE = (False,) * 4


@pytest.fixture(scope="module")
def made():
  method = jitted(build_drnet(build_tiny_scene(), SEEN, OPTIONS, None))
  batch = make_scene_batch(FALSE)
  return method, random_detector(method.init(jax.random.key(0), batch)), batch


def _answers(params, a, b):
  """Logits of the discriminator, in numpy."""
  x = np.concatenate([a, b], axis=1).astype(np.float64)
  layers = params["perceptron"]
  for name in ("hidden0", "hidden1"):
    x = np.maximum(x @ np.asarray(layers[name]["kernel"]) + np.asarray(layers[name]["bias"]), 0)
  return (x @ np.asarray(layers["output"]["kernel"]) + np.asarray(layers["output"]["bias"]))[:, 0]


def _to_unit_length(vectors):
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("normalise", [True, False])
def test_terms_are_those_of_their_formulas(made, normalise):
  method, variables, batch = made
  if not normalise:
    raw = dataclasses.replace(OPTIONS, normalise=False)
    method = jitted(build_drnet(build_tiny_scene(), SEEN, raw, None))
  seen = _to_unit_length if normalise else np.asarray
  terms, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  sample = batch["temporal"]
  frames = {
    "image": sample["image"].reshape(16, 24, 32, 3),
    "background": np.repeat(sample["background"], 4, axis=1).reshape(16, 24, 32, 3),
  }
  found = method.embed(variables, frames)
  pose = seen(np.asarray(found["time_variant"])).reshape(4, 4, 6)
  content = seen(np.asarray(found["time_invariant"])).reshape(4, 4, 3)
  params = variables["params"][GROUP]
  same = _answers(params, pose[:, 0], pose[:, 3])
  other = _answers(params, pose[:, 0], np.roll(pose[:, 3], 1, axis=0))
  expected = {
    "similarity": ((content[:, 0] - content[:, 3]) ** 2).mean(1),
    "confusion": -0.5 * np.log(1 / (1 + np.exp(-same))) - 0.5 * np.log(1 / (1 + np.exp(same))),
    "same_video": -np.log(1 / (1 + np.exp(-same))),
    "other_video": -np.log(1 / (1 + np.exp(other))),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(terms[name][0], value, rtol=2e-3, atol=1e-5, err_msg=name)
  # sequences 0 0 1 1: the sample before is of another one at places 0 (the last: 1) and 2
  np.testing.assert_array_equal(terms["other_video"][1], [1, 0, 1, 0])
  for name in ("similarity", "confusion", "same_video"):
    np.testing.assert_array_equal(terms[name][1], [1, 1, 1, 1])


def test_falls_teach_it_nothing_of_videos(made):
  method, variables, batch = made
  sample = {**batch["temporal"], "gravity": np.array([True, False, False, True])}
  terms, _, _ = method.terms(variables, {"temporal": sample}, jax.random.key(1), False)
  for name in ("similarity", "confusion", "same_video"):
    np.testing.assert_array_equal(terms[name][1], [0, 1, 1, 0])
  np.testing.assert_array_equal(terms["other_video"][1], [0, 0, 1, 0])


def test_another_camera_is_another_video(made):
  method, variables, batch = made
  sample = {**batch["temporal"], "camera": np.array([0, 1, 1, 1], np.int32)}
  terms, _, _ = method.terms(variables, {"temporal": sample}, jax.random.key(1), False)
  np.testing.assert_array_equal(terms["other_video"][1], [1, 1, 1, 0])


def _updates(weights, devices=1):
  """(parameters before, after) a step with the given loss weights, others 0."""
  method = build_drnet(build_tiny_scene(axis_name=parallel.AXIS), SEEN, OPTIONS, None)
  over = parallel.devices(jax.devices()[:devices])
  optimisers = {name: make_adam(1e-3, name="sgd") for name in method.objectives}
  batch = make_scene_batch(FALSE)
  state = make_state(method, batch, optimisers=optimisers, seed=0, over=over)
  before = parallel.to_host(state.variables["params"])
  names = {term for o in method.objectives.values() for term in o.terms}
  step = make_train_step(
    method,
    loss_weights={name: weights.get(name, 0.0) for name in names},
    optimisers=optimisers,
    seed=0,
    accumulate=1,
    over=over,
  )
  state, metrics = step(state, parallel.shard_batch(batch, over))
  return before, parallel.to_host(state.variables["params"]), jax.device_get(metrics)


def _moved(before, after):
  return {
    group
    for group in before
    if any(
      (a != b).any()
      for a, b in zip(jax.tree.leaves(before[group]), jax.tree.leaves(after[group]), strict=True)
    )
  }


def test_the_discriminator_learns_from_its_own_terms_and_the_encoder_from_confusion():
  before, after, metrics = _updates({"same_video": 0.5, "other_video": 0.5})
  assert _moved(before, after) == {GROUP}
  assert metrics["gradient_norms/drnet"] == 0
  before, after, metrics = _updates({"confusion": 1.0})
  assert "encoder" in _moved(before, after)
  assert GROUP not in _moved(before, after)
  assert metrics[f"gradient_norms/{GROUP}"] == 0


def test_two_devices_pair_the_samples_that_one_device_pairs():
  weights = {"same_video": 0.5, "other_video": 0.5, "similarity": 1.0, "pixel": 1.0}
  _, one, first = _updates(weights)
  _, two, second = _updates(weights, devices=2)
  np.testing.assert_array_equal(first["weights/other_video"], second["weights/other_video"])
  for name in ("other_video", "similarity", "confusion"):
    np.testing.assert_allclose(first[f"terms/{name}"], second[f"terms/{name}"], rtol=1e-4)
  for a, b in zip(jax.tree.leaves(one[GROUP]), jax.tree.leaves(two[GROUP]), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_what_drnet_needs_is_said():
  with pytest.raises(ValueError, match=r"time_invariant > 0"):
    build_drnet(build_tiny_scene(time_invariant_size=0), SEEN, OPTIONS, None)
  whole = build_tiny_scene()
  bare = whole.clone(encoder=whole.encoder.clone(time_variant_size=0))
  with pytest.raises(ValueError, match=r"time_variant and time_invariant > 0"):
    build_drnet(bare, SEEN, OPTIONS, None)
  with pytest.raises(ValueError, match=r"config\.scene\.decode"):
    build_drnet(build_tiny_scene(), dataclasses.replace(SEEN, decode=False), OPTIONS, None)
