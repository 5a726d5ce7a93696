"""The embedded data from the builder to the reader."""

import dataclasses

import numpy as np

from datasets.pose_video import prepare
from datasets.synthetic_people import generator
from datasets.synthetic_people.builder import TINY, SyntheticPeople
from jaxpose.data.index import open_dataset
from jaxpose.data.records import decode_image


def test_tiny_set_is_built_and_read_back(tmp_path):
  folder = prepare(SyntheticPeople, tmp_path, config="tiny")
  subjects = set()
  for split, motions, people in zip(generator.SPLITS, TINY.motions, TINY.subjects):
    data = open_dataset(folder, split)
    assert data.num_frames == motions * TINY.frames * TINY.views
    assert len(data.subjects) == people
    subjects |= set(data.subjects)
  assert len(subjects) == sum(TINY.subjects)
  sequence = generator.generate_sequence(TINY, "test", 1)
  number = TINY.frames * TINY.views + 2 * TINY.frames + 5  # sequence 1, camera 2, frame 5
  batch = open_dataset(folder, "test").read(np.array([number]), with_labels=True)
  track = sequence.tracks[2]
  np.testing.assert_array_equal(batch["image"][0], decode_image(track.images[5]))
  np.testing.assert_array_equal(batch["background"][0], track.background)
  np.testing.assert_allclose(batch["pose3d_mm"][0], track.pose3d_mm[5])
  np.testing.assert_allclose(batch["box_px"][0], track.box_px[5])
  np.testing.assert_allclose(batch["K"][0], track.camera.K, rtol=1e-6)


def test_default_is_the_size_that_its_description_promises():
  options = {c.name: c.options for c in SyntheticPeople.BUILDER_CONFIGS}
  default = options["default"]
  assert sum(default.subjects) >= 8
  assert default.views == 4
  assert 30_000 <= sum(default.motions) * default.frames * default.views <= 45_000
  assert options["diving"].diving_share == 1.0
  assert options["five_people"] == dataclasses.replace(default, subjects=(5, 2, 4))
  sessions = options["sessions"]
  assert sum(sessions.motions) * sessions.frames == sum(default.motions) * default.frames
  assert options["five_sessions"] == dataclasses.replace(sessions, subjects=(5, 2, 4))
