import numpy as np
import pytest

from datasets.synthetic_people import bodies
from datasets.synthetic_people.appearance import sample_subject
from datasets.synthetic_people.motion import DIVE_FPS, sample_motion
from datasets.synthetic_people.scene import build_scene
from jaxpose import geometry
from jaxpose.evaluation.gravity import Fall, fall_points, measure_drift, third_differences

VIEW = {"focal_px": 500.0, "height_px": 200, "fps": 25.0}


def test_a_fall_parallel_to_the_image_has_a_constant_acceleration():
  found = measure_drift(Fall(5000.0), **VIEW)
  # f g / z = 500 · 9810 / 5000
  np.testing.assert_allclose(found.acceleration_px_s2, 981.0)
  assert found.drift < 1e-9
  assert found.loss < 1e-24


def test_a_fall_away_from_the_camera_slows_down_in_the_image():
  fall = Fall(4000.0, travel_deg=90.0, speed_mm_s=1000.0, rise_mm_s=0.0, duration_s=1.0)
  time_s = np.linspace(0, 1, 5)
  points = fall_points(fall, time_s)
  np.testing.assert_allclose(points[:, 0], 0, atol=1e-9)
  np.testing.assert_allclose(points[:, 1], 4905 * time_s**2)
  np.testing.assert_allclose(points[:, 2], 4000 + 1000 * time_s)
  # v = f g t² / (2 (z + w t)): v'' = f g z² / (z + w t)³, from 1226 at the start to 628 at the end
  found = measure_drift(fall, **(VIEW | {"fps": 1000.0}))
  first, last = (500 * 9810 * 4000**2 / z**3 for z in (4000, 5000))
  mean = 500 * 9810 / 1000 * 4000**2 / 2 * (1 / 4000**2 - 1 / 5000**2)  # ∫ v'' dt over 1 s
  np.testing.assert_allclose(found.acceleration_px_s2, mean, rtol=2e-3)
  np.testing.assert_allclose(found.drift, (first - last) / mean, rtol=5e-3)


def test_a_camera_that_looks_down_sees_the_fall_recede():
  points = fall_points(Fall(7000.0, pitch_deg=30.0, speed_mm_s=0.0, rise_mm_s=0.0), np.array([1.0]))
  np.testing.assert_allclose(points, [[0, 4905 * np.sqrt(3) / 2, 7000 + 4905 / 2]])
  # straight above the fall, and what travels away goes up in its image
  steep = Fall(7000.0, travel_deg=90.0, pitch_deg=90.0, speed_mm_s=800.0, rise_mm_s=0.0)
  np.testing.assert_allclose(fall_points(steep, np.array([1.0])), [[0, -800, 11905]], atol=1e-9)
  drifts = [measure_drift(Fall(7000.0, pitch_deg=p), **VIEW).drift for p in (0.0, 10.0, 20.0)]
  assert drifts[0] < 1e-9 < drifts[1] < drifts[2]


def test_farther_away_it_drifts_less():
  near, far = (measure_drift(Fall(z, travel_deg=60.0), **VIEW).drift for z in (4000.0, 20000.0))
  assert near > 4 * far > 0


def test_third_differences_by_hand():
  u = np.array([1.0, 4.0, 9.0, 20.0, 30.0])
  # (20 + 3·4 − 1 − 3·9)² = 16, (30 + 3·9 − 4 − 3·20)² = 49
  np.testing.assert_allclose(third_differences(u, 1), [16, 49])
  spaced = third_differences(np.array([1.0, 0, 4.0, 0, 9.0, 0, 20.0]), 2)
  np.testing.assert_allclose(spaced, [16])


@pytest.mark.parametrize(
  ("fall", "message"),
  [(Fall(5000.0, duration_s=0.1), "no four frames"), (Fall(500.0, pitch_deg=-60.0), "passes")],
)
def test_falls_that_cannot_be_measured(fall, message):
  with pytest.raises(ValueError, match=message):
    measure_drift(fall, **VIEW)


def test_embedded_divers_fall_as_computed_from_the_angles_of_their_cameras():
  rng = np.random.default_rng(3)
  motion = sample_motion(sample_subject(rng, "s"), "diving", 40, rng)
  world = bodies.centre_of_mass(motion.pose.points)[motion.falling]
  camera = build_scene(0, 1, 3, (128, 128), True).cameras[0]
  points = geometry.world_to_camera(world, camera)
  time_s = np.arange(len(points)) / DIVE_FPS
  first, second = (points[0], (points[1] - points[0]) * DIVE_FPS)
  down = camera.R @ [0, 0, -1.0]
  speed = second - 9810 / 2 / DIVE_FPS * down  # at the start: half a step of gravity less
  rise = -speed @ down
  flat = speed + rise * down
  away = np.cross([1.0, 0, 0], down)
  pitch = np.rad2deg(np.arcsin(down[2]))
  assert pitch > 0  # it stands higher than the fall and looks down at it
  travel = np.rad2deg(np.arctan2(flat @ away, flat[0]))
  fall = Fall(first[2], travel, pitch, np.linalg.norm(flat), rise, time_s[-1])
  predicted = fall_points(fall, time_s) + first - [0, 0, first[2]]
  np.testing.assert_allclose(predicted, points, atol=0.5)
  v = geometry.project(points, camera)[:, 1]
  mine = camera.K[1, 1] * predicted[:, 1] / predicted[:, 2] + camera.K[1, 2]
  np.testing.assert_allclose(np.diff(v, 2), np.diff(mine, 2), atol=2e-3)
  centred = measure_drift(fall, focal_px=camera.K[1, 1], height_px=128, fps=DIVE_FPS)
  assert centred.drift > 0.01  # no camera of theirs is level and faces the dive
