"""What a run of synchronisation and flip knows of its own task, from its embeddings (P3 §4.3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpose import provenance, run_settings
from jaxpose.crops import DETECTOR
from jaxpose.data.sampling import evenly_spread
from jaxpose.evaluation import protocols, synchronisation
from jaxpose.evaluation.synchronisation import Head, Retrieval, Views
from jaxpose.methods.background_treatment import removes
from jaxpose.methods.sync_flip import TIME_VARIANT

METHOD = "sync_flip"
PAIRS = 2_000  # of each kind, for each gap
QUERIES = 200  # frames that others are looked for
CANDIDATES = 20_000  # training frames that are looked through, at most
SUBJECTS = 5  # of the training split that have an answer of their own, as in P3's Figure 6
SHOWN = 6  # queries of each kind whose answers are kept for pictures

Exported = Mapping[str, Mapping[str, Any]]


def evaluate_pretext(experiment: Any, exported: Exported, seed: int = 0) -> dict[str, Any] | None:
  """Accuracy against the gap of each split, and what is found in other cameras and subjects.

  None where the exported vectors are not those that the method fuses, see `fuses_embedding`.

  Args:
    experiment: of the run.
    exported: embeddings of its train and test splits, or of one.

  Returns:
    Plain values for JSON; or "left_out", why, where the checkpoint is not the exported one or
    synchronisation was not learned.
  """
  if not fuses_embedding(experiment.config):
    return None
  if not run_settings.ever_weighs(experiment.config.sync_flip.loss_weights.synchronisation):
    return {"left_out": "synchronisation was not learned: its loss has no weight"}
  variables = experiment.restore("")
  weights = provenance.digest_weights(variables)
  if any(provenance.differ(provenance.weights_of(e), weights) for e in exported.values()):
    return {"left_out": "the embeddings are of another checkpoint: launch/export.py makes them"}
  head = read_head(variables, experiment.config.sync_flip.fusion)
  found: dict[str, Any] = {"accuracy": {}}
  apart = {experiment.dataset(name).split: name for name in exported}  # one where test is train
  for split, name in apart.items():
    embeddings = exported[name]
    curve = synchronisation.accuracy_by_gap(gather_views(embeddings), head, pairs=PAIRS, seed=seed)
    found["accuracy"][split] = [point._asdict() for point in curve]
  name = "test" if "test" in exported else "train"
  found |= {"split": name, "called": experiment.dataset(name).split}
  views = gather_views(exported[name])
  own = synchronisation.find_in_other_camera(views, head, queries=QUERIES, seed=seed)
  if own is not None:
    retrieval, errors = own
    found["other_camera"] = errors._asdict() | {"shown": _shown([retrieval], views, views)}
  if {"train", "test"} <= set(exported):
    root = experiment.dataset("train").skeleton.root
    others = _other_subjects(exported, head, root, seed)
    found |= {} if others is None else {"other_subjects": others}
  return found


def fuses_embedding(config: Any) -> bool:
  """Is what a run exports as time_variant, which its first method gives, what the heads compare?

  It is where that is synchronisation and flip itself, and beside another method where pairs are
  cropped, rid of their backgrounds and encoded as that one does.
  """
  methods = tuple(config.methods)
  if METHOD not in methods or methods[0] == METHOD:
    return METHOD in methods
  pairs, scene = config.pairs, config.scene
  if pairs.crop != DETECTOR or config.sync_flip.features != TIME_VARIANT:
    return False
  removed, seen_removed = removes(pairs.background), removes(scene.background)
  same_threshold = pairs.background_threshold == scene.background_threshold
  return removed == seen_removed and (same_threshold or not removed)


def read_head(variables: Mapping[str, Any], fusion: str) -> Head:
  """The head of synchronisation in a checkpoint's variables."""
  own = variables["params"][METHOD]["synchronised"]
  return Head(fusion, np.asarray(own["kernel"])[:, 0], float(np.asarray(own["bias"])[0]))


def gather_views(embeddings: Mapping[str, Any]) -> Views:
  """The frames of an export that show a person."""
  names = ("sequence", "camera", "frame")
  person = protocols.has_person(embeddings)
  vectors, ids = embeddings["time_variant"], [np.asarray(embeddings[n]) for n in names]
  if person.all():
    return Views(vectors, *ids)
  rows = np.flatnonzero(person)
  return Views(np.asarray(vectors[rows]), *(column[rows] for column in ids))


