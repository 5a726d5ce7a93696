"""The motion files of a folder: which there are, who moves in them, what they do."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from datasets.mocap_people.acclaim import read_acclaim
from datasets.mocap_people.bvh import read_bvh
from datasets.mocap_people.deepmimic import load_json, read_deepmimic
from datasets.mocap_people.people import build_person
from datasets.synthetic_people.bodies import Pose

SUFFIXES = (".bvh", ".amc", ".asf", ".txt", ".json")
UNNAMED = "unnamed"
_T = TypeVar("_T")
_CMU = re.compile(r"(?P<subject>\d+)_\d+(?:_(?P<action>.*\D.*))?")
_LAFAN = re.compile(r"(?P<action>.+?)\d*_(?P<subject>subject\d+)")


@dataclasses.dataclass(frozen=True)
class Clip:
  """What one file holds.

  Attributes:
    name: path below the folder.
    subject, action: who moves and how, as far as the name says.
    fps: of the frames.
    height_mm: of the person.
    pose: the person in each frame; z up.
  """

  name: str
  subject: str
  action: str
  fps: float
  height_mm: float
  pose: Pose


def name_clip(name: str) -> tuple[str, str]:
  """(subject, action) of a file, by its path without ending.

  `02_01` and `02_01_walk` are performer 02 of the CMU database, in every folder; `walk1_subject5`
  is subject5 of LAFAN1. Of another file nobody knows who is in it: it is a subject of its own, and
  its name less a leading `humanoid3d_` and numbers at the end is the action. An action that the
  name doesn't say is `unnamed`.
  """
  stem = name.rsplit("/", 1)[-1]
  for pattern in (_CMU, _LAFAN):
    if match := pattern.fullmatch(stem):
      return match["subject"], match["action"] or UNNAMED
  action = re.sub(r"[\W_]*\d*$", "", stem.removeprefix("humanoid3d_"))
  return name, action or UNNAMED


def list_files(folder: str) -> list[Path]:
  """All files below a folder that may be motion capture, in order of their paths.

  Raises:
    ValueError: no folder is named, or there is none.
  """
  if not folder:
    raise ValueError("name the folder of the motion capture: --path=DIR, or --config.data.path=DIR")
  root = Path(folder).expanduser()
  if not root.is_dir():
    raise ValueError(f"no folder {root}: name that of the motion capture")
  files = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
  return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def fingerprint(folder: str) -> str:
  """Digest of the names and contents of the folder's files."""
  digest = hashlib.sha256()
  for path in list_files(folder):
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    digest.update(f"{path.relative_to(Path(folder).expanduser()).as_posix()}\n{content}\n".encode())
  return digest.hexdigest()[:20]


def load_clips(folder: str, unit_mm: float) -> list[Clip]:
  """Reads every motion of a folder.

  Args:
    folder: with BVH, ASF and AMC, DeepMimic's JSON (`.txt`, `.json`), also in folders below.
    unit_mm: of BVH files; 0 to tell it from the legs.

  Raises:
    ValueError: a file is damaged, a body of its motion is missing, or there is no motion; names it.
  """
  files = list_files(folder)
  root = Path(folder).expanduser()
  json_files = [path for path in files if path.suffix.lower() in (".txt", ".json")]
  content = {path: _named(path, load_json, path) for path in json_files}
  characters = [path for path, json in content.items() if json and "Skeleton" in json]
  skeletons = [path for path in files if path.suffix.lower() == ".asf"]
  clips = []
  for path in files:
    if path.suffix.lower() == ".bvh":
      motion = _named(path, read_bvh, path)
    elif path.suffix.lower() == ".amc":
      motion = _named(path, read_acclaim, path, _body_of(path, skeletons))
    elif "Frames" in (content.get(path) or {}):
      motion = _named(path, read_deepmimic, path, _character_of(path, characters))
    else:
      continue
    pose, height = _named(path, build_person, motion, unit_mm)
    below = path.relative_to(root)
    who_and_what = name_clip(below.with_suffix("").as_posix())
    clips.append(Clip(below.as_posix(), *who_and_what, motion.fps, height, pose))
  if not clips:
    raise ValueError(f"{root} holds no motion capture: .bvh, .amc with .asf, or DeepMimic's JSON")
  return clips


def _named(path: Path, read: Callable[..., _T], *args: Any) -> _T:
  """`read(*args)`; its errors begin with the path."""
  try:
    return read(*args)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def _body_of(path: Path, skeletons: list[Path]) -> Path:
  """The `.asf` of a motion: the longest name in its folder that the motion's begins with."""
  beside = [body for body in skeletons if body.parent == path.parent]
  fitting = [body for body in beside if path.stem.startswith(body.stem)] or beside[:1]
  if len(fitting) == 0:
    raise ValueError(f"{path}: there is no .asf beside it, the body that moves")
  return max(fitting, key=lambda body: len(body.stem))


def _character_of(path: Path, characters: list[Path]) -> Path:
  """The character of a motion: the first one in its folder."""
  beside = [character for character in characters if character.parent == path.parent]
  if not beside:
    raise ValueError(f"{path}: there is no DeepMimic character (JSON with Skeleton) beside it")
  return beside[0]
