import subprocess
import sys
import time

import pytest
from launching import ROOT

JOB = """
import time
from launch import cli

def main(argv):
  print("ready", flush=True)
  {body}

cli.run_app(main)
"""


def _start(body):
  return subprocess.Popen(
    [sys.executable, "-c", JOB.format(body=body)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.parametrize(
  "body", ["time.sleep(60)", "exec('try: time.sleep(60)\\nexcept Exception: pass')"]
)
def test_a_job_that_is_asked_to_stop_says_how_to_go_on(body):
  process = _start(body)
  assert process.stdout.readline() == "ready\n"
  begin = time.monotonic()
  process.terminate()
  out, err = process.communicate(timeout=60)
  assert (process.returncode, err) == (0, "")
  assert out == "stopped; run the same command again to go on\n"
  assert time.monotonic() - begin < 30


def test_a_job_that_nobody_stops_ends_as_before():
  process = _start("return 3")
  out, err = process.communicate(timeout=60)
  assert (process.returncode, out, err) == (3, "ready\n", "")
