"""A batch is a function of (seed, step, host): not of workers, nor of interruptions."""

import dataclasses
import json

import numpy as np
import pytest
from batching import ALL, FALLS, PAIR, TEMPORAL, VIEWS, assert_equal, load, take
from tiny_data import HEIGHT, WIDTH, TinyVideo, open_tiny, tiny_track

from datasets.pose_video import prepare
from jaxpose.data import records
from jaxpose.data.batches import TemporalConfig
from jaxpose.data.index import open_dataset
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.pipeline import make_frame_batches
from jaxpose.data.sources import Source
from jaxpose.skeleton import Skeleton


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return open_tiny(tmp_path_factory.mktemp("data"))


def shown(image):
  """(sequence, camera, frame) that the tiny data's colour of an image says."""
  red, green, blue = image.reshape(-1, 3).mean(axis=0)
  return round((red - 20) / 60), round((green - 30) / 90), round(blue / 4)


def test_temporal_batches_show_the_frames_they_name(dataset):
  for step, batch in enumerate(take(load(dataset, batch_size=8), 3)):
    assert set(batch) == {"temporal"}
    t = batch["temporal"]
    assert t["image"].shape == (8, 4, 16, 20, 3)
    assert t["image"].dtype == t["background"].dtype == np.uint8
    assert t["background"].shape == (8, 1, 16, 20, 3)
    np.testing.assert_array_equal(t["example"], np.arange(8) + 8 * step)
    assert t["example"].dtype == np.uint32
    assert t["position"].dtype == np.float32
    assert not t["gravity"].any()
    for row in range(8):
      number = int(t["sequence"][row]), int(t["camera"][row])
      for i in range(4):
        # 24 × 40 letterboxed into 16 × 20 is 12 × 20
        sequence, camera, frame = shown(t["image"][row, i, 2:14])
        assert (sequence, camera) == number
        assert abs(frame - t["frame"][row, i]) <= 1  # JPEG
      assert (t["background"][row, 0, 8, 8] == (200, 10 * number[0], 70 * number[1])).all()
      assert t["subject"][row] == number[0]
    np.testing.assert_array_equal(t["position"], t["frame"] - t["frame"][:, :1])
    distance = np.abs(t["position"])
    assert (distance[:, 1] <= 3).all()
    assert (distance[:, 3] >= 8).all()


def test_labels_are_those_of_the_frames_shown(dataset):
  labelled = TemporalConfig(near_max=3, far_min=8, labels=True)
  plain, found = (take(load(dataset, temporal=t), 2) for t in (TEMPORAL, labelled))
  seen = 0
  for without, batch in zip(plain, found):
    t = batch["temporal"]
    added = {"present", "box_px", "pose2d_px", "pose3d_mm", "joint_valid"}
    assert set(t) - set(without["temporal"]) == added
    assert t["pose2d_px"].shape == (6, 4, 3, 2)
    for name, value in without["temporal"].items():
      np.testing.assert_array_equal(t[name], value)
    assert t["box_px"].shape == (6, 4, 4)
    assert t["pose3d_mm"].shape == (6, 4, 3, 3)
    assert t["present"].shape == (6, 4)
    # the tiny data label every other frame of a track and put its number into the hip's x
    known = t["joint_valid"].all(-1)
    np.testing.assert_array_equal(t["pose3d_mm"][known][:, 0, 0], t["frame"][known])
    assert np.isnan(t["pose3d_mm"][~known]).all()
    seen += known.sum()
  assert 0 < seen < 2 * 6 * 4


def test_labels_of_a_batch_follow_the_letterbox(tmp_path):
  boxed = open_dataset(prepare(Boxed, tmp_path), "train")
  temporal = TemporalConfig(near_max=1, far_min=3, labels=True)
  (batch,) = take(load(boxed, temporal=temporal, workers=1), 1)
  t = batch["temporal"]
  # 24 x 40 px at half size, 2 px of black above: x' = (x + 1/2) / 2 - 1/2, y' likewise + 2
  left = (t["frame"] + 0.5) / 2 - 0.5
  shape = left.shape
  expected = [left, np.full(shape, 3.75), np.full(shape, 14.75), np.full(shape, 11.75)]
  np.testing.assert_allclose(t["box_px"], np.stack(expected, axis=-1))
  assert (t["present"] == records.PERSON).all()


