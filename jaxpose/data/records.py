"""What a data set consists of: sequences of tracks in memory, one record per frame on disk."""

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxpose.data import wire
from jaxpose.geometry import Camera

FORMAT_VERSION = 1  # of the files beside the records: raised when their meaning changes

UNKNOWN, EMPTY, PERSON = -1, 0, 1  # values of `present`
MOST_PIXELS = 2**26  # of a stored image: a damaged header may claim any size


@dataclasses.dataclass
class Track:
  """The frames of one camera in one sequence.

  Attributes:
    camera_name: unique within the sequence.
    camera: calibration, or None where there is none.
    images: one JPEG file per frame, as bytes; may be a lazy iterable.
    frame: the source's own frame numbers, increasing; the same number is the same instant in
      every track of the sequence.
    time_s: increasing.
    background: the empty scene, RGB, of the size of the frames; a panorama with a homography.
    homography: maps frame px to background px, per frame (moving cameras only).
    falling: whether the person falls freely, on the way down.
    present: -1 unknown, 0 empty, 1 person.
    box_px: tight box of the silhouette x0, y0, x1, y1, along the outer edges of its pixels; NaN
      where unknown.
    pose2d_px: NaN where unknown; a joint may be known in 2D alone.
    pose3d_mm: camera frame, absolute; NaN where unknown.
    joint_valid: the joints that may be scored in 3D; None means those that are finite.
    masks: one PNG file per frame (or b""), for evaluation.
  """

  camera_name: str
  camera: Camera | None
  images: Iterable[bytes]
  frame: Int[np.ndarray, " n"]
  time_s: Float[np.ndarray, " n"]
  background: UInt8[np.ndarray, "H W 3"]
  homography: Float[np.ndarray, "n 3 3"] | None = None
  falling: Bool[np.ndarray, " n"] | None = None
  present: Int[np.ndarray, " n"] | None = None
  box_px: Float[np.ndarray, "n 4"] | None = None
  pose2d_px: Float[np.ndarray, "n J 2"] | None = None
  pose3d_mm: Float[np.ndarray, "n J 3"] | None = None
  joint_valid: Bool[np.ndarray, "n J"] | None = None
  masks: Iterable[bytes] | None = None

  @property
  def length(self) -> int:
    return len(self.frame)


@dataclasses.dataclass
class Sequence:
  """One take: the synchronised tracks of one or more cameras. `fps` counts source frames."""

  name: str
  subject: str
  action: str
  fps: float
  tracks: list[Track]


def check_sequence(sequence: Sequence, num_joints: int) -> None:
  """Checks that the fields of a sequence belong together.

  Raises:
    ValueError: one does not; names the sequence, the track and the field.
  """
  if not sequence.tracks:
    raise ValueError(f"sequence {sequence.name!r} has no tracks")
  if not np.isfinite(sequence.fps) or sequence.fps <= 0:
    raise ValueError(f"sequence {sequence.name!r}: fps must be above 0, not {sequence.fps}")
  names = [track.camera_name for track in sequence.tracks]
  if len(set(names)) != len(names):
    raise ValueError(f"sequence {sequence.name!r}: two tracks have one camera name: {names}")
  for track in sequence.tracks:
    _check_track(track, num_joints, f"sequence {sequence.name!r}, track {track.camera_name!r}")


def _check_track(track: Track, num_joints: int, where: str) -> None:
  n = track.length
  if n == 0:
    raise ValueError(f"{where}: no frames")
  shapes: dict[str, tuple[int, ...]] = {
    "frame": (n,),
    "time_s": (n,),
    "homography": (n, 3, 3),
    "falling": (n,),
    "present": (n,),
    "box_px": (n, 4),
    "pose2d_px": (n, num_joints, 2),
    "pose3d_mm": (n, num_joints, 3),
    "joint_valid": (n, num_joints),
  }
  for field, shape in shapes.items():
    value = getattr(track, field)
    if value is not None and np.shape(value) != shape:
      raise ValueError(f"{where}: {field} has shape {np.shape(value)}, expected {shape}")
  if not np.issubdtype(np.asarray(track.frame).dtype, np.integer):
    raise ValueError(f"{where}: frame must hold integers")
  for field in ("frame", "time_s"):
    value = np.asarray(getattr(track, field))
    if not np.all(np.isfinite(value)) or np.any(np.diff(value) <= 0):
      raise ValueError(f"{where}: {field} must increase from frame to frame")
  background = np.asarray(track.background)
  if background.ndim != 3 or background.shape[2] != 3 or background.dtype != np.uint8:
    raise ValueError(
      f"{where}: background must be uint8 [H, W, 3], not {background.dtype} {background.shape}"
    )
  if track.present is not None and not np.isin(track.present, (UNKNOWN, EMPTY, PERSON)).all():
    raise ValueError(f"{where}: present holds other values than -1, 0 and 1")


