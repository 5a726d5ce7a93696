import cv2
import numpy as np
import pytest

from jaxpose.data import background


def make_room(height=48, width=80):
  """A textured room without strong edges of its own."""
  ys, xs = np.mgrid[:height, :width]
  room = np.stack([120 + 40 * np.sin(xs / 9), 120 + 40 * np.cos(ys / 7), 100 + xs / 2], axis=-1)
  return room.astype(np.uint8)


def with_person(room, x, y=12, colour=(230, 20, 20)):
  frame = room.copy()
  frame[y : y + 28, x : x + 10] = colour
  return frame


def noisy(frames, seed=0):
  noise = np.random.default_rng(seed).integers(-3, 4, (len(frames), *frames[0].shape))
  return np.clip(np.stack(frames).astype(int) + noise, 0, 255).astype(np.uint8)


def largest_error(image, room):
  return cv2.absdiff(cv2.GaussianBlur(image, (0, 0), 1), cv2.GaussianBlur(room, (0, 0), 1)).max()


def test_median_of_a_walk_is_the_room():
  room = make_room()
  frames = noisy([with_person(room, x) for x in range(0, 70, 2)])
  assert largest_error(background.compute_median(frames), room) <= 8
  few = np.array([[[[1, 2, 3]]], [[[9, 4, 3]]], [[[5, 8, 3]]]], np.uint8)
  np.testing.assert_array_equal(background.compute_median(few)[0, 0], [5, 4, 3])


def test_median_of_no_frames_is_an_error():
  with pytest.raises(ValueError, match="at least one"):
    background.compute_median(np.zeros((0, 4, 4, 3), np.uint8))


def visits(room):
  """An empty room for a third of the time, then two visitors whose places overlap."""
  first = [with_person(room, 36 + i % 2) for i in range(25)]
  second = [with_person(room, 42 + i % 2, y=9, colour=(20, 20, 30)) for i in range(25)]
  return noisy([room] * 25 + first + second)


def test_robust_finds_the_room_where_the_median_keeps_a_ghost():
  room = make_room()
  frames = visits(room)
  ghost = background.compute_median(frames)
  assert np.abs(ghost[20, 44].astype(int) - room[20, 44]).max() > 60
  assert largest_error(background.compute_robust(frames), room) <= 20


def test_still_fills_in_one_who_never_leaves():
  room = make_room()
  frames = noisy([with_person(room, 34 + int(4 * np.sin(i / 2))) for i in range(60)])
  body = np.s_[16:36, 36:40]  # always covered
  assert np.abs(background.compute_median(frames)[body].astype(int) - room[body]).mean() > 60
  filled = background.compute_robust(frames, still=True)
  assert np.abs(filled[body].astype(int) - room[body]).mean() < 30
  outside = np.s_[:, 60:]
  np.testing.assert_allclose(filled[outside].astype(int), room[outside], atol=4)


def test_robust_of_a_still_room_and_of_changing_light():
  room = make_room()
  assert largest_error(background.compute_robust(noisy([room] * 20)), room) <= 4
  flicker = np.stack([np.full((32, 32, 3), 20 + 60 * (i % 4), np.uint8) for i in range(20)])
  # everything changes alike: nothing stands out from the noise, the median is as good as any
  np.testing.assert_array_equal(
    background.compute_robust(flicker), background.compute_median(flicker)
  )


def test_robust_is_deterministic():
  frames = visits(make_room())[::3]
  np.testing.assert_array_equal(
    background.compute_robust(frames, still=True), background.compute_robust(frames, still=True)
  )


def test_dive_joins_the_halves():
  room = make_room()
  first, last = with_person(room, 10, y=0), with_person(room, 50, y=20)
  joined = background.compute_dive(first, last)
  np.testing.assert_array_equal(joined[:24], last[:24])
  np.testing.assert_array_equal(joined[24:], first[24:])


@pytest.mark.usefixtures("unchecked_signatures")
def test_dive_needs_frames_of_one_size():
  room = make_room()
  with pytest.raises(ValueError, match="differ in size"):
    background.compute_dive(room, room[:-1])


def make_scene(seed=0):
  scene = np.random.default_rng(seed).integers(0, 255, (30, 60, 3)).astype(np.uint8)
  return cv2.resize(scene, (480, 240), interpolation=cv2.INTER_CUBIC)


def test_panorama_knows_where_each_frame_lies():
  scene = make_scene()
  shifts = [(0, 10), (9, 12), (20, 15), (33, 15), (41, 20), (55, 18)]
  frames = np.stack([scene[y : y + 160, x : x + 200] for x, y in shifts])
  panorama, homographies = background.compute_panorama(frames)
  corner = homographies[:, :2, 2]
  np.testing.assert_allclose(corner - corner[0], np.array(shifts) - shifts[0], atol=0.7)
  for frame, H in zip(frames, homographies):
    back = cv2.warpPerspective(panorama, np.linalg.inv(H), (200, 160))
    assert np.abs(back[8:-8, 8:-8].astype(int) - frame[8:-8, 8:-8]).mean() < 12


def test_panorama_of_frames_that_are_decoded_anew_each_time():
  scene = make_scene(seed=1)

  class Decoded:
    def __iter__(self):
      for x in range(0, 60, 10):
        yield scene[10:170, x : x + 200]

  streamed = background.compute_panorama(Decoded(), max_samples=3)
  held = background.compute_panorama(np.stack(list(Decoded())), max_samples=3)
  for found, expected in zip(streamed, held, strict=True):
    np.testing.assert_array_equal(found, expected)
  with pytest.raises(ValueError, match="at least one frame"):
    background.compute_panorama([])


def test_panorama_needs_points_in_common():
  frames = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (10, 200)])
  with pytest.raises(ValueError, match="frames 0 and 1"):
    background.compute_panorama(frames)


def test_sample_evenly_includes_both_ends():
  np.testing.assert_array_equal(background.sample_evenly(9, 3), [0, 4, 8])
  np.testing.assert_array_equal(background.sample_evenly(2, 50), [0, 1])


def test_crowded_share_tells_two_people_from_one():
  room = make_room()
  one = [with_person(room, x) for x in (5, 20, 60)]
  two = [with_person(frame, 40, colour=(20, 20, 30)) for frame in one]
  assert background.crowded_share(noisy([room, *one]), room) == 0.0
  assert background.crowded_share(noisy([room, *one, *two]), room) == 0.5  # 3 of 6, one is empty
