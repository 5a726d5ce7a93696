import dataclasses
import json

import made_up_run
import pytest

from jaxpose.evaluation import probe_records
from jaxpose.evaluation.probe_records import (
  ProbeRecord,
  RecordStore,
  Reference,
  load_reference,
  save_reference,
)

REFERENCE = Reference(ProbeRecord("supervised", 12, 1, {"MPJPE/3 joints": 4.5}, 0.25), 3, 8)


def test_references_come_back_from_disk(tmp_path):
  path = save_reference(tmp_path / "probe", REFERENCE)
  assert path.name == "reference.json"
  assert load_reference(path) == REFERENCE


def test_a_missing_reference_is_named_with_what_to_do(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"floor\.json.*configs/supervised\.py"):
    load_reference(tmp_path / "floor.json")


@pytest.mark.parametrize(
  "change", [lambda v: v.pop("record"), lambda v: v.update(format=0), lambda v: v.update(more=1)]
)
def test_another_file_is_no_reference(tmp_path, change):
  path = save_reference(tmp_path, REFERENCE)
  values = json.loads(path.read_text())
  change(values)
  path.write_text(json.dumps(values))
  with pytest.raises(ValueError, match=r"reference\.json is no reference"):
    load_reference(path)
  path.write_text("[")
  with pytest.raises(ValueError, match=r"reference\.json is no reference"):
    load_reference(path)


def test_a_kill_while_a_regressor_is_kept_never_mixes_two_up(tmp_path, monkeypatch):
  first = made_up_run.regressor()
  RecordStore(tmp_path, {}, print).keep_regressor(800, 0, first)
  assert RecordStore(tmp_path, {}, print).regressor(800, 0).feature == first.feature
  save = probe_records.save_regressor

  def save_and_die(path, regressor):
    save(path, regressor)
    raise KeyboardInterrupt

  monkeypatch.setattr(probe_records, "save_regressor", save_and_die)
  other = dataclasses.replace(first, feature="time_invariant")
  with pytest.raises(KeyboardInterrupt):
    RecordStore(tmp_path, {}, print).keep_regressor(100, 0, other)
  # the file is that of 100 labels now: to be fitted again, not to be taken for that of 800
  assert RecordStore(tmp_path, {}, print).regressor(800, 0) is None
