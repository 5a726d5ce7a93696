"""Files as people and spreadsheets write them; their use in a probe is in test_protocols."""

import damage
import numpy as np
import pytest
from hypothesis import given, settings

from jaxpose.evaluation import label_table

_EMBEDDINGS = {
  "sequence": np.array([0, 0, 1, 1]),
  "camera": np.array([0, 1, 0, 0]),
  "frame": np.array([7, 7, 7, 9], np.int32),
  "sequence_names": np.array(["höhe, 1", 'the "long" walk']),
}


def _read(tmp_path, text, encoding="utf-8"):
  path = tmp_path / "labels.csv"
  path.write_bytes(text.encode(encoding))
  return label_table.read_label_table(path)


def test_rows_are_written_in_their_order_with_their_numbers(tmp_path):
  path = tmp_path / "new" / "labels.csv"
  label_table.write_label_table(
    path, _EMBEDDINGS, np.array([3, 0]), split="test", joints=("a", "b")
  )
  assert path.read_text(encoding="utf-8").splitlines() == [
    "sequence,camera,frame,id,split,a_x_mm,a_y_mm,a_z_mm,b_x_mm,b_y_mm,b_z_mm",
    '"the ""long"" walk",0,9,3,test,,,,,,',
    '"höhe, 1",0,7,0,test,,,,,,',
  ]
  assert [p.name for p in path.parent.iterdir()] == ["labels.csv"]
  table = label_table.read_label_table(path)
  assert table.sequence == ['the "long" walk', "höhe, 1"]
  assert (table.camera, table.frame, table.split) == ([0, 0], [9, 7], ["test", "test"])
  assert table.joints == ("a", "b")


