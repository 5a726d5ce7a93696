"""The data set that a configuration names by its source, built where it is missing."""

import pathlib
import zlib

from launch import cli

_DESCRIPTIONS = cli.REPOSITORY / "configs" / "real"


def prepare_source(data, root):
  """Prepares what a configuration's `data` asks for: its `source`, `variant` and `path`.

  Videos whose variant has a description of takes in configs/real are prepared by that, all of them;
  others under a name of their own for each folder, see `folder_name`, and without the takes that
  cannot be used.
  """
  from datasets import registry

  options = {"path": data.path} if data.path else {}
  described = _DESCRIPTIONS / f"{data.variant}.toml"
  name = data.variant
  if data.source in registry.VIDEOS and described.is_file():
    options["takes_file"] = str(described)
  elif data.source in registry.VIDEOS and data.path:
    name = folder_name(data.path)
    options["complete"] = False
  return registry.prepare_dataset(data.source, name, root, **options)


def folder_name(path):
  """A name for a folder's data set or run: what it is called, and a hash of where it lies."""
  folder = pathlib.Path(path).resolve()
  return f"{folder.name or 'root'}_{zlib.crc32(str(folder).encode()):08x}"
