"""The steps of all methods fit their data: traced on a few small frames, not computed."""

import importlib

import jax
import numpy as np
import pytest

from configs import ablations, combined, supervised, sync_flip
from datasets.pose_video import prepare
from datasets.synthetic_people.builder import SyntheticPeople
from jaxpose import building, parallel, run_settings
from jaxpose.experiment import Experiment

SMALL = (
  *(("ablations", f"{name}@synthetic_people") for name in ablations.VARIANTS),
  *(("ablations", f"{name}@synthetic_dives") for name in ("dsl", "css", "drnet", "nsd", "random")),
  *(("ablations", f"{name}@own") for name in ("dsl", "drnet", "nsd", "mv_css")),
  *(("sync_flip", f"{name}@synthetic_people") for name in sync_flip.ABLATIONS),
  *(("supervised", name) for name in ("synthetic_people", "transfer", "own", "transfer_own")),
  *(("sync_flip", "own"), ("combined", "own")),
)
LARGE = (
  *(("ablations", f"{name}@human36m") for name in ablations.VARIANTS),
  *(("ablations", f"{name}@diving") for name in ablations.VARIANTS),
  *(("dsl", name) for name in ("mpi", "ski", "p1", "human36m_resnet101")),
  *((name, "original") for name in ("drnet", "mv_css", "nsd")),
  *(("combined", "human36m"), ("sync_flip", "human36m"), ("sync_flip", "human36m_resnet50")),
  *(("supervised", name) for name in supervised.VARIANTS if "own" not in name),
)
_FILES = ("start_from", "encoder_weights", "detector_weights", "perceptual_weights")


@pytest.fixture(scope="module")
def dives(tmp_path_factory):
  return prepare(SyntheticPeople, tmp_path_factory.mktemp("dives"), config="tiny_diving")


def on_tiny_data(config, directory):
  """The configuration on takes of a second, from random weights."""
  config.data.directory = str(directory)
  config.data.train_split, config.data.validation_split = "train", "validation"
  config.data.workers, config.batch_size = 0, 4
  config.sampling.update(
    {"unit": "frames", "near_max": 2.0, "far_min": 4.0, "far_max": float("inf")}
  )
  config.sampling.update({"spacing_min": 1.0, "spacing_max": 1.0})
  config.views.update({"unit": "frames", "gap_min": 1.0, "gap_max": 6.0})
  config.pairs.update({"unit": "frames", "gap_min": 1.0, "gap_max": 8.0})
  for name in _FILES:
    config.model[name] = ""
  config.supervised.subjects, config.supervised.label_count = (), "all"
  return config


def check(config, tmp_path):
  """What a step, its weights and its warnings ask for is there."""
  experiment = Experiment(config, tmp_path)
  batches = experiment.train_batches()
  batch = batches.peek()
  batches.close()
  method, one = experiment.method, lambda x: jax.ShapeDtypeStruct((1, *np.shape(x)), x.dtype)
  variables = jax.eval_shape(lambda: method.init(jax.random.key(0), batch))
  step = jax.vmap(lambda v, b: method.terms(v, b, jax.random.key(1), True), axis_name=parallel.AXIS)
  terms, after, out = jax.eval_shape(step, *jax.tree.map(one, (variables, batch)))
  assert jax.tree.map(one, variables) == after
  asked = {term for objective in method.objectives.values() for term in objective.terms}
  assert asked == set(experiment.loss_weights())
  assert asked == {name for name in terms if not name.endswith("_accuracy")}  # logged alone
  for value, weight in terms.values():
    assert value.shape[0] == weight.shape[0] == 1
    assert value.shape == weight.shape
  assert config.training.best_by in asked
  assert run_settings.ever_weighs(experiment.loss_weights()[config.training.best_by])
  summaries = set(out.get("summaries", {}))
  assert {watch.summary for watch in run_settings.make_watches(config)} <= summaries
  assert set(building.make_optimisers(config, method.objectives)) == set(method.objectives)


@pytest.mark.parametrize(
  ("file", "variant"), [*SMALL, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE)]
)
def test_a_step_has_all_that_its_configuration_asks_for(
  file, variant, tiny_people, dives, tmp_path
):
  config = importlib.import_module(f"configs.{file}").get_config(variant)
  falls = max(share for _, share in config.sampling.gravity)
  check(on_tiny_data(config, dives if falls else tiny_people), tmp_path)


@pytest.mark.parametrize("methods", [("sync_flip", "nsd"), ("mv_css", "dsl"), ("drnet", "nsd")])
def test_methods_can_be_combined_in_any_order(methods, tiny_people, tmp_path):
  config = on_tiny_data(combined.get_config("smoke"), tiny_people)
  config.methods = methods
  config.training.best_by = {"sync_flip": "synchronisation", "mv_css": "mv_css"}.get(
    methods[0], "pixel"
  )
  check(config, tmp_path)


@pytest.mark.parametrize(
  "methods", [("dsl",), ("drnet",), ("nsd",), ("mv_css",), ("dsl", "nsd", "sync_flip")]
)
def test_all_samples_of_a_scene_bring_their_2d_joints(methods, tiny_people, tmp_path):
  config = on_tiny_data(combined.get_config("smoke"), tiny_people)
  config.methods = methods
  config.scene.pose2d = True
  config.scene.decode = methods != ("mv_css",)
  config.training.best_by = "pose2d"
  check(config, tmp_path)
  batches = Experiment(config, tmp_path).train_batches()
  batch = batches.peek()
  batches.close()
  for part in set(batch) & {"temporal", "views"}:
    assert np.isfinite(batch[part]["pose2d_px"]).all(-1).any()


def test_2d_joints_that_no_method_learns_are_an_error(tiny_people, tmp_path):
  config = on_tiny_data(sync_flip.get_config("smoke"), tiny_people)
  config.scene.pose2d = True
  with pytest.raises(ValueError, match=r"scene\.pose2d.*beside one of dsl, drnet, mv_css, nsd"):
    _ = Experiment(config, tmp_path).method
