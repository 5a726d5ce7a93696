import json

import numpy as np
import pytest

from jaxpose.evaluation import label_table, protocols, suggest
from jaxpose.skeleton import Skeleton

_SKELETON = Skeleton("three", ("pelvis", "left_hip", "nose"), (0, 0, 0), (), (0,))


def _embeddings(frames: int = 12, seed: int = 0) -> dict:
  rng = np.random.default_rng(seed)
  return {
    "time_variant": rng.normal(size=(frames, 4)).astype(np.float32),
    "presence": np.ones(frames, np.float32),
    "present": np.full(frames, -1),
    "sequence": np.repeat([0, 1], frames // 2),
    "camera": np.tile([0, 1], frames // 2),
    "frame": np.arange(frames) * 10,
    "sequence_names": np.array(["walk", "run, fast"]),
    "joint_names": np.array(_SKELETON.joints),
    "skeleton": np.array(json.dumps(_SKELETON.to_dict())),
    "pose3d_mm": rng.normal(size=(frames, 3, 3)) * 100 + [0, 0, 3000],
    "joint_valid": np.ones((frames, 3), bool),
  }


# --- which frames ------------------------------------------------------------------------------


def test_labelled_frames_are_centred_and_leave_out_what_they_must():
  data = _embeddings()
  data["pose3d_mm"][0] = np.nan  # no label
  data["pose3d_mm"][1, 2] = np.nan  # one joint unknown
  data["joint_valid"][2, 1] = False
  data["joint_valid"][3, 0] = False  # the root
  data["present"][4] = 0  # known to be empty
  data["presence"][5] = 0.2  # thought to be empty, but it has a label
  data["present"][6], data["presence"][6] = 1, 0.2  # known to hold a person
  found = protocols.labelled_frames(data, _SKELETON, split="train")
  np.testing.assert_array_equal(found.rows, [1, 2, 5, 6, 7, 8, 9, 10, 11])
  assert (found.left_out_empty, found.left_out_root) == (1, 1)
  np.testing.assert_array_equal(found.valid[:2], [[True, True, False], [True, False, True]])
  pose = data["pose3d_mm"][7]
  np.testing.assert_allclose(found.poses_mm[4], pose - pose[0], rtol=1e-5, atol=1e-3)
  np.testing.assert_array_equal(found.poses_mm[0, 2], 0)


def test_frames_of_another_order_are_refused():
  first, other = _embeddings(), _embeddings()
  protocols.check_same_frames(first, other, "random")
  other["camera"] = other["camera"][::-1]
  with pytest.raises(ValueError, match="camera differs"):
    protocols.check_same_frames(first, other, "random")


# --- how many labels ---------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("asked", "count"),
  [(7, 7), ("7", 7), (0.1, 20), ("10%", 20), ("0.5", 100), (1.0, 200), ("all", 200), (1e-9, 1)],
)
def test_label_counts(asked, count):
  assert protocols.resolve_label_count(asked, 200) == count


def test_label_counts_that_cannot_be():
  with pytest.raises(ValueError, match="only 200 training frames"):
    protocols.resolve_label_count(201, 200)
  for asked in (0, "-3", "120%", 0.0, "many", "inf%"):
    with pytest.raises(ValueError, match="label count"):
      protocols.resolve_label_count(asked, 200)
  with pytest.raises(ValueError, match="--labels=FILE"):
    protocols.resolve_label_counts(["all"], 0)
  with pytest.raises(ValueError, match="no label count"):
    protocols.resolve_label_counts([], 200)
  assert protocols.resolve_label_counts(["all", 3, "0.015", 200], 200) == [3, 200]


def test_subsets_are_every_kth_frame():
  # K = 100 / 10: gaps of 10 exactly, from an offset below 10 that depends on the seed
  starts = set()
  for seed in range(4):
    chosen = protocols.sample_label_subset(100, 10, seed)
    np.testing.assert_array_equal(np.diff(chosen), 10)
    assert 0 <= chosen[0] < 10
    starts.add(int(chosen[0]))
  assert len(starts) == 4


@pytest.mark.parametrize(("available", "count"), [(7, 7), (7, 6), (7, 1), (1000, 999)])
def test_subsets_hold_different_frames(available, count):
  for seed in range(5):
    chosen = protocols.sample_label_subset(available, count, seed)
    assert len(np.unique(chosen)) == count
    assert 0 <= chosen.min() <= chosen.max() < available


def test_subsets_of_too_many():
  with pytest.raises(ValueError, match="4 of 3"):
    protocols.sample_label_subset(3, 4, 0)


# --- label tables ------------------------------------------------------------------------------


def _fill(path, cells: dict[int, str]) -> None:
  """Appends cells to lines of a written table (0 = header)."""
  lines = path.read_text().splitlines()
  for i in range(len(lines)):
    lines[i] += cells.get(i, "," * cells[0].count(","))
  path.write_text("\n".join(lines) + "\n")


def test_a_table_written_filled_and_read(tmp_path):
  data = _embeddings()
  path = tmp_path / "labels.csv"
  label_table.write_label_table(path, data, np.array([1, 4, 9]), split="train")
  _fill(
    path,
    {0: ",nose_x_mm,nose_y_mm,nose_z_mm,pelvis_x_mm,pelvis_y_mm,pelvis_z_mm", 2: ",10,20,30,1,2,3"},
  )
  table = label_table.read_label_table(path)
  assert table.sequence == ["walk", "walk", "run, fast"]
  assert table.camera == [1, 0, 1]
  assert table.frame == [10, 40, 90]
  found = protocols.labelled_frames(data, _SKELETON, split="train", table=table)
  np.testing.assert_array_equal(found.rows, [1, 4, 9])
  # the second has its pose from the table, left_hip unknown; the others from the data set
  np.testing.assert_array_equal(found.valid, [[True] * 3, [True, False, True], [True] * 3])
  np.testing.assert_allclose(found.poses_mm[1, 2], [9, 18, 27])
  own = data["pose3d_mm"][9]
  np.testing.assert_allclose(found.poses_mm[2], own - own[0], rtol=1e-5, atol=1e-3)
  # no line of split test: there all labelled frames count
  assert len(protocols.labelled_frames(data, _SKELETON, split="test", table=table).rows) == 12


def test_empty_columns_are_written_for_the_joints(tmp_path):
  path = tmp_path / "labels.csv"
  label_table.write_label_table(path, _embeddings(), np.array([3]), split="test", joints=("nose",))
  lines = path.read_text().splitlines()
  assert lines[0] == "sequence,camera,frame,id,split,nose_x_mm,nose_y_mm,nose_z_mm"
  assert lines[1] == "walk,1,30,3,test,,,"
  assert np.isnan(label_table.read_label_table(path).pose3d_mm).all()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("sequence,frame\nwalk,0\n", "no column camera"),
    ("sequence;camera;frame\nwalk;0;0\n", "with commas between its columns"),
    ("sequence,camera,frame\n", "lists no frame"),
    ("sequence,camera,frame\nwalk,0,ten\n", "line 2: column frame holds 'ten'"),
    ("sequence,camera,frame,split\nwalk,0,0,dev\n", "neither train nor test"),
    ("sequence,camera,frame\nwalk,0,0\nwalk,0,0\n", "listed twice"),
    ("sequence,camera,frame,nose_x_mm\nwalk,0,0,1\n", "no column nose_y_mm"),
    ("sequence,camera,frame,a_x_mm,a_y_mm,a_z_mm\nwalk,0,0,1,,3\n", "all three or none"),
    ("sequence,camera,frame,a_x_mm,a_y_mm,a_z_mm\nwalk,0,0,1,b,3\n", "column a_y_mm holds 'b'"),
  ],
)
def test_tables_with_mistakes(tmp_path, text, message):
  path = tmp_path / "labels.csv"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    label_table.read_label_table(path)


