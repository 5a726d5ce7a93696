import json

import damage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import dsl, study, supervised, video
from jaxpose import config_check
from jaxpose.experiment import Experiment
from launch import cli


def test_all_configurations_pass_and_every_checked_key_is_one():
  for module in (dsl, supervised, video):
    for name in module.VARIANTS:
      config_check.check_values(module.get_config(name))
  known = dsl.get_config("smoke")
  for key in config_check._KINDS:
    value = known
    for part in key.split("."):
      value = value[part]


@pytest.mark.parametrize(
  ("key", "value", "word"),
  [
    ("batch_size", 0, "at least 1"),
    ("batch_size", 8.0, "whole number"),
    ("training.steps", -5, "at least 1"),
    ("data.image_size", (64,), "height, width"),
    ("data.image_size", (64, "64"), "height, width"),
    ("sampling.gravity", (5,), "from step"),
    ("sampling.gravity", (), "from step"),
    ("sampling.near_max", float("nan"), "finite"),
    ("sampling.far_max", float("nan"), "finite number, or inf"),
    ("views.gap_max", -float("inf"), "finite number, or inf"),
    ("optimiser.boundaries", (3, 4), "step, factor"),
    ("probe.label_counts", (), "shares"),
    ("probe.label_counts", ((1, 2),), "shares"),
    ("probe.seeds", ("one",), "whole numbers"),
    ("scene.prior_scale", (0.5,), "two numbers"),
    ("data.also", (3,), "texts"),
    ("training.profile_steps", (3,), "first step, last step"),
    ("training.profile_steps", (4, 3), "first step, last step"),
    ("methods", (), "texts"),
    ("supervised.mirror", 1.5, "from 0 to 1"),
    ("supervised.subjects", (1,), "texts"),
    ("export.checkpoint", "latest", "one of best, last"),
    ("probe.regressor", "forest", "one of mlp, residual, linear"),
    ("supervised.label_count", (100,), "a number, a share"),
  ],
)
def test_a_value_of_another_kind_is_named(tmp_path, key, value, word):
  values = dsl.get_config("smoke").to_dict()
  *sections, last = key.split(".")
  inner = values
  for section in sections:
    inner = inner[section]
  inner[last] = value
  with pytest.raises(ValueError, match=rf"^config\.{key} is .*{word}"):
    Experiment(ConfigDict(values), tmp_path)


def test_a_configuration_that_lacks_a_value_is_named(tmp_path, tiny_people):
  for change, said in (
    (
      lambda values: values["training"].pop("warn_every"),
      "section 'training', has no 'warn_every'",
    ),
    (lambda values: values.pop("report"), "config.json has no 'report'"),
    (lambda values: values.update(dsl=3), "no values below it, but 3"),
    (lambda values: values.update(sync_flip=3), "no values below it, but 3"),
    (
      lambda values: values.pop("pairs") and values.update(methods=("dsl", "sync_flip")),
      "config.json has no 'pairs'",
    ),
  ):
    values = dsl.get_config("smoke").to_dict()
    change(values)
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"config\.json") as caught:
      cli.open_run(str(tmp_path))
    assert said in str(caught.value)
  # sections of methods that a run does not have may have come after it
  old = dsl.get_config("smoke").to_dict()
  for name in ("supervised", "pairs", "sync_flip"):
    del old[name]
  (tmp_path / "config.json").write_text(json.dumps(old))
  assert cli.open_run(str(tmp_path)).fingerprint()
  # what its method doesn't read it may lack
  values = dsl.get_config("smoke").to_dict()
  del values["supervised"]["mirror"], values["drnet"]
  (tmp_path / "config.json").write_text(json.dumps(values))
  assert cli.open_run(str(tmp_path)).config.name == "smoke"
  values = supervised.get_config("smoke").to_dict()
  del values["supervised"]["mirror"]
  (tmp_path / "config.json").write_text(json.dumps(values))
  with pytest.raises(ValueError, match="section 'supervised', has no 'mirror'"):
    cli.open_run(str(tmp_path))
  for module in (dsl, supervised):
    config = module.get_config("smoke")
    config.data.directory = str(tiny_people)
    Experiment(config, tmp_path).save_config()
    assert cli.open_run(str(tmp_path)).config.name == "smoke"


