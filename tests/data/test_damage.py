"""Whatever lies in a file from elsewhere: a valid value, or an error that names the file."""

import dataclasses
import io
import json
import shutil
import struct
import warnings
import zipfile

import cv2
import damage
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_data import open_tiny

from datasets.video_folder.takes import Take, load_takes
from jaxpose import files
from jaxpose.data import calibration, labels, records, wire
from jaxpose.data.index import open_dataset

FUZZ = settings(
  max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

POSE2SIM = """[cam_01]
name = "cam_01"
size = [640.0, 480.0]
matrix = [[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.02, 0.001, 0.002]
rotation = [0.1, -0.7, 0.3]
translation = [0.1, 0.2, 3.0]
fisheye = false

[metadata]
error = 0.0
"""
CALISCOPE = """[cameras.0]
cam_id = 0
size = [640, 480]
rotation_count = 0
matrix = [[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]]
distortions = [0.1, 0.0, 0.0, 0.0, 0.0]
translation = [0.1, 0.2, 1.5]
rotation = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
"""
QUALISYS = """<?xml version="1.0" encoding="UTF-8"?>
<calibration created="2024-01-01"><results std-dev="0.5"/><cameras>
<camera active="1" serial="26578"><fov_video left="0" top="0" right="1087" bottom="1919"/>
<transform x="-3000.5" y="10.25" z="1000" r11="1" r12="0" r13="0" r21="0" r22="1" r23="0"
 r31="0" r32="0" r33="1"/>
<intrinsic focallength="9.1" focalLengthU="109000" focalLengthV="109100" centerPointU="34700"
 centerPointV="61400" skew="0" radialDistortion1="-3" radialDistortion2="6"
 radialDistortion3="0" tangentalDistortion1="0" tangentalDistortion2="0"/>
</camera></cameras></calibration>
"""
OPENCV = """%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 500., 0., 320., 0., 510., 240., 0., 0., 1. ]
rvec: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 0.1, -0.7, 0.3 ]
T: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 100., 200., 3000. ]
"""
OPENCV_XML = """<?xml version="1.0"?>
<opencv_storage><image_width>640</image_width><image_height>480</image_height>
<camera_matrix type_id="opencv-matrix"><rows>3</rows><cols>3</cols><dt>d</dt>
<data>500. 0. 320. 0. 510. 240. 0. 0. 1.</data></camera_matrix></opencv_storage>
"""
TAKES = """[defaults]
calibration = "cal.toml"
background = "robust"
fps = 12.5
[[take]]
name = "balancing"
videos = { cam01 = "a.mp4", cam02 = "b.mp4" }
labels = "joints.trc"
labels_start = 1.5
offset_s = { cam02 = -0.25 }
rotate = { cam01 = 90 }
roi = [0, 0, 64, 48]
calibration_names = { cam01 = "c1", cam02 = "c2" }
trim = [2, 90]
split = { train = [0, 60], test = [[70, 80], [90, 100]] }
empty = [[0, 5]]
[[take]]
name = "walk"
video = "c.mp4"
background_image = { cam = "empty.png" }
trim_s = [0.5, 9.0]
"""
TRC = (
  "PathFileType\t4\t(X/Y/Z)\ta.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\n"
  "10\t10\t2\t2\tmm\nFrame#\tTime\tHip\t\t\tHead\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n"
  "1\t0.0\t0\t10\t900\t20\t30\t1700\n2\t0.1\t5\t10\t900\t25\t30\t1700\n"
)
CSV = (
  "time,Hip_x,Hip_y,Hip_z,Head_x,Head_y,Head_z\n0.0,0,10,900,20,30,1700\n0.1,5,1,900,25,3,17e2\n"
)


def quiet(read):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
      return read()


def is_camera(camera):
  numbers = [np.asarray(value, float).ravel() for value in camera]
  return (
    all(np.isfinite(value).all() for value in numbers) and min(camera.K[0, 0], camera.width) > 0
  )


@pytest.mark.parametrize(
  ("ending", "text"),
  [
    ("toml", POSE2SIM),
    ("toml", CALISCOPE),
    ("qca.txt", QUALISYS),
    ("yml", OPENCV),
    ("xml", OPENCV_XML),
  ],
)
def test_damaged_calibrations_are_cameras_or_named(tmp_path, ending, text):
  assert calibration.load_calibration(damage.write(tmp_path / f"whole.{ending}", text.encode()))

  @FUZZ
  @given(damage.damaged_text([text]))
  def check(data):
    path = damage.write(tmp_path / f"cal.{ending}", data)
    read = lambda: quiet(lambda: calibration.load_calibration(path))  # noqa: E731
    found = damage.refused_or_read(read, path.name)
    assert found is None or (found and all(map(is_camera, found.values())))

  check()


@pytest.mark.parametrize(
  ("old", "new", "words"),
  [
    ("image_width: 640", "image_width: 1e999", "image_width and image_height are missing"),
    ("   rows: 3\n   cols: 3", "   rows: 3\n   cols: 4", "no camera matrix"),
    ("   rows: 3\n   cols: 3", "   rows: 300000\n   cols: 3", "no camera matrix"),
    ("[ 500., 0., 320.,", "[ 500., x, 320.,", "no camera matrix"),
  ],
)
def test_matrices_and_sizes_that_opencv_cannot_hold_are_named(tmp_path, old, new, words):
  assert old in OPENCV
  path = damage.write(tmp_path / "cam.yml", OPENCV.replace(old, new, 1).encode())
  with pytest.raises(calibration.CalibrationError, match=words):
    calibration.load_calibration(path)


def test_an_entity_that_expands_is_not_expanded(tmp_path):
  lines = [f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(12)]
  text = f'<!DOCTYPE x [<!ENTITY e0 "ha">{"".join(lines)}]><calibration>&e12;</calibration>'
  for encoding in ("utf-8", "utf-16", "utf-16-le"):
    path = damage.write(tmp_path / "bomb.qca.txt", text.encode(encoding))
    assert (
      damage.refused_or_read(lambda path=path: calibration.load_calibration(path), "bomb") is None
    )


@FUZZ
@given(damage.damaged_text([TAKES]))
def test_damaged_descriptions_of_takes_are_takes_or_named(tmp_path_factory, data):
  path = damage.write(tmp_path_factory.getbasetemp() / "takes" / "takes.toml", data)
  for take in damage.refused_or_read(lambda: load_takes(path.parent), path.name) or ():
    assert isinstance(take, Take)
    for camera in take.videos:
      assert np.isfinite(float(take.of_camera("offset_s", camera)))
      int(take.of_camera("rotate", camera))
    for ranges in (take.split_ranges or {}).values():
      assert all(0 <= first < last < 1e9 for first, last in ranges)


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ("calibration_names = { cam = 3 }", ("calibration_names of 'cam'", "str", "3")),
    ('offset_s = { cam = "x" }', ("offset_s of 'cam'", "float", "'x'")),
    ('rotate = { cam = "90" }', ("rotate of 'cam'", "int")),
    ('roi = { cam = [0, 0, "a", 20] }', ("roi of 'cam'",)),
    ("labels_start = inf", ("labels_start", "not finite")),
    ("trim = [0, 99999999999]", ("trim", "too large")),
    ("split = { train = [0.5, 3] }", ("split train", "first, last")),
    ("split = { train = { a = 1 } }", ("split must be",)),
  ],
)
def test_values_of_the_wrong_kind_in_a_take_are_named(tmp_path, line, words):
  text = f'[[take]]\nname = "t"\nvideo = "a.avi"\ncalibration = "c.toml"\n{line}\n'
  path = damage.write(tmp_path / "takes.toml", text.encode())
  with pytest.raises(ValueError, match="takes") as caught:
    load_takes(path.parent)
  for word in ("takes.toml, take 't'", *words):
    assert word in str(caught.value)


