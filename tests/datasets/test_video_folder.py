import json
import pathlib
import signal
import subprocess
import sys
import threading
import time
import warnings

import cv2
import numpy as np
import pytest
from launching import ROOT, workers_of

from datasets.video_folder import backgrounds, staging
from datasets.video_folder import prepare as prepare_module
from datasets.video_folder.assemble import moving_frames
from datasets.video_folder.prepare import prepare_videos
from datasets.video_folder.takes import Take, TakeError, load_takes
from jaxpose.data import records

JOINTS = ("RHip", "LHip", "Head")
CALIBRATION = """
[{name}]
name = "{name}"
size = [64.0, 48.0]
matrix = [[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]]
distortions = [0.0, 0.0, 0.0, 0.0]
rotation = [0.0, 0.0, 0.0]
translation = [{x}, 0.0, 4.0]
"""


def write_video(path, count, *, fps=10.0, shift=0, width=64, height=48):
  """A square walks to the right, 2 px a frame; its grey tells the frame: 60 + 4 (i + shift)."""
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
  for i in range(count):
    image = np.full((height, width, 3), 20, np.uint8)
    left = (2 * (i + shift)) % (width - 16)
    image[16:32, left : left + 16] = 60 + 4 * (i + shift)
    writer.write(image)
  writer.release()


def frame_code(data):
  """Which frame of `write_video` it is, from the square's grey."""
  return round((float(np.sort(records.decode_image(data)[..., 0].ravel())[-60:].mean()) - 60) / 4)


def read(directory, split):
  """(index columns, description, records) of a split."""
  with np.load(directory / f"index_{split}.npz") as archive:
    index = {key: archive[key] for key in archive.files}
  described = json.loads((directory / f"sequences_{split}.json").read_text())
  files = sorted(directory.glob(f"video_folder-{split}.array_record*"))
  found = [records.parse_record(data) for file in files for data in read_all(file)]
  return index, described, found


def read_all(file):
  from array_record.python.array_record_module import ArrayRecordReader

  return ArrayRecordReader(str(file)).read_all()


def prepare(folder, out, **options):
  lines = []
  options.setdefault("workers", 1)
  return prepare_videos(folder, out, say=lines.append, **options), "\n".join(lines)


def two_cameras(tmp_path, extra="", **lengths):
  folder = tmp_path / "in"
  write_video(folder / "a.avi", lengths.get("a", 12))
  write_video(folder / "b.avi", lengths.get("b", 12), shift=lengths.get("shift", 0))
  cameras = [("a", 0.0), ("b", 0.5)]
  text = "".join(CALIBRATION.format(name=n, x=x) for n, x in cameras)
  (folder / "cal.toml").write_text(text)
  poses = np.zeros((12, 3, 3)) + [[0.0, 0.1, 0], [0.2, 0.1, 0], [0.1, -0.6, 0.1]]
  poses[:, :, 0] += np.arange(12)[:, None] * 0.02
  poses[3:6, 2] = np.nan  # too long a gap to bridge
  np.savez(folder / "labels.npz", joints3d_m=poses, names=np.array(JOINTS), fps=10)
  (folder / "takes.toml").write_text(
    '[[take]]\nname = "both"\nvideos = { a = "a.avi", b = "b.avi" }\ncalibration = "cal.toml"\n'
    'labels = "labels.npz"\n' + extra
  )
  return folder, poses


def test_one_video_is_one_sequence(tmp_path):
  write_video(tmp_path / "in" / "x" / "first walk.avi", 6)
  write_video(tmp_path / "in" / "second.avi", 4)
  report, text = prepare(tmp_path / "in", tmp_path / "out")
  assert report.skipped == {}
  assert "MB of disk" in text
  index, described, found = read(report.directory, "train")
  assert [s["name"] for s in described["sequences"]] == ["second", "x_first_walk"]
  np.testing.assert_array_equal(index["track_length"], [4, 6])
  assert [int(r["frame"]) for r in found] == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
  assert [frame_code(r["image"]) for r in found] == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
  assert described["skeleton"]["name"] == "h36m17"