def _other_subjects(
  exported: Exported, head: Head, root: tuple[int, ...], seed: int
) -> dict[str, Any] | None:
  """The best frame of each of a few other people for test frames, and how near its pose is.

  None where the training frames show nobody else.
  """
  train, test = exported["train"], exported["test"]
  rng = np.random.default_rng(seed)
  rows = _usable(test)
  queries = np.sort(rng.choice(rows, min(QUERIES, len(rows)), replace=False))
  candidates = evenly_spread(_usable(train), CANDIDATES)
  asked, there = _people(test, queries), _people(train, candidates)
  others = {one: np.unique(there[there != one]) for one in np.unique(asked).tolist()}
  others = {one: names for one, names in others.items() if len(names)}
  if not others:
    return None
  count = min(SUBJECTS, *map(len, others.values()))
  parts = []  # for each person who is asked for: best of all, best of each of a few
  random = []
  for one, names in others.items():
    allowed = candidates[there != one]
    groups = [allowed, *(candidates[there == s] for s in evenly_spread(names, count))]
    mine = queries[asked == one]
    vectors = (test["time_variant"], mine, train["time_variant"])
    parts.append(synchronisation.find_in_others(*vectors, groups, head))
    random.append(rng.choice(allowed, len(mine)))
  best, *each = [_join(answers) for answers in zip(*parts, strict=True)]
  views = [gather_all(exported[split]) for split in ("test", "train")]
  return {
    "queries": len(best.query),
    "frames": len(candidates),
    "found": _distances(test, train, best.query, best.found, root),
    "random": _distances(test, train, best.query, np.concatenate(random), root),
    "shown": _shown(each, *views),
  }


def _people(embeddings: Mapping[str, Any], rows: np.ndarray) -> np.ndarray:
  """Names of the subjects of rows: their numbers differ from split to split."""
  names = np.asarray(embeddings["subject_names"])
  return names[np.asarray(embeddings["subject"])[rows]]


def _join(parts: Sequence[Retrieval]) -> Retrieval:
  return Retrieval(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _usable(embeddings: Mapping[str, Any]) -> np.ndarray:
  """Rows with a person, and, where any has one, with a pose."""
  person = protocols.has_person(embeddings)
  if "joint_valid" not in embeddings:
    return np.flatnonzero(person)
  posed = person & np.asarray(embeddings["joint_valid"]).any(axis=1)
  return np.flatnonzero(posed if posed.any() else person)


def gather_all(embeddings: Mapping[str, Any]) -> Views:
  """All frames of an export, row by row."""
  ids = (np.asarray(embeddings[n]) for n in ("sequence", "camera", "frame"))
  return Views(embeddings["time_variant"], *ids)


def _distances(
  test: Mapping[str, Any],
  train: Mapping[str, Any],
  queries: np.ndarray,
  found: np.ndarray,
  root: tuple[int, ...],
) -> dict[str, float]:
  if not all({"pose3d_mm", "joint_valid"} <= set(e) for e in (test, train)):
    return {}
  first, second = np.asarray(test["pose3d_mm"][queries]), np.asarray(train["pose3d_mm"][found])
  valid = np.asarray(test["joint_valid"][queries]) & np.asarray(train["joint_valid"][found])
  return dict(synchronisation.pose_distances(first, second, valid, root))


def _shown(answers: list[Retrieval], queries: Views, found: Views) -> list[dict[str, Any]]:
  """The first queries with what was found for each: ids of frames and probabilities."""
  lines = []
  for place in evenly_spread(np.arange(len(answers[0].query)), SHOWN).tolist():
    lines.append(
      {
        "query": _ids(queries, int(answers[0].query[place])),
        "found": [
          _ids(found, int(a.found[place])) | {"probability": float(a.probability[place])}
          for a in answers
        ],
      }
    )
  return lines


def _ids(views: Views, row: int) -> dict[str, int]:
  return {name: int(getattr(views, name)[row]) for name in ("sequence", "camera", "frame")}
