"""The renderer against circles, rays and colours worked out by hand."""

import dataclasses

import numpy as np
import pytest

from datasets import rendering
from datasets.rendering import Capsules, Drawing, Materials
from jaxpose.geometry import Camera

FOCAL, SIZE = 200.0, 64
LIGHT = np.array([0.0, 0.0, -1.0])  # from behind the camera
RED, GREEN, BLUE = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)


def make_camera() -> Camera:
  K = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 31.5], [0, 0, 1.0]])
  return Camera(K, np.eye(3), np.zeros(3), np.zeros(5), SIZE, SIZE)


def make_materials(fronts: list, **changes) -> Materials:
  n = len(fronts)
  black = np.zeros((n, 3), np.float32)
  values = {
    "kind": np.zeros(n, np.int64),
    "front": np.array(fronts, np.float32),
    "back": black,
    "end": black,
    "split": np.full(n, 2.0, np.float32),
    "stripe": black,
    "stripe_rate": np.zeros(n, np.float32),
    "emblem": black,
    "offset_mm": np.zeros(n, np.float32),
  }
  return Materials(**(values | changes))


def make_capsules(starts, ends, radii, materials, forward=(0, 0, -1)) -> Capsules:
  """Capsules of one frame that all face `forward`; radii are pairs."""
  forward = np.array(forward, float)
  up = np.array([0, -1.0, 0])
  axes = np.stack([forward, np.cross(up, forward), up], axis=-1)
  n = len(starts)
  radii = np.array(radii, float)
  return Capsules(
    np.array(starts, float)[None],
    np.array(ends, float)[None],
    radii[:, 0],
    radii[:, 1],
    np.broadcast_to(axes, (1, n, 3, 3)),
    materials,
  )


def draw(capsules: Capsules, ambient: float = 1.0) -> np.ndarray:
  drawing = rendering.draw_capsules(capsules, make_camera(), LIGHT, ambient)
  image = np.zeros((1, SIZE, SIZE, 3), np.float32)
  return rendering.composite(image, drawing)[0]


def test_sphere_covers_its_projected_disc():
  # 100 mm at 2000 mm with f = 200 px: 10 px about (31.5 + 200 · 60/2000, 31.5 − 200 · 40/2000)
  centre = (60.0, -40.0, 2000.0)
  capsules = make_capsules([centre], [centre], [(100, 100)], make_materials([RED]))
  drawing = rendering.draw_capsules(capsules, make_camera(), LIGHT, 1.0)
  assert drawing.coverage.sum() == pytest.approx(np.pi * 10**2, rel=0.01)
  masks, boxes = rendering.masks_and_boxes(drawing, SIZE, SIZE)
  np.testing.assert_allclose(boxes[0], [27.5, 17.5, 47.5, 37.5], atol=0.51)
  rows, columns = np.nonzero(masks[0])
  edges = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
  np.testing.assert_array_equal(boxes[0], edges)


def test_slanted_capsule_covers_the_pixels_near_its_projected_axis():
  start, end = np.array([-120.0, -80, 2000]), np.array([150.0, 90, 2000])
  capsules = make_capsules([start], [end], [(60, 30)], make_materials([GREEN]))
  image = draw(capsules)[..., 1] / GREEN[1]
  a, b = start[:2] / 10 + 31.5, end[:2] / 10 + 31.5  # 10 mm per px
  grid = (np.arange(SIZE * 10) + 0.5) / 10 - 0.5
  x, y = np.meshgrid(grid, grid)
  t = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) ** 2).sum(), 0, 1)
  distance = np.hypot(x - a[0] - t * (b - a)[0], y - a[1] - t * (b - a)[1])
  inside = distance < 6 + t * (3 - 6)
  expected = inside.reshape(SIZE, 10, SIZE, 10).mean(axis=(1, 3))
  np.testing.assert_allclose(image, expected, atol=0.2)
  assert np.abs(image - expected).mean() < 0.003


def test_nearer_capsule_hides_the_farther_one_in_either_order():
  near, far = (0.0, 0.0, 1900.0), (30.0, 0.0, 2300.0)
  for order in ((0, 1), (1, 0)):
    starts = [[near, far][i] for i in order]
    materials = make_materials([[RED, BLUE][i] for i in order])
    image = draw(make_capsules(starts, starts, [(80, 80), (80, 80)], materials))
    np.testing.assert_allclose(image[31, 31], RED, atol=1e-5)


