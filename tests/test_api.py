import dataclasses

import made_up_run
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpose import api, provenance
from jaxpose.embeddings import save_embeddings
from jaxpose.evaluation.presence import PresenceCalibration
from jaxpose.evaluation.regressor import save_regressor
from jaxpose.experiment import Experiment
from jaxpose.training import checkpoint

SIZE = made_up_run.SIZE  # 32 × 48, height × width
SURE = PresenceCalibration(scale=1.0, threshold=0.5, slope=50.0, two_sided=1.0)


def make_model(tmp_path, batch_size=4, calibration=SURE, render=made_up_run.render):
  return api.Model(
    render=render,
    image_size=SIZE,
    batch_size=batch_size,
    calibration=calibration,
    regressor_path=tmp_path / "regressor.npz",
  )


def person(height, width, box, background=20):
  """A frame with a bright rectangle, and the empty scene."""
  empty = np.full((height, width, 3), background, np.uint8)
  image = empty.copy()
  x0, y0, x1, y1 = box
  image[y0 : y1 + 1, x0 : x1 + 1] = (220, 120, 90)
  return image, empty


def test_a_run_is_loaded_from_the_checkpoint_that_its_regressor_belongs_to(tmp_path, monkeypatch):
  # export and probe take config.export.checkpoint, here "last", unless they are told otherwise
  experiment = Experiment(ConfigDict({"data": {"image_size": SIZE}, "methods": ("dsl",)}), tmp_path)
  experiment.config.export = ConfigDict({"checkpoint": "last"})
  experiment.save_config()
  read = []
  monkeypatch.setattr(
    checkpoint, "restore_for_inference", lambda folder, name: read.append(name) or {}
  )
  monkeypatch.setattr(Experiment, "make_render", lambda self, variables: made_up_run.render)
  api.load(tmp_path)
  api.load(tmp_path, "best")
  assert read == ["last", "best"]


def test_every_frame_comes_out_whatever_the_batch(tmp_path):
  dataset = made_up_run.Dataset()
  frames = dataset.read(np.arange(7), image_size=SIZE, with_labels=True)
  shapes = set()

  def render(batch):
    shapes.add(batch["image"].shape)
    return made_up_run.render(batch)

  model = make_model(tmp_path, 4, render=render)
  found = model.embed(frames["image"], frames["background"])
  assert shapes == {(4, *SIZE, 3)}
  np.testing.assert_allclose(found["box_px"][1:6], frames["box_px"][1:6], atol=1e-4)
  np.testing.assert_array_equal(found["presence"] > 0.5, np.arange(7) % 6 > 0)
  assert found["time_variant"].shape == (7, 4)


def test_boxes_and_masks_come_back_on_the_image_as_it_was(tmp_path):
  # 128 × 96 px (height × width) into 32 × 48: scale 1/4, 24 px wide, 12 px of black on either side.
  # The rectangle covers 4 × 4 blocks of px, so that shrinking keeps its edges sharp.
  image, empty = person(128, 96, (40, 32, 59, 95))
  model = make_model(tmp_path)
  save_regressor(tmp_path / "regressor.npz", made_up_run.regressor())
  found = model.predict(np.stack([image, empty]), empty)
  # px 40..59 are block 10..14, whose centres lie at 4 · b + 1.5; rows 32..95 are block 8..23
  np.testing.assert_allclose(found["box_px"][0], [41.5, 33.5, 57.5, 93.5], atol=1e-4)
  assert found["mask"].shape == (2, 128, 96)
  truth = (image != empty).any(-1)
  inside = found["mask"][0] > 0.5
  assert (inside & truth).sum() / (inside | truth).sum() > 0.95
  # features are the box on the letterboxed frame, in px: block + 12 px of black
  np.testing.assert_allclose(found["pose3d_mm"][0, 1], [22, 8, 26])
  assert np.isnan(found["pose3d_mm"][1]).all()  # nobody
  assert found["presence"][1] < 0.5


def test_one_background_for_all_is_the_same_as_one_for_each(tmp_path):
  image, empty = person(32, 48, (10, 5, 20, 25))
  model = make_model(tmp_path)
  images = np.stack([image] * 3)
  one, each = model.embed(images, empty), model.embed(images, np.stack([empty] * 3))
  for name in one:
    np.testing.assert_array_equal(one[name], each[name])


