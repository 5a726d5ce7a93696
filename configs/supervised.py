"""The supervised floor: an encoder of DSL's size, end to end on every label and the true boxes.

python launch/run.py --config=configs/supervised.py
python launch/run.py --config=configs/dsl.py \
  --config.probe.references='("runs/supervised_synthetic_people/probe/reference.json",)'

The second command puts its row into the tables of a self-supervised run; a finished run takes it by
launch/probe.py --workdir=RUN --references=FILE.

With --config.model.start_from=runs/dsl_synthetic_people it starts from the encoder of that run and
trains it end to end (P2 Fig. 9); with --config.optimiser.frozen='("encoder",)' only its last layer.
"""

from configs import common, dsl


def synthetic_people():
  """Embedded people: the encoder, crops and batches of configs/dsl.py:synthetic_people.

  Hardware, time: one core of an AMD EPYC, 3.9 minutes (2026-11-21).
  Measured: N-MPJPE 113.7 mm, 0.518 of the mean pose's (seed 0).
  """
  config = common.supervised(dsl.synthetic_people())
  config.optimiser.learning_rate = 1e-3
  config.training.steps = 3_000
  return config


def mocap_people():
  """Motion capture: the encoder, crops and batches of configs/dsl.py:mocap_people."""
  config = common.supervised(dsl.mocap_people())
  config.optimiser.learning_rate = 1e-3
  config.training.steps = 3_000
  return config


def smoke():
  """A minute, to see that it works; it learns next to nothing."""
  return common.supervised(dsl.smoke())


VARIANTS = {
  "synthetic_people": synthetic_people,
  "mocap_people": mocap_people,
  "smoke": smoke,
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "synthetic_people")
