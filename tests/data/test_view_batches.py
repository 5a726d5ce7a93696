"""Pairs and views of several cameras in a batch; the frames only say their source and number."""

import dataclasses

import numpy as np
import pytest
from numbered_frames import ONE, PAIR, THREE, VIEWS, Frames, frames, make
from tiny_data import LEG

from jaxpose.data import pair_batch, pairs, views
from jaxpose.data.clock import uniform
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.views import ViewsConfig


def test_pairs_are_drawn_from_the_sources_that_have_views():
  maker = make(ONE, THREE, temporal=None, pair=PAIR)
  source, found = maker.draw_pairs(np.arange(200))
  assert (source == 1).all()
  table = pairs.build_pairs(THREE.index, gap_min=2, gap_max=7, probabilities=(1 / 3, 1 / 3, 1 / 3))
  for part, own in zip(found, pairs.sample_pairs(table, 3, np.arange(200))):
    np.testing.assert_array_equal(part, own)


def test_every_value_of_a_pair_config_reaches_its_sampler():
  shares = {"synchronised": 0.5, "unsynchronised": 0.2, "flipped": 0.3}
  values = {"gap_min": 0.1, "gap_max": 0.4, "unit": "s", "single_view": True}
  _, found = make(THREE, temporal=None, pair=PairConfig(**shares, **values)).draw_pairs(
    np.arange(500)
  )
  table = pairs.build_pairs(THREE.index, probabilities=tuple(shares.values()), **values)
  for part, own in zip(found, pairs.sample_pairs(table, 3, np.arange(500)), strict=True):
    np.testing.assert_array_equal(part, own)


def test_views_are_drawn_from_the_sources_that_have_any():
  maker = make(ONE, THREE, temporal=None, views=VIEWS)
  source, ids = maker.draw_views(np.arange(200))
  assert (source == 1).all()
  table = views.build_views(THREE.index, gap_min=2, gap_max=9)
  np.testing.assert_array_equal(ids, views.sample_views(table, 3, np.arange(200)))


def test_without_weights_every_first_view_is_as_likely():
  both = frames(8, [range(40)] * 2, sequences=[0, 0])  # 80 frames, each with partners
  examples = np.arange(3000)
  source, _ = make(THREE, both, temporal=None, views=VIEWS).draw_views(examples)
  # frames 10, 13, 16 and 19 of two cameras
  np.testing.assert_array_equal(source, uniform(3, 32, examples) >= 8 / 88)
  source, _ = make(THREE, both, temporal=None, pair=PAIR).draw_pairs(examples)
  # 3 to 6 frames from one of the other camera: 10, 13, ... 25 of the first, 4 to 19 of the second
  np.testing.assert_array_equal(source, uniform(3, 31, examples) >= 22 / 102)


def test_a_pair_shows_its_views_as_they_are_and_says_which_is_to_be_mirrored():
  maker = make(THREE, temporal=None, pair=PAIR, batch_size=40)
  batch = maker[0]["pair"]
  _, drawn = maker.draw_pairs(np.arange(40))
  assert set(drawn.mirrored) == {-1, 0, 1}
  for name in ("image", "background"):
    np.testing.assert_array_equal(batch[name][..., 0, :, 2], np.zeros((40, 2, 5)) + np.arange(5))
    np.testing.assert_array_equal(batch[name][..., 0, 0, 0], drawn.ids)
  expected = [[view == mirrored for view in range(2)] for mirrored in drawn.mirrored]
  np.testing.assert_array_equal(batch["mirrored"], expected)
  np.testing.assert_array_equal(batch["flipped"], drawn.mirrored >= 0)
  np.testing.assert_array_equal(batch["synchronised"], np.ptp(batch["frame"], axis=1) == 0)
  assert not {"subject_px", "box_px", "substitute"} & set(batch)


def test_a_batch_may_hold_several_pairs_an_example_and_none_twice():
  threefold = dataclasses.replace(PAIR, per_example=3)
  maker = make(THREE, pair=threefold, batch_size=4)
  batch = maker[2]
  assert batch["temporal"]["example"].tolist() == [8, 9, 10, 11]
  found = batch["pair"]
  assert found["example"].tolist() == list(range(24, 36))
  single = make(THREE, temporal=None, pair=PAIR, batch_size=12)[2]["pair"]
  assert found.keys() == single.keys()
  for name, value in single.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)
  hosts = [
    make(THREE, pair=threefold, batch_size=4, host_index=i, host_count=2)[2]["pair"] for i in (0, 1)
  ]
  joined = np.concatenate([host["image"] for host in hosts])
  np.testing.assert_array_equal(joined, found["image"])
  with pytest.raises(ValueError, match="at least 1 pair an example, not 0"):
    dataclasses.replace(PAIR, per_example=0)


