"""Which videos belong together: `takes.toml`, a naming pattern, or one take a video.

A TOML file has a table `[defaults]` and a list `[[take]]` with the keys of `Take`; paths are
relative to the folder of the videos:

  [defaults]
  calibration = "calibration.toml"
  background = "robust"

  [[take]]
  name = "balancing"
  videos = { cam01 = "cam01.mp4", cam02 = "cam02.mp4" }
  labels = "joints.trc"
  split = { train = [0, 60], test = [70, 100] }
"""

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpose import files
from jaxpose.data.background import METHODS
from jaxpose.data.video import find_videos

Ranges = dict[str, list[tuple[int, int]]]


class TakeError(ValueError):
  """A description of takes that cannot be used; names file, take and key, and the remedy."""


@dataclasses.dataclass(frozen=True)
class Take:
  """One recording by one or more synchronised cameras. All frame numbers are the first camera's.

  Attributes:
    name: unique; letters, digits and -_. only.
    videos: camera name -> file.
    subject, action: who and what.
    split: "train", or split name -> [first, last + 1] or a list of such ranges of frames.
    trim: [first, last + 1] frames to keep; the last may be left out.
    trim_s: the same in seconds.
    every: keeps each `every`th frame.
    fps: keeps about so many frames a second instead (a whole number of frames apart).
    source_fps: frame rate of the videos, where the headers are wrong.
    image_size: longest side of stored frames, px; they are never enlarged.
    rotate: clockwise turn in degrees on top of the file's rotation metadata, per camera or one.
    roi: [x, y, width, height] px of the turned frame to keep, per camera or one.
    offset_s: added to a camera's times to get the take's: a camera that started late has more. What
      it showed before 0 s of the take is left out.
    cameras_align: "frame": frames of one number are of one instant; "time": those nearest in time
      by their files' clocks; "": by time where there are offsets or the rates of files of unequal
      length part by more than half a frame in the take (60 and 59.94 frames/s do in 8.3 s).
    length_tolerance: how much shorter than the longest a camera may be, as a share.
    calibration: one file, or camera name -> file.
    calibration_names: camera name -> its name in the calibration file, where they differ.
    calibration_units: "mm", "cm" or "m"; "" guesses.
    labels: file with 3D joints in the world of the calibration.
    labels_units, labels_axes, labels_fps: see `jaxpose.data.labels.load_labels`; "" and 0: unset.
    labels_align: "frame": row i belongs to frame labels_start + i; "time": rows have times, in
      seconds of the take after `labels_start` seconds.
    labels_start: frame (or second) of the take at which the labels start.
    min_movement_mm: of labelled frames keeps one once some joint has moved so far since the last
      that was kept (P3 §4: 40); 0 keeps all.
    room: takes with the same room and camera name share one background.
    background: median, robust, still, dive or panorama.
    background_image, background_clip: picture or video of the empty room, per camera or one.
    background_from: split whose frames the background is estimated from; "" means all frames.
    falling: ranges of frames in which the person falls freely, without a jump's way up.
    empty, person: ranges of frames known to show nobody, or somebody.
  """

  name: str
  videos: Mapping[str, str]
  subject: str = "unknown"
  action: str = "unknown"
  split: Any = "train"
  trim: Sequence[int] = ()
  trim_s: Sequence[float] = ()
  every: int = 1
  fps: float = 0.0
  source_fps: float = 0.0
  image_size: int = 256
  rotate: Any = 0
  roi: Any = ()
  offset_s: Any = 0.0
  cameras_align: str = ""
  length_tolerance: float = 0.05
  calibration: Any = ""
  calibration_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
  calibration_units: str = ""
  labels: str = ""
  labels_units: str = ""
  labels_axes: str = "xyz"
  labels_fps: float = 0.0
  labels_align: str = "time"
  labels_start: float = 0.0
  min_movement_mm: float = 0.0
  room: str = ""
  background: str = "median"
  background_image: Any = ""
  background_clip: Any = ""
  background_from: str = "train"
  falling: Sequence[Sequence[int]] = ()
  empty: Sequence[Sequence[int]] = ()
  person: Sequence[Sequence[int]] = ()

  def of_camera(self, field: str, camera: str) -> Any:
    """The value of a field that may be given per camera; the field's default where it is not."""
    value = getattr(self, field)
    if not isinstance(value, Mapping):
      return value
    default = next(f.default for f in dataclasses.fields(self) if f.name == field)
    return value.get(camera, default)  # a camera without an entry has none

  @property
  def split_ranges(self) -> Ranges | None:
    """Split name -> ranges of frames; None where the whole take belongs to one split."""
    if isinstance(self.split, str):
      return None
    ranges = {}
    for name, value in self.split.items():
      listed = [value] if value and not isinstance(value[0], list | tuple) else value
      ranges[name] = [(a, b) for a, b in listed]
    return ranges

  @property
  def split_names(self) -> tuple[str, ...]:
    return (self.split,) if isinstance(self.split, str) else tuple(self.split)


