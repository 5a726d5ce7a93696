"""DSL (P1, P2): time-variant and time-invariant vectors by contrast, swap and reconstruction.

python launch/run.py --config=configs/dsl.py              the embedded synthetic people
python launch/run.py --config=configs/dsl.py:VARIANT      one of VARIANTS below

The paper's own data sets (`human36m`, `mpi`, `diving`, `ski`) are had from their owners; prepare
them first and name them by --config.data.directory=DIR.
"""

from configs import common, video


def synthetic_people():
  """Embedded people, 128 px.

  Hardware, time: two cores of an AMD EPYC, 17.4 minutes from nothing (2026-11-21).
  Expected: N-MPJPE at most 0.80 of the mean pose's at all labels, median IoU of the boxes 0.6.
  Measured: 152.1 mm, 0.693 of the mean pose's, random encoder 0.860; IoU 0.62 (seed 0, three probe
  seeds; 2026-11-21).
  """
  config = common.small(common.paper())
  config.data.source = "synthetic_people"
  config.sampling.near_max = 2.0
  config.sampling.far_min = 10.0
  config.optimiser.multipliers.detector = 1.0  # frames are small and square: faster, and it holds
  # Wide upright boxes until people are found, then boxes of their size (a fifth of the frame wide).
  config.scene.prior_scale = (0.36, 0.64)
  config.scene.tight_scale = (0.18, 0.48)
  config.loss_weights.box_scale = ((0, 0.1), (700, 0.0))
  config.loss_weights.tight_box = ((0, 0.0), (700, 0.1))
  # The mean of eight scenes is seldom the frame's centre: kept on, it draws every box inwards.
  config.loss_weights.box_location = ((0, 0.5), (700, 0.01))
  # 2D labels (scene.pose2d) once people are found: from the start they took the vectors, and
  # reconstruction, which finds the boxes, was slower.
  config.loss_weights.pose2d = ((0, 0.0), (1_000, 10.0))
  return config


def synthetic_sessions():
  """Embedded people in takes of 8.7 s and four actions: as near and as far in time as in P2.

  In the takes of 2.2 s of `synthetic_people` most of a pose stays as it is, so that a
  time-invariant vector can tell it: 58 % of the variance of poses lies between takes, here 16 %
  (launch/analyse.py --data=DIR). P2's distances on Human3.6M, 10 and 200 frames of 1/50 s, are 2.4
  and 48 frames here. Measured: without backgrounds 100.3 mm (seed 0, 2026-11-22; the row dsl of
  configs/study.py:synthetic_sessions).
  """
  config = synthetic_people()
  config.data.variant = "sessions"
  config.sampling.far_min = 48.0
  return config


def smoke():
  """The whole journey in about two minutes, to see that it works; it learns next to nothing."""
  config = synthetic_people()
  config.data.variant = "tiny"
  config.data.image_size = (64, 64)
  config.model.crop_size = 32
  config.model.decoder.base = 4
  config.model.backbone.stage_sizes = (1, 1)
  config.model.backbone.widths = (8, 16)
  config.batch_size = 4
  config.loss_weights.pose2d = (10.0,)  # 2D labels at once, there are few steps
  config.training.steps = 20
  config.training.log_every = 5
  config.training.checkpoint_every = 10
  config.training.validate_every = 10
  config.training.validation_batches = 2
  config.probe.width = 32
  config.probe.label_counts = (20, 0)
  config.probe.seeds = (0,)
  config.probe.steps = 50
  config.export.suggestions = 10
  config.report.frames = 4
  return config


def synthetic_dives():
  """Embedded dives: gravity and reconstruction first, then DSL (P2 §S.1).

  Divers are smaller and higher up in the frame than the other people: half of the training boxes
  are at most 0.15 wide and 0.31 high, and lie 0.24 above the middle. Boxes as large as theirs would
  overlap these by half at most.
  """
  config = synthetic_people()
  config.data.variant = "diving"
  config.scene.prior_scale = (0.28, 0.5)
  config.scene.tight_scale = (0.16, 0.36)
  config.scene.prior_location = (0.0, -0.2)
  config.sampling.near_max = 2.0
  config.sampling.far_min = 8.0
  config.sampling.spacing_min = 1.0
  config.sampling.spacing_max = 4.0
  _gravity_first(config, until=500)
  return config


def _gravity_first(config, until):
  """P2 §S.1: only gravity and reconstruction, then DSL with its own sampling and no gravity."""
  (dsl,) = config.loss_weights.dsl
  config.sampling.gravity = ((0, 1.0), (until, 0.0))
  for term in ("constant_acceleration", "order", "scale_change"):
    config.loss_weights[term] = ((0, 1.0), (until, 0.0))
  config.loss_weights.dsl = ((0, 0.0), (until, dsl))


