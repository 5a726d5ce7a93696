"""Methods × label counts × seeds on one data set: trains all, then writes one table of them.

  python launch/study.py --config=configs/study.py
  python launch/study.py --config=configs/study.py --jobs=2
  python launch/study.py --config=configs/study.py --rows=dsl,ae
  python launch/study.py --config=configs/study.py --worker=0 --workers=3 --workdir=SHARED
  python launch/study.py --config=configs/study.py --table_only

Every row of the study is a configuration of launch/run.py. Started again with the same work
directory it skips what has finished and goes on with the rest; what failed is tried again. --jobs
runs so many beside each other, each on its share of the cores; --workers spreads the runs over
programs, on one or several machines, that see the same folder; --rows trains some rows alone, and
what they start from. Ctrl-C or SIGTERM lets all runs save first. A run that fails does not end the
others: it is named in the end, with its log, and the exit status is 1.

Writes study/table.md, table.csv, label_efficiency.png and curves.png; --table_only does that with
what there is.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags
from ml_collections import config_flags

from launch import cli, planning

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/study.py, and :variant.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Where the study writes; default in runs/.")
_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Where data sets are built.")
_SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE of every row's configuration.")
_ROWS = flags.DEFINE_list("rows", [], "Rows to train; all where it is empty. The table has all.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Runs beside each other.", lower_bound=1)
_WORKER = flags.DEFINE_integer("worker", 0, "Which of --workers this is, from 0 on.", lower_bound=0)
_WORKERS = flags.DEFINE_integer("workers", 1, "Programs on the same folder.", lower_bound=1)
_TABLE_ONLY = flags.DEFINE_bool("table_only", False, "Train nothing, write the table.")


def main(argv):
  del argv
  config = _CONFIG.value
  if config is None:
    raise ValueError("name a study: --config=configs/study.py")
  if _WORKER.value >= _WORKERS.value:
    raise ValueError(f"--worker={_WORKER.value}: give one from 0 to {_WORKERS.value - 1}")
  file = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{file}_{config.name}")
  runs = planning.plan(config, workdir / "runs", tuple(_SET.value))
  chosen = planning.choose(runs, _ROWS.value)
  failed = {} if _TABLE_ONLY.value else _train(chosen, workdir / "runs")
  paths = _tabulate(config, runs, workdir / "study")
  print(paths[0].read_text(encoding="utf-8"))
  print("\n".join(f"  {path}" for path in paths))
  for run, why in failed.items():
    print(f"error: {run}: {why}", file=sys.stderr)
  return 1 if failed else 0


def _train(runs, folder):
  """Builds the data and trains what is not finished; (run, why it failed)."""
  from jaxpose import study
  from launch import children

  open_runs = [run for run in runs if run.state().get("state") != study.FINISHED]
  for run in open_runs:
    run.check_folder()
  if open_runs or not study.knows_data(folder, runs[0].config):
    study.check_data(folder, runs[0].config, _prepare_data(runs[0], folder, children))
  runner = children.Runner(
    runs,
    lambda run: _command(
      *(run, children, f"--workdir={run.workdir}", f"--config.seed={run.seed}"),
      f"--random={run.random}",
    ),
    jobs=_JOBS.value,
    worker=_WORKER.value,
    workers=_WORKERS.value,
    say=lambda line: print(line, flush=True),
  )
  return runner.run()


def _command(run, children, *more):
  flags_of_row = planning.as_flags(run.file, run.overrides)
  return children.python("run", *flags_of_row, f"--data_root={_DATA_ROOT.value}", *more)


def _prepare_data(run, folder, children):
  """The folder of the data that all runs share, built before the first of them begins."""
  from launch import sources

  data, log = run.config.data, folder / "data.log"
  if data.directory:
    return data.directory
  print(f"data: {data.source}, {data.variant}; log: {log}", flush=True)
  children.run_one(_command(run, children, "--stages=data"), log)
  return str(sources.prepare_source(data, pathlib.Path(_DATA_ROOT.value)))


def _tabulate(config, runs, out):
  from jaxpose import files, study
  from jaxpose.evaluation import comparison
  from jaxpose.reporting.comparison import write_study

  out.mkdir(parents=True, exist_ok=True)
  outcomes = [study.collect(run) for run in runs]
  columns = [comparison.ALL if count == 0 else count for count in config.paper_labels]
  paper = {row: dict(zip(columns, values.paper)) for row, values in config.rows.items()}
  table = comparison.make_table(outcomes, reference=config.reference, paper=paper)
  with files.locked(out / ".lock"):  # of several workers all come here at once
    return write_study(out, table, outcomes, reference=config.reference, levelled=config.levelled)


if __name__ == "__main__":
  cli.run_app(main)