def test_labels_of_different_skeletons_are_refused(dataset, tmp_path):
  other = open_dataset(prepare(Arms, tmp_path), "train")
  sources = [Source(dataset), Source(other)]
  load(sources).close()
  with pytest.raises(ValueError, match="skeletons differ"):
    load(sources, temporal=TemporalConfig(near_max=3, far_min=8, labels=True))
  with pytest.raises(ValueError, match="skeletons differ"):
    load(sources, views=dataclasses.replace(VIEWS, labels=True))


def test_poses_are_read_without_their_images(dataset):
  ids = np.array([4, 1, 0])
  poses, valid = dataset.read_poses(ids)
  whole = dataset.read(ids, with_labels=True)
  np.testing.assert_array_equal(poses, whole["pose3d_mm"])
  np.testing.assert_array_equal(valid, whole["joint_valid"])
  assert valid.any(-1).tolist() == [True, False, True]


class Boxed(TinyVideo):
  """A person in every frame, whose left edge moves by a pixel a frame."""

  splits = ("train",)

  def sequences(self, split):
    frames = np.arange(9)
    box = np.stack([frames, 0 * frames + 4, 0 * frames + 30, 0 * frames + 20], axis=1)
    track = tiny_track(0, 0, frames, box_px=box.astype(np.float32), present=np.ones(9, int))
    yield records.Sequence("s", "a", "b", 25.0, [track])


class Arms(TinyVideo):
  """The same number of joints under other names."""

  skeleton = Skeleton("arm", ("shoulder", "elbow", "wrist"), (0, 0, 1), (), (0,))
  splits = ("train",)


def test_pairs_show_two_views(dataset):
  kinds = set()
  for batch in take(load(dataset, pair=PAIR, temporal=None, image_size=None), 6):
    assert set(batch) == {"pair"}
    p = batch["pair"]
    assert p["image"].shape == p["background"].shape == (6, 2, HEIGHT, WIDTH, 3)
    for row in range(6):
      assert p["sequence"][row] == 0
      assert set(p["camera"][row]) == {0, 1}
      gap = abs(int(p["frame"][row, 0]) - int(p["frame"][row, 1]))
      assert (gap == 0) == p["synchronised"][row]
      assert gap == 0 or 2 < gap < 7
      kinds.add((bool(p["synchronised"][row]), bool(p["flipped"][row])))
      for view in range(2):
        found = shown(p["image"][row, view])
        assert found[:2] == (0, p["camera"][row, view])
        assert abs(found[2] - p["frame"][row, view]) <= 1
  assert kinds == {(True, False), (False, False), (True, True)}


class Halves(TinyVideo):
  """Two cameras whose images and backgrounds are dark on the left."""

  splits = ("train",)

  def sequences(self, split):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, WIDTH // 2 :] = 200
    tracks = []
    for camera in range(2):
      track = tiny_track(0, camera, range(10), background=image)
      track.images = [records.encode_jpeg(image, 95)] * 10
      tracks.append(track)
    yield records.Sequence("s", "a", "b", 25.0, tracks)


def test_views_show_two_cameras_at_two_instants(dataset):
  for batch in take(load(dataset, views=VIEWS, temporal=None, image_size=None), 6):
    assert set(batch) == {"views"}
    v = batch["views"]
    assert v["rotation"].shape == (6, 4, 3, 3)
    for row in range(6):
      names = [shown(image) for image in v["image"][row]]
      assert [n[1] for n in names] == v["camera"][row].tolist()
      assert [n[2] for n in names] == v["frame"][row].tolist()
      (a, b, a2, b2), (now, same, later, same2) = v["camera"][row], v["frame"][row]
      assert (a, now, later) == (a2, same, same2)
      assert a != b == b2
      assert 4 < abs(later - now) < 19


def test_other_backgrounds_of_pairs_are_those_of_other_tracks(dataset):
  pair = PairConfig(gap_min=2, gap_max=7, substitute=True)
  for batch in take(load(dataset, pair=pair, temporal=None, image_size=(24, 60)), 4):
    p = batch["pair"]
    assert p["substitute"].shape == (6, 2, 24, 60, 3)
    # the background of each track has its own colour, between black bars of 10 px
    assert (p["substitute"][:, :, :, :10] == 0).all()
    for row in range(6):
      for view in range(2):
        colour = tuple(p["substitute"][row, view, 12, 30])
        others = {(200, 10 * s, 70 * c) for s, c in ((0, 0), (0, 1), (1, 0))}
        assert colour in others - {(200, 0, 70 * p["camera"][row, view])}


