"""The index of a split in memory: a few arrays, never a Python object for each frame."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

TRACK_COLUMNS = ("start", "length", "sequence", "camera", "background", "moving")
FRAME_COLUMNS = ("frame", "time_s", "falling", "present", "labelled")


@dataclasses.dataclass(frozen=True)
class Index:
  """What samplers know of a split; frame ids count its records.

  Attributes:
    start, length: first id and number of frames of each track; the ids of a track are consecutive.
    sequence, camera, background: numbers of the track's sequence, of the camera in the sequence,
      and of its background image.
    moving: the camera moves: its background is a panorama.
    frame: the source's own frame number of each frame.
    time_s: time of each frame.
    falling, labelled: whether the person falls freely; whether there is a 3D pose.
    present: -1 unknown, 0 empty, 1 person.
    subject, action, fps: of each sequence; fps counts source frames.
  """

  start: Int[np.ndarray, " tracks"]
  length: Int[np.ndarray, " tracks"]
  sequence: Int[np.ndarray, " tracks"]
  camera: Int[np.ndarray, " tracks"]
  background: Int[np.ndarray, " tracks"]
  moving: Bool[np.ndarray, " tracks"]
  frame: Int[np.ndarray, " frames"]
  time_s: Float[np.ndarray, " frames"]
  falling: Bool[np.ndarray, " frames"]
  present: Int[np.ndarray, " frames"]
  labelled: Bool[np.ndarray, " frames"]
  subject: Int[np.ndarray, " sequences"]
  action: Int[np.ndarray, " sequences"]
  fps: Float[np.ndarray, " sequences"]

  @property
  def num_frames(self) -> int:
    return len(self.frame)

  @property
  def num_tracks(self) -> int:
    return len(self.start)

  def track_of(self, ids: Int[np.ndarray, " *n"]) -> Int[np.ndarray, " *n"]:
    """Number of the track that each frame belongs to."""
    return np.searchsorted(self.start, ids, side="right") - 1
