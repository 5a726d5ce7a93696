"""What a probe reads from an embedding: 3D poses, or 2D keypoints in the frame or in the crop."""

import dataclasses

from jaxpose.evaluation import metrics


@dataclasses.dataclass(frozen=True)
class Target:
  """A kind of pose, and how its errors are told.

  Attributes:
    name: of the target.
    unit: of the errors.
    metrics: in the tables, without the number of joints.
    main: the one of progress, ratio and curve.
    digits: after the point in tables.
    folder: of a run, for the results.
  """

  name: str
  unit: str
  metrics: tuple[str, ...]
  main: str
  digits: int
  folder: str


POSE3D = Target("pose3d", "mm", ("MPJPE", "N-MPJPE", "P-MPJPE"), "N-MPJPE", 1, "probe")
_KEYPOINTS = (metrics.KEYPOINT_METRICS, metrics.ERROR_2D, 2)
POSE2D = Target("pose2d", "% of the frame", *_KEYPOINTS, "probe2d")
POSE2D_CROP = Target("pose2d_crop", "% of the crop", *_KEYPOINTS, "probe2d_crop")
TARGETS = {target.name: target for target in (POSE3D, POSE2D, POSE2D_CROP)}
