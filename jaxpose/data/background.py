"""Backgrounds of static and moving cameras from the frames of one camera.

median     temporal median: right where the person covers each pixel less than half of the time.
robust     for rooms that are seen empty now and then, or piece by piece, however rarely. Who comes,
           takes one place for most of the clip and leaves may stay in the picture: look at it.
still      for a person who never leaves the spot: what is never seen is filled from around it.
dive       bottom half of the first frame, top half of the last (P2 §S.1).
panorama   a moving camera: homographies between frames, median over the panorama (P2 §S.1).

All take RGB or BGR stacks alike; they are deterministic.
"""

import warnings
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

METHODS = ("median", "robust", "still", "dive", "panorama")
_CHANGE = 20  # grey levels: above the noise of compressed video, below most clothing edges


def sample_evenly(count: int, most: int) -> Int[np.ndarray, " m"]:
  """At most `most` indices spread evenly over 0..count − 1, both ends included."""
  return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def compute_median(frames: UInt8[np.ndarray, "n H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
  """Median over time of each pixel, in strips of rows so that memory stays near the input's.

  Raises:
    ValueError: there are no frames.
  """
  if len(frames) == 0:
    raise ValueError("a background needs at least one frame")
  out = np.empty(frames.shape[1:], np.uint8)
  for row in range(0, frames.shape[1], 32):
    out[row : row + 32] = np.median(frames[:, row : row + 32], axis=0)
  return out


def compute_dive(
  first: UInt8[np.ndarray, "H W 3"], last: UInt8[np.ndarray, "H W 3"]
) -> UInt8[np.ndarray, "H W 3"]:
  """Top half of the last frame over the bottom half of the first: the diver starts above.

  Raises:
    ValueError: the frames differ in size.
  """
  if first.shape != last.shape:
    raise ValueError(f"first and last frame differ in size: {first.shape} and {last.shape}")
  middle = first.shape[0] // 2
  return np.concatenate([last[:middle], first[middle:]])


def compute_robust(
  frames: UInt8[np.ndarray, "n H W 3"], *, still: bool = False
) -> UInt8[np.ndarray, "H W 3"]:
  """Background grown inwards from pixels that never change.

  Pixels whose values stay within the noise are background. A pixel beside them is decided by the
  frames in which the background already known, in a wide window around it, is all in sight and
  nothing moves at the pixel; it is accepted if those frames agree. What no frame decides is filled
  from around it.

  Args:
    frames: in order of time, [n, H, W, 3].
    still: never believe a pixel while it lies in what looks like the person (what moves, or has
      colours that occur only where things move). For a person who stays on the spot: the body is
      filled in rather than taken for the room. In a room that is seen empty, leave it off.

  Raises:
    ValueError: there are no frames.
  """
  median = compute_median(frames)
  active = _active_region(frames)
  share = float(active.mean())
  if share == 0.0 or len(frames) < 5:
    return median
  if share > 0.9:
    warnings.warn(
      f"{share:.0%} of the picture changes: a moving camera or changing light? Took the median",
      stacklevel=2,
    )
    return median
  moving = _double_difference(frames)
  blocked = _person_masks(frames, active, moving) if still else moving
  windows, agreement = ((0.3,), 0.8) if still else ((0.5, 0.3), 0.9)
  image, known = median.copy(), ~active
  for window in windows:
    _grow(frames, image, known, blocked, max(5, int(max(active.shape) * window) | 1), agreement)
  if known.all():
    return image
  return cv2.inpaint(image, (~known).astype(np.uint8), 3, cv2.INPAINT_TELEA)


def crowded_share(frames: UInt8[np.ndarray, "n H W 3"], image: UInt8[np.ndarray, "H W 3"]) -> float:
  """Share of the frames with anybody in them that show two or more separate large differences.

  Parts closer than 6 % of the longest side count as one; the second must have 35 % of the first's
  area. One person gives below 0.1, two people above 0.25 (from two cameras in four at least).
  """
  height, width = image.shape[:2]
  pad = int(max(height, width) * 0.06) | 1
  crowded = occupied = 0
  for frame in frames:
    mask: np.ndarray = (cv2.GaussianBlur(_difference(frame, image), (0, 0), 1) > 30).astype(
      np.uint8
    )
    mask = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _ellipse(pad))
    areas = np.sort(cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA])[::-1]
    areas = areas[areas > 0.003 * height * width]
    occupied += len(areas) > 0
    crowded += len(areas) > 1 and areas[1] > 0.35 * areas[0]
  return crowded / max(occupied, 1)


def _ellipse(size: int) -> np.ndarray:
  return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size | 1, size | 1))


def _difference(a: np.ndarray, b: np.ndarray) -> UInt8[np.ndarray, "H W"]:
  return cv2.absdiff(a, b).max(axis=-1)


