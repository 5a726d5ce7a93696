"""What the loop is told by a configuration, also when it has been JSON."""

import json

import pytest
from ml_collections import ConfigDict

from configs import dsl, supervised
from jaxpose import run_settings
from jaxpose.training.loop import RunSettings


def make_config(**changes):
  config = dsl.get_config("smoke")
  config.update_from_flattened_dict(changes)
  return config


def test_settings_of_a_run():
  config = make_config(
    **{
      "seed": 4,
      "batch_size": 6,
      "optimiser.accumulation": 3,
      "training.steps": 900,
      "training.log_every": 11,
      "training.validate_every": 22,
      "training.checkpoint_every": 33,
      "training.keep_checkpoints": 5,
      "training.best_by": "order",
      "training.warn_every": 44,
      "training.profile_steps": (7, 8),
    }
  )
  expected = RunSettings(
    seed=4,
    steps=900,
    accumulate=3,
    frames_per_step=6 * 10,
    log_every=11,
    evaluate_every=22,
    checkpoint_every=33,
    keep=5,
    best_metric="validation/order",
    best_from=500,
    warn_every=44,
    profile_steps=(7, 8),
    fingerprint="of the configuration",
    data="of the data",
  )
  weights = {"pixel": 1.0, "order": [(0, 0.0), (500, 1.0)], "late": [(0, 0.0), (70, 1.0)]}
  asked = {"fingerprint": "of the configuration", "data": "of the data", "frames_per_example": 10}
  for same in (config, ConfigDict(json.loads(json.dumps(config.to_dict())))):
    assert run_settings.make_run_settings(same, loss_weights=weights, **asked) == expected
  config.training.steps = 499  # a trial
  assert run_settings.make_run_settings(config, loss_weights=weights, **asked).best_from == 0
  config.training.best_by = "summaries/noise"  # whatever the method tells beside its terms
  settings = run_settings.make_run_settings(config, loss_weights={"pixel": 1.0}, **asked)
  assert settings.best_from == 0
  assert settings.best_metric == "validation/summaries/noise"
  config.training.best_by = "order"
  with pytest.raises(ValueError, match="'order': choose one of dsl, pixel, or summaries/NAME"):
    run_settings.make_run_settings(config, loss_weights={"pixel": 1.0, "dsl": 2.0}, **asked)


def test_loss_weights_are_numbers_or_pieces():
  for weight in (2, (2.0,), [2]):
    found = run_settings.loss_weight("dsl", weight)
    assert found == 2.0
    assert isinstance(found, float)
  found = run_settings.loss_weight("dsl", [[0, 1], ["5", 0]])
  assert found == [(0, 1.0), (5, 0.0)]
  assert [type(value) for value in found[0]] == [int, float]
  for weight in (("much",), (1.0, 2.0), ((0, 1.0, 2.0),), None):
    with pytest.raises(ValueError, match=r"config\.loss_weights\.dsl is .*give one number"):
      run_settings.loss_weight("dsl", weight)


def test_boxes_masks_and_vectors_are_watched_where_they_are_learned():
  changes = {"training.box_scale_low": 0.3, "training.box_scale_high": 0.9}
  changes |= {"training.mask_max_low": 0.04, "training.vector_spread_low": 0.07}
  box, mask, variant, invariant = run_settings.make_watches(make_config(**changes))
  assert (box.summary, box.low, box.high) == ("box_scale_mean", 0.3, 0.9)
  assert (mask.summary, mask.low) == ("mask_max_mean", 0.04)
  assert (variant.summary, variant.low) == ("time_variant_spread", 0.07)
  assert (invariant.summary, invariant.low) == ("time_invariant_spread", 0.07)

  def watched(**more):
    return run_settings.make_watches(make_config(**changes | more))

  assert watched(**{"model.detector": ""}) == (mask, variant, invariant)
  assert watched(**{"scene.decode": False}) == (box, variant, invariant)
  assert watched(**{"model.time_invariant": 0}) == (box, mask, variant)
  for name in ("drnet", "nsd"):
    assert len(watched(methods=(name,))) == 4
  assert watched(methods=("mv_css",)) == (variant, invariant)
  assert run_settings.make_watches(supervised.get_config("smoke")) == ()
  # of the first that looks, under the name that `combine` gives to what it says
  for names, prefix in (
    (("dsl", "sync_flip"), ""),
    (("sync_flip", "nsd"), "nsd/"),
    (("mv_css", "dsl", "nsd"), "dsl/"),
  ):
    found = [watch.summary for watch in watched(methods=names)]
    assert found == [prefix + w.summary for w in (box, mask, variant, invariant)]
