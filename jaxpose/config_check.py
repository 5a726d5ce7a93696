"""Are the values of a configuration what the program takes them for? The key is named if not."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict


def _is_whole(least: int) -> Callable[[Any], bool]:
  return lambda value: type(value) is int and least <= value < 2**31


def _is_number(value: Any) -> bool:
  return type(value) in (int, float) and abs(value) <= 1e300  # an int may be too large for a float


def _is_row(part: Callable[[Any], bool], length: int = 0, least: int = 0) -> Callable[[Any], bool]:
  """A tuple or list of parts: of `length` where that is given, else of at least `least`."""

  def check(value: Any) -> bool:
    return (
      isinstance(value, tuple | list)
      and (len(value) == length if length else len(value) >= least)
      and all(part(one) for one in value)
    )

  return check


def _is_text(value: Any) -> bool:
  return isinstance(value, str)


def _is_pair(value: Any) -> bool:
  return _is_row(_is_number, 2)(value)


def _is_label_count(value: Any) -> bool:
  return _is_text(value) or _is_number(value)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
  **dict.fromkeys(
    (
      *("batch_size", "training.steps", "training.validation_batches", "training.warn_every"),
      *("training.keep_checkpoints", "optimiser.accumulation", "export.batch_size"),
      *("model.crop_size", "model.detector_shrink", "model.time_variant", "data.prefetch"),
      *("model.decoder.base", "model.decoder.base_channels", "model.decoder.convolutions"),
      *("probe.width", "probe.depth", "probe.steps", "probe.batch_size", "report.frames"),
      *("drnet.discriminator_width", "dsl.head_width", "dsl.head_blocks"),
    ),
    (_is_whole(1), "a whole number of at least 1"),
  ),
  **dict.fromkeys(
    (
      *("seed", "training.log_every", "training.checkpoint_every", "training.validate_every"),
      *("data.workers", "export.suggestions", "report.seed", "model.time_invariant"),
      "optimiser.warmup_steps",
    ),
    (_is_whole(0), "a whole number of at least 0"),
  ),
  **dict.fromkeys(
    (
      *("sampling.near_max", "sampling.far_min", "sampling.spacing_min", "sampling.spacing_max"),
      *("optimiser.learning_rate", "optimiser.weight_decay", "optimiser.clip_norm"),
      *("optimiser.beta1", "optimiser.beta2", "optimiser.epsilon", "optimiser.final_fraction"),
      *("probe.learning_rate", "probe.dropout", "model.decoder.dropout", "scene.minimum_std"),
      *(
        "scene.swap_probability",
        "scene.order_threshold",
        "supervised.enlarge",
        "supervised.shift",
      ),
      *("supervised.scale", "training.box_scale_low", "training.box_scale_high"),
      *("training.mask_max_low", "dsl.temperature", "drnet.learning_rate", "drnet.beta1"),
    ),
    (_is_number, "a finite number"),
  ),
  **dict.fromkeys(
    ("scene.prior_scale", "scene.tight_scale", "scene.prior_location"), (_is_pair, "two numbers")
  ),
  **dict.fromkeys(
    ("data.also", "probe.references", "optimiser.frozen"), (_is_row(_is_text), "a list of texts")
  ),
  "methods": (_is_row(_is_text, least=1), "a list of texts"),
  "model.start_from": (_is_text, "a text"),
  "data.image_size": (_is_row(_is_whole(8), 2), "(height, width) of at least 8 px"),
  "sampling.gravity": (_is_row(_is_pair, least=1), "((0, share), (from step, share), ...)"),
  "optimiser.boundaries": (_is_row(_is_pair), "((step, factor), ...)"),
  "model.decoder.stage_channels": (_is_row(_is_whole(1), least=1), "a list of whole numbers"),
  "probe.features": (
    lambda value: value in ("time_variant", "time_invariant", "both"),
    "time_variant, time_invariant or both",
  ),
  "probe.seeds": (_is_row(_is_whole(0), least=1), "a list of whole numbers"),
  "probe.label_counts": (_is_row(_is_label_count, least=1), "numbers, shares, or all"),
}


def check_values(config: ConfigDict) -> None:
  """Checks all values that are there.

  Raises:
    ValueError: one is of another kind or out of range; names its key.
  """
  for key, (fits, kind) in _KINDS.items():
    value: Any = config
    for part in key.split("."):
      if not isinstance(value, ConfigDict):
        raise ValueError(f"config.{key}: there are no values below it, but {value!r}")
      if part not in value:
        break
      value = value[part]
    else:
      if not fits(value):
        raise ValueError(f"config.{key} is {value!r}: it must be {kind}")


def check_keys(config: ConfigDict, known: ConfigDict, where: str) -> None:
  """Checks that a configuration has every key of another one.

  Raises:
    ValueError: it lacks one; begins with `where`.
  """
  for key in known:
    if key not in config:
      raise ValueError(f"{where} has no {key!r}: a version of jaxpose with other values wrote it")
    if isinstance(known[key], ConfigDict) and not isinstance(config[key], ConfigDict):
      raise ValueError(f"{where}: {key!r} holds no values of its own, but {config[key]!r}")
    if isinstance(known[key], ConfigDict):
      check_keys(config[key], known[key], f"{where}, section {key!r},")
