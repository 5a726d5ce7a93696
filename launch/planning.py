"""The runs of a study: every row's configuration as launch/run.py will have it, checked at once."""

import pathlib

from absl import flags
from ml_collections import config_flags

from launch import cli


def plan(config, folder, more=()):
  """Every run of a study, first seeds first, with its whole configuration.

  Args:
    config: of the study, see configs/study.py.
    folder: of the runs.
    more: overrides of every row, after those of the study.

  Raises:
    ValueError: a value, a row's file or an override is not right; names the row. Rows that would
      not be probed alike.
  """
  from jaxpose import config_check, study

  config_check.check_study(config)
  runs = []
  for row, values in config.rows.items():
    overrides = (*config.shared, *values.overrides, *more)
    for rank, seed in enumerate(values.seeds or config.seeds):
      loaded = load_row(row, values.file, (*overrides, f"seed={seed}"))
      runs.append((rank, study.Run(row, seed, values.file, overrides, loaded, folder / row)))
  ordered = [run for _, run in sorted(runs, key=lambda pair: pair[0])]
  study.check_alike({run.row: run.config for run in ordered}, config.reference)
  return ordered


def load_row(row, file, overrides):
  """A row's configuration, as launch/run.py will have it.

  Raises:
    ValueError: there is no such file or variant, or an override does not fit; names the row.
  """
  from jaxpose import config_check

  flag_values = flags.FlagValues()
  arguments = ["study", *as_flags(file, overrides)]
  config_flags.DEFINE_config_file("config", flag_values=flag_values, sys_argv=arguments)
  try:
    flag_values(arguments)
    loaded = flag_values.config
    config_check.check_values(loaded)
    return loaded
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    raise ValueError(f"row {row} ({file}): {cli.plain(error)}") from error


def as_flags(file, overrides):
  path = pathlib.Path(file.partition(":")[0])
  there = "" if path.is_file() or path.is_absolute() else f"{cli.REPOSITORY}/"
  return [f"--config={there}{file}", *(f"--config.{override}" for override in overrides)]
