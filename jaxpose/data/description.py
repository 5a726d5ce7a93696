"""Is what lies beside the records of a data set what it should be? Names, sizes, track numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpose.data.records import MOST_PIXELS
from jaxpose.skeleton import Skeleton


def check_description(description: Mapping[str, Any]) -> None:
  """Checks that `sequences_<split>.json` has all that a data set is asked for.

  Raises:
    ValueError, LookupError, TypeError, AttributeError: something is missing or of another type.
  """
  Skeleton.from_dict(description["skeleton"])
  for field in ("subjects", "actions", "backgrounds"):
    if not all(isinstance(name, str) for name in description[field]):
      raise ValueError(f"{field} holds what is no text")
  for name in description["backgrounds"]:
    if Path(name).name != name:
      raise ValueError(f"the background {name!r} is no plain file name")
  for sequence in description["sequences"]:
    float(sequence["fps"])
    if not all(isinstance(sequence[key], str) for key in ("name", "subject", "action")):
      raise ValueError(f"sequence {sequence['name']!r}: name, subject or action is no text")
    for track in sequence["tracks"]:
      _check_track(track, f"sequence {sequence['name']!r}, camera {track['name']!r}")


def _check_track(track: Mapping[str, Any], where: str) -> None:
  height, width = track["size"]
  if not all(type(side) is int for side in (height, width)):
    raise ValueError(f"{where}: its size {track['size']} is no two whole numbers")
  if not isinstance(track["name"], str) or min(height, width) < 1 or height * width > MOST_PIXELS:
    raise ValueError(f"{where}: {height}×{width} px, or a name that is no text")
  camera = track["camera"]
  if camera is not None and np.shape(np.asarray(camera["K"], float)) != (3, 3):
    raise ValueError(f"{where}: K is no 3×3 matrix")


def adds_up(
  tracks: Mapping[str, np.ndarray], frames: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> bool:
  """Are the columns of an index of one length and kind, and do tracks point to what is described?

  Args:
    tracks: start, length, sequence, camera, background, moving of each track.
    frames: one value a frame each, at least one.
    description: as `check_description` takes it.
  """
  for columns, like in ((tracks, tracks["start"]), (frames, next(iter(frames.values())))):
    if any(c.ndim != 1 or c.shape != like.shape for c in columns.values()) or not len(like):
      return False
  if any(c.dtype.kind not in "iub" for c in tracks.values()):
    return False
  if any(c.dtype.kind not in "iubf" for c in frames.values()):
    return False
  length = tracks["length"]
  ends = np.cumsum(length)
  cameras = np.array([len(sequence["tracks"]) for sequence in description["sequences"]], int)
  limits = {"sequence": len(cameras), "background": len(description["backgrounds"])}
  for name, limit in limits.items():
    if tracks[name].min() < 0 or tracks[name].max() >= limit:
      return False
  camera = tracks["camera"]
  return bool(
    (length > 0).all()
    and ends[-1] == len(next(iter(frames.values())))
    and (ends - length == tracks["start"]).all()
    and (camera >= 0).all()
    and (camera < cameras[tracks["sequence"]]).all()
  )
