"""Finds a data set's builder by name and prepares it."""

import dataclasses
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

VIDEOS = ("videos", "video_folder")
_HERE = Path(__file__).resolve().parent


def source_names() -> list[str]:
  """All sources that can be prepared."""
  folders = sorted(path.parent.name for path in _HERE.glob("*/builder.py"))
  return ["videos", *(name for name in folders if name != "video_folder")]


def prepare_dataset(name: str, config_name: str, out_dir: str | Path, **options: Any) -> Path:
  """Prepares a data set unless it is there, and returns its folder.

  Args:
    name: one of `source_names`.
    config_name: which of its configurations; for videos: what to call the new data set.
    out_dir: the folder of prepared data sets.
    **options: for videos those of `prepare_videos` (`path` above all) and `complete`: is a take
      that cannot be used an error (the default), or named and left out; for others, fields of the
      configuration to change.

  Raises:
    FileNotFoundError, ValueError: no such data set, option or file; or some takes cannot be used.
  """
  if name in VIDEOS:
    return _prepare_videos(config_name, out_dir, options)
  if name not in source_names():
    raise ValueError(f"no data set {name!r}; there are {', '.join(source_names())}")
  from datasets import pose_video

  module = importlib.import_module(f"datasets.{name}.builder")
  builders = [
    value
    for value in vars(module).values()
    if isinstance(value, type)
    and issubclass(value, pose_video.PoseVideoBuilder)
    and value.__module__ == module.__name__
  ]
  config = _configure(name, builders[0], config_name, options)
  return pose_video.prepare(builders[0], out_dir, config=config)


def _prepare_videos(config_name: str, out_dir: str | Path, options: dict[str, Any]) -> Path:
  from datasets.video_folder.prepare import prepare_videos

  known = dict(options)
  path, complete = known.pop("path", ""), known.pop("complete", True)
  if not path:
    raise ValueError("name the folder of the videos: --path=DIR, or --config.data.path=DIR")
  report = prepare_videos(path, out_dir, config_name=config_name, **known)
  if report.directory is None or (complete and report.skipped):
    reasons = "; ".join(report.skipped.values())
    raise ValueError(f"{len(report.skipped)} takes cannot be used: {reasons}")
  return report.directory


def _configure(name: str, builder: Any, config_name: str, options: dict[str, Any]) -> Any:
  """A configuration of a builder with some of its fields changed."""
  configs = {config.name: config for config in builder.BUILDER_CONFIGS}
  if config_name not in configs:
    raise ValueError(f"{name}: no configuration {config_name!r}; there are {', '.join(configs)}")
  config = configs[config_name]
  if not options:
    return config
  inner: Any = getattr(config, "options", None)
  nested = dataclasses.is_dataclass(inner)
  holder: Any = inner if nested else config
  fields = {field.name for field in dataclasses.fields(holder)}
  unknown = [key for key in options if key not in fields]
  if unknown:
    raise ValueError(f"{name}: no option {unknown[0]!r}; there are {', '.join(sorted(fields))}")
  for key, value in options.items():
    _check_type(f"{name}: option {key!r}", value, getattr(holder, key))
  changed: Any = dataclasses.replace(holder, **options)
  digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
  called = f"{config_name}_{digest[:8]}"
  if nested:
    return dataclasses.replace(config, name=called, options=changed)
  return dataclasses.replace(changed, name=called)


def _check_type(what: str, value: Any, like: Any) -> None:
  """Raises ValueError unless a value, and each of its parts, is of the type of another one."""
  if isinstance(like, list | tuple) and isinstance(value, list | tuple) and like:
    for part in value:
      _check_type(what, part, like[0])
    return
  kinds = (int, float) if isinstance(like, float) else (type(like),)
  if like is not None and type(value) not in kinds:
    raise ValueError(f"{what} must be like {like!r}, not {value!r}")
