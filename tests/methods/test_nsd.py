import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import (
  SEEN,
  build_tiny_scene,
  flat_frames,
  jitted,
  make_views_batch,
  random_detector,
  turn,
)
from toy_method import make_adam

from jaxpose import geometry, parallel
from jaxpose.methods.nsd import NsdOptions, build_nsd, rotate_between_views
from jaxpose.training.state import make_state
from jaxpose.training.step import make_train_step

COUNT = 6  # samples


@functools.cache
def _build(probability):
  return jitted(build_nsd(build_tiny_scene(), SEEN, NsdOptions(probability), None))


@pytest.fixture(scope="module")
def made():
  method = _build(1.0)
  variables = random_detector(method.init(jax.random.key(0), make_views_batch(COUNT)))
  # an untrained decoder hardly hears its input
  kernels = variables["params"]["decoder"]
  louder = jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, kernels)
  return method, {**variables, "params": {**variables["params"], "decoder": louder}}


# --- rotation ----------------------------------------------------------------------------------


def test_points_are_rotated_from_the_camera_that_saw_them_to_the_other():
  rng = np.random.default_rng(2)
  a, b = turn([1, 2, 3], 50), turn([-2, 0.5, 1], 110)
  rotation = np.array([[a, b, a, b]], np.float32)
  points = rng.normal(size=(1, 4, 2, 3))
  vectors = jnp.asarray(points.reshape(1, 4, 6), jnp.float32)
  found = rotate_between_views(vectors, jnp.asarray(rotation), jnp.array([[1, 0, 3, 2]]))
  p = points[0]
  expected = [p[1] @ (a @ b.T).T, p[0] @ (b @ a.T).T, p[3] @ (a @ b.T).T, p[2] @ (b @ a.T).T]
  np.testing.assert_allclose(found[0], np.reshape(expected, (4, 6)), atol=1e-5)


def test_a_vector_that_stays_in_its_camera_is_not_rotated():
  rotation = jnp.asarray(make_views_batch(COUNT)["views"]["rotation"])
  vectors = jnp.asarray(np.random.default_rng(3).normal(size=(COUNT, 4, 12)), jnp.float32)
  own = jnp.tile(jnp.arange(4), (COUNT, 1))
  np.testing.assert_allclose(rotate_between_views(vectors, rotation, own), vectors, atol=1e-5)


def test_a_skeleton_seen_by_one_camera_becomes_what_the_other_sees():
  rng = np.random.default_rng(4)
  world = rng.normal(size=(5, 3)) * 300

  def camera(rotation):
    t_mm = np.array([10.0, -20, 4000])
    return geometry.Camera(np.eye(3), rotation, t_mm, np.zeros(5), 32, 24)

  cameras = [camera(turn([0, 1, 0.2], degrees)) for degrees in (30, 140)]
  seen = [geometry.world_to_camera(world, c) for c in cameras]
  seen = [s - s[:1] for s in seen]  # relative to the first joint
  vectors = jnp.asarray(np.stack([seen[0], seen[1], seen[0], seen[1]]).reshape(1, 4, 15))
  rotation = jnp.asarray(np.stack([cameras[i].R for i in (0, 1, 0, 1)])[None])
  found = rotate_between_views(vectors, rotation, jnp.array([[1, 0, 3, 2]]))
  np.testing.assert_allclose(found, vectors, atol=1e-2)


# --- the method --------------------------------------------------------------------------------


def _expected_pixel(method, variables, batch, swapped):
  """The term from `encode`, `decode` and `compose`, with exchanges in numpy."""
  sample = batch["views"]
  scene = build_tiny_scene()
  found = {k: np.asarray(v) for k, v in method.encode(variables, flat_frames(sample)).items()}
  variant = found["time_variant"].reshape(-1, 4, 2, 3).astype(np.float64)
  invariant = found["time_invariant"].reshape(-1, 4, 3)[:, [2, 3, 0, 1]]
  for row in np.flatnonzero(swapped):
    r, own = sample["rotation"][row].astype(np.float64), variant[row].copy()
    for frame, source in enumerate((1, 0, 3, 2)):
      variant[row, frame] = (r[frame] @ r[source].T @ own[source].T).T
  decoded, mask = scene.apply(
    {name: variables[name] for name in ("params", "batch_stats")},
    jnp.asarray(variant.reshape(-1, 6), jnp.float32),
    jnp.asarray(invariant.reshape(-1, 3)),
    None,
    False,
    method="decode",
  )
  behind = flat_frames(sample)["background"] / np.float32(255)
  shown = jax.jit(lambda *x: scene.apply({}, *x, method="compose"))(
    decoded, mask, found["box"], behind
  )["reconstruction"]
  error = (np.asarray(shown) - flat_frames(sample)["image"] / 255.0) / [0.229, 0.224, 0.225]
  return (error**2).reshape(len(variant), -1).mean(1)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_frames_are_decoded_from_the_other_view_and_the_other_instant(made, probability):
  method, variables = made
  batch = make_views_batch(COUNT)
  terms, _, _ = _build(probability).terms(variables, batch, jax.random.key(1), False)
  swapped = np.full(COUNT, probability > 0)
  expected = _expected_pixel(method, variables, batch, swapped)
  np.testing.assert_allclose(terms["pixel"][0], expected, rtol=1e-4)
  # the exchange is worth seeing
  other = _expected_pixel(method, variables, batch, ~swapped)
  assert np.abs(other / expected - 1).min() > 1e-3


