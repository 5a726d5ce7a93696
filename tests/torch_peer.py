"""The same training step in PyTorch, for comparison only: networks, crop, paste, losses, Adam."""

import torch
from torch import nn
from torch.nn import functional as F


def theta(box):
  """Affine maps [N, 2, 3] of boxes (s_x, s_y, u_x, u_y)."""
  zero = torch.zeros_like(box[:, 0])
  rows = [
    torch.stack([box[:, 0], zero, box[:, 2]], 1),
    torch.stack([zero, box[:, 1], box[:, 3]], 1),
  ]
  return torch.stack(rows, 1)


def resample(images, box, size, padding):
  """`stn.crop` of NCHW images."""
  grid = F.affine_grid(theta(box), (len(images), images.shape[1], *size), align_corners=True)
  return F.grid_sample(images, grid, "bilinear", padding, align_corners=True)


def invert(box):
  return torch.cat([1 / box[:, :2], -box[:, 2:] / box[:, :2]], 1)


def norm_of(kind, width):
  return nn.GroupNorm(width // 8, width) if kind == "group" else nn.BatchNorm2d(width)


class Block(nn.Module):
  """A basic block, or a bottleneck where `wide` is 4."""

  def __init__(self, inputs, width, stride, wide, norm):
    super().__init__()
    outputs = width * wide
    if wide == 1:
      sizes = [(inputs, width, 3, stride), (width, width, 3, 1)]
    else:
      sizes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
    self.convs = nn.ModuleList(
      nn.Conv2d(i, o, k, s, (k - 1) // 2, bias=False) for i, o, k, s in sizes
    )
    self.norms = nn.ModuleList(norm_of(norm, o) for _, o, _, _ in sizes)
    self.shortcut = None
    if inputs != outputs or stride != 1:
      conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
      self.shortcut = nn.Sequential(conv, norm_of(norm, outputs))

  def forward(self, x):
    y = x
    for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
      y = norm(conv(y))
      if number < len(self.convs) - 1:
        y = F.relu(y)
    return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
  """As `models.resnet.ResNet`; `small` is its `ResNetSmall`."""

  def __init__(self, stages, wide, widths, small, side, norm):
    super().__init__()
    self.small = small
    kernel, stride = (3, 2) if small else (7, 2)
    self.stem = nn.Conv2d(3, widths[0], kernel, stride, kernel // 2, bias=False)
    self.norm = norm_of(norm, widths[0])
    side = (side + 1) // 2 if small else (side + 3) // 4
    layers, inputs = [], widths[0]
    for i, (count, width) in enumerate(zip(stages, widths, strict=True)):
      for j in range(count):
        halve = i > 0 and j == 0 and (side + 1) // 2 >= (4 if small else 1)
        side = (side + 1) // 2 if halve else side
        layers.append(Block(inputs, width, 2 if halve else 1, wide, norm))
        inputs = width * wide
    self.layers = nn.ModuleList(layers)
    self.features = inputs * side * side if small else inputs

  def maps(self, x):
    x = F.relu(self.norm(self.stem(x)))
    if not self.small:
      x = F.max_pool2d(x, 3, 2, 1)
    for layer in self.layers:
      x = layer(x)
      yield x

  def forward(self, x):
    *_, x = self.maps(x)
    return x.flatten(1) if self.small else x.mean((2, 3))


class Decoder(nn.Module):
  def __init__(self, latents, base, base_channels, stage_channels, convolutions, dropout):
    super().__init__()
    self.base, self.dropout = base, nn.Dropout(dropout)
    self.start = nn.ModuleList(nn.Linear(n, base * base * base_channels) for n in latents)
    layers, inputs = [], 2 * base_channels
    for channels in stage_channels:
      layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
      for _ in range(convolutions):
        layers += [nn.Conv2d(inputs, channels, 3, 1, 1), nn.ReLU()]
        inputs = channels
    self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, 4, 1))

  def forward(self, latents):
    maps = [
      F.relu(self.dropout(start(x))).reshape(len(x), -1, self.base, self.base)
      for start, x in zip(self.start, latents, strict=True)
    ]
    return self.layers(torch.cat(maps, 1))


class Scene(nn.Module):
  """Detector, encoder and decoder of a configuration, and the losses of DSL in spirit."""

  def __init__(self, config, perceptual):
    super().__init__()
    model, side = config.model, config.data.image_size[0]
    norm = model.backbone.norm

    def backbone(name, side):
      if name == "resnet_small":
        return ResNet((1, 1, 1, 1), 1, (16, 32, 64, 128), True, side, norm)
      stages = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}[name]
      return ResNet(stages, 4 if name == "resnet50" else 1, (64, 128, 256, 512), False, side, norm)

    self.crop, self.shrink, self.side = model.crop_size, model.detector_shrink, side
    self.detector = backbone(model.detector, side // self.shrink)
    self.box = nn.Linear(self.detector.features, 4)
    nn.init.zeros_(self.box.weight)
    self.encoder = backbone(model.encoder, self.crop)
    latents = (model.time_variant, model.time_invariant)
    self.heads = nn.ModuleList(nn.Linear(self.encoder.features, n) for n in latents)
    options = model.decoder
    self.decoder = Decoder(
      latents,
      options.base,
      options.base_channels,
      tuple(options.stage_channels),
      options.convolutions,
      options.dropout,
    )
    axis = torch.linspace(-1, 1, self.crop)
    radius = (axis[:, None] ** 4 + axis[None] ** 4).sqrt()
    window = torch.where(radius < 1, torch.exp(1 - 1 / (1 - radius).clamp(min=1e-6)), 0.0)
    self.register_buffer("window", window)
    self.perceptual = None
    if perceptual:
      self.perceptual = ResNet((2, 2, 2), 1, (64, 128, 256), False, side, "batch").eval()
      self.perceptual.requires_grad_(False)

  def forward(self, frames, background):
    """Total loss of frames [N, 3, H, W] in [0, 1], four a sample."""
    logits = self.box(self.detector(F.avg_pool2d(frames, self.shrink)))
    box = torch.cat([0.2 + 0.8 * torch.sigmoid(logits[:, :2]), 0.8 * torch.tanh(logits[:, 2:])], 1)
    crops = resample(frames, box, (self.crop, self.crop), "border")
    factor = 0.6 + 0.8 * torch.rand(len(crops), 3, 1, 1)
    jittered = ((crops - 0.5) * factor + 0.5).clamp(0, 1)
    features = self.encoder(torch.cat([jittered, crops]) * self.window)
    variant = self.heads[0](features[: len(crops)])
    invariant = self.heads[1](features[len(crops) :])
    decoded = self.decoder((variant, invariant.roll(1, 0)))
    mask = torch.sigmoid(decoded[:, 3:]) * self.window
    mask = mask / mask.amax((1, 2, 3), keepdim=True)
    inverse, size = invert(box), frames.shape[2:]
    layer = resample(decoded[:, :3], inverse, size, "border")
    mask = resample(mask, inverse, size, "zeros")
    mask = mask / mask.amax((1, 2, 3), keepdim=True)
    made = mask * layer + (1 - mask) * background
    loss = ((made - frames) ** 2).mean() + 0.1 * ((box[:, :2].mean(0) - 0.5) ** 2).sum()
    vectors = F.normalize(variant, dim=1).reshape(-1, 4, variant.shape[1])
    similarity = (vectors[:, :1] * vectors[:, 1:]).sum(2)
    loss = loss + 0.1 * ((similarity - 0.5) ** 2).mean()
    if self.perceptual is not None:
      self.perceptual.eval()
      with torch.no_grad():
        wanted = list(self.perceptual.maps(frames))[1::2]
      found = list(self.perceptual.maps(made))[1::2]
      loss = loss + 2 * sum(((p - q) ** 2).mean() for p, q in zip(found, wanted, strict=True))
    return loss


def make_step(config, perceptual, device):
  """(uint8 frames [N, 3, H, W], uint8 backgrounds) -> loss, after one update by Adam.

  Returns the number of trained parameters, too.
  """
  scene = Scene(config, perceptual).to(device)
  trained = [p for p in scene.parameters() if p.requires_grad]
  optimiser = torch.optim.Adam(trained, lr=config.optimiser.learning_rate)

  def step(frames, background):
    optimiser.zero_grad()
    with torch.autocast(frames.device.type, torch.bfloat16, frames.is_cuda):
      loss = scene(frames.float() / 255, background.float() / 255)
    loss.backward()
    optimiser.step()
    return loss.item()

  return step, sum(p.numel() for p in trained)