def test_pattern_groups_cameras_and_names_subjects(tmp_path):
  for name in ("anna/walk_c1", "anna/walk_c2", "bert/run_c1", "bert/run_c2"):
    write_video(tmp_path / f"{name}.avi", 3)
  takes = load_takes(tmp_path, pattern="{subject}/{take}_{camera}")
  assert [(t.name, t.subject, sorted(t.videos)) for t in takes] == [
    ("walk", "anna", ["c1", "c2"]),
    ("run", "bert", ["c1", "c2"]),
  ]
  with pytest.raises(TakeError, match="does not fit"):
    load_takes(tmp_path, pattern="{take}-{camera}")
  with pytest.raises(TakeError, match=r"needs \{take\}"):
    load_takes(tmp_path, pattern="{camera}")


def test_labels_calibration_splits_and_sizes(tmp_path):
  extra = "split = { train = [0, 6], test = [8, 12] }\nfalling = [[2, 4]]\nempty = [[8, 9]]\n"
  folder, poses = two_cameras(tmp_path, extra + "image_size = 32\n")
  report, _ = prepare(folder, tmp_path / "out")
  _, described, train = read(report.directory, "train")
  _, _, test = read(report.directory, "test")
  assert len(train) == 12
  assert [int(r["frame"]) for r in test] == [8, 9, 10, 11, 8, 9, 10, 11]
  assert [int(r["present"]) for r in test[:2]] == [0, -1]
  assert [bool(r["falling"]) for r in train[:6]] == [False, False, True, True, False, False]
  record = train[6 + 2]  # camera b, frame 2
  assert frame_code(record["image"]) == 2
  expected_mm = poses[2] * 1000 + [500, 0, 4000]
  np.testing.assert_allclose(record["pose3d_mm"], expected_mm, atol=0.1)
  pixels = 60 * expected_mm[:, :2] / expected_mm[:, 2:] + [31.5, 23.5]
  np.testing.assert_allclose(record["pose2d_px"], (pixels + 0.5) / 2 - 0.5, atol=1e-3)
  np.testing.assert_array_equal(train[4]["joint_valid"], [True, True, False])
  assert np.isnan(train[4]["pose3d_mm"][2]).all()
  track = described["sequences"][0]["tracks"][1]
  assert track["size"] == [24, 32]
  np.testing.assert_allclose(track["camera"]["K"][0], [30, 0, 15.5])
  assert sorted(described["skeleton"]["root"]) == [0, 1]  # both hips
  assert (report.directory / "previews" / "both__b.jpg").stat().st_size > 1000


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


def test_a_split_that_lost_its_takes_is_an_error(tmp_path):
  folder = tmp_path / "in"
  takes = ""
  for name, split in (("one", "train"), ("two", "test")):
    write_video(folder / f"{name}.avi", 5)
    takes += f'[[take]]\nname = "{name}"\nvideo = "{name}.avi"\nsplit = "{split}"\n'
  (folder / "takes.toml").write_text(takes)
  report, _ = prepare(folder, tmp_path / "out")
  (folder / "two.avi").write_bytes(b"no video" * 50)
  with pytest.raises(ValueError, match="split 'test' has no take left, 'two'"):
    prepare(folder, tmp_path / "out")
  assert len(read(report.directory, "test")[2]) == 5  # what was prepared before stays


def test_cameras_of_unequal_length_are_refused(tmp_path):
  folder, _ = two_cameras(tmp_path, b=6)
  report, text = prepare(folder, tmp_path / "out")
  assert report.directory is None
  assert "unequal length" in report.skipped["both"]
  assert "a 12, b 6" in text
  assert not (tmp_path / "out" / "video_folder").exists()


def test_calibration_of_another_take_and_labels_in_other_units(tmp_path):
  folder, _ = two_cameras(tmp_path)
  (folder / "cal.toml").write_text(CALIBRATION.format(name="left", x=0.0))
  report, _ = prepare(folder, tmp_path / "out")
  assert "calibration of another take" in report.skipped["both"]
  folder, _ = two_cameras(tmp_path, 'labels_units = "mm"\n')
  report, _ = prepare(folder, tmp_path / "out")
  assert "labels_units" in report.skipped["both"]


