"""Draws two cameras at two instants of one multi-view sequence: for contrast and rotation (NSD)."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpose.data.clock import pick, smallest_integer, uniform
from jaxpose.data.columns import Index
from jaxpose.data.index import Dataset
from jaxpose.data.instants import Instants, apart, make_instants, multi_view, same_instant
from jaxpose.data.sampling import chunks
from jaxpose.data.sources import Source

# Streams of random numbers: every kind of draw has its own.
_REFERENCE, _PARTNER = 50, 51

VIEWS_PER_SAMPLE = 4


@dataclasses.dataclass(frozen=True)
class ViewsConfig:
  """Two cameras at two instants.

  Attributes:
    gap_min, gap_max: the instants are farther apart than gap_min, less than gap_max; None: to the
      track's end.
    unit: of the gaps: "frames" of the source, or "s".
    rotation: adds the rotation from world to camera of each frame; all cameras must be calibrated
      and stand still.
    labels: adds the columns `batches.TRAINING_LABELS` of each frame.

  Neither of the last two changes a draw, and so no fingerprint.
  """

  gap_min: float
  gap_max: float | None = None
  unit: str = "frames"
  rotation: bool = dataclasses.field(default=False, repr=False)
  labels: bool = dataclasses.field(default=False, repr=False)


@dataclasses.dataclass(frozen=True)
class Views(Instants):
  """Frames that another camera has too, at their instant and at another one; see `sample_views`.

  Attributes:
    references: ids of these frames, ascending.
    shared: whether each camera of the frame's sequence, another than its own, has its instant.
  """

  references: Int[np.ndarray, " n"]
  shared: Bool[np.ndarray, "frames cameras"]


def build_views(
  index: Index,
  *,
  gap_min: float,
  gap_max: float | None = None,
  unit: str = "frames",
  sequences: Int[np.ndarray, " n"] | None = None,
) -> Views:
  """Finds the frames that may be the first of a sample.

  Args:
    index: of a split.
    gap_min, gap_max: of the two instants, gap_min < |Δt| < gap_max; None: to the track's end.
    unit: of the gaps: "frames" of the source, or "s".
    sequences: the only sequences to draw from; None for all.

  Raises:
    ValueError: the gaps contradict each other, or no two cameras have two such instants.
  """
  if not 0 <= gap_min < (np.inf if gap_max is None else gap_max):
    raise ValueError(f"views need 0 <= gap_min < gap_max, not {gap_min} and {gap_max} ({unit})")
  table = make_instants(index, gap_min=gap_min, gap_max=gap_max, unit=unit)
  chosen = multi_view(table, sequences)
  shared = np.zeros((index.num_frames, table.tracks.shape[1]), bool)
  for ids, _ in chunks(index, chosen):
    shared[ids] = same_instant(table, ids) >= 0
  dtype = smallest_integer(index.num_frames)
  found = [np.zeros(0, dtype)]
  for ids, track in chunks(index, chosen):
    if ids.size:
      found.append(ids[_has_partner(table, shared, ids, track)].astype(dtype))
  references = np.concatenate(found)
  if not references.size:
    limit = "" if gap_max is None else f", less than {gap_max}"
    raise ValueError(
      f"no two cameras at two instants: {len(chosen)} of {len(index.fps)} sequences have more than"
      f" one camera, and none two with the same two instants more than {gap_min}{limit} {unit}"
      " apart"
    )
  return Views(**vars(table), references=references, shared=shared)


def _has_partner(
  table: Instants,
  shared: Bool[np.ndarray, "frames cameras"],
  ids: Int[np.ndarray, " n"],
  track: Int[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
  """Does some camera share the frame's instant and one that lies `apart` from it?"""
  first, count = (x[:, 0] for x in apart(table, ids, track[:, None]))
  start = int(first.min())
  counted = np.cumsum(shared[start : int((first + count).max())], axis=0, dtype=np.int64)
  counted = np.concatenate([np.zeros((1, shared.shape[1]), np.int64), counted])
  many = counted[first + count - start] - counted[first - start]
  return (shared[ids] & (many.sum(axis=1) > 0)).any(axis=1)


