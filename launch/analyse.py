"""Tests what the method assumes: on a run's embeddings, and on the poses and falls of its data.

  python launch/analyse.py --workdir=runs/dsl_synthetic_people
  python launch/analyse.py --data=data/mine --unit=s

Clusters of the embedding against subjects; of pairs of views (configs/sync_flip.py) which are taken
for views of one instant, and what is found in other cameras and of other people; pose distance
against temporal distance, with sampling.near_max and far_min that follow from it; how constant the
acceleration of falls is in the image. --data needs no run, and leaves out what is of the embedding.
Writes analysis.json, analysis.md, pose_distance.png and synchronisation.png; launch/report.py shows
those of a run.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from launch import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "The work directory of a run that was exported.")
_DATA = flags.DEFINE_string("data", None, "Folder of a prepared data set, in place of a run.")
_SPLIT = flags.DEFINE_string("split", "train", "Of --data.")
_UNIT = flags.DEFINE_enum("unit", "frames", ["frames", "s"], "Of temporal distances in --data.")
_OUT = flags.DEFINE_string("out", None, "Folder to write for --data; DATA/analysis by default.")


def main(argv):
  del argv
  if (_WORKDIR.value is None) == (_DATA.value is None):
    raise ValueError("name a run by --workdir=RUN, or a prepared data set by --data=DIR")
  from jaxpose import analysis
  from jaxpose.data.index import open_dataset
  from jaxpose.reporting import analyses

  if _WORKDIR.value is not None:
    cli.refuse_flags((_SPLIT, _UNIT, _OUT), "they belong to --data")
    experiment = cli.open_run(_WORKDIR.value)
    experiment.require_self_supervised()
    out = experiment.workdir / analysis.FOLDER
    found = analysis.analyse_run(experiment)
  else:
    out = pathlib.Path(_OUT.value or pathlib.Path(_DATA.value) / analysis.FOLDER)
    dataset = open_dataset(_DATA.value, _SPLIT.value)
    found = analysis.analyse_data(dataset, out, unit=_UNIT.value)
  print((out / analysis.MARKDOWN).read_text(encoding="utf-8"))
  if "pose_distance" in found:
    print(f"suggested: {analyses.sampling_flags(found['pose_distance'])}")
  print(f"analyses: {out}")
  return 0


if __name__ == "__main__":
  cli.run_app(main)
