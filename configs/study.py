"""Methods × label counts × seeds on one data set: the papers' tables at the size of this project.

python launch/study.py --config=configs/study.py                  embedded people
python launch/study.py --config=configs/study.py:synthetic_sessions   in takes of 8.7 s
python launch/study.py --config=configs/study.py:smoke            to see that it works, in minutes
python launch/study.py --config=configs/study.py:mocap_people --set=data.path=FOLDER
python launch/study.py --config=configs/study.py:mocap_sessions --set=data.path=FOLDER
python launch/study.py --config=configs/study.py:pose2sim_balancing --set=data.path=FOLDER
python launch/study.py --config=configs/study.py:labels           2D labels, fine-tuning (P2 §4.5)
python launch/study.py --config=configs/study.py:labels_mocap_sessions --set=data.path=FOLDER
python launch/study.py --config=configs/study.py:sync_flip        P3's Table 1 on embedded people
python launch/study.py --config=configs/study.py:sync_flip_mocap_people --set=data.path=FOLDER
python launch/study.py --config=configs/study.py:sync_flip_pose2sim_balancing --set=data.path=FOLDER

The first six are P2's Tables I and V, and what else there is; a method is a line of `_rows`. The
papers' data, backbones and budgets are far larger, so that what can be compared is the ratio to the
whole method (the reference), not the millimetres.

Hardware, time: two cores of an AMD EPYC, 5 to 20 minutes of a core for a run. Measured: README.
"""

from ml_collections import ConfigDict

from configs import common

# N-MPJPE in mm on Human3.6M with so many labels (0: all), P2 Tables I and V.
PAPER_LABELS = (100, 500, 5_000, 17_000, 0)
PAPER = {
  "CSS": (230.77, 215.96, 197.22, 195.70, 194.69),
  "DrNet": (158.81, 126.18, 108.21, 106.41, 100.38),
  "DSL": (227.24, 220.64, 198.34, 193.08, 191.21),
  "DSL-STN": (236.32, 211.85, 202.57, 199.16, 198.22),
  "DSL-STN-Dec": (185.75, 159.34, 135.93, 129.62, 127.52),
  "AE-STN-Dec": (187.25, 161.53, 130.21, 117.044, 114.73),
  "CSS-STN-Dec-Split": (163.61, 137.52, 110.61, 104.23, 99.32),
  "DSL-STN-Dec-Split": (149.32, 122.44, 100.23, 97.38, 95.39),
  "MV-CSS": (216.15, 206.08, 203.24, 202.65, 202.52),
  "NSD": (140.92, 115.37, 94.48, 91.01, 88.89),
}
# N-MPJPE in mm after transfer with the labels of one subject, P3 Table 1: its lines, our rows.
PAPER_ONE_SUBJECT = {
  "untrained_background": 147.1,  # (a)
  "untrained": 145.4,  # (b)
  "background": 128.1,  # (c)
  "sync_flip": 91.7,  # (d), (g), (k), (m)
  "only_flip": 117.6,  # (e)
  "only_sync": 115.2,  # (f)
  "concat": 162.5,  # (h)
  "add": 158.4,  # (i)
  "diff": 93.9,  # (j)
  "single_view": 142.0,  # (l)
}


def row(file, *overrides, seeds=(), paper="", start_from=""):
  """A method: configuration file and :variant, KEY=VALUE overrides, training seeds, its paper row.

  Without seeds of its own it has those of the study. With `start_from`, the name of another row, it
  starts from the networks that the training of the same seed there has left.
  """
  config = ConfigDict()
  config.file = file
  config.overrides = overrides
  config.seeds = seeds
  config.paper = PAPER[paper] if paper else ()
  config.start_from = start_from
  return config