def labelled_frames(track: Track) -> Bool[np.ndarray, " n"]:
  """The frames with a 3D pose of which at least one joint may be scored."""
  if track.pose3d_mm is None:
    return np.zeros(track.length, bool)
  valid = _joint_validity(track, np.shape(track.pose3d_mm)[1])
  return np.any(valid, axis=1)


def _joint_validity(track: Track, num_joints: int) -> Bool[np.ndarray, "n J"]:
  pose = track.pose3d_mm if track.pose3d_mm is not None else track.pose2d_px
  if pose is None:
    return np.zeros((track.length, num_joints), bool)
  valid: np.ndarray = np.isfinite(pose).all(axis=2)
  return valid if track.joint_valid is None else valid & np.asarray(track.joint_valid, bool)


def build_features(num_joints: int) -> Any:
  """The `tfds.features.FeaturesDict` of a record; imports tfds."""
  import tensorflow_datasets as tfds

  def tensor(shape: tuple[int, ...], dtype: Any) -> Any:
    return tfds.features.Tensor(shape=shape, dtype=dtype)

  return tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
      "sequence": tensor((), np.int32),
      "camera": tensor((), np.int32),
      "frame": tensor((), np.int32),
      "time_s": tensor((), np.float32),
      "subject": tensor((), np.int32),
      "action": tensor((), np.int32),
      "falling": tensor((), np.bool_),
      "present": tensor((), np.int32),
      "box_px": tensor((4,), np.float32),
      "pose2d_px": tensor((num_joints, 2), np.float32),
      "pose3d_mm": tensor((num_joints, 3), np.float32),
      "joint_valid": tensor((num_joints,), np.bool_),
      "homography": tensor((3, 3), np.float32),
      "mask": tensor((), np.object_),
    }
  )


_SHAPES: dict[str, tuple[tuple[int, ...], type]] = {
  "sequence": ((), np.int32),
  "camera": ((), np.int32),
  "frame": ((), np.int32),
  "time_s": ((), np.float32),
  "subject": ((), np.int32),
  "action": ((), np.int32),
  "falling": ((), np.bool_),
  "present": ((), np.int32),
  "box_px": ((4,), np.float32),
  "pose2d_px": ((-1, 2), np.float32),
  "pose3d_mm": ((-1, 3), np.float32),
  "joint_valid": ((-1,), np.bool_),
  "homography": ((3, 3), np.float32),
}
RECORD_FIELDS = ("image", *_SHAPES, "mask")
LABEL_FIELDS = ("present", "box_px", "pose2d_px", "pose3d_mm", "joint_valid")


def track_records(
  track: Track, *, sequence: int, camera: int, subject: int, action: int, num_joints: int
) -> Iterator[dict[str, Any]]:
  """Yields one record per frame: a dict of bytes and numpy values, keys as `RECORD_FIELDS`.

  Raises:
    ValueError: `images` or `masks` has not one item per frame.
  """
  n = track.length
  columns = {
    "frame": np.asarray(track.frame, np.int32),
    "time_s": np.asarray(track.time_s, np.float32),
    "falling": _or_full(track.falling, (n,), False, np.bool_),
    "present": _or_full(track.present, (n,), UNKNOWN, np.int32),
    "box_px": _or_full(track.box_px, (n, 4), np.nan, np.float32),
    "pose2d_px": _or_full(track.pose2d_px, (n, num_joints, 2), np.nan, np.float32),
    "pose3d_mm": _or_full(track.pose3d_mm, (n, num_joints, 3), np.nan, np.float32),
    "joint_valid": _joint_validity(track, num_joints),
    "homography": np.broadcast_to(np.eye(3, dtype=np.float32), (n, 3, 3))
    if track.homography is None
    else np.asarray(track.homography, np.float32),
  }
  ids = {"sequence": sequence, "camera": camera, "subject": subject, "action": action}
  images = iter(track.images)
  masks = None if track.masks is None else iter(track.masks)
  for i in range(n):
    yield {
      "image": _next_file(images, i, n, "images", track.camera_name),
      "mask": b"" if masks is None else _next_file(masks, i, n, "masks", track.camera_name),
      **{name: np.int32(value) for name, value in ids.items()},
      **{name: column[i] for name, column in columns.items()},
    }
  if next(images, None) is not None:
    raise ValueError(f"track {track.camera_name!r}: images has more items than its {n} frames")


