import json
import shutil

import jax
import numpy as np
import pytest
from tiny_data import open_tiny

from configs import ablations, dsl, mv_css, nsd, supervised, sync_flip
from jaxpose import batch_configs, building, label_choice, parallel
from jaxpose.experiment import Experiment
from jaxpose.methods.nsd import rotate_between_views


@pytest.fixture(scope="module")
def config(tiny_people):
  config = dsl.get_config("smoke")
  config.data.directory = str(tiny_people)
  config.training.steps = 2
  config.training.log_every = 1
  config.training.checkpoint_every = 1
  config.training.validate_every = 2
  config.training.validation_batches = 1
  return config


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
  experiment = Experiment(config, tmp_path_factory.mktemp("run"))
  result = experiment.train()
  assert result.step == 2
  return experiment


def test_a_run_writes_what_the_next_jobs_read(trained):
  again = Experiment.from_workdir(trained.workdir)
  assert again.config_json() == trained.config_json()
  assert again.fingerprint() == trained.fingerprint()
  lines = [json.loads(line) for line in (trained.workdir / "metrics.jsonl").open()]
  assert [line["step"] for line in lines] == [1, 2, 2]
  assert "train/terms/pixel" in lines[0]
  assert "validation/pixel" in lines[-1]
  assert 0 <= lines[-1]["validation/box_iou"] <= 1


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"model.time_variant": 16}, "checkpoint of another configuration"),
    ({"batch_size": 2}, "batch_size"),
  ],
)
def test_a_run_that_does_not_fit_leaves_the_configuration_of_the_folder(trained, change, message):
  own = (trained.workdir / "config.json").read_bytes()
  metrics = (trained.workdir / "metrics.jsonl").read_bytes()
  other = trained.config.copy_and_resolve_references()
  other.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    Experiment(other, trained.workdir).train()
  assert (trained.workdir / "config.json").read_bytes() == own
  assert (trained.workdir / "metrics.jsonl").read_bytes() == metrics


def test_a_run_on_data_of_other_content_says_so(trained, config, tmp_path, capsys):
  data, workdir = tmp_path / "data", tmp_path / "run"
  shutil.copytree(config.data.directory, data)
  shutil.copytree(trained.workdir, workdir)
  other = config.copy_and_resolve_references()
  other.data.directory = str(data)
  Experiment(other, workdir).train()  # moved, but the same
  assert "going on from step 2" in (said := capsys.readouterr().out)
  assert "WARNING" not in said
  path = data / "sequences_validation.json"
  description = json.loads(path.read_text())
  path.write_text(json.dumps(description | {"content": "of other pixels"}))
  Experiment(other, workdir).train()
  assert "was written with data of other content" in capsys.readouterr().out


def test_best_and_last_differ_from_the_start_and_embed_frames(trained):
  batch = next(iter(trained.frame_batches("test")))
  embed = trained.make_embed(trained.restore("last"))
  found = embed(batch)
  assert found["time_variant"].shape == (128, 128)
  assert found["time_invariant"].shape == (128, 32)
  assert found["box"].shape == (128, 4)
  assert np.isfinite(found["gain"]).all()
  # frames do not influence each other
  swapped = embed({name: batch[name][::-1] for name in ("image", "background")})
  np.testing.assert_allclose(swapped["time_variant"][::-1], found["time_variant"], atol=1e-4)


def test_the_random_encoder_sees_the_trained_detectors_crops(trained):
  variables = trained.restore("last")
  random = trained.random_variables(variables)
  same = jax.tree.map(np.array_equal, variables["params"]["detector"], random["params"]["detector"])
  assert all(jax.tree.leaves(same))
  other = jax.tree.map(np.array_equal, variables["params"]["encoder"], random["params"]["encoder"])
  assert not all(jax.tree.leaves(other))


def test_the_random_encoder_has_no_weights_of_a_file(trained, monkeypatch):
  read = []
  monkeypatch.setattr(building, "load_weights", lambda config, variables: read.append(config))
  trained.random_variables(trained.restore("last"))
  assert not read


