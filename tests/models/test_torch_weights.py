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


# --- whole networks against torch's own layers -------------------------------------------------


def torch_modules():
  """torchvision's residual networks and AlphaPose's gates, written with their names of modules."""
  torch = pytest.importorskip("torch")
  nn, relu = torch.nn, torch.nn.functional.relu

  class Gate(nn.Module):
    def __init__(self, width):
      super().__init__()
      layers = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Sigmoid()
      self.fc = nn.Sequential(*layers)

    def forward(self, x):
      return x * self.fc(x.mean((2, 3)))[:, :, None, None]

  class Block(nn.Module):
    def __init__(self, before, width, stride, bottleneck, gated):
      super().__init__()
      after = width * (4 if bottleneck else 1)
      plan = [(before, width, 3, stride), (width, width, 3, 1)]
      if bottleneck:
        plan = [(before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1)]
      self.count = len(plan)
      for i, (first, last, size, step) in enumerate(plan, start=1):
        setattr(self, f"conv{i}", nn.Conv2d(first, last, size, step, size // 2, bias=False))
        setattr(self, f"bn{i}", nn.BatchNorm2d(last))
      projected = before != after or stride != 1
      self.se = Gate(after) if gated and projected else None
      shortcut = nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
      self.downsample = nn.Sequential(*shortcut) if projected else None

    def forward(self, x):
      y = x
      for i in range(1, self.count + 1):
        y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
        y = relu(y) if i < self.count else y
      y = y if self.se is None else self.se(y)
      return relu(y + (x if self.downsample is None else self.downsample(x)))

  class Network(nn.Module):
    def __init__(self, sizes, bottleneck, gated=False):
      super().__init__()
      self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
      before = 64
      for i, (count, width) in enumerate(zip(sizes, (64, 128, 256, 512)), start=1):
        after = width * (4 if bottleneck else 1)
        starts = [before] + [after] * (count - 1)
        strides = [1 if i == 1 else 2] + [1] * (count - 1)
        blocks = [Block(b, width, s, bottleneck, gated) for b, s in zip(starts, strides)]
        setattr(self, f"layer{i}", nn.Sequential(*blocks))
        before = after
      self.fc = nn.Linear(before, 1000)

    def forward(self, x):
      x = torch.nn.functional.max_pool2d(relu(self.bn1(self.conv1(x))), 3, 2, 1)
      for i in range(1, 5):
        x = getattr(self, f"layer{i}")(x)
      return x.mean((2, 3))

  class Pose(nn.Module):
    def __init__(self, preact):
      super().__init__()
      self.preact, self.conv_out = preact, nn.Conv2d(512, 17, 3)

  return Network, Pose


def shake(torch, network):
  """Random weights that keep features near one in size, and random running statistics."""
  torch.manual_seed(1)
  for name, tensor in network.state_dict().items():
    if name.endswith(("running_var", "bn1.weight", "bn2.weight", "downsample.1.weight")):
      tensor.uniform_(0.8, 1.2)
    elif tensor.ndim == 1:  # the last norm of a branch is small, so that depth adds up to little
      tensor.uniform_(-0.3, 0.3)
  return network.eval()


NETWORKS = [
  ("resnet18", (2, 2, 2, 2), False),
  ("se_resnet50", (3, 4, 6, 3), True),
  pytest.param("resnet34", (3, 4, 6, 3), False, marks=pytest.mark.slow),
  pytest.param("resnet101", (3, 4, 23, 3), True, marks=pytest.mark.slow),
  pytest.param("resnet50", (3, 4, 6, 3), True, marks=pytest.mark.slow),
  pytest.param("se_resnet101", (3, 4, 23, 3), True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "sizes", "bottleneck"), NETWORKS)
def test_features_of_a_whole_network_equal_torchs(tmp_path, name, sizes, bottleneck):
  torch = pytest.importorskip("torch")
  make_network, make_pose = torch_modules()
  gated = name.startswith("se_")
  network = shake(torch, make_network(sizes, bottleneck, gated))
  path = tmp_path / "weights.pth"
  if gated:
    del network.fc  # AlphaPose has none
  torch.save((make_pose(network) if gated else network).state_dict(), path)
  image = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
  shown = image * (np.float32(resnet.IMAGENET_STD) if gated else np.float32(1))
  with torch.no_grad():
    expected = network(torch.tensor(shown.transpose(0, 3, 1, 2))).numpy()
  model = resnet.RESNETS[name]()
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), X, False))
  empty = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), shapes)
  variables = torch_weights.load_resnet(path, empty)
  got = np.asarray(jax.jit(model.apply, static_argnums=2)(variables, image, False))
  assert got.shape == (2, 2048 if bottleneck else 512)
  assert 0.01 < np.abs(expected).mean() < 100
  assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_gates_stand_where_a_block_projects_and_are_asked_for(tmp_path):
  model = resnet.ResNet((2, 2), resnet.BasicBlock, (4, 6), gated=True)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), X, False))
  gated = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), shapes)
  state = torch_weights.resnet_state(gated)
  # the first stage of basic blocks projects nothing: 4 channels in, 4 out
  gates = {name: array.shape for name, array in state.items() if ".se." in name}
  both = {f"layer2.0.se.fc.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}
  assert set(gates) == both
  assert gates["layer2.0.se.fc.0.weight"] == (6, 6)
  path = tmp_path / "weights.safetensors"
  torch_weights.save_safetensors(path, {f"preact.{k}": v for k, v in state.items()})
  with pytest.raises(ValueError, match=r"left over \(4\): layer2\.0\.se\.fc\.0\.bias"):
    torch_weights.load_resnet(path, small((2, 2)))
  plain = {name: array for name, array in state.items() if ".se." not in name}
  torch_weights.save_safetensors(path, plain)
  with pytest.raises(ValueError, match=r"missing \(4\): layer2\.0\.se"):
    torch_weights.load_resnet(path, gated)


def test_the_first_layer_of_alphapose_is_told_of_our_deviation(tmp_path):
  source = small(seed=1)
  state = torch_weights.resnet_state(source)
  path = tmp_path / "weights.safetensors"
  named = {f"preact.{k}": v for k, v in state.items()} | {"conv_out.weight": np.ones((2, 8, 3, 3))}
  torch_weights.save_safetensors(path, named)
  got = torch_weights.load_resnet(path, small(seed=2))
  first, own = (tree["params"].pop("conv1")["kernel"] for tree in (got, source))
  for channel, std in enumerate((0.229, 0.224, 0.225)):
    np.testing.assert_allclose(first[:, :, channel], own[:, :, channel] * std, rtol=1e-6)
  assert_same(got, source)
