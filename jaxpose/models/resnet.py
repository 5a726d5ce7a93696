"""Residual networks in torchvision's layout, so that its weights load name by name.

`ResNet18/34/50/101` are the standard networks (He et al. 2016, stride in the 3x3 convolution of a
bottleneck as torchvision does). `ResNetSmall` is the same code at a width that a CPU can train.

torchvision's dotted names become Flax names by one rule (`torch_weights.torch_name`):
`layer1.0.conv1` is `layer1_0/conv1`, `downsample.0` and `.1` are `downsample_conv` and
`downsample_bn`. The classifier `fc` is not part of the network.

`SEResNet50/101` are AlphaPose's backbones (P2 §S.1.1 takes one with 101 layers): the same, but for
a gate of its channels in the first block of a stage.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpose import parameter_paths

Output = Literal["mean", "flatten", "map", "stages"]
Norm = Literal["batch", "group"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def normalise_image(image: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
  """(image − mean) / std with ImageNet's RGB statistics; `image` in [0, 1]."""
  return (image - _channels(IMAGENET_MEAN, image)) / _channels(IMAGENET_STD, image)


def denormalise_image(image: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
  """mean + std · image: the inverse of `normalise_image`."""
  return _channels(IMAGENET_MEAN, image) + _channels(IMAGENET_STD, image) * image


def _channels(values: Sequence[float], image: jax.Array) -> jax.Array:
  """One value a channel, in as many axes as `image` has."""
  return jnp.asarray(values, image.dtype).reshape((1,) * (image.ndim - 1) + (len(values),))


def _conv(features: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
  """A convolution without bias, padded by (size − 1)/2 on every side, as torch pads."""
  pad = (size - 1) // 2
  return nn.Conv(
    features,
    (size, size),
    strides=(stride, stride),
    padding=((pad, pad), (pad, pad)),
    use_bias=False,
    dtype=dtype,
    kernel_init=_kernel_init,
    name=name,
  )


class Gate(nn.Module):
  """x · σ(W₂ ReLU(W₁ m + b₁) + b₂), m the mean of x over the map: squeeze and excitation.

  As AlphaPose has it: the hidden layer is as wide as x, both layers have biases.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    y = x.astype(jnp.float32).mean((1, 2)).astype(self.dtype)
    y = nn.relu(nn.Dense(x.shape[-1], dtype=self.dtype, name="fc_0")(y))
    y = nn.sigmoid(nn.Dense(x.shape[-1], dtype=self.dtype, name="fc_2")(y))
    return x * y[:, None, None]


class BasicBlock(nn.Module):
  """ReLU(x' + BN(conv3x3(ReLU(BN(conv3x3(x)))))), x' = x or its 1x1 projection.

  With `gated`, a block with a projection passes what it adds to x' through a `Gate`.
  """

  features: int
  stride: int
  norm: Any
  dtype: Any = jnp.float32
  gated: bool = False

  expansion = 1

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w D"]:
    y = _conv(self.features, 3, self.stride, self.dtype, "conv1")(x)
    y = nn.relu(self.norm(name="bn1")(y))
    y = _conv(self.features, 3, 1, self.dtype, "conv2")(y)
    y = self.norm(name="bn2")(y)
    return _add_shortcut(self, x, y)


class Bottleneck(nn.Module):
  """1x1 reduction, 3x3 (with the stride), 1x1 expansion by 4; shortcut and gate of `BasicBlock`."""

  features: int
  stride: int
  norm: Any
  dtype: Any = jnp.float32
  gated: bool = False

  expansion = 4

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w D"]:
    wide = self.features * self.expansion
    y = _conv(self.features, 1, 1, self.dtype, "conv1")(x)
    y = nn.relu(self.norm(name="bn1")(y))
    y = _conv(self.features, 3, self.stride, self.dtype, "conv2")(y)
    y = nn.relu(self.norm(name="bn2")(y))
    y = _conv(wide, 1, 1, self.dtype, "conv3")(y)
    y = self.norm(name="bn3")(y)
    return _add_shortcut(self, x, y)


def _add_shortcut(
  block: Any, x: Float[Array, "N H W C"], y: Float[Array, "N h w D"]
) -> Float[Array, "N h w D"]:
  """ReLU(x' + y): x' is x, or BN(conv1x1(x)) where the block changes the size or the channels."""
  if x.shape[-1] == y.shape[-1] and block.stride == 1:
    return nn.relu(x + y)
  if block.gated:
    y = Gate(block.dtype, name="se")(y)
  x = _conv(y.shape[-1], 1, block.stride, block.dtype, "downsample_conv")(x)
  return nn.relu(block.norm(name="downsample_bn")(x) + y)


class ResNet(nn.Module):
  """Stem and stages of residual blocks.

  Attributes:
    stage_sizes: number of blocks of each stage (`layer1`, `layer2`, ...).
    block: `BasicBlock` or `Bottleneck`.
    widths: channels of each stage (before a bottleneck's expansion).
    stem_size, stem_stride, stem_pool: kernel and stride of `conv1`; whether torchvision's 3x3
      stride-2 maximum follows it.
    smallest_map: a stage halves the map only while both sides stay at least this long. (Convolving
      3x3 on a 2x2 map is about 50 times slower than on 4x4 with XLA on CPU.)
    output: "mean" over the map [N, D], "flatten" [N, h·w·D], which keeps positions, "map"
      [N, h, w, D], or "stages", the list of every stage's map.
    norm: "batch", or "group", whose statistics are each image's own, over 8 channels: better where
      a batch holds few scenes. In training batch norm sees a batch's own mean, which hides shifts
      of the boxes that then show with the running statistics.
    frozen: paths of parts (see `parameter_paths`, "" for all of it) whose batch norm uses and keeps
      its running statistics in training too.
    gated: see `BasicBlock`.
    axis_name: mapped axis over which batch norm takes its statistics; None for this device only.
    dtype: of the computation; parameters and batch statistics stay float32.
  """

  stage_sizes: Sequence[int]
  block: Any
  widths: Sequence[int] = (64, 128, 256, 512)
  stem_size: int = 7
  stem_stride: int = 2
  stem_pool: bool = True
  smallest_map: int = 1
  output: Output = "mean"
  norm: Norm = "batch"
  frozen: Sequence[str] = ()
  gated: bool = False
  axis_name: str | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "N H W C"], train: bool) -> Any:
    """Features of `x` (already normalised); `train` takes batch statistics and updates them."""
    if len(self.widths) < len(self.stage_sizes):
      raise ValueError(f"{len(self.stage_sizes)} stages but widths only for {len(self.widths)}")
    norm = self._norm(train, "")
    x = _conv(self.widths[0], self.stem_size, self.stem_stride, self.dtype, "conv1")(
      x.astype(self.dtype)
    )
    x = nn.relu(norm(name="bn1")(x))
    if self.stem_pool:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    stages = []
    for i, (count, width) in enumerate(zip(self.stage_sizes, self.widths, strict=False)):
      for j in range(count):
        halve = i > 0 and j == 0 and (min(x.shape[1:3]) + 1) // 2 >= self.smallest_map
        name = f"layer{i + 1}_{j}"
        norm = self._norm(train, f"{name}/")
        x = self.block(width, 2 if halve else 1, norm, self.dtype, self.gated, name=name)(x)
      stages.append(x)
    return _output(x, stages, self.output)

  def _norm(self, train: bool, place: str) -> Callable[..., nn.Module]:
    """Makes the norm layer called `name` of the block whose path is `place`."""
    if self.norm == "group":
      return functools.partial(
        nn.GroupNorm, num_groups=None, group_size=8, epsilon=1e-5, dtype=self.dtype
      )
    if self.norm != "batch":
      raise ValueError(f"norm {self.norm!r} of a ResNet: choose batch or group")

    def batch_norm(name: str) -> nn.Module:
      return nn.BatchNorm(
        use_running_average=not train or parameter_paths.covered(self.frozen, place + name),
        momentum=0.9,
        epsilon=1e-5,
        dtype=self.dtype,
        axis_name=self.axis_name,
        name=name,
      )

    return batch_norm


def _output(x: jax.Array, stages: list[jax.Array], output: Output) -> Any:
  """The last map in the form that `output` names."""
  if output == "mean":
    return x.astype(jnp.float32).mean((1, 2))
  if output == "flatten":
    return x.reshape(x.shape[0], -1)
  if output == "map":
    return x
  if output == "stages":
    return stages
  raise ValueError(f"output {output!r}: choose mean, flatten, map or stages")


ResNet18 = functools.partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock)
ResNet34 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock)
ResNet50 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck)
ResNet101 = functools.partial(ResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck)
SEResNet50 = functools.partial(ResNet50, gated=True)
SEResNet101 = functools.partial(ResNet101, gated=True)
ResNetSmall = functools.partial(
  ResNet,
  stage_sizes=(1, 1, 1, 1),
  block=BasicBlock,
  widths=(16, 32, 64, 128),
  stem_size=3,
  stem_pool=False,
  smallest_map=4,
  output="flatten",
)

RESNETS = {
  "resnet18": ResNet18,
  "resnet34": ResNet34,
  "resnet50": ResNet50,
  "resnet101": ResNet101,
  "se_resnet50": SEResNet50,
  "se_resnet101": SEResNet101,
  "resnet_small": ResNetSmall,
}
