"""Fits a pose regressor on cached features: the whole training runs in jitted chunks on device."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxpose.evaluation.blocks import mean_and_std
from jaxpose.evaluation.regressor import (
  Architecture,
  Regressor,
  Standardisation,
  build_network,
  standardise,
)
from jaxpose.skeleton import Skeleton

_CHUNKS = 5  # progress reports of one fit


@dataclasses.dataclass(frozen=True)
class FitConfig:
  """How a regressor is trained.

  Attributes:
    architecture: the network.
    steps: updates, the same for every number of labels.
    batch_size: labelled frames an update, drawn with replacement.
    learning_rate: Adam's, falling to 0 along half a cosine.
  """

  architecture: Architecture = dataclasses.field(default_factory=Architecture)
  steps: int = 50_000
  batch_size: int = 256
  learning_rate: float = 1e-3

  def __post_init__(self) -> None:
    if self.steps < 1 or self.batch_size < 1 or self.learning_rate <= 0:
      raise ValueError(f"steps, batch_size and learning_rate must be positive: {self}")


class TrainingData(NamedTuple):
  """One table of features and labels, on device once for all fits.

  Attributes:
    features: standardised, [N, D].
    poses_mm: root-centred, [N, J, 3]; 0 where not valid. Or 2D keypoints, [N, J, 2].
    valid: [N, J].
    feature_mean, feature_std: what the features were standardised with.
  """

  features: Float[Array, "N D"]
  poses_mm: Float[Array, "N J K"]
  valid: Bool[Array, "N J"]
  feature_mean: Float[np.ndarray, " D"]
  feature_std: Float[np.ndarray, " D"]


def make_training_data(
  features: Any,
  labelled: Int[np.ndarray, " N"],
  poses_mm: Float[np.ndarray, "N J K"],
  valid: Bool[np.ndarray, "N J"],
) -> TrainingData:
  """Standardises features by the statistics of all M frames and puts the labelled N on device.

  Args:
    features: [M, D], an array or the column of an export: read by blocks.
  """
  mean, std = (x.astype(np.float32) for x in mean_and_std(features))
  std = np.where(std > 1e-6 * np.abs(mean), std, 0.0).astype(np.float32)
  scale = Standardisation(mean, std, np.zeros(poses_mm.shape[1:], np.float32), 1.0)
  table = standardise(features[labelled], scale)
  poses = np.where(valid[..., None], poses_mm, 0.0).astype(np.float32)
  return TrainingData(jnp.asarray(table), jnp.asarray(poses), jnp.asarray(valid), mean, std)


def mean_pose(
  poses_mm: Float[np.ndarray, "N J K"], valid: Bool[np.ndarray, "N J"]
) -> Float[np.ndarray, "J K"]:
  """Mean over the frames in which each joint is valid, mm; 0 for a joint that never is."""
  weight = np.asarray(valid, np.float64)[..., None]
  total = np.where(weight > 0, np.asarray(poses_mm, np.float64), 0.0).sum(axis=0)
  return (total / np.maximum(weight.sum(axis=0), 1.0)).astype(np.float32)


def fit_regressor(
  data: TrainingData,
  chosen: Int[np.ndarray, " n"],
  config: FitConfig,
  *,
  seed: int,
  skeleton: Skeleton,
  feature: str,
  progress: Callable[[int, float], None] | None = None,
) -> Regressor:
  """Minimises Σ v_j ‖p_j − g_j‖² / Σ v_j (P2 eq. 15) over the chosen labelled frames.

  Args:
    chosen: rows of `data` whose labels may be seen.
    seed: of the initial weights, the minibatches and the dropout.
    progress: called with (step, loss) a few times.

  Raises:
    ValueError: nothing was chosen, or the loss is not finite.
  """
  chosen = np.asarray(chosen)
  if not len(chosen):
    raise ValueError("no labelled frame was chosen: a regressor needs at least one")
  poses, valid = np.asarray(data.poses_mm)[chosen], np.asarray(data.valid)[chosen]
  centre = mean_pose(poses, valid)
  scale = float(np.sqrt(np.square((poses - centre)[valid]).mean())) or 1.0
  rows = np.zeros(len(data.features), np.int32)
  rows[: len(chosen)] = chosen
  init, run = _make_steps(config, centre.size)
  state = init(jax.random.key(seed), data.features[:1])
  table = (data.features, data.poses_mm, data.valid, rows, len(chosen), centre, scale)
  bounds = np.linspace(0, config.steps, min(_CHUNKS, config.steps) + 1).round().astype(int)
  for start, end in itertools.pairwise(bounds.tolist()):
    state, loss = run(state, start, end, table)
    if not np.isfinite(loss):
      raise ValueError(f"the loss of the probe became {float(loss)} by step {end}: seed {seed}")
    if progress is not None:
      progress(end, float(loss))
  standard = Standardisation(data.feature_mean, data.feature_std, centre, scale)
  return Regressor(config.architecture, state["variables"], standard, skeleton, feature)


@functools.cache
def _make_steps(config: FitConfig, outputs: int) -> tuple[Any, Any]:
  """(init, run) jitted: run(state, start, end, table) makes the updates start..end on device."""
  network = build_network(config.architecture, outputs)
  optimiser = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))

  @jax.jit
  def init(key: Array, sample: Float[Array, "1 D"]) -> dict[str, Any]:
    variables = network.init(jax.random.fold_in(key, 0), sample, train=False)
    moments = optimiser.init(variables["params"])
    return {"variables": variables, "optimiser": moments, "key": jax.random.fold_in(key, 1)}

  def update(state: dict[str, Any], step: Array, table: Any) -> tuple[dict[str, Any], Array]:
    features, poses_mm, valid, chosen, count, centre, scale = table
    draw, drop = jax.random.split(jax.random.fold_in(state["key"], step))
    batch = chosen[jax.random.randint(draw, (config.batch_size,), 0, count)]
    target = (poses_mm[batch] - centre[None]) / scale

    def loss_of(params: Any) -> tuple[Array, Mapping[str, Any]]:
      output, changed = network.apply(
        {**state["variables"], "params": params},
        features[batch],
        train=True,
        rngs={"dropout": drop},
        mutable=["batch_stats"],
      )
      error = jnp.square(output.reshape(target.shape) - target).sum(axis=-1)
      weight = valid[batch].astype(error.dtype)
      return (error * weight).sum() / jnp.maximum(weight.sum(), 1.0), changed

    params = state["variables"]["params"]
    (loss, changed), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
    updates, moments = optimiser.update(grads, state["optimiser"])
    variables = {**state["variables"], **changed, "params": optax.apply_updates(params, updates)}
    return {"variables": variables, "optimiser": moments, "key": state["key"]}, loss

  @jax.jit
  def run(
    state: dict[str, Any], start: Array, end: Array, table: Any
  ) -> tuple[dict[str, Any], Array]:
    def body(step: Array, carry: Any) -> Any:
      return update(carry[0], step, table)

    return jax.lax.fori_loop(start, end, body, (state, jnp.zeros(())))

  return init, run
