import importlib
import json
import pathlib
import subprocess
import sys
import types

import pytest

from configs import ablations, combined, drnet, dsl, mv_css, nsd, study, supervised, sync_flip
from jaxpose import building, config_check, run_settings

ROOT = pathlib.Path(__file__).resolve().parents[2]
NO_RUNS = ("__init__", "common", "study")
FILES = [p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in NO_RUNS]
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
  labelled = "supervised" in config.methods
  terms = {"pose"} if labelled else set(reference.loss_weights)
  assert set(config.loss_weights) == terms
  groups = {"detector", "encoder", "head"} if labelled else {"detector", "encoder", "decoder"}
  assert set(config.optimiser) == set(reference.optimiser)
  assert set(config.optimiser.multipliers) == groups
  # frames must be divided evenly for the detector
  assert all(side % config.model.detector_shrink == 0 for side in config.data.image_size)


def test_the_supervised_network_has_the_size_and_the_batches_of_dsl():
  for name in ("synthetic_people", "mocap_people", "smoke"):
    floor, own = supervised.get_config(name), dsl.get_config(name)
    for section in ("model", "data", "sampling", "compute_dtype"):
      assert floor[section] == own[section]
    assert floor.batch_size == 4 * own.batch_size  # frames, and samples of four
    assert (floor.methods, own.methods) == (("supervised",), ("dsl",))
    assert floor.optimiser.schedule == "cosine"
    assert floor.training.best_by == "pose"


def test_transfer_has_the_papers_figures():
  config = supervised.get_config("human36m")
  assert (config.training.steps, config.batch_size, config.model.crop_size) == (200_000, 16, 224)
  found = config.optimiser
  assert (found.name, found.learning_rate, found.weight_decay) == ("adamw", 1e-4, 1e-4)
  assert found.schedule == "cosine"
  assert found.learning_rate * found.final_fraction == pytest.approx(1e-7)
  for name in ("human36m", "transfer", "transfer_mocap_people"):
    config = supervised.get_config(name)
    values = config.supervised
    assert (values.normalise, values.centre_camera, values.mirror) == ("joint", True, 0.5)
    parts = {entry.removeprefix("encoder/backbone/") for entry in config.optimiser.frozen}
    assert parts == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert config.model.start_from.startswith("runs/sync_flip_")


def test_fine_tuning_is_the_floor_from_another_start():
  config, floor = supervised.get_config("fine_tune"), supervised.get_config()
  assert config.model.start_from == "runs/dsl_synthetic_people"
  config.model.start_from, config.name = "", floor.name
  assert config == floor


def test_what_dsl_is_compared_with_differs_from_it_in_its_own_parts_only():
  for base in ("synthetic_people", "human36m"):
    whole = dsl.get_config(base)
    size = whole.model.time_variant + whole.model.time_invariant
    for name in ablations.VARIANTS:
      config = ablations.get_config(f"{name}@{base}")
      assert config.model.time_variant + config.model.time_invariant == size, name
      for section in ("data", "probe", "batch_size", "seed", "compute_dtype"):
        assert config[section] == whole[section], name
      if name not in ("imagenet", "random"):  # which learn nothing
        assert config.optimiser == whole.optimiser
        assert config.training.steps == whole.training.steps
      split = config.model.time_invariant > 0
      splitting = ("css_stn", "dsl", "dsl_p1", "drnet", "nsd", "imagenet", "random")
      assert split == (name in splitting)
      assert (config.scene.swap == "none") == (not split)
      assert config.scene.decode == (name not in ("css", "mv_css", "dsl_plain", "dsl_stn"))
      assert bool(config.model.detector) == (name not in ("css", "mv_css", "dsl_plain"))
      assert config.sampling.second_far == (name in ("css", "css_stn"))
  assert ablations.get_config("dsl").scene == dsl.get_config().scene
  with pytest.raises(ValueError, match="no method 'dls' to compare with; there are ae, css"):
    ablations.get_config("dls@human36m")
  with pytest.raises(ValueError, match="no variant 'h36m'"):
    ablations.get_config("ae@h36m")


