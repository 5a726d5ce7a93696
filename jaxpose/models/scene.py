"""Detect, crop, encode, decode, paste over the background (P1 §3.1, P2 §3.1)."""

from collections.abc import Collection
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxpose import parameter_paths
from jaxpose.models import resnet, stn
from jaxpose.models.decoder import Decoder
from jaxpose.models.heads import Projection

MASK_FLOOR = 1e-4
"""The mask is floor + (1 − floor) · σ, never quite 0 (NSD)."""


def shrink(images: Float[Array, "N H W C"], factor: int) -> Float[Array, "N h w C"]:
  """Mean over cells of factor x factor px.

  Raises:
    ValueError: `factor` does not divide the height and the width.
  """
  count, height, width, channels = images.shape
  if height % factor or width % factor:
    raise ValueError(
      f"images of {height}x{width} px cannot be shrunk by {factor}: choose an image size that it"
      " divides, or another factor"
    )
  cells = images.reshape(count, height // factor, factor, width // factor, factor, channels)
  return cells.mean((2, 4))


def find_box(
  detector: stn.Detector | None, images: Float[Array, "N H W 3"], factor: int, train: bool
) -> Float[Array, "N 4"]:
  """Box (s_x, s_y, u_x, u_y) of the person in images in [0, 1], shrunk by a factor first.

  Without a detector it is the whole frame, (1, 1, 0, 0).
  """
  if detector is None:
    return jnp.tile(jnp.asarray([1.0, 1.0, 0.0, 0.0]), (images.shape[0], 1))
  found: jax.Array = detector(resnet.normalise_image(shrink(images, factor)), train)
  return found


class Encoder(nn.Module):
  """Backbone, and one last linear layer for each of the two latent vectors.

  Attributes:
    backbone: gives features [N, D].
    time_variant_size: Dv, the pose (papers: 600, on diving and MPI 900); 0: the backbone's features
      themselves are the time-variant vector (P3), Dv = D.
    time_invariant_size: Di, the appearance (NSD: 128); 0 leaves it out: no split.
    projection: between the two; None: nothing.
  """

  backbone: nn.Module
  time_variant_size: int
  time_invariant_size: int
  projection: nn.Module | None = None

  @nn.compact
  def __call__(
    self, crops: Float[Array, "N h w 3"], train: bool
  ) -> tuple[Float[Array, "N Dv"], Float[Array, "N Di"]]:
    """(time_variant, time_invariant) of normalised crops, float32."""
    features = self.backbone(crops, train)
    dtype = features.dtype
    if self.projection is not None:
      features = self.projection(features)
    time_variant = features
    if self.time_variant_size:
      time_variant = nn.Dense(self.time_variant_size, dtype=dtype, name="time_variant")(features)
    if self.time_invariant_size == 0:
      time_invariant = jnp.zeros((features.shape[0], 0))
    else:
      dense = nn.Dense(self.time_invariant_size, dtype=dtype, name="time_invariant")
      time_invariant = dense(features)
    return time_variant.astype(jnp.float32), time_invariant.astype(jnp.float32)

  def features(self, crops: Float[Array, "N h w 3"], train: bool) -> Float[Array, "N D"]:
    """The backbone's features of normalised crops, float32."""
    return self.backbone(crops, train).astype(jnp.float32)


class Scene(nn.Module):
  """The networks of P1 Figure 2 and the differentiable image formation around them.

  Images and backgrounds are float32 RGB in [0, 1]. Top-level parameter groups: `detector`,
  `encoder`, `decoder`.

  Attributes:
    detector: None leaves the STN out: the encoder then sees the whole frame at the crop's size, no
      window is applied, and the decoded crop is resized over the whole frame.
    encoder, decoder: the networks; the decoder's `size` is the side of the decoded crop.
    crop_size: side of the crop that the encoder sees, px.
    detector_shrink: factor by which the frame is shrunk for the detector (papers: 4).
    stn_form: see `stn.crop`.
  """

  encoder: Encoder
  decoder: Decoder
  detector: stn.Detector | None
  crop_size: int
  detector_shrink: int = 4
  stn_form: stn.Form = "auto"

  def detect(self, images: Float[Array, "N H W 3"], train: bool) -> Float[Array, "N 4"]:
    """Box (s_x, s_y, u_x, u_y) of the person; without a detector the whole frame (1, 1, 0, 0)."""
    return find_box(self.detector, images, self.detector_shrink, train)

  def crop(
    self, images: Float[Array, "N H W 3"], box: Float[Array, "N 4"]
  ) -> Float[Array, "N h w 3"]:
    """The box's content at the encoder's size, in [0, 1], without the window."""
    size = (self.crop_size, self.crop_size)
    if self.detector is None:
      return jax.image.resize(images, (images.shape[0], *size, images.shape[3]), "bilinear")
    return stn.crop(images, box, size, form=self.stn_form)

  def encode(
    self, crops: Float[Array, "N h w 3"], train: bool
  ) -> tuple[Float[Array, "N Dv"], Float[Array, "N Di"]]:
    """(time_variant, time_invariant) of crops in [0, 1]; windows and normalises them first.

    The window comes after the normalisation, so that the rim is ImageNet's mean colour, and after
    any jitter of the crop's colours.
    """
    return self.encoder(self._windowed(crops), train)

  def features(self, crops: Float[Array, "N h w 3"], train: bool) -> Float[Array, "N D"]:
    """The backbone's features of crops in [0, 1], which `encode` makes its vectors of."""
    return self.encoder.features(self._windowed(crops), train)

  def _windowed(self, crops: Float[Array, "N h w 3"]) -> Float[Array, "N h w 3"]:
    crops = resnet.normalise_image(crops)
    if self.detector is None:
      return crops
    return crops * stn.bump_window(self.crop_size, self.crop_size)[None]

  def decode(
    self,
    time_variant: Float[Array, "N Dv"],
    time_invariant: Float[Array, "N Di"],
    dropout_keys: Key[Array, " N"] | None,
    train: bool,
  ) -> tuple[Float[Array, "N c c 3"], Float[Array, "N c c 1"]]:
    """(RGB, mask) of the crop: RGB = mean + std · logits, unbounded, the mask in [1e-4, 1].

    As in NSD the network works in ImageNet-normalised colours, so that logits 0 are mid grey. The
    mask is neither windowed nor normalised yet: `window_mask` does that.
    """
    logits = self.decoder(time_variant, time_invariant, dropout_keys, train)
    rgb = resnet.denormalise_image(logits[..., :3])
    mask = MASK_FLOOR + (1 - MASK_FLOOR) * nn.sigmoid(logits[..., 3:])
    return rgb, mask

  def window_mask(
    self, mask: Float[Array, "N c c 1"]
  ) -> tuple[Float[Array, "N c c 1"], Float[Array, " N"]]:
    """The mask as it is pasted, windowed behind a detector and over its maximum; that maximum."""
    if self.detector is not None:
      mask = mask * stn.bump_window(*mask.shape[1:3])[None]
    raw_max = largest(mask)
    return mask / raw_max[:, None, None, None], raw_max

  def compose(
    self,
    rgb: Float[Array, "N c c 3"],
    mask: Float[Array, "N c c 1"],
    box: Float[Array, "N 4"],
    background: Float[Array, "N H W 3"],
  ) -> dict[str, jax.Array]:
    """Pastes the decoded crop over the background: M · D + (1 − M) · B (P1 eq. 1).

    The mask goes through `window_mask`, is pasted (0 outside of the box, as at the window's rim)
    and divided by its maximum on the frame; RGB is pasted with its border repeated.

    Returns:
      reconstruction [N, H, W, 3]; mask_frame [N, H, W, 1] = M; mask_crop [N, c, c, 1], windowed and
      with maximum 1; mask_raw_max [N], the maximum of the windowed mask before any division (small
      where the network sees nobody).
    """
    height, width = background.shape[1:3]
    mask, raw_max = self.window_mask(mask)
    if self.detector is None:
      shape = (rgb.shape[0], height, width)
      layer = jax.image.resize(rgb, (*shape, 3), "bilinear")
      mask_frame = jax.image.resize(mask, (*shape, 1), "bilinear")
    else:
      # The windowed mask is 0 at its rim, so that it is 0 outside of the box in either mode.
      both, size = jnp.concatenate([rgb, mask], axis=-1), (height, width)
      pasted = stn.paste(both, box, size, outside="border", form=self.stn_form)
      layer, mask_frame = pasted[..., :3], pasted[..., 3:]
    mask_frame = mask_frame / largest(mask_frame)[:, None, None, None]
    return {
      "reconstruction": mask_frame * layer + (1 - mask_frame) * background,
      "mask_frame": mask_frame,
      "mask_crop": mask,
      "mask_raw_max": raw_max,
    }

  def __call__(
    self,
    images: Float[Array, "N H W 3"],
    background: Float[Array, "N H W 3"],
    dropout_keys: Key[Array, " N"] | None = None,
    train: bool = False,
  ) -> dict[str, jax.Array]:
    """Auto-encodes each image: what `compose` returns, and box, time_variant, time_invariant."""
    box = self.detect(images, train)
    time_variant, time_invariant = self.encode(self.crop(images, box), train)
    rgb, mask = self.decode(time_variant, time_invariant, dropout_keys, train)
    latents = {"box": box, "time_variant": time_variant, "time_invariant": time_invariant}
    return latents | self.compose(rgb, mask, box, background)


def largest(x: Float[Array, "N H W C"]) -> Float[Array, " N"]:
  """max x over each example, whose gradient goes to the first place where it is reached.

  The gradient of `x.max()` looks for the places that equal the maximum and divides by their number.
  XLA may compute x twice, once for the maximum and once to compare, and round it in two ways: then
  no place is equal, and the gradient is 0/0.
  """
  flat = x.reshape(x.shape[0], -1)
  place = jnp.argmax(jax.lax.stop_gradient(flat), axis=1, keepdims=True)
  return jnp.take_along_axis(flat, place, axis=1)[:, 0]


def count_parameters(params: Any) -> dict[str, int]:
  """Number of values in each top-level group of a parameter tree, and their sum as `total`."""
  counts = {
    group: sum(leaf.size for leaf in jax.tree.leaves(tree)) for group, tree in params.items()
  }
  return counts | {"total": sum(counts.values())}


def build_scene(
  *,
  detector_backbone: str | None,
  encoder_backbone: str,
  backbone_options: dict[str, Any],
  time_variant_size: int,
  time_invariant_size: int,
  crop_size: int,
  detector_shrink: int,
  decoder: dict[str, Any],
  axis_name: str | None,
  dtype: Any,
  stn_form: stn.Form = "auto",
  frozen: Collection[str] = (),
  encoder_norm: str = "",
  projection: dict[str, Any] | None = None,
) -> Scene:
  """A scene from plain values, as configs hold them.

  Args:
    detector_backbone, encoder_backbone: keys of `resnet.RESNETS`; a detector of None leaves the
      STN out.
    backbone_options: attributes of `ResNet` to set in both, e.g. {"widths": (16, 32, 64, 128)}.
    decoder: attributes of `Decoder` to set.
    axis_name: the mapped axis of batch norm's statistics.
    dtype: of convolutions and dense layers.
    stn_form: see `stn.crop`.
    frozen: parameter groups, or paths of parts of them, that do not learn: their batch norm uses
      and keeps its running statistics in training too.
    encoder_norm: the encoder's norm in place of that in `backbone_options`; "": the same.
    projection: attributes of the encoder's `heads.Projection`; without any or of no block: none.

  Raises:
    ValueError: a backbone of no known name.
  """

  def backbone(group, name, **own):
    if name not in resnet.RESNETS:
      known = ", ".join(resnet.RESNETS)
      raise ValueError(f"backbone {name!r} is unknown: choose one of {known}")
    held = parameter_paths.below(frozen, f"{group}/backbone")
    options = backbone_options | own
    return resnet.RESNETS[name](axis_name=axis_name, dtype=dtype, frozen=held, **options)

  detector = None
  if detector_backbone is not None:
    detector = stn.Detector(backbone("detector", detector_backbone))
  own = {"norm": encoder_norm} if encoder_norm else {}
  encoder = backbone("encoder", encoder_backbone, **own)
  between = Projection(dtype=dtype, **projection) if projection and projection["blocks"] else None
  return Scene(
    encoder=Encoder(encoder, time_variant_size, time_invariant_size, between),
    decoder=Decoder(dtype=dtype, **decoder),
    detector=detector,
    crop_size=crop_size,
    detector_shrink=detector_shrink,
    stn_form=stn_form,
  )
