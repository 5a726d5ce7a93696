import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import build_tiny_scene, jitted

from jaxpose import geometry, parallel
from jaxpose.losses import sync_flip as losses
from jaxpose.methods import sync_flip
from jaxpose.methods.sync_flip import SyncFlipOptions, build_sync_flip
from jaxpose.models import stn

OPTIONS = SyncFlipOptions(
  crop="labels",
  enlarge=1.25,
  background="remove",
  threshold=0.3,
  detector_background="keep",
  detector_threshold=0.5,
  shift=0.0,
  scale=0.0,
  rotation_deg=0.0,
  fusion="mult",
  features="time_variant",
)
SIZE = (24, 32)
KINDS = {"synchronised": [True, False, True, True], "flipped": [False, False, True, True]}
MIRRORED = [[False, False], [False, False], [True, False], [False, True]]


def make_batch(seed=0):
  rng = np.random.default_rng(seed)
  low = rng.uniform(2, 8, (4, 2, 2))
  box = np.concatenate([low, low + rng.uniform(6, 14, (4, 2, 2))], axis=-1)
  pictures = {
    name: rng.integers(0, 256, (4, 2, *SIZE, 3)).astype(np.uint8)
    for name in ("image", "background", "substitute")
  }
  sample = pictures | {
    "subject_px": box.astype(np.float32),
    "example": np.arange(7, 11, dtype=np.uint32),
    "mirrored": np.array(MIRRORED),
    **{name: np.array(kind) for name, kind in KINDS.items()},
  }
  return {"pair": sample}


def build_scene(detector=None):
  return build_tiny_scene(detector=detector, time_invariant_size=0, stages=1)


def build(detector=None, **changes):
  return jitted(build_sync_flip(build_scene(detector), dataclasses.replace(OPTIONS, **changes)))


@functools.cache
def _make_crops(train, changes):
  options = dataclasses.replace(OPTIONS, **dict(changes))
  networks = build_sync_flip(build_scene(), options).terms.args[0]

  def crops(sample, rng):
    keys = parallel.fold_in_examples(rng, sample["example"])
    return sync_flip._pair_crops(networks, {}, sample, keys, train)[0]

  return jax.jit(crops)


def crops_of(batch, *, train=False, seed=1, **changes):
  found = _make_crops(train, tuple(changes.items()))(batch["pair"], jax.random.key(seed))
  return np.asarray(found).reshape(4, 2, 16, 16, 3)


@pytest.fixture(scope="module")
def made():
  method = build()
  return method, method.init(jax.random.key(0), make_batch())