def test_whole_frames_are_contrasted_from_the_first_step_on():
  for name in ("css", "dsl_plain", "mv_css"):
    for base in ("diving", "synthetic_dives", "synthetic_people"):
      config, whole = ablations.get_config(f"{name}@{base}"), dsl.get_config(base)
      assert config.sampling.gravity == ((0, 0.0),)
      last = whole.loss_weights.dsl[-1]
      assert config.loss_weights.dsl == (last[1] if isinstance(last, tuple) else last,)


def test_p1_weighs_dsl_less_on_divers():
  weights = {
    base: ablations.get_config(f"dsl_p1@{base}").loss_weights.dsl[-1]
    for base in ("diving", "human36m")
  }
  assert weights["human36m"] == 0.1
  assert weights["diving"] == (5_000, pytest.approx(0.01))


def test_nsd_has_priors_where_dsl_has_gravity():
  for base in ("diving", "synthetic_dives"):
    assert dsl.get_config(base).sampling.gravity[0][1] > 0
  own, given = dsl.get_config("diving").loss_weights, dsl.get_config("human36m").loss_weights
  found = ablations.get_config("nsd@diving").loss_weights
  for term in ("box_scale", "box_location"):
    assert not run_settings.ever_weighs(own[term])
    assert run_settings.ever_weighs(found[term])
    assert found[term] == given[term]
  # embedded divers have priors of their own, one after the other
  own = dsl.get_config("synthetic_dives").loss_weights
  found = ablations.get_config("nsd@synthetic_dives").loss_weights
  for term in ("box_scale", "tight_box", "box_location"):
    assert found[term] == own[term]


def test_a_row_that_learns_nothing_sees_what_is_learned_from_last():
  # its 50 steps give batch norm the statistics that it is exported with
  assert ablations.get_config("random@diving").sampling.gravity == ((0, 0.0),)


def test_rows_that_learn_nothing_can_be_trained_on_every_variant():
  for name in ("random", "imagenet"):
    for base in ("synthetic_people", "pose2sim_balancing", "own", "human36m"):
      config = ablations.get_config(f"{name}@{base}")
      groups = {"detector": (), "encoder": ()}
      objectives = {"dsl": types.SimpleNamespace(parameters=tuple(groups))}
      optimiser = building.make_optimisers(config, objectives)["dsl"]
      assert optimiser is not None
      # batch norm settles in the random encoder, and keeps the file's statistics in the other
      assert ("encoder" in config.optimiser.frozen) == (name == "imagenet")
      assert config.optimiser.learning_rate == 0.0


def test_drnet_weighs_its_terms_like_dsl_once_people_are_found():
  for base, share, begins in (
    ("human36m", 1, 0),
    ("diving", 1, 0),
    ("synthetic_people", 0.1, 700),
    ("mocap_people", 0.1, 700),
    ("own", 0.1, 700),
    ("smoke", 0.1, 0),  # of 20 steps
  ):
    weights = ablations.get_config(f"drnet@{base}").loss_weights
    if begins:
      assert weights.box_scale[-1][0] == begins  # the prior lets go
    for term, value in (("similarity", share), ("confusion", share * 1e-4)):
      expected = [(0, 0.0), (begins, pytest.approx(value))] if begins else pytest.approx(value)
      assert run_settings.loss_weight(term, weights[term]) == expected


def test_views_lie_as_far_apart_as_distant_frames():
  mocap = nsd.get_config("mocap_people")
  assert (mocap.views.unit, mocap.views.gap_min, mocap.views.gap_max) == ("s", 0.5, 0.85)
  assert mv_css.get_config("human36m").views == nsd.get_config("human36m").views
  assert nsd.get_config("human36m").views.gap_min == 200


