"""Are the values of a configuration what the program takes them for? The key is named if not."""

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxpose.evaluation.features import FEATURES
from jaxpose.evaluation.regressor import ARCHITECTURES


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


def _is_span(value: Any) -> bool:
  return value in ((), []) or (_is_row(_is_whole(1), 2)(value) and value[0] <= value[1])


def _is_label_count(value: Any) -> bool:
  return _is_text(value) or _is_number(value)


def _is_override(value: Any) -> bool:
  return _is_text(value) and re.fullmatch(r"\w+(\.\w+)*=.*", value, re.DOTALL) is not None


def _is_seeds(value: Any) -> bool:
  return _is_row(_is_whole(0))(value) and len(set(value)) == len(value)


def _is_one_of(*values: str) -> "_Kind":
  return (lambda value: _is_text(value) and value in values, f"one of {', '.join(values)}")


_Kind = tuple[Callable[[Any], bool], str]
_KINDS: dict[str, _Kind] = {
  **dict.fromkeys(
    (
      *("batch_size", "training.steps", "training.validation_batches", "training.warn_every"),
      *("training.keep_checkpoints", "optimiser.accumulation", "export.batch_size"),
      *("model.crop_size", "model.detector_shrink", "data.prefetch"),
      *("model.decoder.base", "model.decoder.base_channels", "model.decoder.convolutions"),
      *("probe.width", "probe.depth", "probe.steps", "probe.batch_size", "report.frames"),
      *("drnet.discriminator_width", "scene.head_width", "scene.head_blocks", "pairs.per_example"),
    ),
    (_is_whole(1), "a whole number of at least 1"),
  ),
  **dict.fromkeys(
    (
      *("seed", "training.log_every", "training.checkpoint_every", "training.validate_every"),
      *("data.workers", "export.suggestions", "report.seed", "model.time_invariant"),
      *("optimiser.warmup_steps", "model.time_variant"),
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
      *("views.gap_min", "mv_css.margin"),
      *("supervised.scale", "training.box_scale_low", "training.box_scale_high"),
      *("training.mask_max_low", "training.vector_spread_low"),
      *("dsl.temperature", "drnet.learning_rate", "drnet.beta1"),
      *("pairs.gap_min", "pairs.gap_max", "pairs.synchronised", "pairs.unsynchronised"),
      *("pairs.flipped", "pairs.enlarge", "pairs.background_threshold", "pairs.shift"),
      *("supervised.background_threshold", "scene.background_threshold"),
      *("pairs.scale", "pairs.rotation_deg"),
    ),
    (_is_number, "a finite number"),
  ),
  **dict.fromkeys(
    ("scene.prior_scale", "scene.tight_scale", "scene.prior_location"), (_is_pair, "two numbers")
  ),
  **dict.fromkeys(
    (
      *("data.also", "probe.references", "optimiser.frozen", "model.start_groups"),
      *("supervised.subjects", "probe.subjects"),
    ),
    (_is_row(_is_text), "a list of texts"),
  ),
  "nsd.swap_probability": (
    lambda value: _is_number(value) and 0 <= value <= 1,
    "a number from 0 to 1",
  ),
  **dict.fromkeys(
    ("sampling.far_max", "views.gap_max"),
    (
      lambda value: value is None or value == math.inf or _is_number(value),
      "a finite number, or inf",
    ),
  ),
  **dict.fromkeys(
    ("mv_css.normalise", "drnet.normalise"), (lambda value: type(value) is bool, "True or False")
  ),
  "supervised.label_count": (_is_label_count, "a number, a share, or all"),
  "supervised.mirror": (lambda value: _is_number(value) and 0 <= value <= 1, "from 0 to 1"),
  "export.checkpoint": _is_one_of("best", "last"),
  "probe.regressor": _is_one_of(*ARCHITECTURES),
  "methods": (_is_row(_is_text, least=1), "a list of texts"),
  **dict.fromkeys(
    (
      *("model.start_from", "pairs.unit", "pairs.crop", "pairs.background"),
      *("sync_flip.features", "sync_flip.fusion", "scene.background"),
    ),
    (_is_text, "a text"),
  ),
  "data.image_size": (_is_row(_is_whole(8), 2), "(height, width) of at least 8 px"),
  "sampling.gravity": (_is_row(_is_pair, least=1), "((0, share), (from step, share), ...)"),
  "training.profile_steps": (_is_span, "(first step, last step), or ()"),
  "optimiser.boundaries": (_is_row(_is_pair), "((step, factor), ...)"),
  "model.decoder.stage_channels": (_is_row(_is_whole(1), least=1), "a list of whole numbers"),
  "probe.features": _is_one_of(*FEATURES),
  "probe.seeds": (_is_row(_is_whole(0), least=1), "a list of whole numbers"),
  "probe.label_counts": (_is_row(_is_label_count, least=1), "numbers, shares, or all"),
}

