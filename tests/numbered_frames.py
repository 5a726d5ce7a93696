"""Data sets whose frames only say their source and number, and batches of them."""

import dataclasses

import numpy as np
from tiny_data import LEG, make_index

from jaxpose.data.batches import BatchMaker, TemporalConfig
from jaxpose.data.columns import Index
from jaxpose.data.index import Dataset
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.sources import Source
from jaxpose.data.views import ViewsConfig

TEMPORAL = TemporalConfig(near_max=3, far_min=8)
PAIR = PairConfig(gap_min=2, gap_max=7)
VIEWS = ViewsConfig(gap_min=2, gap_max=9)
SIZE = (2, 5)


@dataclasses.dataclass
class Frames(Dataset):
  """What a batch is made of: an image shows (frame id, code of the data set, column)."""

  index: Index
  code: int
  skeleton = LEG
  split = "train"

  def __reduce__(self):
    return Frames, (self.index, self.code)

  @property
  def directory(self):
    return f"/data/{self.code}"

  @property
  def sequences(self):
    return [{}] * len(self.index.fps)

  @property
  def subjects(self):
    return [str(i) for i in range(int(self.index.subject.max()) + 1)]

  def output_size(self, image_size):
    return SIZE if image_size is None else image_size

  def columns(self, ids):
    return Dataset.columns(self, ids)

  def fill(self, batch, ids, places, background_places):
    shown = np.zeros((len(ids), *batch["image"].shape[1:]), np.uint8)
    shown[..., 0] = ids[:, None, None]
    shown[..., 1] = self.code
    shown[..., 2] = np.arange(shown.shape[2])
    batch["image"][places] = shown
    kept = background_places >= 0
    batch["background"][background_places[kept]] = shown[kept] + np.array([0, 100, 0], np.uint8)


def frames(code, tracks, *, subjects=None, moving=False, **options):
  index = make_index(tracks, **options)
  if subjects is not None:
    index = dataclasses.replace(index, subject=np.array(subjects, np.int32))
  if moving:
    index = dataclasses.replace(index, moving=np.ones(index.num_tracks, bool))
  return Frames(index, code)


ONE = frames(
  1, [range(3, 30), [*range(3, 12), *range(15, 30)], range(0, 60, 2)], subjects=[0, 0, 1]
)
TWO = frames(2, [range(40), range(25)])
THREE = frames(3, [range(10, 70, 3), range(20)], sequences=[0, 0])
FALL = frames(4, [range(12)], falling=[[False] * 3 + [True] * 8 + [False]])


def make(*sources, **changes):
  values = {
    "temporal": TEMPORAL,
    "pair": None,
    "batch_size": 12,
    "seed": 3,
    "image_size": None,
    "host_index": 0,
    "host_count": 1,
  } | changes
  found = [s if isinstance(s, Source) else Source(s) for s in sources]
  return BatchMaker(found, **values)
