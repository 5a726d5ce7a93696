"""Every value of a configuration reaches what it is of, also when it has been JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import dsl, supervised, sync_flip
from jaxpose import building
from jaxpose.method import Objective
from jaxpose.methods.drnet import GROUP, DrnetOptions
from jaxpose.methods.dsl import DslOptions
from jaxpose.methods.mv_css import MvCssOptions
from jaxpose.methods.nsd import NsdOptions
from jaxpose.methods.scene_terms import SceneOptions
from jaxpose.methods.supervised import SupervisedOptions
from jaxpose.methods.sync_flip import SyncFlipOptions
from jaxpose.models import resnet, torch_weights

STRENGTH = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3, "hue": 0.05, "probability": 0.6}


def make_config(module=dsl, **changes):
  config = module.get_config("smoke")
  config.update_from_flattened_dict(changes)
  return config


def from_json(config):
  """As a finished run's configuration is read: tuples have become lists."""
  return ConfigDict(json.loads(json.dumps(config.to_dict())))


# --- networks ----------------------------------------------------------------------------------


def test_networks_have_the_configured_attributes():
  config = make_config(
    **{
      "model.encoder": "resnet50",
      "model.time_variant": 37,
      "model.time_invariant": 11,
      "model.crop_size": 48,
      "model.detector_shrink": 3,
      "model.stn_form": "gather",
      "model.decoder.base": 7,
      "model.decoder.base_channels": 24,
      "model.decoder.stage_channels": (20, 12, 6),
      "model.decoder.convolutions": 2,
      "model.decoder.dropout": 0.25,
      "compute_dtype": "bfloat16",
    }
  )
  config.model.backbone.widths = (8, 12, 16, 20)
  scene = building.build_scene(config, "some axis")
  assert building.build_scene(from_json(config), "some axis") == scene
  hash(scene)  # flax compares modules: no lists
  assert (scene.crop_size, scene.detector_shrink) == (48, 3)
  assert scene.stn_form == "gather"
  assert (scene.encoder.time_variant_size, scene.encoder.time_invariant_size) == (37, 11)
  decoder = scene.decoder
  assert (decoder.base, decoder.base_channels, decoder.stage_channels) == (7, 24, (20, 12, 6))
  assert (decoder.convolutions, decoder.dropout, decoder.dtype) == (2, 0.25, jnp.bfloat16)
  for backbone in (scene.encoder.backbone, scene.detector.backbone):
    assert (backbone.norm, backbone.widths) == ("group", (8, 12, 16, 20))
    assert (backbone.axis_name, backbone.dtype) == ("some axis", jnp.bfloat16)
  assert scene.encoder.backbone.block is resnet.Bottleneck
  assert scene.detector.backbone.block is not resnet.Bottleneck
  assert building.build_scene(config, None).encoder.backbone.axis_name is None
  config.model.encoder_norm, config.model.projection = "batch", {"blocks": 2, "width": 16}
  other = building.build_scene(config, None)
  assert (other.encoder.backbone.norm, other.detector.backbone.norm) == ("batch", "group")
  assert (other.encoder.projection.blocks, other.encoder.projection.width) == (2, 16)
  assert other.encoder.projection.dtype == jnp.bfloat16


def test_an_empty_detector_leaves_it_out():
  assert building.build_scene(make_config(**{"model.detector": ""}), None).detector is None


# --- options -----------------------------------------------------------------------------------


