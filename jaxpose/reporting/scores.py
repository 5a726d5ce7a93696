"""Tables, timelines, poses and curves of the report, from exported arrays and log files."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpose import geometry
from jaxpose.data.sampling import evenly_spread
from jaxpose.data.subjects import box_from_background_difference
from jaxpose.evaluation import boxes, metrics, protocols
from jaxpose.evaluation.features import feature_column
from jaxpose.evaluation.probe_records import ProbeResults
from jaxpose.evaluation.probe_report import mean_and_spread
from jaxpose.evaluation.regressor import Regressor
from jaxpose.reporting.charts import Curves
from jaxpose.reporting.content import PoseView, Table, Timeline
from jaxpose.reporting.markup import number
from jaxpose.reporting.rendered import found_iou, frame_ids, frame_title, true_boxes

_SCORED = 1000  # frames that the box table looks at, at most


def gather_boxes(
  dataset: Any,
  embeddings: Mapping[str, Any],
  *,
  split: str,
  image_size: tuple[int, int],
  untrained: Float[np.ndarray, " 4"],
) -> Table | None:
  """IoU with the true boxes, of the found ones and of three baselines; None without true boxes.

  Args:
    untrained: (s_x, s_y, u_x, u_y) that the detector starts from.
  """
  rows = np.flatnonzero(np.isfinite(found_iou(embeddings)))
  if not len(rows):
    return None
  rows = evenly_spread(rows, _SCORED)
  every, around_joints = true_boxes(embeddings)
  true = every[rows]
  constant = boxes.best_constant_box(true)
  start = geometry.box_to_corners_px(np.asarray(untrained, np.float64), *image_size)
  candidates = {
    "found by the detector": np.asarray(embeddings["box_px"][rows], np.float64),
    **_mask_boxes(embeddings, rows),
    "best constant box": np.broadcast_to(constant, true.shape),
    "untrained detector": np.broadcast_to(start, true.shape),
    "background difference": _difference_boxes(dataset, embeddings, rows, image_size),
  }
  lines = []
  for name, found in candidates.items():
    score = boxes.box_metrics(found, true)
    share = f"{100 * score['IoU>=0.5/share']:.0f}%"
    lines.append([name, number(score["IoU/median"]), number(score["IoU/mean"]), share])
  note = (
    f"Intersection over union with the true boxes, on {len(rows)} frames of {split} with a person,"
    " evenly spread. The constant box is the one that scores best on these very frames; background"
    " difference takes the largest region that differs from the background."
  )
  if around_joints:
    note += " No true boxes are recorded: the smallest boxes around the joints stand for them."
  return Table("", ["box", "median IoU", "mean IoU", "IoU ≥ 0.5"], lines, note)


def _mask_boxes(
  embeddings: Mapping[str, Any], rows: Int[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, "n 4"]]:
  """The boxes around the masks, where they were exported."""
  if "mask_box_px" not in embeddings:
    return {}
  return {"around the mask": np.asarray(embeddings["mask_box_px"][rows], np.float64)}


def _difference_boxes(
  dataset: Any, embeddings: Mapping[str, Any], rows: Any, image_size: tuple[int, int]
) -> Float[np.ndarray, "n 4"]:
  found = []
  ids = frame_ids(dataset, embeddings, rows)
  for start in range(0, len(ids), 64):
    frames = dataset.read(ids[start : start + 64], image_size=image_size)
    for image, background in zip(frames["image"], frames["background"], strict=True):
      found.append(box_from_background_difference(image, background))
  return np.array(found, np.float64)


def gather_timelines(
  dataset: Any,
  embeddings: Mapping[str, Any],
  *,
  split: str,
  image_size: tuple[int, int],
  limit: int,
  thumbnails: int,
  seed: int,
) -> list[Timeline]:
  """Presence along up to `limit` tracks, those with both empty and occupied frames first.

  Only these have thumbnails: a few frames of either kind, drawn by seed.
  """
  keys = np.stack([np.asarray(embeddings["sequence"]), np.asarray(embeddings["camera"])])
  presence = np.asarray(embeddings["presence"], np.float64)
  known = np.asarray(embeddings["present"], np.int64) if "present" in embeddings else None
  tracks, member = np.unique(keys, axis=1, return_inverse=True)
  groups = [np.flatnonzero(member.ravel() == t) for t in range(tracks.shape[1])]
  mixed = [0 < np.mean(presence[rows] >= 0.5) < 1 for rows in groups]
  order = sorted(range(len(groups)), key=lambda t: (not mixed[t], t))[:limit]
  lines = []
  for track in order:
    rows = groups[track]
    rows = rows[np.argsort(np.asarray(embeddings["frame"])[rows], kind="stable")]
    sequence, camera = (int(v) for v in tracks[:, track])
    description = dataset.sequences[sequence]
    kinds = []
    for chosen in (rows[presence[rows] < 0.5], rows[presence[rows] >= 0.5]):
      generator = np.random.default_rng((seed, track))
      some = np.sort(generator.permutation(chosen)[: thumbnails if mixed[track] else 0])
      kinds.append(_thumbnails(dataset, embeddings, some, image_size))
    lines.append(
      Timeline(
        f"{split}: {description['name']} · {description['tracks'][camera]['name']}",
        presence[rows],
        np.full(len(rows), -1) if known is None else known[rows],
        *kinds,
      )
    )
  return lines


def _thumbnails(
  dataset: Any, embeddings: Mapping[str, Any], rows: Int[np.ndarray, " n"], size: tuple[int, int]
) -> list[tuple[str, Any]]:
  if not len(rows):
    return []
  ids = frame_ids(dataset, embeddings, rows)
  images = dataset.read(ids, image_size=size)["image"]
  return [(f"frame {embeddings['frame'][r]}", image) for r, image in zip(rows, images, strict=True)]


def gather_poses(
  dataset: Any,
  embeddings: Mapping[str, Any],
  regressor: Regressor,
  *,
  image_size: tuple[int, int],
  count: int,
  worst: int,
  seed: int,
) -> list[PoseView]:
  """Predicted and true poses of frames drawn by seed and of the worst by MPJPE.

  Without labels, frames that show a person, with a true pose of NaN.
  """
  skeleton = regressor.skeleton
  labelled = protocols.labelled_frames(embeddings, skeleton, split="test")
  rows, true, valid = labelled.rows, labelled.poses_mm, labelled.valid
  if not len(rows):
    rows = np.flatnonzero(protocols.has_person(embeddings))
    true = np.full((len(rows), skeleton.num_joints, 3), np.nan, np.float32)
    valid = np.zeros(true.shape[:2], bool)
  if not len(rows):
    return []
  features = np.asarray(feature_column(embeddings, regressor.feature)[rows])
  predicted = regressor.predict(features)
  chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
  kinds = [(int(i), "") for i in chosen]
  scores = {"MPJPE": np.full(len(rows), np.nan)}
  if valid.any():
    scores = {
      "MPJPE": metrics.mpjpe(predicted, true, valid),
      "N-MPJPE": metrics.n_mpjpe(predicted, true, valid),
      "P-MPJPE": metrics.p_mpjpe(predicted, true, valid),
    }
    kinds += [(int(i), "worst: ") for i in np.argsort(-np.nan_to_num(scores["MPJPE"]))[:worst]]
  picked = np.array([i for i, _ in kinds])
  ids = frame_ids(dataset, embeddings, rows[picked])
  images = dataset.read(ids, image_size=image_size)["image"]
  views = []
  for (i, kind), image in zip(kinds, images, strict=True):
    where = (int(embeddings[key][rows[i]]) for key in ("sequence", "camera", "frame"))
    notes = ", ".join(f"{k} {v[i]:.0f} mm" for k, v in scores.items() if np.isfinite(v[i]))
    shown = np.where(valid[i][:, None], true[i], np.nan)
    views.append(PoseView(kind + frame_title(dataset, *where), image, predicted[i], shown, notes))
  return views


def probe_tables(results: ProbeResults) -> list[Table]:
  """A table for each metric: labels down, embeddings across; mean ± standard deviation of seeds."""
  if not results.records:
    return []
  tables = []
  target = results.target
  for metric in target.metrics:
    name = metrics.metric_name(metric, results.num_joints)
    rows = []
    for labels in results.label_counts:
      cells = [results.of(row, labels, name) for row in results.rows]
      texts = [mean_and_spread(values, target.digits) or "–" for values in cells]
      rows.append([str(labels), *texts])
    note = ""
    if metric == "N-MPJPE" and results.rows:
      note = "The papers' main number is N-MPJPE; ± is the spread over seeds."
    tables.append(Table(f"{name}, {target.unit}", ["labels", *results.rows], rows, note))
  return tables


def load_curves(path: pathlib.Path) -> Curves:
  """Every number of a metrics.jsonl against its step; lines cut short are left out.

  Where a step was logged twice (a run that was resumed), the later line counts.
  """
  found: dict[str, dict[float, float]] = {}
  if not path.is_file():
    return {}
  for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
    try:
      row = json.loads(line)
    except ValueError:
      continue
    if not isinstance(row, dict) or not isinstance(row.get("step"), int | float):
      continue
    for name, value in row.items():
      if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
        found.setdefault(name, {})[float(row["step"])] = float(value)
  return {name: (sorted(v), [v[s] for s in sorted(v)]) for name, v in found.items()}
