"""Memory goes from worker to parent and back, and to nobody else in between."""

import errno
import gc
import os

import numpy as np
import pytest

from jaxpose.data.handover import Opener, Pool, Reference


@pytest.fixture
def pool(tmp_path):
  return Pool(tmp_path)


@pytest.fixture
def opener(tmp_path):
  return Opener(tmp_path)


def hand_over(pool, opener, value, shape=(2, 3, 5), dtype=np.uint8):
  """What the parent sees of an array full of a value."""
  array = pool.allocate(shape, dtype)
  array[...] = value
  return opener.open(pool.refer({"a": {"b": array}})["a"]["b"])


def test_an_array_arrives_as_it_was_sent(pool, opener, tmp_path):
  sent = pool.allocate((4, 5), np.int32)
  sent[...] = np.arange(20).reshape(4, 5)
  plain = np.arange(3)
  batch = pool.refer({"a": {"large": sent.reshape(2, 2, 5), "small": plain}})
  assert isinstance(batch["a"]["large"], Reference)
  assert batch["a"]["small"] is plain
  found = opener.open(batch["a"]["large"])
  assert type(found) is np.ndarray
  assert found.dtype == np.int32
  np.testing.assert_array_equal(found, np.arange(20).reshape(2, 2, 5))
  np.testing.assert_array_equal(opener.open(plain), plain)
  assert list(tmp_path.iterdir()) == []  # no name is left once both have it
  sent[0, 0] = 77
  assert found[0, 0, 0] == 77  # one memory


def test_memory_is_lent_until_the_last_view_of_it_is_gone(pool, opener):
  first = hand_over(pool, opener, 1)
  row = first[1, 2]
  assert len(pool._maps) == 1
  del first
  gc.collect()
  second = hand_over(pool, opener, 2)
  assert len(pool._maps) == 2
  np.testing.assert_array_equal(row, [1] * 5)
  del row
  gc.collect()
  third = hand_over(pool, opener, 3)
  assert len(pool._maps) == 2
  np.testing.assert_array_equal(second, np.full((2, 3, 5), 2))
  np.testing.assert_array_equal(third, np.full((2, 3, 5), 3))


def test_arrays_that_are_not_sent_yet_are_not_shared(pool):
  one, other = pool.allocate((7,), np.uint8), pool.allocate((7,), np.uint8)
  one[...], other[...] = 1, 2
  assert set(one) == {1}


def test_memory_serves_arrays_of_its_size_alone(pool, opener):
  hand_over(pool, opener, 1, (2, 6))
  hand_over(pool, opener, 1, (3, 4))
  assert len(pool._maps) == 1
  hand_over(pool, opener, 1, (3, 5))
  assert len(pool._maps) == 2


def test_what_is_lent_outlives_the_opener(pool, tmp_path):
  found = hand_over(pool, Opener(tmp_path), 9)
  gc.collect()
  assert set(found.ravel()) == {9}


def test_too_little_shared_memory_is_an_error_not_a_crash(pool, monkeypatch):
  def full(*_unused):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "posix_fallocate", full)
  with pytest.raises(OSError, match=r"no 3 MiB of shared memory left .*use fewer workers"):
    pool.allocate((3, 2**20), np.uint8)
