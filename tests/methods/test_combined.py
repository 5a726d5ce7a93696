"""Two methods in one step: their terms, their shared networks, their objectives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenes import SEEN, build_tiny_scene, make_scene_batch

from jaxpose.method import Method, Objective
from jaxpose.methods.combined import combine
from jaxpose.methods.dsl import DslOptions, build_dsl
from jaxpose.methods.sync_flip import SyncFlipOptions, build_sync_flip


def _method(term, groups, *, sizes=None, more=()):
  """`term` is the product of the first entries of all groups; the count goes up by one."""
  sizes = sizes or {}

  def init(rng, batch):
    keys = jax.random.split(rng, len(groups))
    params = {g: jax.random.normal(k, (sizes.get(g, 2),)) for g, k in zip(groups, keys)}
    return {"params": params, "batch_stats": {groups[0]: jnp.zeros(())}}

  def terms(variables, batch, rng, train):
    value = batch[term] * jnp.prod(jnp.stack([variables["params"][g][0] for g in groups]))
    stats = {**variables["batch_stats"], groups[0]: variables["batch_stats"][groups[0]] + 1}
    ones = jnp.ones_like(value)
    noise = jax.random.normal(rng)
    out = {"summaries": {"noise": noise}}
    return {term: (value, ones)}, {**variables, "batch_stats": stats}, out

  def embed(variables, batch):
    return {"time_variant": batch[term], term: batch[term]}

  objectives = {term: Objective((term,), groups), **dict(more)}
  return Method(init, terms, embed, objectives)


BATCH = {"a": jnp.array([2.0, 3.0]), "b": jnp.array([5.0])}


def test_terms_of_both_on_the_same_networks():
  both = combine({"a": _method("a", ("encoder", "x")), "b": _method("b", ("encoder", "y"))})
  variables = both.init(jax.random.key(0), BATCH)
  assert set(variables["params"]) == {"encoder", "x", "y"}
  terms, updated, out = both.terms(variables, BATCH, jax.random.key(1), True)
  first = {group: float(value[0]) for group, value in variables["params"].items()}
  np.testing.assert_allclose(terms["a"][0], np.array([2, 3]) * first["encoder"] * first["x"], 1e-6)
  np.testing.assert_allclose(terms["b"][0], np.array([5]) * first["encoder"] * first["y"], 1e-6)
  # Both counted: the second saw what the first had left.
  assert float(updated["batch_stats"]["encoder"]) == 2
  assert set(out["summaries"]) == {"noise", "b/noise"}
  assert float(out["summaries"]["noise"]) != float(out["summaries"]["b/noise"])


def test_the_first_method_starts_and_shows_what_both_have():
  methods = {"a": _method("a", ("encoder", "x")), "b": _method("b", ("encoder",))}
  both, alone = combine(methods), methods["a"].init(jax.random.key(0), BATCH)
  variables = both.init(jax.random.key(0), BATCH)
  np.testing.assert_array_equal(variables["params"]["encoder"], alone["params"]["encoder"])
  found = both.embed(variables, BATCH)
  np.testing.assert_array_equal(found["time_variant"], BATCH["a"])
  assert "b" not in found


def test_objectives_that_share_a_group_become_one_and_others_stay():
  critic = ("critic", Objective(("judged",), ("critic",)))
  both = combine(
    {
      "a": _method("a", ("encoder", "x"), more=[critic]),
      "b": _method("b", ("encoder", "y")),
      "c": _method("c", ("y", "z")),
    }
  )
  assert both.objectives == {
    "critic": Objective(("judged",), ("critic",)),
    "combined": Objective(("a", "b", "c"), ("encoder", "x", "y", "z")),
  }


def test_a_term_of_both_is_the_mean_over_the_examples_of_both():
  both = combine({"one": _method("a", ("encoder", "x")), "two": _method("a", ("encoder", "y"))})
  variables = both.init(jax.random.key(0), BATCH)
  terms, _, _ = both.terms(variables, BATCH, jax.random.key(1), True)
  e, x, y = (float(variables["params"][g][0]) for g in ("encoder", "x", "y"))
  values, weights = terms["a"]
  np.testing.assert_allclose(values, [2 * e * x, 3 * e * x, 2 * e * y, 3 * e * y], 1e-6)
  np.testing.assert_array_equal(weights, [1, 1, 1, 1])
  assert both.objectives == {"combined": Objective(("a",), ("encoder", "x", "y"))}


def test_one_method_stays_itself():
  method = _method("a", ("encoder",))
  assert combine({"a": method}) is method


def test_networks_that_do_not_go_together():
  other = _method("b", ("encoder",), sizes={"encoder": 3})
  with pytest.raises(ValueError, match="method b has other params in its encoder"):
    combine({"a": _method("a", ("encoder",)), "b": other}).init(jax.random.key(0), BATCH)


# --- reconstruction and DSL beside views, on one encoder ------------------------------------------

CONTRAST = DslOptions(contrast="dsl", d_max=10.0, temperature=0.2, include_positive=True)
VIEWS = SyncFlipOptions(
  crop="detector",
  enlarge=1.25,
  background="mix",
  threshold=0.1,
  detector_background="keep",
  detector_threshold=0.1,
  shift=0.0,
  scale=0.0,
  rotation_deg=0.0,
  fusion="mult",
  features="time_variant",
)


def _batch_of_both():
  rng = np.random.default_rng(1)
  pictures = {
    name: rng.integers(0, 256, (3, 2, 24, 32, 3)).astype(np.uint8)
    for name in ("image", "background", "substitute")
  }
  pair = pictures | {
    "example": np.arange(3, dtype=np.uint32),
    "synchronised": np.array([True, False, True]),
    "flipped": np.array([False, False, True]),
    "mirrored": np.array([[False, False], [False, False], [True, False]]),
  }
  return make_scene_batch(gravity=(False, False)) | {"pair": pair}


def test_views_and_reconstruction_teach_one_encoder_and_each_its_own_networks():
  scene, batch = build_tiny_scene(), _batch_of_both()
  both = combine(
    {"dsl": build_dsl(scene, SEEN, CONTRAST, None), "sync_flip": build_sync_flip(scene, VIEWS)}
  )
  variables = both.init(jax.random.key(0), batch)
  groups = set(variables["params"])
  assert groups == {"detector", "encoder", "decoder", "sync_flip"}
  (objective,) = both.objectives.values()
  assert set(objective.parameters) == groups
  assert {"pixel", "dsl", "synchronisation", "flip"} <= set(objective.terms)

  @jax.jit
  def learned(params, batch):
    """Sum of the absolute gradients of two terms, by group."""

    def values(params):
      terms, _, _ = both.terms({**variables, "params": params}, batch, jax.random.key(1), False)
      return {n: jnp.sum(terms[n][0] * terms[n][1]) for n in ("pixel", "synchronisation")}

    found = {n: jax.grad(lambda p, n=n: values(p)[n])(params) for n in ("pixel", "synchronisation")}
    return {
      n: {g: sum(jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(tree)) for g, tree in groups.items()}
      for n, groups in found.items()
    }

  found = learned(variables["params"], batch)
  moved = {
    term: {group for group, size in sizes.items() if size > 0} for term, sizes in found.items()
  }
  assert moved["synchronisation"] == {"encoder", "sync_flip"}
  assert moved["pixel"] == {"detector", "encoder", "decoder"}


@pytest.mark.parametrize(("treatment", "of_pairs"), [("remove", "mix"), ("keep", "substitute")])
def test_both_give_a_frame_the_same_vector(treatment, of_pairs):
  """So that what is exported can be fused, see `jaxpose.pretext.fuses_embedding`."""
  scene, batch = build_tiny_scene(), _batch_of_both()
  seen = dataclasses.replace(SEEN, background=treatment, threshold=0.2)
  views = dataclasses.replace(
    VIEWS, background=of_pairs, threshold=0.2, detector_background=treatment, detector_threshold=0.2
  )
  first, second = build_dsl(scene, seen, CONTRAST, None), build_sync_flip(scene, views)
  variables = combine({"dsl": first, "sync_flip": second}).init(jax.random.key(0), batch)
  frames = {name: jnp.asarray(batch["pair"][name][:, 0]) for name in ("image", "background")}
  exported, fused = (jax.jit(method.embed)(variables, frames) for method in (first, second))
  np.testing.assert_allclose(exported["box"], fused["box"], atol=1e-6)
  np.testing.assert_allclose(exported["time_variant"], fused["time_variant"], atol=1e-5)
  assert np.std(np.asarray(fused["time_variant"])) > 1e-3