def test_baselines_are_those_of_the_tables_but_for_their_own_sizes():
  for module, name in ((drnet, "drnet"), (mv_css, "mv_css"), (nsd, "nsd")):
    for base in ("synthetic_people", "smoke", "human36m"):
      own, row = module.get_config(base), ablations.get_config(f"{name}@{base}")
      own.name = row.name
      assert own == row
  own = drnet.get_config("original")
  assert (own.model.time_variant, own.model.time_invariant) == (10, 128)
  assert (own.optimiser.beta1, own.drnet.beta1, own.drnet.normalise) == (0.5, 0.5, False)
  assert (own.loss_weights.similarity[0], own.loss_weights.confusion[0]) == (1.0, 1e-4)
  assert mv_css.get_config("original").model.time_variant == 32
  assert nsd.get_config("original").model.time_variant == 600
  assert nsd.get_config("original").optimiser.multipliers.decoder == 0.2
  assert nsd.get_config("synthetic_people").model.time_variant == 126  # points of three numbers


def test_pairs_of_views_differ_in_what_p3_compares():
  for base in ("synthetic_people", "human36m"):
    whole = sync_flip.get_config(base)
    for name in sync_flip.ABLATIONS:
      config = sync_flip.get_config(f"{name}@{base}")
      assert config.name == f"{name}_{base}"
      pairs = config.pairs
      assert pairs.synchronised + pairs.unsynchronised + pairs.flipped == pytest.approx(1)
      assert (pairs.unsynchronised == 0) == (name == "only_flip")
      assert (pairs.flipped == 0) == (name == "only_sync")
      weights = config.sync_flip.loss_weights
      assert (weights.synchronisation == (0.0,)) == (name == "only_flip")
      assert (weights.flip == (0.0,)) == (name == "only_sync")
      fusion = name if name in ("concat", "add", "diff") else "mult"
      assert config.sync_flip.fusion == fusion
      assert pairs.background == ("keep" if name == "background" else "remove")
      assert pairs.single_view == (pairs.rotation_deg > 0) == (name == "single_view")
      for section in ("model", "data", "optimiser", "probe", "scene"):
        assert config[section] == whole[section], name
  full, large = (sync_flip.get_config(n) for n in ("human36m", "human36m_resnet50"))
  assert (full.batch_size, full.model.crop_size, full.training.steps) == (16, 224, 200_000)
  rate = full.optimiser.learning_rate
  assert (rate, rate * full.optimiser.final_fraction) == (1e-4, pytest.approx(1e-7))
  assert (full.pairs.gap_min, full.pairs.gap_max) == (4, 128)
  assert (large.model.encoder, large.pairs.background) == ("resnet50", "mix")
  for wrong in ("human36", "mult2@human36m", "human36m@mult"):
    with pytest.raises(ValueError, match=f"no variant '{wrong}' .*human36m.*single_view"):
      sync_flip.get_config(wrong)
  with pytest.raises(ValueError, match="no variant 'h36m'"):
    sync_flip.get_config("mult@h36m")


def test_everything_together_is_dsl_with_pairs_of_views():
  for name in combined.VARIANTS:
    both, own, pairs = (m.get_config(name) for m in (combined, dsl, sync_flip))
    assert tuple(both.methods) == ("dsl", "nsd", "sync_flip")
    assert both.model.time_variant % 3 == 0
    sizes = [c.model.time_variant + c.model.time_invariant for c in (both, own)]
    assert sizes[0] == sizes[1]
    assert both.views == ablations.get_config(f"nsd@{name}").views
    own.model.update({key: both.model[key] for key in ("time_variant", "time_invariant")})
    assert both.scene.background == both.pairs.background == "remove"
    own.scene.background = "remove"
    own.loss_weights.pose2d = (10.0,)  # from the start
    for section in set(own) - {"methods", "name", "pairs", "sync_flip", "views"}:
      assert both[section] == own[section], (name, section)
    for gap in ("unit", "gap_min", "gap_max"):
      assert both.pairs[gap] == pairs.pairs[gap]
    assert (both.pairs.crop, both.sync_flip.features) == ("detector", "time_variant")


