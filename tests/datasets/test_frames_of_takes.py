"""Which frames of a take are kept, and which of two cameras are of one instant."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from video_takes import frame_code, prepare, read, two_cameras, write_video

from datasets.video_folder import staging
from datasets.video_folder.assemble import moving_frames
from datasets.video_folder.takes import Take
from jaxpose.data import records


def test_trim_and_subsampling_keep_source_frame_numbers(tmp_path):
  write_video(tmp_path / "in" / "a.avi", 20)
  overrides = {"trim": [2, 15], "fps": 2.5}  # of 10: each fourth
  report, _ = prepare(tmp_path / "in", tmp_path / "out", overrides=overrides)
  found = read(report.directory, "train")[2]
  assert [int(r["frame"]) for r in found] == [2, 6, 10, 14]
  assert [frame_code(r["image"]) for r in found] == [2, 6, 10, 14]
  np.testing.assert_allclose([r["time_s"] for r in found], [0.2, 0.6, 1.0, 1.4], atol=1e-3)


def test_offset_aligns_a_late_camera(tmp_path):
  # camera b shows at its frame i what a showed at i - 2: it is 0.2 s late
  folder, _ = two_cameras(tmp_path, "offset_s = { b = -0.2 }\nlength_tolerance = 0.3\n", shift=-2)
  write_video(folder / "b.avi", 12, shift=-2)
  report, text = prepare(folder, tmp_path / "out")
  found = read(report.directory, "train")[2]
  assert "10 common frames" in text
  assert [int(r["frame"]) for r in found[:10]] == [int(r["frame"]) for r in found[10:]]
  assert [frame_code(r["image"]) for r in found[:10]] == [
    frame_code(r["image"]) for r in found[10:]
  ]


def test_an_offset_moves_a_single_camera_too(tmp_path):
  write_video(tmp_path / "in" / "walk.avi", 12)  # 10 frames a second
  report, _ = prepare(tmp_path / "in", tmp_path / "out", overrides={"offset_s": 0.5})
  found = read(report.directory, "train")[2]
  np.testing.assert_allclose([r["time_s"] for r in found], 0.5 + np.arange(12) / 10, atol=1e-6)
  for offset, first, count in ((-0.5, 5, 7), (300.0, 0, 12)):
    options = {"overrides": {"offset_s": offset}, "config_name": f"off{offset:.0f}"}
    report, _ = prepare(tmp_path / "in", tmp_path / "out", **options)
    found = read(report.directory, "train")[2]
    assert [frame_code(r["image"]) for r in found] == list(range(first, first + count))
    np.testing.assert_allclose(found[0]["time_s"], max(offset, 0), atol=1e-6)


def test_a_file_that_does_not_say_its_length_is_kept_whole(monkeypatch):
  asked = []
  monkeypatch.setattr(
    staging.video, "select_by_time", lambda frames, times, _: asked.append(len(times)) or []
  )
  monkeypatch.setattr(staging.video, "read_frames", lambda *_, **__: [])
  take = Take("x", {"cam": "x.webm"}, offset_s=0.1)
  job = staging.StageJob(take, "cam", Path(), Path(), 92)
  twice = staging.Plan(30.0, 0, None, 2, True, 30.0)
  for promised in (0, 40_000):
    list(staging._select(job, twice, promised))
  assert asked[0] >= 100_000  # an hour of 30 frames a second, each second of them
  assert asked[1] == (2 * 40_000 + 1000 + 3 + 1) // 2


def test_labels_in_seconds_are_placed_by_when_frames_were(tmp_path, monkeypatch):
  folder, poses = two_cameras(tmp_path)
  (folder / "takes.toml").write_text(
    '[[take]]\nname = "one"\nvideo = "a.avi"\nlabels = "labels.npz"\ncalibration = "cal.toml"\n'
    'calibration_names = { cam = "a" }\n'
  )
  plain = staging._select

  def slower(*arguments):
    for number, time_s, image in plain(*arguments):
      yield number, (time_s if number < 6 else 0.6 + 2 * (time_s - 0.6)), image

  monkeypatch.setattr(staging, "_select", slower)
  report, _ = prepare(folder, tmp_path / "out")
  found = read(report.directory, "train")[2]
  # x of the first joint moves 0.02 m in 0.1 s, so that frame 8, of 1.0 s, is of row 10
  x = [float(r["pose3d_mm"].reshape(-1, 3)[0, 0]) for r in found]
  np.testing.assert_allclose(x[8] - x[6], 1000 * (poses[10, 0, 0] - poses[6, 0, 0]), atol=0.1)


def write_clock(path, count, fps, *, header=None):
  """Frames whose grey is 50 times the seconds since the start, from 0 on again after 200."""
  path.parent.mkdir(parents=True, exist_ok=True)
  code = cv2.VideoWriter_fourcc(*"MJPG")
  writer = cv2.VideoWriter(str(path), code, header or fps, (32, 32))
  for i in range(count):
    writer.write(np.full((32, 32, 3), round(50 * i / fps % 200), np.uint8))
  writer.release()


@pytest.mark.parametrize(("align", "apart"), [("", 0), ("frame", 1), ("time", 0)])
def test_cameras_of_nearly_one_rate_are_aligned_by_time(tmp_path, align, apart):
  folder, overrides = tmp_path / "in", {"cameras_align": align, "length_tolerance": 0.1}
  write_clock(folder / "walk_a.avi", 400, 10.0)
  write_clock(folder / "walk_b.avi", 399, 9.96)  # frame 399 is 0.16 s, 1.6 frames, late
  report, text = prepare(folder, tmp_path / "out", pattern="{take}_{camera}", overrides=overrides)
  found = read(report.directory, "train")[2]
  grey = [float(records.decode_image(r["image"]).mean()) for r in found]
  a, b = np.reshape(grey, (2, -1))[:, -1] / 50  # s
  np.testing.assert_allclose(b - a, 0.16 * apart, atol=0.051 + 0.02)  # half a frame, and JPEG
  times = np.reshape([float(r["time_s"]) for r in found], (2, -1))
  np.testing.assert_array_equal(times[0], times[1])
  assert "by the clock of camera" not in text  # it was said how, or they were aligned


def test_cameras_that_one_clock_triggers_may_have_headers_that_differ(tmp_path):
  for name, rate in (("walk_a", 10.0), ("walk_b", 9.96)):
    write_clock(tmp_path / "in" / f"{name}.avi", 160, 10.0, header=rate)
  report, text = prepare(tmp_path / "in", tmp_path / "out", pattern="{take}_{camera}")
  found = read(report.directory, "train")[2]
  a, b = np.reshape([records.decode_image(r["image"]).mean() for r in found], (2, 160))
  np.testing.assert_array_equal(a, b)
  assert "up to 0.064 s apart by the clock of camera 'b'" in text  # 159 (1 / 9.96 - 1 / 10)
  assert found[-1]["time_s"] == found[159]["time_s"]


def test_frames_in_which_nobody_moved_are_left_out(tmp_path):
  # joints move 20 mm a frame; frames 3 to 5 lack the third one
  folder, poses = two_cameras(tmp_path, "min_movement_mm = 45\n")
  report, _ = prepare(folder, tmp_path / "out")
  found = read(report.directory, "train")[2]
  assert [int(r["frame"]) for r in found] == [0, 3, 6, 9] * 2
  assert [frame_code(r["image"]) for r in found] == [0, 3, 6, 9] * 2
  np.testing.assert_allclose(found[2]["pose3d_mm"], poses[6] * 1000 + [0, 0, 4000], atol=0.1)


def test_a_frame_counts_from_the_last_that_was_kept():
  x = np.array([0, 30, 50, 50, np.nan, 60, 85, 125.0])
  points = np.zeros((8, 2, 3))
  points[:, 1, 0] = x
  points[4, 0] = np.nan  # no joint is known: kept
  found = moving_frames(points, 40.0)
  np.testing.assert_array_equal(np.flatnonzero(found), [0, 2, 4, 7])
  assert moving_frames(points, 0.0).all()
  points[:, 0, 0] = x
  points[:4, 1] = np.nan
  points[4:, 0] = np.nan  # no joint is known before frame 4 and from it on: 5 begins anew
  found = moving_frames(points, 40.0)
  np.testing.assert_array_equal(np.flatnonzero(found), [0, 2, 4, 5, 7])