def test_options_of_a_scene():
  config = make_config(
    **{
      "scene.decode": False,
      "scene.pixel_loss": "l1",
      "scene.label_statistics": True,
      "scene.minimum_std": 0.07,
      "scene.swap": "pairs",
      "scene.swap_probability": 0.3,
      "scene.prior_scale": (0.4, 0.6),
      "scene.tight_scale": (0.2, 0.45),
      "scene.prior_location": (0.1, -0.2),
      "scene.order_threshold": 0.02,
      "scene.background": "remove",
      "scene.background_threshold": 51.0,
      **{f"scene.jitter_strength.{name}": value for name, value in STRENGTH.items()},
    }
  )
  expected = SceneOptions(
    decode=False,
    pixel_loss="l1",
    label_statistics=0.07,
    swap="pairs",
    swap_probability=0.3,
    jitter=STRENGTH,
    prior_scale=(0.4, 0.6),
    tight_scale=(0.2, 0.45),
    prior_location=(0.1, -0.2),
    order_threshold=0.02,
    background="remove",
    threshold=0.2,
  )
  assert building.make_scene_options(config) == expected
  assert building.make_scene_options(from_json(config)) == expected
  config.scene.jitter = config.scene.label_statistics = False
  off = building.make_scene_options(config)
  assert (off.jitter, off.label_statistics) == (None, None)


def test_options_of_dsl_and_drnet():
  config = make_config(
    **{
      "sampling.far_min": 77.0,
      "dsl.contrast": "css",
      "dsl.temperature": 0.3,
      "dsl.include_positive": False,
      "drnet.discriminator_width": 12,
    }
  )
  expected = DslOptions(contrast="css", d_max=77.0, temperature=0.3, include_positive=False)
  assert building.make_dsl_options(config) == expected
  assert building.make_drnet_options(config) == DrnetOptions(12, normalise=True)
  config.drnet.normalise = False
  assert building.make_drnet_options(config) == DrnetOptions(12, normalise=False)


def test_options_of_multi_view_methods():
  config = make_config(
    **{
      "mv_css.negative": "distant",
      "mv_css.normalise": False,
      "mv_css.margin": 0.3,
      "nsd.swap_probability": 0.7,
    }
  )
  expected = MvCssOptions(negative="distant", normalise=False, margin=0.3)
  assert building.make_mv_css_options(config) == expected
  assert building.make_nsd_options(config) == NsdOptions(swap_probability=0.7)


def test_options_of_a_supervised_network():
  config = make_config(
    supervised,
    **{
      "model.crop_size": 40,
      "model.stn_form": "plane",
      "supervised.crop": "detector",
      "supervised.mirror": 0.3,
      "supervised.centre_camera": True,
      "supervised.enlarge": 1.7,
      "supervised.shift": 0.15,
      "supervised.scale": 0.25,
      "supervised.background": "remove",
      "supervised.background_threshold": 51.0,
      **{f"supervised.jitter_strength.{name}": value for name, value in STRENGTH.items()},
    },
  )
  expected = SupervisedOptions(
    crop="detector",
    crop_size=40,
    enlarge=1.7,
    shift=0.15,
    scale=0.25,
    jitter=STRENGTH,
    mirror=0.3,
    centre_camera=True,
    background="remove",
    threshold=0.2,
    stn_form="plane",
  )
  assert building.make_supervised_options(config) == expected
  config.supervised.jitter = False
  assert building.make_supervised_options(config).jitter is None


def test_options_of_synchronisation_and_flip():
  config = make_config(
    sync_flip,
    **{
      "pairs.crop": "difference",
      "pairs.enlarge": 1.7,
      "pairs.background": "mix",
      "pairs.background_threshold": 51.0,
      "pairs.shift": 0.15,
      "pairs.scale": 0.25,
      "pairs.rotation_deg": 12.0,
      "scene.background": "keep",
      "scene.background_threshold": 102.0,
      "sync_flip.fusion": "diff",
      "sync_flip.features": "time_variant",
    },
  )
  expected = SyncFlipOptions(
    crop="difference",
    enlarge=1.7,
    background="mix",
    threshold=0.2,
    detector_background="keep",
    detector_threshold=0.4,
    shift=0.15,
    scale=0.25,
    rotation_deg=12.0,
    fusion="diff",
    features="time_variant",
  )
  assert building.make_sync_flip_options(config) == expected


