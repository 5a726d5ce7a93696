"""Which frames of a video a background is made of, with frames that no codec has changed."""

import pathlib

import cv2
import numpy as np
import pytest

from jaxpose.data import video, video_background
from jaxpose.data.video_background import PanoramaBackground, find_background

SIZE = (8, 12)
PATH = pathlib.Path("walk.mp4")


@pytest.fixture
def filmed(monkeypatch):
  """(frames) -> a video of them at `PATH`."""

  def film(frames):
    def read(path, *, every=1):
      assert path == PATH
      for number in range(0, len(frames), every):
        yield video.Frame(number, number / 10, frames[number])

    monkeypatch.setattr(video, "read_frames", read)

  return film


def shades(count, size=SIZE):
  """Frame i is of grey level i."""
  return np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros((*size, 3), np.uint8)


def test_behind_a_dive_lie_the_top_of_the_last_and_the_bottom_of_the_first_frame(filmed):
  # 200 frames: every 2nd is kept, and the last one, 199, beside them
  filmed(shades(200))
  found = find_background(PATH, "dive", SIZE, SIZE).image
  assert (found[:4] == 199).all()
  assert (found[4:] == 0).all()


def test_a_median_is_of_evenly_spread_frames(filmed):
  frames = shades(161)
  frames[1::2] = 250  # one frame too many to be held: 0, 2, ... 160 are
  filmed(frames)
  assert (find_background(PATH, "median", SIZE, SIZE).image == 80).all()
  filmed(shades(0))
  with pytest.raises(video.VideoError, match=r"walk\.mp4: no frame decodes"):
    find_background(PATH, "median", SIZE, SIZE)


@pytest.mark.parametrize(("how", "still"), [("still", True), ("robust", False)])
def test_only_a_still_person_is_looked_for_in_a_still_scene(filmed, monkeypatch, how, still):
  asked = []

  def estimate(frames, *, still):
    asked.append((len(frames), still))
    return frames[0]

  monkeypatch.setattr(video_background.backgrounds, "compute_robust", estimate)
  filmed(shades(6, (16, 24)))  # twice the size that the networks see
  assert find_background(PATH, how, SIZE, (16, 24)).image.shape == (*SIZE, 3)
  assert asked == [(6, still)]


def test_a_camera_that_stands_still_has_one_background(filmed):
  filmed(shades(3))
  found = find_background(PATH, "median", SIZE, SIZE)
  np.testing.assert_array_equal(found.at([5, 0]), [found.image] * 2)


def test_a_panorama_is_shown_from_where_each_frame_looks():
  panorama = np.zeros((8, 40, 3), np.uint8) + 5 * np.arange(40, dtype=np.uint8)[:, None]
  right = np.tile(np.eye(3), (4, 1, 1))
  right[:, 0, 2] = [0, 3, 6, 9]  # px of the panorama that the left edge of each frame looks at
  found = PanoramaBackground(panorama, right, (8, 12), (12, 12)).at([3, 1])
  # between black bars of 2 px above and below
  assert (found[:, [0, 1, 10, 11]] == 0).all()
  for image, left in zip(found, (9, 3), strict=True):
    np.testing.assert_array_equal(image[2:10], panorama[:, left : left + 12])


@pytest.mark.parametrize("every", [1, 3])
def test_only_the_frames_that_are_predicted_make_a_panorama(filmed, monkeypatch, every):
  registered = []

  def register(frames):
    twice = [[int(image[0, 0, 0]) for image in frames] for _ in range(2)]
    registered.append(twice)
    size = next(iter(frames)).shape
    return np.zeros(size, np.uint8), np.tile(np.eye(3), (len(twice[0]), 1, 1))

  monkeypatch.setattr(video_background.backgrounds, "compute_panorama", register)
  filmed(shades(7, (300, 512)))
  found = find_background(PATH, "panorama", SIZE, (300, 512), every)
  numbers = list(range(0, 7, every))
  assert registered == [[numbers, numbers]]
  # registered at 256 px without the bars that the networks see
  assert found.frame_size == (150, 256)
  assert found.at([0, len(numbers) - 1]).shape == (2, *SIZE, 3)


def test_a_picture_of_nearly_the_same_shape_is_believed(tmp_path):
  # the video is 1.5 times as wide as high: 0.019 less is near enough, 0.021 less or more is not
  def find(width):
    path = tmp_path / "empty.png"
    cv2.imwrite(str(path), np.full((1000, width, 3), (10, 20, 30), np.uint8))
    return find_background(PATH, str(path), SIZE, SIZE).image

  assert (find(1481)[1:-1, 1:-1] == (30, 20, 10)).all()
  for width in (1479, 1521):
    with pytest.raises(ValueError, match=f"{width}×1000 px, the video 12×8"):
      find(width)