def test_crossing_cylinders_swap_order_where_they_cross():
  # one rises towards the camera from left to right, the other one away from it
  starts = [(-200.0, 0, 2150), (-200.0, 0, 1850)]
  ends = [(200.0, 0, 1850), (200.0, 0, 2150)]
  materials = make_materials([RED, BLUE])
  image = draw(make_capsules(starts, ends, [(40, 40), (40, 40)], materials))
  np.testing.assert_allclose(image[31, 20], BLUE, atol=1e-5)
  np.testing.assert_allclose(image[31, 43], RED, atol=1e-5)


def test_front_back_and_what_lies_beyond_the_split():
  changes = {
    "back": np.array([BLUE], np.float32),
    "end": np.array([GREEN], np.float32),
    "split": np.array([0.5], np.float32),
  }
  start, end = (-150.0, 0, 2000), (150.0, 0, 2000)
  for forward, colour in (((0, 0, -1), RED), ((0, 0, 1), BLUE)):
    materials = make_materials([RED], **changes)
    image = draw(make_capsules([start], [end], [(50, 50)], materials, forward))
    np.testing.assert_allclose(image[31, 22], colour, atol=1e-5)  # t = 0.18
    np.testing.assert_allclose(image[31, 41], GREEN, atol=1e-5)  # t = 0.82


def test_rings_alternate_along_the_capsule():
  changes = {"stripe": np.array([GREEN], np.float32), "stripe_rate": np.array([2.0], np.float32)}
  start, end = (-150.0, 0, 2000), (150.0, 0, 2000)
  image = draw(make_capsules([start], [end], [(50, 50)], make_materials([RED], **changes)))
  # 30 px from column 16.5; a ring is the second half of each of the two periods of 15 px
  for column, colour in ((20, RED), (28, GREEN), (35, RED), (43, GREEN)):
    np.testing.assert_allclose(image[31, column], colour, atol=1e-5)


@pytest.mark.parametrize(("forward", "face"), [((0, 0, -1), True), ((0, 0, 1), False)])
def test_face_is_on_the_front_of_the_head(forward, face):
  changes = {"kind": np.array([rendering.HEAD]), "emblem": np.array([GREEN], np.float32)}
  materials = make_materials([RED], back=np.array([RED], np.float32), **changes)
  centre = (0.0, 0, 2000)
  image = draw(make_capsules([centre], [centre], [(150, 150)], materials, forward))
  np.testing.assert_allclose(image[34, 31], GREEN if face else RED, atol=1e-5)
  np.testing.assert_allclose(image[19, 31], RED, atol=1e-5)  # hair on top


def test_shading_is_lambert():
  # at 5 px of 10 the normal leans by 30°: 0.4 + 0.6 cos 30°
  centre = (0.0, 0.0, 2000.0)
  capsules = make_capsules([centre], [centre], [(100, 100)], make_materials([(1.0, 1.0, 1.0)]))
  image = draw(capsules, ambient=0.4)
  assert image[31:33, 31:33].mean() == pytest.approx(1.0, abs=0.01)
  edge = 0.5 * (image[31:33, 36].mean() + image[31:33, 37].mean())  # 4.5 and 5.5 px
  assert edge == pytest.approx(0.4 + 0.6 * np.sqrt(1 - 0.25), abs=0.01)


def test_composite_mixes_by_coverage():
  background = np.full((1, 4, 5, 3), 0.5, np.float32)
  coverage = np.array([[[0.0, 0.25], [1.0, 0.5]]], np.float32)
  colour = coverage[..., None] * np.array([0.8, 0.4, 0.0], np.float32)
  image = rendering.composite(background, Drawing(colour, coverage, (2, 1)))
  np.testing.assert_allclose(image[0, 1, 3], [0.575, 0.475, 0.375])  # 0.75 · 0.5 + 0.25 · c
  np.testing.assert_allclose(image[0, 2, 2], [0.8, 0.4, 0.0])
  np.testing.assert_allclose(image[0, 0], 0.5)


def test_refuses_what_it_cannot_draw():
  materials = make_materials([RED])
  behind = make_capsules([(0.0, 0, -500)], [(0.0, 0, 500)], [(50, 50)], materials)
  with pytest.raises(ValueError, match="behind the camera"):
    rendering.draw_capsules(behind, make_camera(), LIGHT, 1.0)
  bent = make_camera()._replace(distortion=np.array([0.1, 0, 0, 0, 0]))
  before = dataclasses.replace(behind, start=behind.end)
  with pytest.raises(ValueError, match="distortion"):
    rendering.draw_capsules(before, bent, LIGHT, 1.0)