def make_optimiser(config, *groups):
  """The optimiser of one objective that trains the groups."""
  return building.make_optimisers(config, {"dsl": Objective((), groups)})["dsl"]


def test_a_multiplier_of_a_group_that_is_not_trained_says_nothing():
  config = make_config()
  config.optimiser.multipliers = ConfigDict({"detector": 0.1, "encoder": 1.0})
  found = make_optimiser(config, "detector", "encoder")
  assert dict(found.multipliers) == {"detector": 0.1}
  assert dict(make_optimiser(config, "encoder").multipliers) == {}


def test_a_frozen_group_that_no_objective_trains_is_an_error():
  config = make_config(**{"optimiser.frozen": ("decoder",)})
  assert make_optimiser(config, "encoder", "decoder").frozen == ("decoder",)
  with pytest.raises(ValueError, match=r"frozen names 'decoder': this method trains encoder"):
    make_optimiser(config, "encoder")


def test_the_discriminator_of_drnet_has_its_own_rate():
  config = make_config(
    **{
      "optimiser.learning_rate": 0.4,
      "optimiser.schedule": "constant",
      "optimiser.frozen": ("detector",),
      "drnet.learning_rate": 0.2,
      "drnet.beta1": 0.0,
      "optimiser.epsilon": 3.0,
      "optimiser.beta2": 0.0,
    }
  )
  objectives = {
    "drnet": Objective((), ("detector", "encoder")),
    GROUP: Objective((), (GROUP,)),
  }
  found = building.make_optimisers(config, objectives)
  assert found["drnet"].frozen == ("detector",)
  assert found[GROUP].frozen == ()
  rates = [float(found[name].learning_rate(0)) for name in objectives]
  np.testing.assert_allclose(rates, [0.4, 0.2])
  params = {GROUP: jnp.array([1.0])}
  transform = found[GROUP].transform
  _, state = transform.update({GROUP: jnp.array([5.0])}, transform.init(params), params)
  updates, _ = transform.update({GROUP: jnp.array([2.0])}, state, params)
  np.testing.assert_allclose(updates[GROUP], [-0.2 * 2 / 5], rtol=1e-5)  # no memory of the 5


def test_the_optimiser_is_the_configured_one():
  config = make_config(
    **{
      "training.steps": 50,
      "optimiser.name": "sgd",
      "optimiser.learning_rate": 0.4,
      "optimiser.schedule": "piecewise",
      "optimiser.boundaries": ((20, 0.5), (40, 0.1)),
      "optimiser.beta1": 0.9,
      "optimiser.weight_decay": 0.5,
      "optimiser.clip_norm": 2.0,
      "optimiser.frozen": ("detector",),
    }
  )
  # what is frozen needs no factor
  config.optimiser.multipliers = ConfigDict({"encoder": 0.25, "detector": 0.1})
  for values in (config, from_json(config)):
    found = make_optimiser(values, "detector", "encoder", "decoder")
    assert (found.frozen, dict(found.multipliers)) == (("detector",), {"encoder": 0.25})
    np.testing.assert_allclose([found.learning_rate(i) for i in (0, 21, 41)], [0.4, 0.2, 0.02])
    params = {"encoder": jnp.array([[1.0]]), "decoder": jnp.array([[2.0]])}
    gradients = {"encoder": jnp.array([[3.0]]), "decoder": jnp.array([[4.0]])}
    state = found.transform.init(params)
    updates, _ = found.transform.update(gradients, state, params)
    # of norm 5, clipped to 2; plus half of each parameter; 0.4, and a quarter of it
    np.testing.assert_allclose(updates["encoder"], [[-0.1 * (1.2 + 0.5)]], rtol=1e-6)
    np.testing.assert_allclose(updates["decoder"], [[-0.4 * (1.6 + 1.0)]], rtol=1e-6)


