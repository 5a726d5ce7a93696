"""An index of 3.6 million frames: opening it, making the tables of a sampler, drawing a batch.

pytest tests/benchmarks/test_large_index.py --benchmark-only --benchmark-columns=min,median,max
"""

import pytest
from tiny_data import make_large

from jaxpose.data.batches import BatchMaker, Source, TemporalConfig
from jaxpose.data.index import open_dataset


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  return make_large(tmp_path_factory.mktemp("data"))


def make(directory, unit="frames"):
  scale = 1 if unit == "frames" else 1 / 50
  return BatchMaker(
    [Source(open_dataset(directory, "train"))],
    temporal=TemporalConfig(near_max=10 * scale, far_min=60 * scale, unit=unit),
    pair=None,
    batch_size=32,
    seed=0,
    image_size=None,
    host_index=0,
    host_count=1,
  )


def test_opening(benchmark, directory):
  benchmark(open_dataset, directory, "train")


@pytest.mark.parametrize("unit", ["frames", "s"])
def test_opening_and_making_tables(benchmark, directory, unit):
  benchmark(lambda: make(directory, unit).tables)


@pytest.mark.parametrize("unit", ["frames", "s"])
def test_drawing_32_examples_of_four_frames(benchmark, directory, unit):
  maker = make(directory, unit)
  maker.tables  # noqa: B018  made on first use
  steps = iter(range(10**9))

  def draw():
    step = next(steps)
    source, ids, _ = maker.draw_temporal(step, maker.examples(step))
    maker.sources[0].dataset.columns(ids.ravel())
    maker.tables.clocks[0].elapsed(ids)
    return source

  benchmark(draw)
