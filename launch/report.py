"""Writes the report of a finished run: one HTML file that needs no network.

python launch/report.py --workdir=runs/dsl_synthetic_people
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from launch import cli

_RUN = cli.TrainedRun()
_OUT = flags.DEFINE_string("out", None, "The file to write; report.html in the workdir by default.")
_FRAMES = flags.DEFINE_integer(
  "frames", None, "Frames drawn from each split; the configuration's by default.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", None, "Draws them; the configuration's by default.")


def main(argv):
  del argv
  from jaxpose.report import make_report

  experiment = _RUN.open()
  path = make_report(
    experiment,
    which=_RUN.checkpoint,
    frames=_FRAMES.value,
    seed=_SEED.value,
    path=_OUT.value,
  )
  print(f"report: {path}")
  return 0


if __name__ == "__main__":
  cli.run_app(main)
