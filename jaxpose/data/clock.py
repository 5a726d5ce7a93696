"""What samplers share: repeatable random numbers, and frames found by their time."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from jaxpose.data.columns import Index

UNITS = ("frames", "s")
_TICKS_PER_S = 1000
_CHUNK = 1 << 18  # frames looked at together while a clock is made: bounds the memory
_TOLERANCE_TICKS = {"frames": 0, "s": 1}  # times are rounded, frame numbers are not


def uniform(seed: int, stream: int, examples: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
  """One number in [0, 1) per example: the finaliser of SplitMix64 over (seed, stream, example).

  It depends on nothing else, so an example is the same whichever host or worker draws it.
  """
  mixed = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64))
  mixed = _mix(mixed ^ np.uint64(stream + 1))
  mixed = _mix(mixed ^ np.asarray(examples).astype(np.uint64))
  return (mixed >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def pick(u: Float[np.ndarray, " n"], count: Int[np.ndarray, " n"] | int) -> Int[np.ndarray, " n"]:
  """⌊u · count⌋: a number in 0..count − 1 from one in [0, 1)."""
  return np.minimum((u * count).astype(np.int64), np.maximum(np.asarray(count) - 1, 0))


def smallest_integer(limit: int) -> type[np.signedinteger]:
  """int32 where it holds all numbers up to `limit`, else int64: tables have a number a frame."""
  return np.int32 if limit <= np.iinfo(np.int32).max else np.int64


@dataclasses.dataclass(frozen=True)
class Clock:
  """Time of each frame in whole ticks, and frames by time.

  A tick is a source frame, or a millisecond. key = track · stride + tick − first tick of the track
  increases along all frames of all tracks, so one binary search per query finds a frame in a track;
  the stride keeps queries outside a track from reaching its neighbours.

  Attributes:
    unit: "frames" or "s".
  """

  index: Index
  unit: str
  key: Int[np.ndarray, " frames"]
  stride: int
  first_tick: Int[np.ndarray, " tracks"]

  def ticks(self, ids: Int[np.ndarray, " *n"] | slice) -> Int[np.ndarray, " *n"]:
    """Time of frames."""
    return _ticks(self.index, self.unit, ids)

  def seek(
    self, track: Int[np.ndarray, " *#n"], tick: Int[np.ndarray, " *#n"], side: str
  ) -> Int[np.ndarray, " *n"]:
    """Id at which `tick` would be inserted into a track: `np.searchsorted` within the track."""
    offset = np.clip(tick - self.first_tick[track], -1, self.stride - 2)
    right = side == "right"
    # A query of another type would make numpy copy the key of every frame for every search.
    query = (track * self.stride + offset).astype(self.key.dtype)
    return np.searchsorted(self.key, query, "right" if right else "left")

  def at_most(self, distance: float) -> int:
    """The largest number of ticks that is no more than a distance in the clock's unit."""
    return int(np.floor(_to_ticks(distance, self.unit) + 1e-6)) + _TOLERANCE_TICKS[self.unit]

  def at_least(self, distance: float) -> int:
    """The smallest number of ticks that is no less than a distance in the clock's unit."""
    return int(np.ceil(_to_ticks(distance, self.unit) - 1e-6)) - _TOLERANCE_TICKS[self.unit]

  def elapsed(self, ids: Int[np.ndarray, "B T"]) -> Float[np.ndarray, "B T"]:
    """Time of each frame relative to the first of its row, in the clock's unit."""
    column = self.index.frame if self.unit == "frames" else self.index.time_s
    time = column[ids].astype(np.float64)
    return (time - time[:, :1]).astype(np.float32)


def make_clock(index: Index, unit: str) -> Clock:
  """Makes the clock of an index.

  Raises:
    ValueError: an unknown unit, or frames less than a millisecond apart with unit "s".
  """
  if unit not in UNITS:
    raise ValueError(f"distances are counted in one of {UNITS}, not in {unit!r}")
  first_tick = _ticks(index, unit, index.start)
  span = _ticks(index, unit, index.start + index.length - 1) - first_tick
  stride = int(span.max()) + 3
  base = np.arange(index.num_tracks, dtype=np.int64) * stride - first_tick
  key = np.empty(index.num_frames, smallest_integer(index.num_tracks * stride))
  for first in range(0, index.num_frames, _CHUNK):
    ids = np.arange(first, min(first + _CHUNK, index.num_frames))
    key[ids] = _ticks(index, unit, ids) + base[index.track_of(ids)]
  if np.any(key[1:] <= key[:-1]):
    raise ValueError(f"frames closer than 1/{_TICKS_PER_S} s: count distances in frames")
  return Clock(index, unit, key, stride, first_tick)


def _to_ticks(distance: float, unit: str) -> float:
  return distance if unit == "frames" else distance * _TICKS_PER_S


def _ticks(index: Index, unit: str, ids: Int[np.ndarray, " *n"] | slice) -> Int[np.ndarray, " *n"]:
  if unit == "frames":
    return index.frame[ids].astype(np.int64)
  return np.rint(index.time_s[ids].astype(np.float64) * _TICKS_PER_S).astype(np.int64)
