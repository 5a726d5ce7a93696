"""An index of 3.6 million frames: opening it, making the tables of a sampler, drawing a batch.

pytest tests/benchmarks/test_large_index.py --benchmark-only --benchmark-columns=min,median,max
"""

import pytest
from tiny_data import make_large, make_large_batches

from jaxpose.data.index import open_dataset


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  return make_large(tmp_path_factory.mktemp("data"))


def test_opening(benchmark, directory):
  assert benchmark(open_dataset, directory, "train").num_frames == 3_600_000


@pytest.mark.parametrize("unit", ["frames", "s"])
def test_opening_and_making_tables(benchmark, directory, unit):
  assert len(benchmark(lambda: make_large_batches(directory, unit).tables).clocks) == 1


@pytest.mark.parametrize("unit", ["frames", "s"])
def test_drawing_32_examples_of_four_frames(benchmark, directory, unit):
  maker = make_large_batches(directory, unit)
  maker.tables  # noqa: B018  made on first use
  steps = iter(range(10**9))

  def draw():
    step = next(steps)
    _, ids, _ = maker.draw_temporal(step, maker.examples(step))
    maker.sources[0].dataset.columns(ids.ravel())
    return maker.tables.clocks[0].elapsed(ids)

  assert benchmark(draw).shape == (32, 4)
