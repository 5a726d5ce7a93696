"""A training step in parts, each a compiled function with its inputs on the device."""

import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from configs import dsl
from jaxpose import building, parallel, run_settings
from jaxpose.losses import contrastive
from jaxpose.methods import batching, perceptual_term, scene_terms
from jaxpose.methods import dsl as method_dsl
from jaxpose.models.perceptual import PerceptualFeatures
from jaxpose.training.state import make_state
from jaxpose.training.step import make_train_step

ON_CPU = jax.default_backend() == "cpu"


def config_of(kind):
  """The embedded default, or the papers' sizes with as many samples as the device can take."""
  if kind == "default":
    return dsl.get_config()
  config = dsl.get_config("human36m")
  config.batch_size = 1 if ON_CPU else 8
  if ON_CPU:
    config.compute_dtype = "float32"
  return config


def make_batch(config, seed=0):
  """Bytes as the loader gives them."""
  rng = np.random.default_rng(seed)
  count, (height, width) = config.batch_size, config.data.image_size
  sample = {
    "image": rng.integers(0, 256, (count, 4, height, width, 3), np.uint8),
    "background": rng.integers(0, 256, (count, 1, height, width, 3), np.uint8),
    "position": np.tile(np.float32([0, 1, -60, -260]), (count, 1)),
    "example": np.arange(count, dtype=np.uint32),
    "gravity": np.zeros(count, bool),
  }
  return {"temporal": sample}


def make_perceptual(config):
  """A network of random weights, where the configuration has the loss."""
  if config.loss_weights.perceptual == (0.0,):
    return None
  network = PerceptualFeatures(dtype=building.compute_dtype(config))
  return network, jax.jit(network.init)(jax.random.key(3), jnp.zeros((1, 64, 64, 3)))


def make_step(config):
  """The step of training on one device, its state and batch."""
  over = parallel.devices(jax.local_devices()[:1])
  scene = building.build_scene(config, parallel.AXIS)
  perceptual = make_perceptual(config)
  seen, options = building.make_scene_options(config), building.make_dsl_options(config)
  method = method_dsl.build_dsl(scene, seen, options, perceptual)
  optimisers = building.make_optimisers(config, method.objectives)
  terms = {t for o in method.objectives.values() for t in o.terms}
  weights = {
    n: run_settings.loss_weight(n, w) for n, w in config.loss_weights.items() if n in terms
  }
  batch = make_batch(config)
  state = make_state(method, batch, optimisers=optimisers, seed=0, over=over)
  step = make_train_step(
    method, loss_weights=weights, optimisers=optimisers, seed=0, accumulate=1, over=over
  )
  return step, state, parallel.shard_batch(batch, over)


def make_parts(config):
  """{name: (compiled function, arguments)}: forward and backward of each part by itself."""
  scene = building.build_scene(config, None)
  seen, options = building.make_scene_options(config), building.make_dsl_options(config)
  sample = jax.tree.map(jnp.asarray, make_batch(config)["temporal"])
  frames, background = batching.frames(sample), batching.backgrounds(sample)
  method = method_dsl.build_dsl(scene, seen, options, None)
  variables = method.init(jax.random.key(0), {"temporal": sample})
  params = variables["params"]
  rest = {name: tree for name, tree in variables.items() if name != "params"}
  count, side = len(frames), config.model.crop_size
  keys = jax.random.split(jax.random.key(1), count)
  box = jnp.tile(jnp.asarray([[0.3, 0.55, 0.1, -0.2]]), (count, 1))
  crops = jax.random.uniform(keys[0], (2 * count, side, side, 3))
  latents = [
    jax.random.normal(keys[0], (count, n))
    for n in (config.model.time_variant, config.model.time_invariant)
  ]

  def apply(name, params, *inputs):
    return scene.apply(
      {"params": params, **rest}, *inputs, method=getattr(scene, name), mutable=["batch_stats"]
    )[0]

  def energy(tree):
    return sum(jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(tree))

  def gradient(name, inputs, wanted, *last):
    """Of the energy of the scene's method `name`, to the inputs numbered in `wanted`; 0: params."""

    def total(params, *given):
      return energy(apply(name, params, *given, *last))

    return jax.grad(total, wanted), (params, *inputs)

  rgb, mask = apply("decode", params, *latents, keys, True)
  predicted = jax.jit(lambda *x: apply("compose", params, *x))(rgb, mask, box, background)
  predicted = predicted["reconstruction"]
  terms = {"box": box, "reconstruction": predicted, "time_variant": latents[0]}

  def losses(terms, sample, frames):
    found = scene_terms.pass_terms(scene, seen, sample, frames, terms)
    vectors = batching.samples(terms["time_variant"])
    contrast = contrastive.dsl(vectors, sample["position"], d_max=options.d_max)
    return contrast.sum() + sum(value.sum() for value, _ in found.values())

  optimiser = building.make_optimisers(config, method.objectives)["dsl"].transform
  parts = {
    "detector": gradient("detect", (frames,), 0, True),
    "crop": gradient("crop", (frames, box), 2),
    "encoder": gradient("encode", (crops,), (0, 1), True),
    "decoder": gradient("decode", (*latents, keys), (0, 1, 2), True),
    "paste": gradient("compose", (rgb, mask, box, background), (1, 2, 3)),
    "losses": (jax.grad(losses), (terms, sample, frames)),
    "update": (optimiser.update, (params, optimiser.init(params), params)),
  }
  perceptual = make_perceptual(config)
  if perceptual is not None:
    network, weights = perceptual

    def error(predicted, weights, *inputs):
      return perceptual_term.perceptual_error(network, weights, *inputs).sum()

    def windows(predicted, weights, frames, background, box):
      return error(predicted, weights, frames, predicted, background, box)

    def whole(predicted, weights, frames, background):
      return error(predicted, weights, frames, predicted, background, None)

    known = background[::4]
    parts["perceptual"] = (jax.grad(windows), (predicted, weights, frames, known, box))
    parts["(whole frames)"] = (jax.grad(whole), (predicted, weights, frames, known))
  return {name: (compiled(f, *given), given) for name, (f, given) in parts.items()}


def compiled(function, *arguments):
  return jax.jit(function).lower(*arguments).compile()


def alternate(functions, repeats):
  """{name: (wall, processor) seconds of each turn}; what other processes do falls on all alike.

  Processor time says more on a shared machine, if this process has one core (taskset -c 0).
  """
  times = {name: [] for name in functions}
  for turn in range(repeats + 1):
    for name, function in functions.items():
      began = time.perf_counter(), time.process_time()
      jax.block_until_ready(function())
      if turn:  # the first one warms up
        times[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
  return times


def milliseconds(times, name, clock=0):
  """Median over the turns; clock 0: wall, 1: processor."""
  return 1e3 * statistics.median(each[clock] for each in times[name])


def ratio(times, name, reference, clock=0):
  """Median over the turns of one's time by the other's."""
  pairs = zip(times[name], times[reference], strict=True)
  return statistics.median(a[clock] / b[clock] for a, b in pairs)


def memory_mb(executable):
  """Memory that a compiled program takes for what it computes on the way, MB."""
  found = executable.memory_analysis()
  return float("nan") if found is None else found.temp_size_in_bytes / 1e6


def peak_mb():
  """Most memory that this process ever held, MB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