def test_without_an_export_presence_is_unknown_and_poses_are_given(tmp_path):
  image, empty = person(32, 48, (10, 5, 20, 25))
  model = make_model(tmp_path, calibration=None)
  found = model.predict(image[None], empty, made_up_run.regressor())
  assert np.isnan(found["presence"]).all()
  assert np.isfinite(found["pose3d_mm"]).all()


def test_a_regressor_of_another_checkpoint_is_refused(tmp_path):
  model = make_model(tmp_path)
  model.weights = "of last"
  own, other, unknown = (
    dataclasses.replace(made_up_run.regressor(), weights=weights)
    for weights in ("of last", "of best", "")
  )
  for fitted in (own, unknown):
    assert model.regressor(fitted) is fitted
  with pytest.raises(ValueError, match="the regressor was fitted on the embeddings of another"):
    model.regressor(other)
  save_regressor(tmp_path / "regressor.npz", other)
  with pytest.raises(ValueError, match=r"regressor\.npz was fitted .* another checkpoint"):
    model.regressor()
  model.weights = "of best"
  assert model.regressor().weights == "of best"


def test_the_border_of_presence_is_that_of_the_checkpoint(tmp_path, caplog):
  arrays = {"presence_calibration": np.array(SURE), "weights": "of best", "checkpoint": "best, 7"}
  save_embeddings(tmp_path / "embeddings" / "train.npz", arrays)
  assert api.load_calibration(tmp_path) == SURE
  assert api.load_calibration(tmp_path, "of best") == SURE
  assert not caplog.records
  assert api.load_calibration(tmp_path, "of last") is None
  assert "another checkpoint (best, 7)" in caplog.text


def test_weights_have_the_same_digest_where_they_are_the_same():
  first = {"params": {"a": np.array([1.0, 2.0], np.float32), "b": {"c": np.zeros((2, 3))}}}
  again = {"params": {"b": {"c": np.zeros((2, 3))}, "a": np.array([1.0, 2.0], np.float32)}}
  assert provenance.digest_weights(first) == provenance.digest_weights(again)
  for change in (np.array([1.0, 3.0], np.float32), np.array([1.0, 2.0]), np.zeros((2, 1))):
    other = {"params": {**first["params"], "a": change}}
    assert provenance.digest_weights(first) != provenance.digest_weights(other)


@pytest.mark.usefixtures("unchecked_signatures")
def test_wrong_arrays_are_refused(tmp_path):
  image, empty = person(32, 48, (10, 5, 20, 25))
  model = make_model(tmp_path)
  for images in (image, image[None] / 255.0, image[None, ..., :2], image[None][:0]):
    with pytest.raises(ValueError, match="images must be"):
      model.embed(images, empty)
  for background in (empty[:-1], empty / 255.0, np.stack([empty] * 2)):
    with pytest.raises(ValueError, match="backgrounds must be"):
      model.embed(image[None], background)
  with pytest.raises(ValueError, match="batch_size"):
    make_model(tmp_path, 0)
  with pytest.raises(FileNotFoundError, match=r"launch/probe\.py"):
    model.predict(image[None], empty)


def test_a_run_that_reconstructs_nothing_takes_every_frame_for_occupied(tmp_path):
  frames = made_up_run.Dataset().read(np.arange(3), image_size=SIZE, with_labels=True)
  painted = ("decoded", "mask_crop", "mask_frame", "reconstruction", "gain", "mask_max")

  def render(batch):
    found = {k: v for k, v in made_up_run.render(batch).items() if k not in painted}
    return {**found, "presence": np.ones(len(found["box"]), np.float32)}

  model = make_model(tmp_path, render=render, calibration=None)
  save_regressor(tmp_path / "regressor.npz", made_up_run.regressor())
  found = model.predict(frames["image"], frames["background"])
  np.testing.assert_array_equal(found["presence"], [1, 1, 1])
  assert np.isfinite(found["pose3d_mm"]).all()
  assert not {"mask", "gain", "mask_max"} & set(found)


def test_a_regressor_of_2d_keypoints_is_refused(tmp_path):
  fitted = made_up_run.regressor()
  flat = dataclasses.replace(fitted.standardisation, pose_mean_mm=np.zeros((3, 2), np.float32))
  with pytest.raises(ValueError, match="the regressor reads 2D keypoints"):
    make_model(tmp_path).regressor(dataclasses.replace(fitted, standardisation=flat))