def test_a_damaged_file_is_named_and_the_others_are_prepared(tmp_path):
  folder = tmp_path / "in"
  write_video(folder / "good.avi", 5)
  (folder / "bad.avi").write_bytes(b"no video" * 50)
  (folder / "empty.mp4").touch()
  report, text = prepare(folder, tmp_path / "out")
  assert sorted(report.skipped) == ["bad", "empty"]
  assert "bad.avi" in text
  assert len(read(report.directory, "train")[2]) == 5
  write_video(folder / "bad.avi", 3)
  write_video(folder / "empty.avi", 2)
  (folder / "empty.mp4").unlink()
  report, _ = prepare(folder, tmp_path / "out")  # put right: the set is whole now
  assert report.skipped == {}
  assert len(read(report.directory, "train")[2]) == 10


def test_a_rerun_decodes_only_what_is_missing(tmp_path, monkeypatch):
  folder, out = tmp_path / "in", tmp_path / "out"
  write_video(folder / "a.avi", 5)
  write_video(folder / "b.avi", 5)
  decoded = []
  select = staging._select
  monkeypatch.setattr(
    staging, "_select", lambda job, *rest: decoded.append(job.take.name) or select(job, *rest)
  )
  with monkeypatch.context() as patch:
    patch.setattr(prepare_module, "_write", lambda *args: 1 / 0)  # dies before the set is written
    with pytest.raises(ZeroDivisionError):
      prepare(folder, out)
  assert decoded == ["a", "b"]
  write_video(folder / "b.avi", 7)
  report, _ = prepare(folder, out)
  assert decoded == ["a", "b", "b"]
  assert len(read(report.directory, "train")[2]) == 12
  _, text = prepare(folder, out)
  assert "up to date" in text
  assert decoded == ["a", "b", "b"]


