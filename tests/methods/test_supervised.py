import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import build_tiny_scene, random_detector

from jaxpose.methods import pose_target
from jaxpose.methods.pose_target import LabelStatistics
from jaxpose.methods.supervised import SupervisedOptions, build_supervised

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "probability": 1.0}
OPTIONS = SupervisedOptions(
  crop="labels",
  crop_size=16,
  enlarge=1.5,
  shift=0.0,
  scale=0.0,
  jitter=None,
  mirror=0.0,
  centre_camera=False,
  background="keep",
  threshold=0.1,
  stn_form="matrix",
)
MEAN = np.float32([[0, 0, 0], [10, -20, 30], [-5, 40, 15]])
STATISTICS = LabelStatistics(MEAN, np.float32(50), (0,), (0, 2, 1))
K = np.float32([[60, 0, 14], [0, 55, 12], [0, 0, 1]])


def _batch(seed=0, count=8):
  rng = np.random.default_rng(seed)
  low = rng.uniform(2, 8, (count, 2))
  box = np.concatenate([low, low + rng.uniform(6, 14, (count, 2))], axis=-1)
  sample = {
    "image": rng.integers(0, 256, (count, 24, 32, 3)).astype(np.uint8),
    "example": np.arange(7, 7 + count, dtype=np.uint32),
    "present": np.ones(count, np.int32),
    "box_px": box.astype(np.float32),
    "pose2d_px": rng.uniform(2, 20, (count, 3, 2)).astype(np.float32),
    "pose3d_mm": rng.normal([0, 0, 3000], 80, (count, 3, 3)).astype(np.float32),
    "joint_valid": np.ones((count, 3), bool),
    "K": np.repeat(K[None], count, 0),
  }
  return {"labelled": sample}


def _build(options=OPTIONS, statistics=STATISTICS, **changes):
  method = build_supervised(build_tiny_scene(), statistics, dataclasses.replace(options, **changes))
  return dataclasses.replace(
    method, terms=jax.jit(method.terms, static_argnums=3), embed=jax.jit(method.embed)
  )


def _start(method):
  """First variables, but for the last layer: at weight 0 it would see nothing of a crop."""
  variables = method.init(jax.random.key(0), _batch())
  head = variables["params"]["head"]
  noise = 0.3 * np.random.default_rng(5).normal(size=head["kernel"].shape)
  variables["params"]["head"] = head | {"kernel": jnp.asarray(noise, jnp.float32)}
  return variables


@pytest.fixture(scope="module")
def made():
  method = _build()
  return method, _start(method)


def _frames(batch):
  return {name: batch["labelled"][name] for name in ("image", "box_px")}


def test_the_term_is_the_squared_error_of_what_embed_predicts(made):
  method, variables = made
  batch = _batch()
  terms, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  assert set(terms) == set(method.objectives["supervised"].terms) == {"pose"}
  predicted = np.asarray(method.embed(variables, _frames(batch))["pose_mm"])
  np.testing.assert_allclose(predicted[:, 0], 0, atol=1e-3)
  poses = batch["labelled"]["pose3d_mm"]
  target = poses - poses[:, :1]
  vectors = np.asarray(method.embed(variables, _frames(batch))["time_variant"])
  head = variables["params"]["head"]
  raw = (vectors @ np.asarray(head["kernel"]) + np.asarray(head["bias"])).reshape(8, 3, 3)
  pose_mm = raw * 50 + MEAN
  np.testing.assert_allclose(pose_mm - pose_mm[:, :1], predicted, atol=1e-2)
  expected = ((raw - (target - MEAN) / 50) ** 2).sum(-1).mean(-1)
  np.testing.assert_allclose(terms["pose"][0], expected, rtol=1e-3)
  np.testing.assert_array_equal(terms["pose"][1], np.ones(8))


def test_frames_that_teach_nothing_have_no_weight_and_unknown_joints_no_value(made):
  method, variables = made
  batch = _batch()
  whole = np.asarray(method.terms(variables, batch, jax.random.key(1), False)[0]["pose"][0])
  sample = batch["labelled"]
  sample["box_px"][1] = np.nan
  sample["joint_valid"][2] = False
  sample["pose3d_mm"][2] = np.nan
  sample["present"][3] = 0
  sample["joint_valid"][4, 0] = False  # the root
  sample["joint_valid"][5, 2] = False
  sample["pose3d_mm"][5, 2] = np.nan
  terms, _, out = method.terms(variables, batch, jax.random.key(1), False)
  value, weight = (np.asarray(x) for x in terms["pose"])
  np.testing.assert_array_equal(weight, [1, 0, 0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(out["summaries"]["labelled"], weight)
  assert np.isfinite(value).all()
  np.testing.assert_allclose(value[[0, 6, 7]], whole[[0, 6, 7]], rtol=1e-5)
  assert abs(value[5] - whole[5]) > 1e-3

  def loss(params):
    value, weight = method.terms({**variables, "params": params}, batch, jax.random.key(1), True)[
      0
    ]["pose"]
    return jnp.sum(value * weight)

  assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(loss)(variables["params"])))


