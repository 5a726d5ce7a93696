"""torchvision's ResNet in numpy: the oracle of the networks' tests."""

import numpy as np


class NumpyResNet:
  """The maps of every stage, from torchvision's state dictionary, float64 NCHW, evaluation mode."""

  def __init__(self, state, stage_sizes, bottleneck):
    self.state = {name: np.asarray(array, np.float64) for name, array in state.items()}
    self.stage_sizes, self.bottleneck = stage_sizes, bottleneck

  def conv(self, x, name, stride, pad):
    weight = self.state[name + ".weight"]
    size = weight.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height = (x.shape[2] - size) // stride + 1
    width = (x.shape[3] - size) // stride + 1
    out = np.zeros((x.shape[0], weight.shape[0], height, width))
    for i in range(size):
      for j in range(size):
        rows = slice(i, i + stride * (height - 1) + 1, stride)
        columns = slice(j, j + stride * (width - 1) + 1, stride)
        out += np.einsum("nchw,oc->nohw", x[:, :, rows, columns], weight[:, :, i, j])
    return out

  def norm(self, x, name):
    def value(entry):
      return self.state[f"{name}.{entry}"][None, :, None, None]

    scaled = (x - value("running_mean")) / np.sqrt(value("running_var") + 1e-5)
    return scaled * value("weight") + value("bias")

  def block(self, x, name, stride):
    if self.bottleneck:
      plan = [("1", 1, 0), ("2", stride, 1), ("3", 1, 0)]
    else:
      plan = [("1", stride, 1), ("2", 1, 1)]
    y = x
    for index, (number, step, pad) in enumerate(plan):
      y = self.norm(self.conv(y, f"{name}.conv{number}", step, pad), f"{name}.bn{number}")
      if index < len(plan) - 1:
        y = np.maximum(y, 0)
    if f"{name}.downsample.0.weight" in self.state:
      x = self.norm(self.conv(x, f"{name}.downsample.0", stride, 0), f"{name}.downsample.1")
    return np.maximum(x + y, 0)

  def __call__(self, x):
    x = np.maximum(self.norm(self.conv(x, "conv1", 2, 3), "bn1"), 0)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    x = windows[:, :, ::2, ::2].max((4, 5))
    stages = []
    for stage, count in enumerate(self.stage_sizes):
      for index in range(count):
        stride = 2 if stage > 0 and index == 0 else 1
        x = self.block(x, f"layer{stage + 1}.{index}", stride)
      stages.append(x)
    return stages
