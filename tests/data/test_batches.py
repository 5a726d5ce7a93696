"""Which frames stand in a batch, and where; the frames only say their source and number."""

import dataclasses
import json
import logging
import pickle

import numpy as np
import pytest
from numbered_frames import FALL, ONE, PAIR, SIZE, TEMPORAL, THREE, TWO, VIEWS, Frames, frames, make

from jaxpose.data import batches, sampling, sources
from jaxpose.data.batches import TemporalConfig
from jaxpose.data.clock import uniform
from jaxpose.data.sources import Source


def triplets(dataset, **options):
  return sampling.build_triplets(dataset.index, near_max=3, far_min=8, **options)


# --- which source, which frames ----------------------------------------------------------------


def test_sources_are_drawn_by_weight_and_their_frames_by_their_sampler():
  maker = make(Source(ONE, weight=1.0), Source(TWO, weight=0.0), Source(THREE, weight=3.0))
  examples = np.arange(5, 4000)
  source, ids, gravity = maker.draw_temporal(0, examples)
  # a quarter and three quarters of [0, 1)
  expected = np.where(uniform(3, 30, examples) < 0.25, 0, 2)
  np.testing.assert_array_equal(source, expected)
  for number, dataset in ((0, ONE), (2, THREE)):
    own = sampling.sample_triplets(triplets(dataset), 3, examples)
    np.testing.assert_array_equal(ids[source == number], own[source == number])
  assert not gravity.any()


def test_without_weights_every_reference_is_as_likely():
  examples = np.arange(3000)
  source, _, _ = make(ONE, TWO, THREE).draw_temporal(0, examples)
  sizes = np.array([len(triplets(dataset).references) for dataset in (ONE, TWO, THREE)])
  ends = np.cumsum(sizes) / sizes.sum()
  u = uniform(3, 30, examples)
  np.testing.assert_array_equal(source, (u[:, None] >= ends[:2]).sum(axis=1))


def test_only_chosen_sequences_are_drawn_from():
  _, ids, _ = make(Source(ONE, sequences=(2,))).draw_temporal(0, np.arange(500))
  own = triplets(ONE, sequences=np.array([2]))
  np.testing.assert_array_equal(ids, sampling.sample_triplets(own, 3, np.arange(500)))
  assert ids.min() >= 51


def test_falls_come_from_the_sources_that_have_any():
  temporal = dataclasses.replace(
    TEMPORAL, gravity=((0, 0.5), (2, 0.0)), spacing_min=1, spacing_max=2
  )
  maker = make(ONE, FALL, temporal=dataclasses.replace(temporal, far_min=4))
  source, ids, gravity = maker.draw_temporal(1, np.arange(400))
  assert 150 < gravity.sum() < 250
  assert (source[gravity] == 1).all()
  assert (source[~gravity] == 0).any()
  assert FALL.index.falling[ids[gravity]].all()
  assert not maker.draw_temporal(2, np.arange(400))[2].any()


def test_a_batch_of_falls_alone_asks_no_distances_of_its_tracks():
  # far_min is beyond the only track
  temporal = TemporalConfig(near_max=3, far_min=99, gravity=((0, 1.0),), spacing_max=2)
  batch = make(FALL, temporal=temporal)[0]["temporal"]
  assert batch["gravity"].all()
  apart = np.diff(batch["frame"], axis=1)
  assert (apart == apart[:, :1]).all()
  np.testing.assert_array_equal(batch["position"], batch["frame"] - batch["frame"][:, :1])


def test_far_frames_have_a_limit_and_may_be_two():
  temporal = dataclasses.replace(TEMPORAL, far_max=11, second_far=True)
  _, ids, _ = make(ONE, temporal=temporal).draw_temporal(0, np.arange(500))
  frame = ONE.index.frame[ids]
  distance = np.abs(frame - frame[:, :1])
  assert set(distance[:, 1]) == {1, 2, 3}
  for far in (2, 3):
    assert set(distance[:, far]) == {8, 9, 10, 11}


def test_falls_come_from_chosen_sequences_and_may_count_seconds():
  two_falls = frames(9, [range(12)] * 2, falling=[[True] * 12] * 2)
  # 25 frames/s: 2 to 3.25 frames
  temporal = TemporalConfig(
    near_max=0.1, far_min=0.4, unit="s", gravity=((0, 1.0),), spacing_min=0.08, spacing_max=0.13
  )
  maker = make(Source(two_falls, sequences=(1,)), temporal=temporal)
  _, ids, gravity = maker.draw_temporal(0, np.arange(500))
  assert gravity.all()
  assert set(np.unique(ids)) == set(range(12, 24))
  assert set(np.diff(ids, axis=1).ravel()) == {2, 3}


