"""What a probe reads from an embedding: 3D poses, or 2D keypoints in the frame."""

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
  """

  name: str
  unit: str
  metrics: tuple[str, ...]
  main: str
  digits: int


POSE3D = Target("pose3d", "mm", ("MPJPE", "N-MPJPE", "P-MPJPE"), "N-MPJPE", 1)
POSE2D = Target("pose2d", "% of the frame", metrics.KEYPOINT_METRICS, metrics.ERROR_2D, 2)
TARGETS = {target.name: target for target in (POSE3D, POSE2D)}
