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
  for override in more:
    if "=" not in override:
      raise ValueError(f"--set={override}: give KEY=VALUE, such as --set=training.steps=500")
  found = {}
  for row in _in_order_of_need(config.rows):
    values = config.rows[row]
    for rank, seed in enumerate(_seeds(config, row)):
      after = _run_before(config.rows, found, row, seed)
      start = (f"model.start_from={after.workdir}",) if after else ()
      overrides = (*config.shared, *values.overrides, *start, *more)
      loaded = load_row(row, values.file, (*overrides, f"seed={seed}"))
      random = row == config.reference  # the untrained encoder of the tables is the reference's
      run = study.Run(row, seed, values.file, overrides, loaded, folder / row, after, random)
      found[row, seed] = (rank, run)
  listed = [found[row, seed] for row in config.rows for seed in _seeds(config, row)]
  ordered = [run for _, run in sorted(listed, key=lambda pair: pair[0])]
  study.check_alike({run.row: run.config for run in ordered}, config.reference)
  return ordered


def choose(runs, rows):
  """The runs of some rows, and those that they start from, in their order; all without rows.

  Raises:
    ValueError: there is no such row.
  """
  there = {run.row for run in runs}
  if unknown := sorted(set(rows) - there):
    raise ValueError(f"--rows names {', '.join(unknown)}: there are {', '.join(sorted(there))}")
  chosen = [run for run in runs if not rows or run.row in rows]
  for run in chosen:  # grows meanwhile
    if run.after is not None and run.after not in chosen:
      chosen.append(run.after)
  return [run for run in runs if run in chosen]


def _seeds(config, row):
  return config.rows[row].seeds or config.seeds


def _in_order_of_need(rows):
  """Names of the rows, each after the one that it starts from.

  Raises:
    ValueError: rows start from each other in a circle.
  """
  ordered = []
  while len(ordered) < len(rows):
    ready = [
      name
      for name, values in rows.items()
      if name not in ordered and (not values.start_from or values.start_from in ordered)
    ]
    if not ready:
      circle = ", ".join(name for name in rows if name not in ordered)
      raise ValueError(f"config.rows: {circle} start from each other in a circle")
    ordered += ready
  return ordered


def _run_before(rows, found, row, seed):
  """The run of the same seed that a row's run starts from, None where it starts from nothing.

  Raises:
    ValueError: that row has no training of this seed.
  """
  before = rows[row].start_from
  if not before:
    return None
  if (before, seed) not in found:
    raise ValueError(
      f"config.rows.{row}: it starts from row {before}, which has no training of seed {seed}: give"
      " both rows the same seeds"
    )
  return found[before, seed][1]


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
