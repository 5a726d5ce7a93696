"""Pose networks trained on labels: the supervised floor, and fine-tuning of another run's encoder.

python launch/run.py --config=configs/supervised.py
python launch/run.py --config=configs/dsl.py \
  --config.probe.references='("runs/supervised_synthetic_people/probe/reference.json",)'

The second command puts its row into the tables of a self-supervised run; a finished run takes it by
launch/probe.py --workdir=RUN --references=FILE.

python launch/run.py --config=configs/supervised.py:fine_tune     from DSL, end to end (P2 Fig. 9)
python launch/run.py --config=configs/supervised.py:transfer      from sync_flip (P3 §3.4)

--config.supervised.label_count=500 learns from as many labels as a probe would, spread alike;
--config.supervised.subjects='("S1",)' from those of some subjects (P3's protocol S1);
--config.optimiser.frozen='("encoder",)' trains the last layer alone.
"""

from configs import common, dsl

# P3 §3.4: "the first 3 residual blocks", which we take for the stem and stages 1 to 3.
FIRST_STAGES = (
  *("encoder/backbone/conv1", "encoder/backbone/bn1", "encoder/backbone/layer1"),
  *("encoder/backbone/layer2", "encoder/backbone/layer3"),
)


def synthetic_people():
  """Embedded people: the encoder, crops and batches of configs/dsl.py:synthetic_people.

  Hardware, time: one core of an AMD EPYC, about 4 minutes. Measured: without backgrounds 99.6 mm
  (seed 0, 2026-11-22; the row supervised of configs/study.py).
  """
  config = common.supervised(dsl.synthetic_people())
  config.optimiser.learning_rate = 1e-3
  config.training.steps = 3_000
  return config


def synthetic_sessions():
  """Embedded people in takes of 8.7 s."""
  config = synthetic_people()
  config.data.variant = "sessions"
  return config


def mocap_people():
  """Motion capture: the encoder, crops and batches of configs/dsl.py:mocap_people."""
  config = common.supervised(dsl.mocap_people())
  config.optimiser.learning_rate = 1e-3
  config.training.steps = 3_000
  return config


def mocap_sessions():
  """The same motion in takes of 8.7 s, joined from pieces."""
  config = mocap_people()
  config.data.variant = "sessions"
  return config


def own():
  """Your own videos with labels: --config.data.path=FOLDER; launch/predict.py reads other videos.

  Crops are around what differs from the background, as they will be in new video.
  --config.model.start_from=RUN fine-tunes what configs/video.py or another file's `own` learned
  (where its vectors have other sizes, the error names the flags).
  """
  config = common.supervised(dsl.VARIANTS["own"]())
  config.optimiser.learning_rate = 1e-3
  config.supervised.crop = "difference"
  return config


def pose2sim_balancing():
  """A real clip of one man and four cameras: --config.data.path=FOLDER."""
  config = common.supervised(dsl.VARIANTS["pose2sim_balancing"]())
  config.optimiser.learning_rate = 1e-3
  return config


def fine_tune():
  """Embedded people, end to end from the encoder of DSL (P2 Fig. 9, which gives no figures).

  Measured: not yet.
  """
  config = synthetic_people()
  config.model.start_from = "runs/dsl_synthetic_people"
  return config


def transfer():
  """Embedded people, P3 §3.4 from configs/sync_flip.py.

  Hardware, time: one core of an AMD EPYC takes 18 steps/s. Measured: with the labels of one person
  156.4 mm, from random weights 172.9 mm, these not frozen 153.6 mm (2026-11-22, seed 0; the rows
  sync_flip and untrained of configs/study.py:sync_flip).
  """
  return _small_transfer("synthetic_people")


def transfer_mocap_people():
  """Motion capture, P3 §3.4 from configs/sync_flip.py:mocap_people. Measured: not yet."""
  return _small_transfer("mocap_people")


def transfer_own():
  """Your own videos with labels, P3 §3.4, from a run of configs/sync_flip.py:own.

  Name it by --config.model.start_from=RUN. In new video, whose camera is not calibrated, poses are
  as seen by one that looks at the person; --config.supervised.centre_camera=False learns them in
  the camera's own axes.
  """
  config = _small_transfer("own")
  config.model.start_from = "runs/sync_flip_own"
  config.supervised.crop = "difference"
  return config


def transfer_pose2sim_balancing():
  """A real clip, P3 §3.4 from configs/sync_flip.py:pose2sim_balancing. Measured: not yet."""
  return _small_transfer("pose2sim_balancing")


def human36m():
  """Human3.6M, P3 §4.1 and §4.2, from configs/sync_flip.py:human36m, which see.

  Expected, x17/16: MPJPE 79.5, N-MPJPE 73.4, P-MPJPE 59.7 mm on all subjects, 104.9, 91.7 and 78.4
  on S1's labels (`--config.supervised.subjects`). Measured: not yet.
  """
  config = _transfer(common.supervised(dsl.human36m()))
  config.model.start_from = "runs/sync_flip_human36m"
  config.model.encoder = "resnet18"
  config.model.time_variant = 0  # the last layer reads what the backbone pools
  config.model.crop_size = 224
  config.batch_size = 16
  config.training.steps = 200_000
  return config


def _transfer(config):
  """P3 §3.4: no background, normalised joints, centred camera, mirrors, late layers by AdamW."""
  config.supervised.background = "remove"
  config.supervised.normalise = "joint"
  config.supervised.centre_camera = True
  config.supervised.mirror = 0.5
  config.supervised.jitter = False
  config.supervised.shift = 0.0
  config.supervised.scale = 0.0
  config.optimiser.frozen = FIRST_STAGES
  config.optimiser.name = "adamw"
  config.optimiser.weight_decay = 1e-4
  config.optimiser.final_fraction = 1e-3  # from 1e-4 to 1e-7
  return config


def _small_transfer(variant):
  config = _transfer(common.supervised(dsl.VARIANTS[variant]()))
  config.model.start_from = f"runs/sync_flip_{variant}"
  config.optimiser.learning_rate = 1e-3
  config.training.steps = 2_000
  return config


def smoke():
  """A minute, to see that it works; it learns next to nothing."""
  return common.supervised(dsl.smoke())


VARIANTS = {
  "synthetic_people": synthetic_people,
  "synthetic_sessions": synthetic_sessions,
  "mocap_people": mocap_people,
  "mocap_sessions": mocap_sessions,
  "pose2sim_balancing": pose2sim_balancing,
  "own": own,
  "fine_tune": fine_tune,
  "transfer": transfer,
  "transfer_mocap_people": transfer_mocap_people,
  "transfer_own": transfer_own,
  "transfer_pose2sim_balancing": transfer_pose2sim_balancing,
  "human36m": human36m,
  "smoke": smoke,
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "synthetic_people")
