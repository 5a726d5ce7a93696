"""Weights in torchvision's format, without torch: `.pth` and `.safetensors` to Flax and back.

A `.pth` file is a pickle beside raw storages. It is read by an unpickler that knows tensors,
ordered dictionaries and nothing else, so that a file from elsewhere cannot run code.
"""

import collections
import math
import os
import pickle
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from jaxpose.models.resnet import IMAGENET_STD

State = dict[str, np.ndarray]

_DTYPES = {
  "FloatStorage": np.float32,
  "DoubleStorage": np.float64,
  "HalfStorage": np.float16,
  "BFloat16Storage": jnp.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class _Tensor:
  """A tensor whose storage may still have to be read: key, dtype and layout."""

  def __init__(self, storage: Any, offset: int, size: tuple, stride: tuple, *_: Any):
    self.storage, self.offset, self.size, self.stride = storage, offset, tuple(size), tuple(stride)

  def array(self, storages: dict[str, np.ndarray]) -> np.ndarray:
    """The values, copied out of the storage.

    Raises:
      ValueError: the layout reaches out of the storage.
    """
    values = storages[self.storage[0]]
    layout = list(zip(self.size, self.stride, strict=True))
    last = self.offset + sum((n - 1) * step for n, step in layout)
    if min([self.offset, *self.size, *self.stride], default=0) < 0:
      raise ValueError("a tensor has a negative offset, size or stride: the file is damaged")
    if 0 not in self.size and (last >= values.size or math.prod(self.size) > values.size):
      raise ValueError("a tensor reaches beyond its storage: the file is damaged")
    steps = tuple(step * values.itemsize for step in self.stride)
    view = np.lib.stride_tricks.as_strided(values[self.offset :], self.size, steps, writeable=False)
    return view.copy()


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
  return tensor


_CLASSES = {
  ("collections", "OrderedDict"): collections.OrderedDict,
  ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
  ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Unpickler(pickle.Unpickler):
  """Builds `_Tensor`s, dictionaries and plain values; refuses every other class."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) in _CLASSES:
      return _CLASSES[module, name]
    if module == "torch" and name in _DTYPES:
      return _DTYPES[name]
    raise ValueError(
      f"the file holds a {module}.{name}: only tensors are read. Save the network's state_dict()"
      " alone, or as .safetensors"
    )

  def persistent_load(self, pid: Any) -> tuple[str, Any, int]:
    kind, dtype, key, _, count = pid[:5]
    if kind != "storage":
      raise ValueError(f"the file holds a {kind!r} where a tensor's storage was expected")
    return str(key), dtype, int(count)


def _tensors(tree: Any) -> dict[str, _Tensor]:
  """The named tensors of a state dictionary, or of the one inside a training checkpoint."""
  if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
    tree = tree["state_dict"]
  if not isinstance(tree, dict):
    raise ValueError(f"the file holds a {type(tree).__name__}, not a dictionary of tensors")
  tensors = {name: value for name, value in tree.items() if isinstance(value, _Tensor)}
  if len(tensors) != len(tree):
    other = next(name for name in tree if name not in tensors)
    raise ValueError(f"entry {other!r} is no tensor; save the network's state_dict() alone")
  return tensors


def _load_zip(file: BinaryIO) -> State:
  """Today's format of `torch.save`: <name>/data.pkl and <name>/data/<key>, stored in a zip."""
  with zipfile.ZipFile(file) as archive:
    if sum(m.file_size for m in archive.infolist()) > 2 * os.fstat(file.fileno()).st_size:
      raise ValueError("it is compressed, which torch.save never does")
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
      raise ValueError("a zip file, but not one that torch.save writes")
    root = names[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
      raise ValueError("written on a big-endian machine")
    with archive.open(names[0]) as pickled:
      tensors = _tensors(_Unpickler(pickled).load())
    storages = {}
    for tensor in tensors.values():
      key, dtype, _ = tensor.storage
      if key not in storages:
        storages[key] = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
    return {name: tensor.array(storages) for name, tensor in tensors.items()}


def _load_legacy(file: BinaryIO) -> State:
  """The format of `torch.save` before 1.6, which torchvision's older files are in."""
  magic, _, _ = (_Unpickler(file).load() for _ in range(3))
  if magic != _LEGACY_MAGIC:
    raise ValueError("no file that torch.save writes")
  tensors = _tensors(_Unpickler(file).load())
  dtypes = {tensor.storage[0]: tensor.storage[1] for tensor in tensors.values()}
  storages = {}
  for key in _Unpickler(file).load():
    (count,) = struct.unpack("<q", file.read(8))
    if key not in dtypes:
      raise ValueError(f"storage {key} belongs to no tensor")
    itemsize = np.dtype(dtypes[key]).itemsize
    if not 0 <= count * itemsize <= os.fstat(file.fileno()).st_size:
      raise ValueError(f"storage {key} is said to hold {count} numbers: the file is damaged")
    storages[key] = np.frombuffer(file.read(count * itemsize), dtypes[key], count)
  return {name: tensor.array(storages) for name, tensor in tensors.items()}


_DAMAGE = (
  pickle.UnpicklingError,
  zipfile.BadZipFile,
  zlib.error,
  struct.error,
  EOFError,
  AttributeError,
  LookupError,
  OverflowError,
  TypeError,
  RuntimeError,
  MemoryError,
)
"""What reading a damaged pickle or archive can raise."""


def load_state(path: str | os.PathLike) -> State:
  """Named arrays of a `.safetensors` file or of a `.pth`/`.pt` file that `torch.save` wrote.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is of neither format, damaged, or holds more than tensors.
  """
  name = os.fspath(path)
  if not os.path.isfile(name):
    raise FileNotFoundError(
      f"no weights at {name}: give a torchvision-format .pth or .safetensors file"
    )
  if name.endswith(".safetensors"):
    import safetensors.numpy
    from safetensors import SafetensorError

    try:
      return dict(safetensors.numpy.load_file(name))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
      raise ValueError(f"{name} is no readable safetensors file: {error}") from error
  try:
    with open(name, "rb") as file:
      zipped = zipfile.is_zipfile(file)
      file.seek(0)
      return _load_zip(file) if zipped else _load_legacy(file)
  except (*_DAMAGE, ValueError, OSError) as error:
    raise ValueError(f"{name} is no readable torch file: {error}") from error


def save_safetensors(path: str | os.PathLike, state: State) -> None:
  """Writes named arrays as a `.safetensors` file."""
  import safetensors.numpy

  contiguous = {name: np.ascontiguousarray(array) for name, array in state.items()}
  safetensors.numpy.save_file(contiguous, os.fspath(path))


_LEAVES = {
  ("params", "kernel"): "weight",
  ("params", "scale"): "weight",
  ("params", "bias"): "bias",
  ("batch_stats", "mean"): "running_mean",
  ("batch_stats", "var"): "running_var",
}


def torch_name(path: tuple[str, ...]) -> str:
  """torchvision's name of a variable of `ResNet`.

  ("params", "layer1_0", "conv1", "kernel") is `layer1.0.conv1.weight`; of a gated block
  ("params", "layer1_0", "se", "fc_0", "bias") is AlphaPose's `layer1.0.se.fc.0.bias`.
  """
  collection, *modules, leaf = path
  parts = []
  for module in modules:
    module = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}.get(
      module, module
    )
    parts.append(module.replace("_", "."))
  return ".".join([*parts, _LEAVES[collection, leaf]])


def _leaves(variables: Any) -> dict[tuple[str, ...], Any]:
  """The arrays of a variable tree by path."""
  flat, _ = jax.tree_util.tree_flatten_with_path(variables)
  return {tuple(str(entry.key) for entry in path): leaf for path, leaf in flat}


def _subtree(variables: Any, group: str) -> dict[str, Any]:
  """{"params": ..., "batch_stats": ...} of the network at `group`, e.g. "encoder/backbone"."""
  found = {}
  for collection in ("params", "batch_stats"):
    if collection not in variables:
      raise ValueError(
        f"the network at {group or 'the root'!r} has no {collection}: weights in torchvision's"
        " format are those of a backbone whose norm is 'batch'"
      )
    tree = variables[collection]
    for part in filter(None, group.split("/")):
      if part not in tree:
        raise ValueError(f"no network at {group!r} in the {collection}: {part!r} is not there")
      tree = tree[part]
    found[collection] = tree
  return found


def resnet_state(variables: Any, group: str = "") -> State:
  """The ResNet at `group` as torchvision's state dictionary (without `fc`)."""
  state = {}
  for path, leaf in _leaves(_subtree(variables, group)).items():
    array = np.asarray(leaf)
    state[torch_name(path)] = array.transpose(_TO_TORCH.get(array.ndim))
  return state


# Axes of the weights of a convolution and of a linear layer, [h, w, in, out] and [in, out] here.
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
_FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}


_ALPHAPOSE = "preact."


def _backbone_of(state: State) -> State:
  """The ResNet in a file: all of it, or, of an AlphaPose network, the backbone `preact`.

  AlphaPose shows its network RGB − mean, not divided by the standard deviation: its first layer is
  multiplied by that, to give the same on `resnet.normalise_image`. What stays is that its mean is
  (0.406, 0.457, 0.480). Its decoder (`duc1`, `conv_out`, ...) is left.
  """
  own = {k.removeprefix(_ALPHAPOSE): v for k, v in state.items() if k.startswith(_ALPHAPOSE)}
  if not own:
    return state
  if own.get("conv1.weight", np.zeros(0)).shape[1:2] == (3,):
    std = np.asarray(IMAGENET_STD, np.float32).reshape(1, 3, 1, 1)
    own["conv1.weight"] = own["conv1.weight"] * std
  return own


def _is_ignored(name: str, own: set[str]) -> bool:
  """Entries of a torchvision file that a network may leave: classifier, counters, later stages."""
  if name.startswith("fc.") or name.endswith("num_batches_tracked"):
    return True
  stage = name.split(".")[0]
  stages = {entry.split(".")[0] for entry in own if entry.startswith("layer")}
  return stage.startswith("layer") and stage > max(stages, default="layer0")


def load_resnet(path: str | os.PathLike, variables: Any, group: str = "") -> Any:
  """`variables` with the ResNet at `group` replaced by the weights in a torchvision-format file.

  Every entry of the file is used, but for the classifier, counters and stages that the network
  does not have. An AlphaPose network in the file gives its backbone, see `_backbone_of`.

  Args:
    path: `.pth` or `.safetensors`.
    variables: {"params": ..., "batch_stats": ...}, float32; not changed.
    group: where the ResNet stands in both, e.g. "encoder/backbone" or "perceptual/backbone".

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: entries are missing, left over, or of another shape; the message names them.
  """
  state = _backbone_of(load_state(path))
  own = resnet_state(variables, group)
  missing = [name for name in own if name not in state]
  surplus = [name for name in state if name not in own and not _is_ignored(name, set(own))]
  misshapen = [
    f"{name} is {state[name].shape}, expected {own[name].shape}"
    for name in own
    if name in state and state[name].shape != own[name].shape
  ]
  problems = [
    f"{title} ({len(names)}): {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    for title, names in (
      ("missing", missing),
      ("left over", surplus),
      ("of another shape", misshapen),
    )
    if names
  ]
  if problems:
    raise ValueError(
      f"the weights in {os.fspath(path)} do not fit the network at {group or 'the root'!r}:"
      f" {'; '.join(problems)}. Is the file of the same ResNet (18, 34, 50, 101, or with gates,"
      " `se`, of AlphaPose)?"
    )

  def replace(leaf_path, leaf):
    array = state[torch_name(leaf_path)]
    return jnp.asarray(array.transpose(_FROM_TORCH.get(array.ndim)), leaf.dtype)

  parts = tuple(filter(None, group.split("/")))

  def visit(key_path, leaf):
    names = tuple(str(entry.key) for entry in key_path)
    if names[0] not in ("params", "batch_stats") or names[1 : 1 + len(parts)] != parts:
      return leaf
    return replace((names[0], *names[1 + len(parts) :]), leaf)

  return jax.tree_util.tree_map_with_path(visit, variables)