def sample_views(
  table: Views, seed: int, examples: Int[np.ndarray, " B"]
) -> Int[np.ndarray, "B 4"]:
  """Ids of (camera a, time 1), (camera b, time 1), (camera a, time 2), (camera b, time 2).

  The first is uniform among the frames that have partners; camera and time 2 are uniform among all
  cameras b and frames of camera a with gap_min < |Δt| < gap_max whose instants both cameras have.
  """
  place = pick(uniform(seed, _REFERENCE, examples), len(table.references))
  first = table.references[place].astype(np.int64)
  later, free = _candidates(table, first)
  able = (table.shared[later] & free[..., None] & table.shared[first][:, None]).reshape(
    len(first), -1
  )
  ends = able.cumsum(axis=1)
  wanted = pick(uniform(seed, _PARTNER, examples), ends[:, -1])
  instant, column = np.divmod((ends <= wanted[:, None]).sum(axis=1), table.shared.shape[1])
  rows = np.arange(len(first))
  second = later[rows, instant]
  other = [same_instant(table, ids)[rows, column] for ids in (first, second)]
  return np.stack([first, other[0], second, other[1]], axis=1)


def _candidates(
  table: Views, ids: Int[np.ndarray, " B"]
) -> tuple[Int[np.ndarray, "B M"], Bool[np.ndarray, "B M"]]:
  """(frames `apart` in the frame's own track, whether each place of a row holds one)."""
  own = table.clock.index.track_of(ids)[:, None]
  first, count = (x[:, 0] for x in apart(table, ids, own))
  place = np.arange(int(count.sum(axis=1).max(initial=0)))
  before, total = count[:, :1], count.sum(axis=1, keepdims=True)
  found = np.where(place < before, first[:, :1] + place, first[:, 1:] + place - before)
  free = place < total
  return np.where(free, found, 0), free


class SourceViews(NamedTuple):
  """What one source gives: frames, and the rotation of each track's camera where asked for."""

  views: Views
  rotation: Float[np.ndarray, "tracks 3 3"] | None


def build_source_views(source: Source, config: ViewsConfig) -> SourceViews:
  """The table of a source.

  Raises:
    ValueError: as `build_views`; a rotation is asked for of a camera that moves or has none.
  """
  index = source.dataset.index
  views = build_views(
    index,
    gap_min=config.gap_min,
    gap_max=config.gap_max,
    unit=config.unit,
    sequences=source.chosen,
  )
  if not config.rotation:
    return SourceViews(views, None)
  tracks = views.tracks[multi_view(views, source.chosen)]
  return SourceViews(views, _rotations(source.dataset, tracks[tracks >= 0]))


def _rotations(dataset: Dataset, tracks: Int[np.ndarray, " n"]) -> Float[np.ndarray, "tracks 3 3"]:
  """R, from world to camera, of the cameras of `tracks`; NaN for others."""
  index = dataset.index
  found = np.full((index.num_tracks, 3, 3), np.nan, np.float32)
  placed: dict[tuple[float, ...], str] = {}
  for track in tracks.tolist():
    sequence = dataset.sequences[index.sequence[track]]
    camera = sequence["tracks"][index.camera[track]]
    where = f"sequence {sequence['name']!r}, camera {camera['name']!r}"
    if index.moving[track]:
      raise ValueError(f"{where} moves: views are rotated between cameras that stand still")
    if camera["camera"] is None:
      raise ValueError(f"{where} has no calibration: views cannot be rotated from it to another")
    rotation = np.asarray(camera["camera"]["R"], np.float64)
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
      raise ValueError(f"{where} has an R that is no rotation: prepare the data set again")
    found[track] = rotation
    pose = (
      int(index.sequence[track]),
      *np.round([*rotation.ravel(), *camera["camera"]["t_mm"]], 6),
    )
    if pose in placed:
      raise ValueError(
        f"{where} stands where {placed[pose]!r} does and looks the same way: is its calibration"
        " without extrinsics? Views cannot be rotated between them"
      )
    placed[pose] = camera["name"]
  return found
