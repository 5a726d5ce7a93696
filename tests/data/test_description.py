"""What lies beside the records of a data set: each thing that can be wrong with it, one by one."""

import copy

import numpy as np
import pytest
from tiny_data import LEG

from jaxpose.data.description import adds_up, check_description

GOOD = {
  "skeleton": LEG.to_dict(),
  "subjects": ["anna"],
  "actions": ["walking"],
  "backgrounds": ["room.png", "hall.png"],
  "sequences": [
    {
      "name": "walk",
      "subject": "anna",
      "action": "walking",
      "fps": 25.0,
      "tracks": [
        {"name": "cam0", "size": [24, 40], "camera": {"K": np.eye(3).tolist()}},
        {"name": "cam1", "size": [24, 40], "camera": None},
      ],
    },
    {"name": "run", "subject": "anna", "action": "walking", "fps": 50, "tracks": []},
  ],
}


def changed(*path, to):
  found = copy.deepcopy(GOOD)
  place = found
  for step in path[:-1]:
    place = place[step]
  place[path[-1]] = to
  return found


TRACK = ("sequences", 0, "tracks", 0)


@pytest.mark.parametrize(
  ("path", "to", "words"),
  [
    (("subjects",), [7], "subjects holds what is no text"),
    (("actions",), [None], "actions holds what is no text"),
    (("backgrounds", 1), "../hall.png", "'../hall.png' is no plain file name"),
    (("backgrounds", 1), "/hall.png", "'/hall.png' is no plain file name"),
    (("backgrounds", 1), 3, "backgrounds holds what is no text"),
    (("sequences", 0, "name"), 3, "sequence 3: name, subject or action is no text"),
    (("sequences", 1, "subject"), None, "sequence 'run': name, subject or action is no text"),
    (("sequences", 1, "action"), 5, "sequence 'run': name, subject or action is no text"),
    (("sequences", 1, "fps"), "fast", "could not convert"),
    ((*TRACK, "name"), 4, "camera 4: 24×40 px, or a name that is no text"),
    ((*TRACK, "size"), [24, 40.0], r"camera 'cam0': its size \[24, 40.0\] is no two whole"),
    ((*TRACK, "size"), [24, True], "is no two whole"),
    ((*TRACK, "size"), [0, 40], "sequence 'walk', camera 'cam0': 0×40 px"),
    ((*TRACK, "size"), [24, -1], "24×-1 px"),
    ((*TRACK, "size"), [8192, 8193], "8192×8193 px"),  # more than 64 Mpx
    ((*TRACK, "size"), [24, 40, 3], "too many values"),
    ((*TRACK, "camera", "K"), np.eye(4).tolist(), "camera 'cam0': K is no 3×3 matrix"),
    ((*TRACK, "camera", "K"), [1.0] * 9, "K is no 3×3 matrix"),
  ],
)
def test_what_is_wrong_with_a_description_is_said(path, to, words):
  check_description(GOOD)
  with pytest.raises(ValueError, match=words):
    check_description(changed(*path, to=to))


def test_a_frame_may_have_as_many_pixels_as_are_decoded():
  check_description(changed(*TRACK, "size", to=[8192, 8192]))


@pytest.mark.parametrize("path", [("skeleton",), ("backgrounds",), ("sequences",)])
def test_what_a_description_lacks_is_an_error(path):
  found = copy.deepcopy(GOOD)
  del found[path[0]]
  with pytest.raises(LookupError):
    check_description(found)


TRACKS = {
  "start": np.array([0, 4]),
  "length": np.array([4, 3]),
  "sequence": np.array([0, 0]),
  "camera": np.array([0, 1]),
  "background": np.array([1, 0]),
  "moving": np.array([False, True]),
}
FRAMES = {"frame": np.arange(7), "time_s": np.arange(7) / 25}


@pytest.mark.parametrize(
  "wrong",
  [
    {"start": [0, 5]},  # a gap between the tracks
    {"start": [3, 0]},  # the other way round
    {"length": [4, 4]},  # more frames than there are
    {"length": [4, 2]},
    {"start": [0, 7], "length": [7, 0]},  # a track without frames
    {"start": [0, 8], "length": [8, -1]},
    {"sequence": [0, 1]},  # `run` has no cameras
    {"sequence": [0, 2]},
    {"sequence": [-1, 0]},
    {"camera": [0, 2]},
    {"camera": [-1, 1]},
    {"camera": [0.0, 1.0]},
    {"background": [0, 2]},
    {"background": [-1, 0]},
    {"moving": [False, True, True]},
    {"moving": [[False, True]]},
    {"moving": ["no", "yes"]},
  ],
)
def test_tracks_that_do_not_add_up_are_noticed(wrong):
  assert adds_up(TRACKS, FRAMES, GOOD)
  columns = {name: np.array(values) for name, values in wrong.items()}
  assert not adds_up(TRACKS | columns, FRAMES, GOOD)


@pytest.mark.parametrize(
  "values", [np.arange(6) / 25, np.arange(7)[:, None] / 25, np.array(["later"] * 7)]
)
def test_frames_that_do_not_add_up_are_noticed(values):
  assert not adds_up(TRACKS, FRAMES | {"time_s": values}, GOOD)


def test_an_index_of_nothing_does_not_add_up():
  no_tracks = {name: column[:0] for name, column in TRACKS.items()}
  no_frames = {name: column[:0] for name, column in FRAMES.items()}
  assert not adds_up(no_tracks, FRAMES, GOOD)
  assert not adds_up(TRACKS, no_frames, GOOD)
