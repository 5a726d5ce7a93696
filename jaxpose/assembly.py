"""Methods by their names in a configuration: how each is built, and what of a batch it sees."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxpose import building, older_runs, run_settings
from jaxpose.shapes import FRAMES_PER_SAMPLE

TEMPORAL, PAIR, VIEWS, LABELLED = "temporal", "pair", "views", "labelled"  # parts of a batch

# What may change between two starts of one run without making it another experiment.
_NOT_FINGERPRINTED = ("export", "probe", "report", "name")
_NOT_FINGERPRINTED_OF = {
  "data": ("workers", "prefetch", "directory", "path"),
  "training": ("steps", "log_every", "checkpoint_every", "validate_every", "keep_checkpoints")
  + ("warn_every", "box_scale_low", "box_scale_high", "mask_max_low", "vector_spread_low")
  + ("profile_steps",),
}


class Context(NamedTuple):
  """What methods are built from beside their own section.

  Attributes:
    config: of the run.
    scene: the networks, which all methods of a run share.
    training: whether they are to learn; only then is the perceptual network needed.
    label_statistics: gives the `pose_target.LabelStatistics` of the training labels.
  """

  config: ConfigDict
  scene: Any
  training: bool
  label_statistics: Callable[[], Any]

  def perceptual(self) -> Any:
    """The perceptual network and its weights, None where there is none."""
    return building.load_perceptual(self.config) if self.training else None


class Recipe(NamedTuple):
  """A method.

  Attributes:
    build: makes it.
    part: the part of a batch that it learns from.
    sections: of the configuration, that it alone (or those that name them too) reads.
  """

  build: Callable[[Context], Any]
  part: str
  sections: tuple[str, ...]


def _build_dsl(context: Context) -> Any:
  from jaxpose.methods.dsl import build_dsl

  config = context.config
  options = building.make_scene_options(config), building.make_dsl_options(config)
  return build_dsl(context.scene, *options, context.perceptual())


def _build_drnet(context: Context) -> Any:
  from jaxpose.methods.drnet import build_drnet

  config = context.config
  options = building.make_scene_options(config), building.make_drnet_options(config)
  return build_drnet(context.scene, *options, context.perceptual())


def _build_supervised(context: Context) -> Any:
  from jaxpose.methods.supervised import build_supervised

  options = building.make_supervised_options(context.config)
  return build_supervised(context.scene, context.label_statistics(), options)


def _build_mv_css(context: Context) -> Any:
  from jaxpose.methods.mv_css import build_mv_css

  config = context.config
  if tuple(config.methods) == ("mv_css",) and config.scene.decode:
    raise ValueError("mv_css decodes nothing by itself: set config.scene.decode=False")
  options = building.make_scene_options(config), building.make_mv_css_options(config)
  return build_mv_css(context.scene, *options)


def _build_nsd(context: Context) -> Any:
  from jaxpose.methods.nsd import build_nsd

  config = context.config
  options = building.make_scene_options(config), building.make_nsd_options(config)
  return build_nsd(context.scene, *options, context.perceptual())


def _build_sync_flip(context: Context) -> Any:
  from jaxpose.methods.sync_flip import build_sync_flip

  return build_sync_flip(context.scene, building.make_sync_flip_options(context.config))


METHODS = {
  "dsl": Recipe(_build_dsl, TEMPORAL, ("dsl",)),
  "drnet": Recipe(_build_drnet, TEMPORAL, ("drnet",)),
  "supervised": Recipe(_build_supervised, LABELLED, ("supervised",)),
  "mv_css": Recipe(_build_mv_css, VIEWS, ("views", "mv_css")),
  "nsd": Recipe(_build_nsd, VIEWS, ("views", "nsd")),
  "sync_flip": Recipe(_build_sync_flip, PAIR, ("pairs", "sync_flip")),
}


def recipes(config: ConfigDict) -> dict[str, Recipe]:
  """The methods that `config.methods` names, in its order.

  Raises:
    ValueError: it names none, one twice, or one that there is not.
  """
  names = tuple(config.methods)
  known = ", ".join(METHODS)
  if not names or len(set(names)) < len(names):
    raise ValueError(f"config.methods is {names}: name one or more of {known}, each once")
  for name in names:
    if name not in METHODS:
      raise ValueError(f"config.methods: there is no method {name!r}; there are {known}")
  if "supervised" in names and len(names) > 1:
    raise ValueError("config.methods: supervised learns alone, and not beside other methods")
  if config.scene.pose2d and not {METHODS[name].part for name in names} & {TEMPORAL, VIEWS}:
    on_scene = [name for name, recipe in METHODS.items() if recipe.part in (TEMPORAL, VIEWS)]
    raise ValueError(
      f"config.scene.pose2d: 2D joints are learned beside one of {', '.join(on_scene)};"
      f" config.methods names {', '.join(names)}"
    )
  return {name: METHODS[name] for name in names}


def parts(config: ConfigDict) -> set[str]:
  """The parts of a batch that the methods learn from."""
  return {recipe.part for recipe in recipes(config).values()}


def frames_per_example(config: ConfigDict) -> int:
  """How many frames all parts of a batch have for one example."""
  frames = {TEMPORAL: FRAMES_PER_SAMPLE, PAIR: 2 * config.pairs.per_example, VIEWS: 4, LABELLED: 1}
  return sum(frames[part] for part in parts(config))


def unused_sections(config: ConfigDict) -> set[str]:
  """Sections that only methods read which the configuration does not name."""
  named = set(config.methods)
  used = {s for name, recipe in METHODS.items() if name in named for s in recipe.sections}
  return {s for recipe in METHODS.values() for s in recipe.sections} - used


def fingerprint(config: ConfigDict) -> str:
  """A hash of all values that decide what is learned, not what comes after.

  For how long counts where the learning rate is brought down over the whole training.
  """
  left_out = unused_sections(config).union(_NOT_FINGERPRINTED)
  everything = older_runs.strip(config.to_dict())
  values = {k: v for k, v in everything.items() if k not in left_out}
  for section, names in _NOT_FINGERPRINTED_OF.items():
    values[section] = {k: v for k, v in values[section].items() if k not in names}
  if "cosine" in values["optimiser"]["schedule"]:
    values["training"]["steps"] = config.training.steps
  return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def loss_weights(config: ConfigDict) -> dict[str, Any]:
  """The weight of every term: those of `config.loss_weights`, and of the sections of its methods.

  A section that only some methods read may hold weights of its own terms, so that the others' runs
  do not depend on them.

  Raises:
    ValueError: one is neither one number nor pairs.
  """
  tables = {"loss_weights": config.loss_weights}
  for recipe in recipes(config).values():
    for section in recipe.sections:
      if section in config and "loss_weights" in config[section]:
        tables[f"{section}.loss_weights"] = config[section].loss_weights
  return {
    name: run_settings.loss_weight(name, weight, where)
    for where, weights in tables.items()
    for name, weight in weights.items()
  }


def build_method(context: Context) -> Any:
  """The method, or the combination of methods, that the configuration names."""
  from jaxpose.methods.combined import combine

  return combine({name: recipe.build(context) for name, recipe in recipes(context.config).items()})