def test_batch_norm_of_the_random_encoder_is_calibrated_on_training_frames(config, tmp_path):
  other = config.copy_and_resolve_references()
  other.model.backbone.norm = "batch"
  other.training.steps = 1
  experiment = Experiment(other, tmp_path)
  experiment.train()
  variables = experiment.restore("last")
  random = experiment.random_variables(variables)
  detector = jax.tree.map(
    np.array_equal, variables["batch_stats"]["detector"], random["batch_stats"]["detector"]
  )
  assert all(jax.tree.leaves(detector))
  means = [
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(random["batch_stats"]["encoder"])
    if "mean" in jax.tree_util.keystr(path)
  ]
  assert means
  assert all(np.abs(mean).max() > 1e-3 for mean in means)  # they start at 0


def test_the_random_encoder_is_calibrated_on_no_more_falls_than_training_ends_with(
  trained, monkeypatch
):
  asked = []
  plain = batch_configs.make_temporal_config
  monkeypatch.setattr(
    batch_configs,
    "make_temporal_config",
    lambda config, train: asked.append(train) or plain(config, train=train),
  )
  trained.random_variables(trained.restore("last"))
  assert asked == [False]


def test_a_run_without_a_detector_has_a_random_encoder_too(config, tmp_path, monkeypatch):
  monkeypatch.setattr("jaxpose.experiment.CALIBRATION_BATCHES", 1)
  other = config.copy_and_resolve_references()
  other.model.detector = ""
  other.model.backbone.norm = "batch"
  experiment = Experiment(other, tmp_path)
  trained = {"params": {"encoder": {}, "decoder": {}}, "batch_stats": {"encoder": {}}}
  random = experiment.random_variables(trained)
  assert set(random["params"]) == {"encoder", "decoder"}
  assert set(random["batch_stats"]) == {"encoder"}


def test_the_fingerprint_changes_with_what_is_learned_and_not_with_its_length(config, tmp_path):
  def print_of(**changes):
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict(changes)
    return Experiment(other, tmp_path).fingerprint()

  own = Experiment(config, tmp_path).fingerprint()
  assert print_of(**{"data.workers": 3, "probe.steps": 9}) == own
  even = {"optimiser.schedule": "constant"}
  assert print_of(**even) == print_of(**even, **{"training.steps": 7})
  for schedule in ("cosine", "warmup_cosine"):  # brought down over all steps
    falling = {"optimiser.schedule": schedule}
    assert print_of(**falling) != print_of(**falling, **{"training.steps": 7})
  # what is only warned of
  lowest = ("box_scale_low", "mask_max_low", "vector_spread_low")
  for name in (*lowest, "box_scale_high", "warn_every"):
    assert print_of(**{f"training.{name}": 1}) == own
  assert print_of(**{"training.profile_steps": (3, 4)}) == own
  assert print_of(**{"sampling.near_max": 7.0}) != own
  assert print_of(**{"training.best_by": "dsl"}) != own
  assert print_of(**{"scene.swap_probability": 0.1}) != own
  # options of a method that the run does not use
  assert print_of(**{"views.gap_min": 2.0, "nsd.swap_probability": 0.1}) == own
  assert print_of(**{"supervised.enlarge": 2.0, "pairs.crop": "detector"}) == own
  assert print_of(**{"sync_flip.fusion": "add"}) == own
  both = {"methods": ("dsl", "sync_flip")}
  assert print_of(**both, **{"pairs.gap_max": 9.0}) != print_of(**both) != own


def test_options_of_views_count_where_they_are_drawn(tmp_path):
  def print_of(**changes):
    config = nsd.get_config("smoke")
    config.update_from_flattened_dict(changes)
    return Experiment(config, tmp_path).fingerprint()

  prints = [print_of(**{k: v}) for k, v in (("views.gap_min", 2.0), ("nsd.swap_probability", 0.1))]
  assert len({*prints, print_of()}) == 3
  assert print_of(**{"mv_css.margin": 0.3}) == print_of()


def test_a_run_draws_what_its_methods_learn_from(tmp_path, tiny_people):
  for config, rotated in ((nsd.get_config("smoke"), True), (mv_css.get_config("smoke"), False)):
    config.data.directory = str(tiny_people)
    with Experiment(config, tmp_path).train_batches() as batches:
      batch = batches.peek()
    assert set(batch) == {"views"}
    assert ("rotation" in batch["views"]) == rotated
    frame = batch["views"]["frame"]
    np.testing.assert_array_equal(frame[:, 0], frame[:, 1])
    assert (np.abs(frame[:, 2] - frame[:, 0]) > config.views.gap_min).all()


