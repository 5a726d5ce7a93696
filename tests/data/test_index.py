"""A prepared data set gives back what was put in, and says what is wrong with a damaged one."""

import json
import pickle
import shutil
import threading

import numpy as np
import pytest
from tiny_data import HEIGHT, WIDTH, TinyVideo, colour, open_tiny, tiny_camera, tiny_track

from datasets.pose_video import prepare
from jaxpose.data import records
from jaxpose.data.index import Dataset, open_dataset

# frames of the training split, in order: (sequence, camera, frame number)
ROWS = (
  [(0, 0, f) for f in range(3, 30)]
  + [(0, 1, f) for f in [*range(3, 12), *range(15, 30)]]
  + [(1, 0, f) for f in range(0, 22, 2)]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def dataset(folder):
  return open_tiny(folder)


@pytest.fixture
def copy(dataset, tmp_path):
  """A copy of the data set's folder that a test may damage."""
  return shutil.copytree(dataset.directory, tmp_path / "copy")


def test_index_lists_tracks_and_frames(dataset):
  index = dataset.index
  np.testing.assert_array_equal(index.start, [0, 27, 51])
  np.testing.assert_array_equal(index.length, [27, 24, 11])
  np.testing.assert_array_equal(index.sequence, [0, 0, 1])
  np.testing.assert_array_equal(index.camera, [0, 1, 0])
  np.testing.assert_array_equal(index.frame, [frame for _, _, frame in ROWS])
  np.testing.assert_allclose(index.time_s, index.frame / 25, rtol=1e-6)
  np.testing.assert_array_equal(np.flatnonzero(index.falling), range(53, 61))
  labelled = [i for start, n in ((0, 27), (27, 24), (51, 11)) for i in range(start, start + n, 2)]
  np.testing.assert_array_equal(np.flatnonzero(index.labelled), labelled)
  np.testing.assert_array_equal(index.track_of(np.array([0, 26, 27, 61])), [0, 0, 1, 2])
  assert [s["name"] for s in dataset.sequences] == ["walk", "dive"]
  assert (dataset.subjects, dataset.actions) == (["anna", "bo"], ["walking", "diving"])
  assert dataset.skeleton == TinyVideo.skeleton
  assert dataset.frame_size == (HEIGHT, WIDTH)
  assert dataset.num_frames == len(ROWS)


def test_every_frame_is_the_one_asked_for(dataset):
  ids = np.random.default_rng(0).permutation(len(ROWS))
  batch = dataset.read(ids)
  for i, frame_id in enumerate(ids):
    sequence, camera, frame = ROWS[frame_id]
    np.testing.assert_allclose(
      batch["image"][i], np.broadcast_to(colour(*ROWS[frame_id]), (HEIGHT, WIDTH, 3)), atol=3
    )
    assert (batch["background"][i] == (200, 10 * sequence, 70 * camera)).all()
    assert (batch["sequence"][i], batch["camera"][i], batch["frame"][i]) == ROWS[frame_id]
    assert batch["subject"][i] == batch["action"][i] == sequence
    assert batch["time_s"][i] == pytest.approx(frame / 25)
    assert batch["falling"][i] == (sequence == 1 and 4 <= frame <= 18)


def test_a_repeated_frame_fills_every_row(dataset):
  batch = dataset.read(np.array([40, 2, 40, 2, 60]), with_labels=True)
  single = dataset.read(np.array([40, 2, 60]), with_labels=True)
  for name in batch:
    np.testing.assert_array_equal(batch[name], single[name][[0, 1, 0, 1, 2]])


def test_labels_follow_the_letterbox(dataset):
  # 24 × 40 into 36 × 80: scale 3/2 -> 36 × 60, 10 columns to the left
  batch = dataset.read(np.array([4, 5]), image_size=(36, 80), with_labels=True)
  assert batch["image"].shape == (2, 36, 80, 3)
  assert (batch["image"][:, :, :10] == 0).all()
  assert (batch["image"][:, :, 70:] == 0).all()
  assert (batch["background"][:, :, 10:70] == (200, 0, 0)).all()
  k = batch["K"][0]
  camera = tiny_camera()
  point = np.array([120.0, -340, 3100])
  plain = camera.K @ point / point[2]
  moved = k @ point / point[2]
  np.testing.assert_allclose(moved[0], (plain[0] + 0.5) * 1.5 - 0.5 + 10, rtol=1e-5)
  np.testing.assert_allclose(moved[1], (plain[1] + 0.5) * 1.5 - 0.5, rtol=1e-5)
  np.testing.assert_array_equal(batch["pose3d_mm"][0, 0], [7, 10, 3020])  # its frame number is 7
  assert batch["joint_valid"][0].all()
  assert not batch["joint_valid"][1].any()
  assert np.isnan(batch["pose3d_mm"][1]).all()
  assert np.isnan(batch["box_px"]).all()


class Labelled(TinyVideo):
  """One track with boxes, 2D poses, masks, and a camera that pans by 2 px a frame."""

  splits = ("train",)

  def sequences(self, split):
    n = 5
    panorama = np.zeros((HEIGHT, WIDTH + 20, 3), np.uint8)
    panorama[..., 0] = np.arange(WIDTH + 20) * 4
    pan = np.tile(np.eye(3), (n, 1, 1))
    pan[:, 0, 2] = 2 * np.arange(n)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:12, 10:20] = 255
    track = tiny_track(
      0,
      0,
      range(n),
      homography=pan,
      background=panorama,
      box_px=np.array([[10.0, 6, 19, 11]] * n),
      pose2d_px=np.tile(np.array([[12.0, 7], [14, 8], [np.nan, np.nan]]), (n, 1, 1)),
      present=np.array([1, 1, 0, -1, 1]),
      masks=[records.encode_png(mask)] * 4 + [b""],
    )
    yield records.Sequence("pan", "cy", "walking", 25.0, [track])