def test_without_weights_every_fall_is_as_likely():
  whole = frames(9, [range(12)], falling=[[True] * 12])
  temporal = dataclasses.replace(TEMPORAL, gravity=((0, 1.0),), spacing_min=1, spacing_max=2)
  examples = np.arange(3000)
  source, _, _ = make(FALL, whole, temporal=temporal).draw_temporal(0, examples)
  # of 8 falling frames 5 quadruples of neighbours and 2 of every other frame; of 12, 9 and 6
  np.testing.assert_array_equal(source, uniform(3, 30, examples) >= 7 / 22)


def test_a_draw_is_of_the_first_source_whose_share_it_falls_into():
  u = np.array([0.0, 0.25, 0.5, 0.75, 1 - 2.0**-53])
  found = sources.choose(u, np.array([0.0, 0.25, 0.0, 0.5, 0.25]))
  np.testing.assert_array_equal(found, [1, 3, 3, 4, 4])
  # shares that add up to a little less than 1
  np.testing.assert_array_equal(sources.choose(u[-1:], np.array([0.5, 0.5 - 1e-9, 0.0])), [1])


# --- the order of examples ---------------------------------------------------------------------


def test_hosts_count_their_examples_from_the_step():
  # 12 examples a step on three hosts: the second has 4..7 of each twelve
  maker = make(ONE, host_index=1, host_count=3)
  np.testing.assert_array_equal(maker.examples(0), [4, 5, 6, 7])
  np.testing.assert_array_equal(maker.examples(2), [28, 29, 30, 31])


def assert_equal(first, second):
  assert first.keys() == second.keys()
  for kind in first:
    assert first[kind].keys() == second[kind].keys()
    for name, value in first[kind].items():
      np.testing.assert_array_equal(value, second[kind][name], err_msg=name)


def test_steps_may_be_asked_for_in_any_order():
  options = {"pair": PAIR, "temporal": TEMPORAL}
  maker, other = make(ONE, THREE, **options), make(ONE, THREE, **options)
  later = maker[5]
  assert_equal(maker[2], other[2])
  assert_equal(later, other[5])


def test_an_example_is_the_same_in_batches_of_any_size():
  small, large = make(ONE, TWO, batch_size=4)[3], make(ONE, TWO, batch_size=12)[1]
  assert_equal(small, {"temporal": {k: v[:4] for k, v in large["temporal"].items()}})


def test_a_pickled_maker_makes_its_own_tables():
  maker = make(ONE, THREE, pair=PAIR)
  expected = maker[1]
  state = maker.__getstate__()
  assert state["_tables"] is None
  other = pickle.loads(pickle.dumps(maker))
  assert other._tables is None
  assert_equal(other[1], expected)


# --- where things stand ------------------------------------------------------------------------


def test_every_frame_and_background_stands_in_its_row():
  maker = make(ONE, TWO, THREE, batch_size=30)
  batch = maker[2]["temporal"]
  source, ids, _ = maker.draw_temporal(2, np.arange(60, 90))
  assert set(source) == {0, 1, 2}
  np.testing.assert_array_equal(batch["image"][:, :, 1, 4, 0], ids)
  np.testing.assert_array_equal(batch["image"][:, :, 0, 0, 1], source[:, None] + [[1] * 4])
  # the background of the reference is that of all four
  assert batch["background"].shape == (30, 1, *SIZE, 3)
  np.testing.assert_array_equal(batch["background"][:, 0, 0, 0, 0], ids[:, 0])
  np.testing.assert_array_equal(batch["background"][:, 0, 0, 0, 1], 101 + source)
  for row in range(30):
    index = (ONE, TWO, THREE)[source[row]].index
    np.testing.assert_array_equal(batch["frame"][row], index.frame[ids[row]])


def test_a_moving_camera_gives_every_frame_of_the_batch_a_background():
  panning = frames(5, [range(30)], moving=True)
  maker = make(ONE, panning, batch_size=20)
  batch = maker[0]["temporal"]
  source, ids, _ = maker.draw_temporal(0, np.arange(20))
  assert set(source) == {0, 1}
  np.testing.assert_array_equal(batch["background"][..., 1, 1, 0], ids)
  np.testing.assert_array_equal(
    batch["background"][..., 1, 1, 1], np.array([101, 105])[source][:, None] + [[0] * 4]
  )


def test_sequences_and_subjects_are_numbered_on_from_source_to_source():
  maker = make(ONE, TWO, THREE, batch_size=60)
  batch = maker[0]["temporal"]
  source, ids, _ = maker.draw_temporal(0, np.arange(60))
  for row in range(60):
    index = (ONE, TWO, THREE)[source[row]].index
    track = index.track_of(ids[row, :1])[0]
    # three sequences of two subjects before the second source, five of three before the third
    assert batch["sequence"][row] == index.sequence[track] + (0, 3, 5)[source[row]]
    subject = index.subject[index.sequence[track]]
    assert batch["subject"][row] == subject + (0, 2, 3)[source[row]]
    assert batch["camera"][row] == index.camera[track]
  assert set(batch["sequence"]) == {0, 1, 2, 3, 4, 5}


