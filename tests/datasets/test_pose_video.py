"""Builds are atomic, repeatable and readable by TFDS itself."""

import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_data import LEG, TinyVideo, open_tiny, tiny_camera, tiny_track

from datasets.pose_video import PoseVideoBuilder, prepare
from jaxpose.data import records
from jaxpose.data.index import open_dataset


def digests(directory):
  return {
    str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(directory.rglob("*"))
    if path.is_file()
  }


def test_equal_input_gives_equal_bytes(tmp_path):
  first = prepare(TinyVideo, tmp_path / "a", num_shards=2)
  second = prepare(TinyVideo, tmp_path / "b", num_shards=2)
  found = digests(first)
  assert found == digests(second)
  names = {name for name in found if not name.startswith("backgrounds")}
  assert names == {
    "dataset_info.json",
    "features.json",
    *(f"index_{split}.npz" for split in ("train", "test")),
    *(f"sequences_{split}.json" for split in ("train", "test")),
    *(
      f"tiny_video-{split}.array_record-0000{i}-of-00002"
      for split in ("train", "test")
      for i in (0, 1)
    ),
  }
  assert not list((tmp_path / "a").glob("downloads*"))


def test_equal_backgrounds_are_stored_once(tmp_path):
  directory = prepare(TinyVideo, tmp_path)
  # three tracks in each of two splits, the same three backgrounds
  stored = sorted((directory / "backgrounds").iterdir())
  assert len(stored) == 3
  colours = {tuple(cv2.imread(str(path))[0, 0, ::-1].tolist()) for path in stored}
  assert colours == {(200, 0, 0), (200, 0, 70), (200, 10, 0)}


def test_a_second_call_reuses_what_is_there(tmp_path):
  directory = prepare(TinyVideo, tmp_path)
  before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
  assert prepare(TinyVideo, tmp_path) == directory
  assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_tfds_reads_the_records(tmp_path):
  dataset = open_tiny(tmp_path)
  builder = tfds.builder_from_directory(dataset.directory)
  assert builder.info.splits["train"].num_examples == dataset.num_frames
  source = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})
  assert len(source) == dataset.num_frames
  expected = dataset.read(np.array([0, 40, 61]), with_labels=True)
  for row, i in enumerate((0, 40, 61)):
    record = source[i]
    np.testing.assert_array_equal(records.decode_image(record["image"]), expected["image"][row])
    for name in ("sequence", "camera", "frame", "pose3d_mm", "joint_valid", "falling"):
      np.testing.assert_array_equal(record[name], expected[name][row])


def test_descriptions_hold_cameras_and_skeleton(tmp_path):
  directory = prepare(TinyVideo, tmp_path)
  description = json.loads((directory / "sequences_test.json").read_text())
  assert description["skeleton"]["joints"] == ["hip", "knee", "ankle"]
  assert description["format_version"] == records.FORMAT_VERSION
  walk, dive = description["sequences"]
  assert (walk["name"], walk["subject"], walk["action"], walk["fps"]) == (
    "walk",
    "anna",
    "walking",
    25.0,
  )
  assert [track["name"] for track in walk["tracks"]] == ["cam0", "cam1"]
  assert walk["tracks"][1]["size"] == [24, 40]
  camera = walk["tracks"][1]["camera"]
  np.testing.assert_array_equal(camera["K"], tiny_camera().K)
  assert camera["t_mm"] == [0, 0, 4000]
  assert camera["distortion"] == [0] * 5
  assert dive["tracks"][0]["background"] in description["backgrounds"]


def test_the_content_of_the_records_is_known_again(tmp_path):
  def built(name, **changes):
    class Walk(PoseVideoBuilder):
      """One track."""

      skeleton = LEG
      splits = ("train",)

      def sequences(self, split):
        track = dataclasses.replace(tiny_track(0, 0, range(5)), **changes)
        yield records.Sequence("walk", "a", "b", 25.0, [track])

    return open_dataset(prepare(Walk, tmp_path / name), "train").fingerprint()

  track = tiny_track(0, 0, range(5))
  images = list(track.images)
  pixels = records.encode_jpeg(255 - records.decode_image(images[3]), 92)
  poses = np.array(track.pose3d_mm)
  poses[4, 1, 2] += 1
  own = built("own")
  assert built("again") == own
  assert built("pixels", images=[*images[:3], pixels, images[4]]) != own
  assert built("labels", pose3d_mm=poses) != own
  assert built("background", background=255 - track.background) != own


class Failing(TinyVideo):
  """Fails in its second sequence."""

  splits = ("train",)

  def sequences(self, split):
    yield records.Sequence("first", "a", "b", 25.0, [tiny_track(0, 0, range(5))])
    raise OSError("the video ended early")


def test_a_build_that_fails_leaves_nothing(tmp_path):
  with pytest.raises(OSError, match="ended early"):
    prepare(Failing, tmp_path)
  assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
  with pytest.raises(FileNotFoundError):
    open_dataset(tmp_path / "failing" / "1.0.0", "train")


