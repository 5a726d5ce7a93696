"""Writes the report of a finished run: one HTML file that needs no network.

python launch/report.py --workdir=runs/dsl_synthetic_people
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from launch import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "The work directory of the run.", required=True)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint", "", ["", "best", "last"], "Which checkpoint; empty: the configuration's."
)
_OUT = flags.DEFINE_string("out", None, "The file to write; report.html in the workdir by default.")
_FRAMES = flags.DEFINE_integer(
  "frames", None, "Frames drawn from each split; the configuration's by default.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", None, "Draws them; the configuration's by default.")
_DATA = flags.DEFINE_string(
  "data", None, "Folder of the prepared data set, where it has moved since training."
)


def main(argv):
  del argv
  from jaxpose.experiment import Experiment
  from jaxpose.report import make_report

  experiment = Experiment.from_workdir(_WORKDIR.value)
  experiment.require_self_supervised()
  if _DATA.value is not None:
    experiment.config.data.directory = _DATA.value
  path = make_report(
    experiment,
    which=_CHECKPOINT.value,
    frames=_FRAMES.value,
    seed=_SEED.value,
    path=_OUT.value,
  )
  print(f"report: {path}")
  return 0


if __name__ == "__main__":
  cli.run_app(main)
