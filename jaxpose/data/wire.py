"""Reads and writes `tf.train.Example` messages without protobuf or TensorFlow.

An Example is Features (field 1), which is a map: entries (field 1) of a name (field 1) and a value
(field 2), which is a list of bytes (field 1), of float32 (field 2) or of int64 (field 3). Only the
entries that are asked for are decoded, in place, so that a loader worker pays for the image alone
and imports nothing.
"""

import struct
from collections.abc import Collection, Iterator, Mapping

import numpy as np

_BYTES, _FLOATS, _INTS = 1, 2, 3
_VARINT, _LENGTH, _FIXED32 = 0, 2, 5
_MAX = (1 << 64) - 1

Value = bytes | np.ndarray | np.generic


def parse_example(
  data: bytes, names: Collection[str] | None = None
) -> dict[str, memoryview | np.ndarray]:
  """Decodes a serialised `tf.train.Example`.

  Args:
    data: the message.
    names: the features wanted; None for all.

  Returns:
    bytes features as a view of `data`, float features as float32 [n], int features as int64 [n].

  Raises:
    ValueError: the message is cut short or is no Example, or a bytes feature has not one value.
  """
  wanted = None if names is None else {name.encode() for name in names}
  found: dict[str, memoryview | np.ndarray] = {}
  view = memoryview(data)
  try:
    for entry_start, entry_end in _entries(view):
      key, start, end = _split_entry(view, entry_start, entry_end)
      if wanted is None or key in wanted:
        found[key.decode()] = _parse_feature(view, start, end)
        if wanted is not None and len(found) == len(wanted):
          break
  except (IndexError, UnicodeDecodeError, struct.error) as error:
    raise ValueError(f"no valid tf.train.Example of {len(data)} bytes: {error}") from error
  return found


def serialise_example(features: Mapping[str, Value]) -> bytes:
  """Encodes features as a `tf.train.Example`, names in order: equal features give equal bytes.

  Args:
    features: bytes; or floating, integer or boolean arrays (flattened in C order).

  Raises:
    ValueError: a value of another type.
  """
  entries = []
  for name in sorted(features):
    body = _field(1, name.encode()) + _field(2, _serialise_feature(name, features[name]))
    entries.append(_field(1, body))
  return _field(1, b"".join(entries))


def sort_example(data: bytes) -> bytes:
  """The same Example with its entries in order of name, whatever order protobuf's map gave them.

  Raises:
    ValueError: the message is cut short or is no Example.
  """
  view = memoryview(data)
  try:
    entries = [(_split_entry(view, a, b)[0], bytes(view[a:b])) for a, b in _entries(view)]
  except IndexError as error:
    raise ValueError(f"no valid tf.train.Example of {len(data)} bytes: {error}") from error
  return _field(1, b"".join(_field(1, entry) for _, entry in sorted(entries)))


def _varint(view: memoryview, position: int) -> tuple[int, int]:
  """(value, position after it) of a base-128 integer."""
  byte = view[position]
  position += 1
  if byte < 0x80:
    return byte, position
  value, shift = byte & 0x7F, 7
  while byte >= 0x80:
    if shift > 63:
      raise ValueError("an integer of more than ten bytes")
    byte = view[position]
    position += 1
    value |= (byte & 0x7F) << shift & _MAX
    shift += 7
  return value, position


def _open_field(view: memoryview, position: int, end: int) -> tuple[int, int, int, int]:
  """(field number, wire type, start, end) of the field at `position`; start..end is its content."""
  tag, position = _varint(view, position)
  number, wire = tag >> 3, tag & 7
  if wire == _LENGTH:
    length, position = _varint(view, position)
  elif wire == _FIXED32:
    length = 4
  elif wire == _VARINT:
    length = _varint(view, position)[1] - position
  else:
    raise ValueError(f"wire type {wire} does not occur in a tf.train.Example")
  if position + length > end:
    raise ValueError(f"cut short: a field wants {position + length - end} bytes more")
  return number, wire, position, position + length


def _entries(view: memoryview) -> Iterator[tuple[int, int]]:
  """(start, end) of every map entry of the message."""
  position, end = 0, len(view)
  while position < end:
    number, wire, start, position = _open_field(view, position, end)
    if number != 1 or wire != _LENGTH:
      raise ValueError(f"field {number} does not occur in a tf.train.Example")
    inner = start
    while inner < position:
      number, wire, entry_start, entry_end = _open_field(view, inner, position)
      if number != 1 or wire != _LENGTH:
        raise ValueError(f"field {number} does not occur in its Features")
      yield entry_start, entry_end
      inner = entry_end


def _split_entry(view: memoryview, position: int, end: int) -> tuple[bytes, int, int]:
  """(name, start, end) of a map entry; start..end is its Feature."""
  key, span = b"", (end, end)
  while position < end:
    number, _, start, position = _open_field(view, position, end)
    if number == 1:
      key = bytes(view[start:position])
    elif number == 2:
      span = (start, position)
  return key, *span


def _parse_feature(view: memoryview, position: int, end: int) -> memoryview | np.ndarray:
  if position == end:
    return np.zeros(0, np.float32)
  kind, _, start, stop = _open_field(view, position, end)
  if kind == _BYTES:
    return _parse_bytes(view, start, stop)
  if kind == _FLOATS:
    return _parse_floats(view, start, stop)
  if kind == _INTS:
    return _parse_ints(view, start, stop)
  raise ValueError(f"field {kind} does not occur in a Feature")


def _parse_bytes(view: memoryview, position: int, end: int) -> memoryview:
  _, _, start, stop = _open_field(view, position, end)
  if stop != end:
    raise ValueError("a bytes feature with more than one value")
  return view[start:stop]


def _parse_floats(view: memoryview, position: int, end: int) -> np.ndarray:
  parts = []
  while position < end:
    _, _, start, position = _open_field(view, position, end)
    if (position - start) % 4:
      raise ValueError(f"{position - start} bytes are no whole number of float32")
    parts.append(np.frombuffer(view[start:position], "<f4"))
  return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, np.float32)])


def _parse_ints(view: memoryview, position: int, end: int) -> np.ndarray:
  values: list[int] = []
  while position < end:
    _, wire, start, position = _open_field(view, position, end)
    if wire == _LENGTH and position - start > 0:
      small = np.frombuffer(view[start:position], np.uint8)
      if small.max() < 0x80 and position == end and not values:  # one byte each: the usual case
        return small.astype(np.int64)
    cursor = start
    while cursor < position:
      value, cursor = _varint(view, cursor)
      values.append(value - (1 << 64) if value >= 1 << 63 else value)
  return np.array(values, np.int64)


def _encode_varint(value: int) -> bytes:
  value &= (1 << 64) - 1
  out = bytearray()
  while value >= 0x80:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)


def _field(number: int, content: bytes) -> bytes:
  return _encode_varint(number << 3 | _LENGTH) + _encode_varint(len(content)) + content


def _serialise_feature(name: str, value: Value) -> bytes:
  if isinstance(value, bytes):
    return _field(_BYTES, _field(1, value))
  array = np.asarray(value)
  if array.dtype.kind == "f":
    return _field(_FLOATS, _field(1, array.astype("<f4").tobytes()))
  if array.dtype.kind in "iub":
    return _field(_INTS, _field(1, b"".join(_encode_varint(int(v)) for v in array.ravel())))
  raise ValueError(f"feature {name!r}: cannot write a value of type {array.dtype}")