def test_moving_cameras_get_their_part_of_the_panorama(tmp_path):
  moving = open_dataset(prepare(Labelled, tmp_path), "train")
  assert moving.index.moving.all()
  batch = moving.read(np.array([3, 0, 4]), image_size=(2 * HEIGHT, 2 * WIDTH), with_labels=True)
  for row, frame in enumerate((3, 0, 4)):
    # centre of the frame's column x: panorama column x + 2·frame, of colour 4 per column
    shown = batch["background"][row, HEIGHT, ::2, 0].astype(float)
    np.testing.assert_allclose(shown, 4 * (np.arange(WIDTH) + 2 * frame), atol=2)
  np.testing.assert_allclose(batch["box_px"][0], [20.5, 12.5, 38.5, 22.5])
  np.testing.assert_allclose(batch["pose2d_px"][1, 0], [24.5, 14.5])
  assert np.isnan(batch["pose2d_px"][1, 2]).all()
  np.testing.assert_array_equal(batch["present"], [-1, 1, 1])
  masks = moving.read_masks(np.array([1, 0]))
  assert masks.shape == (2, HEIGHT, WIDTH)
  assert (masks[0] > 0).sum() == 60
  with pytest.raises(ValueError, match="record 4: the record has no mask"):
    moving.read_masks(np.array([4]))


class TwoSizes(TinyVideo):
  """One sequence upright, one wide."""

  splits = ("train",)

  def sequences(self, split):
    for number, (h, w) in enumerate(((30, 20), (20, 30))):
      images = [records.encode_jpeg(np.full((h, w, 3), 90, np.uint8), 90)] * 2
      track = records.Track(
        "a", None, images, np.arange(2), np.arange(2.0), np.zeros((h, w, 3), np.uint8)
      )
      yield records.Sequence(f"s{number}", "a", "b", 25.0, [track])


def test_mixed_sizes_need_an_image_size(tmp_path):
  mixed = open_dataset(prepare(TwoSizes, tmp_path), "train")
  with pytest.raises(ValueError, match="several sizes"):
    mixed.read(np.array([0]))
  batch = mixed.read(np.array([0, 2]), image_size=(30, 30), with_labels=True)
  np.testing.assert_array_equal(batch["image"][0, 15, [4, 5, 24, 25], 0] > 50, [0, 1, 1, 0])
  np.testing.assert_array_equal(batch["image"][1, [4, 5, 24, 25], 15, 0] > 50, [0, 1, 1, 0])
  assert np.isnan(batch["K"]).all()


def test_ids_out_of_range_are_errors(dataset):
  for wrong in (-1, len(ROWS)):
    with pytest.raises(IndexError, match=r"frames 0\.\.61"):
      dataset.read(np.array([wrong]))


def test_pickles_by_its_folder(dataset):
  other = pickle.loads(pickle.dumps(dataset))
  assert isinstance(other, Dataset)
  np.testing.assert_array_equal(
    other.read(np.array([7]))["image"], dataset.read(np.array([7]))["image"]
  )


