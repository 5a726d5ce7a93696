import numpy as np
import pytest

from jaxpose import drawing
from jaxpose.skeleton import Skeleton

# A root with a left and a right hand.
SKELETON = Skeleton("tee", ("hip", "left", "right"), (0, 0, 0), ((1, 2),), (0,))


def grey(height=40, width=60, value=100):
  return np.full((height, width, 3), value, np.uint8)


def near(pixel, colour):
  """Smoothed lines don't quite reach their colour."""
  return np.abs(pixel.astype(int) - colour).max() < 25


def test_to_uint8_rounds_and_clips():
  # 0.5 · 255 = 127.5 -> 128 (to even), 0.2 · 255 = 51; outside of [0, 1] is clipped; NaN is black
  values = drawing.to_uint8(np.array([-1.0, 0.2, 0.5, 2.0, np.nan]))
  np.testing.assert_array_equal(values, [0, 51, 128, 255, 0])
  np.testing.assert_array_equal(drawing.to_uint8(np.array([7], np.uint8)), [7])


def test_to_rgb_repeats_grey_and_refuses_other_shapes():
  mask = np.array([[0.0, 1.0]])
  np.testing.assert_array_equal(drawing.to_rgb(mask), [[[0] * 3, [255] * 3]])
  np.testing.assert_array_equal(drawing.to_rgb(mask[..., None]), drawing.to_rgb(mask))
  with pytest.raises(ValueError, match="shape"):
    drawing.to_rgb(np.zeros((2, 2, 4)))


def test_fit_centres_the_whole_image():
  # 10 × 30 into 40 × 60: scale 2, so 20 × 60 px from row 10 on
  fitted = drawing.fit(grey(10, 30), 40, 60, fill=(1, 2, 3))
  assert fitted.shape == (40, 60, 3)
  assert (fitted[10:30] == 100).all()
  assert (fitted[:10] == (1, 2, 3)).all()
  assert (fitted[30:] == (1, 2, 3)).all()


def test_a_box_is_drawn_on_its_edges_only():
  drawn = drawing.draw_box(grey(), np.array([10.0, 5, 50, 30]), drawing.RED, 1)
  assert near(drawn[5, 30], drawing.RED)  # top
  assert near(drawn[20, 50], drawing.RED)  # right
  assert near(drawn[20, 30], (100, 100, 100))  # inside
  assert tuple(drawn[20, 5]) == (100, 100, 100)  # left of it
  np.testing.assert_array_equal(drawing.draw_box(grey(), np.full(4, np.nan), drawing.RED), grey())


def test_enlarge_and_scale_px_keep_a_pixel_where_it_was():
  image = grey(20, 30, 0)
  image[4, 7] = 255
  large, factor = drawing.enlarge(image, 60)
  assert factor == 3.0
  assert large.shape == (60, 90, 3)
  # the pixel's centre: (7 + 0.5) · 3 − 0.5 = 22, (4 + 0.5) · 3 − 0.5 = 13
  np.testing.assert_allclose(drawing.scale_px(np.array([7.0, 4.0]), factor), [22, 13])
  assert np.unravel_index(large[..., 0].argmax(), (60, 90)) == (13, 22)
  assert drawing.enlarge(image, 10)[1] == 1.0


def test_the_tint_follows_the_mask():
  mask = np.zeros((40, 60))
  mask[:, 30:] = 1.0
  tinted = drawing.tint_mask(grey(), mask, (200, 0, 100), 0.5)
  # 0.5 · 100 + 0.5 · (200, 0, 100) = (150, 50, 100)
  assert (tinted[:, 30:] == (150, 50, 100)).all()
  assert (tinted[:, :30] == 100).all()


@pytest.mark.usefixtures("unchecked_signatures")
def test_a_tint_needs_a_mask_of_the_images_size():
  with pytest.raises(ValueError, match="size"):
    drawing.tint_mask(grey(40), np.zeros((39, 60)), drawing.RED)


