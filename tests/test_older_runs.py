"""A run can be opened that is older than some values of the configuration."""

import json
import pathlib
import shutil

import pytest

from configs import ablations, common
from jaxpose import older_runs
from jaxpose.experiment import Experiment
from launch import cli

# configs/ablations.py:drnet@smoke as it was on 2026-11-23, and the fingerprint that it had then.
SAVED = pathlib.Path(__file__).parent / "older_run.json"
FINGERPRINT = "7f4b822d87babcc8"


def test_a_run_that_lacks_new_values_opens_as_what_it_was(tmp_path):
  shutil.copy(SAVED, tmp_path / "config.json")
  experiment = cli.open_run(str(tmp_path))
  config = experiment.config
  assert config.drnet.normalise is False
  assert (config.model.encoder_norm, config.model.projection.blocks) == ("", 0)
  assert experiment.fingerprint() == FINGERPRINT
  # the default of today is another method
  assert Experiment(ablations.get_config("drnet@smoke"), tmp_path).fingerprint() != FINGERPRINT


def test_every_value_that_was_added_is_one_of_the_configuration():
  known = common.paper().to_dict()
  for name, value in older_runs.ADDED.items():
    section = known
    for part in name.split("."):
      section = section[part]
    assert type(section) is type(value), name


def test_complete_fills_in_what_is_missing_alone():
  saved = {"drnet": {"normalise": True}, "model": {"projection": {"width": 7}}, "training": 3}
  before = json.dumps(saved)
  filled = older_runs.complete(saved)
  assert filled == {
    "drnet": {"normalise": True},
    "model": {"projection": {"width": 7, "blocks": 0}, "encoder_norm": ""},
    "training": 3,  # damaged: said elsewhere
  }
  assert json.dumps(saved) == before


@pytest.mark.parametrize("name", older_runs.ADDED)
def test_strip_keeps_what_changes_something(name):
  empty = {section: {} for section in ("drnet", "model", "training")}
  stripped = older_runs.strip(older_runs.complete(empty))
  assert stripped == {}
  section, *_, last = name.split(".")
  other = older_runs.complete(empty)
  place = other[section]["projection"] if "projection" in name else other[section]
  place[last] = "another"
  kept = older_runs.strip(other)
  assert list(kept) == [section]
  assert json.dumps(kept).count(":") == name.count(".") + 1
  assert "another" in json.dumps(kept)