def test_a_take_that_is_no_table_is_named(tmp_path):
  path = damage.write(tmp_path / "takes.toml", b"take = [1, 2]\n")
  with pytest.raises(ValueError, match=r"takes\.toml: every take must be a table"):
    load_takes(path.parent)


def npz(**arrays):
  stream = io.BytesIO()
  np.savez(stream, **arrays)
  return stream.getvalue()


POSES_M = np.arange(12, dtype=float).reshape(2, 2, 3) / 8
LABELS_NPZ = npz(points_m=POSES_M, names=np.array(["Hip", "Head"]), fps=np.array(10.0))


@pytest.mark.parametrize("ending", ["trc", "csv", "npz"])
def test_damaged_labels_are_labels_or_named(tmp_path, ending):
  whole = {"trc": TRC.encode(), "csv": CSV.encode(), "npz": LABELS_NPZ}[ending]
  given_fps = None if ending == "npz" else 10.0
  assert labels.load_labels(damage.write(tmp_path / f"w.{ending}", whole)).points_mm.shape[1:] == (
    2,
    3,
  )
  strategy = (
    damage.damaged_bytes([whole]) if ending == "npz" else damage.damaged_text([whole.decode()])
  )

  @FUZZ
  @given(strategy)
  def check(data):
    path = damage.write(tmp_path / f"lab.{ending}", data)
    read = lambda: quiet(lambda: labels.load_labels(path, fps=given_fps))  # noqa: E731
    found = damage.refused_or_read(read, path.name)
    if found is not None:
      assert found.points_mm.shape == (len(found.time_s), len(found.joints), 3)
      assert (np.diff(found.time_s) > 0).all()

  check()


