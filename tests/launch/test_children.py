import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from launching import ROOT

from configs import dsl
from jaxpose import study
from launch import children

# Stands for launch/run.py: takes `seconds`, heeds SIGTERM, leaves results; counts its starts.
FAKE = """
import json, os, pathlib, signal, sys, time
work, seconds, status = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
work.mkdir(parents=True, exist_ok=True)
def leave(*_):
  time.sleep(1)
  (work / "saved").touch()
  sys.exit(0)
signal.signal(signal.SIGTERM, leave)
with (work / "starts").open("a") as file:
  print(os.getpid(), sorted(os.sched_getaffinity(0)), file=file)
(work / "metrics.jsonl").write_text('{"step": 5}\\n')
time.sleep(seconds)
print("error: as told" if status else "fine")
if not status:
  (work / "probe").mkdir(exist_ok=True)
  (work / "probe" / "results.json").write_text("{}")
sys.exit(status)
"""


def _runs(folder, rows=("a", "b", "c")):
  config = dsl.get_config("smoke")
  return [study.Run(row, 0, "configs/dsl.py:smoke", (), config, folder / row) for row in rows]


def _fake(seconds=0.0, failing=()):
  return lambda run: [
    *(sys.executable, "-c", FAKE, str(run.workdir), str(seconds), str(int(run.row in failing) * 3))
  ]


def _runner(runs, command, said, *, jobs=1, worker=0, workers=1):
  return children.Runner(runs, command, jobs=jobs, worker=worker, workers=workers, say=said.append)


def _starts(run):
  path = run.workdir / "starts"
  return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
  monkeypatch.setattr(children, "POLL_S", 0.02)


def test_a_failing_run_does_not_end_the_others(tmp_path):
  runs, said = _runs(tmp_path), []
  failed = _runner(runs, _fake(failing=("b",)), said).run()
  assert list(failed) == ["b, seed 0"]
  assert failed["b, seed 0"] == f"exit status 3, error: as told (log: {runs[1].log})"
  assert [run.state()["state"] for run in runs] == ["finished", "failed", "finished"]
  assert [line.split(":")[0] for line in said if "begins" in line] == [str(run) for run in runs]
  # started again, only what failed is tried
  again = _runner(runs, _fake(), said).run()
  assert again == {}
  assert [len(_starts(run)) for run in runs] == [1, 2, 1]
  assert "b, seed 0: goes on" in "\n".join(said)


def test_a_run_that_ends_without_results_has_not_finished(tmp_path):
  runs = _runs(tmp_path, ("a",))
  failed = _runner(runs, lambda run: [sys.executable, "-c", "print('bye')"], []).run()
  assert failed["a, seed 0"].startswith("ended without probe results, bye (log: ")


def test_a_run_waits_for_the_one_that_it_starts_from(tmp_path):
  a, b, c = _runs(tmp_path)
  a = dataclasses.replace(a, after=c)
  said = []
  assert _runner([a, b, c], _fake(seconds=0.3), said, jobs=2).run() == {}
  begun = [line.split(",")[0] for line in said if "begins" in line]
  ended = [line.split(",")[0] for line in said if "finished in" in line]
  assert begun == ["b", "c", "a"]
  assert ended[-1] == "a"


def test_a_run_is_given_up_with_the_one_that_it_starts_from(tmp_path):
  a, b, c = _runs(tmp_path)
  a = dataclasses.replace(a, after=c)
  failed = _runner([a, b, c], _fake(failing=("c",)), []).run()
  assert failed["a, seed 0"] == "it starts from c, seed 0, which failed"
  assert [len(_starts(run)) for run in (a, b, c)] == [0, 1, 1]


def test_runs_beside_each_other_have_cores_of_their_own(tmp_path):
  runs = _runs(tmp_path, ("a", "b"))
  _runner(runs, _fake(seconds=2.0), [], jobs=2).run()
  cores = [_starts(run)[0].split(" ", 1)[1] for run in runs]
  wanted = [str(sorted(children.share_of_cores(slot, 2))) for slot in (0, 1)]
  assert sorted(cores) == sorted(wanted)
  if len(os.sched_getaffinity(0)) > 1:
    assert len(set(cores)) == 2


def test_cores_are_shared_out_evenly(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 5, 6, 7})
  assert [children.share_of_cores(slot, 2) for slot in (0, 1)] == [{1, 2}, {5, 6}]
  assert children.share_of_cores(4, 6) == {1, 2, 5, 6, 7}


