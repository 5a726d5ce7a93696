"""Where pixels go: derived by hand, and checked against projected and drawn points."""

import numpy as np
import pytest

from jaxpose.data import transforms


def test_letterbox_of_a_wide_image_by_hand():
  # 20 × 40 into 30 × 20: scale 1/2 -> 10 × 20, rows 10..19. The image's first row of pixel centres
  # lies at y = 0, half a pixel below its edge: (0 + ½)/2 − ½ + 10 = 9.75
  box = transforms.make_letterbox((20, 40), (30, 20))
  assert (box.inner, box.top, box.left) == ((10, 20), 10, 0)
  moved = transforms.transform_points(box.matrix, np.array([[0.0, 0], [39, 19], [20, 7]]))
  np.testing.assert_allclose(moved, [[-0.25, 9.75], [19.25, 19.25], [9.75, 13.25]])


def test_letterbox_moves_a_drawn_blob_as_its_matrix_says():
  image = np.zeros((60, 48, 3), np.uint8)
  image[36:42, 8:14] = 255  # centre (10.5, 38.5)
  for size in ((90, 96), (30, 40), (33, 21)):
    box = transforms.make_letterbox((60, 48), size)
    out = np.full((*size, 3), 7, np.uint8)
    transforms.letterbox_image(image, box, out)
    weight = out[..., 0].astype(float)
    y, x = np.mgrid[: size[0], : size[1]]
    centre = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
    expected = transforms.transform_points(box.matrix, np.array([10.5, 38.5]))
    np.testing.assert_allclose(centre, expected, atol=0.1)
    outside = np.ones(size, bool)
    outside[box.top : box.top + box.inner[0], box.left : box.left + box.inner[1]] = False
    assert (out[outside] == 0).all()


def test_same_size_is_untouched():
  image = np.random.default_rng(0).integers(0, 255, (9, 11, 3), dtype=np.uint8)
  out = np.empty_like(image)
  box = transforms.make_letterbox((9, 11), (9, 11))
  transforms.letterbox_image(image, box, out)
  np.testing.assert_array_equal(out, image)
  np.testing.assert_array_equal(box.matrix, np.eye(3))


def test_boxes_move_with_their_corners_and_unknown_stays_unknown():
  box = transforms.make_letterbox((20, 40), (30, 20))
  moved = transforms.transform_box(box.matrix, np.array([[0, 0, 39, 19], [np.nan] * 4], np.float32))
  np.testing.assert_allclose(moved[0], [-0.25, 9.75, 19.25, 19.25])
  assert np.isnan(moved[1]).all()
  assert moved.dtype == np.float32


def test_impossible_sizes_are_errors():
  with pytest.raises(ValueError):
    transforms.make_letterbox((0, 4), (3, 3))


def test_panorama_is_sampled_where_the_homography_points():
  panorama = np.random.default_rng(1).integers(0, 255, (30, 50, 3), dtype=np.uint8)
  shift = np.array([[1.0, 0, 12], [0, 1, 5], [0, 0, 1]])  # frame (x, y) shows panorama (x+12, y+5)
  frame = transforms.warp_panorama(panorama, shift, (8, 10))
  np.testing.assert_array_equal(frame, panorama[5:13, 12:22])
