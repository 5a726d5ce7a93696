"""A supervised network that starts from a self-supervised run, learning all of it or its head."""

import shutil

import jax
import numpy as np
import pytest

from configs import dsl, supervised
from jaxpose import building, parallel
from jaxpose.experiment import Experiment
from jaxpose.training import transfer


def small(config, data):
  config.data.directory = str(data)
  config.model.backbone.norm = "batch"
  config.training.steps = 2
  config.training.checkpoint_every = 2
  config.training.validate_every = 2
  config.training.validation_batches = 1
  return config


@pytest.fixture(scope="module")
def pretrained(tiny_people, tmp_path_factory):
  experiment = Experiment(small(dsl.get_config("smoke"), tiny_people), tmp_path_factory.mktemp("a"))
  experiment.train()
  return experiment


def floor(pretrained, workdir, **changes):
  config = small(supervised.get_config("smoke"), pretrained.config.data.directory)
  config.update_from_flattened_dict(changes)
  return Experiment(config, workdir)


def first_variables(experiment):
  return experiment.method.init(jax.random.key(5), next(experiment.train_batches()))


def leaves(tree):
  found = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def assert_same(found, expected):
  for path, leaf in leaves(found).items():
    np.testing.assert_array_equal(leaf, leaves(expected)[path], err_msg=path)


def test_the_encoder_comes_along_with_its_statistics_and_its_last_layer(pretrained, tmp_path):
  source = str(pretrained.workdir)
  found = first_variables(floor(pretrained, tmp_path, **{"model.start_from": source}))
  plain = first_variables(floor(pretrained, tmp_path))
  trained = pretrained.restore()
  assert set(found["params"]["encoder"]) == {"backbone", "time_variant"}  # no time_invariant
  for collection in ("params", "batch_stats"):
    assert_same(found[collection]["encoder"], trained[collection]["encoder"])
  assert_same(found["params"]["head"], plain["params"]["head"])
  assert_same(found["frozen"], plain["frozen"])
  for path in ("time_variant/kernel", "backbone/conv1/kernel"):  # and else it is the seed's own
    own, theirs = (leaves(v["params"]["encoder"])[path] for v in (plain, trained))
    assert np.abs(np.asarray(own) - theirs).max() > 1e-3


def test_only_the_named_groups_come_along():
  own = {"params": {"detector": {"w": np.zeros(2)}, "encoder": {"w": np.zeros(3)}}}
  other = {"params": {"detector": {"w": np.ones(2)}, "encoder": {"w": np.ones(3)}}}
  found = transfer.take_groups(own, other, where="RUN", only=("detector",))
  np.testing.assert_array_equal(found["params"]["detector"]["w"], [1, 1])
  np.testing.assert_array_equal(found["params"]["encoder"]["w"], [0, 0, 0])
  with pytest.raises(ValueError, match=r"start_groups names 'decoder'; .* share detector, encoder"):
    transfer.take_groups(own, other, where="RUN", only=("decoder",))


def test_a_frozen_encoder_keeps_its_weights_and_its_statistics(pretrained, tmp_path):
  source = str(pretrained.workdir)
  changes = {"model.start_from": source, "optimiser.frozen": ("encoder",)}
  experiment = floor(pretrained, tmp_path, **changes)
  start = first_variables(experiment)
  experiment.train()
  found, trained = experiment.restore("last"), pretrained.restore()
  for collection in ("params", "batch_stats"):
    assert_same(found[collection]["encoder"], trained[collection]["encoder"])
  head = leaves(found["params"]["head"])["kernel"]
  assert np.abs(head - leaves(start["params"]["head"])["kernel"]).max() > 1e-5


