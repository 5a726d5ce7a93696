"""Prepares a data set: your own videos, the embedded people, or a standard data set.

  python launch/prepare.py --source=videos --path=DIR --out=data
  python launch/prepare.py --source=videos --path=DIR --out=data --pattern="{take}_{camera}"
  python launch/prepare.py --source=videos --path=DIR --out=data --takes=configs/real/flesh_p0.toml
  python launch/prepare.py --source=synthetic_people --variant=default --out=data

Videos: every file that OpenCV opens. A file takes.toml (in DIR, or --takes) says which videos are
synchronised cameras of one take, and gives calibration, labels, splits, trims; its keys are those
of `Take` in datasets/video_folder/takes.py. Flags set a value for all takes. Started again, it goes
on where it was stopped. Look at the pictures in the data set's folder `previews`. Exit status 1 if
a file could not be used: it is named, its take left out, the others prepared.
"""

import ast
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from launch import cli

_SOURCE = flags.DEFINE_string("source", "videos", "videos, or a folder of datasets/.")
_PATH = flags.DEFINE_string("path", "", "Folder of the videos, or of a standard data set's files.")
_OUT = flags.DEFINE_string("out", "data", "Folder of prepared data sets.")
_VARIANT = flags.DEFINE_string(
  "variant", "", "Configuration of the source; for videos the new data set's name."
)
_TAKES = flags.DEFINE_string("takes", "", "Videos: TOML that describes the takes.")
_PATTERN = flags.DEFINE_string("pattern", "", 'Videos: such as "{subject}/{take}_{camera}".')
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Videos: longest side stored, px.")
_EVERY = flags.DEFINE_integer("every", None, "Videos: keep each so manyth frame.")
_FPS = flags.DEFINE_float("fps", None, "Videos: keep about so many frames a second.")
_BACKGROUND = flags.DEFINE_string(
  "background", None, "Videos: median, robust, still, dive or panorama."
)
_BACKGROUND_IMAGE = flags.DEFINE_string(
  "background_image", None, "Videos: picture of the empty room, path below --path."
)
_BACKGROUND_CLIP = flags.DEFINE_string(
  "background_clip", None, "Videos: clip of the empty room, path below --path."
)
_CALIBRATION = flags.DEFINE_string("calibration", None, "Videos: calibration, path below --path.")
_QUALITY = flags.DEFINE_integer("quality", 92, "Videos: JPEG quality.", 1, 100)
_WORKERS = flags.DEFINE_integer("workers", 0, "Videos: processes; 0 for one per core.", 0)
_SET = flags.DEFINE_multi_string("set", [], "NAME=VALUE: any other key of all takes, or option.")

_TAKE_FLAGS = (
  *(_IMAGE_SIZE, _EVERY, _FPS, _BACKGROUND, _BACKGROUND_IMAGE, _BACKGROUND_CLIP, _CALIBRATION),
)
_OF_VIDEOS = (*_TAKE_FLAGS, _TAKES, _PATTERN, _QUALITY, _WORKERS)


def main(argv):
  del argv
  from datasets import registry

  options = dict(_parse_setting(text) for text in _SET.value)
  if _SOURCE.value in registry.VIDEOS:
    return _prepare_videos(options)
  cli.refuse_flags(_OF_VIDEOS, f"--source={_SOURCE.value} is not made from videos")
  if _PATH.value:
    options["path"] = _PATH.value
  directory = registry.prepare_dataset(
    _SOURCE.value, _VARIANT.value or "default", _OUT.value, **options
  )
  print(f"prepared {directory}")
  return 0


def _prepare_videos(options):
  from datasets.video_folder.prepare import prepare_videos

  if not _PATH.value:
    raise ValueError("name the folder of the videos: --path=DIR")
  overrides = {flag.name: flag.value for flag in _TAKE_FLAGS if flag.value is not None}
  name = _VARIANT.value or (pathlib.Path(_TAKES.value).stem if _TAKES.value else "default")
  report = prepare_videos(
    _PATH.value,
    _OUT.value,
    config_name=name,
    takes_file=_TAKES.value or None,
    pattern=_PATTERN.value or None,
    overrides={**overrides, **options},
    quality=_QUALITY.value,
    workers=_WORKERS.value,
  )
  if report.directory is None:
    print("error: no take could be used; nothing was written", file=sys.stderr)
    return 1
  print(f"prepared {report.directory}; look at {report.directory / 'previews'}")
  if report.skipped:
    print(
      f"error: left out {', '.join(report.skipped)}; put the files right and run this again",
      file=sys.stderr,
    )
    return 1
  return 0


def _parse_setting(text):
  """("name", value) of NAME=VALUE; a value that is no Python literal is a string."""
  name, equals, value = text.partition("=")
  if not equals or not name:
    raise ValueError(f"--set={text!r}: write NAME=VALUE")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value


if __name__ == "__main__":
  cli.run_app(main)
