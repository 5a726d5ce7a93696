"""Jobs started as a user starts them: by the command line, in a process of their own."""

import pathlib
import subprocess
import sys
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_job(
  job: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
  """Runs launch/<job>.py in the repository; `env` in the place of this process's environment."""
  return subprocess.run(
    [sys.executable, f"launch/{job}.py", *arguments],
    cwd=ROOT,
    env=env,
    capture_output=True,
    text=True,
    check=False,
  )


def workers_of(pid: int) -> list[int]:
  """The worker processes that a process has spawned, from /proc."""
  found = []
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
      command = (folder / "cmdline").read_text()
    except OSError:
      continue
    if int(parent) == pid and "spawn_main" in command:
      found.append(int(folder.name))
  return found
