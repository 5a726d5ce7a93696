import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.methods.supervised import (
  LabelStatistics,
  SupervisedOptions,
  build_supervised,
  compute_label_statistics,
)
from jaxpose.models.resnet import RESNETS
from jaxpose.models.scene import Encoder

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "probability": 1.0}
OPTIONS = SupervisedOptions(
  crop_size=16, enlarge=1.5, shift=0.0, scale=0.0, jitter=None, stn_form="matrix"
)
MEAN = np.float32([[0, 0, 0], [10, -20, 30], [-5, 40, 15]])
STATISTICS = LabelStatistics(MEAN, 50.0, (0,))


def _batch(seed=0, count=2):
  rng = np.random.default_rng(seed)
  low = rng.uniform(2, 8, (count, 4, 2))
  box = np.concatenate([low, low + rng.uniform(6, 14, (count, 4, 2))], axis=-1)
  sample = {
    "image": rng.integers(0, 256, (count, 4, 24, 32, 3)).astype(np.uint8),
    "background": np.zeros((count, 1, 24, 32, 3), np.uint8),
    "example": np.arange(7, 7 + count, dtype=np.uint32),
    "present": np.ones((count, 4), np.int32),
    "box_px": box.astype(np.float32),
    "pose3d_mm": rng.normal([0, 0, 3000], 80, (count, 4, 3, 3)).astype(np.float32),
    "joint_valid": np.ones((count, 4, 3), bool),
  }
  return {"temporal": sample}


def _build(options=OPTIONS, statistics=STATISTICS):
  backbone = RESNETS["resnet_small"](stage_sizes=(1,), widths=(4,))
  method = build_supervised(Encoder(backbone, 6, 0), statistics, options)
  return dataclasses.replace(
    method, terms=jax.jit(method.terms, static_argnums=3), embed=jax.jit(method.embed)
  )


@pytest.fixture(scope="module")
def made():
  method = _build()
  return method, method.init(jax.random.key(0), _batch())


def _flat(batch):
  sample = batch["temporal"]
  return {name: sample[name].reshape(-1, *sample[name].shape[2:]) for name in ("image", "box_px")}


def test_statistics_are_of_root_centred_poses_with_a_root():
  poses = np.full((3, 3, 3), np.nan)
  poses[0] = [[1, 2, 3], [2, 2, 3], [1, 5, 3]]
  poses[1, :2] = [[10, 0, 0], [13, 0, 0]]
  poses[2, 1:] = 77  # no root: left out
  valid = np.isfinite(poses).all(-1)
  found = compute_label_statistics(poses, valid, (0,))
  np.testing.assert_allclose(found.mean_mm, [[0, 0, 0], [2, 0, 0], [0, 3, 0]])
  # of five valid joints only the second's x deviates, by -1 and 1
  assert found.scale_mm == pytest.approx(np.sqrt(2 / 15))
  assert found.root == (0,)
  with pytest.raises(ValueError, match="valid root"):
    compute_label_statistics(poses[2:], valid[2:], (0,))


def test_the_term_is_the_squared_error_of_what_embed_predicts(made):
  method, variables = made
  batch = _batch()
  terms, _, _ = method.terms(variables, batch, jax.random.key(1), False)
  assert set(terms) == set(method.objectives["supervised"].terms) == {"pose"}
  predicted = np.asarray(method.embed(variables, _flat(batch))["pose_mm"])
  np.testing.assert_allclose(predicted[:, 0], 0, atol=1e-3)
  poses = batch["temporal"]["pose3d_mm"].reshape(8, 3, 3)
  target = poses - poses[:, :1]
  vectors = np.asarray(method.embed(variables, _flat(batch))["time_variant"])
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
  sample = batch["temporal"]
  sample["box_px"][0, 1] = np.nan
  sample["joint_valid"][0, 2] = False
  sample["pose3d_mm"][0, 2] = np.nan
  sample["present"][0, 3] = 0
  sample["joint_valid"][1, 0, 0] = False  # the root
  sample["joint_valid"][1, 1, 2] = False
  sample["pose3d_mm"][1, 1, 2] = np.nan
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
  flipped = {"temporal": {name: value[::-1] for name, value in batch["temporal"].items()}}
  plain = _build()
  variables = plain.init(jax.random.key(0), batch)
  without = plain.terms(variables, batch, jax.random.key(1), True)[0]["pose"][0]
  for change in ({"shift": 0.2}, {"scale": 0.3}, {"jitter": JITTER}):
    method = _build(dataclasses.replace(OPTIONS, **change))
    first, updated, _ = method.terms(variables, batch, jax.random.key(1), True)
    assert np.abs(first["pose"][0] - without).max() > 1e-5
    second = method.terms(variables, flipped, jax.random.key(1), True)[0]["pose"][0]
    np.testing.assert_allclose(
      second.reshape(2, 4), first["pose"][0].reshape(2, 4)[::-1], rtol=1e-3
    )
    before = jax.tree.leaves(variables["batch_stats"])
    moved = jax.tree.leaves(updated["batch_stats"])
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, moved, strict=True))
    still = method.terms(variables, batch, jax.random.key(1), False)[0]["pose"][0]
    calm = plain.terms(variables, batch, jax.random.key(1), False)[0]["pose"][0]
    np.testing.assert_allclose(still, calm, rtol=1e-5)


def test_a_checkpoint_predicts_in_its_own_unit(made):
  method, variables = made
  other = _build(statistics=LabelStatistics(MEAN * 0 + 1, 3.0, (0,)))
  frames = _flat(_batch())
  np.testing.assert_allclose(
    other.embed(variables, frames)["pose_mm"], method.embed(variables, frames)["pose_mm"], rtol=1e-5
  )


def test_a_true_box_is_needed(made):
  method, variables = made
  with pytest.raises(ValueError, match="box_px"):
    method.embed(variables, {"image": _flat(_batch())["image"]})
