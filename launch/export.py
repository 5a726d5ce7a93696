"""Embeds every frame of a trained run's data and writes the vectors with ids and labels.

  python launch/export.py --workdir=runs/dsl_synthetic_people
  python launch/export.py --workdir=runs/dsl_synthetic_people --checkpoint=last --suggest=200

Writes embeddings/train.npz and test.npz (shards for large sets), the same for an untrained encoder,
and suggestions.csv: frames worth labelling, in the table that launch/probe.py --labels reads.
Splits that are finished are left as they are.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from launch import cli

_RUN = cli.TrainedRun()
_SPLITS = flags.DEFINE_list(
  "splits", ["train", "test"], "Of train, validation, test; train comes in any case."
)
_RANDOM = flags.DEFINE_bool("random", True, "Embed with an untrained encoder too, for comparison.")
_SUGGEST = flags.DEFINE_integer(
  "suggest", None, "How many frames to suggest for labelling; the configuration's by default.", 0
)
_METHOD = flags.DEFINE_enum(
  "suggest_by",
  "kmeans",
  ["kmeans", "kcenter"],
  "Frames near cluster centres (typical poses), or far from each other (rare poses too).",
)
_BATCH = flags.DEFINE_integer(
  "batch_size", None, "Frames at a time; the configuration's by default.", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "Folder to write; embeddings in the workdir by default.")


def main(argv):
  del argv
  from jaxpose.export import export_run

  experiment = _RUN.open()
  if _BATCH.value is not None:
    experiment.config.export.batch_size = _BATCH.value
  folder = export_run(
    experiment,
    which=_RUN.checkpoint,
    splits=_SPLITS.value,
    random=_RANDOM.value,
    suggestions=_SUGGEST.value,
    suggestion_method=_METHOD.value,
    folder=_OUT.value,
  )
  print(f"embeddings: {folder}")
  return 0


if __name__ == "__main__":
  cli.run_app(main)