def test_threads_read_together(dataset):
  expected = dataset.read(np.arange(62))["image"]
  fresh = pickle.loads(pickle.dumps(dataset))
  found = {}

  def read(part):
    found[part] = fresh.read(np.arange(part, 62, 4))["image"]

  threads = [threading.Thread(target=read, args=(part,)) for part in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  for part in range(4):
    np.testing.assert_array_equal(found[part], expected[part::4])


def test_missing_folder_and_split_are_named(folder, dataset):
  with pytest.raises(FileNotFoundError, match=r"nowhere.*launch/prepare\.py"):
    open_dataset(folder / "nowhere", "train")
  with pytest.raises(FileNotFoundError, match="no split 'valid'; it has test, train"):
    open_dataset(dataset.directory, "valid")


@pytest.mark.parametrize(
  ("several", "first"), [("validation|train", "train"), ("test|train", "test")]
)
def test_the_first_split_that_there_is_of_several(dataset, several, first):
  assert open_dataset(dataset.directory, several).split == first


def test_none_of_several_splits_is_named(dataset):
  with pytest.raises(FileNotFoundError, match=r"no split 'valid\|trial'; it has test, train"):
    open_dataset(dataset.directory, "valid|trial")


def test_missing_files_are_named(copy):
  shard = sorted(copy.glob("*train*array_record*"))[1]
  shard.unlink()
  with pytest.raises(FileNotFoundError, match=shard.name):
    open_dataset(copy, "train")
  (copy / "index_test.npz").unlink()
  with pytest.raises(FileNotFoundError, match=r"index_test\.npz"):
    open_dataset(copy, "test")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_shard_cut_short_is_named(copy, keep):
  shard = sorted(copy.glob("*train*array_record*"))[0]
  data = shard.read_bytes()
  shard.write_bytes(data[: int(len(data) * keep)])
  opened = open_dataset(copy, "train")
  with pytest.raises(ValueError, match=rf"split train: shard {shard.name} is cut short"):
    opened.read(np.array([1]))
  opened.read(np.array([61]))  # the other shard still serves


def test_altered_bytes_are_noticed_and_the_record_named(copy):
  shard = sorted(copy.glob("*train*array_record*"))[0]
  data = bytearray(shard.read_bytes())
  place = data.find(b"\xff\xd8\xff", 70000) + 200  # within some image
  data[place] ^= 0xFF
  shard.write_bytes(data)
  opened = open_dataset(copy, "train")
  failed = []
  for i in range(31):
    try:
      opened.read(np.array([i, 61]))
    except ValueError as error:
      failed.append((i, str(error)))
  assert len(failed) == 1
  assert f"split train, record {failed[0][0]}: damaged in {shard.name}" in failed[0][1]


class DamagedImage(TinyVideo):
  """Its third frame's JPEG was cut short before it was written."""

  splits = ("train",)

  def sequences(self, split):
    track = tiny_track(0, 0, range(4))
    track.images[2] = track.images[2][:-40]
    yield records.Sequence("walk", "anna", "walking", 25.0, [track])


def test_a_damaged_image_names_its_record(tmp_path):
  opened = open_dataset(prepare(DamagedImage, tmp_path), "train")
  opened.read(np.array([0, 1, 3]))
  with pytest.raises(ValueError, match="split train, record 2: damaged image"):
    opened.read(np.array([3, 2]))


def test_another_format_version_is_an_error(copy):
  path = copy / "sequences_train.json"
  description = json.loads(path.read_text())
  description["format_version"] = 99
  path.write_text(json.dumps(description))
  with pytest.raises(ValueError, match=r"sequences_train\.json has format version 99"):
    open_dataset(copy, "train")
  path.write_text("{")
  with pytest.raises(ValueError, match=r"sequences_train\.json is damaged"):
    open_dataset(copy, "train")


def test_data_prepared_from_other_files_have_another_fingerprint(copy, dataset):
  assert open_dataset(copy, "train").fingerprint() == dataset.fingerprint()
  path = copy / "sequences_train.json"
  description = json.loads(path.read_text())
  path.write_text(json.dumps(description | {"options": {"fingerprint": "of other labels"}}))
  assert open_dataset(copy, "train").fingerprint() != dataset.fingerprint()


def test_a_damaged_index_is_an_error(copy):
  path = copy / "index_train.npz"
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(ValueError, match=r"index_train\.npz is damaged"):
    open_dataset(copy, "train")
  shutil.copy(copy / "index_test.npz", path)
  with pytest.raises(ValueError, match="62 records but an index of 42"):
    open_dataset(copy, "train")


def test_a_missing_background_is_named(copy):
  for path in (copy / "backgrounds").iterdir():
    path.unlink()
  with pytest.raises(ValueError, match=r"backgrounds/.*png is missing"):
    open_dataset(copy, "train").read(np.array([0]))
