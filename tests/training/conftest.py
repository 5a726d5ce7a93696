"""The tests of training compile many small programs, some again and again: in a hurry, and once."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def _compile_in_a_hurry(tmp_path_factory):
  usual = {
    "jax_compilation_cache_dir": jax.config.jax_compilation_cache_dir,
    "jax_persistent_cache_min_compile_time_secs": 1.0,
    "jax_disable_most_optimizations": False,
  }
  hurry = (str(tmp_path_factory.mktemp("programs")), 0.0, True)
  for name, value in zip(usual, hurry):
    jax.config.update(name, value)
  yield
  for name, value in usual.items():
    jax.config.update(name, value)