def test_training_disturbs_crops_and_colours_by_the_examples_number():
  batch = _batch()
  turned = {"labelled": {name: value[::-1] for name, value in batch["labelled"].items()}}
  plain = _build()
  variables = _start(plain)
  without = plain.terms(variables, batch, jax.random.key(1), True)[0]["pose"][0]
  for change in ({"shift": 0.2, "mirror": 0.5}, {"scale": 0.3}, {"jitter": JITTER}):
    method = _build(dataclasses.replace(OPTIONS, **change))
    first, updated, _ = method.terms(variables, batch, jax.random.key(1), True)
    assert np.abs(first["pose"][0] - without).max() > 1e-5
    second = method.terms(variables, turned, jax.random.key(1), True)[0]["pose"][0]
    np.testing.assert_allclose(second, first["pose"][0][::-1], rtol=1e-3)
    before = jax.tree.leaves(variables["batch_stats"])
    moved = jax.tree.leaves(updated["batch_stats"])
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, moved, strict=True))
    still = method.terms(variables, batch, jax.random.key(1), False)[0]["pose"][0]
    calm = plain.terms(variables, batch, jax.random.key(1), False)[0]["pose"][0]
    np.testing.assert_allclose(still, calm, rtol=1e-5)


def test_the_place_of_a_removed_background_is_not_jittered(made):
  sample = _batch()["labelled"]
  nobody = {"labelled": sample | {"background": sample["image"]}}
  found = [
    _build(background="remove", jitter=jitter).terms(made[1], nobody, jax.random.key(1), True)
    for jitter in (None, JITTER)
  ]
  np.testing.assert_allclose(found[0][0]["pose"][0], found[1][0]["pose"][0], rtol=1e-5)


def test_a_checkpoint_predicts_in_its_own_unit(made):
  method, variables = made
  other = _build(statistics=STATISTICS._replace(mean_mm=MEAN * 0 + 1, scale_mm=np.float32(3)))
  frames = _frames(_batch())
  np.testing.assert_allclose(
    other.embed(variables, frames)["pose_mm"], method.embed(variables, frames)["pose_mm"], rtol=1e-5
  )


def test_a_true_box_is_needed(made):
  method, variables = made
  with pytest.raises(ValueError, match="box_px"):
    method.embed(variables, {"image": _frames(_batch())["image"]})
  turning = _build(centre_camera=True)
  with pytest.raises(ValueError, match="give K, pose2d_px, joint_valid beside"):
    turning.embed(variables, _frames(_batch()))


# --- mirror, virtual rotation, found boxes -------------------------------------------------------


def _mirrored(batch):
  """The frames as a mirrored scene gives them: of 32 px, u → 31 − u; joints 1 and 2 exchanged."""
  old = batch["labelled"]
  sample = old | {"image": old["image"][:, :, ::-1]}
  x0, y0, x1, y1 = old["box_px"].T
  sample["box_px"] = np.stack([31 - x1, y0, 31 - x0, y1], axis=1)
  order = [0, 2, 1]
  sample["pose2d_px"] = np.stack(
    [31 - old["pose2d_px"][:, order, 0], old["pose2d_px"][:, order, 1]], axis=-1
  )
  sample["pose3d_mm"] = old["pose3d_mm"][:, order] * np.float32([-1, 1, 1])
  sample["joint_valid"] = old["joint_valid"][:, order]
  sample["K"] = old["K"] * 1
  sample["K"][:, 0, 2] = 31 - old["K"][:, 0, 2]
  return {"labelled": sample}


def test_mirrored_training_is_training_on_the_mirrored_scene(made):
  _, variables = made
  batch = _batch()
  batch["labelled"]["joint_valid"][3, 1] = False
  batch["labelled"]["pose3d_mm"][3, 1] = np.nan
  plain = _build(centre_camera=True)
  key = jax.random.key(4)
  whole = _build(mirror=1.0, centre_camera=True).terms(variables, batch, key, True)
  other = plain.terms(variables, _mirrored(batch), key, True)
  np.testing.assert_allclose(whole[0]["pose"][0], other[0]["pose"][0], rtol=2e-3)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    whole[1]["batch_stats"],
    other[1]["batch_stats"],
  )
  straight = plain.terms(variables, batch, key, True)[0]["pose"][0]
  assert np.abs(straight - whole[0]["pose"][0]).min() > 1e-3
  # half of the frames, and none of them outside of training
  half = _build(mirror=0.5, centre_camera=True)
  calm, validated = (m.terms(variables, batch, key, False)[0]["pose"][0] for m in (plain, half))
  np.testing.assert_allclose(validated, calm, rtol=1e-5)


