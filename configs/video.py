"""DSL on your own videos, and on recorded clips that were used to check it.

python launch/run.py --config=configs/video.py --config.data.path=FOLDER_OF_VIDEOS
python launch/run.py --config=configs/video.py:flesh_p0 --config.data.path=FOLDER

One variant a clip: its distances are set to the clip's length and its test frames are fixed in
configs/real/VARIANT.toml. `own` takes every video of the folder for one take; describe cameras,
calibration, labels and splits in a takes.toml there (launch/prepare.py says how). Distances are in
source frames.
"""

from configs import common


def own():
  """Any folder of videos: distances in seconds, 128 px."""
  config = common.small(common.paper())
  config.data.source = "videos"
  config.data.variant = "own"
  config.data.validation_split = "validation|train"  # the first that the takes have
  config.data.test_split = "test|train"
  config.sampling.unit = "s"
  config.sampling.near_max = 0.2
  config.sampling.far_min = 1.0
  # Let go once people are found: a take's mean box is seldom in the middle nor half the frame.
  config.loss_weights.box_scale = ((0, 0.1), (700, 0.01))
  config.loss_weights.box_location = ((0, 0.5), (500, 0.01))
  config.loss_weights.pose2d = ((0, 0.0), (700, 10.0))  # 2D labels: once people are found
  config.training.steps = 1_500
  config.probe.label_counts = (0,)
  return config


def _clip(variant, image_size, near_max, far_min):
  config = own()
  config.data.variant = variant
  config.data.image_size = image_size
  config.data.validation_split = "train"
  config.data.test_split = "test"
  config.sampling.unit = "frames"
  config.sampling.near_max = float(near_max)
  config.sampling.far_min = float(far_min)
  return config


def bodypose3d_cam0():
  """A man walks in, sits, stands and leaves: 187 frames at 20 fps, no labels."""
  return _clip("bodypose3d_cam0", (128, 128), 3, 20)


def intel_one_by_one():
  """Six visitors of a room that is empty between them: 1,394 frames at 10 fps, no labels."""
  config = _clip("intel_one_by_one", (96, 160), 4, 20)
  config.data.validation_split = "validation"
  return config


def flesh_p0():
  """Seven trials of one woman, one camera, 1,913 frames at 60 fps; 27 joints."""
  config = _clip("flesh_p0", (224, 128), 6, 60)
  config.probe.label_counts = (50, 200, 0)
  return config


def pose2sim_balancing():
  """One man, four cameras, 60 frames to train and 30 to test on at 60 fps; 21 joints."""
  config = _clip("pose2sim_balancing", (224, 128), 3, 20)
  config.probe.label_counts = (50, 0)
  return config


VARIANTS = {
  "own": own,
  "bodypose3d_cam0": bodypose3d_cam0,
  "intel_one_by_one": intel_one_by_one,
  "flesh_p0": flesh_p0,
  "pose2sim_balancing": pose2sim_balancing,
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "own")
