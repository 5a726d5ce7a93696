"""The pretext task of a run: its head from the checkpoint, its vectors from the export."""

import json
import types

import made_up_run
import ml_collections
import numpy as np
import pytest

from jaxpose import pretext, provenance
from jaxpose.evaluation import synchronisation
from jaxpose.reporting import analyses, sections
from jaxpose.reporting import pretext as shown

KERNEL = np.array([[0.5], [-0.25], [0.125], [1.0]], np.float32)
VARIABLES = {
  "params": {"sync_flip": {"synchronised": {"kernel": KERNEL, "bias": np.float32([-0.75])}}}
}


def make_run(methods=("sync_flip",), *, weight=(1.0,), splits=("train", "test"), **changes):
  own = {"fusion": "mult", "features": "time_variant", "loss_weights": {"synchronisation": weight}}
  pairs = {"crop": "detector", "background": "remove", "background_threshold": 20.0}
  scene = {"background": "remove", "background_threshold": 20.0}
  config = ml_collections.ConfigDict(
    {"methods": methods, "sync_flip": own, "pairs": pairs, "scene": scene}
  )
  config.update_from_flattened_dict(changes)
  datasets = {}
  for role, name in zip(("train", "test"), splits, strict=True):
    datasets[role] = made_up_run.Dataset()
    datasets[role].split = name
  return types.SimpleNamespace(config=config, restore=lambda which: VARIABLES, dataset=datasets.get)


def make_export(seed, people=("anna", "bert", "carl")):
  """Vectors at random; the subjects of the two splits are other people."""
  dataset = made_up_run.Dataset()
  arrays = made_up_run.embeddings(dataset, weights=provenance.digest_weights(VARIABLES))
  rng = np.random.default_rng(seed)
  arrays["time_variant"] = rng.normal(size=(36, 4)).astype(np.float32)
  arrays["pose3d_mm"] = rng.normal(0, 200, (36, 3, 3)).astype(np.float32)
  arrays["subject_names"] = np.array(people)
  return arrays


EXPORTED = {"train": make_export(0), "test": make_export(1, ("dora", "emil", "fred"))}


@pytest.fixture(scope="module")
def found():
  return pretext.evaluate_pretext(make_run(), EXPORTED)


def test_it_is_plain_and_of_both_splits(found):
  assert json.loads(json.dumps(found)) == found
  assert set(found["accuracy"]) == {"train", "test"}
  # frames 12, 14, ... 20 show a person: only even gaps, of 2 frames and more
  assert [p["gap"] for p in found["accuracy"]["test"]] == [2, 4, 6, 8]
  assert (found["split"], found["called"]) == ("test", "test")


def test_empty_frames_are_left_out_and_the_others_stay_in_their_rows(found):
  views = pretext.gather_views(EXPORTED["test"])
  kept = np.flatnonzero(EXPORTED["test"]["present"])
  np.testing.assert_array_equal(views.features, EXPORTED["test"]["time_variant"][kept])
  np.testing.assert_array_equal(views.frame, EXPORTED["test"]["frame"][kept])
  for kind in ("other_camera", "other_subjects"):
    for line in found[kind]["shown"]:
      assert all(answer["frame"] > 10 for answer in (line["query"], *line["found"]))


def test_the_frame_that_fits_best_is_that_of_the_head(found):
  head = synchronisation.Head("mult", KERNEL[:, 0], -0.75)
  read = pretext.read_head(VARIABLES, "mult")
  np.testing.assert_array_equal(read.kernel, head.kernel)
  assert (read.fusion, read.bias) == ("mult", -0.75)
  train, test = EXPORTED["train"], EXPORTED["test"]
  line = found["other_subjects"]["shown"][0]
  query = np.flatnonzero(
    np.all([test[k] == line["query"][k] for k in ("sequence", "camera", "frame")], axis=0)
  )
  # three subjects, each with an answer of its own
  for subject, answer in enumerate(line["found"]):
    rows = np.flatnonzero((train["subject"] == subject) & (train["present"] == 1))
    logits = head.logits(test["time_variant"][query], train["time_variant"][rows])
    best = rows[np.argmax(logits)]
    assert [train[k][best] for k in ("sequence", "camera", "frame")] == [
      answer[k] for k in ("sequence", "camera", "frame")
    ]
    assert answer["probability"] == pytest.approx(1 / (1 + np.exp(-logits.max())), rel=1e-5)
  assert set(found["other_subjects"]["found"]) == {"N-MPJPE/3 joints", "P-MPJPE/3 joints"}


