"""Sections of a configuration as networks, options and optimisers, for experiment.py."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpose import files, parameter_paths, run_settings

Variables = dict[str, Any]


DTYPES = ("float32", "bfloat16", "float16")


def compute_dtype(config: ConfigDict) -> Any:
  """Of convolutions and dense layers.

  Raises:
    ValueError: it is none of `DTYPES`.
  """
  import jax.numpy as jnp

  if config.compute_dtype not in DTYPES:
    raise ValueError(
      f"config.compute_dtype is {config.compute_dtype!r}: choose {', '.join(DTYPES)}"
    )
  return jnp.dtype(config.compute_dtype)


def build_scene(config: ConfigDict, axis_name: str | None, *, training: bool = True) -> Any:
  """The networks of section `model`, batch norm over a mapped axis or, for None, without one.

  In training the batch norm of frozen groups stays as it is; after it nothing is frozen, so that
  an untrained encoder can be calibrated.
  """
  from jaxpose.models import scene

  model = config.model
  decoder = model.decoder.to_dict()
  return scene.build_scene(
    detector_backbone=model.detector or None,
    encoder_backbone=model.encoder,
    backbone_options={k: _tuple(v) for k, v in model.backbone.items()},
    encoder_norm=model.encoder_norm,
    projection=model.projection.to_dict(),
    time_variant_size=model.time_variant,
    time_invariant_size=model.time_invariant,
    crop_size=model.crop_size,
    detector_shrink=model.detector_shrink,
    decoder=decoder | {"stage_channels": tuple(decoder["stage_channels"])},
    stn_form=model.stn_form,
    axis_name=axis_name,
    dtype=compute_dtype(config),
    frozen=tuple(config.optimiser.frozen) if training else (),
  )


def make_scene_options(config: ConfigDict) -> Any:
  """Section `scene`."""
  from jaxpose.methods.scene_terms import SceneOptions
  from jaxpose.methods.weak_labels import Head

  scene = config.scene
  return SceneOptions(
    decode=scene.decode,
    pixel_loss=scene.pixel_loss,
    label_statistics=scene.minimum_std if scene.label_statistics else None,
    swap=scene.swap,
    swap_probability=scene.swap_probability,
    jitter=dict(scene.jitter_strength) if scene.jitter else None,
    prior_scale=_tuple(scene.prior_scale),
    tight_scale=_tuple(scene.tight_scale),
    prior_location=_tuple(scene.prior_location),
    order_threshold=scene.order_threshold,
    background=scene.background,
    threshold=scene.background_threshold / 255.0,
    head=Head(scene.head_width, scene.head_blocks) if scene.pose2d else None,
  )


def make_dsl_options(config: ConfigDict) -> Any:
  """Section `dsl`."""
  from jaxpose.methods.dsl import DslOptions

  dsl = config.dsl
  return DslOptions(
    contrast=dsl.contrast,
    d_max=config.sampling.far_min,
    temperature=dsl.temperature,
    include_positive=dsl.include_positive,
  )


def make_drnet_options(config: ConfigDict) -> Any:
  """Section `drnet`."""
  from jaxpose.methods.drnet import DrnetOptions

  return DrnetOptions(
    discriminator_width=config.drnet.discriminator_width,
    normalise=config.drnet.normalise,
  )


def make_mv_css_options(config: ConfigDict) -> Any:
  """Section `mv_css`."""
  from jaxpose.methods.mv_css import MvCssOptions

  own = config.mv_css
  return MvCssOptions(negative=own.negative, normalise=own.normalise, margin=own.margin)


def make_nsd_options(config: ConfigDict) -> Any:
  """Section `nsd`."""
  from jaxpose.methods.nsd import NsdOptions

  return NsdOptions(swap_probability=config.nsd.swap_probability)


def make_supervised_options(config: ConfigDict) -> Any:
  """Section `supervised`."""
  from jaxpose.methods.supervised import SupervisedOptions

  supervised = config.supervised
  return SupervisedOptions(
    crop_size=config.model.crop_size,
    enlarge=supervised.enlarge,
    shift=supervised.shift,
    scale=supervised.scale,
    jitter=dict(supervised.jitter_strength) if supervised.jitter else None,
    stn_form=config.model.stn_form,
    crop=supervised.crop,
    centre_camera=supervised.centre_camera,
    background=supervised.background,
    threshold=supervised.background_threshold / 255.0,
    mirror=supervised.mirror,
  )


def make_sync_flip_options(config: ConfigDict) -> Any:
  """Sections `pairs` and `sync_flip`."""
  from jaxpose.methods.sync_flip import SyncFlipOptions

  pairs, own = config.pairs, config.sync_flip
  return SyncFlipOptions(
    crop=pairs.crop,
    enlarge=pairs.enlarge,
    background=pairs.background,
    threshold=pairs.background_threshold / 255.0,
    detector_background=config.scene.background,
    detector_threshold=config.scene.background_threshold / 255.0,
    shift=pairs.shift,
    scale=pairs.scale,
    rotation_deg=pairs.rotation_deg,
    fusion=own.fusion,
    features=own.features,
  )


def load_perceptual(config: ConfigDict) -> tuple[Any, Variables] | None:
  """The perceptual network and its frozen weights, where a file of them is given.

  Prints that the run goes on without, where the loss weighs something and they are not given.
  """
  path = config.model.perceptual_weights
  if not config.scene.decode:
    return None
  if not path:
    if run_settings.ever_weighs(config.loss_weights.perceptual):
      print(
        "no perceptual loss: config.model.perceptual_weights names no torchvision-format file of"
        " a ResNet-18; the run goes on without it",
        flush=True,
      )
    return None
  import jax
  import jax.numpy as jnp

  from jaxpose.models import torch_weights
  from jaxpose.models.perceptual import PerceptualFeatures

  network = PerceptualFeatures(dtype=compute_dtype(config))
  shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
  empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return network, torch_weights.load_resnet(path, empty, "backbone")


def start_from(config: ConfigDict, variables: Variables) -> Variables:
  """Puts the networks of another run, `config.model.start_from`, in place of the first ones.

  Of its exported checkpoint (`config.export.checkpoint`) the parameter groups that both runs have,
  or those of `config.model.start_groups`, are taken, with their batch statistics. Layers that only
  the other run has, such as the time-invariant one of an encoder for a supervised network, are
  left.

  Raises:
    FileNotFoundError: there is no run or no checkpoint of it in that folder.
    ValueError: the runs share no group, or a layer is missing there or of another shape.
  """
  from jaxpose.training import checkpoint, transfer

  workdir = config.model.start_from
  if not workdir:
    return variables
  path = _config_of_start(workdir)
  theirs = files.load_json(path)
  try:
    which = theirs["export"]["checkpoint"]
  except (KeyError, TypeError):
    raise ValueError(f"{path} is damaged: it names no config.export.checkpoint") from None
  other = checkpoint.restore_for_inference(workdir, which)
  try:
    return transfer.take_groups(
      variables, other, where=workdir, only=tuple(config.model.start_groups)
    )
  except transfer.OtherShapes as error:
    raise ValueError(f"{error}{_of_other_sizes(config.model, theirs.get('model'))}") from None


def check_files(config: ConfigDict) -> None:
  """Is there all that training begins with? Asked before data are built, which can take long.

  Raises:
    FileNotFoundError: a file of weights, or the run of `config.model.start_from`, is missing.
  """
  for name in ("detector_weights", "encoder_weights", "perceptual_weights"):
    path = config.model[name]
    if path and not pathlib.Path(path).is_file():
      raise FileNotFoundError(
        f"config.model.{name}: there is no {path}: give a torchvision-format .pth or .safetensors"
        " file"
      )
  if config.model.start_from:
    _config_of_start(config.model.start_from)


def _config_of_start(workdir: str) -> pathlib.Path:
  """The configuration of the run that another one starts from."""
  path = pathlib.Path(workdir) / "config.json"
  if not path.is_file():
    raise FileNotFoundError(
      f"config.model.start_from: no config.json in {workdir}: name the work directory of a run"
    )
  return path


def _of_other_sizes(own: ConfigDict, theirs: Any) -> str:
  """The flags that give a run the vectors and backbones of another, where they differ."""
  names = ("detector", "encoder", "time_variant", "time_invariant")
  known = theirs if isinstance(theirs, Mapping) else {}
  flags = [f"--config.model.{n}={known[n]}" for n in names if n in known and known[n] != own[n]]
  return f": {' '.join(flags)}" if flags else ""


def load_weights(config: ConfigDict, variables: Variables) -> Variables:
  """Puts the backbones' weights from files in place of the random ones."""
  from jaxpose.models import torch_weights

  for group in ("detector", "encoder"):
    path = config.model[f"{group}_weights"]
    if path and group in variables["params"]:
      variables = torch_weights.load_resnet(path, variables, f"{group}/backbone")
  return variables


