"""Who may import whom: the rooms of the house, upwards only."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What the modules of a folder may never import, as prefixes of dotted names.
FORBIDDEN = {
  "jaxpose": ("configs", "datasets", "launch", "tests"),
  "jaxpose/losses": ("flax", "optax", "ml_collections", "jaxpose."),
  "jaxpose/models": ("ml_collections", "optax", "jaxpose."),
  "jaxpose/data": ("jax", "flax", "optax", "orbax", "jaxpose.models", "jaxpose.losses")
  + ("jaxpose.methods", "jaxpose.training", "jaxpose.evaluation", "jaxpose.experiment"),
  "jaxpose/training": ("jaxpose.models", "jaxpose.methods", "jaxpose.data", "jaxpose.losses")
  + ("jaxpose.evaluation", "jaxpose.experiment"),
  "jaxpose/evaluation": ("jaxpose.models", "jaxpose.methods", "jaxpose.training")
  + ("jaxpose.experiment",),
  "jaxpose/methods": ("jaxpose.data", "jaxpose.training", "jaxpose.evaluation")
  + ("jaxpose.experiment", "ml_collections"),
  "configs": ("jax", "flax", "jaxpose", "datasets", "launch"),
  "datasets": ("jax", "flax", "launch", "configs", "jaxpose.models", "jaxpose.training"),
}
# What a folder may import in spite of a prefix above.
ALLOWED = {
  "jaxpose/losses": ("jaxpose.losses",),
  "jaxpose/models": (
    *("jaxpose.models", "jaxpose.geometry", "jaxpose.shapes", "jaxpose.parallel"),
    "jaxpose.parameter_paths",
  ),
}


def _imports(path):
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
      if node.module != "jaxpose":
        yield node.module
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _within(name, prefixes):
  return any(f"{name}.".startswith(p if p.endswith(".") else p + ".") for p in prefixes)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_module_imports_upwards(folder):
  files = sorted((ROOT / folder).rglob("*.py"))
  assert files
  bad = [
    f"{path.relative_to(ROOT)} imports {name}"
    for path in files
    for name in set(_imports(path))
    if _within(name, FORBIDDEN[folder]) and not _within(name, ALLOWED.get(folder, ()))
  ]
  assert not bad


def test_loader_workers_do_not_import_jax():
  """Importing the data package imports no JAX; grain, which does, is left to the loader."""
  code = (
    "import sys; import jaxpose.data.batches, jaxpose.data.index, jaxpose.data.pipeline;"
    "sys.exit('jax' in sys.modules)"
  )
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
