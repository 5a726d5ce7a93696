"""MV-CSS: time-contrastive networks (Sermanet et al.) as P1 compares with them, eq. 4.

python launch/run.py --config=configs/mv_css.py              the embedded synthetic people
python launch/run.py --config=configs/mv_css.py:VARIANT      one of VARIANTS below

Views of one instant are drawn together and other instants apart: several synchronised cameras are
needed, but no calibration. The encoder sees the whole frame; nothing is detected or decoded.
"""

from configs import ablations, common


def synthetic_people():
  """Embedded people, 128 px.

  Measured: without backgrounds 223.7 mm (seed 0; the row mv_css of configs/study.py, which see).
  """
  return ablations.get_config("mv_css@synthetic_people")


def mocap_people():
  """Recorded motion in the rooms of the embedded people: --config.data.path=FOLDER."""
  return ablations.get_config("mv_css@mocap_people")


def smoke():
  """The whole journey in about a minute, to see that it works; it learns next to nothing."""
  return ablations.get_config("mv_css@smoke")


def human36m():
  """Human3.6M, P1 §4.2.1. Expected: N-MPJPE 202.5 mm at 35K labels. Measured: not yet."""
  return ablations.get_config("mv_css@human36m")


def p1():
  """P1's words: one distant frame of the same video as negative, vectors of any length."""
  config = human36m()
  config.mv_css.negative = "distant"
  config.mv_css.normalise = False
  return config


def original():
  """The method's own size: 32 dimensions."""
  config = human36m()
  config.model.time_variant = 32
  return config


VARIANTS = {
  "synthetic_people": synthetic_people,
  "mocap_people": mocap_people,
  "smoke": smoke,
  "human36m": human36m,
  "p1": p1,
  "original": original,
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "synthetic_people")
