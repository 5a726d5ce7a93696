"""Tracks are checked before they are written, and records come back as they went in."""

import dataclasses

import cv2
import numpy as np
import pytest
from tiny_data import tiny_track

from jaxpose.data import records

RNG = np.random.default_rng(5)


def make_track(**changes):
  return dataclasses.replace(tiny_track(0, 1, [2, 3, 5, 9]), **changes)


def make_sequence(*tracks, **changes):
  values = {"name": "walk", "subject": "anna", "action": "walking", "fps": 25.0} | changes
  return records.Sequence(**values, tracks=list(tracks))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"frame": np.array([2, 3, 3, 9])}, "frame must increase"),
    ({"frame": np.array([2.0, 3, 5, 9])}, "integers"),
    ({"time_s": np.array([0.0, 1, np.nan, 3])}, "time_s must increase"),
    ({"time_s": np.array([0.0, 1, 2])}, r"time_s has shape \(3,\), expected \(4,\)"),
    ({"box_px": np.zeros((4, 3))}, r"box_px has shape \(4, 3\)"),
    ({"pose3d_mm": np.zeros((4, 2, 3))}, r"pose3d_mm has shape \(4, 2, 3\), expected \(4, 3, 3\)"),
    ({"pose2d_px": np.zeros((4, 3, 3))}, "pose2d_px"),
    ({"homography": np.zeros((3, 3))}, "homography"),
    ({"falling": np.zeros(3, bool)}, "falling"),
    ({"joint_valid": np.zeros((4, 2), bool)}, "joint_valid"),
    ({"present": np.array([0, 1, 2, 1])}, "present"),
    ({"background": np.zeros((4, 5, 3), np.float32)}, "background"),
    ({"frame": np.zeros(0, int)}, "no frames"),
  ],
)
@pytest.mark.usefixtures("unchecked_signatures")
def test_wrong_fields_are_named(changes, message):
  with pytest.raises(ValueError, match=rf"sequence 'walk', track 'cam1': .*{message}"):
    records.check_sequence(make_sequence(make_track(**changes)), 3)


def test_wrong_sequences_are_named():
  with pytest.raises(ValueError, match="'walk' has no tracks"):
    records.check_sequence(make_sequence(), 3)
  with pytest.raises(ValueError, match="fps"):
    records.check_sequence(make_sequence(make_track(), fps=0.0), 3)
  with pytest.raises(ValueError, match="one camera name"):
    records.check_sequence(make_sequence(make_track(), make_track()), 3)
  records.check_sequence(make_sequence(make_track()), 3)


def test_records_round_trip():
  n = 4
  track = make_track(
    box_px=RNG.normal(size=(n, 4)),
    pose2d_px=RNG.normal(size=(n, 3, 2)),
    joint_valid=np.array([[1, 0, 1]] * n, bool),
    homography=RNG.normal(size=(n, 3, 3)),
    falling=np.array([0, 1, 1, 0], bool),
    present=np.array([-1, 0, 1, 1]),
    masks=[b"a", b"", b"ccc", b"dd"],
  )
  stream = records.track_records(track, sequence=7, camera=2, subject=1, action=4, num_joints=3)
  for i, record in enumerate(stream):
    found = records.parse_record(records.serialise_record(record))
    assert set(found) == set(records.RECORD_FIELDS)
    assert bytes(found["image"]) == list(track.images)[i]
    assert bytes(found["mask"]) == list(track.masks)[i]
    assert (found["sequence"], found["camera"], found["subject"], found["action"]) == (7, 2, 1, 4)
    assert found["frame"] == [2, 3, 5, 9][i]
    assert found["present"] == [-1, 0, 1, 1][i]
    assert found["falling"] == (i in (1, 2))
    for name in ("box_px", "pose2d_px", "pose3d_mm", "homography"):
      expected = np.asarray(getattr(track, name), np.float32)[i]
      np.testing.assert_array_equal(found[name], expected)
    valid = [True, False, True] if i % 2 == 0 else [False] * 3  # odd rows have no 3D pose
    np.testing.assert_array_equal(found["joint_valid"], valid)
  assert i == n - 1


def test_defaults_say_unknown():
  track = make_track(pose3d_mm=None)
  record = next(
    iter(records.track_records(track, sequence=0, camera=0, subject=0, action=0, num_joints=3))
  )
  assert record["present"] == records.UNKNOWN
  assert not record["falling"]
  assert np.isnan(record["box_px"]).all()
  assert np.isnan(record["pose3d_mm"]).all()
  assert not record["joint_valid"].any()
  np.testing.assert_array_equal(record["homography"], np.eye(3))


def test_labelled_frames_need_a_joint_to_score():
  pose = np.full((4, 3, 3), np.nan)
  pose[0] = 1
  pose[1, 2] = 1
  pose[3, 1] = 1
  valid = np.ones((4, 3), bool)
  valid[3, 1] = False
  track = make_track(pose3d_mm=pose, joint_valid=valid)
  np.testing.assert_array_equal(records.labelled_frames(track), [True, True, False, False])
  assert not records.labelled_frames(make_track(pose3d_mm=None)).any()


@pytest.mark.parametrize(("count", "message"), [(3, "ended after 3 of 4"), (5, "more items")])
def test_one_image_per_frame(count, message):
  track = make_track(images=[b"x"] * count)
  with pytest.raises(ValueError, match=message):
    list(records.track_records(track, sequence=0, camera=0, subject=0, action=0, num_joints=3))


def test_images_decode_to_rgb():
  image = np.zeros((16, 24, 3), np.uint8)
  image[:, :12] = (250, 20, 60)
  for data in (records.encode_jpeg(image, 95), records.encode_png(image)):
    decoded = records.decode_image(data)
    assert decoded.shape == (16, 24, 3)
    np.testing.assert_allclose(decoded[3, 3], (250, 20, 60), atol=4)
    np.testing.assert_allclose(decoded[3, 20], (0, 0, 0), atol=4)
  # OpenCV reads the file alike, but in BGR
  data = np.frombuffer(records.encode_png(image), np.uint8)
  np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR)[3, 3], (60, 20, 250))


def test_damaged_images_are_errors():
  data = records.encode_jpeg(RNG.integers(0, 255, (64, 48, 3), dtype=np.uint8), 90)
  for damaged in (b"", b"nonsense", data[: len(data) // 2], data[:-2]):
    with pytest.raises(ValueError, match="damaged image"):
      records.decode_image(damaged)
  with pytest.raises(ValueError, match="no mask"):
    records.decode_mask(b"")
  with pytest.raises(ValueError, match="damaged mask"):
    records.decode_mask(b"nonsense")


def test_a_missing_or_short_field_is_named():
  record = next(
    iter(
      records.track_records(make_track(), sequence=0, camera=0, subject=0, action=0, num_joints=3)
    )
  )
  without = {name: value for name, value in record.items() if name != "box_px"}
  with pytest.raises(ValueError, match="no field 'box_px'"):
    records.parse_record(records.serialise_record(without))
  short = record | {"box_px": np.zeros(3, np.float32)}
  with pytest.raises(ValueError, match="'box_px'"):
    records.parse_record(records.serialise_record(short))
