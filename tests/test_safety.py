"""No file from elsewhere runs code: not by pickles, not by the folder of a data set."""

import ast
import io
import pickle
import shutil
import struct
import zipfile

import damage
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from launching import ROOT
from tiny_data import open_tiny

from datasets import registry
from datasets.video_folder.staging import StagedCamera
from jaxpose import files
from jaxpose.data import calibration, labels
from jaxpose.data.index import open_dataset
from jaxpose.embeddings import load_embeddings
from jaxpose.evaluation.regressor import load_regressor
from jaxpose.models import torch_weights

# Calls that run what they read, or a shell; as they are written in the source.
FORBIDDEN = (
  *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load"),
  *("pickle.loads", "cPickle.load", "marshal.load", "marshal.loads", "shelve.open", "joblib.load"),
  *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "torch.load"),
  *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "runpy.run_path", "runpy.run_module"),
  *("tfds.load", "tfds.builder", "tfds.builder_from_directory", "numpy.load", "pandas.read_pickle"),
)
# Start a job of this repository, with arguments that were given or checked.
STARTS_JOBS = ("launch/hosts.py", "launch/children.py")
# What is dangerous but for the one place that is looked at in a test of its own.
ONCE = {
  "importlib.import_module": "datasets/registry.py",
  "ElementTree.fromstring": "jaxpose/data/calibration.py",
  "pickle.Unpickler": "jaxpose/models/torch_weights.py",
}


def _calls():
  for folder in ("jaxpose", "datasets", "launch", "configs"):
    for path in sorted((ROOT / folder).rglob("*.py")):
      for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
          yield path.relative_to(ROOT).as_posix(), ast.unparse(node.func), node
        elif isinstance(node, ast.ClassDef):
          for base in node.bases:
            yield path.relative_to(ROOT).as_posix(), ast.unparse(base), node


def test_nothing_is_called_that_runs_what_it_reads():
  found = list(_calls())
  assert len(found) > 5000  # the search looks at something
  for path, name, node in found:
    where = f"{path}:{node.lineno}: {name}"
    assert name not in FORBIDDEN, where
    assert not name.startswith("subprocess.") or path in STARTS_JOBS, where
    if name in ONCE:
      assert path == ONCE[name], where
    if name == "np.load":
      given = {key.arg: ast.unparse(key.value) for key in node.keywords}
      assert given.get("allow_pickle") == "False", where


class Harmful:
  """Writes a file when it is unpickled."""

  def __init__(self, target):
    self.target = target

  def __reduce__(self):
    return open, (str(self.target), "w")


def _npz_with_pickle(path, target):
  path.parent.mkdir(parents=True, exist_ok=True)
  value = np.empty(1, object)
  value[0] = Harmful(target)
  np.savez(path, frame=value, points=value, description=value)


@pytest.mark.parametrize(
  ("name", "read"),
  [
    ("labels.npz", lambda path: labels.load_labels(path)),
    ("train.npz", lambda path: load_embeddings(path)),
    ("regressor.npz", lambda path: load_regressor(path)),
    ("any.npz", lambda path: files.load_npz(path)),
    ("columns.npz", lambda path: StagedCamera.open(path.parent)),
  ],
)
def test_pickles_in_archives_are_not_loaded(tmp_path, name, read):
  target = tmp_path / "run"
  path = tmp_path / "in" / name
  _npz_with_pickle(path, target)
  (path.parent / "meta.json").write_text("{}")
  with pytest.raises(ValueError, match=f"{name}.*Python objects"):
    read(path)
  assert not target.exists()
  with np.load(path, allow_pickle=True) as archive:  # it would have
    archive["frame"][0].close()
  assert target.exists()


def test_pickles_in_shards_of_an_export_are_not_loaded(tmp_path):
  folder = tmp_path / "train"
  folder.mkdir()
  value = np.empty(1, object)
  value[0] = Harmful(tmp_path / "run")
  np.save(folder / "frame-00000.npy", value, allow_pickle=True)
  columns = '{"frame": {"dtype": "object", "shape": []}}'
  manifest = f'{{"format": 1, "rows": 1, "shards": [1], "columns": {columns}}}'
  (folder / "manifest.json").write_text(manifest)
  with pytest.raises(ValueError, match="train is damaged"):
    load_embeddings(folder)
  assert not (tmp_path / "run").exists()


