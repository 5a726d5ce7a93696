import json
import pathlib

import cv2
import made_up_run
import numpy as np
import pytest
import real_data

from jaxpose import api, overlay, predict
from jaxpose.data import labels, video, video_background
from jaxpose.evaluation.presence import PresenceCalibration
from jaxpose.own_poses import OwnPoses
from jaxpose.skeleton import Skeleton

SIZE = made_up_run.SIZE
SURE = PresenceCalibration(scale=1.0, threshold=2.0, slope=50.0, two_sided=1.0)
QUIET = {"say": lambda text: None}
HEIGHT, WIDTH = 64, 96  # twice the size that the networks see


def write_video(path, boxes, background=30, fps=10.0, colour=(220, 120, 90)):
  """Grey frames with bright rectangles; `boxes` holds a list of rectangles for each frame."""
  path.parent.mkdir(parents=True, exist_ok=True)
  code = cv2.VideoWriter.fourcc(*"mp4v")
  writer = cv2.VideoWriter(str(path), code, fps, (WIDTH, HEIGHT))
  for rectangles in boxes:
    image = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    for x0, y0, x1, y1 in rectangles:
      image[y0 : y1 + 1, x0 : x1 + 1] = colour[::-1]
    writer.write(image)
  writer.release()
  return path


def walk(count, empty=2):
  """A person who comes in after `empty` frames and crosses the picture."""
  moving = [[(4 + 3 * i, 16, 19 + 3 * i, 55)] for i in range(count - empty)]
  return [[]] * empty + moving


@pytest.fixture
def model(tmp_path):
  return api.Model(
    render=made_up_run.render,
    image_size=SIZE,
    batch_size=4,
    calibration=SURE,
    regressor_path=tmp_path / "regressor.npz",
  )


def run(model, source, out, **options):
  options = predict.Options(**{"background": "median", **options})
  return predict.predict_videos(model, made_up_run.regressor(), source, out, options, **QUIET)


def test_a_video_becomes_poses_markers_and_an_overlay(model, tmp_path):
  source = write_video(tmp_path / "in" / "walk.mp4", walk(22))
  (done,), failed = run(model, source, tmp_path / "out")
  assert failed == []
  assert done.frames == 22
  names = [path.name for path in done.files]
  assert names == ["walk_poses.npz", "walk.trc", "walk_overlay.mp4"]
  with np.load(done.files[0], allow_pickle=False) as file:
    found = {name: file[name] for name in file.files}
  np.testing.assert_array_equal(found["frame"], np.arange(22))
  np.testing.assert_allclose(found["time_s"], np.arange(22) / 10, atol=1e-6)
  np.testing.assert_array_equal(found["presence"] > 0.5, np.arange(22) >= 2)
  assert found["joint_names"].tolist() == ["hip", "left", "right"]
  assert Skeleton.from_dict(json.loads(str(found["skeleton"]))) == made_up_run.TRIPOD
  # frame 7: px 19..34 wide, 16..55 high; letterboxed by 1/2 and back, so right to 2 px
  np.testing.assert_allclose(found["box_px"][7], [19, 16, 34, 55], atol=2.5)
  assert np.isnan(found["pose3d_mm"][:2]).all()
  # the regressor's left hand lies at the box's (left, top, right) on the letterboxed frame
  np.testing.assert_allclose(found["pose3d_mm"][7, 1], [9.5, 8, 17], atol=1.5)

  markers = labels._read_trc(done.files[1])
  assert list(markers[0]) == ["hip", "left", "right"]
  expected = found["pose3d_mm"] * [1, -1, -1]  # X right, Y up, Z towards the camera
  np.testing.assert_allclose(markers[2], expected, atol=1e-3)

  drawn = list(video.read_frames(done.files[2]))
  assert len(drawn) == 22
  assert video.probe_video(done.files[2]).fps == pytest.approx(10, rel=0.01)
  body = drawn[7].image[30:40, 24:30].astype(int).mean((0, 1))
  assert body[2] > body[0] - 60  # (220, 120, 90) tinted violet
  assert not list((tmp_path / "out").glob("*partial*"))


