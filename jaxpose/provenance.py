"""Which weights a file was made with: regressors and borders of presence serve only their own."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest_weights(variables: Mapping[str, Any]) -> str:
  """A hash of all arrays of a method's variables, by name: equal weights give equal text."""
  digest = hashlib.sha256()
  for name, array in sorted(_flatten("", variables), key=lambda pair: pair[0]):
    values = np.asarray(array)
    digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
    digest.update(values.tobytes())
  return digest.hexdigest()[:16]


def differ(first: str, second: str) -> bool:
  """Are both known, and not the same? Files of older versions do not say what made them."""
  return bool(first and second and first != second)


def weights_of(exported: Mapping[str, Any]) -> str:
  """The digest of the weights that an export was made with; "" where it does not say."""
  return str(exported.get("weights", ""))


def _flatten(prefix: str, tree: Any) -> list[tuple[str, Any]]:
  if not isinstance(tree, Mapping):
    return [(prefix, tree)]
  return [pair for key, part in tree.items() for pair in _flatten(f"{prefix}/{key}", part)]