@pytest.mark.parametrize("variant", study.VARIANTS)
def test_a_study_fits_together(variant):
  config = study.get_config(variant)
  config_check.check_study(config)
  assert config.name == variant
  if "dsl" in config.rows:
    of_paper = variant != "pose2sim_balancing"  # which has other label counts
    assert config.rows.dsl.paper == (study.PAPER["DSL-STN-Dec-Split"] if of_paper else ())
  for row in config.rows.values():
    file, _, name = row.file.partition(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    assert set(module.get_config(name)) == set(dsl.get_config())


def test_transfer_starts_from_networks_of_its_own_size():
  bases = ("mocap_people", "pose2sim_balancing")
  pairs = {"transfer": "synthetic_people", **{f"transfer_{base}": base for base in bases}}
  for name, base in (pairs | {"human36m": "human36m"}).items():
    own, its = supervised.get_config(name), sync_flip.get_config(base)
    assert own.model.start_from == f"runs/sync_flip_{base}"
    for key in ("encoder", "backbone", "time_variant", "crop_size"):
      assert own.model[key] == its.model[key], (name, key)
    assert own.supervised.enlarge == its.pairs.enlarge
    assert own.supervised.background_threshold == its.pairs.background_threshold


@pytest.mark.parametrize("base", ["synthetic_people", "mocap_people", "pose2sim_balancing"])
def test_transfer_of_p3_differs_by_its_pretext_and_its_background(base):
  study_name = "sync_flip" if base == "synthetic_people" else f"sync_flip_{base}"
  rows = study.get_config(study_name).rows
  for name, error in study.PAPER_ONE_SUBJECT.items():
    kept = "background" in name
    assert rows[name].paper == (error,)
    assert ("supervised.background=keep" in rows[name].overrides) == kept
    untrained = name.startswith("untrained")
    assert rows[name].start_from == ("" if untrained else f"pretext_{name}")
    assert ("model.start_from=" in rows[name].overrides) == untrained
    if not untrained:
      ablation = "mult" if name == "sync_flip" else name
      assert rows[f"pretext_{name}"].file == f"configs/sync_flip.py:{ablation}@{base}"
  assert rows.untrained_whole.overrides == (*rows.untrained.overrides, "optimiser.frozen=()")


@pytest.mark.parametrize(
  ("name", "labels", "count"),
  [
    ("sync_flip", ("supervised.subjects=('train_00',)",), 1872),
    ("sync_flip_mocap_people", ("supervised.label_count=2500",), 2500),
    ("sync_flip_pose2sim_balancing", (), 0),
  ],
)
def test_all_lines_of_p3s_table_learn_from_the_same_labels(name, labels, count):
  table = study.get_config(name)
  assert tuple(table.paper_labels) == (count,)
  for row in study.PAPER_ONE_SUBJECT:
    found = [o for o in table.rows[row].overrides if "label" in o or "subjects" in o]
    assert tuple(found) == labels, row


def test_the_papers_table_says_what_its_text_does():
  # P2 §4.4.1: with all labels AE-STN-Dec is about 20 %, CSS-STN-Dec-Split 4 % above the whole
  # method; DSL-STN-Dec is 36 % below DSL-STN, the whole method 25 % below DSL-STN-Dec
  last = {name: values[-1] for name, values in study.PAPER.items()}
  whole = last["DSL-STN-Dec-Split"]
  assert last["AE-STN-Dec"] / whole == pytest.approx(1.20, abs=0.005)
  assert last["CSS-STN-Dec-Split"] / whole == pytest.approx(1.04, abs=0.005)
  assert last["DSL-STN-Dec"] / last["DSL-STN"] == pytest.approx(1 - 0.36, abs=0.005)
  assert whole / last["DSL-STN-Dec"] == pytest.approx(1 - 0.25, abs=0.005)
  assert whole / last["DSL"] == pytest.approx(1 - 0.50, abs=0.005)


def test_paper_values_differ_as_the_papers_say():
  h36m, p1 = dsl.get_config("human36m"), dsl.get_config("p1")
  assert (h36m.scene.pixel_loss, p1.scene.pixel_loss) == ("l2", "l1")
  assert (h36m.loss_weights.perceptual, p1.loss_weights.perceptual) == ((2.0,), (0.0,))
  assert (h36m.scene.swap, p1.scene.swap) == ("another", "pairs")
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
