import pytest

from jaxpose import files


def test_a_file_changes_when_all_is_written(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("old")
  with files.replacing(path) as partial:
    partial.write_text("new")
    assert path.read_text() == "old"
  assert path.read_text() == "new"
  assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("old")

  def write():
    with files.replacing(path) as partial:
      partial.write_text("half")
      raise KeyError

  with pytest.raises(KeyError):
    write()
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]
