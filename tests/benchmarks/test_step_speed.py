"""Where the time of a training step goes, and how it compares with PyTorch's.

pytest tests/benchmarks/test_step_speed.py --benchmark-only -s

Full size is one sample of four frames in float32 on CPU, eight in bfloat16 elsewhere. On CPU set
XLA_FLAGS=--xla_force_host_platform_device_count=1, so that the step has all cores, and on a shared
machine give both programs one core (taskset -c 0) and compare processor time.
"""

import jax
import pytest
import step_parts as parts

REPEATS = {"default": 15, "full": 3}


@pytest.mark.parametrize("kind", REPEATS)
def test_parts_of_a_step(benchmark, kind):
  config = parts.config_of(kind)
  step, state, batch = parts.make_step(config)
  whole = step.lower(state, batch).compile()
  holder = [state]

  def take_step():
    holder[0], metrics = step(holder[0], batch)
    return metrics

  made = parts.make_parts(config)
  functions = {name: lambda f=f, given=given: f(*given) for name, (f, given) in made.items()}
  times = parts.alternate(functions | {"step": take_step}, REPEATS[kind])
  benchmark.pedantic(lambda: jax.block_until_ready(take_step()), rounds=3)
  total = parts.milliseconds(times, "step")
  print(
    f"\n{kind}: {4 * config.batch_size} frames, {jax.default_backend()}, {config.compute_dtype}"
  )
  print(f"{'part':16}{'ms':>9}{'share':>8}{'MB':>9}")
  for name in times:
    used = parts.memory_mb(whole if name == "step" else made[name][0])
    share = parts.ratio(times, name, "step")
    print(f"{name:16}{parts.milliseconds(times, name):9.1f}{share:8.1%}{used:9.0f}")
  speed = 4e3 * config.batch_size / total
  print(f"{speed:.1f} frames/s; this process held {parts.peak_mb():.0f} MB")


@pytest.mark.parametrize("kind", REPEATS)
def test_a_step_against_pytorch(benchmark, kind):
  torch = pytest.importorskip("torch")
  import torch_peer

  config = parts.config_of(kind)
  step, state, batch = parts.make_step(config)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  peer, parameters = torch_peer.make_step(config, parts.make_perceptual(config) is not None, device)
  groups = state.variables["params"]
  assert parameters == sum(x.size for x in jax.tree.leaves(groups))
  sample = parts.make_batch(config)["temporal"]
  frames, known = (
    torch.as_tensor(sample[name]).expand(-1, 4, -1, -1, -1).flatten(0, 1).permute(0, 3, 1, 2)
    for name in ("image", "background")
  )
  frames, known = frames.contiguous().to(device), known.contiguous().to(device)
  holder = [state]

  def take_step():
    holder[0], metrics = step(holder[0], batch)
    return metrics

  functions = {"jaxpose": take_step, "torch": lambda: peer(frames, known)}
  times = parts.alternate(functions, REPEATS[kind])
  benchmark.pedantic(lambda: jax.block_until_ready(take_step()), rounds=3)
  ours, theirs = (parts.milliseconds(times, name) for name in functions)
  print(
    f"\n{kind}: {4 * config.batch_size} frames, jaxpose {ours:.0f} ms, PyTorch {theirs:.0f} ms"
    f" ({torch.get_num_threads()} threads), ratio {parts.ratio(times, 'jaxpose', 'torch'):.2f}"
    f" (processor time {parts.ratio(times, 'jaxpose', 'torch', 1):.2f})"
  )