def _or_full(value: Any, shape: tuple[int, ...], fill: float, dtype: type) -> np.ndarray:
  return np.full(shape, fill, dtype) if value is None else np.asarray(value, dtype)


def _next_file(files: Iterator[bytes], i: int, n: int, field: str, camera_name: str) -> bytes:
  data = next(files, None)
  if data is None:
    raise ValueError(f"track {camera_name!r}: {field} ended after {i} of {n} frames")
  return bytes(data)


def serialise_record(record: dict[str, Any]) -> bytes:
  """Encodes a record as `tf.train.Example`; equal records give equal bytes."""
  return wire.serialise_example(record)


def parse_record(data: bytes, names: Iterable[str] = RECORD_FIELDS) -> dict[str, Any]:
  """Decodes the fields `names` of a record: files as views, the others as numpy arrays.

  Raises:
    ValueError: the record is cut short, or lacks a field or part of it.
  """
  wanted = tuple(names)
  raw = wire.parse_example(data, wanted)
  record: dict[str, Any] = {}
  for name in wanted:
    if name not in raw:
      raise ValueError(f"the record has no field {name!r}")
    value = raw[name]
    if name in _SHAPES:
      shape, dtype = _SHAPES[name]
      try:
        value = np.asarray(value, dtype).reshape(shape)
      except ValueError as error:
        raise ValueError(f"field {name!r}: {error}") from error
    record[name] = value
  return record


def decode_image(data: bytes | memoryview) -> UInt8[np.ndarray, "H W 3"]:
  """Decodes a JPEG or PNG file to RGB, ignoring orientation metadata.

  Raises:
    ValueError: it is damaged, cut short or of another format, or claims over `MOST_PIXELS`.
  """
  flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
  return _decode(data, flags, "image")


def decode_mask(data: bytes | memoryview) -> UInt8[np.ndarray, "H W"]:
  """Decodes a mask to 0..255.

  Raises:
    ValueError: there is none, or it is damaged.
  """
  if not len(data):
    raise ValueError("the record has no mask")
  return _decode(data, cv2.IMREAD_GRAYSCALE, "mask")


def _decode(data: bytes | memoryview, flags: int, what: str) -> np.ndarray:
  height, width = _claimed_size(memoryview(data))
  if height * width > MOST_PIXELS:
    raise ValueError(f"damaged {what}: its header claims {width}×{height} px")
  image = None
  if height and width and _is_complete(data):
    try:
      image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
      raise ValueError(f"damaged {what} of {len(data)} bytes: {error}") from error
  if image is None:
    raise ValueError(f"damaged {what} of {len(data)} bytes")
  return image


_FRAME_HEADERS = (0xC0, 0xC1, 0xC2)  # of JPEG: baseline, extended, progressive


def _claimed_size(view: memoryview) -> tuple[int, int]:
  """(height, width) in the header of a JPEG or PNG file, (0, 0) where there is no such header."""
  try:
    if view[:8] == b"\x89PNG\r\n\x1a\n":
      width, height = struct.unpack_from(">II", view, 16)
      return height, width
    position = 2 if view[:2] == b"\xff\xd8" else len(view)
    while view[position] == 0xFF:
      marker, length = view[position + 1], struct.unpack_from(">H", view, position + 2)[0]
      if marker in _FRAME_HEADERS:
        return struct.unpack_from(">HH", view, position + 5)
      position += 2 + length
  except (IndexError, struct.error):
    pass
  return 0, 0


def _is_complete(data: bytes | memoryview) -> bool:
  """False for a JPEG without its end marker: OpenCV fills what is missing with grey, silently."""
  view = memoryview(data)
  if bytes(view[:2]) != b"\xff\xd8":
    return True
  return b"\xff\xd9" in bytes(view[-16:])


def encode_jpeg(image: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
  """Encodes an RGB image.

  Raises:
    ValueError: OpenCV cannot encode it.
  """
  bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
  done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
  if not done:
    raise ValueError(f"cannot encode an image of shape {image.shape}")
  return data.tobytes()


def encode_png(image: UInt8[np.ndarray, "H W *C"]) -> bytes:
  """Encodes an RGB or grey image without loss.

  Raises:
    ValueError: OpenCV cannot encode it.
  """
  done, data = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
  if not done:
    raise ValueError(f"cannot encode an image of shape {image.shape}")
  return data.tobytes()