@pytest.mark.parametrize(
  ("changes", "word"),
  [
    ({"names": np.array("Hip")}, "`names`"),
    ({"names": np.array([["Hip"], ["Head"]])}, "`names`"),
    ({"time_s": np.array(["0.0", "0.1"])}, "time_s"),
    ({"fps": np.array("ten")}, "fps"),
    ({"fps": np.array([10.0, 10.0])}, "fps"),
  ],
)
def test_fields_of_the_wrong_kind_in_labels_are_named(tmp_path, changes, word):
  arrays = {"points_m": POSES_M, "names": np.array(["Hip", "Head"]), "fps": np.array(10.0)}
  path = damage.write(tmp_path / "lab.npz", npz(**(arrays | changes)))
  with pytest.raises(labels.LabelError, match=r"lab\.npz") as caught:
    labels.load_labels(path)
  assert word in str(caught.value)


def test_a_header_of_many_columns_over_short_rows_takes_no_memory(tmp_path):
  names = "\t\t\t".join(f"j{i}" for i in range(20_000))
  head = f"PathFileType\t4\tx\ta.trc\nUnits\nmm\nFrame#\tTime\t{names}\n\n"
  path = damage.write(tmp_path / "wide.trc", (head + "1\t0.1\n" * 20_000).encode())
  with pytest.raises(labels.LabelError, match=r"wide\.trc: 60002 columns are named, but the 20000"):
    labels.load_labels(path)


def bomb(height, width, kind=".jpg"):
  """A file of 16 × 16 px whose header claims another size."""
  _, data = cv2.imencode(kind, np.full((16, 16, 3), 90, np.uint8))
  found = bytearray(data.tobytes())
  if kind == ".png":
    found[16:24] = struct.pack(">II", width, height)
  else:
    place = found.find(b"\xff\xc0")
    found[place + 5 : place + 9] = struct.pack(">HH", height, width)
  return bytes(found)


@pytest.mark.parametrize(
  ("kind", "size"),
  [
    (".jpg", (60000, 60000)),
    (".jpg", (30000, 30000)),
    (".jpg", (8193, 8192)),
    (".jpg", (0, 5)),
    (".png", (60000, 60000)),
    (".png", (2, 2**31 - 1)),
  ],
)
def test_an_image_is_not_believed_to_be_of_any_size(kind, size):
  data = bomb(*size, kind)
  for decode in (records.decode_image, records.decode_mask):
    with damage.little_memory(), pytest.raises(ValueError, match=r"damaged (image|mask)"):
      decode(data)


def test_sizes_are_read_where_the_decoder_reads_them():
  image = np.random.default_rng(0).integers(0, 255, (37, 91, 3), np.uint8)
  progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
  for kind, options in ((".jpg", []), (".jpg", progressive), (".png", [])):
    _, data = cv2.imencode(kind, image, options)
    assert records.decode_image(data.tobytes()).shape == image.shape
    assert records._claimed_size(memoryview(data.tobytes())) == (37, 91)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
  return open_tiny(tmp_path_factory.mktemp("tiny"))


def test_damaged_records_are_frames_or_named(tiny):
  whole = list(tiny._shards.read(np.arange(0, 60, 7)))
  images = [bytes(records.parse_record(data)["image"]) for data in whole]

  def read(data):
    batch = {
      "image": np.empty((1, 24, 40, 3), np.uint8),
      "background": np.empty((1, 24, 40, 3), np.uint8),
    } | tiny.make_labels(1)
    shards, tiny._shards = tiny._shards, type("Shards", (), {"read": lambda _, ids: [data]})()
    try:
      tiny.fill(batch, np.array([4]), np.array([0]), np.array([0]))
      tiny.read_poses(np.array([4]))
    finally:
      tiny._shards = shards
    return batch

  @FUZZ
  @given(damage.damaged_bytes(whole))
  def altered(data):
    damage.refused_or_read(lambda: read(data), "record 4")

  @FUZZ
  @given(damage.damaged_bytes(images))
  def altered_image(data):
    record = records.parse_record(whole[0]) | {"image": data, "mask": b""}
    damage.refused_or_read(lambda: read(wire.serialise_example(record)), "record 4")

  altered()
  altered_image()


