"""Networks from an embedding to a 3D pose, as the papers have them, and their saved form."""

import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from jaxpose import files
from jaxpose.evaluation.metrics import root_centre
from jaxpose.skeleton import Skeleton

ARCHITECTURES = ("mlp", "residual", "linear")
_FORMAT = 1
_CHUNK = 16384  # rows predicted at once
_Features = Float[Array, "N D"]


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What network to build.

  Attributes:
    kind: "mlp": hidden layers with ReLU and dropout (P2 §S.1.1: two of 2048, dropout 0.5);
      "residual": linear in, `depth` residual blocks of two ReLU layers, linear out (P2 §S.1.1:
      three blocks of 1024); "linear": one affine map.
    width: units of each hidden layer.
    depth: hidden layers of "mlp", blocks of "residual".
    dropout: share of hidden units dropped in training.
    batch_norm: "mlp" only: batch norm after each ReLU, as NSD's public code has it.
  """

  kind: str = "mlp"
  width: int = 2048
  depth: int = 2
  dropout: float = 0.5
  batch_norm: bool = False

  def __post_init__(self) -> None:
    if self.kind not in ARCHITECTURES:
      raise ValueError(f"probe architecture {self.kind!r} is none of {', '.join(ARCHITECTURES)}")
    if self.width < 1 or self.depth < 1 or not 0.0 <= self.dropout < 1.0:
      raise ValueError(f"probe architecture needs width, depth >= 1 and dropout in [0, 1): {self}")
    if self.batch_norm and self.kind != "mlp":
      raise ValueError("batch_norm is an option of the architecture 'mlp' only")


class MLP(nn.Module):
  """Hidden layers of ReLU, optional batch norm, dropout; linear output: [N, D] -> [N, outputs]."""

  architecture: Architecture
  outputs: int

  @nn.compact
  def __call__(self, x: _Features, train: bool) -> Float[Array, "N outputs"]:
    for _ in range(self.architecture.depth):
      x = nn.relu(nn.Dense(self.architecture.width)(x))
      if self.architecture.batch_norm:
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
      x = nn.Dropout(self.architecture.dropout, deterministic=not train)(x)
    return nn.Dense(self.outputs)(x)


class ResidualMLP(nn.Module):
  """Linear in, blocks x + drop(relu(W₂ drop(relu(W₁ x)))), linear out: [N, D] -> [N, outputs].

  A new network gives 0, the mean pose: nothing norms what the blocks add up, and few labels do not
  undo a random first guess.
  """

  architecture: Architecture
  outputs: int

  @nn.compact
  def __call__(self, x: _Features, train: bool) -> Float[Array, "N outputs"]:
    x = nn.Dense(self.architecture.width)(x)
    for _ in range(self.architecture.depth):
      inner = x
      for _ in range(2):
        inner = nn.relu(nn.Dense(self.architecture.width)(inner))
        inner = nn.Dropout(self.architecture.dropout, deterministic=not train)(inner)
      x = x + inner
    return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)(x)


class Linear(nn.Module):
  """One affine map: [N, D] -> [N, outputs]; a new one gives 0, the mean pose."""

  architecture: Architecture
  outputs: int

  @nn.compact
  def __call__(self, x: _Features, train: bool) -> Float[Array, "N outputs"]:
    return nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)(x)


def build_network(architecture: Architecture, outputs: int) -> nn.Module:
  """The network of an `Architecture` with the given number of outputs."""
  modules = {"mlp": MLP, "residual": ResidualMLP, "linear": Linear}
  return modules[architecture.kind](architecture, outputs)


@dataclasses.dataclass(frozen=True)
class Standardisation:
  """What network inputs and outputs are measured in.

  Inputs are (f − feature_mean) / feature_std, both per feature over all training frames, labelled
  or not. Outputs are (pose − pose_mean_mm) / pose_scale_mm with the mean over the labelled frames
  per coordinate, but one scale for all, so that the squared error stays that of eq. 15 of P2.
  """

  feature_mean: Float[np.ndarray, " D"]
  feature_std: Float[np.ndarray, " D"]
  pose_mean_mm: Float[np.ndarray, "J K"]
  pose_scale_mm: float


@dataclasses.dataclass(frozen=True)
class Regressor:
  """A fitted map from features to root-centred poses in camera axes, mm.

  Or, where the mean pose has two coordinates a joint, to 2D keypoints in shares of the frame.
  `weights` is the digest of the networks whose embeddings it was fitted on; "" if that is unknown.
  """

  architecture: Architecture
  variables: Mapping[str, Any]
  standardisation: Standardisation
  skeleton: Skeleton
  feature: str
  weights: str = ""

  @property
  def num_coordinates(self) -> int:
    """K of a joint: 3, or 2 for keypoints in the frame."""
    return int(self.standardisation.pose_mean_mm.shape[1])

  def predict(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N J K"]:
    """Root-centred poses, mm; or 2D keypoints.

    Raises:
      ValueError: the features have another width than those that it was fitted on.
    """
    features = np.asarray(features, np.float32)
    width = len(self.standardisation.feature_mean)
    if features.ndim != 2 or features.shape[1] != width:
      raise ValueError(
        f"this regressor reads {width} features a frame ({self.feature}), not {features.shape}: "
        "use the embeddings of the checkpoint that it was fitted on"
      )
    shape = self.standardisation.pose_mean_mm.shape
    apply = _make_apply(self.architecture, math.prod(shape))
    pieces = []
    for start in range(0, len(features), _CHUNK):
      piece = standardise(features[start : start + _CHUNK], self.standardisation)
      pieces.append(np.asarray(apply(self.variables, piece)))
    flat = np.concatenate(pieces) if pieces else np.zeros((0, math.prod(shape)))
    poses = flat.reshape(-1, *shape) * self.standardisation.pose_scale_mm
    poses = (poses + self.standardisation.pose_mean_mm).astype(np.float32)
    return root_centre(poses, self.skeleton.root) if self.num_coordinates == 3 else poses


@functools.cache
def _make_apply(architecture: Architecture, outputs: int) -> Any:
  network = build_network(architecture, outputs)
  return jax.jit(lambda variables, x: network.apply(variables, x, train=False))


def standardise(
  features: Float[np.ndarray, "N D"], standardisation: Standardisation
) -> Float[np.ndarray, "N D"]:
  """(f − mean) / std; a feature that never varied in training gives 0."""
  std = standardisation.feature_std
  safe = np.where(std > 0, std, 1.0)
  result = np.where(std > 0, (features - standardisation.feature_mean) / safe, 0.0)
  return result.astype(np.float32)


def save_regressor(path: str | os.PathLike[str], regressor: Regressor) -> None:
  """Writes weights, standardisation, architecture and skeleton to one `.npz` without pickles."""
  description = {
    "format": _FORMAT,
    "architecture": dataclasses.asdict(regressor.architecture),
    "skeleton": regressor.skeleton.to_dict(),
    "feature": regressor.feature,
    "weights": regressor.weights,
  }
  arrays: dict[str, Any] = {
    "description": np.array(json.dumps(description)),
    "feature_mean": regressor.standardisation.feature_mean,
    "feature_std": regressor.standardisation.feature_std,
    "pose_mean_mm": regressor.standardisation.pose_mean_mm,
    "pose_scale_mm": np.array(regressor.standardisation.pose_scale_mm, np.float32),
  }
  for name, value in traverse_util.flatten_dict(dict(regressor.variables), sep="/").items():
    arrays[f"variables/{name}"] = np.asarray(value)
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing(path) as partial, open(partial, "wb") as file:
    np.savez(file, **arrays)


def load_regressor(path: str | os.PathLike[str]) -> Regressor:
  """Reads what `save_regressor` wrote; loads no pickles.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no regressor, or one of another version.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no regressor at {path}: launch/probe.py writes one")
  try:
    arrays = files.load_npz(path)
    description = json.loads(str(arrays["description"]))
    if description["format"] != _FORMAT:
      raise ValueError(f"its format is {description['format']}, this version reads {_FORMAT}")
    prefix = "variables/"
    weights = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return Regressor(
      Architecture(**description["architecture"]),
      jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(weights, sep="/")),
      Standardisation(
        arrays["feature_mean"],
        arrays["feature_std"],
        arrays["pose_mean_mm"],
        float(arrays["pose_scale_mm"]),
      ),
      Skeleton.from_dict(description["skeleton"]),
      str(description["feature"]),
      str(description.get("weights", "")),
    )
  except Exception as error:
    lacks = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    raise ValueError(f"{path} is no regressor that can be read: {lacks}") from error
