import errno
import fcntl
import os
import subprocess
import sys

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


def test_a_lock_is_held_until_its_block_ends(tmp_path):
  path = tmp_path / ".lock"
  other = (
    "import fcntl, sys\n"
    "try: fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "except BlockingIOError: print('kept out')\n"
    "else: print('let in')\n"
  )

  def try_it():
    command = [sys.executable, "-c", other, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

  with files.locked(path) as alone:
    assert alone
    assert try_it() == "kept out"
  assert try_it() == "let in"


def test_where_there_are_no_locks_nobody_is_kept_out_and_that_is_said(tmp_path, monkeypatch):
  def refuse(file, operation):
    raise OSError(errno.ENOLCK, "no locks available")

  monkeypatch.setattr(fcntl, "flock", refuse)
  with files.locked(tmp_path / ".lock") as alone:
    assert not alone


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
def test_a_full_disk_is_said_with_the_files_name_and_leaves_what_was_there(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("old")
  (tmp_path / "a.txt.partial").symlink_to("/dev/full")
  said = rf"cannot write {path}: No space left"
  with pytest.raises(OSError, match=said) as caught, files.replacing(path) as partial:
    partial.write_text("new" * 10_000)
  assert caught.value.errno == errno.ENOSPC
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
  (tmp_path / "file").write_text("here")
  for path in (tmp_path / "file" / "a.txt", tmp_path / "none" / "a.txt"):
    with pytest.raises(OSError, match=f"cannot write {path}"), files.replacing(path) as partial:
      partial.write_text("new")


def test_an_error_of_another_file_keeps_its_name(tmp_path):
  with pytest.raises(FileNotFoundError) as caught, files.replacing(tmp_path / "a.txt"):
    (tmp_path / "other").read_text()
  assert caught.value.filename == str(tmp_path / "other")
