"""Errors of 3D poses, each under a name that says its variant.

"N-MPJPE" alone is not one number: averages over 16 joints (root left out), over 17 with the root's
zero, or over 17 times 17/16 lie 6.25 % apart. Every printed name therefore says how many joints
entered. All functions take any leading axes and a validity mask; what a joint that is not valid
holds (NaN too) has no influence.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxpose import geometry

_Pose = Float[np.ndarray, "*batch J 3"]
_Valid = Bool[np.ndarray, "*batch J"]
_PerPose = Float[np.ndarray, " *batch"]

PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = np.linspace(0.0, 150.0, 31)
ERROR_2D = "2D error"
PCK_2D_SHARES = (0.05, 0.1)  # of the frame
KEYPOINT_METRICS = (ERROR_2D, *(f"2D PCK@{100 * share:g}%" for share in PCK_2D_SHARES))
WITH_ROOT, WITHOUT_ROOT, RESCALED = "with root", "without root", "rescaled"


def root_centre(joints: _Pose, root: Sequence[int]) -> _Pose:
  """x_j − mean of the root joints: [..., J, 3] mm; NaN throughout where a root joint is NaN."""
  joints = np.asarray(joints)
  return joints - joints[..., list(root), :].mean(axis=-2, keepdims=True)


def joint_errors(
  predicted: Float[np.ndarray, "*batch J K"], target: Float[np.ndarray, "*batch J K"]
) -> Float[np.ndarray, "*batch J"]:
  """‖p_j − g_j‖ of every joint, mm; in shares of the frame for 2D keypoints."""
  return np.linalg.norm(np.asarray(predicted) - np.asarray(target), axis=-1)


def mpjpe(predicted: _Pose, target: _Pose, valid: _Valid | None = None) -> _PerPose:
  """Mean over valid joints of ‖p_j − g_j‖, mm; NaN for a pose without a valid joint."""
  predicted, target, valid = _prepare(predicted, target, valid)
  return _masked_mean(joint_errors(predicted, target), valid)


def n_mpjpe(predicted: _Pose, target: _Pose, valid: _Valid | None = None) -> _PerPose:
  """MPJPE of s·p with s = ⟨p, g⟩ / ⟨p, p⟩ over the valid joints of each pose, mm.

  Both poses must be root-centred (`root_centre`): the scale is about the origin.
  """
  predicted, target, valid = _prepare(predicted, target, valid)
  aligned = geometry.scale_align(predicted, target, valid.astype(predicted.dtype))
  return _masked_mean(joint_errors(aligned, target), valid)


def p_mpjpe(predicted: _Pose, target: _Pose, valid: _Valid | None = None) -> _PerPose:
  """MPJPE after the best similarity of each pose (rotation, scale, shift; no reflection), mm."""
  predicted, target, valid = _prepare(predicted, target, valid)
  aligned = geometry.procrustes_align(predicted, target, valid.astype(predicted.dtype))
  return _masked_mean(joint_errors(aligned, target), valid)


def pck(
  predicted: _Pose,
  target: _Pose,
  valid: _Valid | None = None,
  *,
  threshold_mm: float = PCK_THRESHOLD_MM,
) -> _PerPose:
  """Share of the valid joints with an error of at most the threshold; NaN without valid joints."""
  predicted, target, valid = _prepare(predicted, target, valid)
  return _masked_mean((joint_errors(predicted, target) <= threshold_mm).astype(np.float64), valid)


def auc(
  predicted: _Pose,
  target: _Pose,
  valid: _Valid | None = None,
  *,
  thresholds_mm: Float[np.ndarray, " K"] = AUC_THRESHOLDS_MM,
) -> _PerPose:
  """Mean of the PCK over the thresholds (0, 5, ..., 150 mm)."""
  scores = [pck(predicted, target, valid, threshold_mm=float(t)) for t in thresholds_mm]
  return np.asarray(np.mean(scores, axis=0))


def pose_metrics(
  predicted_mm: Float[np.ndarray, "N J 3"],
  target_mm: Float[np.ndarray, "N J 3"],
  valid: Bool[np.ndarray, "N J"] | None = None,
  *,
  root: Sequence[int],
) -> dict[str, float]:
  """Means over poses of every metric, keyed by name and variant.

  Both sets of poses are root-centred first. Names: `MPJPE/17 joints` averages over all 17, the
  root's zero included; `MPJPE/16 joints without root` leaves the root out of the average (not out
  of the alignment); `MPJPE/17 joints x17/16` is the first times 17/16. The last two exist only
  where the root is one joint. Poses without any valid joint don't enter.

  Raises:
    ValueError: no pose has a valid joint, or a valid pose lacks its root.
  """
  predicted, target, valid = _prepare(predicted_mm, target_mm, valid)
  some = valid.any(axis=-1)
  if not some.any():
    raise ValueError("no pose with a valid joint to score: check joint_valid and the frames chosen")
  predicted, target, valid = predicted[some], target[some], valid[some]
  if not valid[:, list(root)].all():
    raise ValueError(f"the root joints {tuple(root)} must be valid in every scored pose")
  predicted, target = root_centre(predicted, root), root_centre(target, root)
  result = {}
  for name, align in _ALIGNMENTS.items():
    errors = joint_errors(align(predicted, target, valid), target)
    for variant, value in _variants(errors, valid, root).items():
      result[metric_name(name, valid.shape[-1], variant)] = value
  joints = f"{valid.shape[-1]} joints"
  result[f"PCK@{PCK_THRESHOLD_MM:g}mm/{joints}"] = float(pck(predicted, target, valid).mean())
  result[f"AUC@0-150mm/{joints}"] = float(auc(predicted, target, valid).mean())
  return result


def keypoint_metrics(
  predicted: Float[np.ndarray, "N J 2"],
  target: Float[np.ndarray, "N J 2"],
  valid: Bool[np.ndarray, "N J"],
) -> dict[str, float]:
  """Means over poses of the errors of 2D keypoints, in % of the frame or crop; keyed by name.

  Coordinates are shares of its width and height. `2D error/17 joints` is 100 times the mean over
  valid joints of ‖p_j − g_j‖: what we take the error normalised by the image size to be, a distance
  and no square of one. `2D PCK@5%/17 joints` is the percentage of joints within 0.05.

  Raises:
    ValueError: no pose has a valid joint.
  """
  some = valid.any(axis=-1)
  if not some.any():
    raise ValueError("no frame with a valid 2D joint to score")
  valid = valid[some]
  errors = np.where(valid, joint_errors(predicted[some], target[some]), 0.0)
  values = [errors, *((errors <= share).astype(np.float64) for share in PCK_2D_SHARES)]
  return {
    metric_name(name, valid.shape[-1]): 100 * float(_masked_mean(value, valid).mean())
    for name, value in zip(KEYPOINT_METRICS, values, strict=True)
  }


def sequence_errors(
  predicted_mm: Float[np.ndarray, "N J 3"],
  target_mm: Float[np.ndarray, "N J 3"],
  valid: Bool[np.ndarray, "N J"],
  sequences: Sequence[str] | np.ndarray,
  *,
  root: Sequence[int],
) -> dict[str, float]:
  """Mean N-MPJPE (all joints, the root included) over the poses of each sequence, mm, by name.

  Frames of one sequence resemble each other: a test that takes frames for independent finds
  differences everywhere, one of sequences does not. Poses without any valid joint don't enter.

  Args:
    sequences: [N] the sequence that each pose is of.

  Raises:
    ValueError: there is not one name for each pose.
  """
  names = np.asarray(sequences)
  if len(names) != len(predicted_mm):
    raise ValueError(f"{len(names)} names of sequences for {len(predicted_mm)} poses")
  predicted, target, valid = _prepare(predicted_mm, target_mm, valid)
  predicted, target = root_centre(predicted, root), root_centre(target, root)
  errors = n_mpjpe(predicted, target, valid)
  found = {}
  for name in sorted(set(names[np.isfinite(errors)])):
    found[str(name)] = round(float(np.nanmean(errors[names == name])), 4)
  return found


def metric_name(metric: str, num_joints: int, variant: str = WITH_ROOT) -> str:
  """The key of `pose_metrics`: metric_name("N-MPJPE", 17) is "N-MPJPE/17 joints"."""
  suffix = {
    WITH_ROOT: f"{num_joints} joints",
    WITHOUT_ROOT: f"{num_joints - 1} joints without root",
    RESCALED: f"{num_joints} joints x{num_joints}/{num_joints - 1}",
  }[variant]
  return f"{metric}/{suffix}"


def describe_variants(scores: Mapping[str, float]) -> list[str]:
  """A line for each error of `pose_metrics` in mm with all of its variants, each under its name."""
  lines = []
  for name in _ALIGNMENTS:
    found = {key: value for key, value in scores.items() if key.startswith(f"{name}/")}
    values = ", ".join(f"{value:.1f} ({key.partition('/')[2]})" for key, value in found.items())
    lines.append(f"{name} in mm: {values}")
  return lines


def _variants(
  errors: Float[np.ndarray, "N J"], valid: Bool[np.ndarray, "N J"], root: Sequence[int]
) -> dict[str, float]:
  count = errors.shape[-1]
  with_root = float(_masked_mean(errors, valid).mean())
  result = {WITH_ROOT: with_root}
  if len(root) == 1 and count > 1:
    rest = np.arange(count) != root[0]
    without = _masked_mean(errors[:, rest], valid[:, rest])
    if np.isfinite(without).any():
      result[WITHOUT_ROOT] = float(np.nanmean(without))
    result[RESCALED] = with_root * count / (count - 1)
  return result


def _as_is(predicted: _Pose, target: _Pose, valid: _Valid) -> _Pose:
  return predicted


def _scaled(predicted: _Pose, target: _Pose, valid: _Valid) -> _Pose:
  return geometry.scale_align(predicted, target, valid.astype(predicted.dtype))


def _moved(predicted: _Pose, target: _Pose, valid: _Valid) -> _Pose:
  return geometry.procrustes_align(predicted, target, valid.astype(predicted.dtype))


_ALIGNMENTS: dict[str, Callable[[_Pose, _Pose, _Valid], _Pose]] = {
  "MPJPE": _as_is,
  "N-MPJPE": _scaled,
  "P-MPJPE": _moved,
}


def _prepare(predicted: _Pose, target: _Pose, valid: _Valid | None) -> tuple[_Pose, _Pose, _Valid]:
  """Both poses in float64 with zeros in joints that are not valid, and the mask."""
  predicted = np.asarray(predicted, np.float64)
  target = np.asarray(target, np.float64)
  if predicted.shape != target.shape or predicted.shape[-1] != 3:
    raise ValueError(f"poses must be [..., J, 3] alike, not {predicted.shape} and {target.shape}")
  if valid is None:
    return predicted, target, np.ones(predicted.shape[:-1], bool)
  valid = np.broadcast_to(np.asarray(valid, bool), predicted.shape[:-1])
  keep = valid[..., None]
  return np.where(keep, predicted, 0.0), np.where(keep, target, 0.0), valid


def _masked_mean(values: Float[np.ndarray, "*batch J"], valid: _Valid) -> _PerPose:
  count = valid.sum(axis=-1)
  total = np.where(valid, values, 0.0).sum(axis=-1)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)
