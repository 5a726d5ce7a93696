"""The frames to label against plain searches; that groups are found is tried with protocols."""

import numpy as np
import pytest

from jaxpose.evaluation import suggest

_RNG = np.random.default_rng(2)


def _embeddings(table, **more):
  return {"time_variant": table, "presence": np.ones(len(table), np.float32), **more}


def _standardised(table):
  return (table - table.mean(axis=0)) / table.std(axis=0)


def _farthest_first(table, count, first):
  """By all distances, one frame at a time."""
  chosen = [first]
  while len(chosen) < count:
    distance = np.linalg.norm(table[:, None] - table[chosen], axis=-1).min(axis=1)
    chosen.append(int(np.argmax(distance)))
  return sorted(chosen)


@pytest.mark.parametrize("seed", [0, 5])
def test_centres_are_the_farthest_from_all_before(seed):
  table = (_RNG.normal(size=(60, 3)) * [1, 50, 0.02] + [0, 9, 1]).astype(np.float32)
  found = suggest.suggest_frames(_embeddings(table), 9, method="kcenter", seed=seed)
  standard = _standardised(table.astype(np.float64))
  ways = [_farthest_first(standard, 9, first) for first in range(60)]
  assert found.tolist() in ways
  own = suggest._kcenter(standard, 1, seed)[0]
  assert found.tolist() == ways[own]


def test_rare_frames_are_centres():
  table = np.concatenate([_RNG.normal(size=(50, 2)), [[30, 0], [0, -40]]]).astype(np.float32)
  found = suggest.suggest_frames(_embeddings(table), 3, method="kcenter")
  assert {50, 51} < set(found.tolist())


def test_a_feature_of_large_numbers_counts_no_more_than_another():
  # two groups along the first feature, noise of a thousand times its size along the second
  group = np.arange(40) % 2
  table = np.stack([0.01 * group, 10 * np.resize([-1.0, 1, 1, -1], 40)], axis=1)
  table += [1e-4, 1e-3] * _RNG.normal(size=(40, 2))
  found = suggest.suggest_frames(_embeddings(table.astype(np.float32)), 4)
  corners = {(int(group[i]), table[i, 1] > 0) for i in found}
  assert len(corners) == 4


def test_typical_frames_lie_nearest_to_their_groups_means():
  # three far groups: of each the frame nearest to its mean
  group = np.repeat([0, 1, 2], 15)
  table = np.array([[0.0, 0], [100, 0], [0, 100]])[group] + _RNG.normal(size=(45, 2))
  found = suggest.suggest_frames(_embeddings(table.astype(np.float32)), 3)
  standard = _standardised(table)
  for number in range(3):
    own = np.flatnonzero(group == number)
    distance = np.linalg.norm(standard[own] - standard[own].mean(axis=0), axis=1)
    assert own[np.argmin(distance)] in found


@pytest.mark.parametrize("method", suggest.METHODS)
def test_what_is_known_of_a_frame_counts_before_what_is_estimated(method):
  present = np.array([1, 0, -1, -1, 1])
  presence = np.array([0.1, 0.9, 0.4, 0.6, 0.9], np.float32)
  data = {"time_variant": _RNG.normal(size=(5, 3)), "presence": presence, "present": present}
  np.testing.assert_array_equal(suggest.suggest_frames(data, 3, method=method), [0, 3, 4])
  with pytest.raises(ValueError, match="cannot suggest 4 frames: 3 frames show a person"):
    suggest.suggest_frames(data, 4, method=method)
  with pytest.raises(ValueError, match="cannot suggest 0"):
    suggest.suggest_frames(data, 0, method=method)


def test_of_many_frames_evenly_spaced_ones_are_looked_at(monkeypatch):
  monkeypatch.setattr(suggest, "_MOST", 5)
  table = _RNG.normal(size=(17, 2))
  # 17 frames at 5 places: 0, 4, 8, 12, 16
  for method in suggest.METHODS:
    found = suggest.suggest_frames(_embeddings(table), 5, method=method)
    np.testing.assert_array_equal(found, [0, 4, 8, 12, 16])
  assert len(set(suggest.suggest_frames(_embeddings(table), 6).tolist())) == 6  # more if asked for


def test_another_embedding_may_be_looked_at():
  table = np.zeros((30, 2), np.float32)
  looks = np.eye(3, dtype=np.float32)[np.arange(30) // 10]
  found = suggest.suggest_frames(
    _embeddings(table, time_invariant=looks), 3, feature="time_invariant", method="kcenter"
  )
  np.testing.assert_array_equal(found // 10, [0, 1, 2])
