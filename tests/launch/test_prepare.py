import subprocess
import sys
import time
import types

import cv2
import numpy as np
import pytest
from launching import ROOT, run_job

from datasets import registry
from jaxpose.data.index import open_dataset
from launch import sources


def write_video(path, count):
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 32))
  for i in range(count):
    writer.write(np.full((32, 48, 3), 10 * i, np.uint8))
  writer.release()


def test_help_names_the_flags_and_loads_nothing_heavy():
  begin = time.monotonic()
  result = run_job("prepare", "--help")
  assert "--source" in result.stdout
  assert "takes.toml" in result.stdout
  assert time.monotonic() - begin < 10  # 0.3 s on an idle machine
  code = "import sys, launch.prepare; sys.exit(any(m in sys.modules for m in ('jax', 'cv2')))"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_damaged_file_makes_the_exit_status_one(tmp_path):
  folder = tmp_path / "in"
  folder.mkdir()
  write_video(folder / "good.avi", 4)
  (folder / "bad.mp4").write_bytes(b"nothing")
  common = ("--source=videos", f"--path={folder}", f"--out={tmp_path / 'out'}", "--workers=1")
  result = run_job("prepare", *common)
  assert result.returncode == 1
  assert "bad.mp4" in result.stdout
  assert "left out bad" in result.stderr
  assert (tmp_path / "out/video_folder/default/1.0.0/dataset_info.json").is_file()
  (folder / "bad.mp4").unlink()
  result = run_job("prepare", *common, "--image_size=16", "--set=subject=anna")
  assert result.returncode == 0, result.stderr
  text = (tmp_path / "out/video_folder/default/1.0.0/sequences_train.json").read_text()
  assert '"anna"' in text
  assert "Traceback" not in result.stderr


def test_a_misspelt_source_or_key_is_said_in_a_line(tmp_path):
  result = run_job("prepare", "--source=synthetic_poeple", f"--out={tmp_path}")
  assert result.returncode == 1
  assert "synthetic_people" in result.stderr
  assert "Traceback" not in result.stderr
  write_video(tmp_path / "a.avi", 2)
  result = run_job(
    "prepare", f"--path={tmp_path}", f"--out={tmp_path / 'out'}", "--set=subjct=anna"
  )
  assert result.returncode == 1
  assert "did you mean 'subject'" in result.stderr


@pytest.mark.parametrize(
  "wrong", [{"views": "four"}, {"motions": 3}, {"frames": 2.5}, {"motions": (6, "2", 4)}]
)
def test_an_option_of_another_type_is_named(tmp_path, wrong):
  (name,) = wrong
  with pytest.raises(ValueError, match=f"option '{name}' must be like"):
    registry.prepare_dataset("synthetic_people", "tiny", tmp_path, **wrong)


def test_every_folder_of_videos_has_a_data_set_of_its_own(tmp_path):
  made = []
  for folder in (tmp_path / "a" / "walk", tmp_path / "b" / "walk"):
    folder.mkdir(parents=True)
    write_video(folder / "x.avi", 3)
    data = types.SimpleNamespace(source="videos", variant="own", path=str(folder))
    made.append(sources.prepare_source(data, tmp_path / "out"))
    assert sources.prepare_source(data, tmp_path / "out") == made[-1]
  assert made[0] != made[1]
  assert all(directory.is_dir() and "walk_" in directory.parent.name for directory in made)


@pytest.fixture
def half_damaged(tmp_path):
  folder = tmp_path / "in"
  folder.mkdir()
  write_video(folder / "good.avi", 3)
  (folder / "bad.mp4").write_bytes(b"no video")
  return types.SimpleNamespace(source="videos", variant="own", path=str(folder))


def test_own_videos_are_used_but_for_the_damaged(half_damaged, tmp_path, capsys):
  directory = sources.prepare_source(half_damaged, tmp_path / "out")
  assert [s["name"] for s in open_dataset(directory, "train").sequences] == ["good"]
  assert "skipped take 'bad'" in capsys.readouterr().out
  (tmp_path / "in" / "good.avi").unlink()
  with pytest.raises(ValueError, match=r"1 takes cannot be used.*bad\.mp4"):
    sources.prepare_source(half_damaged, tmp_path / "out2")


def test_takes_of_a_described_clip_are_used_all_or_none(half_damaged, tmp_path, monkeypatch):
  text = (f'[[take]]\nname = "{name}"\nvideo = "{name}"\n' for name in ("good.avi", "bad.mp4"))
  (tmp_path / "own.toml").write_text("".join(text))
  monkeypatch.setattr(sources, "_DESCRIPTIONS", tmp_path)
  with pytest.raises(ValueError, match=r"1 takes cannot be used.*bad\.mp4"):
    sources.prepare_source(half_damaged, tmp_path / "out")


def test_registry_prepares_by_name(tmp_path):
  assert registry.source_names()[0] == "videos"
  assert "synthetic_people" in registry.source_names()
  folder = tmp_path / "in"
  folder.mkdir()
  write_video(folder / "a.avi", 3)
  directory = registry.prepare_dataset("videos", "mine", tmp_path, path=folder, workers=1)
  assert directory == tmp_path / "video_folder" / "mine" / "1.0.0"
  with pytest.raises(ValueError, match="no data set 'none'"):
    registry.prepare_dataset("none", "default", tmp_path)
  with pytest.raises(ValueError, match="--path"):
    registry.prepare_dataset("videos", "mine", tmp_path)
  (folder / "b.avi").touch()
  with pytest.raises(ValueError, match=r"b\.avi"):
    registry.prepare_dataset("videos", "mine", tmp_path, path=folder, workers=1)


def test_a_configuration_names_its_description_by_the_variant(tmp_path, monkeypatch):
  folder = tmp_path / "in"
  folder.mkdir()
  write_video(folder / "a.avi", 9)
  (tmp_path / "mine.toml").write_text('[[take]]\nname = "x"\nvideo = "a.avi"\nevery = 4\n')
  monkeypatch.setattr(sources, "_DESCRIPTIONS", tmp_path)
  data = types.SimpleNamespace(source="videos", variant="mine", path=str(folder))
  directory = sources.prepare_source(data, tmp_path / "out")
  text = (directory / "sequences_train.json").read_text()
  assert '"x"' in text
  with np.load(directory / "index_train.npz") as index:
    np.testing.assert_array_equal(index["frame_frame"], [0, 4, 8])


def test_flags_of_videos_are_refused_where_there_are_none(tmp_path):
  common = ("--source=synthetic_people", "--variant=tiny", f"--out={tmp_path / 'out'}")
  done = run_job("prepare", *common, "--fps=5", "--takes=mine.toml", "--quality=92")
  assert done.returncode == 1
  assert done.stderr.startswith("error: --source=synthetic_people is not made from videos")
  assert "take out --fps, --takes, --quality" in done.stderr
  assert not (tmp_path / "out").exists()
