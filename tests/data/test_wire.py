"""The messages are those of protobuf, and nothing else gets through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpose.data import wire

FEATURES = {
  "photo": bytes(range(256)) * 3,
  "empty": b"",
  "x": np.array([1.5, -2.25, np.inf], np.float32),
  "flags": np.array([True, False, True]),
  "numbers": np.array([-1, 0, 300, 2**40, -(2**62)], np.int64),
}


def as_protobuf():
  from tensorflow_datasets.proto import tf_example_pb2

  example = tf_example_pb2.Example()
  for name in ("photo", "empty"):
    example.features.feature[name].bytes_list.value.append(FEATURES[name])
  example.features.feature["x"].float_list.value.extend(FEATURES["x"].tolist())
  for name in ("flags", "numbers"):
    example.features.feature[name].int64_list.value.extend(FEATURES[name].astype(int).tolist())
  return example


def check(found):
  assert set(found) == set(FEATURES)
  assert bytes(found["photo"]) == FEATURES["photo"]
  assert bytes(found["empty"]) == b""
  np.testing.assert_array_equal(found["x"], FEATURES["x"])
  np.testing.assert_array_equal(found["flags"], [1, 0, 1])
  np.testing.assert_array_equal(found["numbers"], FEATURES["numbers"])


def test_reads_what_protobuf_wrote():
  check(wire.parse_example(as_protobuf().SerializeToString()))


def test_protobuf_reads_what_is_written():
  example = as_protobuf()
  copy = type(example).FromString(wire.serialise_example(FEATURES))
  assert copy == example


def test_round_trip_and_choice_of_features():
  data = wire.serialise_example(FEATURES)
  check(wire.parse_example(data))
  assert set(wire.parse_example(data, ["x", "photo", "absent"])) == {"x", "photo"}


def test_nothing_is_decoded_behind_the_last_feature_asked_for():
  data = wire.serialise_example({"a": b"1", "b": b"22"})
  place = data.index(b"\n\x01b") - 2  # where b's entry begins
  damaged = data[:place] + b"\x12" + data[place + 1 :]
  assert bytes(wire.parse_example(damaged, ["a"])["a"]) == b"1"
  with pytest.raises(ValueError):
    wire.parse_example(damaged, ["b"])


def test_sorting_gives_one_order():
  backwards = wire.serialise_example({"a": b"1", "b": b"22", "c": b"333"})
  entries = [wire.serialise_example({k: v})[2:] for k, v in (("c", b"333"), ("a", b"1"))]
  mixed = b"\x0a" + bytes([len(b"".join(entries))]) + b"".join(entries)
  assert list(wire.parse_example(mixed)) == ["c", "a"]
  assert wire.sort_example(mixed) == wire.serialise_example({"a": b"1", "c": b"333"})
  assert wire.sort_example(backwards) == backwards


def test_unpacked_lists_are_read_too():
  # Feature{float_list{value: 1.0, value: 2.0}} with each value in a field of its own
  floats = b"\x0d" + np.float32(1).tobytes() + b"\x0d" + np.float32(2).tobytes()
  feature = b"\x12" + bytes([len(floats)]) + floats
  ints = b"\x08\x05\x08\xac\x02"  # 5, 300
  other = b"\x1a" + bytes([len(ints)]) + ints
  entries = b""
  for name, body in ((b"f", feature), (b"i", other)):
    entry = b"\x0a\x01" + name + b"\x12" + bytes([len(body)]) + body
    entries += b"\x0a" + bytes([len(entry)]) + entry
  found = wire.parse_example(b"\x0a" + bytes([len(entries)]) + entries)
  np.testing.assert_array_equal(found["f"], [1, 2])
  np.testing.assert_array_equal(found["i"], [5, 300])


def test_a_message_cut_short_is_an_error_at_every_length():
  data = wire.serialise_example(FEATURES)
  for end in range(1, len(data)):
    with pytest.raises(ValueError):
      wire.parse_example(data[:end])


def test_other_types_are_refused():
  with pytest.raises(ValueError, match="'name'"):
    wire.serialise_example({"name": np.array(["text"])})


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=6))
def test_damage_raises_value_error_or_gives_features(place, noise):
  data = bytearray(wire.serialise_example(FEATURES))
  place %= len(data)
  data[place : place + len(noise)] = noise
  try:
    found = wire.parse_example(bytes(data))
  except ValueError:
    return
  assert all(isinstance(value, memoryview | np.ndarray) for value in found.values())