def mocap_people():
  """Recorded motion in the rooms of the embedded people: name it by --config.data.path=FOLDER.

  The folder holds BVH, ASF with AMC, or DeepMimic's files. Distances are set to how fast poses
  change in 24 clips of walking, sport and dance: the joints, relative to the pelvis, are on average
  70 mm from where they were 1/6 s before, 128 mm after 0.5 s, at most 139 mm after 0.67 s, and from
  0.85 s on less again, since most people step as they did a stride before.
  """
  config = synthetic_people()
  config.data.source = "mocap_people"
  config.sampling.unit = "s"
  config.sampling.near_max = 0.17
  config.sampling.far_min = 0.5
  config.sampling.far_max = 0.85
  return config


def mocap_sessions():
  """The same motion in takes of 8.7 s, joined from pieces, with P2's distances: 0.2 s and 4 s."""
  config = mocap_people()
  config.data.variant = "sessions"
  config.sampling.near_max = 0.2
  config.sampling.far_min = 4.0
  config.sampling.far_max = float("inf")
  return config


def human36m():
  """Human3.6M, P2 §4.3.1 and §S.1. Expected: N-MPJPE 95.4 mm at 35K labels. Measured: not yet."""
  return common.paper()


def human36m_resnet101():
  """The largest networks of P2 §4.5, with 2D labels in both phases; P2 starts from AlphaPose's.

  --config.model.encoder_weights=FILE is such a file. Expected: MPJPE 60.1 mm with all labels, on
  crops that are given (Table VI). Measured: not yet.
  """
  config = common.paper()
  config.model.encoder = "se_resnet101"
  config.model.projection.blocks = 3
  config.scene.pose2d = True
  config.probe.features = "time_variant_pose2d"
  config.probe.regressor = "residual"
  config.probe.width, config.probe.depth, config.probe.dropout = 1024, 3, 0.0
  return config


def mpi():
  """MPI-INF-3DHP, P2 §4.3.2. Expected: N-MPJPE 192.1 mm at 17K labels, all data.

  Where frames of the test people are trained on too their labels are not to be: the probe's people
  are named by --config.probe.subjects, S1 to S5 and S8 in P2.
  """
  config = common.paper()
  config.sampling.far_min = 450.0
  config.model.time_variant = 900
  config.loss_weights.box_location = (0.0,)  # P2 §S.1: not needed here
  config.training.steps = 550_000
  config.probe.label_counts = (171, 856, 1712, 4000, 17_128)
  return config


def diving():
  """Diving, P2 §4.3.3: 500 x 1000 px. Expected: N-MPJPE 186.5 mm at 2,419 labels, all data.

  Both divers are trained on; labels are the woman's alone (--config.probe.subjects).
  """
  config = common.paper()
  config.data.image_size = (1000, 500)
  config.sampling.near_max = 3.0
  config.sampling.far_min = 20.0
  config.model.time_variant = 900
  config.batch_size = 16
  config.loss_weights.box_scale = (0.0,)  # P2 §S.1: gravity takes the priors' place
  config.loss_weights.box_location = (0.0,)
  config.training.steps = 500_000
  config.probe.label_counts = (120, 241, 483, 1209, 0)
  config.probe.steps = 40_000
  _gravity_first(config, until=5_000)
  return config


def ski():
  """SkiPose-PTZ, P2 §4.3.4: moving cameras. Expected: N-MPJPE 113.2 mm."""
  config = common.paper()
  config.data.image_size = (256, 256)
  config.sampling.near_max = 5.0
  config.sampling.far_min = 40.0
  config.loss_weights.pixel = (0.05,)
  config.loss_weights.box_location = (0.0,)
  config.training.steps = 400_000
  config.probe.label_counts = (0,)
  config.probe.steps = 100_000
  return config


def p1():
  """P1's choices on Human3.6M: L1, no perceptual loss, no jitter, {r, n} swapped with {in, a}."""
  config = human36m()
  config.scene.pixel_loss = "l1"
  config.scene.swap = "pairs"
  config.scene.jitter = False
  config.loss_weights.perceptual = (0.0,)
  return config


VARIANTS = {
  "synthetic_people": synthetic_people,
  "synthetic_sessions": synthetic_sessions,
  "smoke": smoke,
  "synthetic_dives": synthetic_dives,
  "mocap_people": mocap_people,
  "mocap_sessions": mocap_sessions,
  "human36m": human36m,
  "human36m_resnet101": human36m_resnet101,
  "mpi": mpi,
  "diving": diving,
  "ski": ski,
  "p1": p1,
  "own": video.own,  # here for the methods of several cameras; alone it is configs/video.py
  "pose2sim_balancing": video.pose2sim_balancing,  # the one clip of several cameras
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "synthetic_people")
