"""NSD (Rhodin et al. 2018) as P1 and P2 compare with it: a 3D latent rotated from view to view.

python launch/run.py --config=configs/nsd.py              the embedded synthetic people
python launch/run.py --config=configs/nsd.py:VARIANT      one of VARIANTS below

It needs several synchronised and calibrated cameras that stand still. Detector, encoder, decoder,
priors and, but for `original`, the optimiser are those of configs/dsl.py.
"""

from configs import ablations, common


def synthetic_people():
  """Embedded people, 128 px.

  Measured: without backgrounds 107.5 mm (seed 0; the row nsd of configs/study.py, which see).
  """
  return ablations.get_config("nsd@synthetic_people")


def mocap_people():
  """Recorded motion in the rooms of the embedded people: --config.data.path=FOLDER."""
  return ablations.get_config("nsd@mocap_people")


def smoke():
  """The whole journey in about two minutes, to see that it works; it learns next to nothing."""
  return ablations.get_config("nsd@smoke")


def human36m():
  """Human3.6M, P1 §4.2.1, P2 §4.3.1. Expected: N-MPJPE 88.9 mm at 35K labels. Measured: not yet."""
  return ablations.get_config("nsd@human36m")


def original():
  """The method's own optimiser and batch, and errors in units of the label's spread."""
  config = human36m()
  config.batch_size = 16
  config.scene.label_statistics = True
  config.optimiser.learning_rate = 1e-3
  config.optimiser.multipliers.decoder = 0.2
  return config


VARIANTS = {
  "synthetic_people": synthetic_people,
  "mocap_people": mocap_people,
  "smoke": smoke,
  "human36m": human36m,
  "original": original,
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "synthetic_people")