def test_left_and_right_bones_have_their_own_colours_and_unknown_joints_no_bone():
  points = np.array([[30.0, 20], [50, 20], [10, 20]])
  colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
  drawn = drawing.draw_skeleton(grey(), points, SKELETON, colours, 2)
  assert near(drawn[20, 42], (255, 0, 0))
  assert near(drawn[20, 18], (0, 255, 0))
  assert near(drawn[20, 30], (0, 0, 255))
  points[1] = np.nan
  without = drawing.draw_skeleton(grey(), points, SKELETON, colours, 2)
  assert tuple(without[20, 42]) == (100, 100, 100)
  points[1] = 1e12  # far outside of what fixed-point coordinates hold
  drawing.draw_skeleton(grey(), points, SKELETON, colours, 2)


def test_a_pose_in_a_box_keeps_its_proportions():
  # x from -100 to 300, y from 0 to 100: 400 × 100 mm into 0.5 · (80 × 80) px -> scale 0.1;
  # its centre (100, 50) mm goes to the box's centre (50, 60)
  pose = np.array([[-100.0, 0, 7], [300, 100, -900], [100, 50, 0]])
  points = drawing.pose_in_box(pose, np.array([10.0, 20, 90, 100]), fill=0.5)
  np.testing.assert_allclose(points, [[30, 55], [70, 65], [50, 60]])


@pytest.mark.parametrize(
  ("view", "row", "column"),
  [
    ("front", 30, 80),  # x = 300 right of the middle, y = -200 above it
    ("side", 30, 60),  # z = 100 right of the middle
    ("top", 40, 80),  # z = 100 above the middle
  ],
)
def test_views_look_along_the_named_axes(view, row, column):
  # reach 500 mm over 50 px: 0.1 px a mm; the left hand at (300, -200, 100) mm
  pose = np.array([[np.nan] * 3, [300.0, -200, 100], [np.nan] * 3])
  colours = [((255, 0, 0), (0, 255, 0), (0, 0, 255))]
  drawn = drawing.draw_pose_view([pose], SKELETON, view, 100 // 2, colours, 500.0)
  red = (drawn[..., 0].astype(int) - drawn[..., 1] > 100).nonzero()
  np.testing.assert_allclose([red[0].mean(), red[1].mean()], [row / 2, column / 2], atol=1.0)


def test_an_unknown_view_is_refused():
  with pytest.raises(ValueError, match="back"):
    drawing.draw_pose_view([], SKELETON, "back", 50, [], 500.0)


def test_text_stays_in_its_line():
  written = drawing.draw_text(grey(60, 200), "person 0.98")
  assert (written[14:] == 100).all()
  assert (written[:14] == 255).any()


def test_a_grid_has_gaps_and_fills_short_rows():
  a, b, c = grey(2, 3, 10), grey(2, 3, 20), grey(2, 3, 30)
  whole = drawing.grid([[a, b], [c]], gap=1, fill=(9, 9, 9))
  assert whole.shape == (5, 7, 3)
  expected = np.full((5, 7), 9)
  expected[:2, :3], expected[:2, 4:], expected[3:, :3] = 10, 20, 30
  np.testing.assert_array_equal(whole[..., 0], expected)
  with pytest.raises(ValueError, match="shape"):
    drawing.grid([[a, grey(3, 3)]])


def test_a_timeline_shows_height_border_and_what_is_known():
  image = drawing.timeline(np.array([0.0, 1.0, 0.4]), np.array([0, 1, -1]), width=30, height=32)
  # three frames of 10 columns; the strip of 5 rows, 2 rows of air, 25 rows of bars
  assert tuple(image[0, 5]) == (205, 205, 205)
  assert tuple(image[0, 15]) == drawing.GREEN
  assert tuple(image[0, 25]) == drawing.WHITE
  assert tuple(image[8, 15]) == drawing.BLUE  # full height
  assert tuple(image[20, 25]) != drawing.GREY  # 0.4 · 25 = 10 rows from the bottom
  assert tuple(image[23, 25]) == drawing.GREY
  assert tuple(image[31, 5]) == drawing.GREY  # at least one row
  with pytest.raises(ValueError, match="frames"):
    drawing.timeline(np.zeros(0), np.zeros(0, int))