def test_backgrounds_of_a_camera_that_moves_follow_it(tmp_path):
  moving = open_dataset(prepare(Panning, tmp_path), "train")
  ids = np.array([7, 0, 19])
  found = moving.backgrounds_of(ids, (36, 60))
  whole = moving.read(ids, image_size=(36, 60))["background"]
  np.testing.assert_array_equal(found, whole)
  with pytest.raises(IndexError, match=r"frames 0\.\.19"):
    moving.backgrounds_of(np.array([20]), (36, 60))


def test_falls_follow_their_schedule(dataset):
  for step, batch in enumerate(take(load(dataset, temporal=FALLS, batch_size=16), 6)):
    t = batch["temporal"]
    gravity = t["gravity"]
    assert gravity.sum() in ((16,), (16,), range(2, 15), range(2, 15), (0,), (0,))[step]
    assert (t["sequence"][gravity] == 1).all()
    apart = np.diff(t["frame"][gravity], axis=1)
    assert (apart == apart[:, :1]).all()
    assert np.isin(apart, (2, 4)).all()
    assert ((t["frame"][gravity] >= 4) & (t["frame"][gravity] <= 18)).all()
    np.testing.assert_array_equal(t["position"], t["frame"] - t["frame"][:, :1])


def test_falls_asked_of_data_without_any_are_an_error(tmp_path):
  halves = open_dataset(prepare(Halves, tmp_path), "train")
  with pytest.raises(ValueError, match="split train: no four falling frames"):
    load(halves, temporal=FALLS)


def test_restoring_goes_on_as_if_never_stopped(dataset):
  whole = take(load(dataset), 7)
  first = load(dataset)
  for _ in range(3):
    next(first)
  state = json.loads(json.dumps(first.state()))
  first.close()
  assert state["step"] == 3
  second = load(dataset)
  next(second)  # wherever it was
  second.restore(state)
  assert second.step == 3
  assert_equal(take(second, 4), whole[3:])
  assert_equal(take(load(dataset, start_step=5), 2), whole[5:])


def test_a_look_at_the_next_batch_starts_and_moves_nothing(dataset):
  whole = take(load(dataset), 3)
  iterator = load(dataset, workers=2, start_step=1)
  assert_equal([iterator.peek()], whole[1:2])
  assert iterator._batches is None
  assert iterator.step == 1
  assert_equal([iterator.peek()], whole[1:2])


def test_a_closed_iterator_goes_on_when_asked(dataset):
  whole = take(load(dataset), 3)
  iterator = load(dataset)
  parts = [next(iterator)]
  iterator.close()
  iterator.close()
  parts += [next(iterator), next(iterator)]
  iterator.close()
  assert_equal(parts, whole)


@pytest.mark.parametrize(
  ("change", "name"),
  [
    ({"seed": 4}, "seed"),
    ({"batch_size": 8}, "batch_size"),
    ({"image_size": (8, 8)}, "image_size"),
    ({"temporal": TemporalConfig(near_max=2, far_min=8)}, "temporal"),
    ({"pair": PAIR}, "pair"),
    ({"views": VIEWS}, "views"),
  ],
)
def test_a_state_of_another_configuration_is_refused(dataset, change, name):
  state = load(dataset).state()
  with pytest.raises(ValueError, match=f"loader had {name} ="):
    load(dataset, **change).restore(state)


def test_a_state_of_other_data_is_refused(dataset):
  other = open_dataset(dataset.directory, "test")
  with pytest.raises(ValueError, match="loader had data ="):
    load(other).restore(load(dataset).state())


def test_hosts_share_each_batch_without_overlap_or_loss(dataset):
  whole = take(load(dataset, **ALL), 3)
  parts = [take(load(dataset, **ALL, host_index=h, host_count=3), 3) for h in range(3)]
  joined = [
    {
      kind: {n: np.concatenate([part[step][kind][n] for part in parts]) for n in whole[0][kind]}
      for kind in ALL
    }
    for step in range(3)
  ]
  assert_equal(joined, whole)
  state = load(dataset, **ALL).state()
  load(dataset, **ALL, host_index=1, host_count=2).restore(state)


