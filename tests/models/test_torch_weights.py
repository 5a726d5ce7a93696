import collections
import io
import pickle
import struct
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.models import resnet, torch_weights

X = jnp.zeros((1, 16, 16, 3))


def small(stage_sizes=(1, 1), seed=0):
  """Variables of a small ResNet with every leaf random."""
  model = resnet.ResNet(stage_sizes=stage_sizes, block=resnet.BasicBlock, widths=(4, 6, 8))
  variables = jax.eval_shape(lambda: model.init(jax.random.key(0), X, False))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.5, 1, a.shape), a.dtype), variables)


class FakeTensor:
  """Pickles as torch pickles a tensor on storage `key`."""

  def __init__(self, key, array, stride=None, offset=0):
    self.key, self.array, self.offset = key, array, offset
    self.stride = stride or tuple(step // array.itemsize for step in array.strides)

  def __reduce__(self):
    arguments = (self, self.offset, self.array.shape, self.stride, False, {})
    return _stub("torch._utils", "_rebuild_tensor_v2"), arguments


def _stub(module, name):
  stub = type(name, (), {})
  stub.__module__, stub.__qualname__ = module, name
  return stub


class TorchPickler(pickle._Pickler):
  """Writes classes of modules that are not installed, and storages as persistent ids."""

  def __init__(self, file):
    super().__init__(file, protocol=2)
    self.inside = set()

  def save_global(self, obj, name=None):
    if obj.__module__.startswith("torch"):
      self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__qualname__}\n".encode())
    else:
      super().save_global(obj, name)

  def persistent_id(self, obj):
    if isinstance(obj, FakeTensor) and id(obj) in self.inside:
      storage = _stub("torch", "FloatStorage")
      return "storage", storage, obj.key, "cpu", obj.array.size
    if isinstance(obj, FakeTensor):
      self.inside.add(id(obj))
    return None

  dispatch = pickle._Pickler.dispatch | {type: save_global}


def pickled(obj):
  file = io.BytesIO()
  TorchPickler(file).dump(obj)
  return file.getvalue()


def write_zip(path, obj, tensors):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", pickled(obj))
    archive.writestr("archive/byteorder", "little")
    for tensor in tensors:
      archive.writestr(f"archive/data/{tensor.key}", tensor.array.tobytes())


def write_legacy(path, obj, tensors):
  with open(path, "wb") as file:
    for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
      pickle.dump(header, file, protocol=2)
    file.write(pickled(obj))
    pickle.dump([tensor.key for tensor in tensors], file, protocol=2)
    for tensor in tensors:
      file.write(struct.pack("<q", tensor.array.size) + tensor.array.tobytes())


def fake_state(state):
  tensors = [
    FakeTensor(str(i), np.ascontiguousarray(array)) for i, array in enumerate(state.values())
  ]
  return collections.OrderedDict(zip(state, tensors, strict=True)), tensors


def assert_same(got, expected):
  jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_pth_files_load_without_torch(tmp_path, write):
  source, target = small(seed=1), small(seed=2)
  path = tmp_path / "weights.pth"
  write(path, *fake_state(torch_weights.resnet_state(source)))
  assert_same(torch_weights.load_resnet(path, target), source)


def test_strided_tensors_and_offsets_are_read_in_order(tmp_path):
  base = np.arange(10, dtype=np.float32)
  view = FakeTensor("0", base, stride=(1, 3), offset=2)
  view.array = base
  tensor = FakeTensor("0", np.zeros((3, 2), np.float32), stride=(1, 3), offset=2)
  path = tmp_path / "weights.pth"
  write_zip(path, {"view": tensor}, [view])
  # element (i, j) stands at 2 + i + 3j
  expected = [[2, 5], [3, 6], [4, 7]]
  np.testing.assert_array_equal(torch_weights.load_state(path)["view"], expected)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
  short = FakeTensor("0", np.zeros(5, np.float32))
  long = FakeTensor("0", np.zeros((3, 2), np.float32))
  write_zip(tmp_path / "weights.pth", {"x": long}, [short])
  with pytest.raises(ValueError, match="beyond its storage"):
    torch_weights.load_state(tmp_path / "weights.pth")


def test_pickles_that_name_other_classes_are_refused_and_not_run(tmp_path):
  class Harmful:
    def __reduce__(self):
      return eval, (f"open({str(tmp_path / 'run')!r}, 'w')",)

  path = tmp_path / "weights.pth"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", pickle.dumps({"x": Harmful()}))
  with pytest.raises(ValueError, match=r"builtins\.eval"):
    torch_weights.load_state(path)
  assert not (tmp_path / "run").exists()


