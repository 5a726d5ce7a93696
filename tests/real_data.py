"""Where tests find recorded video and motion; they skip, saying so, where it is missing."""

import os
import pathlib

import pytest

_VARIABLE = "JAXPOSE_REAL_DATA"


def real_data_dir() -> pathlib.Path:
  """The folder of recorded clips: $JAXPOSE_REAL_DATA, or `shared/data` beside the repository."""
  beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
  folder = pathlib.Path(os.environ.get(_VARIABLE, beside))
  if not folder.is_dir():
    pytest.skip(f"no recorded clips: {folder} is missing (set {_VARIABLE})")
  return folder