def test_batches_that_cannot_be_shared_are_errors(dataset):
  for wrong in ({"host_count": 4}, {"host_index": 2, "host_count": 2}):
    with pytest.raises(ValueError, match="cannot be shared"):
      load(dataset, **wrong)
  with pytest.raises(ValueError, match="at least one data set"):
    load([])
  with pytest.raises(ValueError, match="neither"):
    load(dataset, temporal=None)
  with pytest.raises(ValueError, match="workers"):
    load(dataset, workers=-1)


def test_several_data_sets_mix_by_weight(dataset, tmp_path):
  halves = open_dataset(prepare(Halves, tmp_path), "train")
  sources = [Source(dataset, weight=3.0, sequences=(1,)), Source(halves, weight=1.0)]
  count = np.zeros(4)
  for batch in take(load(sources, batch_size=40, pair=PAIR), 5):
    # numbers of the second data set follow on the two sequences and subjects of the first
    count += np.bincount(batch["temporal"]["sequence"], minlength=4)
    np.testing.assert_array_equal(batch["temporal"]["subject"], batch["temporal"]["sequence"])
    dark = batch["temporal"]["image"][:, 0, 8, 3, 0] < 10
    np.testing.assert_array_equal(dark, batch["temporal"]["sequence"] == 2)
    # the first gives no pairs from its one-camera sequence: all come from the second
    assert (batch["pair"]["sequence"] == 2).all()
  assert count[0] == count[3] == 0
  assert abs(count[1] - 150) < 30
  by_size = load([Source(dataset), Source(halves)])._maker
  sizes = [len(t.references) for t in by_size.tables.triplets]
  source, _, _ = by_size.draw_temporal(0, np.arange(20_000))
  assert abs((source == 0).mean() - sizes[0] / sum(sizes)) < 0.02


class Panning(TinyVideo):
  """A camera that moves by 1 px a frame over stripes."""

  splits = ("train",)

  def sequences(self, split):
    n = 20
    panorama = np.zeros((HEIGHT, WIDTH + 20, 3), np.uint8)
    panorama[..., 1] = 4 * np.arange(WIDTH + 20)
    pan = np.tile(np.eye(3), (n, 1, 1))
    pan[:, 0, 2] = np.arange(n)
    track = tiny_track(0, 0, range(n), homography=pan, background=panorama)
    yield records.Sequence("s", "a", "b", 25.0, [track])


def test_moving_cameras_have_a_background_per_frame(tmp_path, dataset):
  moving = open_dataset(prepare(Panning, tmp_path), "train")
  t = take(load(moving, image_size=None), 1)[0]["temporal"]
  assert t["background"].shape == (6, 4, HEIGHT, WIDTH, 3)
  np.testing.assert_allclose(t["background"][:, :, 5, 0, 1], 4 * t["frame"], atol=1)
  mixed = take(load([Source(moving), Source(dataset)], image_size=None, batch_size=12), 1)[0]
  t = mixed["temporal"]
  assert t["background"].shape == (12, 4, HEIGHT, WIDTH, 3)
  fixed = t["sequence"] > 0
  assert fixed.any()
  assert (t["background"][fixed][..., 0] == 200).all()
  np.testing.assert_allclose(t["background"][~fixed, :, 5, 0, 1], 4 * t["frame"][~fixed], atol=1)


def test_frame_batches_hold_every_frame_once(dataset):
  batches = list(make_frame_batches(dataset, batch_size=25, image_size=(16, 20), with_labels=True))
  assert [b["valid"].sum() for b in batches] == [25, 25, 12]
  ids = np.concatenate([b["ids"][b["valid"]] for b in batches])
  np.testing.assert_array_equal(ids, np.arange(62))
  for batch in batches:
    assert batch["image"].shape == batch["background"].shape == (25, 16, 20, 3)
    expected = dataset.read(batch["ids"], image_size=(16, 20), with_labels=True)
    for name in expected:
      np.testing.assert_array_equal(batch[name], expected[name])
  some = list(make_frame_batches(dataset, batch_size=4, image_size=None, ids=np.array([9, 3])))
  np.testing.assert_array_equal(some[0]["ids"], [9, 3, 3, 3])
  assert shown(some[0]["image"][1])[:2] == (0, 0)
  assert "K" not in some[0]
  assert not list(make_frame_batches(dataset, batch_size=4, image_size=None, ids=np.array([], int)))
