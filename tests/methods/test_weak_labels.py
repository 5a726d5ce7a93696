import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import (
  SEEN,
  build_tiny_scene,
  jitted,
  make_scene_batch,
  make_views_batch,
  random_detector,
)

from jaxpose.methods.drnet import DrnetOptions, build_drnet
from jaxpose.methods.dsl import DslOptions, build_dsl
from jaxpose.methods.mv_css import MvCssOptions, build_mv_css
from jaxpose.methods.nsd import NsdOptions, build_nsd
from jaxpose.methods.weak_labels import GROUP, Head, joints_in_box, pose2d_term

NAN = float("nan")
LABELLED = dataclasses.replace(SEEN, swap="none", head=Head(8, 1))
CONTRAST = DslOptions("none", d_max=1.0, temperature=1.0, include_positive=True)
TRIPLETS = MvCssOptions(negative="semi_hard", normalise=True, margin=0.2)


SCENE = build_tiny_scene()
METHODS = {
  "dsl": lambda: build_dsl(SCENE, LABELLED, CONTRAST, None),
  "drnet": lambda: build_drnet(SCENE, LABELLED, DrnetOptions(5, normalise=True), None),
  "nsd": lambda: build_nsd(SCENE, LABELLED, NsdOptions(0.5), None),
  "mv_css": lambda: build_mv_css(SCENE, LABELLED, TRIPLETS),
}


def test_joints_stand_in_coordinates_of_the_box():
  # frames of 21 × 41 px (height × width): x 0, 20, 40 is -1, 0, 1; y 0, 10, 20 is -1, 0, 1
  joints = jnp.array([[[30.0, 15.0], [10.0, 10.0], [NAN, 5.0]]])
  box = jnp.array([[0.5, 0.25, 0.25, -0.5]])  # half as wide, a quarter as high, right and up
  # x: (0.5 - 0.25) / 0.5, (-0.5 - 0.25) / 0.5; y: (0.5 + 0.5) / 0.25, (0 + 0.5) / 0.25
  expected = [[[0.5, 4.0], [-1.5, 2.0], [NAN, (-0.5 + 0.5) / 0.25]]]
  np.testing.assert_allclose(joints_in_box(joints, box, (21, 41)), expected, rtol=1e-6)


def test_term_is_the_mean_over_known_joints():
  whole = jnp.array([[1.0, 1.0, 0.0, 0.0]] * 2)
  joints = jnp.array([[[40.0, 0.0], [20.0, 10.0], [NAN, NAN]], [[NAN, 1.0]] * 3])
  predicted = jnp.array([[1.0, -1.0, 0.5, 0.25, 9.0, 9.0], [5.0] * 6])
  value, weight = pose2d_term(predicted, joints, whole, (21, 41))
  # joints at (1, -1) and (0, 0): errors 0 and 0.25 + 0.0625, of two known joints
  np.testing.assert_allclose(value, [0.3125 / 2, 0.0], rtol=1e-6)
  np.testing.assert_array_equal(weight, [1, 0])


@pytest.mark.parametrize("name", METHODS)
def test_labels_teach_the_head_and_the_encoder(name):
  method = METHODS[name]()
  part = "views" if name in ("nsd", "mv_css") else "temporal"
  batch = make_views_batch(2) if part == "views" else make_scene_batch((False, False))
  sample = batch[part]
  joints = np.random.default_rng(0).uniform(0, 20, (2, 4, 5, 2)).astype(np.float32)
  joints[1, 2] = NAN
  sample["pose2d_px"] = joints
  variables = random_detector(method.init(jax.random.key(0), batch))
  output = variables["params"][GROUP]["output"]  # 0 in a new head, which so reads nothing yet
  output["kernel"] = jax.random.normal(jax.random.key(2), output["kernel"].shape)
  assert GROUP in method.objectives[name].parameters
  plain = jitted(method)
  terms, _, _ = plain.terms(variables, batch, jax.random.key(1), False)
  np.testing.assert_array_equal(terms["pose2d"][1], [1, 1, 1, 1, 1, 1, 0, 1])
  background = np.broadcast_to(sample["background"], (2, 4, 24, 32, 3))
  frames = {"image": sample["image"].reshape(8, 24, 32, 3)}
  frames["background"] = background.reshape(8, 24, 32, 3)
  found = plain.embed(variables, frames)
  assert found["pose2d"].shape == (8, 10)
  # what people are predicted from, of videos too
  np.testing.assert_allclose(plain.render(variables, frames)["pose2d"], found["pose2d"], atol=1e-5)
  target = joints_in_box(jnp.asarray(joints.reshape(8, 5, 2)), found["box"], (24, 32))
  error = ((np.asarray(found["pose2d"]).reshape(8, 5, 2) - np.asarray(target)) ** 2).sum(-1).mean(1)
  known = np.isfinite(error)
  np.testing.assert_allclose(np.asarray(terms["pose2d"][0])[known], error[known], rtol=1e-3)

  traced = jax.tree.map(jnp.asarray, batch)

  def loss(params):
    terms, _, _ = method.terms({**variables, "params": params}, traced, jax.random.key(1), False)
    value, weight = terms["pose2d"]
    return (value * weight).sum()

  slopes = jax.jit(jax.grad(loss))(variables["params"])
  for group in (GROUP, "encoder"):
    assert max(np.abs(x).max() for x in jax.tree.leaves(slopes[group])) > 0
  for group in set(slopes) - {GROUP, "encoder"}:
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(slopes[group]))


def test_what_a_head_reads_does_not_depend_on_where_labels_are():
  head = Head(width=8, blocks=1)
  params = head.init(jax.random.key(0), 3, joints=5)
  assert head.read(params, jnp.ones((2, 3))).shape == (2, 10)
