import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import SEEN, build_tiny_scene, flat_frames, jitted, make_views_batch

from jaxpose import parallel
from jaxpose.methods import mv_css
from jaxpose.methods.mv_css import MvCssOptions, build_mv_css

OPTIONS = MvCssOptions(negative="semi_hard", normalise=True, margin=0.2)
UNDECODED = dataclasses.replace(SEEN, decode=False)


def make_batch():
  """Four samples: 0 and 1 share instant 5 of sequence 0, by cameras 1, 0 and 1, 2."""
  batch = make_views_batch(4)
  sample = batch["views"]
  sample["sequence"] = np.int32([0, 0, 1, 1])
  sample["frame"] = np.int32([[5, 5, 20, 20], [5, 5, 31, 31], [5, 5, 20, 20], [8, 8, 31, 31]])
  sample["camera"] = np.int32([[1, 0, 1, 0], [1, 2, 1, 2], [0, 2, 0, 2], [2, 1, 2, 1]])
  return batch


def _scene(axis_name=None):
  return build_tiny_scene(detector=None, time_invariant_size=0, axis_name=axis_name)


@functools.cache
def _build(options):
  return jitted(build_mv_css(_scene(), UNDECODED, options))


@pytest.fixture(scope="module")
def variables():
  return _build(OPTIONS).init(jax.random.key(0), make_batch())


def _vectors(variables, batch):
  found = _build(OPTIONS).encode(variables, flat_frames(batch["views"]))["time_variant"]
  return np.asarray(found, np.float64)


def _semi_hard(vectors, instants, margin):
  """The definition, one anchor at a time: instants are (sequence, frame) of each row."""
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  losses = []
  for anchor in range(len(unit)):
    near = ((unit[anchor] - unit[anchor ^ 1]) ** 2).sum()
    far = [
      ((unit[anchor] - unit[other]) ** 2).sum()
      for other in range(len(unit))
      if instants[other] != instants[anchor]
    ]
    beyond = [d for d in far if d > near]
    losses.append(max(0, near + margin - (min(beyond) if beyond else max(far))))
  return np.array(losses).reshape(-1, 4).mean(1)


def _instants(sample):
  return [(s, f) for s, row in zip(sample["sequence"], sample["frame"]) for f in row]


def test_anchors_meet_the_nearest_negative_of_the_batch_beyond_their_positive(variables):
  batch = make_batch()
  for margin in (0.2, 1e-4):
    options = dataclasses.replace(OPTIONS, margin=margin)
    terms, _, _ = _build(options).terms(variables, batch, jax.random.key(1), False)
    assert set(terms) == {"mv_css"}
    vectors = _vectors(variables, batch)
    expected = _semi_hard(vectors, _instants(batch["views"]), margin)
    np.testing.assert_allclose(terms["mv_css"][0], expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(terms["mv_css"][1], np.ones(4))


def test_negatives_are_of_another_instant_or_sequence():
  batch = make_batch()["views"]
  found = mv_css._of_other_instants(
    {name: jnp.asarray(batch[name]) for name in ("sequence", "frame")}
  )
  instants = _instants(batch)
  np.testing.assert_array_equal(found, [[a != b for b in instants] for a in instants])
  # the third camera of sequence 0 at instant 5, but not sequence 1 at instant 5
  assert not found[0, 5]
  assert found[0, 8]


def test_distant_negatives_are_the_same_cameras_at_the_other_instant(variables):
  batch = make_batch()
  options = MvCssOptions(negative="distant", normalise=False, margin=0.2)
  terms, _, _ = _build(options).terms(variables, batch, jax.random.key(1), False)
  v = _vectors(variables, batch).reshape(4, 4, -1)
  near = ((v - v[:, [1, 0, 3, 2]]) ** 2).sum(-1)
  far = ((v - v[:, [2, 3, 0, 1]]) ** 2).sum(-1)
  expected = np.maximum(0, near + 0.2 - far).mean(1)
  np.testing.assert_allclose(terms["mv_css"][0], expected, rtol=1e-3)
  unit = dataclasses.replace(options, normalise=True)
  other = _build(unit).terms(variables, batch, jax.random.key(1), False)[0]["mv_css"][0]
  v /= np.linalg.norm(v, axis=-1, keepdims=True)
  near = ((v - v[:, [1, 0, 3, 2]]) ** 2).sum(-1)
  far = ((v - v[:, [2, 3, 0, 1]]) ** 2).sum(-1)
  np.testing.assert_allclose(other, np.maximum(0, near + 0.2 - far).mean(1), rtol=1e-3)


def test_negatives_of_the_other_device_count():
  sample = {name: make_batch()["views"][name] for name in ("sequence", "frame")}
  vectors = np.random.default_rng(5).normal(size=(4, 4, 6)).astype(np.float32)
  vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)

  def loss(vectors, sample):
    value = mv_css._triplets(OPTIONS, vectors, sample)
    return value.sum(), value

  def split(x):
    return x.reshape(2, 2, *x.shape[1:])

  look = jax.value_and_grad(loss, has_aux=True)
  (_, whole), gradient = jax.jit(look)(vectors, sample)
  both = jax.pmap(look, axis_name=parallel.AXIS)
  (_, parts), gradients = both(split(vectors), jax.tree.map(split, sample))
  np.testing.assert_allclose(np.ravel(parts), whole, rtol=1e-5)
  np.testing.assert_allclose(np.reshape(gradients, gradient.shape), gradient, atol=1e-5)
  # each device by itself would not see the same negatives
  alone = [
    jax.jit(loss)(vectors[i : i + 2], {k: v[i : i + 2] for k, v in sample.items()})[1]
    for i in (0, 2)
  ]
  assert np.abs(np.concatenate(alone) - np.asarray(whole)).max() > 1e-3


def test_it_embeds_and_decodes_nothing(variables):
  method = _build(OPTIONS)
  assert set(variables["params"]) == {"encoder"}
  assert method.decode is None
  assert method.objectives["mv_css"].parameters == ("encoder",)
  found = method.embed(variables, flat_frames(make_batch()["views"]))
  assert found["time_variant"].shape == (16, 6)
  np.testing.assert_array_equal(found["presence"], np.ones(16))


def test_beside_a_method_that_decodes_it_adds_its_term_alone():
  """Its networks are then the whole scene's, and shown as such."""
  method = build_mv_css(build_tiny_scene(), SEEN, OPTIONS)
  batch = make_batch()
  variables = jax.eval_shape(method.init, jax.random.key(0), batch)
  assert set(variables["params"]) == {"detector", "encoder", "decoder"}
  seen = functools.partial(method.terms, train=False)
  assert set(jax.eval_shape(seen, variables, batch, jax.random.key(1))[0]) == {"mv_css"}
  assert method.objectives["mv_css"].parameters == ("detector", "encoder")
  assert method.decode is not None


def test_an_unknown_negative_is_named():
  with pytest.raises(ValueError, match=r"mv_css\.negative must be one of semi_hard, distant"):
    build_mv_css(_scene(), UNDECODED, dataclasses.replace(OPTIONS, negative="hard"))