def test_a_size_without_end_is_named(tiny, tmp_path):
  copy = tmp_path / "copy"
  shutil.copytree(tiny.directory, copy)
  path = copy / "sequences_train.json"
  description = json.loads(path.read_text())
  description["sequences"][0]["tracks"][0]["size"] = [float("inf"), 24]
  path.write_text(json.dumps(description))
  with pytest.raises(ValueError, match=r"camera '.*': its size \[inf, 24\] is no two whole"):
    open_dataset(copy, "train")


@pytest.mark.parametrize("name", ["sequences_train.json", "dataset_info.json", "index_train.npz"])
def test_damaged_descriptions_of_data_are_data_or_named(tiny, tmp_path, name):
  copy = tmp_path / "copy"
  shutil.copytree(tiny.directory, copy)
  whole = (copy / name).read_bytes()
  text = name.endswith("json")
  strategy = damage.damaged_text([whole.decode()]) if text else damage.damaged_bytes([whole])

  @FUZZ
  @given(strategy)
  def check(data):
    damage.write(copy / name, data)

    def read():
      opened = open_dataset(copy, "train")
      ids = np.array([0, opened.num_frames - 1])
      opened.read(ids, image_size=(24, 40), with_labels=True)
      return opened

    damage.refused_or_read(read, str(copy))

  quiet(check)


@pytest.mark.parametrize(
  ("change", "word"),
  [
    (lambda d: d.pop("sequences"), "sequences"),
    (lambda d: d.update(backgrounds=["../../../etc/passwd"]), "plain file name"),
    (lambda d: d["sequences"][0]["tracks"][0].update(size=[60000, 60000]), "60000"),
    (lambda d: d["sequences"][0].update(tracks=[]), "do not add up"),
    (lambda d: d["skeleton"].update(parents=["hip"]), "sequences_train.json"),
  ],
)
def test_a_description_that_lacks_something_is_named(tiny, tmp_path, change, word):
  copy = tmp_path / "copy"
  shutil.copytree(tiny.directory, copy)
  path = copy / "sequences_train.json"
  description = json.loads(path.read_text())
  change(description)
  path.write_text(json.dumps(description))
  with pytest.raises(ValueError, match="prepare the data set again") as caught:
    open_dataset(copy, "train")
  assert word in str(caught.value)


def test_ids_out_of_range_are_named_wherever_frames_are_read(tiny):
  for read in (tiny.read_poses, tiny.read_masks):
    with pytest.raises(IndexError, match=r"split train has frames 0\.\.61, not \[62\]"):
      read(np.array([62]))


def test_any_array_in_an_archive_is_as_large_as_it_says(tmp_path, monkeypatch):
  def member(shape, descr="<f8", body=b"\0" * 64):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + body

  def archive(data, compression=zipfile.ZIP_STORED):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
      file.writestr("x.npy", data)
    return path

  np.testing.assert_array_equal(files.load_npz(archive(member((8,))))["x"], np.zeros(8))
  for shape, descr in (((10**12,), "<f8"), ((2**31, 2**31), "<f8"), ((7,), "<f8"), ((-8,), "<f8")):
    path = archive(member(shape, descr))
    with damage.little_memory(), pytest.raises(ValueError, match=r"a\.npz is .*another size"):
      files.load_npz(path)
  with pytest.raises(ValueError, match="Python objects"):
    files.load_npz(archive(member((8,), "|O")))
  monkeypatch.setattr(files, "_SMALL_BYTES", 1000)
  zeros = archive(member((10**6,), "<f8", bytes(8 * 10**6)), zipfile.ZIP_DEFLATED)
  with pytest.raises(ValueError, match="would grow to 8000"):
    files.load_npz(zeros)
  np.testing.assert_array_equal(
    files.load_npz(archive(member((10**6,), "<f8", bytes(8 * 10**6))))["x"][:2], [0, 0]
  )


@FUZZ
@given(damage.damaged_bytes([LABELS_NPZ]), st.sampled_from(["a.npz"]))
def test_damaged_archives_are_arrays_or_named(tmp_path_factory, data, name):
  path = damage.write(tmp_path_factory.getbasetemp() / "npz" / name, data)
  damage.refused_or_read(lambda: files.load_npz(path), name)


def test_a_json_of_any_depth_is_named(tmp_path):
  for text in ("[" * 100_000, '{"a":' * 100_000, "[1]", "\x00", "nul"):
    path = damage.write(tmp_path / "d.json", text.encode())
    with pytest.raises(ValueError, match=r"d\.json is damaged"):
      files.load_json(path)
  with pytest.raises(ValueError, match="here: no valid TOML"):
    files.parse_toml("a = " + "[" * 100_000, "here")


def test_a_take_has_only_fields_that_are_checked():
  text = {field.name for field in dataclasses.fields(Take)}
  from datasets.video_folder import takes

  assert text == set(takes._TYPES)
