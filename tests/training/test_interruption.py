"""Signals, to programs of a few lines in processes of their own where they end the process."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from launching import ROOT

from jaxpose.training.interruption import StopRequest, workdir_lock


def _start(code):
  head = """
    import hashlib, os, signal, sys, time
    from jaxpose.training.interruption import Stopped, StopRequest
    def farewell():
      print("farewell", flush=True)
  """
  script = textwrap.dedent(head) + textwrap.dedent(code)
  return subprocess.Popen(
    [sys.executable, "-c", script],
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _end(process, *signals):
  """Sends the signals once the program is ready; (status, output, seconds that it took)."""
  assert process.stdout.readline() == "ready\n"
  begin = time.monotonic()
  for number in signals:
    process.send_signal(number)
    time.sleep(0.2)
  out, err = process.communicate(timeout=60)
  return process.returncode, out + err, time.monotonic() - begin


def _fail_after_a_signal():
  signal.raise_signal(signal.SIGTERM)
  raise ValueError("of its own")


def _request(**changes):
  def never():
    raise AssertionError("there was time")

  return StopRequest(**({"grace_s": 60.0, "give_up": never} | changes))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_hears_between_two_steps(number):
  before = signal.getsignal(number)
  with _request() as stop:
    assert not stop.asked(1)
    signal.raise_signal(number)
    assert stop.asked(2)
  assert signal.getsignal(number) is before


def test_a_signal_that_came_too_late_for_the_loop_is_passed_on():
  received = []
  before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
  try:
    with _request() as stop:
      assert not stop.asked(1)
      signal.raise_signal(signal.SIGTERM)  # after the last look
      assert received == []
    assert received == [signal.SIGTERM]
    with _request() as stop:
      signal.raise_signal(signal.SIGTERM)
      assert stop.asked(1)
    with pytest.raises(ValueError, match="of its own"), _request():
      _fail_after_a_signal()
    assert received == [signal.SIGTERM]
  finally:
    signal.signal(signal.SIGTERM, before)


def test_a_second_ctrl_c_interrupts():
  with _request() as stop:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # schedulers repeat themselves
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
    assert stop.asked(1)


def test_a_program_stops_wherever_it_is_and_cleans_up():
  process = _start("""
    import atexit
    atexit.register(lambda: (time.sleep(1), print("left", flush=True)))
    with StopRequest(grace_s=60, give_up=farewell, at_once=True):
      try:
        print("ready", flush=True)
        time.sleep(60)
      except Exception:
        print("taken for an error")
      finally:
        time.sleep(1)  # the second signal must not cut this short, nor the third what is at exit
        print("cleaned up", flush=True)
  """)
  signals = [signal.SIGTERM] * 8  # one in 0.2 s
  status, output, seconds = _end(process, *signals)
  assert (status, output) == (0, "cleaned up\nleft\n")
  assert seconds < 30


def test_a_loop_within_a_program_is_heard_alone_and_what_it_misses_stops_the_program():
  process = _start("""
    with StopRequest(grace_s=60, give_up=farewell, at_once=True):
      with StopRequest(grace_s=60, give_up=farewell):
        print("ready", flush=True)
        end = time.monotonic() + 2
        while time.monotonic() < end:
          time.sleep(0.1)
        print("saved", flush=True)
      print("went on", flush=True)
  """)
  assert _end(process, signal.SIGTERM)[:2] == (0, "saved\n")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_program_that_cannot_look_is_ended_all_the_same(at_once):
  process = _start(f"""
    import threading
    with StopRequest(grace_s=0.5, give_up=farewell, at_once={at_once}):
      threading.Timer(1.0, print, ["ready"], {{"flush": True}}).start()  # once it is deaf
      hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # deaf to Python's handlers, as a compiler is
  """)
  status, output, seconds = _end(process, signal.SIGTERM)
  assert (status, output) == (0, "farewell\n")
  assert seconds < 30


def test_a_program_whose_end_hangs_is_ended_all_the_same():
  process = _start("""
    import atexit
    atexit.register(time.sleep, 600)
    with StopRequest(grace_s=0.5, give_up=farewell, at_once=True):
      print("ready", flush=True)
      time.sleep(60)
  """)
  assert _end(process, signal.SIGTERM)[:2] == (0, "farewell\n")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
  process = _start(f"""
    import pathlib
    from jaxpose.training.interruption import workdir_lock
    with workdir_lock(pathlib.Path({str(tmp_path)!r})):
      print("ready", flush=True)
      time.sleep(60)
  """)
  assert process.stdout.readline() == "ready\n"
  message = rf"in use by another run \(process {process.pid}\)"
  with pytest.raises(ValueError, match=message), workdir_lock(tmp_path):
    pass
  process.kill()
  process.communicate()
  with workdir_lock(tmp_path):
    assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_without_locks_the_folder_still_says_whose_it_is(tmp_path, monkeypatch):
  def refuse(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

  monkeypatch.setattr(fcntl, "flock", refuse)
  with workdir_lock(tmp_path):
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
