"""Two fake CPU devices in every test run, rank promotion as an error, and checked signatures."""

import os
import pathlib
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[1]
for _path in (str(_ROOT), str(_ROOT / "tests")):
  if _path not in sys.path:
    sys.path.insert(0, _path)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
  ).strip()
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
_FAST_COMPILATION = "JAX_DISABLE_MOST_OPTIMIZATIONS"

import jaxtyping  # noqa: E402
import pytest  # noqa: E402


def pytest_configure(config):
  """Compiles fast instead of well, here and in the jobs that tests start.

  Compiling is most of the time of the default tests. Slow ones, which train, and benchmarks get the
  program that users get; so do modules that ask for `optimised`.
  """
  default = config.option.markexpr == "not slow" and not config.option.benchmark_only
  if default:
    os.environ.setdefault(_FAST_COMPILATION, "1")


# Every function of the library checks the types and shapes of its signature when it is called.
jaxtyping.install_import_hook("jaxpose", "type_checking.check")


@pytest.fixture(scope="module")
def optimised():
  """For modules that compute more than they compile."""
  import jax

  jax.config.update("jax_disable_most_optimizations", False)
  yield
  jax.config.update("jax_disable_most_optimizations", os.environ.get(_FAST_COMPILATION) == "1")


@pytest.fixture
def unchecked_signatures():
  """For tests of what the library says of arguments that its signatures forbid."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def tiny_people(tmp_path_factory):
  """The folder of the `tiny` synthetic people, built once for all tests that need data."""
  from datasets.pose_video import prepare
  from datasets.synthetic_people.builder import SyntheticPeople

  return prepare(SyntheticPeople, tmp_path_factory.mktemp("data"), config="tiny")