_PER_CAMERA = (
  *("rotate", "roi", "offset_s", "calibration", "calibration_names"),
  *("background_image", "background_clip"),
)
_TYPES: dict[str, tuple[type, ...]] = {
  **dict.fromkeys(("name", "subject", "action", "calibration_units", "labels", "room"), (str,)),
  **dict.fromkeys(("labels_units", "labels_axes", "labels_align", "background"), (str,)),
  **dict.fromkeys(("background_from", "cameras_align"), (str,)),
  **dict.fromkeys(("every", "image_size"), (int,)),
  **dict.fromkeys(("fps", "source_fps", "length_tolerance"), (int, float)),
  **dict.fromkeys(("labels_fps", "labels_start", "min_movement_mm"), (int, float)),
  **dict.fromkeys(("trim", "trim_s", "falling", "empty", "person"), (list, tuple)),
  "split": (str, dict),
  "rotate": (int, dict),
  "roi": (list, tuple, dict),
  "offset_s": (int, float, dict),
  **dict.fromkeys(("calibration", "background_image", "background_clip"), (str, dict)),
  **dict.fromkeys(("calibration_names", "videos"), (dict,)),
}


def check_take(take: Take, where: str) -> None:
  """Checks types and values of a take.

  Raises:
    TakeError: one is wrong; says which.
  """
  for field in dataclasses.fields(take):
    value = getattr(take, field.name)
    if not isinstance(value, _TYPES[field.name]) or isinstance(value, bool):
      kinds = " or ".join(kind.__name__ for kind in _TYPES[field.name])
      raise TakeError(f"{where}: {field.name} must be {kinds}, not {value!r}")
    if field.name in _PER_CAMERA and isinstance(value, Mapping):
      unknown = [camera for camera in value if camera not in take.videos]
      if unknown:
        raise TakeError(f"{where}: {field.name} names {unknown[0]!r}, which has no video")
      for camera, given in value.items():
        _check_of_camera(given, field.name, f"{where}: {field.name} of {camera!r}")
    if not _is_sensible(value):
      raise TakeError(f"{where}: {field.name} holds a number that is not finite or too large")
  if not re.fullmatch(r"[\w.-]+", take.name) or take.name.startswith("."):
    raise TakeError(f"{where}: the name {take.name!r} may hold letters, digits and -_. only")
  if not take.videos:
    raise TakeError(f"{where}: no videos")
  for camera, file in take.videos.items():
    if not re.fullmatch(r"[\w.-]+", camera) or not isinstance(file, str):
      raise TakeError(f"{where}: camera {camera!r} must have a plain name and a file")
  if take.background not in METHODS:
    raise TakeError(f"{where}: background must be one of {', '.join(METHODS)}")
  if take.labels_align not in ("time", "frame"):
    raise TakeError(f"{where}: labels_align must be 'time' or 'frame', not {take.labels_align!r}")
  if take.cameras_align not in ("", "time", "frame"):
    raise TakeError(f"{where}: cameras_align must be 'time' or 'frame', not {take.cameras_align!r}")
  offsets = [take.of_camera("offset_s", camera) for camera in take.videos]
  if take.cameras_align == "frame" and any(offsets):
    raise TakeError(f"{where}: cameras_align = 'frame' leaves no use for offset_s")
  if take.labels and not take.calibration:
    raise TakeError(f"{where}: labels without a calibration cannot be brought into the cameras")
  if take.min_movement_mm and not take.labels:
    raise TakeError(f"{where}: min_movement_mm without labels: nothing says how far a joint moved")
  if take.every < 1 or take.image_size < 16 or (take.every > 1 and take.fps):
    raise TakeError(f"{where}: every >= 1, image_size >= 16, and only one of every and fps")
  limits = (take.fps, take.source_fps, take.labels_fps, take.length_tolerance, take.min_movement_mm)
  if min(limits) < 0:
    raise TakeError(f"{where}: rates, tolerances and movement cannot be below 0")
  _check_ranges(take, where)