def test_a_cosine_ends_with_the_training():
  config = make_config(
    **{
      "training.steps": 80,
      "optimiser.learning_rate": 0.4,
      "optimiser.schedule": "warmup_cosine",
      "optimiser.warmup_steps": 20,
      "optimiser.final_fraction": 0.25,
      "optimiser.name": "adam",
      "optimiser.beta1": 0.0,
      "optimiser.beta2": 0.0,
      "optimiser.epsilon": 3.0,
    }
  )
  found = make_optimiser(config, "encoder")
  rates = [float(found.learning_rate(step)) for step in (10, 20, 50, 80)]
  np.testing.assert_allclose(rates, [0.2, 0.4, 0.25, 0.1], rtol=1e-6)
  params = {"encoder": jnp.array([1.0])}
  state = found.transform.init(params)
  for _ in range(3):
    updates, state = found.transform.update({"encoder": jnp.array([2.0])}, state, params)
  # without memory the direction is g / (|g| + epsilon); the third step's rate is 2/20 of 0.4
  np.testing.assert_allclose(updates["encoder"], [-0.04 * 2 / 5], rtol=1e-5)


# --- weights from files ------------------------------------------------------------------------


def random_like(shapes, seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.5, 1, x.shape), x.dtype), shapes)


def small(seed):
  model = resnet.ResNet(stage_sizes=(1,), block=resnet.BasicBlock, widths=(4,))
  return random_like(
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), False)), seed
  )


def scene_of(**backbones):
  return {
    kind: {group: {"backbone": tree[kind]} for group, tree in backbones.items()}
    for kind in ("params", "batch_stats")
  }


def assert_same(found, expected):
  assert all(jax.tree.leaves(jax.tree.map(np.array_equal, found, expected)))


def test_backbones_start_from_their_files(tmp_path):
  config = make_config()
  for number, group in enumerate(("detector", "encoder")):
    config.model[f"{group}_weights"] = str(tmp_path / f"{group}.safetensors")
    torch_weights.save_safetensors(
      config.model[f"{group}_weights"], torch_weights.resnet_state(small(number))
    )
  start = scene_of(detector=small(2), encoder=small(3))
  found = building.load_weights(config, start)
  assert_same(found, scene_of(detector=small(0), encoder=small(1)))
  # a supervised network has no detector
  assert_same(building.load_weights(config, scene_of(encoder=small(3))), scene_of(encoder=small(1)))
  config.model.encoder_weights = ""
  assert_same(building.load_weights(config, start), scene_of(detector=small(0), encoder=small(3)))


def test_the_perceptual_network_gets_its_weights_from_a_file(tmp_path):
  shapes = jax.eval_shape(
    lambda: resnet.ResNet(stage_sizes=(2, 2, 2), block=resnet.BasicBlock, output="stages").init(
      jax.random.key(0), jnp.zeros((1, 64, 64, 3)), False
    )
  )
  weights = random_like(shapes, 5)
  path = tmp_path / "resnet18.safetensors"
  torch_weights.save_safetensors(path, torch_weights.resnet_state(weights))
  config = make_config(**{"model.perceptual_weights": str(path), "compute_dtype": "bfloat16"})
  network, variables = building.load_perceptual(config)
  assert network.dtype == jnp.bfloat16
  for kind in ("params", "batch_stats"):
    assert_same(variables[kind]["backbone"], weights[kind])


@pytest.mark.parametrize(
  ("weight", "said"),
  [(2.0, True), (0.0, False), (((0, 0.0), (9, 0.1)), True), (((0, 0.0), (9, 0.0)), False)],
)
def test_a_perceptual_loss_without_weights_is_said_only_if_it_ever_weighs(weight, said, capsys):
  config = make_config()
  with config.ignore_type():  # a number where pieces stood
    config.loss_weights.perceptual = weight
  assert building.load_perceptual(config) is None
  assert ("config.model.perceptual_weights" in capsys.readouterr().out) == said
