"""The tests of training compile the same few programs over and over: keep them."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def _compiled_programs(tmp_path_factory):
  names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp("programs")), 0.0)):
    jax.config.update(name, value)
  yield
  for name, value in zip(names, before):
    jax.config.update(name, value)