def _check_of_camera(value: Any, field: str, what: str) -> None:
  """Raises TakeError unless one camera's value is what the field may be for all cameras."""
  kinds = [kind for kind in _TYPES[field] if kind is not dict] or [str]
  numbers = field != "roi" or (
    isinstance(value, list | tuple) and all(type(part) is int for part in value)
  )
  if not isinstance(value, tuple(kinds)) or isinstance(value, bool) or not numbers:
    names = " or ".join(kind.__name__ for kind in kinds)
    raise TakeError(f"{what} must be {names}, not {value!r}")


def _is_sensible(value: Any) -> bool:
  """Are all numbers in a value finite and below a thousand million?"""
  if isinstance(value, Mapping):
    return all(_is_sensible(part) for part in value.values())
  if isinstance(value, list | tuple):
    return all(_is_sensible(part) for part in value)
  return not isinstance(value, int | float) or (abs(value) < 1e9 and math.isfinite(value))


def _check_ranges(take: Take, where: str) -> None:
  if take.trim and take.trim_s:
    raise TakeError(f"{where}: give trim or trim_s, not both")
  for field in ("trim", "trim_s"):
    value = getattr(take, field)
    numbers = all(isinstance(v, int | float) for v in value)
    rising = numbers and all(v >= 0 for v in value) and list(value) == sorted(set(value))
    if value and (not rising or len(value) > 2):
      raise TakeError(f"{where}: {field} must be [first, last + 1], not {list(value)}")
  listed = {field: getattr(take, field) for field in ("falling", "empty", "person")}
  if isinstance(take.split, Mapping):
    if not take.split:
      raise TakeError(f"{where}: split names no split")
    try:
      listed |= {f"split {name}": value for name, value in (take.split_ranges or {}).items()}
    except (TypeError, ValueError, LookupError) as error:
      raise TakeError(f"{where}: split must be {{name = [first, last + 1]}}: {error}") from error
  for name in take.split_names:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
      raise TakeError(f"{where}: a split must have a name such as train, test: not {name!r}")
  for field, ranges in listed.items():
    for item in ranges:
      good = isinstance(item, list | tuple) and len(item) == 2
      if not good or not all(isinstance(v, int) for v in item) or not 0 <= item[0] < item[1]:
        raise TakeError(f"{where}: {field} must hold [first, last + 1], not {item!r}")
  spans = sorted(r for name, rs in listed.items() if name.startswith("split ") for r in rs)
  for (_, end), (start, _) in itertools.pairwise(spans):
    if start < end:
      raise TakeError(f"{where}: two ranges of split overlap at frame {start}")


def load_takes(
  folder: str | Path,
  *,
  takes_file: str | Path | None = None,
  pattern: str | None = None,
  overrides: Mapping[str, Any] | None = None,
) -> list[Take]:
  """Finds the takes of a folder.

  Args:
    folder: where the videos are.
    takes_file: TOML; None takes `takes.toml` in the folder, if it is there and no pattern is given.
    pattern: the videos' paths below the folder, without ending, with {take} and maybe {camera},
      {subject}, {action}, such as "{subject}/{take}_{camera}".
    overrides: values for all takes, over the file's.

  Raises:
    FileNotFoundError: no folder, no file or no video.
    TakeError: the description is wrong.
  """
  root = Path(folder)
  if not root.is_dir():
    raise FileNotFoundError(f"no folder {root}: --path names the folder that holds the videos")
  file = Path(takes_file) if takes_file else None
  if file is not None and pattern:
    raise TakeError("give a file of takes or a pattern, not both")
  if file is None and not pattern and (root / "takes.toml").is_file():
    file = root / "takes.toml"
  if file is not None:
    tables = _read_toml(file)
    where = str(file)
  else:
    clips = (overrides or {}).get("background_clip", "")
    clips = clips.values() if isinstance(clips, Mapping) else (clips,)
    tables = _match_pattern(root, pattern or "{take}", [root / clip for clip in clips if clip])
    where = str(root)
  takes = [_build_take(where, {**table, **(overrides or {})}) for table in tables]
  names = [take.name for take in takes]
  double = next((name for name in names if names.count(name) > 1), None)
  if double is not None:
    raise TakeError(f"{where}: two takes are named {double!r}")
  return takes


