"""Synchronisation and flip (P3): are two views of one instant, and is one of them mirrored?

python launch/run.py --config=configs/sync_flip.py                    the embedded people
python launch/run.py --config=configs/sync_flip.py:VARIANT            one of VARIANTS below
python launch/run.py --config=configs/sync_flip.py:ABLATION@VARIANT   one of ABLATIONS (P3 Table 1)

Several cameras must have seen each scene at once; nothing else of them is known. The encoder sees
the square around the subject, with the background taken away by its difference.
"""

from configs import common, dsl


def _pretext(config):
  """P3's encoder without detector or decoder; Φ is what the backbone pools."""
  config.methods = ("sync_flip",)
  config.model.detector = ""
  config.model.time_variant = 0
  config.model.time_invariant = 0
  config.scene.decode = False
  config.optimiser.name = "adamw"
  config.optimiser.weight_decay = 1e-4
  config.optimiser.schedule = "cosine"
  config.training.best_by = "synchronisation"
  return config


def _small(config):
  """What a core learns in ten minutes.

  The small backbone's 128 maps of 4 x 4 say little once they are pooled. A linear layer on all of
  them keeps places, and gives features of both signs, which is what a product compares.
  """
  _pretext(config)
  config.model.time_variant = 128
  config.sync_flip.features = "time_variant"
  config.batch_size = 16
  return config


def synthetic_people():
  """Embedded people, 12 frames/s and 26 frames a take: gaps of 0.25 s to 2 s.

  Hardware, time: one core of an AMD EPYC takes 13 steps/s.
  Measured (2026-11-22, seed 0, the row pretext_sync_flip of configs/study.py:sync_flip): whether
  synchronised is right on 66 % of validation's pairs that are 8 frames apart, on 73 % of 14 frames
  (the test's people: 65 and 70 %); a probe of all labels 122.6 mm.
  """
  config = _small(dsl.synthetic_people())
  config.training.steps = 9_000
  config.pairs.gap_min = 2.0
  config.pairs.gap_max = 26.0
  return config


def synthetic_sessions():
  """Embedded people in takes of 8.7 s; unsynchronised views up to 2.56 s apart, as in P3."""
  config = synthetic_people()
  config.data.variant = "sessions"
  config.pairs.gap_max = 31.0
  return config


def mocap_people():
  """Recorded motion: name it by --config.data.path=FOLDER. P3's gaps are 0.08 s to 2.56 s."""
  config = _small(dsl.mocap_people())
  config.training.steps = 9_000
  config.pairs.unit = "s"
  config.pairs.gap_min = 0.2
  config.pairs.gap_max = 2.56
  return config


def mocap_sessions():
  """The same motion in takes of 8.7 s, joined from pieces."""
  config = mocap_people()
  config.data.variant = "sessions"
  return config


def own():
  """Your own synchronised cameras: --config.data.path=FOLDER. P3's gaps are 0.08 s to 2.56 s.

  Crops are centred on what differs from the background. Hardware, time, measured: not yet.
  """
  config = _small(dsl.VARIANTS["own"]())
  config.training.steps = 9_000
  config.pairs.unit = "s"
  config.pairs.gap_min = 0.08
  config.pairs.gap_max = 2.56
  config.pairs.crop = "difference"
  return config


def pose2sim_balancing():
  """A real clip of one man and four cameras, 60 frames/s; P3's gaps are 5 to 154 frames.

  Its first second is trained on: gaps end there.
  """
  config = _small(dsl.VARIANTS["pose2sim_balancing"]())
  config.pairs.gap_min = 5.0
  config.pairs.gap_max = 60.0
  return config


def smoke():
  """The whole journey in a minute, to see that it works; it learns next to nothing."""
  config = _small(dsl.smoke())
  config.batch_size = 4
  config.pairs.gap_min = 1.0
  config.pairs.gap_max = 12.0
  return config


