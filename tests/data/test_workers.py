"""Loader processes: equal batches, memory that is used again, and an end with their parent."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from batching import ALL, assert_equal, load, take
from tiny_data import open_tiny

from jaxpose.data import pipeline
from jaxpose.data.index import open_dataset
from jaxpose.data.labelled import LabelledFrames
from jaxpose.data.pair_batch import PairConfig


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return open_tiny(tmp_path_factory.mktemp("data"))


def test_workers_do_not_change_the_batches(dataset):
  alone = take(load(dataset, **ALL), 5)
  assert_equal(alone, take(load(dataset, **ALL, workers=2), 5))


def shared_folders():
  return set(Path(pipeline._SHARED_MEMORY).glob("jaxpose-*"))


needs_shared_memory = pytest.mark.skipif(
  not os.path.isdir(pipeline._SHARED_MEMORY), reason="looks into the folder of shared memory"
)


@needs_shared_memory
def test_memory_of_batches_is_used_again_and_goes_with_the_iterator(dataset):
  before = shared_folders()
  iterator = load(dataset, workers=1)
  kept = next(iterator)["temporal"]["image"]
  shown = kept.copy()
  assert len(shared_folders() - before) == 1
  for _ in range(30):
    next(iterator)
    gc.collect()
  # image and background of the batch that is kept, of 30 others no more than can be ready at once
  assert len(iterator._opener._maps) <= 2 * (1 + 7)
  iterator.close()
  assert shared_folders() == before
  np.testing.assert_array_equal(kept, shown)


def test_damage_reaches_the_reader_from_threads_and_workers(dataset, tmp_path):
  copy = shutil.copytree(dataset.directory, tmp_path / "copy")
  for shard in copy.glob("*train*array_record*"):
    shard.write_bytes(shard.read_bytes()[:-100])
  damaged = open_dataset(copy, "train")
  for workers in (0, 1):
    with load(damaged, workers=workers) as iterator, pytest.raises(ValueError, match="cut short"):
      next(iterator)


def test_too_little_shared_memory_is_an_error_before_workers_start(dataset, monkeypatch):
  usage = namedtuple("usage", "total used free")(1, 1, 1000)
  monkeypatch.setattr(pipeline.os.path, "isdir", lambda path: True)
  monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage)
  with pytest.raises(ValueError, match="shared memory"):
    load(dataset, workers=2)
  load(dataset, workers=0)


@pytest.mark.parametrize(
  ("parts", "frames"),
  [
    ({}, 5),  # four, and the background that they share
    ({"pair": PairConfig(gap_min=1, gap_max=9, per_example=3)}, 5 + 3 * 4),
    ({"temporal": None, "labelled": LabelledFrames((np.arange(9),), crop="difference")}, 2),
  ],
)
def test_the_shared_memory_of_a_batch(dataset, monkeypatch, parts, frames):
  free = []
  usage = namedtuple("usage", "total used free")
  monkeypatch.setattr(pipeline.os.path, "isdir", lambda path: True)
  monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage(1, 1, free[0]))
  made = load(dataset, workers=0, **parts)._maker
  height, width = made.image_size
  needed = made.batch_size * frames * height * width * 3
  free[:] = [needed]
  pipeline._check_shared_memory(made, 1)
  free[:] = [needed - 1]
  with pytest.raises(ValueError, match="shared memory"):
    pipeline._check_shared_memory(made, 1)


def run_child(code, folder):
  """Starts a script that loads with two workers; returns it once it has its first batch."""
  root = Path(__file__).resolve().parents[2]
  head = f"""
    import os, sys, time
    sys.path[:0] = [{str(root)!r}, {str(root / "tests")!r}]
    from jaxpose.data.index import open_dataset
    from jaxpose.data.batches import TemporalConfig
    from jaxpose.data.pipeline import make_batches
    if __name__ == "__main__":
      batches = make_batches(
        open_dataset({str(folder)!r}, "train"), temporal=TemporalConfig(near_max=3, far_min=8),
        batch_size=6, seed=3, image_size=(16, 20), workers=2)
      next(batches)
      print("ready", flush=True)
  """
  script = textwrap.dedent(head) + textwrap.indent(textwrap.dedent(code), "  ")
  path = Path(folder).parent / "child.py"
  path.write_text(script)
  return subprocess.Popen(
    [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )


def children_of(pid):
  found = []
  for stat in Path("/proc").glob("[0-9]*/stat"):
    try:
      fields = stat.read_text().rsplit(")", 1)[1].split()
    except OSError:
      continue
    if int(fields[1]) == pid and fields[0] != "Z":
      found.append(int(stat.parent.name))
  return found


def wait_until_gone(pids, seconds):
  end = time.monotonic() + seconds
  while any(Path(f"/proc/{pid}").exists() for pid in pids):
    assert time.monotonic() < end, f"still there: {pids}"
    time.sleep(0.1)


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="counts processes in /proc")


@pytest.mark.slow
@needs_proc
def test_workers_end_with_a_killed_parent(dataset):
  child = run_child("time.sleep(60)", dataset.directory)
  child.stdout.readline()
  workers = children_of(child.pid)
  assert len(workers) >= 2
  child.send_signal(signal.SIGKILL)
  child.wait()
  wait_until_gone(workers, 20)


@pytest.mark.slow
def test_a_script_that_forgets_to_close_still_ends(dataset):
  child = run_child("sys.exit(0)", dataset.directory)
  child.communicate(timeout=60)
  assert child.returncode == 0


@pytest.mark.slow
@needs_proc
def test_a_killed_worker_is_started_again_and_no_batch_is_missed(dataset):
  code = """
    import multiprocessing
    for _ in range(2):
      multiprocessing.active_children()[0].kill()
      for _ in range(8):
        print("batch", *next(batches)["temporal"]["example"], flush=True)
    batches.close()
  """
  child = run_child(code, dataset.directory)
  out, err = child.communicate(timeout=90)
  expected = [" ".join(str(6 * step + i) for i in range(6)) for step in range(1, 17)]
  found = [line.removeprefix("batch ") for line in out.splitlines() if line.startswith("batch")]
  assert found == expected, err
  assert err.count("a loader worker was killed before batch") == 2


def test_workers_that_are_killed_again_and_again_are_an_error(dataset, monkeypatch, caplog):
  started = []

  class Dying:
    def __next__(self):
      raise RuntimeError("Worker process was terminated unexpectedly with exit code -9.")

    def close(self):
      started.append("closed")

  def start(maker, step, workers, prefetch, folder):
    started.append(step)
    return Dying()

  monkeypatch.setattr(pipeline, "_start", start)
  iterator = load(dataset, start_step=4)
  with pytest.raises(OSError, match=r"killed 3 times in a row before batch 4.*fewer of them"):
    next(iterator)
  assert started == [4, "closed"] * 3
  assert len(caplog.records) == 3
  assert "1 of 3 in a row" in caplog.text


def test_an_error_of_a_worker_itself_is_not_tried_again(dataset, monkeypatch):
  class Failing:
    def __next__(self):
      raise RuntimeError("of the batch itself")

    def close(self):
      pass

  monkeypatch.setattr(pipeline, "_start", lambda *unused, **named: Failing())
  with pytest.raises(RuntimeError, match="of the batch itself"):
    next(load(dataset))
