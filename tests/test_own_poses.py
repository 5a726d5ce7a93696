"""What a supervised network is shown of new frames, and what becomes of its poses."""

import made_up_run
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpose import api, own_poses


class Run:
  """An experiment whose network reads the pose that its variables say."""

  skeleton = made_up_run.TRIPOD

  def __init__(self, config, workdir):
    self.config, self.workdir = config, workdir

  def make_embed(self, variables):
    assert not self.config.supervised.centre_camera  # nothing says how far to turn back

    def embed(frames):
      count = len(frames["image"])
      somebody = (frames["image"] != frames["background"]).any(axis=(1, 2, 3))
      return {
        "pose_mm": np.full((count, 3, 3), variables["pose"], np.float32),
        "time_variant": np.zeros((count, 2)),
        "box": np.ones((count, 4)),
        "presence": somebody.astype(np.float32),
      }

    return embed


def open_run(*, centre_camera=False):
  run = Run(ConfigDict({"supervised": {"centre_camera": centre_camera}}), "nowhere")
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


def test_poses_are_those_of_the_network_where_there_is_somebody(tmp_path):
  frames = made_up_run.Dataset().read(np.arange(6), image_size=made_up_run.SIZE)
  model = make_model(*open_run(), tmp_path)
  found = model.predict(frames["image"], frames["background"])
  # the first frame is empty
  np.testing.assert_array_equal(found["presence"], [0, 1, 1, 1, 1, 1])
  assert np.isnan(found["pose3d_mm"][0]).all()
  np.testing.assert_array_equal(found["pose3d_mm"][1:], 7.0)


def test_it_needs_no_regressor_and_takes_none(tmp_path):
  render, own = open_run(centre_camera=True)
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