def _rows(variant, seeds):
  """Every method by its name in the tables, on the variant of that name of each file."""
  rows = ConfigDict()

  def compared(name, paper, seeds=()):
    return row(f"configs/ablations.py:{name}@{variant}", seeds=seeds, paper=paper)

  rows.dsl = compared("dsl", "DSL-STN-Dec-Split", seeds)
  rows.css_stn = compared("css_stn", "CSS-STN-Dec-Split", seeds)
  rows.drnet = compared("drnet", "DrNet", seeds)
  rows.ae = compared("ae", "AE-STN-Dec", seeds)
  rows.dsl_dec = compared("dsl_dec", "DSL-STN-Dec")
  rows.dsl_stn = compared("dsl_stn", "DSL-STN")
  rows.dsl_plain = compared("dsl_plain", "DSL")
  rows.css = compared("css", "CSS")
  rows.mv_css = compared("mv_css", "MV-CSS")
  rows.nsd = compared("nsd", "NSD")
  rows.sync_flip = row(f"configs/sync_flip.py:{variant}", seeds=seeds)
  # P3 crops by the true boxes; this one sees what the others do.
  rows.sync_flip_stn = row(
    f"configs/sync_flip.py:{variant}",
    *("pairs.crop=detector", "model.detector=resnet_small"),
    "model.start_groups=('detector',)",
    start_from="dsl",
    seeds=seeds,
  )
  rows.combined = row(f"configs/combined.py:{variant}", seeds=seeds)
  # All that there is: 2D joints as weak labels, and as the probe's further input (P2 §3.3, eq. 15).
  with_joints = ("scene.pose2d=True", "probe.features=time_variant_pose2d")
  rows.combined_pose2d = row(f"configs/combined.py:{variant}", *with_joints, seeds=seeds)
  rows.supervised = row(f"configs/supervised.py:{variant}", "supervised.background=remove")
  return rows


def synthetic_people():
  """Embedded people, 128 px."""
  config = ConfigDict()
  config.name = ""
  config.rows = _rows("synthetic_people", seeds=(0, 1, 2))
  # Overrides of every row, KEY=VALUE. With its background DSL ends at 152 mm in place of 119.
  config.shared = ("scene.background=remove", "scene.tight_scale=(0.26,0.58)")
  config.seeds = (0,)  # of rows without their own
  config.reference = "dsl"  # the row that ratios are taken to; random encoder and mean pose are its
  config.paper_labels = PAPER_LABELS
  # A row has levelled off when its validation term falls by no more in the last fifth of training.
  config.levelled = 0.02
  return config


def synthetic_sessions():
  """The same people in takes four times as long, with near and far in time as P2 has them."""
  config = synthetic_people()
  config.rows = _rows("synthetic_sessions", seeds=(0, 1, 2))
  return config


def mocap_people():
  """The same methods on people moved by motion capture; --set=data.path names its files."""
  config = synthetic_people()
  config.rows = _rows("mocap_people", seeds=(0, 1, 2))
  return config


def mocap_sessions():
  """The same motion in takes of 8.7 s, joined from pieces, near and far in time as in P2."""
  config = synthetic_people()
  config.rows = _rows("mocap_sessions", seeds=(0, 1, 2))
  return config


def smoke():
  """Two rows of a minute each, to see that it works; they learn next to nothing."""
  config = synthetic_people()
  rows = _rows("smoke", seeds=(0,))
  config.rows = ConfigDict({name: rows[name] for name in ("dsl", "supervised")})
  return config


def pose2sim_balancing():
  """The same methods on a real clip of one man and four cameras; --set=data.path names its folder.

  The test frames are of the same man, a fifth of a second later.
  """
  config = synthetic_people()
  config.rows = _rows("pose2sim_balancing", seeds=(0, 1, 2))
  config.paper_labels = (50, 0)
  for name in config.rows:
    config.rows[name].paper = ()
  return config


def labels():
  """P2 §4.5 and Fig. 9, figures there as plots: DSL with 2D labels, fine-tuning from DSL."""
  return _table_of_labels("synthetic_sessions")


def labels_mocap_sessions():
  """The same on motion capture; --set=data.path names its files."""
  return _table_of_labels("mocap_sessions")


