import made_up_run
import numpy as np

from jaxpose import overlay


def test_an_overlay_of_an_empty_frame_is_the_frame_with_a_word():
  image = np.full((200, 300, 3), 90, np.uint8)
  box, mask = np.array([50.0, 50, 150, 180]), np.zeros((200, 300))
  mask[60:160, 80:120] = 1.0
  pose = np.array([[0.0, 0, 0], [100, -100, 0], [-100, 100, 0]])
  empty = overlay.draw_overlay(image, mask, box, 0.1, pose * np.nan, made_up_run.TRIPOD)
  np.testing.assert_array_equal(empty[14:], image[14:])
  assert (empty[:14] != image[:14]).any()
  drawn = overlay.draw_overlay(image, mask, box, 0.9, pose, made_up_run.TRIPOD)
  assert drawn[100, 50, 0] > 150  # the box's left edge, red
  assert drawn[150, 90, 2] > drawn[150, 90, 0]  # violet inside of the mask
  # the pose's rectangle is centred on the mask's, columns 80..119, rows 60..159: the hip there
  assert drawn[109:111, 99:101].min() > 200