def test_tables_that_do_not_fit(tmp_path):
  path = tmp_path / "labels.csv"
  with pytest.raises(FileNotFoundError, match="suggest"):
    label_table.read_label_table(path)
  data = _embeddings()
  path.write_text("sequence,camera,frame\nwalk,0,77\n")
  table = label_table.read_label_table(path)
  with pytest.raises(ValueError, match="frame 77, which is not"):
    protocols.labelled_frames(data, _SKELETON, split="train", table=table)
  path.write_text("sequence,camera,frame,tail_x_mm,tail_y_mm,tail_z_mm\nwalk,0,0,1,2,3\n")
  table = label_table.read_label_table(path)
  with pytest.raises(ValueError, match="tail"):
    protocols.labelled_frames(data, _SKELETON, split="train", table=table)
  del data["pose3d_mm"]
  path.write_text("sequence,camera,frame\nwalk,0,0\n")
  table = label_table.read_label_table(path)
  with pytest.raises(ValueError, match="id 0 of train"):
    protocols.labelled_frames(data, _SKELETON, split="train", table=table)


# --- suggestions -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", suggest.METHODS)
def test_suggestions_fall_into_every_group(method):
  rng = np.random.default_rng(1)
  data = _embeddings(120)
  group = rng.permutation(np.repeat(np.arange(6), 20))
  data["time_variant"] = 10 * np.eye(6)[group] + rng.normal(size=(120, 6)) * 0.1
  chosen = suggest.suggest_frames(data, 6, method=method)
  assert sorted(group[chosen]) == [0, 1, 2, 3, 4, 5]
  np.testing.assert_array_equal(chosen, suggest.suggest_frames(data, 6, method=method))
  assert (np.diff(chosen) > 0).all()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("method", suggest.METHODS)
def test_suggestions_leave_out_empty_frames_and_never_repeat(method):
  data = _embeddings(20)
  data["time_variant"][:] = 1.0  # all alike
  data["presence"][::2] = 0.0
  chosen = suggest.suggest_frames(data, 10, method=method)
  np.testing.assert_array_equal(chosen, np.arange(1, 20, 2))


def test_suggestions_that_cannot_be():
  with pytest.raises(ValueError, match="cannot suggest 13"):
    suggest.suggest_frames(_embeddings(), 13)
  with pytest.raises(ValueError, match="none of kmeans"):
    suggest.suggest_frames(_embeddings(), 3, method="guess")