def _table_of_labels(variant):
  """What labels are worth to DSL in pre-training, in its second phase and end to end.

  Networks of the rows `fine_tuned_COUNT` are trained end to end on so many labels from DSL's
  encoder, of `supervised_COUNT` from random weights. The probe of `dsl_pose2d_read` has the
  predicted joints beside the vectors.
  """
  config = synthetic_people()
  known = _rows(variant, seeds=())
  config.rows = ConfigDict({"dsl": known.dsl, "supervised": known.supervised})
  with_joints = (f"configs/dsl.py:{variant}", "scene.pose2d=True")
  config.rows.dsl_pose2d = row(*with_joints)
  config.rows.dsl_pose2d_read = row(*with_joints, "probe.features=time_variant_pose2d")
  overrides = known.supervised.overrides
  config.rows.fine_tuned = row(known.supervised.file, *overrides, start_from="dsl")
  for count in (100, 500, 2_000, 8_000):
    few = (*overrides, f"supervised.label_count={count}")
    config.rows[f"supervised_{count}"] = row(known.supervised.file, *few)
    config.rows[f"fine_tuned_{count}"] = row(known.supervised.file, *few, start_from="dsl")
  return config


def _table_of_p3(variant, transfer, subject="", count=0):
  """P3 Table 1: each pretext task, a row `pretext_NAME`, and what it is worth after transfer.

  P3 does not say whether random weights were frozen like the others: the rows `..._whole` train
  all of them.

  Args:
    variant: of configs/sync_flip.py.
    transfer: variant of configs/supervised.py.
    subject: whose labels transfer learns from; "": everybody's.
    count: how many these are; of everybody's so many are drawn; 0: all.
  """
  labels = (f"supervised.label_count={count}",) if count else ()
  if subject:
    labels = (f"supervised.subjects=('{subject}',)",)
  config = synthetic_people()
  config.rows = ConfigDict()
  config.shared = ()  # rows say themselves what becomes of backgrounds

  def transferred(name, *overrides, start_from=""):
    keep = ("supervised.background=keep",) if name.endswith("background") else ()
    start = () if start_from else ("model.start_from=",)
    changes = (*labels, *keep, *start, *overrides)
    found = row(f"configs/supervised.py:{transfer}", *changes, start_from=start_from)
    found.paper = (PAPER_ONE_SUBJECT[name],)
    return found

  for name in PAPER_ONE_SUBJECT:
    if name.startswith("untrained"):
      config.rows[name] = transferred(name)
      config.rows[f"{name}_whole"] = transferred(name, "optimiser.frozen=()")
      continue
    ablation = "mult" if name == "sync_flip" else name
    start = f"pretext_{name}"
    config.rows[start] = row(f"configs/sync_flip.py:{ablation}@{variant}")
    config.rows[name] = transferred(name, start_from=start)
  config.reference = "sync_flip"
  config.paper_labels = (count,)
  return config


def sync_flip():
  """P3 Table 1 on embedded people: labels of one of the 16 training subjects."""
  return _table_of_p3("synthetic_people", "transfer", "train_00", 1872)


def sync_flip_mocap_people():
  """P3 Table 1 on motion capture, labels of a tenth of the frames; --set=data.path names its files.

  Not of one performer as elsewhere: hers or his are of one kind of motion. The one with the most
  frames (CMU's 16) walks, runs and jumps, always upright, and poses of the validation performers
  lie 18 of his standard deviations from his mean (root mean square of all coordinates).
  """
  return _table_of_p3("mocap_people", "transfer_mocap_people", count=2_500)


def sync_flip_pose2sim_balancing():
  """P3 Table 1 on a real clip of one man; --set=data.path names its folder."""
  return _table_of_p3("pose2sim_balancing", "transfer_pose2sim_balancing")


VARIANTS = {
  "synthetic_people": synthetic_people,
  "synthetic_sessions": synthetic_sessions,
  "mocap_people": mocap_people,
  "mocap_sessions": mocap_sessions,
  "pose2sim_balancing": pose2sim_balancing,
  "smoke": smoke,
  "labels": labels,
  "labels_mocap_sessions": labels_mocap_sessions,
  "sync_flip": sync_flip,
  "sync_flip_mocap_people": sync_flip_mocap_people,
  "sync_flip_pose2sim_balancing": sync_flip_pose2sim_balancing,
}


def get_config(variant=None):
  return common.choose(VARIANTS, variant, "synthetic_people")
