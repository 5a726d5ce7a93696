"""Poses from new video: `.npz` and `.trc` in mm, presence, and an overlay video.

  python launch/predict.py --workdir=runs/dsl_synthetic_people --input=VIDEO_OR_FOLDER --out=poses

A damaged or empty video is named and skipped, and makes the exit status non-zero.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from launch import cli

_WORKDIR = cli.define_workdir()
_INPUT = flags.DEFINE_string("input", None, "A video, or a folder of videos.", required=True)
_OUT = flags.DEFINE_string("out", None, "The folder to write into.", required=True)
_CHECKPOINT = cli.define_checkpoint()
_REGRESSOR = flags.DEFINE_string(
  "regressor", None, "A regressor.npz; the one in the work directory by default."
)
_BACKGROUND = flags.DEFINE_string(
  "background",
  "robust",
  "How the empty scene is found: robust, median, still (a person who stays in place), dive,"
  " panorama (a camera that turns), or the path of an image or of a clip of the empty scene.",
)
_EVERY = flags.DEFINE_integer("every", 1, "Only each n-th frame.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 16, "Frames held at a time.", lower_bound=1)
_OVERLAY = flags.DEFINE_bool("overlay", True, "Write the overlay video.")


def main(argv):
  del argv
  from jaxpose import api, predict

  options = predict.Options(
    background=_BACKGROUND.value,
    every=_EVERY.value,
    overlay=_OVERLAY.value,
  )
  cli.open_run(_WORKDIR.value)
  model = api.load(_WORKDIR.value, _CHECKPOINT.value, batch_size=_BATCH.value)
  regressor = model.regressor(_REGRESSOR.value)
  done, failed = predict.predict_videos(model, regressor, _INPUT.value, _OUT.value, options)
  print(f"{len(done)} of {len(done) + len(failed)} videos predicted, in {_OUT.value}")
  for line in failed:
    print(f"error: {line}", file=sys.stderr)
  return 1 if failed else 0


if __name__ == "__main__":
  cli.run_app(main)
