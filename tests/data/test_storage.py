"""Records by number from shards, and backgrounds from a cache of limited size."""

import pickle
import threading
import time

import cv2
import numpy as np
import pytest
from array_record.python import array_record_module

from jaxpose.data import storage
from jaxpose.data.transforms import make_letterbox

LENGTHS = [3, 5, 2]


def content(number):
  """Says which record it is, and is too random to be compressed."""
  return b"record %d " % number + np.random.default_rng(number).bytes(2000)


@pytest.fixture
def paths(tmp_path):
  found, number = [], 0
  for shard, length in enumerate(LENGTHS):
    found.append(tmp_path / f"part-{shard}")
    writer = array_record_module.ArrayRecordWriter(str(found[-1]), "group_size:1")
    for _ in range(length):
      writer.write(content(number))
      number += 1
    writer.close()
  return found


def open_shards(paths, lengths=LENGTHS):
  return storage.Shards(paths, lengths, "data set X, split train")


def test_records_come_in_the_order_asked_for(paths):
  shards = open_shards(paths)
  ids = np.array([9, 0, 3, 7, 3, 8, 2])  # of all shards, first and last of each, one twice
  assert list(shards.read(ids)) == [content(i) for i in ids]
  assert list(shards.read(np.zeros(0, np.int64))) == []


def test_records_are_read_one_at_a_time(paths):
  found = open_shards(paths).read(np.array([4, 0]))
  assert next(found) == content(4)
  paths[0].unlink()  # not opened yet
  with pytest.raises(ValueError, match="part-0"):
    next(found)


def test_only_the_shards_asked_for_are_opened(paths):
  shards = open_shards(paths)
  paths[0].unlink()
  paths[2].write_bytes(b"nonsense")
  assert list(shards.read(np.array([7, 4]))) == [content(7), content(4)]
  with pytest.raises(ValueError, match=r"split train: shard part-2 .*0 of 2 records"):
    list(shards.read(np.array([4, 8])))


def test_a_shard_of_another_length_is_refused(paths):
  with pytest.raises(ValueError, match=r"shard part-1 .*5 of 6 records"):
    next(open_shards(paths, [3, 6, 2]).read(np.array([4])))


def test_a_damaged_record_is_named_by_its_number_in_the_split(paths):
  data = bytearray(paths[1].read_bytes())
  place = data.find(content(5)[100:200])
  assert place > 0
  data[place] ^= 0xFF
  paths[1].write_bytes(data)
  shards = open_shards(paths)
  assert list(shards.read(np.array([4, 6, 0]))) == [content(4), content(6), content(0)]
  with pytest.raises(ValueError, match=r"split train, record 5: damaged in part-1"):
    list(shards.read(np.array([4, 6, 5, 0])))


def test_shards_pickle_without_their_readers(paths):
  shards = open_shards(paths)
  list(shards.read(np.arange(10)))
  other = pickle.loads(pickle.dumps(shards))
  assert list(other.read(np.array([8, 1]))) == [content(8), content(1)]
  paths[0].unlink()  # the readers are new ones: the first shard cannot be opened any more
  with pytest.raises(ValueError, match="part-0"):
    next(pickle.loads(pickle.dumps(shards)).read(np.array([1])))


def test_threads_share_a_reader(paths, monkeypatch):
  opened = []
  make = array_record_module.ArrayRecordReader

  def count(path, **options):
    opened.append(path)
    time.sleep(0.05)  # so that the others come to the same place
    return make(path, **options)

  monkeypatch.setattr(array_record_module, "ArrayRecordReader", count)
  shards, found = open_shards(paths), {}

  def read(i):
    found[i] = list(shards.read(np.array([3, i])))

  threads = [threading.Thread(target=read, args=(i,)) for i in (4, 5, 6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert opened == [str(paths[1])]
  assert found == {i: [content(3), content(i)] for i in (4, 5, 6)}


# --- backgrounds -------------------------------------------------------------------------------

HEIGHT, WIDTH = 6, 10
IMAGE_BYTES = HEIGHT * WIDTH * 3


def write_backgrounds(folder, names):
  images = {}
  for number, name in enumerate(names):
    images[name] = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert cv2.imwrite(str(folder / name), images[name][..., ::-1])  # OpenCV writes BGR
  return images


def test_backgrounds_are_rgb_and_read_once(tmp_path):
  images = write_backgrounds(tmp_path, ["a.png"])
  cache = storage.BackgroundCache(tmp_path)
  np.testing.assert_array_equal(cache.image("a.png"), images["a.png"])
  (tmp_path / "a.png").unlink()
  np.testing.assert_array_equal(cache.image("a.png"), images["a.png"])


def test_backgrounds_are_kept_for_each_size(tmp_path):
  images = write_backgrounds(tmp_path, ["a.png"])
  cache = storage.BackgroundCache(tmp_path)
  # 6 x 10 in 12 x 10: as it is, with three black rows above and below
  found = cache.letterboxed("a.png", make_letterbox((HEIGHT, WIDTH), (12, 10)))
  np.testing.assert_array_equal(found[3:9], images["a.png"])
  assert not found[:3].any()
  assert not found[9:].any()
  # 6 x 10 in 6 x 14: two black columns on either side
  wide = cache.letterboxed("a.png", make_letterbox((HEIGHT, WIDTH), (6, 14)))
  np.testing.assert_array_equal(wide[:, 2:12], images["a.png"])
  assert cache.image("a.png").shape == (HEIGHT, WIDTH, 3)
  (tmp_path / "a.png").unlink()
  again = cache.letterboxed("a.png", make_letterbox((HEIGHT, WIDTH), (12, 10)))
  np.testing.assert_array_equal(again, found)
  with pytest.raises(ValueError, match="missing"):
    cache.letterboxed("a.png", make_letterbox((HEIGHT, WIDTH), (24, 20)))


def test_the_least_recently_used_background_is_dropped_first(tmp_path, monkeypatch):
  monkeypatch.setattr(storage, "BACKGROUND_CACHE_BYTES", 2 * IMAGE_BYTES)
  names = ["a.png", "b.png", "c.png", "d.png"]
  images = write_backgrounds(tmp_path, names)
  cache = storage.BackgroundCache(tmp_path)
  for name in ("a.png", "b.png", "a.png", "c.png"):  # b goes when c comes
    cache.image(name)
  (tmp_path / "a.png").unlink()
  (tmp_path / "b.png").unlink()
  np.testing.assert_array_equal(cache.image("a.png"), images["a.png"])
  with pytest.raises(ValueError, match=r"b\.png is missing"):
    cache.image("b.png")
  cache.image("d.png")  # c goes: a has been looked at since
  (tmp_path / "c.png").unlink()
  cache.image("a.png")
  with pytest.raises(ValueError, match=r"c\.png is missing"):
    cache.image("c.png")


def test_one_background_is_kept_however_large(tmp_path, monkeypatch):
  monkeypatch.setattr(storage, "BACKGROUND_CACHE_BYTES", IMAGE_BYTES // 2)
  write_backgrounds(tmp_path, ["a.png", "b.png"])
  cache = storage.BackgroundCache(tmp_path)
  cache.image("a.png")
  cache.image("b.png")
  for path in tmp_path.iterdir():
    path.unlink()
  cache.image("b.png")
  with pytest.raises(ValueError, match="missing"):
    cache.image("a.png")


def test_a_damaged_background_is_named(tmp_path):
  (tmp_path / "a.png").write_bytes(b"nonsense")
  with pytest.raises(ValueError, match=r"background .*a\.png is damaged"):
    storage.BackgroundCache(tmp_path).image("a.png")