def test_crops_of_pairs_are_centred_on_true_boxes_or_on_what_differs(monkeypatch):
  def fill(self, batch, ids, places, background_places):
    Frames.fill(self, batch, ids, places, background_places)
    if "box_px" in batch:
      batch["box_px"][places] = ids[:, None] + np.array([0, 1, 2, 3])

  labelled = type("Labelled", (Frames,), {"fill": fill})(THREE.index, 3)
  pair = dataclasses.replace(PAIR, crop="labels")
  maker = make(labelled, temporal=None, pair=pair)
  batch = maker[1]["pair"]
  _, drawn = maker.draw_pairs(maker.examples(1))
  np.testing.assert_array_equal(batch["subject_px"], drawn.ids[..., None] + np.arange(4))
  assert not {"box_px", "pose2d_px", "present", "joint_valid"} & set(batch)

  def fill_joints(self, batch, ids, places, background_places):
    Frames.fill(self, batch, ids, places, background_places)
    if "box_px" in batch:
      batch["box_px"][places] = np.nan
      batch["present"][places] = -1
      batch["pose2d_px"][places] = ids[:, None, None] + np.arange(3)[:, None]

  pointed = type("Pointed", (Frames,), {"fill": fill_joints})(THREE.index, 3)
  around = make(pointed, temporal=None, pair=pair)[1]["pair"]["subject_px"]
  np.testing.assert_array_equal(around, drawn.ids[..., None] + [0, 0, 2, 2])
  seen = []

  def find(image, background):
    seen.append((image[0, 0, 0], background[0, 0, 1]))
    return np.full(4, image[0, 0, 0], np.float32)

  monkeypatch.setattr("jaxpose.data.subjects.box_from_background_difference", find)
  found = make(THREE, temporal=None, pair=dataclasses.replace(PAIR, crop="difference"))[1]["pair"]
  np.testing.assert_array_equal(found["subject_px"], np.tile(drawn.ids[..., None], 4))
  assert seen == [(i, 103) for i in drawn.ids.ravel()]
  with pytest.raises(ValueError, match="labels, difference, detector, not 'mask'"):
    dataclasses.replace(PAIR, crop="mask")


@pytest.mark.parametrize(("joint", "asked"), [("knee", True), ("elbow", False)])
def test_joints_make_boxes_where_all_data_sets_have_the_same(joint, asked):
  seen = set()

  def fill(self, batch, ids, places, background_places):
    seen.update(batch)
    Frames.fill(self, batch, ids, places, background_places)

  names = dataclasses.replace(LEG, joints=("hip", joint, "ankle"))
  second = type("Second", (Frames,), {"fill": fill, "skeleton": names})(THREE.index, 9)
  pair = dataclasses.replace(PAIR, crop="labels")
  assert "subject_px" in make(THREE, second, temporal=None, pair=pair)[0]["pair"]
  assert "box_px" in seen
  assert ("pose2d_px" in seen) == asked


