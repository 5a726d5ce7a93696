"""A method small enough to train in a test, with everything that depends on the whole batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxpose import parallel
from jaxpose.method import Method, Objective
from jaxpose.training.optimiser import make_optimiser, make_schedule

FEATURES = 5


class Network(nn.Module):
  """Dense, synchronised batch norm, per-example dropout, Dense."""

  @nn.compact
  def __call__(self, x, keys, train):
    x = nn.Dense(7, use_bias=False, name="first")(x)
    x = nn.BatchNorm(use_running_average=not train, axis_name=parallel.AXIS, momentum=0.9)(x)
    x = nn.tanh(x)
    if train:
      x = x * jax.vmap(lambda key: jax.random.bernoulli(key, 0.8, (7,)))(keys) / 0.8
    return nn.Dense(FEATURES, name="second")(x)


def make_toy_method(*, objectives=None, on_trace=lambda: None) -> Method:
  """Reconstructs inputs through `encoder`; `critic` predicts from the reconstruction."""
  encoder, critic = Network(), nn.Dense(1)

  @jax.jit
  def init(rng, batch):
    x = jnp.asarray(batch["x"])
    keys = jax.random.split(rng, x.shape[0])
    made = encoder.init(rng, x, keys, False)
    critic_params = critic.init(rng, x)["params"]
    return {
      "params": {"encoder": made["params"], "critic": critic_params},
      "batch_stats": {"encoder": made["batch_stats"]},
    }

  def terms(variables, batch, rng, train):
    on_trace()
    keys = parallel.fold_in_examples(rng, batch["example"])
    y, updated = encoder.apply(
      {
        "params": variables["params"]["encoder"],
        "batch_stats": variables["batch_stats"]["encoder"],
      },
      batch["x"],
      keys,
      train,
      mutable=["batch_stats"] if train else [],
    )
    judged = critic.apply({"params": variables["params"]["critic"]}, y)[:, 0]
    ones = jnp.ones(y.shape[0])
    mean = parallel.pmean(jnp.mean(y, axis=0))
    found = {
      "reconstruction": (jnp.mean((y - batch["x"]) ** 2, -1), ones),
      "partly": (jnp.mean(jnp.abs(y), -1), batch["weight"]),
      "never": (jnp.sum(y, -1) + jnp.nan, jnp.zeros(y.shape[0])),
      "prior": (jnp.broadcast_to(jnp.sum((mean - 0.5) ** 2), ones.shape), ones),
      "critic": ((judged - batch["weight"]) ** 2, ones),
      "fool": (-judged, ones),
    }
    stats = updated["batch_stats"] if train else variables["batch_stats"]["encoder"]
    new = {**variables, "batch_stats": {"encoder": stats}}
    return found, new, {"summaries": {"output_mean": jnp.mean(y, -1)}}

  def embed(variables, batch):
    y = encoder.apply(
      {
        "params": variables["params"]["encoder"],
        "batch_stats": variables["batch_stats"]["encoder"],
      },
      batch["x"],
      None,
      False,
    )
    return {"time_variant": y}

  one = {"toy": Objective(("reconstruction", "partly", "never", "prior", "critic"))}
  return Method(init, terms, embed, objectives or one)


ONE_WEIGHTS = {"reconstruction": 1.0, "partly": 0.7, "never": 3.0, "prior": 0.5, "critic": 0.2}


def make_batch(number, size=8, first=0, spoilt=None):
  """Batch `number` of a fixed series; `spoilt`: the number of a batch with a NaN in it."""
  rng = np.random.default_rng(number)
  x = rng.normal(size=(size, FEATURES)).astype(np.float32) * np.arange(1, 6, dtype=np.float32)
  weight = (rng.random(size) < 0.6).astype(np.float32) * rng.random(size).astype(np.float32)
  if number == spoilt:
    x[1, 2] = np.nan
  example = np.arange(size, dtype=np.uint32) + np.uint32(number * size + first)
  return {"x": x, "weight": weight, "example": example}


class ToyIterator:
  """Batches 0, 1, 2, ..., with a position that can be saved."""

  def __init__(self, spoilt=None, before=lambda number: None):
    self.number, self.spoilt, self.before = 0, spoilt, before
    self.closed = False

  def __iter__(self):
    return self

  def __next__(self):
    self.before(self.number)
    self.number += 1
    return make_batch(self.number - 1, spoilt=self.spoilt)

  def state(self):
    return {"number": self.number}

  def restore(self, state):
    self.number = state["number"]

  def close(self):
    self.closed = True


def make_adam(rate=0.01, *, name="adam", clip_norm=0.0, multipliers=None, frozen=(), decay=0.0):
  schedule = make_schedule(
    schedule="constant",
    learning_rate=rate,
    steps=100,
    warmup_steps=0,
    final_fraction=1.0,
    boundaries=(),
  )
  return make_optimiser(
    name=name,
    learning_rate=schedule,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    weight_decay=decay,
    clip_norm=clip_norm,
    multipliers=multipliers or {},
    frozen=frozen,
  )