def test_drnet_is_asked_for_two_videos_in_training_alone(tmp_path, tiny_people):
  config = ablations.get_config("drnet@smoke")
  config.data.directory = str(tiny_people)
  config.batch_size = 1
  experiment = Experiment(config, tmp_path)
  with pytest.raises(ValueError, match="needs two videos"):
    experiment.train_batches()
  assert len(list(experiment.validation_batches())) == config.training.validation_batches


def test_labels_follow_the_rotation_from_camera_to_camera(tmp_path, tiny_people):
  config = nsd.get_config("smoke")
  config.data.directory = str(tiny_people)
  experiment = Experiment(config, tmp_path)
  with experiment.train_batches() as batches:
    sample = batches.peek()["views"]
  index = experiment.dataset("train").index
  ids = [
    np.flatnonzero(
      (index.sequence[index.track_of(np.arange(index.num_frames))] == sequence)
      & (index.camera[index.track_of(np.arange(index.num_frames))] == camera)
      & (index.frame == frame)
    )
    for row, sequence in enumerate(sample["sequence"])
    for camera, frame in zip(sample["camera"][row], sample["frame"][row])
  ]
  poses, _ = experiment.dataset("train").read_poses(np.concatenate(ids))
  points = (poses - poses[:, :1]).reshape(len(sample["frame"]), 4, -1)
  other = jax.numpy.tile(jax.numpy.array([1, 0, 3, 2]), (len(points), 1))
  rotation = jax.numpy.asarray(sample["rotation"])
  found = rotate_between_views(jax.numpy.asarray(points), rotation, other)
  np.testing.assert_allclose(found, points, atol=0.5)  # mm
  transposed = rotate_between_views(jax.numpy.asarray(points), rotation.swapaxes(2, 3), other)
  assert np.abs(transposed - points).max() > 100


def test_crops_are_those_of_the_method_that_embeds(config, tmp_path):
  def of(*methods, crop="labels"):
    both = config.copy_and_resolve_references()
    both.methods, both.pairs.crop = methods, crop
    found = Experiment(both, tmp_path)
    return found.subject_crop, found.detects

  assert of("dsl") == of("dsl", "sync_flip") == (None, True)
  assert of("sync_flip") == of("sync_flip", "dsl") == ("labels", False)
  assert of("sync_flip", "dsl", crop="detector") == (None, True)


def test_a_method_that_needs_true_boxes_is_not_watched_for_found_ones(config, tmp_path):
  both = config.copy_and_resolve_references()
  both.methods = ("sync_flip", "dsl")
  experiment = Experiment(both, tmp_path)
  assert len(experiment._evaluators(parallel.devices())) == 1
  both.methods = ("dsl", "sync_flip")
  assert len(Experiment(both, tmp_path)._evaluators(parallel.devices())) == 2


def test_terms_are_weighed_by_the_sections_of_their_methods(config, tmp_path):
  both = config.copy_and_resolve_references()
  both.methods = ("dsl", "sync_flip")
  both.pairs.crop = "detector"
  both.sync_flip.loss_weights.flip = ((0, 0.0), (5, 3.0))
  weights = Experiment(both, tmp_path).loss_weights()
  assert weights["flip"] == [(0, 0.0), (5, 3.0)]
  assert weights["synchronisation"] == 1.0
  alone = Experiment(config, tmp_path).loss_weights()
  assert alone == {n: w for n, w in weights.items() if n not in ("flip", "synchronisation")}
  both.sync_flip.loss_weights.flip = ("much",)
  with pytest.raises(ValueError, match=r"config\.sync_flip\.loss_weights\.flip is .*give one"):
    Experiment(both, tmp_path).loss_weights()


def test_a_probe_counts_the_labels_of_its_subjects(config, tmp_path):
  config = config.copy_and_resolve_references()
  run = Experiment(config, tmp_path)
  data = run.dataset("train")
  index = data.index
  ids = label_choice.labelled_ids(data)
  own = index.subject[index.sequence[index.track_of(ids)]] == 1
  assert 0 < own.sum() < run.labels.count() == len(ids)
  config.data.also = (config.data.directory,)  # of which no probe reads
  more = Experiment(config, tmp_path).labels
  assert (more.count(), more.count_all()) == (len(ids), 2 * len(ids))
  config.probe.subjects = (data.subjects[1],)
  assert Experiment(config, tmp_path).labels.count() == own.sum()
  config.probe.subjects = ("nobody",)
  with pytest.raises(ValueError, match=r"config\.probe\.subjects names 'nobody'"):
    Experiment(config, tmp_path).labels.count()