def test_frozen_early_stages_and_a_found_box_with_few_labels(pretrained, tmp_path):
  stages = ("encoder/backbone/conv1", "encoder/backbone/bn1", "encoder/backbone/layer1")
  changes = {
    "model.start_from": str(pretrained.workdir),
    "optimiser.frozen": ("detector", *stages),
    "optimiser.name": "adamw",
    "optimiser.weight_decay": 0.1,
    "supervised.crop": "detector",
    "supervised.normalise": "joint",
    "supervised.centre_camera": True,
    "supervised.mirror": 0.5,
    "supervised.label_count": "20",
  }
  experiment = floor(pretrained, tmp_path, **changes)
  assert experiment.labels.count() == 20
  experiment.train()
  found, trained = experiment.restore("last"), pretrained.restore()
  for collection in ("params", "batch_stats"):
    before, after = trained[collection], found[collection]
    assert_same(after["detector"], before["detector"])
    for path, leaf in leaves(after["encoder"]).items():
      old = leaves(before["encoder"])[path]
      if path.startswith(("backbone/conv1", "backbone/bn1", "backbone/layer1")):
        np.testing.assert_array_equal(leaf, old, err_msg=path)
      else:
        assert np.abs(np.asarray(leaf) - old).max() > 1e-6, path
  with pytest.raises(ValueError, match=r"frozen names 'encoder/backbone/stage0': encoder/backbone"):
    floor(
      pretrained, tmp_path / "other", **{"optimiser.frozen": ("encoder/backbone/stage0",)}
    ).train()


@pytest.mark.parametrize("frozen", [(), ("encoder",)])
def test_only_a_frozen_encoder_sees_in_training_what_it_sees_afterwards(
  pretrained, tmp_path, frozen
):
  same_crops = {"supervised.jitter": False, "supervised.shift": 0.0, "supervised.scale": 0.0}
  experiment = floor(pretrained, tmp_path, **same_crops, **{"optimiser.frozen": frozen})
  variables, batch = first_variables(experiment), next(experiment.train_batches())
  kernel = variables["params"]["head"]["kernel"]  # at weight 0 it would see nothing of the encoder
  variables["params"]["head"]["kernel"] = jax.random.normal(jax.random.key(1), kernel.shape)
  terms = jax.pmap(
    experiment.method.terms, parallel.AXIS, static_broadcasted_argnums=3, devices=jax.devices()[:1]
  )
  one = jax.tree.map(lambda x: np.asarray(x)[None], (variables, batch))
  key = jax.random.split(jax.random.key(0), 1)
  learning, later = (terms(*one, key, train)[0]["pose"][0] for train in (True, False))
  same = np.allclose(learning, later, rtol=1e-3)
  assert same == bool(frozen)


def test_groups_that_learn_move_their_statistics(pretrained):
  before = first_variables(pretrained)["batch_stats"]["encoder"]
  after = leaves(pretrained.restore("last")["batch_stats"]["encoder"])
  assert all(np.abs(after[p] - np.asarray(leaf)).max() > 1e-4 for p, leaf in leaves(before).items())


def test_frozen_is_told_to_the_networks_that_train_only(pretrained, tmp_path):
  changes = {"optimiser.frozen": ("encoder",)}
  config = floor(pretrained, tmp_path, **changes).config
  scene = building.build_scene(config, None)
  assert (scene.encoder.backbone.frozen, scene.detector.backbone.frozen) == (("",), ())
  config.optimiser.frozen = ("encoder/backbone/layer1", "detector/backbone", "detector/box")
  parts = building.build_scene(config, None)
  assert parts.encoder.backbone.frozen == ("layer1",)
  assert parts.detector.backbone.frozen == ("",)
  assert not building.build_scene(config, None, training=False).encoder.backbone.frozen


def test_a_source_that_does_not_fit_is_named(pretrained, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"start_from: no config\.json in .*/nowhere"):
    first_variables(floor(pretrained, tmp_path, **{"model.start_from": f"{tmp_path}/nowhere"}))
  untrained = tmp_path / "untrained"
  untrained.mkdir()
  shutil.copy(pretrained.workdir / "config.json", untrained)
  with pytest.raises(FileNotFoundError, match=r"no whole checkpoint in .*untrained"):
    first_variables(floor(pretrained, tmp_path, **{"model.start_from": str(untrained)}))
  (untrained / "config.json").write_text("{}")
  with pytest.raises(ValueError, match=r"untrained/config\.json is damaged"):
    first_variables(floor(pretrained, tmp_path, **{"model.start_from": str(untrained)}))
  other = {"model.start_from": str(pretrained.workdir), "model.time_variant": 7}
  said = r"time_variant/bias is \(128,\) there, here \(7,\).*: --config\.model\.time_variant=128$"
  with pytest.raises(ValueError, match=said):
    first_variables(floor(pretrained, tmp_path, **other))
  other["model.start_groups"] = ("decoders",)  # which other sizes do not mend
  with pytest.raises(ValueError, match=r"start_groups names 'decoders'; .*share encoder$"):
    first_variables(floor(pretrained, tmp_path, **other))
