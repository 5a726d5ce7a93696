"""The main job, whole: data, self-supervised training, export, pose probe, report.

  python launch/run.py --config=configs/dsl.py
  python launch/run.py --config=configs/dsl.py:smoke --workdir=runs/try --config.seed=1

Started again with the same work directory it goes on where it was stopped. Every value of the
configuration is set by --config.NAME=VALUE. --stages runs a part of the journey only.

Several processes, on one or several machines, train together where each is started with
--coordinator; the work directory must be one that all of them see. What comes after training is
done by the first.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags
from ml_collections import config_flags

from launch import cli, hosts

STAGES = ("data", "train", "export", "probe", "report")

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/, and :variant.")
_WORKDIR = flags.DEFINE_string(
  "workdir", "", "Where the run writes; default in runs/, by its name."
)
_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Where data sets are built.")
_RANDOM = flags.DEFINE_bool("random", True, "Export and probe an untrained encoder too.")
_STAGES = flags.DEFINE_list("stages", list(STAGES), f"Any of {', '.join(STAGES)}.")
flags.adopt_module_key_flags(hosts)


def main(argv):
  del argv
  unknown = set(_STAGES.value) - set(STAGES)
  if unknown:
    raise ValueError(f"--stages: no {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
  begin = time.monotonic()
  config = _CONFIG.value
  if config is None:
    raise ValueError("name a configuration: --config=configs/dsl.py")
  if "rows" in config:
    raise ValueError("this configuration is of a study: give it to launch/study.py")
  file = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
  workdir = pathlib.Path(_WORKDIR.value or _default_workdir(file, config))
  hosts.check_flags(trains="train" in _STAGES.value)
  if hosts.is_parent():
    return hosts.supervise()
  if "train" in _STAGES.value:
    from jaxpose.building import check_files

    check_files(config)
  config.data.directory = _prepare(config)
  from jaxpose.experiment import Experiment

  experiment = Experiment(config, workdir)
  if "probe" in _STAGES.value and not experiment.is_supervised:
    from jaxpose.probing import check_label_counts

    check_label_counts(experiment)
  if "train" in _STAGES.value:
    with hosts.together():
      interrupted = experiment.train().interrupted
    if interrupted or not hosts.is_first():
      return 0
  _evaluate(experiment)
  _say_where(config.data.directory, workdir, time.monotonic() - begin)
  return 0


def _default_workdir(file, config):
  """runs/FILE_VARIANT; of the user's own videos, one for each folder."""
  method, _, variant = f"_{config.name}".rpartition("_")
  if variant != "own" or not config.data.path:
    return f"runs/{file}_{config.name}"
  from launch import sources

  return f"runs/{file}{method}_{sources.folder_name(config.data.path)}"


def _prepare(config):
  """The folder of prepared data, built where it is missing."""
  if config.data.directory:
    return config.data.directory
  if not config.data.source:
    raise ValueError(
      "this configuration's data set is had from its owners: prepare it and name the folder by"
      " --config.data.directory=DIR"
    )
  from launch import sources

  print(f"data: {config.data.source}, {config.data.variant}", flush=True)
  return str(sources.prepare_source(config.data, pathlib.Path(_DATA_ROOT.value)))


def _evaluate(experiment):
  if experiment.is_supervised:
    _evaluate_supervised(experiment)
    return
  if "export" in _STAGES.value:
    from jaxpose.export import export_run

    export_run(experiment, random=_RANDOM.value)
  if "probe" in _STAGES.value:
    _probe(experiment)
  if "report" in _STAGES.value:
    from jaxpose.report import make_report

    make_report(experiment)


def _probe(experiment):
  if not experiment.labels.count():
    print(
      "probe: left out, no training frame has a 3D label; fill in embeddings/suggestions.csv and"
      f" run launch/probe.py --workdir={experiment.workdir} --labels=FILE",
      flush=True,
    )
    return
  from jaxpose.probing import probe_run

  probe_run(experiment)


def _evaluate_supervised(experiment):
  """A supervised network has nothing to export or reconstruct, and needs no probe to be scored."""
  if "probe" in _STAGES.value:
    from jaxpose.probing import score_supervised

    score_supervised(experiment)
  for stage in ("export", "report"):
    if stage in _STAGES.value:
      print(f"{stage}: left out, the run is a supervised network", flush=True)


def _say_where(data, workdir, seconds):
  places = {
    "configuration": "config.json",
    "checkpoints": "checkpoints",
    "metrics": "metrics.jsonl",
    "embeddings": "embeddings",
    "pose probe": "probe/results.md",
    "reference": "probe/reference.json",
    "regressor": "probe/regressor.npz",
    "report": "report.html",
  }
  print(f"finished in {seconds / 60:.1f} minutes:")
  print(f"  {'data':14s} {data}")
  for what, name in places.items():
    if (workdir / name).exists():
      print(f"  {what:14s} {workdir / name}")


if __name__ == "__main__":
  cli.run_app(main)