def test_two_that_prepare_one_set_do_it_once(tmp_path, monkeypatch):
  write_video(tmp_path / "in" / "a.avi", 5)
  decoded, reports = [], []

  def slowly(job, *rest):
    decoded.append(job.take.name)
    time.sleep(0.5)
    return select(job, *rest)

  select = staging._select
  monkeypatch.setattr(staging, "_select", slowly)
  threads = [
    threading.Thread(target=lambda: reports.append(prepare(tmp_path / "in", tmp_path / "out")))
    for _ in range(2)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert decoded == ["a"]
  (one, _), (two, _) = reports
  assert one == two
  # whichever returned first, one of them waited and found it done
  assert sorted("up to date" in said for _, said in reports) == [False, True]
  assert len(read(two.directory, "train")[2]) == 5


def test_workers_give_the_same_records(tmp_path):
  folder, _ = two_cameras(tmp_path)
  one, _ = prepare(folder, tmp_path / "one")
  two, _ = prepare(folder, tmp_path / "two", workers=2)
  for left, right in zip(read(one.directory, "train")[2], read(two.directory, "train")[2]):
    assert bytes(left["image"]) == bytes(right["image"])


def test_background_comes_from_training_frames_picture_or_clip(tmp_path):
  folder = tmp_path / "in"
  write_video(folder / "a.avi", 20)
  room = np.full((48, 64, 3), (30, 60, 90), np.uint8)  # BGR
  cv2.imwrite(str(folder / "room.png"), room)
  split = {"train": [0, 2], "test": [2, 20]}
  report, _ = prepare(folder, tmp_path / "out", overrides={"split": split})
  image = stored_background(report.directory, "test")
  assert image[24, 8] > 40  # in frames 0 and 1 the square stands there
  assert image[24, 40] < 40
  report, _ = prepare(folder, tmp_path / "p", overrides={"background_image": "room.png"})
  path = next((report.directory / "backgrounds").iterdir())
  np.testing.assert_array_equal(cv2.imread(str(path))[5, 5], [30, 60, 90])
  write_video(folder / "empty.avi", 9, shift=-15)
  report, _ = prepare(folder / "..", tmp_path / "c", overrides={"background_clip": "in/empty.avi"})
  assert report.skipped == {}


def stored_background(directory, split):
  described = json.loads((directory / f"sequences_{split}.json").read_text())
  name = described["sequences"][0]["tracks"][0]["background"]
  return cv2.imread(str(directory / "backgrounds" / name), cv2.IMREAD_GRAYSCALE)


def test_takes_of_a_room_share_a_background(tmp_path):
  folder = tmp_path / "in"
  write_video(folder / "a.avi", 6)
  write_video(folder / "b.avi", 6, shift=9)
  report, _ = prepare(folder, tmp_path / "out", overrides={"room": "lab"})
  assert len(list((report.directory / "backgrounds").iterdir())) == 1


def test_each_background_has_its_own_place(tmp_path):
  # a take called like another's room, and two panoramas of one room: no two share a background
  def take(name, room, background="median"):
    return Take(name, {"c": f"{name}.avi"}, room=room, background=background)

  takes = [take("lab", ""), take("x", "lab"), take("y", "lab")]
  takes += [take("p", "pool", "panorama"), take("q", "pool", "panorama")]
  jobs = backgrounds.group_jobs(takes, tmp_path, tmp_path)
  assert [[t.name for t in job.takes] for job in jobs] == [["lab"], ["x", "y"], ["p"], ["q"]]
  assert len({job.target for job in jobs}) == 4


def test_a_range_outside_of_the_take_is_an_error(tmp_path):
  write_video(tmp_path / "in" / "a.avi", 5)
  split = {"train": [0, 5], "test": [50, 60]}
  with pytest.raises(ValueError, match="'test' has no frames"):
    prepare(tmp_path / "in", tmp_path / "out", overrides={"split": split})
  assert not (tmp_path / "out" / "video_folder").exists()


@pytest.mark.parametrize(
  ("extra", "match"),
  [
    ("bakground = 'robust'", "did you mean 'background'"),
    ("background = 'mean'", "must be one of median"),
    ("every = 'two'", "every must be int"),
    ("split = { train = [0, 9], test = [5, 12] }", "overlap"),
    ("roi = { c = [0, 0, 20, 20] }", "names 'c'"),
    ("labels_align = 'both'", "labels_align"),
    ("trim = [9, 3]", "trim"),
    ("min_movement_mm = -1", "movement cannot be below 0"),
    ("cameras_align = 'clock'", "cameras_align must be"),
    ("cameras_align = 'frame'\noffset_s = { b = 0.1 }", "leaves no use for offset_s"),
  ],
)
def test_mistakes_in_the_description_are_named(tmp_path, extra, match):
  folder, _ = two_cameras(tmp_path, extra + "\n")
  with pytest.raises(TakeError, match=match):
    load_takes(folder)


def test_warnings_of_a_cut_calibration_reach_the_user(tmp_path):
  folder, _ = two_cameras(tmp_path)
  text = (folder / "cal.toml").read_text().replace("64.0, 48.0", "65.0, 48.0")
  (folder / "cal.toml").write_text(text)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    report, said = prepare(folder, tmp_path / "out")
  assert report.skipped == {}
  assert "taken as cut" in said


POOL = """
import sys, time
sys.path.insert(0, {root!r})
from datasets.video_folder import prepare
from jaxpose.training.interruption import StopRequest

def main():
  with StopRequest(grace_s=60, give_up=print, at_once=True):
    print("ready", flush=True)
    for outcome in prepare._outcomes(time.sleep, [300, 300, 300, 300], 2):
      print(outcome, flush=True)

if __name__ == "__main__":
  main()
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
  ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_decoders_end_with_the_job(tmp_path, number, status):
  script = tmp_path / "pool.py"
  script.write_text(POOL.format(root=str(ROOT)))
  process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == "ready\n"
  end = time.monotonic() + 60
  while len(found := workers_of(process.pid)) < 2:
    assert time.monotonic() < end, "the decoders never started"
    time.sleep(0.05)
  time.sleep(1.0)  # they have read what they run first
  begin = time.monotonic()
  process.send_signal(number)
  assert process.communicate(timeout=60)[0] == ""
  assert process.returncode == status
  while any(pathlib.Path(f"/proc/{worker}").exists() for worker in found):
    assert time.monotonic() - begin < 30, "decoders outlive their job"
    time.sleep(0.05)
