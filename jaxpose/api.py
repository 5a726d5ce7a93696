"""The library in three calls: load a trained run, embed arrays of frames, predict poses.

model = jaxpose.api.load("runs/dsl_synthetic_people")
found = model.embed(images, background)            # uint8 [N, H, W, 3], [H, W, 3]
poses = model.predict(images, background)["pose3d_mm"]
"""

import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jaxpose import geometry, own_poses, provenance
from jaxpose.data import transforms
from jaxpose.evaluation.features import feature_column
from jaxpose.evaluation.presence import PresenceCalibration, estimate_presence
from jaxpose.evaluation.regressor import Regressor, load_regressor
from jaxpose.own_poses import OwnPoses

_LOG = logging.getLogger(__name__)

Images = UInt8[np.ndarray, "N H W 3"]
Backgrounds = UInt8[np.ndarray, "*N H W 3"]
Arrays = dict[str, np.ndarray]
Render = Callable[[Mapping[str, Any]], Mapping[str, Any]]

# What `Model.embed` gives of everything that the networks compute.
_EMBEDDED = ("time_variant", "time_invariant", "box", "box_px", "presence", "gain", "mask_max") + (
  "pose2d",  # where the run has a head for it
)


def load(workdir: str | os.PathLike[str], which: str = "", *, batch_size: int = 16) -> "Model":
  """A trained run, ready to use.

  Args:
    workdir: what launch/run.py wrote.
    which: the "best" or the "last" checkpoint; empty: the configured one, which is exported, and
      which the run's regressor belongs to.
    batch_size: frames that go through the networks at a time.

  Raises:
    FileNotFoundError: there is no run, or no such checkpoint.
  """
  from jaxpose.experiment import Experiment

  experiment = Experiment.from_workdir(pathlib.Path(workdir))
  variables = experiment.restore(which)
  weights = provenance.digest_weights(variables)
  own: OwnPoses | None = None
  if experiment.is_supervised:
    render, own = own_poses.open_network(experiment, variables)
  else:
    render = experiment.make_render(variables)
  return Model(
    render=render,
    image_size=experiment.image_size,
    batch_size=batch_size,
    calibration=load_calibration(experiment.workdir, weights),
    regressor_path=experiment.workdir / "probe" / "regressor.npz",
    weights=weights,
    own=own,
  )


def load_calibration(
  workdir: str | os.PathLike[str], weights: str = ""
) -> PresenceCalibration | None:
  """The border between empty and occupied frames that the run's training frames were given.

  None where nothing has been exported yet, or, with a warning, by other weights than those of the
  digest `weights`.
  """
  from jaxpose.embeddings import load_embeddings
  from jaxpose.export import load_calibration as of_export

  try:
    folder = pathlib.Path(workdir) / "embeddings"
    exported = load_embeddings(
      folder, "train", names=("presence_calibration", "weights", "checkpoint")
    )
  except FileNotFoundError:
    return None
  if provenance.differ(provenance.weights_of(exported), weights):
    _LOG.warning(
      "%s/embeddings is of another checkpoint (%s): its border of presence is not used",
      workdir,
      exported.get("checkpoint", "unknown"),
    )
    return None
  return of_export(exported)


