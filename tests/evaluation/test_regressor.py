import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.evaluation import fitting
from jaxpose.evaluation.regressor import (
  Architecture,
  Regressor,
  Standardisation,
  build_network,
  load_regressor,
  save_regressor,
  standardise,
)
from jaxpose.skeleton import Skeleton

_SKELETON = Skeleton("two", ("root", "left_tip"), (0, 0), (), (0,))


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
  network = build_network(architecture, 6)
  params = network.init(jax.random.key(0), jnp.ones((2, 5)), train=False)["params"]
  return {name: leaf["kernel"].shape for name, leaf in params.items() if "kernel" in leaf}


def _regressor(architecture: Architecture, seed: int = 0) -> Regressor:
  rng = np.random.default_rng(seed)
  variables = build_network(architecture, 6).init(jax.random.key(seed), jnp.ones((1, 5)), False)
  standard = Standardisation(
    rng.normal(size=5).astype(np.float32),
    np.array([1.0, 2, 0.5, 0, 3], np.float32),
    rng.normal(size=(2, 3)).astype(np.float32),
    37.5,
  )
  return Regressor(architecture, variables, standard, _SKELETON, "time_variant")


def test_layers_of_the_architectures():
  # P2: two hidden layers; residual: in, three blocks of two, out
  assert list(_shapes(Architecture(width=7)).values()) == [(5, 7), (7, 7), (7, 6)]
  residual = _shapes(Architecture("residual", width=4, depth=3))
  assert list(residual.values()) == [(5, 4), *[(4, 4)] * 6, (4, 6)]
  assert list(_shapes(Architecture("linear")).values()) == [(5, 6)]


@pytest.mark.parametrize("kind", ["linear", "residual"])
def test_a_new_network_gives_the_mean_pose(kind):
  network = build_network(Architecture(kind, width=4, depth=2), 6)
  x = jax.random.normal(jax.random.key(1), (3, 5))
  variables = network.init(jax.random.key(0), x, train=False)
  np.testing.assert_array_equal(network.apply(variables, x, train=False), np.zeros((3, 6)))


def test_residual_blocks_add_to_their_input():
  architecture = Architecture("residual", width=4, depth=2, dropout=0.0)
  network = build_network(architecture, 6)
  x = jax.random.normal(jax.random.key(1), (3, 5))
  variables = network.init(jax.random.key(0), x, train=False)
  params = {
    name: jax.tree.map(jnp.zeros_like, leaf) if name in ("Dense_2", "Dense_4") else leaf
    for name, leaf in variables["params"].items()
  }
  params["Dense_5"]["kernel"] = jax.random.normal(jax.random.key(2), (4, 6))
  first, last = params["Dense_0"], params["Dense_5"]
  expected = np.asarray(x) @ np.asarray(first["kernel"]) @ np.asarray(last["kernel"])
  np.testing.assert_allclose(
    network.apply({"params": params}, x, train=False), expected, rtol=1e-5, atol=1e-6
  )


def test_predict_undoes_the_standardisation():
  regressor = _regressor(Architecture("linear"))
  features = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
  standard, dense = regressor.standardisation, regressor.variables["params"]["Dense_0"]
  x = (features - standard.feature_mean) / [1, 2, 0.5, 1, 3]
  x[:, 3] = 0  # the feature without spread
  flat = x @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
  expected = flat.reshape(4, 2, 3) * 37.5 + standard.pose_mean_mm
  expected -= expected[:, list(_SKELETON.root)].mean(1, keepdims=True)
  np.testing.assert_allclose(regressor.predict(features), expected, rtol=1e-4, atol=1e-4)
  assert regressor.predict(features[:0]).shape == (0, 2, 3)
  with pytest.raises(ValueError, match="reads 5 features"):
    regressor.predict(features[:, :4])


def test_standardise_gives_zero_mean_and_unit_deviation():
  features = np.random.default_rng(4).normal(3, 7, size=(50, 2)).astype(np.float32)
  data = fitting.make_training_data(
    features, np.arange(10), np.zeros((10, 2, 3)), np.ones((10, 2), bool)
  )
  whole = standardise(
    features, Standardisation(data.feature_mean, data.feature_std, np.zeros((2, 3)), 1.0)
  )
  np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(whole.std(axis=0), 1, rtol=1e-5)
  np.testing.assert_allclose(data.features, whole[:10], rtol=1e-6)


@pytest.mark.parametrize(
  "architecture",
  [Architecture(width=4, batch_norm=True), Architecture("residual", width=3, depth=1)],
)
def test_saved_and_loaded(tmp_path, architecture):
  regressor = _regressor(architecture, seed=5)
  path = tmp_path / "deep" / "regressor.npz"
  save_regressor(path, regressor)
  loaded = load_regressor(path)
  features = np.random.default_rng(6).normal(size=(9, 5)).astype(np.float32)
  np.testing.assert_array_equal(loaded.predict(features), regressor.predict(features))
  assert loaded.architecture == architecture
  assert loaded.skeleton == _SKELETON
  assert loaded.feature == "time_variant"
  assert [p.name for p in path.parent.iterdir()] == ["regressor.npz"]
  with np.load(path, allow_pickle=False) as arrays:
    assert all(arrays[name].dtype != object for name in arrays.files)