def test_safetensors_round_trip_at_a_group(tmp_path):
  source, target = small(seed=1), small(seed=2)
  path = tmp_path / "weights.safetensors"
  torch_weights.save_safetensors(path, torch_weights.resnet_state(source))
  scene = {
    "params": {"encoder": {"backbone": target["params"], "head": jnp.ones(3)}},
    "batch_stats": {"encoder": {"backbone": target["batch_stats"]}},
  }
  got = torch_weights.load_resnet(path, scene, "encoder/backbone")
  assert_same(got["params"]["encoder"]["backbone"], source["params"])
  assert_same(got["batch_stats"]["encoder"]["backbone"], source["batch_stats"])
  np.testing.assert_array_equal(got["params"]["encoder"]["head"], [1, 1, 1])
  with pytest.raises(ValueError, match="'trunk' is not there"):
    torch_weights.load_resnet(path, scene, "encoder/trunk")


def test_names_are_torchvisions():
  names = set(torch_weights.resnet_state(small()))
  assert {"conv1.weight", "bn1.running_var", "layer1.0.conv2.weight", "layer2.0.bn1.bias"} <= names
  assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_mean"} <= names
  assert torch_weights.resnet_state(small())["layer2.0.conv1.weight"].shape == (6, 4, 3, 3)


def test_classifier_counters_and_later_stages_may_be_left_over(tmp_path):
  source, target = small((1, 1, 1), seed=1), small((1, 1), seed=2)
  state = torch_weights.resnet_state(source)
  state |= {"fc.weight": np.ones((5, 8)), "fc.bias": np.ones(5)}
  state["bn1.num_batches_tracked"] = np.asarray(3)
  path = tmp_path / "weights.safetensors"
  torch_weights.save_safetensors(path, state)
  got = torch_weights.load_resnet(path, target)
  assert_same(got["params"]["layer2_0"], source["params"]["layer2_0"])


def test_entries_that_do_not_fit_are_named(tmp_path):
  state = torch_weights.resnet_state(small())
  del state["layer1.0.conv1.weight"]
  state["layer1.1.conv1.weight"] = np.zeros((4, 4, 3, 3), np.float32)
  state["bn1.bias"] = np.zeros(9, np.float32)
  path = tmp_path / "weights.safetensors"
  torch_weights.save_safetensors(path, state)
  with pytest.raises(ValueError, match=r"missing \(1\): layer1\.0\.conv1\.weight") as error:
    torch_weights.load_resnet(path, small())
  assert "left over (1): layer1.1.conv1.weight" in str(error.value)
  assert "bn1.bias is (9,), expected (4,)" in str(error.value)


def test_a_network_without_batch_norm_is_an_error_that_says_so(tmp_path):
  path = tmp_path / "weights.safetensors"
  torch_weights.save_safetensors(path, torch_weights.resnet_state(small()))
  grouped = {"params": {"encoder": {"backbone": small()["params"]}}}
  with pytest.raises(ValueError, match=r"'encoder/backbone' has no batch_stats.*norm is 'batch'"):
    torch_weights.load_resnet(path, grouped, "encoder/backbone")


def test_files_that_are_no_weights(tmp_path):
  with pytest.raises(FileNotFoundError, match="nothing"):
    torch_weights.load_state(tmp_path / "nothing.pth")
  for name in ("text.pth", "text.safetensors"):
    (tmp_path / name).write_text("these are no weights")
    with pytest.raises(ValueError, match=name):
      torch_weights.load_state(tmp_path / name)
  write_zip(tmp_path / "epoch.pth", {"epoch": 3}, [])
  with pytest.raises(ValueError, match="'epoch' is no tensor"):
    torch_weights.load_state(tmp_path / "epoch.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_torch_itself_wrote(tmp_path, zipped):
  torch = pytest.importorskip("torch")
  source, target = small(seed=1), small(seed=2)
  state = torch_weights.resnet_state(source)
  tensors = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in state.items()}
  path = tmp_path / "weights.pth"
  checkpoint = {"state_dict": collections.OrderedDict(tensors)}
  torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
  assert_same(torch_weights.load_resnet(path, target), source)


def test_features_equal_torchs(tmp_path):
  torch = pytest.importorskip("torch")
  variables = small((2, 1), seed=3)
  variables["params"] = jax.tree.map(lambda a: a - 0.7, variables["params"])
  state = {k: torch.tensor(v) for k, v in torch_weights.resnet_state(variables).items()}
  functional = torch.nn.functional

  def unit(x, conv, norm, stride, pad):
    x = functional.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=pad)
    parts = (state[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(x, *parts)

  image = np.random.default_rng(0).normal(size=(2, 33, 41, 3)).astype(np.float32)
  x = torch.tensor(image.transpose(0, 3, 1, 2))
  x = functional.max_pool2d(functional.relu(unit(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
  for name, stride in (("layer1.0", 1), ("layer1.1", 1), ("layer2.0", 2)):
    y = functional.relu(unit(x, f"{name}.conv1", f"{name}.bn1", stride, 1))
    y = unit(y, f"{name}.conv2", f"{name}.bn2", 1, 1)
    if stride == 2:
      x = unit(x, f"{name}.downsample.0", f"{name}.downsample.1", 2, 0)
    x = functional.relu(x + y)
  model = resnet.ResNet((2, 1), resnet.BasicBlock, (4, 6), output="map")
  got = jax.jit(model.apply, static_argnums=2)(variables, image, False)
  np.testing.assert_allclose(got, x.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
