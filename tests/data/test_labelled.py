import numbered_frames
import numpy as np
import pytest
from numbered_frames import THREE, Frames
from tiny_data import open_tiny

from jaxpose.data.batches import Source
from jaxpose.data.labelled import LabelledFrames
from jaxpose.data.subjects import subject_boxes


def make(sources, ids, **changes):
  labelled = LabelledFrames(tuple(np.array(part) for part in ids))
  values = {"temporal": None, "labelled": labelled} | changes
  return numbered_frames.make(*sources, **values)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
  return open_tiny(tmp_path_factory.mktemp("tiny"))


def test_every_chosen_frame_is_as_likely_whatever_its_source():
  chosen = LabelledFrames((np.array([5, 7]), np.array([], int), np.array([2, 5, 90])))
  source, ids = chosen.draw(4, np.arange(20_000))
  found, counts = np.unique(np.stack([source, ids]), axis=1, return_counts=True)
  np.testing.assert_array_equal(found, [[0, 0, 2, 2, 2], [5, 7, 2, 5, 90]])
  # 4000 of each; a standard deviation is √(20000 · 0.2 · 0.8) = 57
  assert np.abs(counts - 4000).max() < 5 * 57
  other = chosen.draw(5, np.arange(20_000))
  assert (other[1] != ids).mean() > 0.5


def test_the_frame_of_an_example_depends_on_its_number_alone():
  chosen = LabelledFrames((np.arange(50, 90),))
  _, whole = chosen.draw(4, np.arange(30))
  _, part = chosen.draw(4, np.array([29, 3]))
  np.testing.assert_array_equal(part, whole[[29, 3]])


def test_no_frame_is_an_error():
  with pytest.raises(ValueError, match="no labelled frame to learn from"):
    LabelledFrames((np.array([], int),))


def test_a_batch_holds_the_frames_with_all_their_labels(tiny):
  ids = [0, 2, 4, 30]
  maker = make([Source(tiny)], [ids])
  batch = maker[2]
  assert set(batch) == {"labelled"}
  _, drawn = maker.labelled.draw(3, np.arange(24, 36))
  assert set(drawn) <= set(ids)
  assert len(set(drawn)) > 2
  expected = tiny.read(drawn, with_labels=True)
  for name in ("image", "present", "box_px", "pose2d_px", "pose3d_mm", "joint_valid", "K"):
    np.testing.assert_array_equal(batch["labelled"][name], expected[name], err_msg=name)
  np.testing.assert_array_equal(batch["labelled"]["example"], np.arange(24, 36))
  assert set(batch["labelled"]) == {
    *("image", "present", "box_px", "pose2d_px", "pose3d_mm", "joint_valid", "K", "example")
  }
  shares = [make([Source(tiny)], [ids], host_index=i, host_count=2)[2] for i in range(2)]
  for name, values in batch["labelled"].items():
    both = np.concatenate([share["labelled"][name] for share in shares])
    np.testing.assert_array_equal(both, values, err_msg=name)


def test_other_frames_are_other_batches(tiny):
  prints = [make([Source(tiny)], [ids]).fingerprint() for ids in ([0, 2], [0, 4], [0, 2])]
  assert prints[0] == prints[2] != prints[1]


def test_labels_are_read_without_their_images(tmp_path):
  tiny = open_tiny(tmp_path)
  tiny.sequences[0]["tracks"][1]["camera"]["K"] = [[70, 0, 9], [0, 65, 8], [0, 0, 1]]
  ids = np.array([4, 1, 30])  # the last one is of the second camera
  found = tiny.read_labels(ids)
  whole = tiny.read(ids, with_labels=True)
  for name in ("present", "box_px", "pose2d_px", "pose3d_mm", "joint_valid", "K"):
    np.testing.assert_array_equal(found[name], whole[name], err_msg=name)
  np.testing.assert_array_equal(found["K"][:, 0, 0], [50, 50, 70])
  assert set(tiny.read_labels(ids, ("K",))) == {"K"}


def test_frames_come_with_their_backgrounds_where_these_are_asked_for(tiny):
  ids = (np.arange(20),)
  bare = make([Source(tiny)], ids)[1]["labelled"]
  both = make([Source(tiny)], ids, labelled=LabelledFrames(ids, background=True))[1]["labelled"]
  assert set(both) - set(bare) == {"background"}
  np.testing.assert_array_equal(both["image"], bare["image"])
  _, drawn = LabelledFrames(ids).draw(3, np.arange(12, 24))
  np.testing.assert_array_equal(both["background"], tiny.read(drawn)["background"])


def test_boxes_may_be_of_what_differs_from_the_background(tiny):
  ids = (np.arange(20),)
  both = make([Source(tiny)], ids, labelled=LabelledFrames(ids, background=True))[1]["labelled"]
  found = make([Source(tiny)], ids, labelled=LabelledFrames(ids, crop="difference"))[1]["labelled"]
  assert set(both) - set(found) == {"background"}
  np.testing.assert_array_equal(found["box_px"], subject_boxes(both, "difference"))
  assert not np.array_equal(found["box_px"], both["box_px"], equal_nan=True)


def test_a_frame_without_a_box_gets_the_one_around_its_joints():
  def fill(self, batch, ids, places, background_places):
    Frames.fill(self, batch, ids, places, background_places)
    batch["box_px"][places], batch["present"][places] = np.nan, 1
    batch["joint_valid"][places] = True
    batch["pose2d_px"][places] = ids[:, None, None] + np.arange(3)[:, None]

  pointed = type("Pointed", (Frames,), {"fill": fill})(THREE.index, 3)
  found = make([Source(pointed)], [[4, 9]])[1]["labelled"]
  np.testing.assert_array_equal(found["box_px"][:, 0], found["image"][:, 0, 0, 0])
  np.testing.assert_array_equal(found["box_px"] - found["box_px"][:, :1], [[0, 0, 2, 2]] * 12)
