import struct

import cv2
import numpy as np
import pytest

from jaxpose.data import video


def write_video(path, count, *, width=64, height=48, fps=20.0, fourcc="MJPG"):
  """Frame i is grey 10 + 5 i but for a white upper left corner."""
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, (width, height))
  assert writer.isOpened()
  for i in range(count):
    image = np.full((height, width, 3), 10 + 5 * i, np.uint8)
    image[: height // 4, : width // 4] = 255
    writer.write(image)
  writer.release()
  return path


def grey(frame):
  return round((float(frame.image[-8:, -8:].mean()) - 10) / 5)


def test_probe_tells_size_rate_and_promised_frames(tmp_path):
  info = video.probe_video(write_video(tmp_path / "a.avi", 7))
  assert (info.width, info.height, info.promised_frames) == (64, 48, 7)
  assert info.fps == pytest.approx(20.0)


def test_read_frames_trims_and_subsamples(tmp_path):
  path = write_video(tmp_path / "a.avi", 20)
  frames = list(video.read_frames(path, start=3, stop=12, every=4))
  assert [frame.number for frame in frames] == [3, 7, 11]
  assert [grey(frame) for frame in frames] == [3, 7, 11]
  np.testing.assert_allclose([frame.time_s for frame in frames], [0.15, 0.35, 0.55], atol=1e-3)


def test_colours_are_rgb(tmp_path):
  writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
  blue_in_bgr = np.zeros((32, 32, 3), np.uint8)
  blue_in_bgr[..., 0] = 200
  writer.write(blue_in_bgr)
  writer.release()
  pixel = next(video.read_frames(tmp_path / "a.avi")).image[16, 16]
  assert pixel[2] > 150
  assert pixel[0] < 60


def test_fewer_frames_than_the_header_promises(tmp_path):
  path = write_video(tmp_path / "a.avi", 30)
  path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
  frames = list(video.read_frames(path))
  assert 4 < len(frames) < 30
  assert [grey(frame) for frame in frames[:4]] == [0, 1, 2, 3]


def test_zero_frames_and_damaged_and_empty_files_are_named(tmp_path):
  empty, damaged = tmp_path / "empty.mp4", tmp_path / "damaged.mp4"
  empty.touch()
  damaged.write_bytes(b"not a video at all" * 100)
  none = write_video(tmp_path / "none.avi", 0)
  for path in (empty, damaged, none):
    with pytest.raises(video.VideoError, match=path.name):
      video.probe_video(path)
  with pytest.raises(FileNotFoundError, match="missing"):
    video.probe_video(tmp_path / "missing.mp4")


def test_backward_timestamps_are_replaced_by_the_rate():
  told = [0.0, 0.1, 0.05, 0.2]
  times, before = [], -np.inf
  for number, value in enumerate(told):
    before = video._next_time(before, value, number, 20.0, forced=False)
    times.append(before)
  np.testing.assert_allclose(times, [0.0, 0.1, 0.15, 0.2])
  assert video._next_time(0.1, 0.3, 4, 20.0, forced=True) == pytest.approx(0.2)


def _turn_metadata(path):
  """Writes a quarter turn clockwise into the track header of an .mp4."""
  data = bytearray(path.read_bytes())
  start = data.find(b"tkhd") + 4 + 4 + 20 + 8 + 8
  one = 1 << 16
  data[start : start + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
  path.write_bytes(bytes(data))


def test_rotation_metadata_is_obeyed(tmp_path):
  path = write_video(tmp_path / "a.mp4", 3, fourcc="mp4v")
  _turn_metadata(path)
  info = video.probe_video(path)
  assert (info.width, info.height) == (48, 64)
  image = next(video.read_frames(path)).image
  assert image[:12, -8:].mean() > 200  # the white corner went from upper left to upper right
  assert image[:12, :8].mean() < 60


def test_geometry_turns_cuts_and_shrinks():
  image = np.zeros((40, 60, 3), np.uint8)
  image[0:4, 56:60] = 200  # upper right; after a quarter turn clockwise: lower right
  geometry = video.make_geometry(60, 40, rotate=90, roi=(8, 28, 32, 32), image_size=16)
  stored = geometry.apply(np.ascontiguousarray(image))
  assert geometry.size == stored.shape[:2] == (16, 16)
  assert stored[-2:, -2:].mean() > 190
  assert stored[:13, :13].max() == 0


def test_geometry_follows_points():
  geometry = video.make_geometry(100, 50, roi=(10, 20, 40, 20), image_size=20)
  assert geometry.size == (10, 20)
  # the corner of the region's first pixel, (9.5, 19.5), is the corner of the stored first pixel
  points = np.array([[9.5, 19.5], [49.5, 39.5]])
  np.testing.assert_allclose(geometry.points_to_stored(points), [[-0.5, -0.5], [19.5, 9.5]])


def test_geometry_never_enlarges_and_keeps_the_aspect():
  assert video.make_geometry(1080, 1920, image_size=256).size == (256, 144)
  assert video.make_geometry(64, 48, image_size=256).size == (48, 64)


@pytest.mark.parametrize(
  "options", [{"rotate": 45}, {"roi": (90, 0, 20, 20)}, {"roi": (0, 0, 5, 20)}, {"image_size": 4}]
)
def test_geometry_refuses_nonsense(options):
  with pytest.raises(ValueError, match=r"rotate|roi|image_size"):
    video.make_geometry(100, 50, **options)


def test_select_by_time_takes_the_nearest_within_the_tolerance():
  image = np.zeros((1, 1, 3), np.uint8)
  frames = [video.Frame(i, t, image) for i, t in enumerate([0.0, 0.1, 0.2, 0.5])]
  targets = np.array([0.02, 0.06, 0.2, 0.35, 0.52, 0.8])
  found = list(video.select_by_time(iter(frames), targets, 0.05))
  # 0.02 -> frame 0, 0.06 -> 1 (0.04 away), 0.2 -> 2, 0.35: 0.15 away, 0.52 -> 3, 0.8: too late
  assert [(i, frame.number) for i, frame in found] == [(0, 0), (1, 1), (2, 2), (4, 3)]


def test_find_videos_needs_some(tmp_path):
  (tmp_path / "notes.txt").write_text("x")
  with pytest.raises(FileNotFoundError, match="no video"):
    video.find_videos(tmp_path)
  (tmp_path / "sub").mkdir()
  write_video(tmp_path / "sub" / "b.AVI", 1)
  assert [path.name for path in video.find_videos(tmp_path)] == ["b.AVI"]
