"""Values of a configuration that runs from before they were there lack, and what these did.

Who adds a value to configs/common.py that a run cannot be opened without gives it here the value
under which nothing changes: then saved runs can still be opened, and go on from their checkpoints
without a word, having the fingerprint that they had.
"""

import copy
from collections.abc import Mapping
from typing import Any

ADDED: Mapping[str, Any] = {
  "drnet.normalise": False,
  "model.encoder_norm": "",
  "model.projection.blocks": 0,
  "model.projection.width": 1024,
  "training.vector_spread_low": 0.0,
}


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
  """A copy of a saved configuration with the values of `ADDED` that it lacks.

  Sections that it has not at all are left out.
  """
  filled = copy.deepcopy(dict(values))
  for name, value in ADDED.items():
    top, *between, last = name.split(".")
    section = filled.get(top)
    for part in between:
      section = section.setdefault(part, {}) if isinstance(section, dict) else None
    if isinstance(section, dict):
      section.setdefault(last, value)
  return filled


def strip(values: Mapping[str, Any]) -> dict[str, Any]:
  """A copy of a configuration without the values of `ADDED` where they change nothing."""
  kept = copy.deepcopy(dict(values))
  for name, value in ADDED.items():
    _remove(kept, name.split("."), value)
  return kept


def _remove(section: Any, names: list[str], value: Any) -> None:
  """Deletes what has this path and value, and the sections that are empty without it."""
  first, *rest = names
  if not isinstance(section, dict) or first not in section:
    return
  if rest:
    _remove(section[first], rest, value)
  if section[first] == ({} if rest else value):
    del section[first]
