"""Memory of an export of millions of made-up embeddings, and of those who read it.

pytest tests/benchmarks/test_export_memory.py -m slow -s
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys, threading, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from jaxpose import export
from jaxpose.embeddings import load_embeddings
from jaxpose.evaluation import blocks, protocols, suggest
from jaxpose.evaluation.presence import PresenceCalibration
from jaxpose.skeleton import Skeleton

count, folder, size, joints = int(sys.argv[2]), sys.argv[3], 8192, 17
names = tuple(f"joint{i}" for i in range(joints))
skeleton = Skeleton("made up", names, (0,) * joints, (), (0,))
source = export.Source(["s"], ["p"], ["a"], skeleton, (64, 64), "{}", "f", "last", "made up")
vectors = np.random.default_rng(0).normal(size=(size, 24)).astype(np.float32)

def batches():
  unknown = np.full((size, joints, 3), np.nan, np.float32)
  zeros = np.zeros(size, np.int32)
  for start in range(0, count, size):
    ids = np.arange(start, start + size)
    pose = unknown.copy()
    pose[ids % 1000 == 0] = 1.0  # one frame of a thousand is labelled
    yield {
      "valid": ids < count, "sequence": zeros, "camera": zeros, "frame": ids.astype(np.int32),
      "time_s": zeros.astype(np.float32), "subject": zeros, "action": zeros,
      "present": zeros - 1, "pose3d_mm": pose, "joint_valid": np.isfinite(pose).all(axis=-1),
    }

def embed(batch):
  gain = 100 + np.abs(vectors[:, 0])
  return {"time_variant": vectors, "box": vectors[:, :4], "gain": gain, "background_error": gain}

peak = [0]

def watch():  # pages of mapped files are the system's to drop: only the process's own memory counts
  while True:
    with open("/proc/self/status") as file:
      own = next(line for line in file if line.startswith("RssAnon"))
    peak[0] = max(peak[0], int(own.split()[1]) // 1024)
    time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()

def note(what, began):
  time.sleep(0.05)
  print(json.dumps([what, peak[0], round(time.perf_counter() - began, 1)]), flush=True)
  peak[0] = 0

note("imports", time.perf_counter())
began = time.perf_counter()
border = PresenceCalibration(1.0, 1.0, 2.0, 0.0)  # finding it takes long
export.export_embeddings(
  embed, batches(), folder, "train", source, num_frames=count, npz_below=0, calibration=border
)
note("export", began)
began = time.perf_counter()
found = load_embeddings(folder, "train")
assert len(found["frame"]) == count
note("open", began)
began = time.perf_counter()
labelled = protocols.labelled_frames(found, skeleton, split="train")
assert len(labelled.rows) == -(-count // 1000)
note("find labels", began)
began = time.perf_counter()
blocks.mean_and_std(found["time_variant"])
note("statistics", began)
began = time.perf_counter()
suggest.suggest_frames(found, 5, method="kcenter")
note("suggest", began)
"""


def peaks(count, folder):
  """{step: (peak MiB, s)} of a process that exports `count` frames and reads them again."""
  root = pathlib.Path(__file__).resolve().parents[2]
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT, str(root), str(count), str(folder)],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  lines = (json.loads(line) for line in done.stdout.splitlines())
  return {name: (peak, seconds) for name, peak, seconds in lines}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads memory in /proc")
def test_ten_million_embeddings_need_the_memory_of_two(tmp_path):
  small, large = peaks(2_000_000, tmp_path / "small"), peaks(10_000_000, tmp_path / "large")
  print("\npeak MiB and s of 2 and of 10 million frames")
  for name, (peak, seconds) in small.items():
    print(f"  {name:12} {peak:5} {seconds:6}   {large[name][0]:5} {large[name][1]:6}")
  # 8 million frames more are 3 GB: only the readers' few numbers of each frame may grow
  for name, room in (("export", 60), ("find labels", 60), ("statistics", 60), ("suggest", 400)):
    assert large[name][0] < small[name][0] + room, name
