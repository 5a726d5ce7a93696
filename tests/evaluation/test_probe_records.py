import json

import pytest

from jaxpose.evaluation.probe_records import (
  ProbeRecord,
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
