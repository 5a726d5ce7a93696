"""Damage to files, for property-based tests: what is read is valid, or refused by name."""

import contextlib
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

MOST_BYTES = 300e6  # that reading a small damaged file may take: no header is believed unseen

# What takes the place of a number or word of a text.
WORDS = (
  *("nan", "inf", "-inf", "-1", "0", "1e999", "9" * 400, "1e308", "true", "2026-01-01"),
  *("'x'", '"\\u0000"', "[]", "{}", "[[1], 2]", "null", "", "[" * 5000, "{a=" * 2000),
  *("999999999999", "<script>", "\ufeff", "../../x", ",,,", "\n\n[x]\n", "\t\t"),
)
_TOKEN = re.compile(rb"[\w.+-]+|[^\w\s]")


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
  """Fails where numpy or Python took more than `MOST_BYTES` inside."""
  tracemalloc.start()
  try:
    yield
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < MOST_BYTES, f"{peak / 1e6:.0f} MB to read a small file"


def refused_or_read(read: Callable[[], Any], name: str) -> Any:
  """What `read` gives; None where it raises a ValueError or OSError that names the file."""
  found, said = None, name
  with little_memory():
    try:
      found = read()
    except (ValueError, OSError) as error:
      said = str(error)
  assert name in said, f"does not say which file: {said}"
  return found


def write(path: Path, data: bytes) -> Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(data)
  return path


@st.composite
def damaged_bytes(draw: Any, files: Sequence[bytes]) -> bytes:
  """One of the files with bytes altered, cut out, put in, or its end cut off."""
  data = bytearray(draw(st.sampled_from(list(files))))
  for _ in range(draw(st.integers(1, 4))):
    place = draw(st.integers(0, len(data)))
    kind = draw(st.sampled_from(["flip", "set", "cut", "put", "end"]))
    if kind == "flip" and place < len(data):
      data[place] ^= 1 << draw(st.integers(0, 7))
    elif kind == "set" and place < len(data):
      data[place] = draw(st.sampled_from([0, 0x7F, 0x80, 0xFF]))
    elif kind == "cut":
      del data[place : place + draw(st.integers(1, 40))]
    elif kind == "put":
      data[place:place] = draw(st.binary(min_size=1, max_size=12))
    elif kind == "end":
      del data[place:]
  return bytes(data)


@st.composite
def damaged_text(draw: Any, texts: Sequence[str]) -> bytes:
  """One of the texts with words in place of others, lines doubled or left out, or bytes damaged."""
  data = draw(st.sampled_from([text.encode() for text in texts]))
  for _ in range(draw(st.integers(1, 3))):
    kind = draw(st.sampled_from(["word", "word", "word", "line", "bytes"]))
    if kind == "word":
      tokens = list(_TOKEN.finditer(data))
      if tokens:
        token = tokens[draw(st.integers(0, len(tokens) - 1))]
        word = draw(st.sampled_from(WORDS)).encode()
        data = data[: token.start()] + word + data[token.end() :]
    elif kind == "line":
      lines = data.splitlines(keepends=True)
      if lines:
        place = draw(st.integers(0, len(lines) - 1))
        lines[place : place + 1] = [lines[place]] * draw(st.sampled_from([0, 2]))
      data = b"".join(lines)
    else:
      data = draw(damaged_bytes([data]))
  return data