def test_files_that_are_no_regressor(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"launch/probe\.py"):
    load_regressor(tmp_path / "missing.npz")
  np.savez(tmp_path / "other.npz", frame=np.arange(3))
  with pytest.raises(ValueError, match=r"no regressor .*: it has no 'description'"):
    load_regressor(tmp_path / "other.npz")
  np.savez(tmp_path / "pickled.npz", description=np.array([{}], dtype=object))
  with pytest.raises(ValueError, match="no regressor"):
    load_regressor(tmp_path / "pickled.npz")


def test_architectures_that_make_no_sense():
  with pytest.raises(ValueError, match="none of mlp"):
    Architecture("tree")
  with pytest.raises(ValueError, match="dropout"):
    Architecture(dropout=1.0)
  with pytest.raises(ValueError, match="batch_norm"):
    Architecture("residual", batch_norm=True)


# --- fitting -----------------------------------------------------------------------------------


def _linear_data(frames: int = 400, seed: int = 0) -> tuple[fitting.TrainingData, np.ndarray]:
  """Features from which a linear map gives the pose of joint 1; joint 0 is the root."""
  rng = np.random.default_rng(seed)
  features = rng.normal(2, 3, size=(frames, 5)).astype(np.float32)
  poses = np.zeros((frames, 2, 3))
  poses[:, 1] = features @ rng.normal(size=(5, 3)) * 40 + [100, -20, 5]
  data = fitting.make_training_data(features, np.arange(frames), poses, np.ones((frames, 2), bool))
  return data, features


_LINEAR = fitting.FitConfig(Architecture("linear"), 400, 32, 0.05)


def _fit(data: fitting.TrainingData, chosen: np.ndarray, config=_LINEAR, seed: int = 0, **more):
  return fitting.fit_regressor(
    data, chosen, config, seed=seed, skeleton=_SKELETON, feature="time_variant", **more
  )


def test_a_linear_relation_is_found():
  data, features = _linear_data()
  regressor = _fit(data, np.arange(0, 400, 2))
  error = np.linalg.norm(regressor.predict(features) - np.asarray(data.poses_mm), axis=-1)
  assert error.max() < 0.5  # mm, of a spread of about 250


@pytest.mark.parametrize(
  "architecture",
  [
    Architecture(width=32, dropout=0.1),
    Architecture(width=32, dropout=0.1, batch_norm=True),
    Architecture("residual", width=32, depth=1, dropout=0.0),
  ],
)
def test_networks_beat_the_mean_pose(architecture):
  data, features = _linear_data()
  regressor = _fit(data, np.arange(400), fitting.FitConfig(architecture, 400, 32, 0.01))
  target = np.asarray(data.poses_mm)
  error = np.linalg.norm(regressor.predict(features) - target, axis=-1)[:, 1].mean()
  assert error < 0.35 * np.linalg.norm(target - target.mean(axis=0), axis=-1)[:, 1].mean()


def test_only_chosen_frames_and_valid_joints_are_seen():
  data, features = _linear_data()
  chosen = np.arange(50)
  valid = np.ones((400, 2), bool)
  valid[10:20, 1] = False
  poses = np.asarray(data.poses_mm).copy()
  first = _fit(data._replace(valid=jnp.asarray(valid), poses_mm=jnp.asarray(poses)), chosen)
  poses[10:20, 1] = 1e6
  poses[50:] = -1e6
  second = _fit(data._replace(valid=jnp.asarray(valid), poses_mm=jnp.asarray(poses)), chosen)
  np.testing.assert_allclose(second.predict(features), first.predict(features), rtol=1e-4)


def test_seeds_repeat_and_differ():
  data, features = _linear_data(60)
  config = dataclasses.replace(_LINEAR, steps=3)
  same = [_fit(data, np.arange(60), config, seed=1).predict(features) for _ in range(2)]
  other = _fit(data, np.arange(60), config, seed=2).predict(features)
  np.testing.assert_array_equal(*same)
  assert np.abs(other - same[0]).max() > 1


def test_progress_is_told_and_a_bad_loss_stops():
  data, _ = _linear_data(60)
  steps = []
  config = dataclasses.replace(_LINEAR, steps=12)
  _fit(data, np.arange(60), config, progress=lambda step, loss: steps.append(step))
  assert steps[-1] == 12
  assert len(steps) == 5
  broken = data._replace(features=data.features.at[0].set(np.nan))
  with pytest.raises(ValueError, match="loss of the probe"):
    _fit(broken, np.array([0]), config)
  with pytest.raises(ValueError, match="at least one"):
    _fit(data, np.array([], int), config)


def test_mean_pose_by_joint():
  # joint 0: (2 + 4) / 2; joint 1 is valid in the second frame only; joint 2 never
  poses = np.array([[[2.0, 0, 1]] * 3, [[4.0, 6, 1]] * 3])
  valid = np.array([[True, False, False], [True, True, False]])
  poses[0, 1] = np.nan
  np.testing.assert_allclose(fitting.mean_pose(poses, valid), [[3, 3, 1], [4, 6, 1], [0, 0, 0]])
