"""What embeddings and poses say of what the method assumes (P2 §4.4, §S.3)."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpose import files, provenance
from jaxpose.data.clock import make_clock
from jaxpose.data.columns import Index
from jaxpose.data.index import Dataset
from jaxpose.data.sampling import evenly_spread
from jaxpose.embeddings import load_splits
from jaxpose.evaluation import disentanglement, gravity, metrics, pose_distance, protocols
from jaxpose.pretext import evaluate_pretext
from jaxpose.reporting import analyses, pretext

FOLDER, JSON, MARKDOWN, PLOT = "analysis", "analysis.json", "analysis.md", "pose_distance.png"
ACCURACY_PLOT = "synchronisation.png"
CLUSTERED = 20_000  # frames that are clustered, at most
MEASURED = 20_000  # frames whose poses are compared, at most, but for one track
FALLING = 2_000  # falling frames that are read, at most, but for one track
TRAVEL_DEG, PITCH_DEG = (0.0, 30.0, 60.0, 90.0), (0.0, 10.0, 20.0)
_NAMES = ("time_variant", "time_invariant")
_TICKS = {"frames": 1, "s": 1000}
_TOLERANCE = {"frames": 0, "s": 2}  # times are rounded
Say = Callable[[str], None]


def analyse_run(experiment: Any, *, seed: int = 0, progress: Say = print) -> dict[str, Any]:
  """Analyses a run that was exported, and its training data; writes `analysis` in its workdir.

  Raises:
    FileNotFoundError: nothing was exported, or there is no data.
  """
  exported = load_splits(pathlib.Path(experiment.workdir) / "embeddings")
  split = "test" if "test" in exported else "train"
  found: dict[str, Any] = {"weights": provenance.weights_of(exported[split])}
  found["disentanglement"] = analyse_clusters(exported[split], split, seed)
  pairs = evaluate_pretext(experiment, exported, seed)
  if pairs is not None:
    found["synchronisation"] = pairs
  unit = str(experiment.config.sampling.unit)
  found |= _analyse_data(experiment.dataset("train"), unit, progress, experiment.image_size)
  write_analysis(experiment.workdir / FOLDER, found)
  return found


def analyse_data(
  dataset: Dataset, out: str | os.PathLike[str], *, unit: str, progress: Say = print
) -> dict[str, Any]:
  """Analyses a data set alone and writes to `out`.

  Raises:
    ValueError: an unknown unit, or there is neither a 3D pose nor a fall to look at.
  """
  found = _analyse_data(dataset, unit, progress, None)
  if not found:
    raise ValueError(f"{dataset.directory}: no two 3D poses of a track and no fall: nothing to say")
  write_analysis(pathlib.Path(out), found)
  return found


def _analyse_data(
  dataset: Dataset, unit: str, progress: Say, image_size: tuple[int, int] | None
) -> dict[str, Any]:
  found = {}
  parts = {"pose_distance": lambda: analyse_distances(dataset, unit)}
  if dataset.index.falling.any():
    parts["gravity"] = lambda: analyse_falls(dataset, image_size)
  for name, analyse in parts.items():
    try:
      found[name] = analyse()
    except ValueError as error:
      progress(f"{name}: left out, {error}")
  return found


def analyse_clusters(embeddings: Mapping[str, Any], split: str, seed: int) -> dict[str, Any]:
  """Accuracy of k-means clusters as subjects, of every part of the embedding (P2 §4.4.3)."""
  rows = evenly_spread(np.flatnonzero(protocols.has_person(embeddings)), CLUSTERED)
  subject = np.asarray(embeddings["subject"][rows])
  found: dict[str, Any] = {"split": split}
  if len(np.unique(subject)) < 2:
    return found | {"left_out": f"the {split} frames show one subject only"}
  for name in _NAMES:
    if name in embeddings and np.shape(embeddings[name])[1]:
      vectors = np.asarray(embeddings[name][rows], np.float32)
      found[name] = disentanglement.cluster_accuracy(vectors, subject, seed=seed)._asdict()
  return found


def analyse_distances(dataset: Dataset, unit: str) -> dict[str, Any]:
  """The curve of pose distance against temporal distance, in the unit, and what it suggests.

  Raises:
    ValueError: an unknown unit, or no track with two poses.
  """
  clock = make_clock(dataset.index, unit)
  ids = whole_tracks(dataset.index, dataset.index.labelled & (dataset.index.present != 0), MEASURED)
  poses, valid = dataset.read_poses(ids)
  root = list(dataset.skeleton.root)
  keep = valid[:, root].all(axis=1)
  poses, valid, ids = poses[keep], valid[keep], ids[keep]
  centred = metrics.root_centre(np.where(valid[..., None], poses, 0.0), root)
  track = dataset.index.track_of(ids)
  curve = pose_distance.distance_curve(
    centred, valid, track, clock.ticks(ids), tolerance=_TOLERANCE[unit]
  )
  suggested = pose_distance.suggest_distances(curve)
  scale = _TICKS[unit]
  return {
    "unit": unit,
    "frames": len(ids),
    "num_joints": dataset.skeleton.num_joints,
    "distance": (curve.ticks / scale).tolist(),
    "mpjpe_mm": curve.mpjpe_mm.tolist(),
    "pairs": curve.pairs.tolist(),
    "constant_share": pose_distance.constant_share(centred, valid, track),
    "plateau_mm": suggested.plateau_mm,
    "near_max": suggested.near_max / scale,
    "far_min": suggested.far_min / scale,
  }


def analyse_falls(dataset: Dataset, image_size: tuple[int, int] | None = None) -> dict[str, Any]:
  """How constant the acceleration of falls is: of exact falls by angle, and of the true boxes.

  Exact falls are as far away as the data's people are, in the median, seen by its first camera with
  a known K, at the frame rate of its first fall.

  Args:
    image_size: height and width in px that frames are brought to; None: their own.

  Raises:
    ValueError: falling frames have no box, no pose or no camera; or they differ in size.
  """
  index = dataset.index
  ids = whole_tracks(index, index.falling, FALLING)
  size = dataset.output_size(image_size)
  columns: dict[str, list[np.ndarray]] = {"box_px": [], "pose3d_mm": [], "K": []}
  for start in range(0, len(ids), 64):
    frames = dataset.read(ids[start : start + 64], image_size=size, with_labels=True)
    for name, parts in columns.items():
      parts.append(frames[name])
  boxes, poses, cameras = (np.concatenate(columns[name]) for name in columns)
  depths = poses[:, list(dataset.skeleton.root), 2].mean(axis=1)
  known = np.isfinite(depths) & np.isfinite(cameras).all(axis=(1, 2))
  if not known.any():
    raise ValueError("no falling frame has a 3D pose and a calibrated camera")
  fps = float(index.fps[index.sequence[index.track_of(ids[:1])]][0])
  focal = float(cameras[known][0, 1, 1])
  distance = float(np.median(depths[known]))
  lines = []
  for pitch in PITCH_DEG:
    for travel in TRAVEL_DEG:
      fall = gravity.Fall(distance, travel, pitch)
      drift = gravity.measure_drift(fall, focal_px=focal, height_px=size[0], fps=fps)
      lines.append({"travel_deg": travel, "pitch_deg": pitch, **drift._asdict()})
  return {
    "assumed": gravity.Fall(distance)._asdict() | {"focal_px": focal, "fps": fps},
    "height_px": size[0],
    "exact": lines,
    "boxes": box_differences(boxes, index.track_of(ids), index.frame[ids], size[0]),
  }


def box_differences(
  box_px: Float[np.ndarray, "N 4"],
  track: Int[np.ndarray, " N"],
  frame: Int[np.ndarray, " N"],
  height_px: int,
) -> dict[str, float]:
  """Mean of P1 eq. 9 over four neighbouring frames of a fall, on the centres of the true boxes.

  Raises:
    ValueError: no four neighbours at equal distances have boxes.
  """
  u = (box_px[:, 1] + box_px[:, 3]) / height_px  # the centre, in half frames, from the top
  quads = np.arange(max(len(u) - 3, 0))[:, None] + np.arange(4)
  gaps = np.diff(frame[quads], axis=1)
  even = (gaps == gaps[:, :1]).all(axis=1) & (track[quads] == track[quads[:, :1]]).all(axis=1)
  quads = quads[even & np.isfinite(u[quads]).all(axis=1)]
  if not len(quads):
    raise ValueError("no four neighbouring frames of a fall have a true box")
  third = [gravity.third_differences(u[four], 1)[0] for four in quads]
  return {
    "quadruples": len(quads),
    "loss": float(np.mean(third)),
    "median": float(np.median(third)),
  }


def write_analysis(folder: pathlib.Path, found: Mapping[str, Any]) -> None:
  """Writes analysis.json, analysis.md and, of curves, pose_distance.png, synchronisation.png."""
  folder.mkdir(parents=True, exist_ok=True)
  with files.replacing(folder / JSON) as partial:
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
  with files.replacing(folder / MARKDOWN) as partial:
    partial.write_text(analyses.markdown(analyses.analysis_tables(found)), encoding="utf-8")
  for name in (PLOT, ACCURACY_PLOT):
    (folder / name).unlink(missing_ok=True)
  if "accuracy" in found.get("synchronisation", {}):
    with files.replacing(folder / ACCURACY_PLOT) as partial:
      partial.write_bytes(pretext.plot_accuracy(found["synchronisation"]))
  if "pose_distance" in found:
    with files.replacing(folder / PLOT) as partial:
      analyses.plot_distances(found["pose_distance"], partial)


def whole_tracks(index: Index, chosen: np.ndarray, limit: int) -> Int[np.ndarray, " n"]:
  """Ids of chosen frames, of whole tracks spread evenly: up to `limit`, and at least one track."""
  ids = np.flatnonzero(chosen)
  if not len(ids):
    raise ValueError("no frame of the data set qualifies")
  track = index.track_of(ids)
  tracks, counts = np.unique(track, return_counts=True)
  most = max(int(limit / counts.mean()), 1)
  return ids[np.isin(track, evenly_spread(tracks, most))]