def human36m():
  """Human3.6M, P3 §3.3 and §4.1: ResNet-18 from random weights, no background.

  P3 trains on frames in which a joint moved 40 mm and tests on every 64th: `min_movement_mm` and
  `every` of launch/prepare.py's takes. Its batch of 16 is taken for 16 pairs of views, the lighter
  of two readings: a pair of each kind for 16 instants would be another.
  Expected, after transfer with all subjects: N-MPJPE 73.4 mm, with S1 alone 91.7 mm (P3 Table 2).
  Measured: not yet.
  """
  config = _pretext(common.paper())
  config.model.encoder = "resnet18"
  config.model.crop_size = 224
  config.batch_size = 16
  config.optimiser.learning_rate = 1e-4
  config.optimiser.final_fraction = 1e-3
  config.training.steps = 200_000
  return config


def human36m_resnet50():
  """P3 §4.2: ResNet-50 from ImageNet's weights, half of the backgrounds removed, half substituted.

  The weights are had from their owners: --config.model.encoder_weights=FILE. Expected: N-MPJPE
  68.5 mm, transferred to frames with backgrounds 62.3 mm, with all subjects. Measured: not yet.
  """
  config = human36m()
  config.model.encoder = "resnet50"
  config.model.encoder_weights = "imagenet.pth"
  config.pairs.background = "mix"
  return config


VARIANTS = {
  "synthetic_people": synthetic_people,
  "synthetic_sessions": synthetic_sessions,
  "smoke": smoke,
  "mocap_people": mocap_people,
  "mocap_sessions": mocap_sessions,
  "own": own,
  "pose2sim_balancing": pose2sim_balancing,
  "human36m": human36m,
  "human36m_resnet50": human36m_resnet50,
}


def background(config):
  """(c): the background stays."""
  config.pairs.background = "keep"


def only_flip(config):
  """(e): flipped or not, of synchronised pairs."""
  config.pairs.synchronised, config.pairs.unsynchronised, config.pairs.flipped = 0.5, 0.0, 0.5
  config.sync_flip.loss_weights.synchronisation = (0.0,)
  config.training.best_by = "flip"


def only_sync(config):
  """(f): synchronised or not."""
  config.pairs.synchronised, config.pairs.unsynchronised, config.pairs.flipped = 0.5, 0.5, 0.0
  config.sync_flip.loss_weights.flip = (0.0,)


def concat(config):
  """(h): fusion by concatenation."""
  config.sync_flip.fusion = "concat"


def add(config):
  """(i): fusion by addition."""
  config.sync_flip.fusion = "add"


def diff(config):
  """(j): fusion by subtraction."""
  config.sync_flip.fusion = "diff"


def mult(config):
  """(d), (g), (k), (m): the method."""
  config.sync_flip.fusion = "mult"


def single_view(config):
  """(l): views of one camera, told apart by crops of their own; P3 gives no figures for these."""
  config.pairs.single_view = True
  config.pairs.shift = 0.1
  config.pairs.scale = 0.2
  config.pairs.rotation_deg = 30.0


ABLATIONS = {
  "background": background,
  "only_flip": only_flip,
  "only_sync": only_sync,
  "concat": concat,
  "add": add,
  "diff": diff,
  "mult": mult,
  "single_view": single_view,
}


def get_config(variant=None):
  name, _, base = (variant or "synthetic_people").partition("@")
  if name in ABLATIONS:
    config = common.choose(VARIANTS, base, "synthetic_people")
    ABLATIONS[name](config)
    config.name = name if not base else f"{name}_{base}"
    return config
  if base or name not in VARIANTS:
    raise ValueError(
      f"no variant {variant!r} of this configuration; there are {', '.join(VARIANTS)}, and"
      f" ABLATION@VARIANT with an ablation of {', '.join(ABLATIONS)}"
    )
  return common.choose(VARIANTS, name, "synthetic_people")