def test_no_run_is_trained_twice_and_a_dead_workers_is_taken_over(tmp_path):
  runs, said = _runs(tmp_path), []
  for run in runs:
    run.folder.mkdir()
  # another program is at a, until it is killed
  holder = subprocess.Popen(
    [
      *(sys.executable, "-c"),
      "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX);"
      "print('has it', flush=True); time.sleep(600)",
      str(runs[0].lock),
    ],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert holder.stdout.readline() == "has it\n"

  def say(line):
    said.append(line)
    if line.startswith("b, seed 0: finished"):
      assert not _starts(runs[0])
      holder.kill()

  runner = children.Runner(runs, _fake(), jobs=1, worker=0, workers=2, say=say)
  assert runner.run() == {}
  begun = [line[0] for line in said if "begins" in line]
  assert begun == ["c", "b", "a"]  # its own share is a and c, and then what nobody else took
  assert [len(_starts(run)) for run in runs] == [1, 1, 1]


def test_what_another_worker_finished_or_failed_meanwhile_is_left(tmp_path):
  runs = _runs(tmp_path)
  runner = _runner(runs, _fake(), [], worker=1, workers=2)
  for run, state in zip(runs, (study.FINISHED, study.FAILED), strict=False):
    run.results.parent.mkdir(parents=True)
    run.results.write_text("{}")
    run.set_state(state, why="there")
  assert runner.run() == {"b, seed 0": "there"}
  assert [len(_starts(run)) for run in runs] == [0, 0, 1]


def test_a_run_that_is_finished_while_its_lock_is_waited_for_is_left(tmp_path, monkeypatch):
  (run,) = runs = _runs(tmp_path, ("a",))

  def lock(*_):
    run.results.parent.mkdir(parents=True)
    run.results.write_text("{}")
    run.set_state(study.FINISHED)

  monkeypatch.setattr(fcntl, "flock", lock)
  assert _runner(runs, _fake(), []).run() == {}
  assert not _starts(run)


STUDY = """
import pathlib, sys
sys.path[:0] = [{tests!r}, {root!r}]
from launch import children, cli
import test_children as own
children.POLL_S = 0.02

def main(argv):
  runs = own._runs(pathlib.Path({folder!r}))
  own._runner(runs, own._fake(seconds=60.0), Say(), jobs=2).run()

class Say:
  def append(self, line):
    print(line, flush=True)

cli.run_app(main)
"""


def _start_study(folder):
  code = STUDY.format(tests=str(ROOT / "tests" / "launch"), root=str(ROOT), folder=str(folder))
  env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
  process = subprocess.Popen(
    [sys.executable, "-c", code],
    cwd=ROOT,
    env=env,
    stdout=subprocess.PIPE,
    text=True,
    process_group=0,
  )
  runs = _runs(folder)
  _until(lambda: all(_starts(run) for run in runs[:2]))
  return process, runs


def _until(true, seconds=60.0):
  end = time.monotonic() + seconds
  while not true():
    assert time.monotonic() < end
    time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_study_that_is_asked_to_stop_lets_its_runs_save(tmp_path, number):
  process, runs = _start_study(tmp_path)
  os.killpg(process.pid, number)  # as a terminal does: the fakes know no SIGINT
  said, _ = process.communicate(timeout=60)
  assert process.returncode == 0
  assert said.splitlines()[-2:] == [
    "stopping: 2 under way, which save first ...",
    "stopped; run the same command again to go on",
  ]
  assert [(run.workdir / "saved").is_file() for run in runs] == [True, True, False]
  assert all(run.state() == {} for run in runs)


def test_the_runs_of_a_killed_study_save_and_hold_their_locks_until_then(tmp_path):
  process, runs = _start_study(tmp_path)
  process.kill()
  process.wait(60)
  with runs[0].lock.open("a") as file, pytest.raises(BlockingIOError):
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  assert not (runs[0].workdir / "saved").exists()
  _until(lambda: all((run.workdir / "saved").is_file() for run in runs[:2]))
  said = []
  assert _runner(runs, _fake(), said).run() == {}
  assert sum("goes on" in line for line in said) == 2
  assert [len(_starts(run)) for run in runs] == [2, 2, 1]


def test_data_that_cannot_be_built_are_said_with_the_log(tmp_path):
  log = tmp_path / "runs" / "data.log"
  children.run_one([sys.executable, "-c", "print('made')"], log)
  with pytest.raises(ValueError, match=r"error: no room \(log: .*data\.log\)"):
    children.run_one([sys.executable, "-c", "print('error: no room'); raise SystemExit(1)"], log)
  assert log.read_text() == "made\nerror: no room\n"


def test_progress_tells_step_runs_and_time_left(tmp_path, monkeypatch):
  runs, said = _runs(tmp_path), []
  clock = [100.0]
  monkeypatch.setattr(time, "monotonic", lambda: clock[0])
  watch = children.Watch(runs, said.append)
  runs[0].workdir.mkdir(parents=True)
  (runs[0].workdir / "metrics.jsonl").write_text(json.dumps({"step": 10}) + "\n")
  watch.report(runs[:1])
  assert not said
  clock[0] += 600  # 10 of 3 · 20 steps in 10 minutes: 50 more in 50
  watch.report(runs[:1])
  assert said == ["a, seed 0: step 10/20; 0/3 runs finished, about 50 min left"]
  watch.report(runs[:1])
  assert len(said) == 1
  runs[1].results.parent.mkdir(parents=True)
  runs[1].results.write_text("{}")
  runs[1].set_state(study.FINISHED)
  (runs[0].workdir / "metrics.jsonl").write_text(json.dumps({"step": 20}) + "\n")
  runs[0].log.write_text("probe 3/4: trained\n\n")
  clock[0] += 600  # 40 of 60 in 20 minutes
  watch.report(runs[:1])
  assert said[1] == "a, seed 0: probe 3/4: trained; 1/3 runs finished, about 10 min left"


def test_time_left_is_said_in_a_fitting_unit():
  assert children.time_left(60, 0, 5) == "time left not known yet"
  assert children.time_left(60, 10, 5) == "less than a minute left"
  assert children.time_left(3600, 10, 100) == "about 10.0 h left"
