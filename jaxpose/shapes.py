"""The axes that shapes are written in, and the roles of the frames of a temporal sample.

Axes in signatures (`Float[Array, "B T H W C"]`):

  B  samples of a batch            T  frames of a temporal sample     V  views of an instant
  H  W  C  rows, columns, channels J  joints                          D  features
  N  frames or crops, with B, T and V flattened into one axis

Units and frames of reference are suffixes of names: `_px`, `_norm` (corner-aligned, -1 and 1 are
the centres of the outer pixels), `_mm`, `_deg`, `_frames`, `_s`, `_cam`, `_world`, `_mask`,
`_logits`.
"""

# The four frames of a temporal sample, in the order in which they lie along T (P1 eq. 6).
REFERENCE, NEAR, INTERMEDIATE, FAR = 0, 1, 2, 3
FRAMES_PER_SAMPLE = 4

# A sample of views is (camera a, time 1), (b, 1), (a, 2), (b, 2). For each frame: the one of the
# other camera at its instant, and the one of its camera at the other instant.
OTHER_VIEW = (1, 0, 3, 2)
OTHER_INSTANT = (2, 3, 0, 1)
