"""What memory an index and its tables need for each frame, and that a draw looks at few of them."""

import tracemalloc

import numpy as np
import pytest
from tiny_data import make_index, make_large, make_large_batches

from jaxpose.data import pairs, sampling, views
from jaxpose.data.clock import make_clock, smallest_integer
from jaxpose.data.index import open_dataset

TRACKS, LENGTH = 150, 2000  # two cameras a sequence
FRAMES = TRACKS * LENGTH


@pytest.fixture(scope="module")
def index():
  return make_index([range(LENGTH)] * TRACKS, sequences=[i // 2 for i in range(TRACKS)])


def peak_bytes(function):
  function()
  tracemalloc.start()
  function()
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  return peak


@pytest.mark.parametrize("unit", ["frames", "s"])
def test_a_table_has_eight_bytes_for_a_frame(index, unit):
  table = sampling.build_triplets(index, near_max=3, far_min=60, far_max=70, unit=unit)
  assert table.clock.key.nbytes == 4 * FRAMES
  assert table.references.nbytes <= 4 * FRAMES
  # 300,000 · 8 bytes would be 2.4 MB: looking at every frame once shows
  examples = np.arange(32)
  assert peak_bytes(lambda: sampling.sample_triplets(table, 5, examples)) < 100_000
  ids = sampling.sample_triplets(table, 5, examples)
  assert peak_bytes(lambda: table.clock.elapsed(ids)) < 100_000


def test_pairs_are_drawn_without_a_look_at_every_frame(index):
  table = pairs.build_pairs(index, gap_min=2, gap_max=9, probabilities=(0.3, 0.4, 0.3))
  assert table.references[0].nbytes == 4 * FRAMES  # every frame has one at the same instant
  assert peak_bytes(lambda: pairs.sample_pairs(table, 5, np.arange(32))) < 100_000


def test_views_are_drawn_without_a_look_at_every_frame(index):
  table = views.build_views(index, gap_min=2, gap_max=9)
  assert table.references.nbytes == 4 * FRAMES
  assert table.shared.nbytes == 2 * FRAMES  # a byte for each camera
  assert peak_bytes(lambda: views.sample_views(table, 5, np.arange(32))) < 100_000


def test_making_a_table_of_views_needs_bounded_memory(index, monkeypatch):
  monkeypatch.setattr(sampling, "_CHUNK", 5000)
  monkeypatch.setattr("jaxpose.data.clock._CHUNK", 5000)
  peak = peak_bytes(lambda: views.build_views(index, gap_min=2, gap_max=9))
  # key, references twice, a comparison of neighbours, two flags; chunks and the tracks around them
  assert peak < (4 + 4 + 4 + 2 + 2) * FRAMES + 40 * 8 * 9000


def test_making_a_table_needs_bounded_memory(index, monkeypatch):
  # by chunks: the tables and a few numbers for each frame of a chunk
  monkeypatch.setattr(sampling, "_CHUNK", 5000)
  monkeypatch.setattr("jaxpose.data.clock._CHUNK", 5000)
  peak = peak_bytes(lambda: sampling.build_triplets(index, near_max=3, far_min=60, unit="s"))
  # key and references, these once more to join their parts, a comparison of all neighbours
  assert peak < (4 + 4 + 4 + 2) * FRAMES + 40 * 8 * 5000


def test_opening_needs_hardly_more_than_the_index(tmp_path):
  directory = make_large(tmp_path, 100, 2000)
  stored = (directory / "index_train.npz").stat().st_size
  assert stored < 11 * 200_000 + 20_000
  assert peak_bytes(lambda: open_dataset(directory, "train")) < stored + 600_000  # a buffer


@pytest.mark.slow
def test_millions_of_frames_need_less_than_200_mib(tmp_path):
  directory = make_large(tmp_path)

  def draw():
    maker = make_large_batches(directory)
    assert maker.sources[0].dataset.num_frames == 3_600_000
    assert maker.draw_temporal(0, maker.examples(0))[1].shape == (32, 4)

  assert peak_bytes(draw) < 200 * 2**20


def test_numbers_too_large_for_four_bytes_get_eight():
  assert smallest_integer(2**31 - 1) is np.int32
  assert smallest_integer(2**31) is np.int64
  # two tracks with half of the largest number of frames in between
  long = make_index([[0, 1, 2**30 + 7], [5, 6, 2**30 + 10]])
  clock = make_clock(long, "frames")
  assert clock.key.dtype == np.int64
  track, tick = np.array([0, 1, 1]), np.array([2**30 + 7, 5, 2**30 + 10])
  np.testing.assert_array_equal(clock.seek(track, tick, "left"), [2, 3, 5])