def test_terms_are_those_of_what_embed_gives_of_views_mirrored_by_hand(made):
  method, variables = made
  batch = make_batch()
  sample = batch["pair"]
  flat = {n: sample[n].reshape(-1, *SIZE, 3) for n in ("image", "background")}
  box = sample["subject_px"].reshape(-1, 4).copy()
  for row in np.flatnonzero(sample["mirrored"].ravel()):
    for pictures in flat.values():
      pictures[row] = pictures[row, :, ::-1].copy()
    box[row] = [31 - box[row, 2], box[row, 1], 31 - box[row, 0], box[row, 3]]
  vectors = np.asarray(method.embed(variables, flat | {"subject_px": box})["time_variant"])
  first, second = vectors.reshape(4, 2, 6).swapaxes(0, 1)
  terms, _, _ = method.terms(variables, make_batch(), jax.random.key(1), False)
  learned = method.objectives["sync_flip"].terms
  assert set(learned) == {"synchronisation", "flip"}
  assert set(terms) == {*learned, "synchronisation_accuracy", "flip_accuracy"}
  fused = np.maximum(first * second, 0)
  kinds = [jnp.asarray(KINDS[name]) for name in ("synchronised", "flipped")]
  expected = {"synchronisation": losses.synchronisation, "flip": losses.flip}
  heads = variables["params"]["sync_flip"]
  for (name, loss), head, truth in zip(expected.items(), ("synchronised", "flipped"), kinds):
    logits = fused @ np.asarray(heads[head]["kernel"])[:, 0] + np.asarray(heads[head]["bias"])
    value, weight = loss(jnp.asarray(logits), *kinds)
    np.testing.assert_allclose(terms[name][0], value, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(terms[name][1], weight)
    right, counted = terms[f"{name}_accuracy"]
    np.testing.assert_array_equal(right, (logits > 0) == np.asarray(truth))
    np.testing.assert_array_equal(counted, weight)


def test_pairs_whose_subject_is_not_known_have_no_weight(made):
  method, variables = made
  batch = make_batch()
  batch["pair"]["subject_px"][0, 1] = np.nan
  terms = method.terms(variables, batch, jax.random.key(1), False)[0]
  np.testing.assert_array_equal(terms["synchronisation"][1], [0, 1, 0, 0])
  np.testing.assert_array_equal(terms["flip"][1], [0, 0, 1, 1])
  assert all(np.isfinite(value).all() for value, _ in terms.values())
  for name in ("synchronisation", "flip"):
    np.testing.assert_array_equal(terms[f"{name}_accuracy"][1], terms[name][1])


def test_both_views_are_mirrored_alike_before_a_flipped_one_is():
  batch = make_batch()
  batch["pair"] |= {"mirrored": np.zeros((4, 2), bool)}
  plain = crops_of(batch)
  seen = set()
  for seed in range(10):
    found = crops_of(make_batch(), train=True, seed=seed)
    for row in range(4):
      turned = [not np.allclose(found[row, view], plain[row, view], atol=1e-6) for view in range(2)]
      for view in range(2):
        expected = plain[row, view, :, ::-1] if turned[view] else plain[row, view]
        np.testing.assert_allclose(found[row, view], expected, atol=1e-6)
      assert (turned[0] != turned[1]) == KINDS["flipped"][row]
      seen.add((row, turned[0]))
  assert len(seen) == 8
  calm = crops_of(make_batch())
  np.testing.assert_allclose(calm[2, 0], plain[2, 0, :, ::-1])
  np.testing.assert_allclose(calm[2, 1], plain[2, 1])


def test_the_background_goes_before_the_crop_is_taken():
  batch = make_batch()
  sample = batch["pair"]
  sample["mirrored"][:] = False
  image, own, other = (
    sample[name].astype(np.float32) / 255 for name in ("image", "background", "substitute")
  )
  person = (np.abs(image - own).max(-1, keepdims=True) > 0.3).astype(np.float32)
  empty = np.float32([0.485, 0.456, 0.406])
  boxes = sample["subject_px"].reshape(-1, 4)
  side = 1.25 * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
  centre = (boxes[:, :2] + boxes[:, 2:]) / 2
  square = geometry.corners_px_to_box(np.concatenate([centre - side, centre + side], 1), *SIZE)

  def crop(frames):
    flat = jnp.asarray(frames.reshape(-1, *SIZE, 3))
    return np.asarray(stn.crop(flat, jnp.asarray(square), (16, 16))).reshape(4, 2, 16, 16, 3)

  expected = {
    "keep": crop(image),
    "remove": crop(np.where(person > 0, image, empty)),
    "substitute": crop(np.where(person > 0, image, other)),
  }
  for background, crops in expected.items():
    np.testing.assert_allclose(crops_of(batch, background=background), crops, atol=1e-5)
  # each pair is of one of both kinds, and each kind occurs
  kinds = []
  for seed in range(6):
    for row, views in enumerate(crops_of(batch, background="mix", seed=seed)):
      near = [np.allclose(views, expected[b][row], atol=1e-5) for b in ("remove", "substitute")]
      assert sum(near) == 1
      kinds.append(near[0])
  assert 6 <= sum(kinds) <= 18


@pytest.mark.parametrize("change", [{"shift": 0.2}, {"scale": 0.3}, {"rotation_deg": 30.0}])
def test_each_view_has_a_disturbance_of_its_own_which_goes_with_its_example(change):
  batch = make_batch()
  for name in ("image", "background", "subject_px", "mirrored"):
    batch["pair"][name][:] = batch["pair"][name][:1, :1]
  plain, found = crops_of(batch), crops_of(batch, **change)
  views = found.reshape(8, -1)
  apart = np.abs(views[:, None] - views[None]).max(-1) + np.eye(8)
  assert apart.min() > 1e-3
  assert np.abs(found - plain).max() > 1e-3
  backwards = {"pair": {name: value[::-1] for name, value in batch["pair"].items()}}
  np.testing.assert_allclose(crops_of(backwards, **change)[::-1], found, atol=1e-5)


def test_the_features_are_the_backbones_or_the_time_variant_vector():
  frames = {n: make_batch()["pair"][n].reshape(-1, *SIZE, 3) for n in ("image", "background")}
  frames["subject_px"] = make_batch()["pair"]["subject_px"].reshape(-1, 4)
  for features, method_name in (("pooled", "features"), ("time_variant", "encode")):
    method = build(features=features)
    variables = method.init(jax.random.key(0), make_batch())
    assert set(variables["params"]) == {"encoder", "sync_flip"}
    found = method.render(variables, frames)
    scene = build_scene()
    look = jax.jit(nn.apply(lambda s, x, name=method_name: getattr(s, name)(x, False), scene))
    vectors = look(variables, found["crop"])
    vectors = vectors[0] if features == "time_variant" else vectors
    np.testing.assert_allclose(found["time_variant"], vectors, rtol=1e-4, atol=1e-5)
    fused = variables["params"]["sync_flip"]["flipped"]["kernel"].shape[0]
    assert fused == vectors.shape[1]
    assert found["time_invariant"].shape == (8, 0)
    embedded = method.embed(variables, frames)
    assert set(embedded) == {"time_variant", "time_invariant", "box", "presence"}
    assert set(method.encode(variables, frames)) == {"time_variant", "time_invariant", "box"}
    np.testing.assert_array_equal(embedded["box"], found["box"])
  assert vectors.shape[1] == 6


def test_frames_without_a_known_subject_are_seen_whole(made):
  method, variables = made
  batch = make_batch()["pair"]
  frames = {n: batch[n][:, 0] for n in ("image", "background", "subject_px")}
  frames["subject_px"][1] = np.nan
  found = method.embed(variables, frames)
  np.testing.assert_array_equal(found["box"][1], [1, 1, 0, 0])
  np.testing.assert_array_equal(found["presence"], [1, 0, 1, 1])  # and count as empty
  assert np.isfinite(found["time_variant"]).all()
  del frames["subject_px"]
  with pytest.raises(ValueError, match="give subject_px"):
    method.embed(variables, frames)


def test_a_detector_crops_and_learns_nothing_from_it():
  method = build("resnet_small", crop="detector")
  batch = make_batch()
  variables = method.init(jax.random.key(0), batch)
  assert set(variables["params"]) == {"encoder", "detector", "sync_flip"}
  kernel = variables["params"]["detector"]["box"]["kernel"]
  noise = 0.05 * np.random.default_rng(1).normal(size=kernel.shape)
  variables["params"]["detector"]["box"]["kernel"] = jnp.asarray(noise, jnp.float32)

  def loss(params):
    terms = method.terms({**variables, "params": params}, batch, jax.random.key(1), True)[0]
    return sum(jnp.sum(value * weight) for value, weight in terms.values())

  gradients = jax.grad(loss)(variables["params"])
  norms = {g: sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(t)) for g, t in gradients.items()}
  assert norms["detector"] == 0
  assert min(norms["encoder"], norms["sync_flip"]) > 0
  assert method.objectives["sync_flip"].parameters == ("encoder", "sync_flip")
  _, updated, _ = method.terms(variables, batch, jax.random.key(1), True)
  same = jax.tree.map(
    np.array_equal, variables["batch_stats"]["detector"], updated["batch_stats"]["detector"]
  )
  assert all(jax.tree.leaves(same))
  moved = zip(*(jax.tree.leaves(v["batch_stats"]["encoder"]) for v in (variables, updated)))
  assert any(np.abs(a - b).max() > 0 for a, b in moved)
  frames = {n: batch["pair"][n].reshape(-1, *SIZE, 3) for n in ("image", "background")}
  box = np.asarray(method.embed(variables, frames)["box"])
  scene = build_scene("resnet_small")
  images = jnp.asarray(frames["image"], jnp.float32) / 255
  expected = nn.apply(lambda s, x: s.detect(x, False), scene)(variables, images)
  np.testing.assert_allclose(box, expected, rtol=1e-4, atol=1e-5)
  assert box.std(axis=0).max() > 1e-4
  blind = build("resnet_small", crop="detector", detector_background="remove")
  difference = np.abs(frames["image"].astype(int) - frames["background"]).max(-1, keepdims=True)
  removed = jnp.where(difference > 127.5, images, jnp.asarray([0.485, 0.456, 0.406]))
  expected = nn.apply(lambda s, x: s.detect(x, False), scene)(variables, removed)
  seen = np.asarray(blind.embed(variables, frames)["box"])
  np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-5)
  assert np.abs(seen - box).max() > 1e-3


@pytest.mark.parametrize(
  ("change", "word"),
  [
    ({"background": "blur"}, "background of sync_flip must be one of keep, remove, .*'blur'"),
    ({"features": "both"}, "features of sync_flip must be one of pooled, time_variant"),
    ({"fusion": "product"}, "fusion of sync_flip must be one of mult"),
    ({"crop": "detector"}, r"config\.pairs\.crop is 'detector', and config\.model\.detector"),
  ],
)
@pytest.mark.usefixtures("unchecked_signatures")
def test_what_cannot_be_is_named(change, word):
  with pytest.raises(ValueError, match=word):
    build(**change)
