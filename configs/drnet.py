"""DrNet (Denton & Birodkar 2017) as P2 compares with it: pose and content parted by an adversary.

python launch/run.py --config=configs/drnet.py              the embedded synthetic people
python launch/run.py --config=configs/drnet.py:VARIANT      one of VARIANTS below

Detector, encoder, decoder, priors and, but for `original`, sizes and the optimiser are those of
configs/dsl.py.
"""

from configs import ablations, common


def synthetic_people():
  """Embedded people, 128 px."""
  return ablations.get_config("drnet@synthetic_people")


def mocap_people():
  """Recorded motion in the rooms of the embedded people: --config.data.path=FOLDER."""
  return ablations.get_config("drnet@mocap_people")


def smoke():
  """The whole journey in about two minutes, to see that it works; it learns next to nothing."""
  return ablations.get_config("drnet@smoke")


def human36m():
  """Human3.6M, P2 §4.2. Expected: N-MPJPE 100.4 mm at 35K labels (Table V). Measured: not yet."""
  return ablations.get_config("drnet@human36m")


def original():
  """The method's own sizes and first moment, and raw vectors in its terms."""
  config = human36m()
  config.model.time_variant, config.model.time_invariant = 10, 128
  config.drnet.normalise = False
  config.optimiser.beta1 = 0.5
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
