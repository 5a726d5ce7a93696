"""Checkpoints: the training state and the position of the data as one atomic thing.

A checkpoint is a folder named by its step. It is written under another name and renamed when it is
whole, so a killed run leaves nothing that looks like a checkpoint. Arrays are stored as plain host
arrays, so that a run resumes on any number of devices and processes.
"""

import contextlib
import json
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxpose import parallel, parameter_paths
from jaxpose.training.state import TrainState

FOLDERS = {"last": "checkpoints", "best": "checkpoints_best"}
_MARKS = ("state/_METADATA", "position/metadata", "_CHECKPOINT_METADATA")


class Restored(NamedTuple):
  """A training state on the host, and what was saved beside it."""

  step: int
  state: TrainState
  position: dict[str, Any]


class Checkpoints:
  """The checkpoints of one folder; the newest `keep` stay.

  Saving goes on in the background: `save` copies the arrays to the host and returns, `wait` returns
  when they are on the disk. At most one save is under way.
  """

  def __init__(self, folder: pathlib.Path | str, *, keep: int) -> None:
    """Opens or creates the folder.

    Raises:
      ValueError: keep < 1.
    """
    if keep < 1:
      raise ValueError(f"keep = {keep}; at least one checkpoint must be kept")
    import orbax.checkpoint as ocp

    self.folder = pathlib.Path(folder).absolute()
    with _quiet():
      self._manager = ocp.CheckpointManager(
        self.folder,
        options=ocp.CheckpointManagerOptions(
          max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        ),
        item_names=("state", "position"),
      )
    # Kept here and not asked of the disk, where processes that share a run would each see what
    # another is just writing.
    self._whole = set(_whole_steps(self.folder))

  def save(self, step: int, state: TrainState, position: Mapping[str, Any]) -> None:
    """Saves `state` and `position` (small, JSON) as checkpoint `step`, and removes later ones.

    Where checkpoint `step` is there and whole it stays: a repeated step repeats its numbers.

    Raises:
      OSError: the disk is full or read-only; what was saved before is untouched.
    """
    import orbax.checkpoint as ocp

    with _quiet(), _write_errors(self.folder):
      self._manager.wait_until_finished()
      if step in self._whole:
        return
      self._whole.add(step)
      for other in self._manager.all_steps():
        if other >= step:
          self._manager.delete(other)
          self._whole.discard(other)
      content = dict(position) | {"collections": sorted(state.variables)}
      content = json.loads(json.dumps(content))  # it is written later; the caller's may change
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(_to_tree(parallel.to_host(state))),
          position=ocp.args.JsonSave(content),
        ),
        force=True,
      )

  def clear(self) -> None:
    """Removes all checkpoints of the folder."""
    with _quiet(), _write_errors(self.folder):
      for step in self._manager.all_steps():
        self._manager.delete(step)
      self._whole.clear()

  def wait(self) -> None:
    """Returns when everything saved is on the disk.

    Raises:
      OSError: the save that was under way failed.
    """
    with _quiet(), _write_errors(self.folder):
      self._manager.wait_until_finished()

  def latest_step(self) -> int | None:
    """The newest whole checkpoint, or None."""
    self.wait()
    return _latest(self.folder)

  def restore(self, template: TrainState, step: int | None = None) -> Restored | None:
    """The newest (or the given) checkpoint, bit for bit; None where there is none.

    Raises:
      ValueError: the checkpoint's arrays are not those of `template`; names the first difference.
    """
    if step is None:
      own = self.latest_step()
      step = parallel.of_first(-1 if own is None else own)
    if step < 0:
      return None
    tree, position = read_arrays(self.folder / str(step))
    state = _from_tree(tree, template, self.folder / str(step))
    return Restored(step, state, position)

  def close(self) -> None:
    """Waits, and ends the background threads."""
    with _quiet(), _write_errors(self.folder):
      self._manager.wait_until_finished()
      self._manager.close()


def latest_step(workdir: pathlib.Path | str, which: str = "last") -> int | None:
  """The step of the last or best whole checkpoint of a run, or None.

  Raises:
    ValueError: `which` is neither `last` nor `best`.
  """
  if which not in FOLDERS:
    raise ValueError(f"which = '{which}'; choose {' or '.join(FOLDERS)}")
  return _latest(pathlib.Path(workdir) / FOLDERS[which])


