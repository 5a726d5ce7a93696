"""The axis over which a step is spread, collectives along it, and batches shared among devices.

Outside of the axis (embedding, tests, plain `jit`) every collective is the identity, so a method
is written once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key

AXIS = "batch"


class Devices(NamedTuple):
  """What this process can compute on, and its place among the processes."""

  all: tuple[Any, ...]  # of every process, those of one process side by side
  local: tuple[Any, ...]  # of this process
  process: int
  processes: int


def devices(chosen: Sequence[Any] | None = None) -> Devices:
  """The given devices, or all there are, in the order in which they share a batch."""
  if chosen is None:
    chosen = [d for process in range(jax.process_count()) for d in jax.local_devices(process)]
  index = jax.process_index()
  local = tuple(d for d in chosen if d.process_index == index)
  return Devices(tuple(chosen), local, index, jax.process_count())


def inside_axis() -> bool:
  """Whether the code being traced runs once per device of `AXIS`."""
  try:
    jax.lax.axis_size(AXIS)
  except NameError:  # what JAX raises for a name that no transformation has bound
    return False
  return True


def psum(tree: Any) -> Any:
  """Σ over devices; the identity outside of the axis."""
  return jax.lax.psum(tree, AXIS) if inside_axis() else tree


def pmean(tree: Any) -> Any:
  """Mean over devices; the identity outside of the axis."""
  return jax.lax.pmean(tree, AXIS) if inside_axis() else tree


def all_gather(tree: Any) -> Any:
  """The leading axes of all devices, one after the other: `[b, ...] -> [devices·b, ...]`."""
  if not inside_axis():
    return tree
  return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


def axis_index() -> Any:
  """The place of this device along the axis, 0 outside of it."""
  return jax.lax.axis_index(AXIS) if inside_axis() else jnp.zeros((), jnp.int32)


def fold_in_examples(
  rng: Key[Array, ""], example_numbers: Integer[Array, " B"]
) -> Key[Array, " B"]:
  """A key per example from its global number, whichever device the example lies on."""
  return jax.vmap(lambda number: jax.random.fold_in(rng, number))(example_numbers)


def split_batch(batch: Any, count: int, *, what: str = "device") -> Any:
  """Leading axis `[B, ...] -> [count, B/count, ...]` in every array of the batch.

  Raises:
    ValueError: an array has no leading axis, or one that `count` does not divide.
  """

  def split(path: Any, x: Any) -> Any:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if x.ndim == 0:
      raise ValueError(f"batch entry '{name}' is a scalar; every entry needs a batch axis")
    if x.shape[0] % count:
      raise ValueError(
        f"batch entry '{name}' holds {x.shape[0]} examples, which {count} {what}s cannot share"
        f" evenly; choose a batch size that is a multiple of {count}"
      )
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])

  return jax.tree_util.tree_map_with_path(split, batch)


def shard_batch(batch: Any, over: Devices) -> Any:
  """This process's batch `[B, ...]` spread over its devices: `[local devices, B/local, ...]`.

  Returns at once; the copies to the devices go on in the background.

  Raises:
    ValueError: the batch size is not a multiple of the number of local devices.
  """
  sharding = _sharding(over, jax.sharding.PartitionSpec(AXIS))
  return jax.device_put(split_batch(batch, len(over.local)), sharding)


def replicate(tree: Any, over: Devices) -> Any:
  """A copy of every array on every device of this process; never shares memory with `tree`."""
  sharding = _sharding(over, jax.sharding.PartitionSpec())
  return jax.device_put(tree, sharding, may_alias=False)


def to_host(tree: Any) -> Any:
  """Numpy copies of every array, owned by the host (never views of a device's memory)."""
  return jax.tree.map(lambda x: np.array(x, copy=True), jax.device_get(tree))


def of_first(number: int) -> int:
  """The number (of 32 bits) that the first process has, in every process; all must ask."""
  if jax.process_count() == 1:
    return number
  from jax.experimental import multihost_utils

  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def _sharding(over: Devices, spec: jax.sharding.PartitionSpec) -> jax.sharding.NamedSharding:
  return jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(over.local), (AXIS,)), spec)
