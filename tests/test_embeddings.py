import json
import pathlib
import tracemalloc

import numpy as np
import pytest

from jaxpose.embeddings import (
  EmbeddingWriter,
  ShardedArray,
  load_embeddings,
  load_splits,
  save_embeddings,
)


def _columns(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {
    "time_variant": rng.normal(size=(rows, 5)).astype(np.float32),
    "frame": np.arange(rows, dtype=np.int32) * 3,
    "joint_valid": rng.random((rows, 2)) < 0.5,
    "pose3d_mm": rng.normal(size=(rows, 2, 3)).astype(np.float32),
  }


_CONSTANTS = {"sequence_names": np.array(["walk", "läuft"]), "config": np.array("{}")}


def _write(path: pathlib.Path, columns: dict, pieces: tuple[int, ...], **options) -> pathlib.Path:
  below = options.pop("npz_below", 0)
  with EmbeddingWriter(path, **options) as writer:
    for piece in np.split(np.arange(len(columns["frame"])), np.cumsum(pieces)[:-1]):
      writer.append({name: array[piece] for name, array in columns.items()})
    return writer.commit(_CONSTANTS, npz_below=below)


@pytest.mark.parametrize("shard_rows", [4, 7, 23, 100])
def test_shards_hold_what_was_appended(tmp_path, shard_rows):
  columns = _columns(23)
  path = _write(tmp_path / "train", columns, (3, 12, 1, 7), shard_rows=shard_rows)
  assert path == tmp_path / "train"
  loaded = load_embeddings(tmp_path, "train")
  for name, array in columns.items():
    np.testing.assert_array_equal(np.asarray(loaded[name]), array)
    assert loaded[name].dtype == array.dtype
    assert loaded[name].shape == array.shape
  assert loaded["sequence_names"][1] == "läuft"
  assert len(list(path.glob("frame-*.npy"))) == -(-23 // shard_rows)
  assert not (tmp_path / "train.partial").exists()


def test_the_splits_of_a_run_are_those_that_there_are(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"launch/export\.py"):
    load_splits(tmp_path)
  _write(tmp_path / "test", _columns(5), (5,))
  assert list(load_splits(tmp_path)) == ["test"]
  _write(tmp_path / "train", _columns(7), (7,), npz_below=10)
  found = load_splits(tmp_path)
  assert [(split, len(arrays["frame"])) for split, arrays in found.items()] == [
    ("train", 7),
    ("test", 5),
  ]


def test_shards_are_written_as_they_fill_and_read_one_at_a_time(tmp_path):
  columns = _columns(23)
  with EmbeddingWriter(tmp_path / "train", shard_rows=4) as writer:
    for start in range(0, 10, 2):
      writer.append({name: array[start : start + 2] for name, array in columns.items()})
    # ten rows: two whole files of four lie on disk, and the rest is begun
    for name, array in columns.items():
      files = sorted((tmp_path / "train.partial").glob(f"{name}-*.npy"))
      assert len(files) == 3
      for number, file in enumerate(files[:2]):
        np.testing.assert_array_equal(np.load(file), array[4 * number : 4 * number + 4])
    writer.append({name: array[10:] for name, array in columns.items()})
    writer.commit(_CONSTANTS)
  vectors = load_embeddings(tmp_path, "train")["time_variant"]
  assert [len(part) for part in vectors.parts()] == [4] * 5 + [3]
  assert all(isinstance(part, np.memmap) for part in vectors.parts())
  (tmp_path / "train" / "time_variant-00001.npy").write_bytes(b"")  # the other rows need it not
  np.testing.assert_array_equal(vectors[[20, 1]], columns["time_variant"][[20, 1]])


def test_only_the_columns_asked_for_are_read(tmp_path):
  _write(tmp_path / "train", _columns(9), (9,), npz_below=10_000)
  assert set(load_embeddings(tmp_path, "train", names=("frame", "none"))) == {"frame"}


def test_small_sets_become_one_file(tmp_path):
  columns = _columns(9)
  path = _write(tmp_path / "train", columns, (9,), npz_below=10_000)
  assert path == tmp_path / "train.npz"
  assert [p.name for p in tmp_path.iterdir()] == ["train.npz"]
  for where in ((path,), (tmp_path, "train"), (tmp_path / "train",)):
    loaded = load_embeddings(*where)
    np.testing.assert_array_equal(loaded["pose3d_mm"], columns["pose3d_mm"])
  assert _write(tmp_path / "train", columns, (9,), npz_below=10) == tmp_path / "train"
  assert [p.name for p in tmp_path.iterdir()] == ["train"]  # the other form is gone


def test_a_sharded_array_reads_like_an_array():
  whole = np.arange(60).reshape(20, 3)
  array = ShardedArray([whole[:7], whole[7:8], whole[8:]])
  mask = np.arange(20) % 3 == 1
  for key in (0, -1, 7, slice(5, 12), slice(None, None, -4), [19, 0, 8, 8, -2], mask):
    np.testing.assert_array_equal(array[key], whole[key])
  np.testing.assert_array_equal(array[2:9, 1], whole[2:9, 1])
  assert array[8, 2] == whole[8, 2]
  np.testing.assert_array_equal(array[np.array([[1, 8], [19, 0]])], whole[[[1, 8], [19, 0]]])
  np.testing.assert_array_equal(array[[]], whole[:0])
  np.testing.assert_array_equal(np.asarray(array, np.float32), whole.astype(np.float32))
  assert (len(array), array.shape, array.ndim) == (20, (20, 3), 2)
  for key in (20, [3, 20], [-21]):
    with pytest.raises(IndexError):
      array[key]
  with pytest.raises(IndexError, match="mask"):
    array[mask[:5]]


def test_columns_can_be_derived_before_the_end(tmp_path):
  columns = _columns(11)
  with EmbeddingWriter(tmp_path / "train", shard_rows=4) as writer:
    writer.append(columns)
    middle = float(np.median(writer.column("frame")))
    writer.derive("late", "frame", lambda frame: (frame > middle).astype(np.float32))
    writer.commit(_CONSTANTS)
  loaded = load_embeddings(tmp_path, "train")
  np.testing.assert_array_equal(np.asarray(loaded["late"]), columns["frame"] > 15)


def test_an_unfinished_export_is_no_export(tmp_path):
  columns = _columns(6)
  writer = EmbeddingWriter(tmp_path / "train", shard_rows=2)
  writer.append(columns)  # killed here: never closed
  with pytest.raises(FileNotFoundError, match=r"launch/export\.py"):
    load_embeddings(tmp_path, "train")
  path = _write(tmp_path / "train", columns, (6,), shard_rows=2)
  kept = load_embeddings(path)["frame"][:]
  with pytest.raises(ValueError, match="differ"), EmbeddingWriter(tmp_path / "train") as writer:
    writer.append({"frame": np.arange(2)}) or writer.append({"frame": np.zeros(2)})
  np.testing.assert_array_equal(load_embeddings(path)["frame"][:], kept)
  assert [p.name for p in tmp_path.iterdir()] == ["train"]


def test_appends_that_do_not_fit(tmp_path):
  columns = _columns(4)
  with EmbeddingWriter(tmp_path / "a") as writer:
    writer.append(columns)
    with pytest.raises(ValueError, match="time_variant differ"):
      writer.append({**columns, "time_variant": columns["time_variant"][:, :4]})
    with pytest.raises(ValueError, match="frame differ"):
      writer.append({name: array for name, array in columns.items() if name != "frame"})
    with pytest.raises(ValueError, match="unequal length"):
      writer.append({**columns, "frame": columns["frame"][:2]})
    assert writer.rows == 4
  with EmbeddingWriter(tmp_path / "b") as writer:
    with pytest.raises(ValueError, match="Python objects"):
      writer.append({"name": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="no frame"):
      writer.commit({})
  with pytest.raises(ValueError, match="Python objects"):
    save_embeddings(tmp_path / "c.npz", {"name": np.array([{}], dtype=object)})


def test_damaged_exports_are_named(tmp_path):
  path = _write(tmp_path / "train", _columns(8), (8,), shard_rows=4)
  shard = path / "frame-00001.npy"
  shard.write_bytes(shard.read_bytes()[:-5])
  with pytest.raises(ValueError, match="train is damaged"):
    load_embeddings(path)
  shard.unlink()
  with pytest.raises(ValueError, match="frame-00001"):
    load_embeddings(path)
  manifest = json.loads((path / "manifest.json").read_text())
  (path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
  with pytest.raises(ValueError, match="format 99"):
    load_embeddings(path)
  (tmp_path / "test.npz").write_bytes(b"PK\x03\x04 nothing")
  with pytest.raises(ValueError, match=r"test\.npz is damaged"):
    load_embeddings(tmp_path, "test")


def test_nothing_pickled_is_loaded(tmp_path):
  np.savez(tmp_path / "train.npz", frame=np.array([{}], dtype=object))
  with pytest.raises(ValueError, match="damaged"):
    load_embeddings(tmp_path, "train")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
  def full(*_args, **_more):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("jaxpose.embeddings._Shard.append", full)
  with pytest.raises(OSError, match=r"cannot write .*train: No space left"):
    _write(tmp_path / "train", _columns(3), (3,))
  assert list(tmp_path.iterdir()) == []


def test_writing_needs_flat_memory(tmp_path):
  # 40 appends of 2 MB each: the writer never holds more than a few of them
  columns = {"time_variant": np.zeros((4096, 128), np.float32)}
  with EmbeddingWriter(tmp_path / "train", shard_rows=10_000) as writer:
    writer.append(columns)
    tracemalloc.start()
    for _ in range(40):
      writer.append(columns)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    writer.commit({})
  assert peak < 4 * columns["time_variant"].nbytes