def test_times_count_in_the_unit_of_the_distances():
  seconds = TemporalConfig(near_max=0.2, far_min=0.4, unit="s")
  batch = make(ONE, THREE, temporal=seconds)[0]["temporal"]
  frame = batch["frame"].astype(float)
  np.testing.assert_allclose(batch["position"], (frame - frame[:, :1]) / 25, atol=1e-5)
  assert np.abs(batch["position"][:, 1]).max() < 0.21


def test_large_arrays_are_made_by_allocate(monkeypatch):
  made = []

  def allocate(shape, dtype):
    made.append(np.full(shape, 7, dtype))
    return made[-1]

  monkeypatch.setattr(batches, "allocate", allocate)
  batch = make(ONE, batch_size=3)[0]["temporal"]
  assert [array.shape for array in made] == [(12, *SIZE, 3), (3, *SIZE, 3)]
  assert np.shares_memory(batch["image"], made[0])
  assert np.shares_memory(batch["background"], made[1])


# --- what a checkpoint holds on to -------------------------------------------------------------


def test_the_fingerprint_is_of_all_that_decides_the_frames():
  own = make(ONE, pair=PAIR).fingerprint()
  assert json.loads(json.dumps(own)) == own
  labelled = dataclasses.replace(TEMPORAL, labels=True)
  for same in ({"host_count": 2, "host_index": 1}, {"temporal": labelled}):
    assert make(ONE, pair=PAIR, **same).fingerprint() == own
  # one frame number, and where one track ends and the next begins
  moved = dataclasses.replace(ONE.index, frame=ONE.index.frame + (np.arange(81) == 80))
  split = dataclasses.replace(ONE.index, start=np.array([0, 26, 51]), length=np.array([26, 25, 30]))
  others = [
    Frames(moved, 1),
    Frames(split, 1),
    Source(ONE, weight=2.0),
    Source(ONE, sequences=(1,)),
  ]
  found = [make(other, pair=PAIR).fingerprint()["data"] for other in others]
  assert all(data != own["data"] for data in found)
  assert len({json.dumps(data) for data in found}) == 4


# --- what cannot be ----------------------------------------------------------------------------


def test_tracks_that_are_too_short_are_said(caplog):
  short = frames(6, [range(40), range(5), range(4)])
  with caplog.at_level(logging.WARNING):
    make(short).tables  # noqa: B018
  assert "/data/6, split train: 2 of 3 tracks are too short for far_min 8" in caplog.text
  caplog.clear()
  with caplog.at_level(logging.WARNING):
    make(TWO, Source(short, sequences=(0,))).tables  # noqa: B018  chosen on purpose
  assert not caplog.text


def test_data_that_cannot_give_what_is_asked_for_are_named():
  with pytest.raises(ValueError, match="/data/2, split train: no frame has partners"):
    make(ONE, TWO, temporal=TemporalConfig(near_max=3, far_min=45)).tables  # noqa: B018
  with pytest.raises(ValueError, match=r"/data/1, split train: no .* pairs.*; /data/2, split"):
    make(ONE, TWO, temporal=None, pair=PAIR).tables  # noqa: B018
  with pytest.raises(ValueError, match=r"/data/1, split train: no two cameras.*; /data/2, split"):
    make(ONE, TWO, temporal=None, views=VIEWS).tables  # noqa: B018
  with pytest.raises(ValueError, match="neither temporal samples, nor pairs, nor views"):
    make(ONE, temporal=None)
  with pytest.raises(ValueError, match="a schedule must begin at step 0"):
    make(ONE, temporal=dataclasses.replace(TEMPORAL, gravity=((1, 0.5),))).tables  # noqa: B018


@pytest.mark.parametrize("weights", [(1.0, -1.0), (0.0, 0.0), (1.0, np.nan), (None, np.inf)])
def test_weights_that_no_source_can_be_drawn_by_are_refused(weights):
  with pytest.raises(ValueError, match="weights of data sets must be 0 or more"):
    make(*(Source(dataset, weight=w) for dataset, w in zip((ONE, TWO), weights)))


def test_what_only_a_source_of_weight_0_could_give_is_missing():
  temporal = dataclasses.replace(TEMPORAL, gravity=((0, 1.0),), spacing_max=2)
  both = [Source(ONE, weight=1.0), Source(FALL, weight=0.0)]
  with pytest.raises(ValueError, match="/data/1, split train: no four falling frames"):
    make(*both, temporal=temporal).tables  # noqa: B018