def test_clear_errors(config, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    Experiment.from_workdir(tmp_path)
  with pytest.raises(ValueError, match="tset"):
    Experiment(config, tmp_path).dataset("tset")
  other = config.copy_and_resolve_references()
  other.methods = ("ddsl",)
  with pytest.raises(ValueError, match="dsl, drnet, supervised, mv_css, nsd, sync_flip"):
    Experiment(other, tmp_path).method  # noqa: B018
  for wrong, message in (
    ({"methods": ("dsl", "supervised")}, "supervised learns alone"),
    (
      {"methods": ("dsl", "dsl")},
      "name one or more of dsl, drnet, supervised, mv_css, nsd, sync_flip, each once",
    ),
    ({"methods": ("mv_css",)}, r"set config\.scene\.decode=False"),
    ({"compute_dtype": "bfloat"}, r"config\.compute_dtype is 'bfloat': choose float32"),
    ({"scene.pixel_loss": "huber"}, "pixel_loss must be one of l1, l2, not 'huber'"),
  ):
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict(wrong)
    with pytest.raises(ValueError, match=message):
      Experiment(other, tmp_path).method  # noqa: B018
  other = config.copy_and_resolve_references()
  other.training.best_by = "pixl"
  with pytest.raises(ValueError, match=r"training\.best_by is 'pixl': choose one of box_location"):
    Experiment(other, tmp_path).train()
  other = config.copy_and_resolve_references()
  other.data.directory = ""
  with pytest.raises(ValueError, match=r"data\.directory"):
    Experiment(other, tmp_path).dataset("train")


def test_validation_has_the_share_of_falls_that_training_ends_with(config, tmp_path):
  open_tiny(tmp_path)
  other = config.copy_and_resolve_references()
  other.data.directory = str(next(tmp_path.rglob("index_train.npz")).parent)
  other.data.validation_split = "train"
  other.data.image_size = (24, 40)
  other.sampling.near_max, other.sampling.far_min = 3.0, 8.0
  other.sampling.spacing_max = 4.0
  other.training.validation_batches = 2

  def falls(*schedule):
    other.sampling.gravity = schedule
    experiment = Experiment(other, tmp_path)
    with experiment.train_batches() as batches:
      first = next(batches)["temporal"]["gravity"]
    found = [batch["temporal"]["gravity"] for batch in experiment.validation_batches()]
    assert len(found) == 2
    return first.all(), np.concatenate(found).any(), np.concatenate(found).all()

  assert falls((0, 1.0), (700, 0.0)) == (True, False, False)
  assert falls((0, 0.0), (1, 1.0)) == (False, True, True)


def test_a_trained_run_needs_no_perceptual_network(config, tmp_path, capsys):
  other = config.copy_and_resolve_references()
  other.loss_weights.perceptual = (2.0,)
  for path in ("", str(tmp_path / "only_where_it_was_trained.pth")):
    other.model.perceptual_weights = path
    experiment = Experiment(other, tmp_path)
    for make in (experiment.make_embed, experiment.make_encode, experiment.make_render):
      make({})
    experiment.make_decode({})
  assert not capsys.readouterr().out  # what a training goes on without is nobody else's concern


def test_a_perceptual_loss_without_weights_is_left_out_and_said(config, tmp_path, capsys):
  other = config.copy_and_resolve_references()
  other.loss_weights.perceptual = (2.0,)
  experiment = Experiment(other, tmp_path)
  assert "perceptual" not in experiment.loss_weights()
  assert "perceptual_weights" in capsys.readouterr().out


@pytest.mark.parametrize(("module", "name"), [(sync_flip, "subject_px"), (supervised, "box_px")])
def test_frames_without_boxes_are_cropped_around_their_joints(module, name, tmp_path):
  experiment = Experiment(module.get_config("smoke"), tmp_path)
  batch = {
    "image": np.zeros((2, 8, 8, 3), np.uint8),
    "background": np.zeros((2, 8, 8, 3), np.uint8),
    "box_px": np.full((2, 4), np.nan, np.float32),
    "present": np.array([-1, 0]),
    "pose2d_px": np.array([[[1, 2], [3, 6]]] * 2, np.float32),
    "joint_valid": np.ones((2, 2), bool),
  }
  shown = experiment._jitted(lambda variables, frames: frames, {})(batch)
  np.testing.assert_array_equal(shown[name], [[1, 2, 3, 6], [np.nan] * 4])