@pytest.mark.parametrize("turned", [False, True])
def test_it_is_said_where_a_network_turns_its_poses_to_the_person(tmp_path, turned):
  def render(frames):
    poses = np.full((len(frames["image"]), 3, 3), 7.0, np.float32)
    return {**made_up_run.render(frames), "pose_mm": poses}

  own = OwnPoses(made_up_run.TRIPOD, turned)
  model = api.Model(
    render=render,
    image_size=SIZE,
    batch_size=4,
    calibration=SURE,
    regressor_path=pathlib.Path("none"),
    own=own,
  )
  source = write_video(tmp_path / "walk.mp4", walk(6))
  options = predict.Options(background="median", overlay=False)
  (done,), _ = predict.predict_videos(model, own, source, tmp_path, options, **QUIET)
  with np.load(done.files[0]) as file:
    assert bool(file["turned"]) == turned
  assert any("looks at the person" in text for text in done.warnings) == turned


def test_overlays_in_the_folder_of_the_videos_are_no_input(model, tmp_path):
  write_video(tmp_path / "walk.mp4", walk(6))
  for _ in range(2):
    (done,), failed = run(model, tmp_path, tmp_path)
    assert failed == []
    assert [path.name for path in done.files][-1] == "walk_overlay.mp4"
    (tmp_path / "walk_overlay.partial.mp4").write_bytes(b"of a run that was killed")


def test_every_nth_frame_keeps_its_number_and_time(model, tmp_path):
  source = write_video(tmp_path / "walk.mp4", walk(22))
  (done,), _ = run(model, source, tmp_path, every=3, overlay=False)
  assert [path.suffix for path in done.files] == [".npz", ".trc"]
  with np.load(done.files[0]) as file:
    np.testing.assert_array_equal(file["frame"], np.arange(0, 22, 3))
    np.testing.assert_allclose(file["time_s"], np.arange(0, 22, 3) / 10, atol=1e-6)