def test_a_data_folder_runs_nothing(tmp_path):
  dataset = open_tiny(tmp_path / "data")
  copy = tmp_path / "copy"
  shutil.copytree(dataset.directory, copy)
  target = tmp_path / "run"
  for name in ("tiny_video.py", "__init__.py", "builder.py", "conftest.py"):
    (copy / name).write_text(f"open({str(target)!r}, 'w')")
  feature = '{"pythonClassName": "tiny_video.Feature", "proto_cls": "os.system"}'
  (copy / "features.json").write_text(feature)
  _npz_with_pickle(copy / "extra.npz", target)
  opened = open_dataset(copy, "train")
  assert opened.read(np.arange(3), with_labels=True)["image"].shape == (3, 24, 40, 3)
  assert not target.exists()
  _npz_with_pickle(copy / "index_train.npz", target)
  with pytest.raises(ValueError, match=r"index_train\.npz.*Python objects"):
    open_dataset(copy, "train")
  assert not target.exists()


@pytest.mark.parametrize("name", ["os", "../tests", "synthetic_people.builder", "", "."])
def test_a_source_is_a_folder_of_ours(tmp_path, name):
  with pytest.raises(ValueError, match="no data set"):
    registry.prepare_dataset(name, "default", tmp_path)


def test_a_tag_of_yaml_runs_nothing(tmp_path):
  target = tmp_path / "run"
  call = f'!!python/object/apply:os.system ["touch {target}"]'
  for text in (f"%YAML:1.0\n---\nimage_width: {call}\n", f"camera_matrix: {call}\n"):
    path = damage.write(tmp_path / "cal.yml", text.encode())
    with pytest.raises(calibration.CalibrationError, match=r"cal\.yml"):
      calibration.load_calibration(path)
  assert not target.exists()


def _state(size=(2, 3), stride=(3, 1), count=6):
  """What torch.save writes of one tensor of 6 floats: {"w": tensor}."""
  import collections

  class Storage:
    pass

  class Rebuild:
    def __reduce__(self):
      return torch_weights._Tensor, (Storage(), 0, size, stride)

  class Pickler(pickle._Pickler):
    def persistent_id(self, value):
      if isinstance(value, Storage):
        return ("storage", FloatStorage, "0", "cpu", count)
      return None

    def save_global(self, value, name=None):
      module, called = {
        torch_weights._Tensor: ("torch._utils", "_rebuild_tensor_v2"),
        FloatStorage: ("torch", "FloatStorage"),
      }.get(value, (value.__module__, value.__name__))
      self.write(f"c{module}\n{called}\n".encode())

    dispatch = pickle._Pickler.dispatch | {type: save_global}

  class FloatStorage:
    pass

  stream = io.BytesIO()
  Pickler(stream, 2).dump(collections.OrderedDict(w=Rebuild()))
  return stream.getvalue()


def _pth(pickled, kind=zipfile.ZIP_STORED):
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w", kind) as archive:
    archive.writestr("archive/data.pkl", pickled)
    archive.writestr("archive/data/0", struct.pack("<6f", *range(6)))
  return stream.getvalue()


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_damaged_weights_are_arrays_or_named(tmp_path, ending):
  path = damage.write(tmp_path / f"w.{ending}", _pth(_state()))
  values = np.arange(6, dtype=np.float32).reshape(2, 3)
  if ending == "safetensors":
    torch_weights.save_safetensors(path, {"w": values})
  np.testing.assert_array_equal(torch_weights.load_state(path)["w"], values)

  @settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
  )
  @given(damage.damaged_bytes([path.read_bytes()]))
  def check(data):
    bad = damage.write(tmp_path / f"bad.{ending}", data)
    damage.refused_or_read(lambda: torch_weights.load_state(bad), bad.name)

  check()


@pytest.mark.parametrize(
  "pickled",
  [
    _state(size=(10**6, 10**6), stride=(0, 0)),  # one number seen a million million times
    _state(size=(10**12,), stride=(1,)),
  ],
)
def test_a_tensor_is_no_larger_than_its_storage(tmp_path, pickled):
  path = damage.write(tmp_path / "w.pth", _pth(pickled))
  with damage.little_memory(), pytest.raises(ValueError, match=r"w\.pth.*beyond its storage"):
    torch_weights.load_state(path)


def test_weights_that_are_compressed_are_refused_before_they_grow(tmp_path):
  path = damage.write(tmp_path / "w.pth", _pth(_state() + bytes(10**7), zipfile.ZIP_DEFLATED))
  with pytest.raises(ValueError, match=r"w\.pth.*compressed"):
    torch_weights.load_state(path)