def _active_region(frames: UInt8[np.ndarray, "n H W 3"]) -> Bool[np.ndarray, "H W"]:
  """Where the 2nd and 98th percentile over time differ beyond noise; gaps and holes closed."""
  height, width = frames.shape[1:3]
  span = np.empty((height, width), np.float32)
  smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.7) for frame in frames])
  for row in range(0, height, 32):
    low, high = np.percentile(smooth[:, row : row + 32], [2, 98], axis=0)
    span[row : row + 32] = (high - low).max(axis=-1)
  # the noise is read from the quieter half of the picture: a room may be busy elsewhere
  noise = float(np.percentile(span, 25))
  mask: np.ndarray = (span > max(float(_CHANGE), 4.0 * noise)).astype(np.uint8)
  mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
  pad = max(3, int(max(height, width) * 0.04) | 1)
  mask = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
  mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _ellipse(pad))
  contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
  large = [c for c in contours if cv2.contourArea(c) > 0.002 * height * width]
  filled = cv2.drawContours(np.zeros_like(mask), large, -1, 1, -1)[pad:-pad, pad:-pad]
  return cv2.dilate(filled, np.ones((5, 5), np.uint8)) > 0


def _double_difference(
  frames: UInt8[np.ndarray, "n H W 3"], lag: int = 3
) -> Bool[np.ndarray, "n H W"]:
  """Where a frame differs from both the frame `lag` before and the one `lag` after it."""
  out = np.empty(frames.shape[:3], bool)
  last = len(frames) - 1
  for t, frame in enumerate(frames):
    others = {max(0, t - lag), min(last, t + lag)} - {t}
    change = np.minimum.reduce([_difference(frame, frames[u]) for u in others])
    out[t] = cv2.dilate((change > _CHANGE).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
  return out


def _colour_bins(frame: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
  lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.int32) >> np.array([4, 2, 2])
  return (lab[..., 0] << 12) | (lab[..., 1] << 6) | lab[..., 2]


def _colour_histogram(counts: Float[np.ndarray, "65536"]) -> Float[np.ndarray, "65536"]:
  cube = counts.reshape(16, 64, 64)
  for axis in range(3):
    cube = (np.roll(cube, 1, axis) + 2 * cube + np.roll(cube, -1, axis)) / 4
  return cube.ravel() / max(cube.sum(), 1.0)


def _person_masks(
  frames: UInt8[np.ndarray, "n H W 3"],
  active: Bool[np.ndarray, "H W"],
  moving: Bool[np.ndarray, "n H W"],
) -> Bool[np.ndarray, "n H W"]:
  """What moves, or has a colour commoner inside the active region than around it; gaps closed."""
  side = max(active.shape)
  around = cv2.dilate(active.astype(np.uint8), np.ones((side // 4, side // 4), np.uint8)) > 0
  around &= ~active
  bins = np.stack([_colour_bins(frame) for frame in frames])
  counts = {"moving": moving & active, "inside": active[None], "outside": around[None]}
  histograms = {
    name: _colour_histogram(
      np.bincount(bins[np.broadcast_to(mask, bins.shape)], minlength=65536).astype(float)
    )
    for name, mask in counts.items()
  }
  person = 0.5 * histograms["moving"] + 0.5 * histograms["inside"]
  floor = 2e-5
  evidence = np.log((person + floor) / (histograms["outside"] + floor)).astype(np.float32)
  kernel, pad = _ellipse(int(side * 0.08)), max(3, side // 8)
  out = np.empty(frames.shape[:3], bool)
  for t in range(len(frames)):
    likely = cv2.GaussianBlur(evidence[bins[t]], (0, 0), 1.5) > 0.5
    mask = ((likely | moving[t]) & active).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    mask = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)[pad:-pad, pad:-pad]
    out[t] = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
  return out


def _grow(
  frames: UInt8[np.ndarray, "n H W 3"],
  image: UInt8[np.ndarray, "H W 3"],
  known: Bool[np.ndarray, "H W"],
  blocked: Bool[np.ndarray, "n H W"],
  window: int,
  agreement: float,
) -> None:
  """Extends `image` and `known` in place, two pixels a round, until no frame decides any more.

  A frame speaks for a pixel if 95 % of the known background within `window` is in sight in it.
  """
  need = max(2, int(np.ceil(0.03 * len(frames))))

  def count(mask: np.ndarray) -> np.ndarray:
    size = (window, window)
    return cv2.boxFilter(
      mask.astype(np.float32), -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT
    )

  while True:
    edge = cv2.dilate(known.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~known
    ys, xs = np.nonzero(edge)
    if not len(ys):
      return
    around = count(known)[ys, xs]
    speaks = np.empty((len(frames), len(ys)), bool)
    for t, frame in enumerate(frames):
      in_sight = count((_difference(frame, image) < _CHANGE) & known)[ys, xs]
      speaks[t] = (in_sight >= 0.95 * around) & ~blocked[t][ys, xs]
    enough = speaks.sum(axis=0) >= need
    ys, xs, speaks = ys[enough], xs[enough], speaks[:, enough]
    if not len(ys):
      return
    values = frames[:, ys, xs].astype(np.float32)
    centre = np.nanmedian(np.where(speaks[..., None], values, np.nan), axis=0)
    close = np.abs(values - centre).max(axis=-1) < _CHANGE
    agreed = (close & speaks).sum(axis=0) >= agreement * speaks.sum(axis=0)
    if not agreed.any():
      return
    image[ys[agreed], xs[agreed]] = centre[agreed]
    known[ys[agreed], xs[agreed]] = True


def compute_panorama(
  frames: Iterable[UInt8[np.ndarray, "H W 3"]], *, max_samples: int = 100, max_factor: float = 6.0
) -> tuple[UInt8[np.ndarray, "P Q 3"], Float[np.ndarray, "n 3 3"]]:
  """Panorama of a turning camera and the homography of each frame, frame px -> panorama px.

  Consecutive frames are registered by SIFT matches and RANSAC, the homographies are chained to the
  middle frame, and the panorama is the median of the warped frames (P2 §S.1). Pixels that no
  sampled frame shows are filled from around them.

  Args:
    frames: of one size, in order of time. They are gone through twice and not held, so that a long
      video need not fit into memory.
    max_samples: frames that enter the median.
    max_factor: largest side of the panorama, in sides of a frame.

  Raises:
    ValueError: two consecutive frames have too few points in common, or the panorama explodes.
  """
  chain, (height, width) = _chain_homographies(frames)
  middle = np.linalg.inv(chain[len(chain) // 2])
  to_middle = np.stack([_normalise(middle @ H) for H in chain])
  corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], float)
  spots = np.concatenate([_transform(H, corners) for H in to_middle])
  low = np.floor(spots.min(axis=0))
  size = np.ceil(spots.max(axis=0) - low).astype(int) + 1
  if not np.isfinite(spots).all() or size[0] > max_factor * width or size[1] > max_factor * height:
    raise ValueError(
      f"the panorama would measure {size[0]}×{size[1]} px: the camera turns too far, or frames are "
      "registered wrongly; trim the take"
    )
  shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
  homographies = np.stack([shift @ H for H in to_middle])
  return _blend(frames, homographies, (int(size[0]), int(size[1])), max_samples), homographies


def _blend(
  frames: Iterable[np.ndarray], homographies: np.ndarray, size: tuple[int, int], max_samples: int
) -> UInt8[np.ndarray, "P Q 3"]:
  chosen = set(sample_evenly(len(homographies), max_samples).tolist())
  stack, seen = [], []
  for i, frame in enumerate(frames):
    if i in chosen:
      ones = np.full(frame.shape[:2], 255, np.uint8)
      stack.append(cv2.warpPerspective(frame, homographies[i], size))
      seen.append(cv2.warpPerspective(ones, homographies[i], size) > 254)
  out = np.zeros((size[1], size[0], 3), np.uint8)
  for row in range(0, size[1], 32):
    part = np.stack([image[row : row + 32] for image in stack]).astype(np.float32)
    part[~np.stack([mask[row : row + 32] for mask in seen])] = np.nan
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", RuntimeWarning)
      out[row : row + 32] = np.nan_to_num(np.nanmedian(part, axis=0))
  missing = ~np.logical_or.reduce(seen)
  return cv2.inpaint(out, missing.astype(np.uint8), 3, cv2.INPAINT_TELEA) if missing.any() else out


def _normalise(H: np.ndarray) -> np.ndarray:
  return H / H[2, 2]


def _transform(H: np.ndarray, points: np.ndarray) -> np.ndarray:
  homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ H.T
  return homogeneous[:, :2] / homogeneous[:, 2:]


def _chain_homographies(
  frames: Iterable[UInt8[np.ndarray, "H W 3"]],
) -> tuple[Float[np.ndarray, "n 3 3"], tuple[int, int]]:
  """Maps of each frame into the first one, H_t = H_{t−1} · (t -> t − 1), and the frames' size."""
  detector = cv2.SIFT.create(nfeatures=1500)
  matcher = cv2.BFMatcher(cv2.NORM_L2)
  chain: list[np.ndarray] = []
  before, size = None, (0, 0)
  for t, frame in enumerate(frames):
    now = detector.detectAndCompute(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None)
    if before is None:
      chain.append(np.eye(3))
      size = (frame.shape[0], frame.shape[1])
    else:
      H = _register(matcher, now, before)
      if H is None:
        raise ValueError(f"frames {t - 1} and {t} have too few points in common to be registered")
      chain.append(_normalise(chain[-1] @ H))
    before = now
  if not chain:
    raise ValueError("a panorama needs at least one frame")
  return np.stack(chain), size


def _register(matcher: cv2.BFMatcher, now: tuple, before: tuple) -> np.ndarray | None:
  """Homography from matched points of one frame to those of another; None if they do not match."""
  if now[1] is None or before[1] is None or min(len(now[0]), len(before[0])) < 8:
    return None
  pairs = [p for p in matcher.knnMatch(now[1], before[1], k=2) if len(p) == 2]
  good = [a for a, b in pairs if a.distance < 0.75 * b.distance]
  if len(good) < 8:
    return None
  source = np.array([now[0][m.queryIdx].pt for m in good], np.float32)
  target = np.array([before[0][m.trainIdx].pt for m in good], np.float32)
  H, inliers = cv2.findHomography(source, target, cv2.RANSAC, 2.0)
  return None if H is None or int(inliers.sum()) < 8 else H