def test_bad_videos_are_named_and_skipped(model, tmp_path):
  folder = tmp_path / "in"
  write_video(folder / "a" / "walk.mp4", walk(12))
  write_video(folder / "walk.avi", walk(12))
  write_video(folder / "walk.mp4", walk(12))
  (folder / "empty.mp4").write_bytes(b"")
  (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
  (folder / "notes.txt").write_text("no video")
  done, failed = run(model, folder, tmp_path / "out")
  assert len(done) == 3
  assert len(failed) == 2
  assert [any(name in line for line in failed) for name in ("empty.mp4", "noise.mp4")] == [True] * 2
  found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.npz"))
  assert found == ["a/walk_poses.npz", "walk_avi_poses.npz", "walk_mp4_poses.npz"]
  with pytest.raises(FileNotFoundError, match="nowhere"):
    run(model, tmp_path / "nowhere", tmp_path / "out")


def test_a_failure_half_way_leaves_no_files(model, tmp_path):
  source = write_video(tmp_path / "walk.mp4", walk(12))
  calls = []

  def render(frames):
    calls.append(1)
    if len(calls) == 3:
      raise ValueError("out of luck")
    return made_up_run.render(frames)

  model._render = render
  done, failed = run(model, source, tmp_path / "out")
  assert done == []
  assert failed == [f"{source}: out of luck"]
  assert list((tmp_path / "out").iterdir()) == []


def test_memory_holds_one_batch(model, tmp_path, monkeypatch):
  source = write_video(tmp_path / "walk.mp4", walk(30))
  held = []
  write = overlay.OverlayWriter.write
  monkeypatch.setattr(
    overlay.OverlayWriter,
    "write",
    lambda self, images, *rest: held.append(len(images)) or write(self, images, *rest),
  )
  run(model, source, tmp_path / "out")
  assert max(held) == model.batch_size
  assert sum(held) == 30


def test_two_people_are_said(model, tmp_path):
  two = [[(4 + 2 * i, 10, 15 + 2 * i, 45), (80 - 2 * i, 15, 91 - 2 * i, 55)] for i in range(15)] + [
    []
  ] * 17
  (done,), _ = run(model, write_video(tmp_path / "two.mp4", two), tmp_path / "out")
  assert any("more than one person" in text for text in done.warnings)
  (done,), _ = run(model, write_video(tmp_path / "one.mp4", walk(22)), tmp_path / "out")
  assert done.warnings == []


def test_regions_are_counted_by_size_and_distance():
  background = np.full((90, 120, 3), 40, np.uint8)

  def picture(*boxes):
    image = background.copy()
    for x0, y0, x1, y1 in boxes:
      image[y0:y1, x0:x1] = 200
    return image

  person, other, speck = (10, 20, 25, 70), (80, 20, 92, 60), (60, 10, 61, 12)
  assert predict.count_regions(background, background) == 0
  assert predict.count_regions(picture(speck), background) == 0
  assert predict.count_regions(picture(person, speck), background) == 1
  assert predict.count_regions(picture(person, other), background) == 2
  # 90 / 15 = 6 px: a head 4 px above the shoulders belongs to the body
  assert predict.count_regions(picture(person, (12, 6, 24, 16)), background) == 1


def test_the_background_is_estimated_from_the_whole_video(tmp_path):
  source = write_video(tmp_path / "walk.mp4", walk(40, empty=0))
  for how in ("median", "robust"):
    found = video_background.find_background(source, how, SIZE, (HEIGHT, WIDTH)).image
    assert found.shape == (*SIZE, 3)
    assert np.abs(found.astype(int) - 30).max() <= 8, how


PAN_HEIGHT, PAN_WIDTH = 160, 240


def write_pan(path, count=30, empty=4, flat=False):
  """A camera that turns right by 5 px a frame; after `empty` frames a person walks along.

  Returns the path and the person's boxes on the frames, px; the person stands out by colour alone.
  """
  coarse = np.random.default_rng(0).integers(20, 130, (20, 60, 3)).astype(np.uint8)
  scene = cv2.resize(coarse, (2 * PAN_WIDTH, PAN_HEIGHT), interpolation=cv2.INTER_CUBIC)
  if flat:
    scene[:] = 70
  writer = cv2.VideoWriter(
    str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (PAN_WIDTH, PAN_HEIGHT)
  )
  boxes = np.full((count, 4), np.nan)
  for i in range(count):
    image = scene[:, 5 * i : 5 * i + PAN_WIDTH].copy()
    if i >= empty:
      boxes[i] = x0, y0, x1, y1 = 20 + 5 * i, 40, 49 + 5 * i, 139
      image[y0 : y1 + 1, x0 : x1 + 1] = 250
    writer.write(image)
  writer.release()
  return path, boxes


def test_a_camera_that_turns_has_its_part_of_the_panorama_behind_each_frame(model, tmp_path):
  source, boxes = write_pan(tmp_path / "pan.mp4")
  # A person fills about 6·20 px of 32·48 and differs by about 0.7 in three channels: gain 170.
  model.calibration = SURE._replace(scale=20.0, threshold=float(np.arcsinh(2.5)))
  (done,), failed = run(model, source, tmp_path / "out", background="panorama", every=2)
  assert failed == []
  with np.load(done.files[0]) as file:
    found = {name: file[name] for name in ("frame", "presence", "box_px")}
  np.testing.assert_array_equal(found["frame"], np.arange(0, 30, 2))
  np.testing.assert_array_equal(found["presence"] > 0.5, found["frame"] >= 4)
  # letterboxed by 1/5 and back: right to one pixel of the small picture
  there = found["frame"] >= 4
  np.testing.assert_allclose(found["box_px"][there], boxes[::2][there], atol=6)
  # with one picture for all frames the scene itself differs, from side to side
  (done,), _ = run(model, source, tmp_path / "out", background="median", every=2)
  with np.load(done.files[0]) as file:
    assert np.ptp(file["box_px"][:, ::2], axis=1).min() > PAN_WIDTH / 2


def test_a_turning_camera_without_texture_is_named(model, tmp_path):
  source, _ = write_pan(tmp_path / "flat.mp4", flat=True)
  done, failed = run(model, source, tmp_path / "out", background="panorama")
  assert done == []
  assert len(failed) == 1
  assert "too few points in common" in failed[0]


def test_long_videos_are_sampled_evenly_in_one_pass(tmp_path, monkeypatch):
  source = write_video(tmp_path / "walk.mp4", walk(30))
  monkeypatch.setattr(video_background, "_SAMPLES", 4)
  taken = []
  read = video.read_frames

  def spy(path):
    for frame in read(path):
      frame.image[:] = frame.number  # so that samples can be told apart
      yield frame

  monkeypatch.setattr(video, "read_frames", spy)
  taken = [int(image[0, 0, 0]) for image in video_background._sample_video(source, SIZE)]
  # never more than 8 held: 0..8 -> every 2nd, ..16 -> every 4th; 29 is the last
  assert taken == [0, 4, 8, 12, 16, 20, 24, 28, 29]


def test_a_given_background_must_be_of_the_same_shape(tmp_path):
  source = write_video(tmp_path / "walk.mp4", walk(12))
  picture = tmp_path / "empty.png"
  cv2.imwrite(str(picture), np.full((HEIGHT // 2, WIDTH // 2, 3), (10, 20, 30), np.uint8))
  found = video_background.find_background(source, str(picture), SIZE, (HEIGHT, WIDTH)).image
  assert (found == (30, 20, 10)).all()  # OpenCV writes BGR
  clip = write_video(tmp_path / "room.mp4", [[]] * 5, background=77)
  found = video_background.find_background(source, str(clip), SIZE, (HEIGHT, WIDTH)).image
  assert np.abs(found.astype(int) - 77).max() <= 4
  cv2.imwrite(str(picture), np.zeros((WIDTH, HEIGHT, 3), np.uint8))
  with pytest.raises(ValueError, match="same camera"):
    video_background.find_background(source, str(picture), SIZE, (HEIGHT, WIDTH))
  with pytest.raises(FileNotFoundError, match="robust, median"):
    video_background.find_background(source, "medain", SIZE, (HEIGHT, WIDTH))
  (tmp_path / "words.png").write_text("no picture")
  with pytest.raises(ValueError, match="neither"):
    video_background.find_background(source, str(tmp_path / "words.png"), SIZE, (HEIGHT, WIDTH))


def test_a_clip_of_the_empty_room_is_held_at_the_networks_size(tmp_path, monkeypatch):
  clip = write_video(tmp_path / "room.mp4", [[]] * 5, background=77)
  held = []
  median = video_background.backgrounds.compute_median

  def spy(frames):
    held.append(frames.shape)
    return median(frames)

  monkeypatch.setattr(video_background.backgrounds, "compute_median", spy)
  video_background.find_background(clip, str(clip), SIZE, (HEIGHT, WIDTH))
  assert held == [(5, *SIZE, 3)]


def test_a_real_clip_goes_through(model, tmp_path):
  source = pathlib.Path(real_data.real_data_dir()) / "single_view" / "bodypose3d_cam0.mp4"
  (done,), failed = run(model, source, tmp_path, every=40)
  assert failed == []
  assert done.frames == 5


def test_a_user_is_told_what_is_odd_about_a_video():
  info = video.VideoInfo("walk.mp4", WIDTH, HEIGHT, 10.0, promised_frames=100)

  def odd(presence=(0.9, 0.2), crowd=(), last=99, every=1):
    columns = {"presence": list(presence), "frame": [0, last]}
    return predict._warnings(columns, list(crowd), info, predict.Options(every=every))

  for usual in (
    {},
    {"presence": (np.nan, 0.1)},
    {"crowd": [True] + [False] * 5},  # 1/6 of the frames that were looked at: by chance
    {"last": 89},  # 90 of 100 frames
    {"last": 80, "every": 10},  # the next would be the 91st
  ):
    assert odd(**usual) == [], usual
  for unusual, words in (
    ({"presence": (np.nan, np.nan)}, "presence is unknown"),
    ({"presence": (0.49, 0.1)}, "every frame is taken to be empty"),
    ({"crowd": [True] + [False] * 4}, "in 20% of the frames with somebody: more than one person"),
    ({"last": 88}, "the header promises 100 frames, 89 decode"),
    ({"last": 70, "every": 10}, "the header promises 100 frames, 71 decode"),
  ):
    (text,) = odd(**unusual)
    assert words in text