def restore_for_inference(workdir: pathlib.Path | str, which: str = "last") -> dict[str, Any]:
  """The method's variables (numpy) of the last or best checkpoint of a run, without any optimiser.

  Raises:
    FileNotFoundError: the run has no such checkpoint.
  """
  step = latest_step(workdir, which)
  folder = pathlib.Path(workdir) / FOLDERS[which]
  if step is None:
    raise FileNotFoundError(
      f"no whole checkpoint in {folder}; train first, or name the folder that a run wrote to"
    )
  tree, position = read_arrays(folder / str(step), only="variables")
  return {name: {} for name in position["collections"]} | tree["variables"]


def read_position(workdir: pathlib.Path | str, which: str = "last") -> dict[str, Any]:
  """What was saved beside the state of the last or best checkpoint (see `loop.train`)."""
  step = latest_step(workdir, which)
  if step is None:
    raise FileNotFoundError(f"no whole checkpoint in {pathlib.Path(workdir) / FOLDERS[which]}")
  return read_arrays(pathlib.Path(workdir) / FOLDERS[which] / str(step), only="position")[1]


def _latest(folder: pathlib.Path) -> int | None:
  if not folder.is_dir():
    return None
  return max(_whole_steps(folder), default=None)


def _whole_steps(folder: pathlib.Path) -> list[int]:
  return [
    int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and _is_whole(entry)
  ]


def _is_whole(folder: pathlib.Path) -> bool:
  return all((folder / mark).is_file() for mark in _MARKS)


def read_arrays(
  folder: pathlib.Path, only: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
  """The array tree (or its part `only`) and the position of one checkpoint."""
  import orbax.checkpoint as ocp

  path = folder.absolute()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=jax.process_index(), active_processes={jax.process_index()}
  )  # a process waits for no other to read
  try:
    with _quiet():
      json_reader = ocp.Checkpointer(ocp.JsonCheckpointHandler(), multiprocessing_options=alone)
      position = json_reader.restore(path / "position")
      if only == "position":
        return {}, position
      reader = ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
      )
      described = reader.metadata(path / "state").item_metadata
      if described is None:
        raise ValueError("the list of its arrays is missing")
      shape = described.tree
      if only is not None:
        shape = {only: shape[only]}
      wanted = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), shape)
      tree = reader.restore(
        path / "state",
        args=ocp.args.PyTreeRestore(
          item=shape, restore_args=wanted, partial_restore=only is not None
        ),
      )
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(
      f"checkpoint {folder} cannot be read: {error}. It is damaged, or not written by jaxpose;"
      " remove it to go on from the one before"
    ) from error
  return tree, position


def _to_tree(state: TrainState) -> dict[str, Any]:
  """Nested dictionaries with text keys; the optimisers' containers become paths."""
  return {
    "step": np.asarray(state.step),
    "variables": state.variables,
    "optimisers": {name: parameter_paths.by_path(tree) for name, tree in state.optimisers.items()},
  }


def _from_tree(tree: dict[str, Any], template: TrainState, folder: pathlib.Path) -> TrainState:
  """The inverse of `_to_tree`, with the containers of `template`."""
  saved = parameter_paths.by_path(tree)
  wanted = parameter_paths.by_path(_to_tree(template))
  for name in [*wanted, *saved]:
    found, expected = _describe(saved, name), _describe(wanted, name)
    if found != expected:
      raise ValueError(
        f"{folder} is a checkpoint of another configuration: '{name}' is {found} there, but"
        f" {expected} in this run; use the configuration that it was written with, or another"
        " work directory"
      )
  leaves = [saved[name] for name in parameter_paths.by_path(template)]
  return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _describe(arrays: Mapping[str, Any], name: str) -> str:
  if name not in arrays:
    return "missing"
  return f"{arrays[name].dtype}{list(arrays[name].shape)}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps orbax's progress messages out of the run's output; errors still come through."""
  logger = logging.getLogger("absl")
  level = logger.level
  logger.setLevel(max(logger.getEffectiveLevel(), logging.ERROR))
  try:
    yield
  finally:
    logger.setLevel(level)


@contextlib.contextmanager
def _write_errors(folder: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except Exception as error:
    if isinstance(error, OSError) or "RESOURCE_EXHAUSTED" in str(error):
      raise OSError(
        f"cannot write a checkpoint to {folder}: {error}. Earlier checkpoints are untouched;"
        " free some space or choose another work directory, then run the same command again"
      ) from error
    raise