def test_a_turned_network_learns_in_the_turned_axes_and_predicts_in_the_cameras(made):
  _, variables = made
  method = _build(centre_camera=True)
  batch = _batch()
  sample = batch["labelled"]
  found = np.asarray(method.embed(variables, sample)["pose_mm"])
  rotation = pose_target.camera_rotation(sample, (0,))
  assert np.abs(rotation - np.eye(3)).max() > 0.1
  turned = np.einsum("nij,npj->npi", rotation, found)
  plain = np.asarray(made[0].embed(variables, _frames(batch))["pose_mm"])
  np.testing.assert_allclose(turned, plain, atol=1e-2)  # what the network itself gives
  relative = sample["pose3d_mm"] - sample["pose3d_mm"][:, :1]
  # the root of the network's raw prediction is free: take it from the plain method's term
  calm, other = (
    np.asarray(m.terms(variables, b, jax.random.key(1), False)[0]["pose"][0])
    for m, b in (
      (method, batch),
      (
        made[0],
        {"labelled": sample | {"pose3d_mm": np.einsum("nij,npj->npi", rotation, relative)}},
      ),
    )
  )
  np.testing.assert_allclose(calm, other, rtol=1e-3)


def test_backgrounds_are_removed_in_training_and_after(made):
  method = _build(background="remove")
  batch = _batch()
  sample = batch["labelled"]
  background = np.random.default_rng(3).integers(0, 256, sample["image"].shape).astype(np.uint8)
  background[:, :12] = sample["image"][:, :12]  # the upper half is empty
  # by hand: ImageNet's mean colour where no channel differs by more than a tenth
  near = np.abs(sample["image"] / 255.0 - background / 255.0).max(axis=-1, keepdims=True) <= 0.1
  mean = np.round(255 * np.array([0.485, 0.456, 0.406])).astype(np.uint8)
  plain = {"labelled": sample | {"image": np.where(near, mean, sample["image"])}}
  shown = {"labelled": sample | {"background": background}}
  _, variables = made
  key = jax.random.key(1)
  for train in (False, True):
    found, _, _ = method.terms(variables, shown, key, train)
    expected, _, _ = made[0].terms(variables, plain, key, train)
    np.testing.assert_allclose(found["pose"][0], expected["pose"][0], rtol=2e-2)
    untreated, _, _ = made[0].terms(variables, batch, key, train)
    assert np.abs(found["pose"][0] / untreated["pose"][0] - 1).max() > 0.05
  frames = _frames(shown) | {"background": background}
  found = method.embed(variables, frames)["pose_mm"]
  np.testing.assert_allclose(found, made[0].embed(variables, _frames(plain))["pose_mm"], atol=1)
  with pytest.raises(ValueError, match="give background beside the image"):
    method.embed(variables, _frames(shown))
  with pytest.raises(ValueError, match=r"background is 'mix': choose one of keep, remove"):
    _build(background="mix")


def test_found_boxes_are_cropped_and_windowed_as_the_scene_does():
  scene = build_tiny_scene()
  method = _build(crop="detector")
  batch = _batch()
  variables = random_detector(_start(method))
  assert set(variables["params"]) == {"detector", "encoder", "head"}
  assert method.objectives["supervised"].parameters == ("detector", "encoder", "head")
  images = jnp.asarray(batch["labelled"]["image"], jnp.float32) / 255
  networks = {k: variables[k] for k in ("params", "batch_stats")}

  @jax.jit
  def look(networks):
    def encode(net, images):
      return net.encode(net.crop(images, net.detect(images, False)), False)[0]

    encoder = scene.encoder.clone(time_invariant_size=0)
    return scene.clone(encoder=encoder).apply(networks, images, method=encode)

  expected = look(networks)
  found = method.embed(variables, {"image": batch["labelled"]["image"]})["time_variant"]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  # a frame without a true box counts, too
  batch["labelled"]["box_px"][2] = np.nan
  value, weight = method.terms(variables, batch, jax.random.key(1), False)[0]["pose"]
  np.testing.assert_array_equal(weight, np.ones(8))
  assert np.isfinite(value).all()


def test_what_cannot_be_built_is_named():
  with pytest.raises(
    ValueError, match=r"supervised\.crop is 'found': choose one of labels, difference, detector"
  ):
    _build(crop="found")
  with pytest.raises(ValueError, match=r"config\.model\.detector names none"):
    build_supervised(
      build_tiny_scene(detector=None), STATISTICS, dataclasses.replace(OPTIONS, crop="detector")
    )
  with pytest.raises(ValueError, match=r"supervised\.mirror: the skeleton names no left and right"):
    _build(statistics=STATISTICS._replace(mirrored=(0, 1, 2)), mirror=0.5)
