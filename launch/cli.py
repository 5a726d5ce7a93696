"""What the jobs share: clear errors instead of tracebacks, and the flags that name a run."""

import errno
import logging
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from jaxpose.training.interruption import Stopped, StopRequest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
VERBOSE = "JAXPOSE_TRACEBACK"  # set it to see the traceback of an error
LEAVE_S = 8.0  # for leaving what is not training, which has its own time to save

_INPUT_ERRORS = (ValueError, OSError, FloatingPointError)
# What reading a configuration raises besides.
_CONFIG_ERRORS = (AttributeError, KeyError, TypeError, NameError, SyntaxError)

flags.disclaim_key_flags()  # flags defined here are those of the job, also in its --help


def run_app(main: Callable[[Sequence[str]], int | None]) -> None:
  """Runs a job; what is wrong with the input is said in a line, with exit status 1.

  SIGTERM or Ctrl-C ends it with status 0 and a line that says how to go on: training saves first
  (see `loop.train`), everything else stops where it is and leaves nothing half-written.
  """
  # TFDS and orbax tell of every file and option; their errors are raised, too, and said then.
  absl_logging.set_verbosity(absl_logging.ERROR if os.environ.get(VERBOSE) else absl_logging.FATAL)
  logging.getLogger("jaxpose").setLevel(logging.WARNING)
  logging.getLogger("matplotlib").setLevel(logging.ERROR)  # fonts that it misses
  with StopRequest(grace_s=LEAVE_S, give_up=_say_stopped, at_once=True):
    try:
      app.run(lambda argv: sys.exit(_guarded(main, argv)), flags_parser=_parse)
    except Stopped:
      _say_stopped()
      raise


def define_workdir() -> flags.FlagHolder[str]:
  """The flag of a job that reads what a run left."""
  return flags.DEFINE_string("workdir", None, "The work directory of the run.", required=True)


def define_checkpoint() -> flags.FlagHolder[str]:
  """The flag of a job that shows frames to the networks."""
  return flags.DEFINE_enum(
    "checkpoint", "", ["", "best", "last"], "Which checkpoint; empty: the configuration's."
  )


class TrainedRun:
  """The flags of a job that shows frames to a self-supervised run, and the run that they name."""

  def __init__(self) -> None:
    self._workdir = define_workdir()
    self._checkpoint = define_checkpoint()
    self._data = flags.DEFINE_string(
      "data", None, "Folder of the prepared data set, where it has moved since training."
    )

  @property
  def checkpoint(self) -> str:
    """`best` or `last`; empty: the configured one."""
    return self._checkpoint.value

  def open(self) -> Any:
    """The experiment, with its data where they are now.

    Raises:
      FileNotFoundError: there is no configuration in the work directory.
      ValueError: the run is a supervised network.
    """
    experiment = open_run(self._workdir.value)
    experiment.require_self_supervised()
    if self._data.value is not None:
      experiment.config.data.directory = self._data.value
    return experiment


def open_run(workdir: str) -> Any:
  """The experiment of a work directory.

  Raises:
    FileNotFoundError: there is no configuration in it.
    ValueError: the configuration is damaged or lacks a value.
  """
  from configs import common
  from jaxpose import assembly, config_check
  from jaxpose.experiment import CONFIG_FILE, Experiment

  experiment = Experiment.from_workdir(workdir)
  known = common.paper()
  if "methods" in experiment.config:  # a run may be older than the sections of other methods
    for section in assembly.unused_sections(experiment.config):
      del known[section]
  for names in (known.loss_weights, known.optimiser.multipliers):  # those of the method
    for name in list(names):
      del names[name]
  config_check.check_keys(experiment.config, known, f"{workdir}/{CONFIG_FILE}")
  return experiment


def refuse_flags(holders: Sequence[flags.FlagHolder], reason: str) -> None:
  """Raises ValueError where the user gave flags that would be ignored.

  Args:
    holders: the flags that have no meaning here.
    reason: why they have none.
  """
  given = [f"--{holder.name}" for holder in holders if flags.FLAGS[holder.name].present]
  if given:
    raise ValueError(f"{reason}; take out {', '.join(given)}")


def _say_stopped() -> None:
  print("stopped; run the same command again to go on", flush=True)


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses flags; a misspelt or ill-typed one is said in a line that names the nearest."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, *_CONFIG_ERRORS, *_INPUT_ERRORS) as error:
    if os.environ.get(VERBOSE):
      raise
    what = ""
    if isinstance(error, (NameError, SyntaxError)):
      what = "the configuration is no Python file that runs: "
    elif isinstance(error, (AttributeError, KeyError)):
      what = "the configuration has no such value: "
    print(f"error: {what}{plain(error)}", file=sys.stderr)
    sys.exit(2)


def plain(error: Exception) -> str:
  """One line of what an error says, without a traceback that it quotes."""
  text = str(error.args[0] if error.args else error).replace("\\n", "\n")
  if len(text) > 1 and text[0] == text[-1] == "'":  # a KeyError's argument, quoted once more
    text = text[1:-1].replace("\\'", "'")
  before, quoted, traceback = text.partition("Traceback (most recent call last)")
  if quoted:
    text = before + traceback.strip().splitlines()[-1]
  return " ".join(text.split())


def _guarded(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
  if len(argv) > 1:
    print(f"error: unexpected argument {argv[1]!r}; options begin with --", file=sys.stderr)
    return 2
  try:
    return main(argv) or 0
  except _INPUT_ERRORS as error:
    if os.environ.get(VERBOSE):
      raise
    return report(error)


def report(error: BaseException) -> int:
  """Says what is wrong, in a line if it is the input; the exit status."""
  if isinstance(error, _INPUT_ERRORS) and not os.environ.get(VERBOSE):
    text = str(error)
    if "earlier failure to load" in text:  # ml_collections: of --config, its reason comes last
      text = f"the configuration cannot be loaded: {text.strip().splitlines()[-1].strip()}"
    print(f"error: {text}{_remedy(error)}", file=sys.stderr)
  else:
    traceback.print_exception(error)
  return 1


_REMEDIES = {
  errno.ENOSPC: "free some space and run the same command again; what was finished before is kept",
  errno.EDQUOT: "free some space and run the same command again; what was finished before is kept",
  errno.EROFS: "name a folder that can be written",
  errno.EACCES: "name a folder that can be written, or a file that can be read",
  errno.EPERM: "name a folder that can be written, or a file that can be read",
  errno.EEXIST: "a file lies where a folder is needed: name another folder",
  errno.ENOTDIR: "a file lies where a folder is needed: name another folder",
  errno.EISDIR: "a folder lies where a file is needed: name another file",
}


def _remedy(error: Exception) -> str:
  """What to do about an error of the operating system, which says only what is wrong."""
  number = error.errno if isinstance(error, OSError) else None
  if number == errno.ENOENT and str(error).startswith("[Errno"):
    return "; there is no such folder or file, and it cannot be made: name another"
  return f"; {_REMEDIES[number]}" if number in _REMEDIES else ""