def make_optimisers(config: ConfigDict, objectives: Mapping[str, Any]) -> dict[str, Any]:
  """An optimiser by section `optimiser` for each objective, over the steps of section `training`.

  DrNet's discriminator has its own learning rate and first moment (section `drnet`).

  Raises:
    ValueError: a group is to be frozen that no objective trains.
  """
  from jaxpose.methods import drnet

  trained = {group for objective in objectives.values() for group in objective.parameters}
  for entry in config.optimiser.frozen:
    if parameter_paths.group_of(entry) not in trained:
      raise ValueError(
        f"config.optimiser.frozen names {entry!r}: this method trains {', '.join(sorted(trained))}"
      )
  optimisers = {}
  for name, objective in objectives.items():
    values = config.optimiser
    if name == drnet.GROUP:
      values = values.copy_and_resolve_references()
      values.learning_rate, values.beta1 = config.drnet.learning_rate, config.drnet.beta1
    optimisers[name] = _make_optimiser(values, config.training.steps, objective.parameters)
  return optimisers


def _make_optimiser(values: ConfigDict, steps: int, groups: Collection[str]) -> Any:
  from jaxpose.training import optimiser

  schedule = optimiser.make_schedule(
    schedule=values.schedule,
    learning_rate=values.learning_rate,
    steps=steps,
    warmup_steps=values.warmup_steps,
    final_fraction=values.final_fraction,
    boundaries=[(int(step), float(factor)) for step, factor in values.boundaries],
  )
  return optimiser.make_optimiser(
    name=values.name,
    learning_rate=schedule,
    beta1=values.beta1,
    beta2=values.beta2,
    epsilon=values.epsilon,
    weight_decay=values.weight_decay,
    clip_norm=values.clip_norm,
    multipliers={
      group: factor
      for group, factor in values.multipliers.items()
      if factor != 1 and group in groups and group not in values.frozen
    },
    frozen=tuple(e for e in values.frozen if parameter_paths.group_of(e) in groups),
  )


def _tuple(values: Any) -> Any:
  return tuple(values) if isinstance(values, (list, tuple)) else values