def test_each_example_swaps_its_views_or_does_not(made):
  _, variables = made
  batch = make_views_batch(COUNT)
  key = jax.random.key(1)
  never, half, always = (
    np.asarray(_build(p).terms(variables, batch, key, False)[0]["pixel"][0])
    for p in (0.0, 0.5, 1.0)
  )
  is_own, is_other = np.isclose(half, never, rtol=1e-6), np.isclose(half, always, rtol=1e-6)
  np.testing.assert_array_equal(is_own, ~is_other)
  assert is_own.any()
  assert is_other.any()
  flipped = {"views": {name: value[::-1] for name, value in batch["views"].items()}}
  again = _build(0.5).terms(variables, flipped, key, False)[0]["pixel"][0]
  np.testing.assert_allclose(again[::-1], half, rtol=1e-4)


def test_terms_are_the_scenes_without_those_of_falls(made):
  method, variables = made
  terms, _, out = method.terms(variables, make_views_batch(COUNT), jax.random.key(1), False)
  names = {"pixel", "box_scale", "tight_box", "box_location"}
  assert set(terms) == set(method.objectives["nsd"].terms) == names
  assert method.objectives["nsd"].parameters == ("detector", "encoder", "decoder")
  for value, weight in terms.values():
    assert value.shape == (COUNT,)
    np.testing.assert_array_equal(weight, np.ones(COUNT))
  assert {"box_scale_mean", "mask_area"} <= set(out["summaries"])


def test_vectors_are_embedded_in_the_axes_of_their_own_camera(made):
  method, variables = made
  frames = flat_frames(make_views_batch(COUNT)["views"])
  found = method.embed(variables, frames)
  np.testing.assert_allclose(
    found["time_variant"], method.encode(variables, frames)["time_variant"], atol=1e-5
  )


def test_what_nsd_needs_is_said():
  options = NsdOptions(0.5)
  with pytest.raises(ValueError, match=r"time_invariant > 0"):
    build_nsd(build_tiny_scene(time_invariant_size=0), SEEN, options, None)
  with pytest.raises(ValueError, match=r"config\.scene\.decode"):
    build_nsd(build_tiny_scene(), dataclasses.replace(SEEN, decode=False), options, None)
  with pytest.raises(ValueError, match=r"time_variant is 7, but must be a multiple of 3"):
    build_nsd(build_tiny_scene(time_variant_size=7), SEEN, options, None)


# --- learning ----------------------------------------------------------------------------------


def _stick_views(count, seed=0):
  """A rod of a red and a green half before grey; each camera sees it from its own side."""
  rng = np.random.default_rng(seed)
  batch = make_views_batch(count)
  sample = batch["views"]
  rows, columns = np.mgrid[0:24, 0:32]
  for example in range(count):
    angles = rng.uniform(0, 360, 2)
    sample["rotation"][example] = [turn([0, 0, 1], a) for a in (*angles, *angles)]
    for instant in range(2):
      world = turn([0, 0, 1], rng.uniform(0, 360)) @ [1.0, 0, 0]
      for view in range(2):
        frame = 2 * instant + view
        x, y, _ = sample["rotation"][example, frame].astype(float) @ world
        along = (columns - 15.5) * x + (rows - 11.5) * y
        across = np.abs((columns - 15.5) * y - (rows - 11.5) * x)
        rod = (np.abs(along) < 9) & (across < 2.5)
        image = np.full((24, 32, 3), 110, np.uint8)
        image[rod & (along > 0)] = (230, 30, 30)
        image[rod & (along <= 0)] = (30, 230, 30)
        sample["image"][example, frame] = image
  sample["background"][:] = 110
  return batch


def _learn(batch, steps):
  """Mean pixel error of frames decoded from the other view: at the start, and in the end."""
  scene = build_tiny_scene(time_variant_size=24, axis_name=parallel.AXIS)
  method = build_nsd(scene, SEEN, NsdOptions(0.5), None)
  over = parallel.devices(jax.devices()[:1])
  optimisers = {"nsd": make_adam(3e-3)}
  state = make_state(method, batch, optimisers=optimisers, seed=0, over=over)
  weights = {"pixel": 1.0, "box_scale": 0.1, "box_location": 0.1, "tight_box": 0.0}
  step = make_train_step(
    method, loss_weights=weights, optimisers=optimisers, seed=0, accumulate=1, over=over
  )
  sharded = parallel.shard_batch(batch, over)
  losses = []
  for _ in range(steps):
    state, metrics = step(state, sharded)
    losses.append(metrics["terms/pixel"])
  return np.array(jax.device_get(losses)), parallel.to_host(state.variables)


@pytest.mark.slow
def test_a_few_views_are_learned_by_heart_with_their_rotations_and_not_without():
  batch = _stick_views(6)
  losses, variables = _learn(batch, 600)
  print(f"pixel {losses[:10].mean():.4f} -> {losses[-10:].mean():.4f}")
  assert losses[-10:].mean() < 0.35 * losses[:10].mean()
  method = jitted(build_nsd(build_tiny_scene(time_variant_size=24), SEEN, NsdOptions(1.0), None))
  key = jax.random.key(1)
  right = float(method.terms(variables, batch, key, False)[0]["pixel"][0].mean())
  sample = batch["views"]
  wrong = {"views": {**sample, "rotation": sample["rotation"].swapaxes(2, 3)}}
  other = float(method.terms(variables, wrong, key, False)[0]["pixel"][0].mean())
  print(f"from the other view {right:.4f}, by the transposed rotations {other:.4f}")
  assert right < 0.6 * other
