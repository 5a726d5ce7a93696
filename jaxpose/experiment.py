"""The one place that turns a configuration into method, data, optimisers and evaluators."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpose.data.index import Dataset, open_dataset

Batch = Mapping[str, Any]
Variables = dict[str, Any]

CONFIG_FILE = "config.json"
SPLITS = ("train", "validation", "test")

# What may change between two starts of one run without making it another experiment.
_NOT_FINGERPRINTED = ("export", "probe", "report", "name")
_NOT_FINGERPRINTED_OF = {
  "data": ("workers", "prefetch", "directory", "path"),
  "training": ("steps", "log_every", "checkpoint_every", "validate_every", "keep_checkpoints"),
}


class Experiment:
  """A configuration and a work directory, and everything that follows from them.

  Attributes:
    config: see configs/common.py; not changed.
    workdir: where the run writes.
  """

  def __init__(self, config: ConfigDict, workdir: pathlib.Path | str) -> None:
    self.config = config
    self.workdir = pathlib.Path(workdir)

  @classmethod
  def from_workdir(cls, workdir: pathlib.Path | str) -> "Experiment":
    """The experiment that a run wrote into its work directory.

    Raises:
      FileNotFoundError: there is no configuration in it.
    """
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.is_file():
      raise FileNotFoundError(f"no {CONFIG_FILE} in {workdir}: name the work directory of a run")
    return cls(ConfigDict(json.loads(path.read_text(encoding="utf-8"))), workdir)

  def save_config(self) -> None:
    """Writes the configuration into the work directory."""
    self.workdir.mkdir(parents=True, exist_ok=True)
    new = self.workdir / (CONFIG_FILE + ".new")
    new.write_text(self.config_json(), encoding="utf-8")
    new.replace(self.workdir / CONFIG_FILE)

  def config_json(self) -> str:
    """The configuration as JSON, keys in order."""
    return json.dumps(self.config.to_dict(), indent=2, sort_keys=True)

  def fingerprint(self) -> str:
    """A hash of all values that decide what is learned (not for how long, or what comes after)."""
    values = {k: v for k, v in self.config.to_dict().items() if k not in _NOT_FINGERPRINTED}
    for section, names in _NOT_FINGERPRINTED_OF.items():
      values[section] = {k: v for k, v in values[section].items() if k not in names}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

  # --- data ------------------------------------------------------------------------------------

  def dataset(self, split: str) -> Dataset:
    """The prepared data of one of `SPLITS`.

    Raises:
      ValueError: there is no such split, or the configuration names no data.
      FileNotFoundError: the data are missing.
    """
    if split not in SPLITS:
      raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if not self.config.data.directory:
      raise ValueError(
        "config.data.directory is empty: prepare the data set (launch/prepare.py) and name the"
        " folder by --config.data.directory=DIR"
      )
    return self._open(self.config.data[f"{split}_split"])

  @functools.cache  # noqa: B019  an experiment lives as long as the program
  def _open(self, name: str) -> Dataset:
    return open_dataset(self.config.data.directory, name)

  @property
  def image_size(self) -> tuple[int, int]:
    """(height, width) of the frames that the networks see."""
    height, width = self.config.data.image_size
    return int(height), int(width)

  def train_batches(self) -> Any:
    """An iterator over training batches of this process, from the first step on."""
    return self._batches("train", self.config.seed)

  def validation_batches(self) -> Iterator[Batch]:
    """The same few batches of the validation split at every call."""
    batches = self._batches("validation", self.config.seed + 1)
    try:
      for _ in range(self.config.training.validation_batches):
        yield next(batches)
    finally:
      batches.close()

  def _batches(self, split: str, seed: int) -> Any:
    import jax

    from jaxpose.data import pipeline

    sampling = self.config.sampling
    sources = [pipeline.Source(self.dataset(split))]
    if split == "train":
      name = self.config.data.train_split
      sources += [pipeline.Source(open_dataset(d, name)) for d in self.config.data.also]
    return pipeline.make_batches(
      sources,
      temporal=pipeline.TemporalConfig(
        near_max=sampling.near_max,
        far_min=sampling.far_min,
        far_max=sampling.far_max,
        unit=sampling.unit,
        gravity=tuple((int(step), float(share)) for step, share in sampling.gravity),
        spacing_min=sampling.spacing_min,
        spacing_max=sampling.spacing_max,
      ),
      image_size=self.image_size,
      batch_size=self.config.batch_size,
      seed=seed,
      host_index=jax.process_index(),
      host_count=jax.process_count(),
      workers=self.config.data.workers if split == "train" else 0,
      prefetch=self.config.data.prefetch,
    )

  def frame_batches(self, split: str, *, with_labels: bool = True) -> Iterator[Batch]:
    """Every frame of a split once, in order; the last batch is filled up, see `valid`."""
    from jaxpose.data import pipeline

    return pipeline.make_frame_batches(
      self.dataset(split),
      batch_size=self.config.export.batch_size,
      image_size=self.image_size,
      with_labels=with_labels,
    )

  # --- method ----------------------------------------------------------------------------------

  @functools.cached_property
  def method(self) -> Any:
    """The method that the configuration names, on its networks."""
    from jaxpose import parallel

    method = self._build_method(parallel.AXIS)
    return dataclasses.replace(
      method, init=lambda rng, batch: self._load_weights(method.init(rng, batch))
    )

  def _build_method(self, axis_name: str | None) -> Any:
    """The method with batch norm over a mapped axis, or, to be called outside of one, without."""
    from jaxpose.methods.dsl import build_dsl

    (name,) = self.config.methods
    if name != "dsl":
      raise ValueError(f"config.methods: there is no method {name!r}; there is 'dsl'")
    return build_dsl(self._scene(axis_name), self._dsl_options(), self._perceptual)

  def _scene(self, axis_name: str | None) -> Any:
    import jax.numpy as jnp

    from jaxpose.models.scene import build_scene

    model = self.config.model
    decoder = model.decoder.to_dict()
    return build_scene(
      detector_backbone=model.detector or None,
      encoder_backbone=model.encoder,
      backbone_options={k: _tuple(v) for k, v in model.backbone.items()},
      time_variant_size=model.time_variant,
      time_invariant_size=model.time_invariant,
      crop_size=model.crop_size,
      detector_shrink=model.detector_shrink,
      decoder=decoder | {"stage_channels": tuple(decoder["stage_channels"])},
      stn_form=model.stn_form,
      axis_name=axis_name,
      dtype=jnp.dtype(self.config.compute_dtype),
    )

  def _dsl_options(self) -> Any:
    from jaxpose.methods.dsl import DslOptions

    dsl = self.config.dsl
    return DslOptions(
      pixel_loss=dsl.pixel_loss,
      label_statistics=dsl.minimum_std if dsl.label_statistics else None,
      d_max=self.config.sampling.far_min,
      swap=dsl.swap,
      swap_probability=dsl.swap_probability,
      jitter=dict(dsl.jitter_strength) if dsl.jitter else None,
      prior_scale=_tuple(dsl.prior_scale),
      prior_location=_tuple(dsl.prior_location),
      order_threshold=dsl.order_threshold,
    )

  @functools.cached_property
  def _perceptual(self) -> tuple[Any, Variables] | None:
    """The perceptual network and its frozen weights, where a file of them is given.

    Prints that the run goes on without, where the loss weighs something and they are not given.
    """
    path = self.config.model.perceptual_weights
    if not path:
      if _ever_positive(self.config.loss_weights.perceptual):
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

    network = PerceptualFeatures(dtype=jnp.dtype(self.config.compute_dtype))
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    return network, torch_weights.load_resnet(path, empty, "backbone")

  def _load_weights(self, variables: Variables) -> Variables:
    """Puts the backbones' weights from files in place of the random ones."""
    from jaxpose.models import torch_weights

    for group in ("detector", "encoder"):
      path = self.config.model[f"{group}_weights"]
      if path:
        variables = torch_weights.load_resnet(path, variables, f"{group}/backbone")
    return variables

  def loss_weights(self) -> dict[str, Any]:
    """Weight of every term that the method has."""
    weights = {name: _pieces(value) for name, value in self.config.loss_weights.items()}
    known = {term for o in self.method.objectives.values() for term in o.terms}
    return {n: w for n, w in weights.items() if n in known or n != "perceptual"}

  # --- training --------------------------------------------------------------------------------

  def train(self) -> Any:
    """Trains to the configured step, from the last checkpoint in the work directory if any."""
    from jaxpose import parallel
    from jaxpose.training import loop, monitor, writers

    config, over = self.config, parallel.devices()
    self.save_config()
    loop.enable_compilation_cache(_cache_folder())
    first = next(iter(self._first_batch()))
    return loop.train(
      self.method,
      self.train_batches,
      initial_batch=first,
      workdir=self.workdir,
      optimisers={name: self._optimiser() for name in self.method.objectives},
      loss_weights=self.loss_weights(),
      evaluators=[
        loop.make_validation(self.method, self.validation_batches, seed=config.seed, over=over)
      ],
      writers=[
        writers.JsonLinesWriter(self.workdir / "metrics.jsonl"),
        writers.TensorBoardWriter(self.workdir / "tensorboard"),
      ],
      watches=monitor.make_collapse_watches(
        box_scale_low=config.training.box_scale_low,
        box_scale_high=config.training.box_scale_high,
        mask_max_low=config.training.mask_max_low,
      ),
      seed=config.seed,
      steps=config.training.steps,
      accumulate=config.optimiser.accumulation,
      frames_per_step=config.batch_size * 4,
      log_every=config.training.log_every,
      evaluate_every=config.training.validate_every,
      checkpoint_every=config.training.checkpoint_every,
      keep=config.training.keep_checkpoints,
      warn_every=config.training.warn_every,
      best_metric=f"validation/{config.training.best_by}",
      fingerprint=self.fingerprint(),
      over=over,
    )

  def _first_batch(self) -> Iterable[Batch]:
    batches = self.train_batches()
    try:
      yield next(batches)
    finally:
      batches.close()

  def _optimiser(self) -> Any:
    from jaxpose.training import optimiser

    values = self.config.optimiser
    schedule = optimiser.make_schedule(
      schedule=values.schedule,
      learning_rate=values.learning_rate,
      steps=self.config.training.steps,
      warmup_steps=values.warmup_steps,
      final_fraction=values.final_fraction,
      boundaries=values.boundaries,
    )
    return optimiser.make_optimiser(
      name=values.name,
      learning_rate=schedule,
      beta1=values.beta1,
      beta2=values.beta2,
      epsilon=values.epsilon,
      weight_decay=values.weight_decay,
      clip_norm=values.clip_norm,
      multipliers=dict(values.multipliers),
      frozen=tuple(values.frozen),
    )

  # --- what comes after ------------------------------------------------------------------------

  def restore(self, which: str = "") -> Variables:
    """Variables of the `best` or `last` checkpoint; the configured one by default."""
    from jaxpose.training import checkpoint

    return checkpoint.restore_for_inference(self.workdir, which or self.config.export.checkpoint)

  def random_variables(self, trained: Variables) -> Variables:
    """The trained detector with an encoder and decoder as they were initialised.

    The baseline sees the same crops, and its batch norm is calibrated: the running statistics are
    those of `CALIBRATION_BATCHES` training batches.
    """
    import jax

    batches = self.train_batches()
    first = next(batches)
    start = self.method.init(jax.random.fold_in(jax.random.key(self.config.seed), 1), first)
    merged = {
      kind: {**start[kind], **{g: v for g, v in trained[kind].items() if g == "detector"}}
      for kind in ("params", "batch_stats")
    }
    variables = {**start, **merged}
    terms = self._build_method(None).terms
    step = jax.jit(lambda v, b, key: terms(v, b, key, True)[1]["batch_stats"])
    for number in range(CALIBRATION_BATCHES):
      stats = step(variables, next(batches), jax.random.key(number))
      variables["batch_stats"] = {**stats, "detector": merged["batch_stats"]["detector"]}
    batches.close()
    return variables

  def make_embed(self, variables: Variables) -> Callable[[Batch], dict[str, np.ndarray]]:
    """(batch of frames) -> what the method's `embed` gives, as numpy."""
    return self._jitted(self.method.embed, variables)

  def make_render(self, variables: Variables) -> Callable[[Batch], dict[str, np.ndarray]]:
    """(batch of frames) -> every picture from frame to reconstruction, as numpy."""
    return self._jitted(self.method.render, variables)

  def make_decode(self, variables: Variables) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """(time_variant, time_invariant) -> (crop, mask), as numpy."""
    import jax

    placed = jax.device_put(variables)
    decode = jax.jit(self.method.decode)
    return lambda tv, ti: jax.device_get(decode(placed, tv, ti))

  @staticmethod
  def _jitted(function: Any, variables: Variables) -> Any:
    import jax

    placed = jax.device_put(variables)
    compiled = jax.jit(function)

    def call(batch: Batch) -> dict[str, np.ndarray]:
      frames = {name: batch[name] for name in ("image", "background")}
      return jax.device_get(compiled(placed, frames))

    return call


CALIBRATION_BATCHES = 50


def _cache_folder() -> pathlib.Path:
  """Where compiled programs are kept between runs."""
  return pathlib.Path.home() / ".cache" / "jaxpose" / "compiled"


def _tuple(values: Any) -> Any:
  return tuple(values) if isinstance(values, (list, tuple)) else values


def _pieces(weight: Any) -> Any:
  """A loss weight as the step takes it: a number, or [(step, weight), ...]."""
  if isinstance(weight, (int, float)):
    return float(weight)
  return [(int(step), float(value)) for step, value in weight]


def _ever_positive(weight: Any) -> bool:
  pieces = _pieces(weight)
  return pieces > 0 if isinstance(pieces, float) else any(value > 0 for _, value in pieces)