def _build_take(where: str, table: Mapping[str, Any]) -> Take:
  known = [field.name for field in dataclasses.fields(Take)]
  values = dict(table)
  label = f"{where}, take {values.get('name', '?')!r}"
  if "video" in values:
    if "videos" in values:
      raise TakeError(f"{label}: give video or videos, not both")
    values["videos"] = {"cam": values.pop("video")}
  for key in values:
    if key not in known:
      near = difflib.get_close_matches(key, known, n=1)
      raise TakeError(f"{label}: no key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
  for key in ("name", "videos"):
    if key not in values:
      raise TakeError(f"{label}: the key {key!r} is missing")
  take = Take(**values)
  check_take(take, label)
  return take


def _read_toml(file: Path) -> list[dict[str, Any]]:
  if not file.is_file():
    raise FileNotFoundError(f"no file of takes {file}")
  try:
    content = files.parse_toml(file.read_bytes().decode("utf-8"), str(file))
  except UnicodeDecodeError as error:
    raise TakeError(f"{file}: no valid TOML: {error}") from error
  except ValueError as error:
    raise TakeError(str(error)) from error
  unknown = [key for key in content if key not in ("defaults", "take")]
  if unknown:
    raise TakeError(f"{file}: no table {unknown[0]!r}; there are [defaults] and [[take]]")
  defaults, takes = content.get("defaults", {}), content.get("take", [])
  if not isinstance(defaults, dict) or not isinstance(takes, list) or not takes:
    raise TakeError(f"{file}: it must hold a list [[take]] and may hold a table [defaults]")
  if not all(isinstance(take, dict) for take in takes):
    raise TakeError(f"{file}: every take must be a table [[take]]")
  return [{**defaults, **take} for take in takes]


_FIELDS = ("take", "camera", "subject", "action")


def _match_pattern(root: Path, pattern: str, clips: Sequence[Path]) -> list[dict[str, Any]]:
  """Groups the videos below `root`, but for `clips`, by the {take} in their path."""
  parts = re.split(r"\{(\w+)\}", pattern)
  fields = parts[1::2]
  bad = [field for field in fields if field not in _FIELDS]
  if bad or "take" not in fields:
    raise TakeError(f"the pattern {pattern!r} needs {{take}}; fields are {', '.join(_FIELDS)}")
  simple = pattern == "{take}"
  expression = ""
  for i, part in enumerate(parts):
    again = f"(?P<{part}>" in expression
    field = f"(?P={part})" if again else f"(?P<{part}>[^/]+?)"
    expression += re.escape(part) if i % 2 == 0 else field
  tables: dict[str, dict[str, Any]] = {}
  empty = {clip.resolve() for clip in clips}
  for path in find_videos(root):
    if path.resolve() in empty:
      continue
    relative = path.relative_to(root)
    stem = relative.with_suffix("").as_posix()
    if simple:
      stem = re.sub(r"[^\w.-]+", "_", stem)
    match = re.fullmatch(expression, stem)
    if match is None:
      raise TakeError(f"{path} does not fit the pattern {pattern!r}")
    found = match.groupdict()
    table = tables.setdefault(found["take"], {"name": found["take"], "videos": {}})
    table |= {key: found[key] for key in ("subject", "action") if key in found}
    camera = found.get("camera", "cam")
    if camera in table["videos"]:
      raise TakeError(f"{path}: take {found['take']!r} has two videos of camera {camera!r}")
    table["videos"][camera] = relative.as_posix()
  if not tables:
    raise TakeError(f"{root} holds no video but the background_clip")
  return list(tables.values())
