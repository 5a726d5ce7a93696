"""What a supervised network is shown of new frames, and what becomes of its poses."""

import made_up_run
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpose import api, own_poses
from jaxpose.data.subjects import box_from_background_difference


class Run:
  """An experiment whose network gives back what it is shown."""

  skeleton = made_up_run.TRIPOD

  def __init__(self, config, workdir):
    self.config, self.workdir = config, workdir

  def make_embed(self, variables):
    assert not self.config.supervised.centre_camera  # nothing says how far to turn back

    def embed(frames):
      count = len(frames["image"])
      boxes = frames.get("box_px", np.zeros((count, 4)))
      return {
        "pose_mm": np.full((count, 3, 3), variables["pose"], np.float32),
        "time_variant": boxes,
        "box": np.ones((count, 4)),
        "presence": np.isfinite(boxes).all(axis=1).astype(np.float32),
      }

    return embed


def open_run(crop, *, centre_camera=False):
  options = {"crop": crop, "centre_camera": centre_camera}
  run = Run(ConfigDict({"supervised": options}), "nowhere")
  render, own = own_poses.open_network(run, {"pose": 7.0})
  assert run.config.supervised.centre_camera is centre_camera
  return render, own


def make_model(render, own, tmp_path):
  path = tmp_path / "regressor.npz"
  return api.Model(
    render=render,
    image_size=made_up_run.SIZE,
    batch_size=4,
    calibration=None,
    regressor_path=path,
    own=own,
  )


def test_crops_are_around_what_differs_where_they_were_of_true_boxes(tmp_path):
  frames = made_up_run.Dataset().read(np.arange(6), image_size=made_up_run.SIZE)
  model = make_model(*open_run("true"), tmp_path)
  found = model.predict(frames["image"], frames["background"])
  expected = [
    box_from_background_difference(image, background)
    for image, background in zip(frames["image"], frames["background"], strict=True)
  ]
  np.testing.assert_allclose(found["time_variant"], expected)
  # the first frame is empty
  np.testing.assert_array_equal(found["presence"], [0, 1, 1, 1, 1, 1])
  assert np.isnan(found["pose3d_mm"][0]).all()
  np.testing.assert_array_equal(found["pose3d_mm"][1:], 7.0)


def test_a_detector_needs_no_box(tmp_path):
  frames = made_up_run.Dataset().read(np.arange(6), image_size=made_up_run.SIZE)
  model = make_model(*open_run("detector"), tmp_path)
  found = model.predict(frames["image"], frames["background"])
  np.testing.assert_array_equal(found["time_variant"], 0.0)
  np.testing.assert_array_equal(found["pose3d_mm"], 7.0)


def test_it_needs_no_regressor_and_takes_none(tmp_path):
  render, own = open_run("detector", centre_camera=True)
  model = make_model(render, own, tmp_path)
  assert model.regressor() is own
  assert (own.skeleton, own.turned) == (made_up_run.TRIPOD, True)
  with pytest.raises(ValueError, match="give it no regressor"):
    model.regressor(made_up_run.regressor())


def test_the_skeleton_comes_back_and_a_damaged_one_is_named(tmp_path):
  assert own_poses.load_skeleton(tmp_path) is None
  own_poses.save_skeleton(tmp_path, made_up_run.TRIPOD)
  assert own_poses.load_skeleton(tmp_path) == made_up_run.TRIPOD
  (tmp_path / "skeleton.json").write_text('{"name": "tripod"}')
  with pytest.raises(ValueError, match=r"skeleton\.json is damaged"):
    own_poses.load_skeleton(tmp_path)
