"""How well 3D pose is read from a run's embeddings with few labels; saves the fitted regressor.

  python launch/probe.py --workdir=runs/dsl_synthetic_people
  python launch/probe.py --workdir=runs/mine --labels=my_labels.csv --label_counts=all
  python launch/probe.py --workdir=runs/mine --label_counts=50,10%,all --regressor=residual
  python launch/probe.py --workdir=runs/mine --label_counts=all --subjects=S1 --out=runs/mine/S1
  python launch/probe.py --workdir=runs/mine --references=runs/supervised/probe/reference.json
  python launch/probe.py --workdir=runs/mine --features=time_invariant --out=runs/mine/looks
  python launch/probe.py --workdir=runs/mine --target=pose2d

Options that are not given are those of the run's configuration. Writes results.json, results.md,
label_efficiency.png and regressor.npz; a probe that was stopped goes on where it was. The run of a
supervised network is scored as it is, and writes the reference.json that --references reads.

With --target=pose2d one linear layer reads 2D keypoints from all labels, as in P2 Table II, with
errors in % of the frame; results go to probe2d. As the vectors cannot tell where in the frame the
crop lies, --target=pose2d_crop reads keypoints in the crop, with errors in % of its sides.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from jaxpose.evaluation.features import FEATURES
from launch import cli

_WORKDIR = cli.define_workdir()
_EMBEDDINGS = flags.DEFINE_string(
  "embeddings", None, "Folder of the export; embeddings in the workdir by default."
)
_OUT = flags.DEFINE_string("out", None, "Folder to write; probe in the workdir by default.")
_LABELS = flags.DEFINE_string(
  "labels",
  None,
  "A CSV table of the labelled frames, such as suggestions.csv filled in: sequence, camera, frame,"
  " split, and <joint>_x_mm, _y_mm, _z_mm in camera axes; without a pose the data set's counts.",
)
_COUNTS = flags.DEFINE_list("label_counts", None, "Numbers of labels, shares (10%), or all.")
_SUBJECTS = flags.DEFINE_list(
  "subjects", None, "Names of those whose labels are learned from, such as S1; all by default."
)
_SEEDS = flags.DEFINE_list("seeds", None, "Seeds; each sees other labels.")
_REFERENCES = flags.DEFINE_list(
  "references", None, "reference.json files of supervised runs, to stand in the same tables."
)
_FEATURES = flags.DEFINE_enum(
  "features",
  None,
  list(FEATURES),
  "Which vectors the pose is read from.",
)
_TARGET = flags.DEFINE_enum(
  "target", "pose3d", ["pose3d", "pose2d", "pose2d_crop"], "What is read from them."
)
_REGRESSOR = flags.DEFINE_enum("regressor", None, ["mlp", "residual", "linear"], "Network.")
_WIDTH = flags.DEFINE_integer("width", None, "Units of a hidden layer.", lower_bound=1)
_DEPTH = flags.DEFINE_integer("depth", None, "Hidden layers, or residual blocks.", lower_bound=1)
_DROPOUT = flags.DEFINE_float("dropout", None, "Share of hidden units dropped.")
_BATCH_NORM = flags.DEFINE_bool("batch_norm", None, "Batch norm after each ReLU of the mlp.")
_STEPS = flags.DEFINE_integer("steps", None, "Updates of a training.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", None, "Labelled frames an update.", lower_bound=1)
_RATE = flags.DEFINE_float("learning_rate", None, "Of Adam.")

# Flags that take the place of a value of the configuration's `probe` section.
_OVERRIDES = {
  "features": _FEATURES,
  "regressor": _REGRESSOR,
  "width": _WIDTH,
  "depth": _DEPTH,
  "dropout": _DROPOUT,
  "batch_norm": _BATCH_NORM,
  "steps": _STEPS,
  "batch_size": _BATCH,
  "learning_rate": _RATE,
}

_OF_EMBEDDINGS = (
  *(_EMBEDDINGS, _OUT, _LABELS, _COUNTS, _SUBJECTS, _SEEDS, _REFERENCES, _TARGET),
  *_OVERRIDES.values(),
)


def main(argv):
  del argv
  from jaxpose import probing
  from jaxpose.evaluation import targets

  experiment = cli.open_run(_WORKDIR.value)
  if experiment.is_supervised:
    cli.refuse_flags(
      _OF_EMBEDDINGS, f"{_WORKDIR.value} is a supervised network: it is scored as it is"
    )
    probing.score_supervised(experiment)
    print((experiment.workdir / "probe" / "results.md").read_text(encoding="utf-8"))
    return 0
  values = experiment.config.probe.to_dict()
  target = targets.TARGETS[_TARGET.value]
  flat = target != targets.POSE3D
  if flat:
    cli.refuse_flags((_LABELS, _REFERENCES), f"with --target={target.name} they have no meaning")
    values.update(regressor="linear", batch_norm=False)
  values.update({name: flag.value for name, flag in _OVERRIDES.items() if flag.value is not None})
  counts = values["label_counts"]
  if _COUNTS.value is not None:
    counts = _COUNTS.value
  elif _LABELS.value is not None or flat:
    counts = ["all"]
  references = () if flat else tuple(values["references"])
  out = pathlib.Path(_OUT.value or experiment.workdir / target.folder)
  probing.probe_embeddings(
    _EMBEDDINGS.value or experiment.workdir / "embeddings",
    out,
    fit=probing.fit_config(values),
    label_counts=probing.label_counts(counts),
    seeds=_seeds(_SEEDS.value) if _SEEDS.value is not None else values["seeds"],
    feature=values["features"],
    target=target,
    labels=_LABELS.value,
    subjects=_SUBJECTS.value if _SUBJECTS.value is not None else values["subjects"],
    references=_REFERENCES.value if _REFERENCES.value is not None else references,
  )
  print((out / "results.md").read_text(encoding="utf-8"))
  print(f"results, curve and regressor: {out}")
  return 0


def _seeds(values):
  try:
    return [int(value) for value in values]
  except ValueError:
    raise ValueError(f"--seeds must be whole numbers, not {','.join(values)}") from None


if __name__ == "__main__":
  cli.run_app(main)
