import collections
import json
import pathlib
import re
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
from video_takes import CALIBRATION, frame_code, prepare, read, two_cameras, write_video

from datasets.video_folder import backgrounds, staging
from datasets.video_folder import prepare as prepare_module
from datasets.video_folder.takes import Take, TakeError, load_takes


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
  write_video(tmp_path / "more" / "walk" / "walk_c1.avi", 3)
  (take,) = load_takes(tmp_path / "more", pattern="{take}/{take}_{camera}")
  assert (take.name, take.videos) == ("walk", {"c1": "walk/walk_c1.avi"})


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


def test_a_split_that_lost_its_takes_is_an_error(tmp_path):
  folder = tmp_path / "in"
  takes = ""
  for name, split in (("one", "train"), ("two", "test")):
    write_video(folder / f"{name}.avi", 5)
    takes += f'[[take]]\nname = "{name}"\nvideo = "{name}.avi"\nsplit = "{split}"\n'
  (folder / "takes.toml").write_text(takes)
  report, _ = prepare(folder, tmp_path / "out")
  (folder / "two.avi").write_bytes(b"no video" * 50)
  with pytest.raises(ValueError, match=r"split 'test' has no frames: .*; skipped: two$"):
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
  for clip in ("in/empty.avi", {"cam": "in/empty.avi"}):
    report, _ = prepare(folder / "..", tmp_path / "c", overrides={"background_clip": clip})
    assert report.skipped == {}
    described = read(report.directory, "train")[1]
    assert [s["name"] for s in described["sequences"]] == ["in_a"]  # it is no take
  (folder / "a.avi").unlink()
  with pytest.raises(TakeError, match="no video but the background_clip"):
    prepare(folder, tmp_path / "d", overrides={"background_clip": "empty.avi"})


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


@pytest.mark.parametrize(
  ("first", "second", "reason"),
  [
    ('background_image = "one.png"', 'background_image = "two.png"', r"different background_image"),
    ("roi = [0, 0, 40, 40]", "roi = [20, 0, 40, 40]", r"differ in frame size, roi or rotate: x .*"),
    ("", 'background_image = "nowhere.png"', r"nowhere\.png"),
  ],
)
def test_takes_of_a_room_agree_on_its_background(tmp_path, first, second, reason):
  folder = tmp_path / "in"
  write_video(folder / "x.avi", 6)
  write_video(folder / "y.avi", 6)
  takes = [
    f'[[take]]\nname = "{name}"\nvideo = "{name}.avi"\nroom = "lab"\n{more}\n'
    for name, more in (("x", first), ("y", second))
  ]
  (folder / "takes.toml").write_text("".join(takes))
  for name in ("one", "two"):
    cv2.imwrite(str(folder / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))
  report, _ = prepare(folder, tmp_path / "out")
  assert set(report.skipped) == {"x", "y"}
  assert re.search(reason, report.skipped["x"])


def test_a_panorama_decodes_frame_by_frame(tmp_path, monkeypatch):
  write_video(tmp_path / "in" / "a.avi", 6)
  seen = []

  def panorama(frames):
    seen.extend([list(frames), list(frames)])
    return seen[0][0], np.tile(np.eye(3), (6, 1, 1))

  monkeypatch.setattr(backgrounds.background, "compute_panorama", panorama)
  decode = staging.StagedCamera.decode

  def few(camera, rows):
    assert len(rows) < 6, "all at once"
    return decode(camera, rows)

  monkeypatch.setattr(staging.StagedCamera, "decode", few)
  overrides = {"background": "panorama"}
  report, _ = prepare(tmp_path / "in", tmp_path / "out", overrides=overrides)
  assert report.skipped == {}
  assert [len(frames) for frames in seen] == [6, 6]
  np.testing.assert_array_equal(seen[0], seen[1])
  assert seen[0][0].shape == (48, 64, 3)


def test_the_disk_that_is_needed(tmp_path, monkeypatch):
  folder, out = tmp_path / "in", tmp_path / "out"
  write_video(folder / "a.avi", 40)
  a_frame = 48 * 64 / 4  # bytes, staged once and written once

  def free(number):
    usage = collections.namedtuple("usage", "total used free")(0, 0, number)
    return lambda _: usage

  for overrides, kept in ({"trim_s": [0, 1]}, 10), ({"trim": [30, 100000]}, 10), ({}, 40):
    monkeypatch.setattr(prepare_module.shutil, "disk_usage", free(2 * kept * a_frame - 1))
    with pytest.raises(OSError, match="are needed"):
      prepare(folder, out, overrides=overrides)
    monkeypatch.setattr(prepare_module.shutil, "disk_usage", free(2 * kept * a_frame))
    with monkeypatch.context() as patch:
      patch.setattr(prepare_module, "_decode", lambda *args: 1 / 0)
      with pytest.raises(ZeroDivisionError):
        prepare(folder, out, overrides=overrides)
  monkeypatch.setattr(prepare_module.shutil, "disk_usage", free(80 * a_frame))
  with monkeypatch.context() as patch:
    patch.setattr(prepare_module, "_write", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      prepare(folder, out)
  # what is staged takes no more room
  monkeypatch.setattr(prepare_module.shutil, "disk_usage", free(40 * a_frame))
  report, text = prepare(folder, out)
  assert report.skipped == {}
  assert "about 40 frames" in text


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
    (
      '[[take]]\nname = "c"\nvideo = "a.avi"\nmin_movement_mm = 40',
      "min_movement_mm without labels",
    ),
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
from datasets.synthetic_people import generator
from datasets.video_folder import prepare
from jaxpose.training.interruption import StopRequest

def main():
  with StopRequest(grace_s=60, give_up=print, at_once=True):
    print("ready", flush=True)
    for outcome in {jobs}:
      print(outcome, flush=True)

if __name__ == "__main__":
  main()
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
  ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
@pytest.mark.parametrize(
  "jobs",
  [
    "prepare._outcomes(time.sleep, [300] * 4, 2)",
    "generator.in_processes(time.sleep, [300] * 20, 2)",
  ],
)
def test_workers_end_with_the_job(tmp_path, number, status, jobs):
  script = tmp_path / "pool.py"
  script.write_text(POOL.format(root=str(ROOT), jobs=jobs))
  process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == "ready\n"
  end = time.monotonic() + 60
  while len(found := workers_of(process.pid)) < 2:
    assert time.monotonic() < end, "the workers never started"
    time.sleep(0.05)
  time.sleep(1.0)  # they have read what they run first
  begin = time.monotonic()
  process.send_signal(number)
  assert process.communicate(timeout=60)[0] == ""
  assert process.returncode == status
  while any(pathlib.Path(f"/proc/{worker}").exists() for worker in found):
    assert time.monotonic() - begin < 30, "workers outlive their job"
    time.sleep(0.05)
