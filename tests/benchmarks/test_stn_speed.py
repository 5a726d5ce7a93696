"""Forms of the spatial transformer and of the bilinear doubling, forward and backward.

pytest tests/benchmarks --benchmark-only --benchmark-columns=min,median
"""

import jax
import jax.numpy as jnp
import pytest

from jaxpose.models import decoder, stn

SIZES = {"small": (32, 128, 64), "paper": (4, 500, 128)}  # images, side of frame and of crop, px


def inputs(size):
  count, frame, crop = SIZES[size]
  keys = jax.random.split(jax.random.key(0))
  images = jax.random.uniform(keys[0], (count, frame, frame, 3))
  crops = jax.random.uniform(keys[1], (count, crop, crop, 4))
  return images, crops, jnp.tile(jnp.asarray([[0.6, 0.5, 0.1, -0.2]]), (count, 1))


def run(benchmark, function, *arguments):
  jitted = jax.jit(function)
  jax.block_until_ready(jitted(*arguments))  # compiles
  benchmark(lambda: jax.block_until_ready(jitted(*arguments)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["gather", "matrix", "plane"])
def test_crop_with_the_boxs_gradient(benchmark, form, size):
  images, crops, box = inputs(size)
  side = crops.shape[1]

  def energy(box, images):
    return jnp.square(stn.crop(images, box, (side, side), form=form)).sum()

  run(benchmark, jax.grad(energy), box, images)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["gather", "matrix", "plane"])
def test_paste_with_gradients_of_crop_and_box(benchmark, form, size):
  images, crops, box = inputs(size)
  side = images.shape[1]

  def energy(crops, box):
    return jnp.square(stn.paste(crops, box, (side, side), outside="zeros", form=form)).sum()

  run(benchmark, jax.grad(energy, (0, 1)), crops, box)


def resize(x):
  return jax.image.resize(x, (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), "bilinear")


@pytest.mark.parametrize("function", [decoder.upsample_twice, resize], ids=["shifts", "resize"])
def test_doubling_with_its_gradient(benchmark, function):
  x = jax.random.normal(jax.random.key(0), (32, 32, 32, 32))
  run(benchmark, jax.grad(lambda x: jnp.square(function(x)).sum()), x)