def test_a_run_may_be_older_than_what_its_methods_do_not_read(tmp_path):
  values = dsl.get_config("smoke").to_dict()
  for section in ("views", "mv_css", "nsd", "drnet"):
    del values[section]
  (tmp_path / "config.json").write_text(json.dumps(values))
  assert cli.open_run(str(tmp_path)).fingerprint() == (
    Experiment(dsl.get_config("smoke"), tmp_path).fingerprint()
  )
  del values["dsl"]
  (tmp_path / "config.json").write_text(json.dumps(values))
  with pytest.raises(ValueError, match=r"config\.json has no 'dsl'"):
    cli.open_run(str(tmp_path))


@settings(
  max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(damage.damaged_text([json.dumps(dsl.get_config("smoke").to_dict())]))
def test_a_damaged_configuration_is_one_or_named(tmp_path_factory, data):
  path = damage.write(tmp_path_factory.getbasetemp() / "run" / "config.json", data)
  found = damage.refused_or_read(lambda: cli.open_run(str(path.parent)), "config.json")
  if found is not None:
    found.fingerprint()
    assert found.image_size[0] >= 8


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
  st.sampled_from(sorted(config_check._KINDS)),
  st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
  ),
)
def test_any_value_is_accepted_or_named(key, value):
  config = ConfigDict(dsl.get_config("smoke").to_dict())
  *sections, last = key.split(".")
  inner = config
  for section in sections:
    inner = inner[section]
  with inner.ignore_type():
    inner[last] = value
  try:
    config_check.check_values(config)
  except ValueError as error:
    assert str(error).startswith(f"config.{key} is ")  # noqa: PT017


def _study():
  return study.get_config("smoke")


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda c: c.update(sed=(0,)), r"config has no 'sed'; there is seeds"),
    (lambda c: c.__delitem__("levelled"), r"config lacks levelled"),
    (lambda c: c.update(seeds=()), r"config\.seeds is \(\): it must be a list of different whole"),
    (lambda c: c.rows.dsl.update(seeds=(1, 1)), r"config\.rows\.dsl\.seeds is \(1, 1\)"),
    (lambda c: c.rows.dsl.update(seed=1), r"config\.rows\.dsl has no 'seed'; there is seeds"),
    (lambda c: c.rows.dsl.update(file=""), r"config\.rows\.dsl\.file is ''"),
    (lambda c: c.rows.dsl.update(overrides=("a.b",)), r"overrides is \('a\.b',\).*KEY=VALUE"),
    (lambda c: c.rows.dsl.update(paper=(1.0,)), r"dsl\.paper has 1 numbers for the 5"),
    (lambda c: c.update(shared=("training.steps = 3",)), r"config\.shared is"),
    (lambda c: c.update(reference="dls"), r"reference is 'dls'.*there are dsl, supervised"),
    (lambda c: c.update(levelled=2), r"config\.levelled is 2"),
    (lambda c: c.rows.update(random=c.rows.dsl), r"config\.rows\.random: .*random, mean pose"),
    (lambda c: c.rows.update({"a/b": c.rows.dsl}), r"config\.rows\.a/b: .*letters"),
    (lambda c: c.__setitem__("rows", ConfigDict()), r"config\.rows is"),
  ],
)
def test_a_study_that_does_not_fit_is_named(change, said):
  config = ConfigDict(_study().to_dict(), type_safe=False)
  config_check.check_study(config)
  change(config)
  with pytest.raises(ValueError, match=said):
    config_check.check_study(config)
