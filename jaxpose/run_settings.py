"""Sections of a configuration as the loop takes them: lengths, warnings, and loss weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def make_run_settings(
  config: ConfigDict,
  fingerprint: str,
  data: str,
  loss_weights: Mapping[str, Any],
  frames_per_example: int,
) -> Any:
  """Section `training`, with what other sections say of a step.

  No step is the best one before the last change of a loss weight: until then another loss was
  lowered, and one that begins late would never be in the checkpoint that is used.

  Args:
    fingerprint, data: of the configuration and of the data, see `RunSettings`.
    loss_weights: of the terms that validation gives, see `loss_weight`.
    frames_per_example: for the speed.

  Raises:
    ValueError: the best checkpoint is to be chosen by what is neither a term nor a summary.
  """
  from jaxpose.training.loop import RunSettings

  training = config.training
  if training.best_by not in loss_weights and not training.best_by.startswith("summaries/"):
    raise ValueError(
      f"config.training.best_by is {training.best_by!r}: choose one of"
      f" {', '.join(sorted(loss_weights))}, or summaries/NAME"
    )
  changes = [step for w in loss_weights.values() if isinstance(w, list) for step, _ in w]
  settled = max(changes, default=0)
  return RunSettings(
    seed=config.seed,
    steps=training.steps,
    accumulate=config.optimiser.accumulation,
    frames_per_step=config.batch_size * frames_per_example,
    log_every=training.log_every,
    evaluate_every=training.validate_every,
    checkpoint_every=training.checkpoint_every,
    keep=training.keep_checkpoints,
    best_metric=f"validation/{training.best_by}",
    best_from=settled if settled <= training.steps else 0,
    warn_every=training.warn_every,
    profile_steps=tuple(training.profile_steps),
    fingerprint=fingerprint,
    data=data,
  )


def make_watches(config: ConfigDict) -> Any:
  """The warnings of section `training`: none of what no method looks at."""
  from jaxpose.training.monitor import make_collapse_watches

  names = tuple(config.methods)
  detecting = [name for name in names if name in ("dsl", "drnet", "nsd")]
  looking = detecting or [name for name in names if name == "mv_css"]  # which has vectors alone
  if not looking:
    return ()
  prefix = "" if looking[0] == names[0] else f"{looking[0]}/"  # see `methods.combined.combine`
  training = config.training
  watches = make_collapse_watches(
    box_scale_low=training.box_scale_low,
    box_scale_high=training.box_scale_high,
    mask_max_low=training.mask_max_low,
    vector_spread_low=training.vector_spread_low,
  )
  looked_at = {
    "box_scale_mean": detecting and config.model.detector,
    "mask_max_mean": detecting and config.scene.decode,
    "time_variant_spread": True,
    "time_invariant_spread": config.model.time_invariant,
  }
  return tuple(
    dataclasses.replace(watch, summary=prefix + watch.summary)
    for watch in watches
    if looked_at[watch.summary]
  )


def loss_weight(name: str, weight: Any, section: str = "loss_weights") -> Any:
  """A loss weight as the step takes it: a number, or [(from step, weight), ...].

  Args:
    name, section: of its key in the configuration, for errors.

  Raises:
    ValueError: it is neither one number nor pairs.
  """
  if isinstance(weight, (int, float)):
    return float(weight)
  try:
    pieces: list[Any] = [p if isinstance(p, (tuple, list)) else float(p) for p in weight]
    if len(pieces) == 1 and isinstance(pieces[0], float):
      return pieces[0]
    return [(int(step), float(value)) for step, value in pieces]
  except (TypeError, ValueError):
    raise ValueError(
      f"config.{section}.{name} is {weight!r}: give one number, or ((0, weight), (from step,"
      " weight), ...)"
    ) from None


def ever_weighs(weight: Any) -> bool:
  """Is a loss weight, as `loss_weight` takes it, above 0 at any step?"""
  pieces = loss_weight("", weight)
  return pieces > 0 if isinstance(pieces, float) else any(value > 0 for _, value in pieces)