def test_a_table_is_written_as_a_whole_or_not_at_all(tmp_path):
  path = tmp_path / "labels.csv"
  path.write_text("sequence,camera,frame\nmine,0,0\n")
  broken = {**_EMBEDDINGS, "camera": np.array([0, 1, 0, None])}
  with pytest.raises(TypeError):  # at the second line
    label_table.write_label_table(path, broken, np.array([0, 3]), split="train")
  assert label_table.read_label_table(path).sequence == ["mine"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_spreadsheets_may_add_marks_spaces_and_columns(tmp_path, encoding, end):
  lines = [
    "sequence , camera,frame,remark, nose_z_mm,nose_x_mm,nose_y_mm",
    " walk ,1.0, 12 ,fine,30,1e1,-20.5",
    "walk,1,13,,,,",
  ]
  table = _read(tmp_path, end.join(lines) + end, encoding)
  assert (table.sequence, table.camera, table.frame) == (["walk", "walk"], [1, 1], [12, 13])
  assert table.split == ["train", "train"]
  assert table.joints == ("nose",)
  np.testing.assert_array_equal(table.pose3d_mm[0], [[10, -20.5, 30]])
  assert np.isnan(table.pose3d_mm[1]).all()


def test_coordinates_go_to_their_joint_whatever_the_order(tmp_path):
  table = _read(
    tmp_path,
    "b_x_mm,a_z_mm,frame,a_x_mm,sequence,b_y_mm,camera,a_y_mm,b_z_mm,split\n"
    "4,3,0,1,s,5,0,2,60,test\n"
    ",9,1,7,s,,0,8,,\n",
  )
  assert table.joints == ("b", "a")
  np.testing.assert_array_equal(table.pose3d_mm[0], [[4, 5, 60], [1, 2, 3]])
  np.testing.assert_array_equal(table.pose3d_mm[1], [[np.nan] * 3, [7, 8, 9]])
  assert table.split == ["test", "train"]


def test_a_frame_may_stand_in_both_splits_but_only_once_in_each(tmp_path):
  head = "sequence,camera,frame,split\n"
  table = _read(tmp_path, head + "walk,0,5,train\nwalk,0,5,test\nwalk,1,5,test\n")
  assert table.split == ["train", "test", "test"]
  with pytest.raises(ValueError, match=r"\('test', 'walk', 1, 5\) is listed twice"):
    _read(tmp_path, head + "walk,1,5,test\nwalk,0,5,test\nwalk,1,5.0,test\n")


@pytest.mark.parametrize(
  ("cells", "said"),
  [
    ("walk,0,10.7", "column frame holds '10.7', not a whole number"),
    ("walk,0,inf", "column frame holds 'inf', not a whole number"),
    ("walk,nan,10", "column camera holds 'nan', not a whole number"),
    ("walk,0", "column frame holds None, not a number"),
  ],
)
def test_frames_and_cameras_are_whole_numbers(tmp_path, cells, said):
  # the line of the file, though empty ones are skipped
  with pytest.raises(ValueError, match=rf"labels\.csv, line 5: {said}"):
    _read(tmp_path, f"sequence,camera,frame\nwalk,0,1\n\nwalk,0,2\n{cells}\n")


def test_a_column_that_is_there_twice_is_named(tmp_path):
  head = "sequence,camera,frame,a_x_mm,a_y_mm,a_z_mm,"
  with pytest.raises(ValueError, match=r"labels\.csv: more than one column a_x_mm"):
    _read(tmp_path, head + " a_x_mm\nwalk,0,1,2,3,4,5\n")
  assert _read(tmp_path, head + ",\nwalk,0,1,2,3,4,,\n").frame == [1]  # empty ones may be


def _table(keys):
  sequence, camera, frame, split = (list(column) for column in zip(*keys))
  poses = np.zeros((len(keys), 0, 3))
  return label_table.LabelTable(sequence, camera, frame, split, (), poses)


def test_lines_are_matched_by_sequence_camera_and_frame_in_the_order_of_the_rows():
  walk, high = 'the "long" walk', "höhe, 1"
  table = _table(
    [(walk, 0, 9, "train"), (high, 1, 7, "train"), (high, 0, 7, "test"), (walk, 0, 7, "train")]
  )
  lines, rows = label_table.match_label_table(table, _EMBEDDINGS, "train")
  np.testing.assert_array_equal(rows, [1, 2, 3])
  np.testing.assert_array_equal(lines, [1, 3, 0])
  lines, rows = label_table.match_label_table(table, _EMBEDDINGS, "test")
  np.testing.assert_array_equal(rows, [0])
  np.testing.assert_array_equal(lines, [2])


@pytest.mark.parametrize("key", [("other", 0, 7), ('the "long" walk', 1, 7), ("höhe, 1", 0, 9)])
def test_a_line_of_no_exported_frame_is_named(key):
  table = _table([("höhe, 1", 0, 7, "train"), (*key, "train")])
  said = f"{key[0]!r}, camera {key[1]}, frame {key[2]}, .* the 4 exported train frames"
  with pytest.raises(ValueError, match=said):
    label_table.match_label_table(table, _EMBEDDINGS, "train")
  lines, rows = label_table.match_label_table(table, _EMBEDDINGS, "test")  # nothing is listed there
  assert len(lines) == len(rows) == 0


_HEAD = "sequence,camera,frame,a_x_mm,a_y_mm,a_z_mm,b_x_mm,b_y_mm,b_z_mm\n"


@pytest.mark.parametrize(
  ("cells", "said"),
  [
    # from corner to corner √(0.3² + 0.4² + 1.2²) = 1.3: metres
    ("walk,0,1,0,0,0,0.3,0.4,1.2", "span 1.3 mm from corner to corner: another unit"),
    ("walk,0,1,0,0,0,3e5,4e5,12e5", "span 1.3e.06 mm"),
    ("walk,0,1,0,0,0,300,inf,1200", "line 2: column b_y_mm holds 'inf'"),
    ("walk,0,1,0,0,0,300,nan,1200", "line 2: joint b has"),
    ("walk,0,1" + "," * 200_000, "no CSV table"),
  ],
)
def test_poses_in_other_units_or_of_no_number_are_named(tmp_path, cells, said):
  head = _HEAD if len(cells) < 1000 else _HEAD.replace("a_x_mm", '"' + "x" * 200_000 + '"')
  with pytest.raises(ValueError, match=rf"labels\.csv.*{said}"):
    _read(tmp_path, head + cells + "\n")


def test_a_cell_may_say_that_a_joint_is_not_known(tmp_path):
  table = _read(tmp_path, _HEAD + "walk,0,1,nan,NaN,,300,400,1200\n")
  np.testing.assert_array_equal(table.pose3d_mm, [[[np.nan] * 3, [300, 400, 1200]]])


def test_a_table_of_another_encoding_is_named(tmp_path):
  with pytest.raises(ValueError, match=r"labels\.csv: save the table as CSV in UTF-8"):
    _read(tmp_path, "sequence,camera,frame\nhöhe,0,1\n", "latin-1")


@settings(max_examples=120, deadline=None, derandomize=True)
@given(damage.damaged_text([_HEAD + "walk,0,1,0,0,0,300,400,1200\nwalk,0,2,,,,,,\n"]))
def test_damaged_tables_are_tables_or_named(tmp_path_factory, data):
  path = damage.write(tmp_path_factory.getbasetemp() / "tables" / "labels.csv", data)
  table = damage.refused_or_read(lambda: label_table.read_label_table(path), "labels.csv")
  assert table is None or table.pose3d_mm.shape == (len(table.frame), len(table.joints), 3)