BASELINES = ("random", "mean pose")  # rows of a study that no run is made for
_SEEDS: _Kind = (_is_seeds, "a list of different whole numbers")
_OVERRIDES: _Kind = (_is_row(_is_override), "a list of texts KEY=VALUE")
_STUDY: dict[str, _Kind] = {
  "name": (_is_text, "a text"),
  "rows": (lambda value: True, ""),
  "shared": _OVERRIDES,
  "seeds": (lambda value: _is_seeds(value) and len(value) > 0, _SEEDS[1] + ", at least one"),
  "reference": (_is_text, "a text"),
  "paper_labels": (_is_row(_is_whole(0)), "a list of whole numbers, 0 for all"),
  "levelled": (lambda value: _is_number(value) and 0 < value < 1, "a share above 0 and below 1"),
}
_STUDY_ROW: dict[str, _Kind] = {
  "file": (lambda value: _is_text(value) and value != "", "a file of configs/, and :variant"),
  "overrides": _OVERRIDES,
  "seeds": _SEEDS,
  "paper": (_is_row(_is_number), "a list of numbers"),
  "start_from": (_is_text, "the name of a row, or empty"),
}


def check_values(config: ConfigDict) -> None:
  """Checks all values that are there.

  Raises:
    ValueError: one is of another kind or out of range; names its key.
  """
  _check_kinds(config, _KINDS, "config")


def check_study(config: ConfigDict) -> None:
  """Checks the configuration of a study: its keys, their values, and that they fit each other.

  Raises:
    ValueError: a key is missing or unknown, a value of another kind, or the reference no row; names
      the key.
  """
  _check_names(config, _STUDY, "config")
  _check_kinds(config, _STUDY, "config")
  if not isinstance(config.rows, ConfigDict) or not len(config.rows):
    raise ValueError(f"config.rows is {config.rows!r}: it must name a configuration for each row")
  for name, row in config.rows.items():
    where = f"config.rows.{name}"
    if not re.fullmatch(r"\w[\w-]*", name) or name in BASELINES:
      raise ValueError(
        f"{where}: a row's name is made of letters, digits, _ and -, and is not one of"
        f" {', '.join(BASELINES)}"
      )
    if not isinstance(row, ConfigDict):
      raise ValueError(f"{where} is {row!r}: it must have {', '.join(_STUDY_ROW)}")
    _check_names(row, _STUDY_ROW, where)
    _check_kinds(row, _STUDY_ROW, where)
    if len(row.paper) not in (0, len(config.paper_labels)):
      raise ValueError(
        f"{where}.paper has {len(row.paper)} numbers for the {len(config.paper_labels)} of"
        " config.paper_labels"
      )
    if row.start_from and row.start_from not in config.rows:
      raise ValueError(
        f"{where}.start_from is {row.start_from!r}: it must be a row; there are"
        f" {', '.join(config.rows)}"
      )
  if config.reference not in config.rows:
    raise ValueError(
      f"config.reference is {config.reference!r}: it must be a row; there are"
      f" {', '.join(config.rows)}"
    )


def _check_names(config: ConfigDict, known: Collection[str], where: str) -> None:
  for key in config:
    if key not in known:
      near = difflib.get_close_matches(key, known, n=1) or sorted(known)
      raise ValueError(f"{where} has no {key!r}; there is {', '.join(near)}")
  missing = [key for key in known if key not in config]
  if missing:
    raise ValueError(f"{where} lacks {', '.join(missing)}")


def _check_kinds(config: ConfigDict, kinds: Mapping[str, _Kind], where: str) -> None:
  for key, (fits, kind) in kinds.items():
    value: Any = config
    for part in key.split("."):
      if not isinstance(value, ConfigDict):
        raise ValueError(f"{where}.{key}: there are no values below it, but {value!r}")
      if part not in value:
        break
      value = value[part]
    else:
      if not fits(value):
        raise ValueError(f"{where}.{key} is {value!r}: it must be {kind}")


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
