"""A worker and the process that it works for, as processes."""

import os
import signal
import subprocess
import sys

from launching import ROOT

# Both write to one pipe, which ends when the last of them has gone.
PARENT = """
import multiprocessing, os, time
from jaxpose.processes import serve_parent

def leave():
  print("left", flush=True)

def work():
  serve_parent(leave)
  print(os.getpid(), flush=True)
  time.sleep(60)

if __name__ == "__main__":
  multiprocessing.get_context("spawn").Process(target=work).start()
"""


def test_a_worker_heeds_no_signal_and_leaves_when_its_parent_is_killed(tmp_path):
  (tmp_path / "parent.py").write_text(PARENT)
  parent = subprocess.Popen(
    [sys.executable, str(tmp_path / "parent.py")],
    stdout=subprocess.PIPE,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  worker = int(parent.stdout.readline())
  try:
    for number in (signal.SIGTERM, signal.SIGINT):
      os.kill(worker, number)
    parent.kill()
    said, _ = parent.communicate(timeout=30)
  except subprocess.TimeoutExpired:
    os.kill(worker, signal.SIGKILL)
    raise
  assert said == "left\n"
