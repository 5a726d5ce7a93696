"""Batches of the tiny data, small and asymmetrical, for tests of the loader."""

import numpy as np

from jaxpose.data.batches import TemporalConfig
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.pipeline import make_batches
from jaxpose.data.views import ViewsConfig

TEMPORAL = TemporalConfig(near_max=3, far_min=8)
FALLS = TemporalConfig(
  near_max=3, far_min=8, gravity=((0, 1.0), (2, 0.5), (4, 0.0)), spacing_min=2, spacing_max=6
)
PAIR = PairConfig(gap_min=2, gap_max=7)
VIEWS = ViewsConfig(gap_min=4, gap_max=19, rotation=True)
ALL = {"temporal": FALLS, "pair": PAIR, "views": VIEWS}


def load(dataset, **changes):
  arguments = {"temporal": TEMPORAL, "batch_size": 6, "seed": 3, "image_size": (16, 20)} | changes
  return make_batches(dataset, **arguments)


def take(iterator, count):
  with iterator:
    return [next(iterator) for _ in range(count)]


def assert_equal(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second):
    assert a.keys() == b.keys()
    for kind in a:
      assert a[kind].keys() == b[kind].keys()
      for name in a[kind]:
        assert a[kind][name].dtype == b[kind][name].dtype
        np.testing.assert_array_equal(a[kind][name], b[kind][name], err_msg=name)