class Model:
  """The trained networks as functions of arrays.

  Images of another size than the one trained on are letterboxed as in training; boxes and masks are
  given back in pixels of the images as they came.

  Attributes:
    image_size: (height, width) that the networks see.
    batch_size: frames that go through them at a time.
    calibration: of presence; None: presence is NaN.
    regressor_path: of the regressor that `predict` uses by default.
    weights: digest of the networks' weights; regressors that were fitted on others are refused.
    own: of a supervised network, which needs no regressor.
  """

  def __init__(
    self,
    *,
    render: Render,
    image_size: tuple[int, int],
    batch_size: int,
    calibration: PresenceCalibration | None,
    regressor_path: pathlib.Path,
    weights: str = "",
    own: OwnPoses | None = None,
  ) -> None:
    if batch_size < 1:
      raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    self.image_size = image_size
    self.batch_size = batch_size
    self.calibration = calibration
    self.regressor_path = regressor_path
    self.weights = weights
    self.own = own
    self._render = render

  def embed(self, images: Images, backgrounds: Backgrounds) -> Arrays:
    """Embeddings of frames, [N, ...] each.

    Args:
      images: RGB.
      backgrounds: the scene without the person, one for all [H, W, 3] or one for each frame.

    Returns:
      time_variant [N, Dv] (pose), time_invariant [N, Di] (looks), box [N, 4] (s_x, s_y, u_x, u_y on
      the letterboxed frame), box_px [N, 4] (x0, y0, x1, y1 on the image), presence [N] (0 to 1; NaN
      where the run was not exported), gain [N], mask_max [N]. A run that reconstructs nothing has
      presence 1, or 0 where crops follow a subject and none is found, and neither gain nor mask;
      a supervised network no time_invariant.

    Raises:
      ValueError: shapes or types do not fit.
    """
    found = self.render(images, backgrounds)
    return _embedded(found)

  def render(self, images: Images, backgrounds: Backgrounds) -> Arrays:
    """`embed`, and the pictures in between: crop, decoded, mask_crop, mask_frame, reconstruction.

    Pictures are float in [0, 1] (decoded and reconstruction may exceed it), of the size that the
    networks see.

    Raises:
      ValueError: shapes or types do not fit.
    """
    _check(images, backgrounds)
    shared = letterbox(backgrounds[None], self.image_size) if backgrounds.ndim == 3 else None
    pieces = []
    for start in range(0, len(images), self.batch_size):
      stop = min(start + self.batch_size, len(images))
      rows = np.resize(np.arange(start, stop), self.batch_size)  # one shape: compiled once
      frames = {
        "image": letterbox(images[rows], self.image_size),
        "background": np.repeat(shared, len(rows), axis=0)
        if shared is not None
        else letterbox(backgrounds[rows], self.image_size),
      }
      outputs = {k: np.asarray(v)[: stop - start] for k, v in self._render(frames).items()}
      pieces.append(outputs)
    found = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    found["box_px"] = self.boxes_on_image(found["box"], images.shape[1:3])
    if "gain" in found:
      found["presence"] = self._presence(found["gain"])
    return found

  def predict(
    self,
    images: Images,
    backgrounds: Backgrounds,
    regressor: Regressor | str | os.PathLike[str] | None = None,
  ) -> Arrays:
    """Poses of the person in each frame.

    Args:
      regressor: fitted by the probe, or its file; the run's own by default.

    Returns:
      What `embed` returns, and pose3d_mm [N, J, 3]: root-centred, axes of the camera (x right, y
      down, z away; of `own` poses that are `turned`, of one that looks at the person), NaN where
      presence is below 0.5; and mask [N, H, W] in [0, 1] on the image.

    Raises:
      FileNotFoundError: there is no regressor.
      ValueError: shapes or types do not fit, or the regressor is of another run.
    """
    fitted = self.regressor(regressor)
    found = self.render(images, backgrounds)
    kept = _embedded(found) | {"pose3d_mm": read_poses(found, fitted)}
    if "mask_frame" in found:
      kept["mask"] = mask_on_image(found["mask_frame"], images.shape[1:3])
    return kept

  def regressor(
    self, given: Regressor | str | os.PathLike[str] | None = None
  ) -> Regressor | OwnPoses:
    """The given regressor, that of a file, or the run's own; `own` of a supervised network.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no regressor, one of 2D keypoints, or was fitted on the embeddings of
        other weights; or one is given to a supervised network.
    """
    if self.own is not None:
      if given is not None:
        raise ValueError("a supervised network reads poses by itself: give it no regressor")
      return self.own
    where = "the regressor"
    if isinstance(given, Regressor):
      fitted = given
    else:
      path = self.regressor_path if given is None else given
      fitted, where = load_regressor(path), f"the regressor {path}"
    if fitted.num_coordinates != 3:
      raise ValueError(f"{where} reads 2D keypoints: give one that launch/probe.py fitted to poses")
    if provenance.differ(fitted.weights, self.weights):
      raise ValueError(
        f"{where} was fitted on the embeddings of another checkpoint: export and probe this one"
        " (launch/export.py, launch/probe.py), or name the checkpoint that it belongs to"
      )
    return fitted

  def boxes_on_image(
    self, box: Float[np.ndarray, "N 4"], size: tuple[int, int]
  ) -> Float[np.ndarray, "N 4"]:
    """(x0, y0, x1, y1) px on images of `size` (height, width) of boxes on letterboxed frames."""
    corners = geometry.box_to_corners_px(np.asarray(box, np.float64), *self.image_size)
    back = np.linalg.inv(transforms.make_letterbox(size, self.image_size).matrix)
    return transforms.transform_box(back, corners).astype(np.float32)

  def _presence(self, gain: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    if self.calibration is None:
      return np.full(len(gain), np.nan, np.float32)
    return estimate_presence(gain, self.calibration)


def read_poses(found: Arrays, reader: Regressor | OwnPoses) -> Float[np.ndarray, "N J 3"]:
  """Poses mm from what `Model.render` gives; NaN where presence is below 0.5."""
  if isinstance(reader, OwnPoses):
    pose = np.array(found["pose_mm"])
  else:
    pose = reader.predict(np.asarray(feature_column(found, reader.feature)))
  pose[found["presence"] < 0.5] = np.nan
  return pose


def _embedded(found: Arrays) -> Arrays:
  return {name: found[name] for name in _EMBEDDED if name in found}


def letterbox(images: Images, size: tuple[int, int]) -> UInt8[np.ndarray, "N h w 3"]:
  """Resized with their aspect kept and padded with black, as in training: [N, *size, 3]."""
  out = np.empty((len(images), *size, 3), np.uint8)
  height, width = images.shape[1:3]
  box = transforms.make_letterbox((height, width), size)
  for image, target in zip(images, out, strict=True):
    transforms.letterbox_image(image, box, target)
  return out


def mask_on_image(
  mask_frame: Float[np.ndarray, "N h w *one"], size: tuple[int, int]
) -> Float[np.ndarray, "N H W"]:
  """Masks on letterboxed frames, cut out and resized to the images: [N, *size] in [0, 1]."""
  count, height, width = np.shape(mask_frame)[:3]
  masks = np.reshape(mask_frame, (count, height, width)).astype(np.float32)
  box = transforms.make_letterbox(size, (height, width))
  inner = masks[:, box.top : box.top + box.inner[0], box.left : box.left + box.inner[1]]
  resized = [
    cv2.resize(np.ascontiguousarray(m), size[::-1], interpolation=cv2.INTER_LINEAR) for m in inner
  ]
  return np.stack(resized)


def _check(images: Images, backgrounds: Backgrounds) -> None:
  if np.ndim(images) != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images):
    raise ValueError(
      f"images must be RGB, uint8 [N, H, W, 3], not {images.dtype} {np.shape(images)}"
    )
  fits = backgrounds.shape in (images.shape, images.shape[1:])
  if backgrounds.dtype != np.uint8 or not fits:
    raise ValueError(
      f"backgrounds must be uint8 of the images' size {images.shape[1:]}, one or one for each "
      f"frame, not {backgrounds.dtype} {backgrounds.shape}"
    )
