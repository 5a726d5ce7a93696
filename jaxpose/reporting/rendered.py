"""Pictures of what the networks make of frames: chosen by seed, rendered in small batches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxpose import drawing, geometry
from jaxpose.data import subjects
from jaxpose.data.sampling import evenly_spread
from jaxpose.evaluation.blocks import blocks
from jaxpose.reporting.content import FrameGroup, FrameView, Image, Painted, SwapGrid
from jaxpose.reporting.markup import number

Arrays = dict[str, np.ndarray]
Render = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # {"image", "background"} -> pictures
Decode = Callable[[Any, Any], tuple[Any, Any]]
_BATCH = 8
_GREY = 0.5  # behind decoded people who stand before nothing
_POOL = 64  # frames that are drawn, of which the first are shown and the worst picked


def frame_ids(dataset: Any, embeddings: Mapping[str, Any], rows: Any) -> Int[np.ndarray, " n"]:
  """Frame numbers of a data set of some rows of its embeddings.

  Raises:
    ValueError: a row is of a frame that the data set does not have.
  """
  index = dataset.index
  tracks = {
    (int(s), int(c)): t for t, (s, c) in enumerate(zip(index.sequence, index.camera, strict=True))
  }
  found = []
  for row in np.asarray(rows, np.int64):
    key = (int(embeddings["sequence"][row]), int(embeddings["camera"][row]))
    frame = int(embeddings["frame"][row])
    track = tracks.get(key)
    place = -1
    if track is not None:
      start, length = int(index.start[track]), int(index.length[track])
      inside = int(np.searchsorted(index.frame[start : start + length], frame))
      if inside < length and int(index.frame[start + inside]) == frame:
        place = start + inside
    if place < 0:
      raise ValueError(
        f"the embeddings have frame {frame} of sequence {key[0]}, camera {key[1]}, which the data "
        "set has not: export again from this data set"
      )
    found.append(place)
  return np.array(found, np.int64)


def render_frames(
  dataset: Any, ids: Int[np.ndarray, " n"], render: Render, image_size: tuple[int, int]
) -> Arrays:
  """Frames, labels and everything that `render` returns, [n, ...] each; box_found_px is added."""
  pieces: list[Arrays] = []
  for start in range(0, len(ids), _BATCH):
    part = ids[start : start + _BATCH]
    padded = np.resize(part, _BATCH)  # one shape: compiled once
    frames = dataset.read(padded, image_size=image_size, with_labels=True)
    outputs = {k: np.asarray(v) for k, v in render(frames).items()}
    pieces.append({k: v[: len(part)] for k, v in {**frames, **outputs}.items()})
  rendered = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
  box = rendered["box"].astype(np.float64)
  rendered["box_found_px"] = geometry.box_to_corners_px(box, *image_size)
  return rendered


def frame_title(dataset: Any, sequence: int, camera: int, frame: int) -> str:
  """What a reader finds the frame by."""
  description = dataset.sequences[sequence]
  return f"{description['name']} · {description['tracks'][camera]['name']} · frame {frame}"


def reconstruction_errors(rendered: Arrays) -> Float[np.ndarray, " n"]:
  """Mean absolute difference of reconstruction and frame inside the mask, 0 to 1: [n].

  Weighted by the mask and by the true difference from the background, so that a person whom the
  mask misses counts as well.
  """
  image = rendered["image"].astype(np.float32) / 255
  background = rendered["background"].astype(np.float32) / 255
  mask = rendered["mask_frame"].reshape(image.shape[:3])
  weight = np.maximum(mask, np.abs(image - background).max(-1))
  error = np.abs(rendered["reconstruction"] - image).mean(-1)
  return (weight * error).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-6)


def frame_view(dataset: Any, rendered: Arrays, i: int, presence: float | None) -> FrameView:
  """One frame as the page shows it."""
  image, true = rendered["image"][i], rendered["box_px"][i].astype(np.float64)
  found = rendered["box_found_px"][i]
  notes = []
  if np.isfinite(true).all():
    notes.append(f"IoU {number(float(geometry.box_iou(found, true)))}")
  if presence is not None:
    notes.append(f"presence {number(presence)}")
  known = {0: "known to be empty"}.get(int(rendered["present"][i]))
  notes += [known] if known else []
  where = (int(rendered[k][i]) for k in ("sequence", "camera", "frame"))
  return FrameView(
    title=frame_title(dataset, *where),
    image=image,
    background=rendered["background"][i],
    crop=drawing.to_rgb(rendered["crop"][i]),
    box_px=found,
    box_true_px=true,
    painted=_painted(rendered, i) if "reconstruction" in rendered else None,
    notes=", ".join(notes),
  )


def _painted(rendered: Arrays, i: int) -> Painted:
  return Painted(
    decoded=drawing.to_rgb(rendered["decoded"][i]),
    mask_crop=np.squeeze(rendered["mask_crop"][i]),
    mask_frame=rendered["mask_frame"][i].reshape(rendered["image"].shape[1:3]),
    reconstruction=drawing.to_rgb(rendered["reconstruction"][i]),
  )


def gather_frames(
  dataset: Any,
  embeddings: Mapping[str, Any],
  render: Render,
  *,
  split: str,
  image_size: tuple[int, int],
  count: int,
  worst: int,
  seed: int,
) -> list[FrameGroup]:
  """Frames drawn by seed, the worst by box IoU of the split, the worst reconstructions of a draw.

  Args:
    embeddings: of the split: says where somebody is, and the IoU where true boxes are known.
    count, worst: frames drawn, and frames in each group of failures.
  """
  total = len(embeddings["frame"])
  generator = np.random.default_rng(seed)
  rows = generator.permutation(total)[: max(count, _POOL)]
  rendered = render_frames(dataset, frame_ids(dataset, embeddings, rows), render, image_size)
  presence = np.asarray(embeddings["presence"])

  def views(arrays: Arrays, chosen: Any, of_rows: Any) -> list[FrameView]:
    return [frame_view(dataset, arrays, i, float(presence[of_rows[i]])) for i in chosen]

  shown = min(count, len(rows))
  groups = [
    FrameGroup(
      split,
      "random frames",
      f"{shown} of {total} frames, drawn with seed {seed}; none left out.",
      views(rendered, range(shown), rows),
    )
  ]
  iou = found_iou(embeddings)
  bad = np.argsort(np.where(np.isfinite(iou), iou, np.inf))[:worst]
  bad = bad[np.isfinite(iou[bad])]
  if len(bad):
    arrays = render_frames(dataset, frame_ids(dataset, embeddings, bad), render, image_size)
    note = f"The {len(bad)} lowest of {np.isfinite(iou).sum()} frames with a person and a true box."
    groups.append(FrameGroup(split, "worst by box IoU", note, views(arrays, range(len(bad)), bad)))
  if "reconstruction" not in rendered:
    return groups
  errors = np.where(presence[rows] >= 0.5, reconstruction_errors(rendered), -np.inf)
  order = [i for i in np.argsort(-errors)[:worst] if np.isfinite(errors[i])]
  if order:
    note = (
      f"The largest colour errors of {len(rows)} frames drawn with seed {seed}, among those with a"
      " person."
    )
    groups.append(FrameGroup(split, "worst reconstructions", note, views(rendered, order, rows)))
  return groups


def true_boxes(embeddings: Mapping[str, Any]) -> tuple[Float[np.ndarray, "N 4"], bool]:
  """(true boxes px, whether they are only those around the joints); NaN where there are none.

  Where no frame has a recorded box, the one around the joints stands for it.
  """
  missing = np.full((len(embeddings["frame"]), 4), np.nan)
  recorded = np.asarray(embeddings.get("box_true_px", missing), np.float64)
  if np.isfinite(recorded).all(axis=-1).any() or "pose2d_px" not in embeddings:
    return recorded, False
  found = [subjects.boxes_around_joints(pose) for _, pose in blocks(embeddings["pose2d_px"])]
  return np.concatenate(found), True


def found_iou(embeddings: Mapping[str, Any]) -> Float[np.ndarray, " N"]:
  """IoU of the found with the true box; NaN where there is no true box or nobody."""
  true, _ = true_boxes(embeddings)
  iou = geometry.box_iou(np.asarray(embeddings["box_px"], np.float64), true)
  empty = np.asarray(embeddings["present"]) == 0 if "present" in embeddings else False
  return np.where(empty | ~np.isfinite(true).all(-1), np.nan, iou)


def gather_swaps(
  dataset: Any,
  embeddings: Mapping[str, Any],
  render: Render,
  decode: Decode | None,
  *,
  split: str,
  image_size: tuple[int, int],
  count: int,
  seed: int,
) -> SwapGrid | None:
  """Poses of `count` random frames in the looks of up to as many others, of different subjects.

  What the mask leaves out, where the decoder may paint anything, is grey.

  None where fewer than two frames show a person, or the networks do not split pose from looks or
  decode nothing (`decode` None).
  """
  rows = np.flatnonzero(np.asarray(embeddings["presence"]) >= 0.5)
  if decode is None or len(rows) < 2 or embeddings["time_invariant"].shape[-1] == 0:
    return None
  rows = np.random.default_rng(seed).permutation(rows)
  _, first = np.unique(np.asarray(embeddings["subject"][rows]), return_index=True)
  looks = np.concatenate([rows[np.sort(first)], np.setdiff1d(rows, rows[first])])[:count]
  poses = rows[-count:]
  chosen = np.concatenate([poses, looks])
  rendered = render_frames(dataset, frame_ids(dataset, embeddings, chosen), render, image_size)
  pose_part = rendered["time_variant"][: len(poses)]
  looks_part = rendered["time_invariant"][len(poses) :]
  pairs = np.repeat(pose_part, len(looks), 0), np.tile(looks_part, (len(poses), 1))
  painted, mask = (np.asarray(part, np.float32) for part in decode(*pairs))
  mask = mask / mask.max(axis=(1, 2, 3), keepdims=True)
  decoded = [drawing.to_rgb(image) for image in mask * painted + (1 - mask) * _GREY]
  crops: list[Image] = [drawing.to_rgb(crop) for crop in rendered["crop"]]
  lines = [decoded[i * len(looks) : (i + 1) * len(looks)] for i in range(len(poses))]
  return SwapGrid(split, crops[: len(poses)], crops[len(poses) :], lines)


def gather_backgrounds(dataset: Any, split: str, limit: int) -> list[tuple[str, Image]]:
  """Each background once, with the first camera that has it; evenly spread if over `limit`."""
  index = dataset.index
  _, first = np.unique(index.background, return_index=True)
  first = np.sort(first)
  found = []
  for track in evenly_spread(first, limit):
    sequence = dataset.sequences[int(index.sequence[track])]
    camera = sequence["tracks"][int(index.camera[track])]["name"]
    image = dataset.background(int(index.background[track]))
    width = min(480, image.shape[1])
    small = drawing.fit(image, round(image.shape[0] * width / image.shape[1]), width)
    found.append((f"{split}: {sequence['name']} · {camera}", small))
  return found