class Dying(TinyVideo):
  """Is killed in its second sequence, the first time."""

  splits = ("train",)

  def sequences(self, split):
    track = tiny_track(0, 0, range(5))
    yield records.Sequence("first", "a", "b", 25.0, [track])
    mark = Path(self.data_dir).parents[1] / "killed"
    if not mark.exists():
      mark.touch()
      os.kill(os.getpid(), signal.SIGKILL)
    yield records.Sequence("second", "a", "b", 25.0, [track])


def test_what_a_killed_build_left_is_removed(tmp_path):
  context = multiprocessing.get_context("fork")
  process = context.Process(target=prepare, args=(Dying, tmp_path))
  process.start()
  process.join(60)
  assert process.exitcode == -signal.SIGKILL
  folder = tmp_path / "dying"
  assert any("incomplete" in path.name for path in folder.iterdir())
  with pytest.raises(FileNotFoundError):
    open_dataset(folder / "1.0.0", "train")
  directory = prepare(Dying, tmp_path)
  assert list(folder.iterdir()) == [directory]
  assert len(open_dataset(directory, "train").sequences) == 2


def broken(**changes):
  class Broken(PoseVideoBuilder):
    """One wrong track."""

    skeleton = LEG
    splits = ("train",)

    def sequences(self, split):
      track = dataclasses.replace(tiny_track(0, 0, range(5)), **changes)
      yield records.Sequence("walk", "a", "b", 25.0, [track])

  return Broken


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"frame": np.zeros(5, int)}, "frame must increase"),
    ({"background": np.zeros((5, 5, 3), np.uint8)}, r"a background of \(5, 5\)"),
    ({"camera": tiny_camera(width=99)}, r"a calibration for \(24, 99\)"),
    ({"images": [b"no jpeg"] * 5}, "damaged image"),
    ({"images": []}, "ended after 0 of 5"),
  ],
)
def test_wrong_tracks_are_named(tmp_path, changes, message):
  with pytest.raises(ValueError, match=rf"sequence 'walk', track 'cam0'.*{message}"):
    prepare(broken(**changes), tmp_path)


class Empty(TinyVideo):
  """Has no sequences."""

  splits = ("train",)

  def sequences(self, split):
    yield from ()


class Twice(TinyVideo):
  """Has one sequence twice."""

  splits = ("train",)

  def sequences(self, split):
    for _ in range(2):
      yield records.Sequence("walk", "a", "b", 25.0, [tiny_track(0, 0, range(5))])


def test_wrong_splits_are_errors(tmp_path):
  with pytest.raises(ValueError, match="split 'train': there are no sequences"):
    prepare(Empty, tmp_path)
  with pytest.raises(ValueError, match="two sequences are named 'walk'"):
    prepare(Twice, tmp_path)


@dataclasses.dataclass(kw_only=True)
class LengthConfig(tfds.core.BuilderConfig):
  """How many frames."""

  frames: int


class Configured(PoseVideoBuilder):
  """As long as its config says."""

  BUILDER_CONFIGS = [LengthConfig(name="short", frames=4), LengthConfig(name="long", frames=9)]  # noqa: RUF012
  skeleton = LEG
  splits = ("train",)

  def sequences(self, split):
    frames = range(self.builder_config.frames)
    yield records.Sequence("walk", "a", "b", 25.0, [tiny_track(0, 0, frames)])


def test_configs_have_folders_of_their_own(tmp_path):
  assert open_dataset(prepare(Configured, tmp_path, config="long"), "train").num_frames == 9
  short = prepare(Configured, tmp_path)
  assert open_dataset(short, "train").num_frames == 4
  own = LengthConfig(name="own", frames=6)
  assert open_dataset(prepare(Configured, tmp_path, config=own), "train").num_frames == 6
  with pytest.raises(ValueError, match=r"'frames': 6.*'frames': 7.*another name"):
    prepare(Configured, tmp_path, config=LengthConfig(name="own", frames=7))


class Counting(TinyVideo):
  """Leaves a mark for each time that it is built."""

  splits = ("train",)

  def sequences(self, split):
    marks = Path(self.data_dir_root)
    with (marks / "marks").open("a") as file:
      file.write("x")
    yield from super().sequences(split)


def build_counting(folder):
  prepare(Counting, folder)


def test_two_processes_build_once(tmp_path):
  context = multiprocessing.get_context("fork")
  processes = [context.Process(target=build_counting, args=(tmp_path,)) for _ in range(2)]
  for process in processes:
    process.start()
  for process in processes:
    process.join()
  assert [process.exitcode for process in processes] == [0, 0]
  assert (tmp_path / "marks").read_text() == "x"


def test_a_full_disk_is_an_error_of_the_system_and_leaves_nothing(tmp_path, monkeypatch):
  def close(self):
    raise RuntimeError("Failed to finalize writing: write() failed: No space left on device")

  from array_record.python import array_record_module

  monkeypatch.setattr(array_record_module.ArrayRecordWriter, "close", close)
  with pytest.raises(OSError, match=r"cannot write .*1\.0\.0: No space left") as caught:
    open_tiny(tmp_path)
  assert caught.value.errno == errno.ENOSPC
  assert not list(tmp_path.rglob("dataset_info.json"))