def test_other_backgrounds_are_drawn_evenly_and_mirrored_by_themselves():
  index = frames(7, [range(9)] * 5, sequences=[0, 0, 0, 1, 1]).index
  examples = np.arange(20_000)
  ids = np.tile([[13, 40]], (len(examples), 1))  # of tracks 1 and 4
  found, mirrored = pair_batch.draw_substitutes(index, ids, 3, examples)
  for view, own in enumerate((1, 4)):
    count = np.bincount(found[:, view] // 9, minlength=5)
    assert count[own] == 0
    assert (np.abs(count[np.arange(5) != own] - 5000) < 400).all()
    assert set(found[:, view] % 9) == set(range(9))
    assert abs(mirrored[:, view].mean() - 0.5) < 0.02
  # nothing of one view tells that of the other
  assert abs(np.mean(mirrored[:, 0] == mirrored[:, 1]) - 0.5) < 0.02
  assert abs(np.mean(found[:, 0] // 9 == found[:, 1] // 9) - 3 / 16) < 0.02
  again, _ = pair_batch.draw_substitutes(index, ids[7:9], 3, examples[7:9])
  np.testing.assert_array_equal(again, found[7:9])


def test_other_backgrounds_stand_beside_the_views():
  class Rooms(Frames):
    def backgrounds_of(self, ids, image_size):
      shown = np.zeros((len(ids), *image_size, 3), np.uint8)
      shown[..., 0], shown[..., 1] = ids[:, None, None], self.code
      shown[..., 2] = np.arange(image_size[1])
      return shown

  sources = [Rooms(dataset.index, dataset.code) for dataset in (THREE, THREE)]
  sources[1].code = 9
  maker = make(*sources, temporal=None, pair=dataclasses.replace(PAIR, substitute=True))
  batch = maker[2]["pair"]
  examples = maker.examples(2)
  source, drawn = maker.draw_pairs(examples)
  assert set(source) == {0, 1}
  found, mirrored = pair_batch.draw_substitutes(THREE.index, drawn.ids, 3, examples)
  np.testing.assert_array_equal(batch["substitute"][..., 0, 0, 0], found)
  codes = np.array([3, 9])[source]
  np.testing.assert_array_equal(batch["substitute"][..., 0, 0, 1], np.stack([codes, codes], 1))
  columns = np.where(mirrored[..., None], np.arange(5)[::-1], np.arange(5))
  np.testing.assert_array_equal(batch["substitute"][..., 1, :, 2], columns)
  plain = make(*sources, temporal=None, pair=PAIR)[2]["pair"]
  np.testing.assert_array_equal(batch["image"], plain["image"])
  lonely = dataclasses.replace(PAIR, substitute=True, single_view=True)
  with pytest.raises(ValueError, match="one camera only"):
    make(frames(8, [range(9)]), temporal=None, pair=lonely).tables  # noqa: B018


class Turned(Frames):
  """Cameras turned about the vertical by 10 degrees times the code and the number of the track."""

  @property
  def sequences(self):
    return [
      {
        "name": str(sequence),
        "tracks": [
          {
            "name": str(track),
            "camera": {"R": turned(self.code * (1 + track)), "t_mm": [0.0, 0.0, 1000.0 * track]},
          }
          for track in np.flatnonzero(self.index.sequence == sequence)
        ],
      }
      for sequence in range(len(self.index.fps))
    ]


def turned(tens):
  angle = np.radians(10 * tens)
  return [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]


def test_views_stand_with_their_backgrounds_and_the_rotations_of_their_cameras():
  tracks = [range(20), range(0, 20, 2), range(12)]
  first, second = (Turned(frames(c, tracks, sequences=[1, 1, 1]).index, c) for c in (1, 2))
  config = ViewsConfig(gap_min=3, rotation=True)
  maker = make(first, second, temporal=None, views=config, batch_size=40)
  assert set(maker[1]) == {"views"}
  batch = maker[1]["views"]
  source, ids = maker.draw_views(np.arange(40, 80))
  assert set(source) == {0, 1}
  np.testing.assert_array_equal(batch["image"][..., 1, 2, 0], ids)
  np.testing.assert_array_equal(batch["background"][..., 1, 2, 0], ids)
  np.testing.assert_array_equal(
    batch["background"][..., 1, 2, 1], (101 + source)[:, None] + [0] * 4
  )
  np.testing.assert_array_equal(batch["frame"], first.index.frame[ids])
  camera = first.index.track_of(ids)
  np.testing.assert_array_equal(batch["camera"], camera)
  # numbers go on from the two sequences of the first source
  np.testing.assert_array_equal(batch["sequence"], 1 + 2 * source)
  np.testing.assert_array_equal(batch["subject"], source)
  np.testing.assert_array_equal(batch["example"], np.arange(40, 80))
  for row in range(40):
    for view in range(4):
      expected = turned((1 + source[row]) * (1 + camera[row, view]))
      np.testing.assert_allclose(batch["rotation"][row, view], expected, rtol=1e-5, atol=1e-7)
  plain = make(first, second, temporal=None, views=ViewsConfig(gap_min=3), batch_size=40)
  assert "rotation" not in plain[1]["views"]
  np.testing.assert_array_equal(plain[1]["views"]["frame"], batch["frame"])
  assert plain.fingerprint() == maker.fingerprint()
  other = make(first, second, temporal=None, views=ViewsConfig(gap_min=4), batch_size=40)
  assert other.fingerprint() != maker.fingerprint()
