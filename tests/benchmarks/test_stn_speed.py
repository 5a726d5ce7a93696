"""Forms of the spatial transformer and of the bilinear doubling, forward and backward.

pytest tests/benchmarks/test_stn_speed.py --benchmark-only --benchmark-columns=min,median -s
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import step_parts as parts

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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("part", ["crop", "paste"])
def test_forms_against_pytorch(benchmark, part, size):
  """Crop with the box's gradient; paste of colours and mask with those of crop and box."""
  torch = pytest.importorskip("torch")
  import torch_peer

  images, crops, box = inputs(size)
  source = images if part == "crop" else crops
  side = (crops if part == "crop" else images).shape[1]
  channels = np.asarray(source).transpose(0, 3, 1, 2)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch_source = torch.tensor(channels, device=device, requires_grad=part == "paste")
  torch_box = torch.tensor(np.asarray(box), device=device, requires_grad=True)

  def energy(box, source, form):
    if part == "crop":
      return jnp.square(stn.crop(source, box, (side, side), form=form)).sum()
    return jnp.square(stn.paste(source, box, (side, side), outside="zeros", form=form)).sum()

  def of_torch():
    torch_box.grad = torch_source.grad = None
    used = torch_box if part == "crop" else torch_peer.invert(torch_box)
    out = torch_peer.resample(
      torch_source, used, (side, side), "border" if part == "crop" else "zeros"
    )
    out.square().sum().backward()
    return torch_box.grad.cpu().numpy()

  def of_form(form):
    wanted = 0 if part == "crop" else (0, 1)
    function = parts.compiled(jax.grad(lambda b, s: energy(b, s, form), wanted), box, source)
    return lambda: function(box, source)

  forms = {form: of_form(form) for form in ("gather", "matrix", "plane")}
  for function in forms.values():
    got = function() if part == "crop" else function()[0]
    np.testing.assert_allclose(got, of_torch(), rtol=2e-3, atol=1e-2 * np.abs(got).max())
  times = parts.alternate(forms | {"torch": of_torch}, 15)
  benchmark(lambda: jax.block_until_ready(forms["matrix"]()))
  print(f"\n{part}, {size}: PyTorch {parts.milliseconds(times, 'torch'):.1f} ms; times PyTorch's:")
  for form in forms:
    wall, processor = (parts.ratio(times, form, "torch", clock) for clock in (0, 1))
    print(f"  {form:8}{wall:6.2f} (processor time {processor:.2f})")