def test_nobody_is_found_for_himself(found):
  # dora is the third in training, the first here: only anna and bert are others to her
  train = make_export(0, ("anna", "bert", "dora"))
  test = EXPORTED["test"]
  partly = pretext.evaluate_pretext(make_run(), {"train": train, "test": test})["other_subjects"]
  assert partly["queries"] == found["other_subjects"]["queries"] == 30
  for line in partly["shown"]:
    people = [train["subject_names"][a["sequence"]] for a in line["found"]]  # one in each sequence
    assert people == (["anna", "bert"] if line["query"]["sequence"] == 0 else ["anna", "dora"])


def test_one_person_has_no_others_and_one_split_one_curve():
  alone = {name: make_export(0, ("anna", "anna", "anna")) for name in ("train", "test")}
  found = pretext.evaluate_pretext(make_run(splits=("train", "train")), alone)
  assert "other_subjects" not in found
  assert list(found["accuracy"]) == ["train"]  # whose frames they are
  # as what a run asks for, and under the name that the data have
  assert (found["split"], found["called"]) == ("test", "train")
  titles = [table.title for table in shown.pretext_tables(found)]
  assert titles == ["Are two views of one instant?", "The same instant in another camera"]


def test_what_was_not_learned_is_not_measured():
  left = pretext.evaluate_pretext(make_run(weight=(0.0,)), EXPORTED)
  assert set(left) == {"left_out"}
  assert "was not learned" in left["left_out"]


def test_beside_another_method_the_vectors_must_be_those_that_are_fused(found):
  both = ("dsl", "sync_flip")
  assert pretext.evaluate_pretext(make_run(both), EXPORTED) == found
  for change in (
    {"pairs.crop": "labels"},
    {"sync_flip.features": "pooled"},
    {"pairs.background": "substitute"},
    {"scene.background": "keep"},
    {"scene.background_threshold": 19.0},
  ):
    assert pretext.evaluate_pretext(make_run(both, **change), EXPORTED) is None
    assert pretext.fuses_embedding(make_run(**change).config)  # its own vectors always are
  kept = {"pairs.background": "substitute", "scene.background": "keep"}
  for change in (kept, kept | {"scene.background_threshold": 19.0}, {"pairs.background": "mix"}):
    assert pretext.fuses_embedding(make_run(both, **change).config)
  assert not pretext.fuses_embedding(make_run(("dsl",)).config)


def test_other_weights_are_left_alone():
  other = {"test": EXPORTED["test"] | {"weights": "of another"}}
  left = pretext.evaluate_pretext(make_run(), other)
  assert set(left) == {"left_out"}
  assert "another checkpoint" in shown.pretext_tables(left)[0].note
  assert shown.gather_pretext(left, dict, dict, (8, 8)).plot is None


def test_the_report_shows_curve_tables_and_crops(found):
  content = shown.gather_pretext(
    found, lambda split: made_up_run.Dataset(), made_up_run.render, made_up_run.SIZE
  )
  assert content.plot[1:4] == b"PNG"
  (camera, first), (people, second) = content.retrievals
  assert "found in another" in camera
  assert "training subjects" in people
  # six columns; a query and its answers: one, and one for each of three subjects
  tile = 128 + 4
  assert [round(x / tile) for x in first.shape[:2]] == [2, 6]
  assert [round(x / tile) for x in second.shape[:2]] == [4, 6]
  page = sections.pretext(content)
  tables = shown.pretext_tables(found)
  for table in tables:
    assert table.title in page
  point = found["accuracy"]["test"][1]
  assert [f"{point['gap']} ({point['low']} to {point['high']})"] == [tables[0].rows[1][0]]
  assert f"{point['accuracy']:.1%}" == tables[0].rows[1][2]
  text = analyses.markdown(analyses.analysis_tables({"synchronisation": found}))
  assert f"{found['other_subjects']['random']['P-MPJPE/3 joints']:.1f}" in text
  assert f"| {found['other_camera']['mean']:.1f} |" in text
