import importlib
import json
import pathlib
import subprocess
import sys

import pytest

from configs import dsl, supervised

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = [p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in ("__init__", "common")]
VARIANTS = [
  (file, name) for file in FILES for name in importlib.import_module(f"configs.{file}").VARIANTS
]


@pytest.mark.parametrize(("file", "variant"), VARIANTS)
def test_every_variant_is_complete_and_survives_json(file, variant):
  config = importlib.import_module(f"configs.{file}").get_config(variant)
  assert config.name == variant
  assert json.loads(json.dumps(config.to_dict()))["training"]["steps"] > 0
  reference = dsl.get_config("human36m")
  assert set(config) == set(reference)
  for section in set(reference) - {"loss_weights", "optimiser"}:
    if hasattr(reference[section], "keys"):
      assert set(config[section]) == set(reference[section])
  terms = {"dsl": set(reference.loss_weights), "supervised": {"pose"}}
  (method,) = config.methods
  assert set(config.loss_weights) == terms[method]
  groups = {"dsl": {"detector", "encoder", "decoder"}, "supervised": {"encoder", "head"}}
  assert set(config.optimiser) == set(reference.optimiser)
  assert set(config.optimiser.multipliers) == groups[method]
  # frames must be divided evenly for the detector
  assert all(side % config.model.detector_shrink == 0 for side in config.data.image_size)


def test_the_supervised_network_has_the_size_and_the_batches_of_dsl():
  for name in supervised.VARIANTS:
    floor, own = supervised.get_config(name), dsl.get_config(name)
    for section in ("model", "data", "sampling", "batch_size", "compute_dtype"):
      assert floor[section] == own[section]
    assert (floor.methods, own.methods) == (("supervised",), ("dsl",))
    assert floor.optimiser.schedule == "cosine"
    assert floor.training.best_by == "pose"


def test_paper_values_differ_as_the_papers_say():
  h36m, p1 = dsl.get_config("human36m"), dsl.get_config("p1")
  assert (h36m.dsl.pixel_loss, p1.dsl.pixel_loss) == ("l2", "l1")
  assert (h36m.loss_weights.perceptual, p1.loss_weights.perceptual) == ((2.0,), (0.0,))
  assert (h36m.dsl.swap, p1.dsl.swap) == ("another", "pairs")
  distances = {
    name: (c.sampling.near_max, c.sampling.far_min)
    for name in ("human36m", "mpi", "diving", "ski")
    for c in [dsl.get_config(name)]
  }
  assert distances == {
    "human36m": (10, 200),
    "mpi": (10, 450),
    "diving": (3, 20),
    "ski": (5, 40),
  }
  ski = dsl.get_config("ski").loss_weights
  assert (ski.pixel, ski.perceptual) == ((0.05,), (2.0,))


def test_falls_begin_with_gravity_and_without_contrast():
  config = dsl.get_config("diving")
  assert config.sampling.gravity == ((0, 1.0), (5_000, 0.0))
  assert config.loss_weights.order == ((0, 1.0), (5_000, 0.0))
  assert config.loss_weights.dsl == ((0, 0.0), (5_000, 0.1))


def test_unknown_variant_names_those_there_are():
  with pytest.raises(ValueError, match="human36m"):
    dsl.get_config("h36m")


def test_configs_import_no_jax():
  code = "import sys; from configs import dsl; dsl.get_config(); sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
