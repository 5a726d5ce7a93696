"""The one place that turns a configuration into method, data, optimisers and evaluators."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxpose import (
  assembly,
  building,
  config_check,
  files,
  label_choice,
  older_runs,
  own_poses,
  run_settings,
)
from jaxpose.crops import DETECTOR
from jaxpose.data.index import Dataset, open_dataset
from jaxpose.data.subjects import labelled_boxes, subject_boxes
from jaxpose.run_labels import RunLabels
from jaxpose.skeleton import Skeleton

Batch = Mapping[str, Any]
Variables = dict[str, Any]

CALIBRATION_BATCHES = 50
CONFIG_FILE = "config.json"
SPLITS = ("train", "validation", "test")

# What a method may be shown of a batch of frames.
_FRAMES = ("image", "background", "box_px")
_POINTED = ("K", "pose2d_px", "joint_valid")  # a supervised one, to turn its camera (P3 §3.4)


class Experiment:
  """A configuration and a work directory, and everything that follows from them.

  Attributes:
    config: see configs/common.py; not changed.
    workdir: where the run writes.
  """

  def __init__(self, config: ConfigDict, workdir: pathlib.Path | str) -> None:
    """Raises ValueError where a value of the configuration is not what it is taken for."""
    config_check.check_values(config)
    self.config = config
    self.workdir = pathlib.Path(workdir)

  @classmethod
  def from_workdir(cls, workdir: pathlib.Path | str) -> "Experiment":
    """The experiment that a run wrote into its work directory.

    Raises:
      FileNotFoundError: there is no configuration in it.
      ValueError: the configuration is damaged.
    """
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.is_file():
      raise FileNotFoundError(f"no {CONFIG_FILE} in {workdir}: name the work directory of a run")
    values = files.load_json(path)
    try:
      return cls(ConfigDict(older_runs.complete(values)), workdir)
    except (ValueError, TypeError) as error:
      raise ValueError(f"{path}: {error}") from error

  def save_config(self) -> None:
    """Writes the configuration into the work directory; of what reads poses the skeleton too."""
    self.workdir.mkdir(parents=True, exist_ok=True)
    with files.replacing(self.workdir / CONFIG_FILE) as partial:
      partial.write_text(self.config_json(), encoding="utf-8")
    if self.is_supervised:
      own_poses.save_skeleton(self.workdir, self.dataset("train").skeleton)

  def config_json(self) -> str:
    """The configuration as JSON, keys in order."""
    return json.dumps(self.config.to_dict(), indent=2, sort_keys=True)

  def fingerprint(self) -> str:
    """A hash of all values that decide what is learned, see `assembly.fingerprint`."""
    return assembly.fingerprint(self.config)

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

  def train_batches(self, over: Any = None) -> Any:
    """An iterator over training batches from the first step on.

    Args:
      over: a `parallel.Devices`, to read only this process's share of every batch.
    """
    return self._batches("train", self.config.seed, over)

  def validation_batches(self, over: Any = None) -> Iterator[Batch]:
    """The same few batches of the validation split at every call, or this process's share of them.

    Falls have the share that they end with in training: a batch's number is not a step here.
    """
    batches = self._batches("validation", self.config.seed + 1, over, settled=True)
    try:
      for _ in range(self.config.training.validation_batches):
        yield next(batches)
    finally:
      batches.close()

  def _batches(self, split: str, seed: int, over: Any, *, settled: bool = False) -> Any:
    """Batches of a split; `settled`: with the share of falls that training ends with."""
    from jaxpose import batch_configs
    from jaxpose.data import pipeline

    parts, sources = assembly.parts(self.config), self._sources(split)
    if split == "train":
      batch_configs.check_videos(self.config, sources)
    temporal = labelled = None
    if assembly.TEMPORAL in parts:
      temporal = batch_configs.make_temporal_config(self.config, train=not settled)
    if assembly.LABELLED in parts:
      labelled = pipeline.LabelledFrames(
        self.labels.of(split).ids,
        self.config.supervised.background != "keep",
        self.config.supervised.crop,
      )
    return pipeline.make_batches(
      sources,
      temporal=temporal,
      pair=batch_configs.make_pair_config(self.config) if assembly.PAIR in parts else None,
      views=batch_configs.make_views_config(self.config) if assembly.VIEWS in parts else None,
      labelled=labelled,
      image_size=self.image_size,
      batch_size=self.config.batch_size,
      seed=seed,
      host_index=over.process if over else 0,
      host_count=over.processes if over else 1,
      workers=self.config.data.workers if split == "train" else 0,
      prefetch=self.config.data.prefetch,
    )

  def _sources(self, split: str) -> list[Any]:
    from jaxpose.data import pipeline

    sources = [pipeline.Source(self.dataset(split))]
    if split == "train":
      name = self.config.data.train_split
      sources += [pipeline.Source(open_dataset(d, name)) for d in self.config.data.also]
    return sources

  def _data_fingerprint(self) -> str:
    """Changes with the content of the frames that are trained and validated on."""
    datasets = (*self.train_datasets(), self.dataset("validation"))
    prints = [dataset.fingerprint() for dataset in datasets]
    return hashlib.sha256(json.dumps(prints).encode()).hexdigest()[:16]

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
    """The methods that the configuration names, as one, on their networks."""
    from jaxpose import parallel

    method = self._build_method(parallel.AXIS, training=True)
    return dataclasses.replace(
      method,
      init=lambda rng, batch: building.start_from(
        self.config, building.load_weights(self.config, method.init(rng, batch))
      ),
    )

  @functools.cached_property
  def _trained_method(self) -> Any:
    """The method for what comes after training: on one device, without the perceptual network."""
    return self._build_method(None, training=False)

  def _build_method(self, axis_name: str | None, *, training: bool) -> Any:
    """The method with batch norm over a mapped axis, or, to be called outside of one, without."""
    return assembly.build_method(
      assembly.Context(
        self.config,
        building.build_scene(self.config, axis_name, training=training),
        training,
        lambda: self.labels.statistics if training else label_choice.no_statistics(self.skeleton),
      )
    )

  @property
  def is_supervised(self) -> bool:
    """Does the run learn from the labels of all frames, and not from the video alone?"""
    return "supervised" in self.config.methods

  def require_self_supervised(self) -> None:
    """Raises ValueError where there is no scene to embed or reconstruct."""
    if self.is_supervised:
      raise ValueError(
        f"the run in {self.workdir} is a supervised network: it has no embedding to export and"
        " reconstructs nothing; launch/probe.py scores it, launch/predict.py reads new videos"
      )

  @property
  def skeleton(self) -> Skeleton:
    """Of the poses; a supervised network that has begun to train needs no data to know it."""
    saved = own_poses.load_skeleton(self.workdir) if self.is_supervised else None
    return saved or self.dataset("train").skeleton

  @functools.cached_property
  def labels(self) -> RunLabels:
    """The labels of the run's data."""
    return RunLabels(self.config, self._datasets, supervised=self.is_supervised)

  def train_datasets(self) -> list[Dataset]:
    """The training data, with those of `config.data.also`."""
    return self._datasets("train")

  def _datasets(self, split: str) -> list[Dataset]:
    return [source.dataset for source in self._sources(split)]

  def loss_weights(self) -> dict[str, Any]:
    """Weight of every term that the method has; those of others are of no account."""
    weights = assembly.loss_weights(self.config)
    return {n: w for n, w in weights.items() if n in self._terms}

  @property
  def _terms(self) -> set[str]:
    return {term for o in self.method.objectives.values() for term in o.terms}

  # --- training --------------------------------------------------------------------------------

  def train(self) -> Any:
    """Trains to the configured step, from the last checkpoint in the work directory if any."""
    from jaxpose import parallel
    from jaxpose.training import loop, writers

    config, over = self.config, parallel.devices()
    loop.enable_compilation_cache(pathlib.Path.home() / ".cache" / "jaxpose" / "compiled")
    return loop.train(
      self.method,
      lambda: self.train_batches(over),
      run_settings.make_run_settings(
        config,
        self.fingerprint(),
        self._data_fingerprint(),
        self.loss_weights(),
        assembly.frames_per_example(config),
      ),
      initial_batch=self.train_batches(over).peek(),
      workdir=self.workdir,
      optimisers=building.make_optimisers(config, self.method.objectives),
      loss_weights=self.loss_weights(),
      evaluators=self._evaluators(over),
      writers=[
        writers.JsonLinesWriter(self.workdir / "metrics.jsonl"),
        writers.TensorBoardWriter(self.workdir / "tensorboard"),
      ],
      watches=run_settings.make_watches(config),
      over=over,
      on_start=self.save_config,  # not before: the folder may be another run's
    )

  def _evaluators(self, over: Any) -> list[Any]:
    """What is looked at during training: the loss terms, and boxes where there is a detector."""
    from jaxpose.box_watch import make_box_evaluator
    from jaxpose.training import loop

    terms = loop.make_validation(
      self.method, lambda: self.validation_batches(over), seed=self.config.seed, over=over
    )
    if self.is_supervised or not self.detects:
      return [terms]
    boxes = make_box_evaluator(
      self._trained_method.encode,
      self.dataset("validation"),
      image_size=self.image_size,
      batch_size=self.config.export.batch_size,
    )
    return [terms, boxes]

  # --- what comes after ------------------------------------------------------------------------

  def restore(self, which: str = "") -> Variables:
    """Variables of the `best` or `last` checkpoint; the configured one by default."""
    from jaxpose.training import checkpoint

    return checkpoint.restore_for_inference(self.workdir, which or self.config.export.checkpoint)

  def random_variables(self, trained: Variables) -> Variables:
    """The trained detector with an encoder and decoder of random weights, not those of a file.

    The baseline sees the same crops, and its batch norm, where it has any, is calibrated: the
    running statistics are those of `CALIBRATION_BATCHES` training batches, of falls no more than in
    the end.
    """
    from jaxpose.untrained import calibrate, first_variables

    with self._batches("train", self.config.seed, None, settled=True) as batches:
      start = first_variables(self._trained_method, self.config.seed, next(batches))
      return calibrate(self._trained_method, start, trained, batches, CALIBRATION_BATCHES)

  def make_embed(self, variables: Variables) -> Callable[[Batch], dict[str, np.ndarray]]:
    """(batch of frames) -> what the method's `embed` gives, as numpy.

    The box that is cropped is handed on to the method, true or found, and to a supervised one
    calibration and 2D pose too.
    """
    return self._jitted(self._trained_method.embed, variables)

  def make_encode(self, variables: Variables) -> Callable[[Batch], dict[str, np.ndarray]]:
    """(batch of frames) -> time_variant, time_invariant and box, as numpy; decodes nothing."""
    self.require_self_supervised()
    return self._jitted(self._trained_method.encode, variables)

  def make_render(self, variables: Variables) -> Callable[[Batch], dict[str, np.ndarray]]:
    """(batch of frames) -> every picture from frame to reconstruction, as numpy."""
    self.require_self_supervised()
    return self._jitted(self._trained_method.render, variables)

  @property
  def decodes(self) -> bool:
    """Are frames reconstructed? If not there are no masks, and everywhere counts as occupied."""
    return not self.is_supervised and self._trained_method.decode is not None

  @property
  def detects(self) -> bool:
    """Are the boxes a detector's?"""
    return bool(self.config.model.detector) and self.subject_crop is None

  @property
  def subject_crop(self) -> str | None:
    """What crops around a subject that is not found by the networks are centred on."""
    embeds = next(iter(assembly.recipes(self.config).values()))  # of several, the first
    section = {assembly.PAIR: "pairs", assembly.LABELLED: "supervised"}.get(embeds.part)
    crop = self.config[section].crop if section else DETECTOR
    return None if crop == DETECTOR else str(crop)

  def make_decode(self, variables: Variables) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """(time_variant, time_invariant) -> (crop, mask), as numpy; only where the run decodes."""
    import jax

    placed = jax.device_put(variables)
    decode = jax.jit(self._trained_method.decode)
    return lambda tv, ti: jax.device_get(decode(placed, tv, ti))

  def _jitted(self, function: Any, variables: Variables) -> Any:
    import jax

    placed = jax.device_put(variables)
    compiled, crop = jax.jit(function), self.subject_crop
    name = "box_px" if self.is_supervised else "subject_px"
    shown = (*_FRAMES, *(_POINTED if self.is_supervised else ()))

    def call(batch: Batch) -> dict[str, np.ndarray]:
      frames = {key: batch[key] for key in shown if key in batch}
      if crop is not None:
        frames[name] = subject_boxes(batch, crop)
      elif "box_px" in frames:
        frames["box_px"] = labelled_boxes(batch)
      return jax.device_get(compiled(placed, frames))

    return call
