import json
import math

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxpose.training.writers import JsonLinesWriter, TensorBoardWriter, read_json_lines


def _write(path, start, steps):
  writer = JsonLinesWriter(path)
  writer.restart(start)
  for step in steps:
    writer.scalars(step, {"loss": 1 / step, "time/steps_per_s": 7.0 * step})
  writer.flush()
  writer.close()


def test_lines_are_json_without_clock_times(tmp_path):
  path = tmp_path / "metrics.jsonl"
  _write(path, 0, [1, 3])
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert lines == [{"step": 1, "loss": 1.0}, {"step": 3, "loss": 1 / 3}]
  assert read_json_lines(path) == lines


def test_a_resumed_file_equals_an_uninterrupted_one(tmp_path):
  whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
  _write(whole, 0, [2, 4, 6, 8])
  _write(resumed, 0, [2, 4, 6])
  with resumed.open("a") as file:
    file.write('{"step": 7, "lo')  # killed while writing
  assert [line["step"] for line in read_json_lines(resumed)] == [2, 4, 6]
  _write(resumed, 4, [6, 8])
  assert resumed.read_bytes() == whole.read_bytes()


def test_a_new_run_starts_a_new_file(tmp_path):
  path = tmp_path / "new" / "metrics.jsonl"
  _write(path, 0, [1, 2])
  _write(path, 0, [5])
  assert [line["step"] for line in read_json_lines(path)] == [5]


def test_numbers_that_are_not_finite_are_null(tmp_path):
  writer = JsonLinesWriter(tmp_path / "m.jsonl")
  writer.restart(0)
  writer.scalars(1, {"a": math.nan, "b": math.inf, "c": np.float32(0.5)})
  writer.close()
  assert read_json_lines(tmp_path / "m.jsonl") == [{"step": 1, "a": None, "b": None, "c": 0.5}]


def _events(folder):
  """TFRecord framing: length u64, its checksum u32, the event, its checksum u32."""
  for file in sorted(folder.iterdir()):
    data, at = file.read_bytes(), 0
    while at < len(data):
      length = int.from_bytes(data[at : at + 8], "little")
      event = Event()
      event.ParseFromString(data[at + 12 : at + 12 + length])
      at += 16 + length
      yield event


def test_tensorboard_events(tmp_path):
  writer = TensorBoardWriter(tmp_path)
  writer.restart(0)
  writer.scalars(3, {"train/loss": 0.25, "time/steps_per_s": 2.0})
  writer.flush()
  writer.close()
  values = {v.tag: (e.step, v) for e in _events(tmp_path) for v in e.summary.value}
  assert values["train/loss"][0] == 3
  assert values["train/loss"][1].simple_value == 0.25


@pytest.mark.parametrize("step", [40, 0])
def test_a_tensorboard_run_hides_what_came_after_its_start(tmp_path, step):
  writer = TensorBoardWriter(tmp_path)
  writer.restart(step)
  writer.close()
  starts = [e.step for e in _events(tmp_path) if e.HasField("session_log")]
  assert starts == [step + 1]


@pytest.mark.parametrize("damage", ['{"step": 2, "lo', "\x00\x00", '["step"]', '{"loss": 1.0}', ""])
def test_a_damaged_line_is_named(tmp_path, damage):
  path = tmp_path / "metrics.jsonl"
  path.write_text(f'{{"step": 1, "loss": 1.0}}\n{damage}\n{{"step": 3, "loss": 0.5}}\n')
  before = path.read_bytes()
  for read in (lambda: read_json_lines(path), lambda: JsonLinesWriter(path).restart(3)):
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2, is damaged .*remove the line"):
      read()
  assert path.read_bytes() == before
  JsonLinesWriter(path).restart(0)  # a new run needs none of it
