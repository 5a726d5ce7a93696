import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.models import resnet, scene, stn

SMALL = {
  "encoder_backbone": "resnet_small",
  "backbone_options": {"stage_sizes": (1,), "widths": (4,)},
  "time_variant_size": 5,
  "time_invariant_size": 3,
  "crop_size": 8,
  "detector_shrink": 2,
  "decoder": {"base": 4, "base_channels": 2, "stage_channels": (4,), "convolutions": 1},
  "axis_name": None,
  "dtype": jnp.float32,
}
BOX = jnp.asarray([[0.5, 0.4, 0.1, -0.2], [0.3, 0.6, -0.3, 0.2]])


def build(detector="resnet_small", **options):
  return scene.build_scene(detector_backbone=detector, **(SMALL | options))


def pictures(seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.uniform(size=(2, 16, 20, 3)), jnp.float32)


def initialised(model):
  """Variables drawn with numpy, which saves compiling the initialisation; statistics 0 and 1."""
  x, rng = pictures(), np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, x))

  def draw(path, leaf):
    if path[-1].key in ("var", "scale"):
      return jnp.ones(leaf.shape, leaf.dtype)
    if path[-1].key == "kernel":
      spread = 1 / np.sqrt(np.prod(leaf.shape[:-1]))
      return jnp.asarray(rng.normal(0, spread, leaf.shape), leaf.dtype)
    return jnp.zeros(leaf.shape, leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def apply(model, method, *arguments, variables=None):
  return jax.jit(lambda v: model.apply(v, *arguments, method=method))(variables or {})


def test_shrink_is_the_mean_of_cells():
  image = jnp.arange(24.0).reshape(1, 4, 6, 1)
  # rows 0-1, columns 2-3: 2, 3, 8, 9
  np.testing.assert_allclose(scene.shrink(image, 2)[0, 0, 1, 0], 5.5)
  assert scene.shrink(image, 2).shape == (1, 2, 3, 1)
  with pytest.raises(ValueError, match="4x6 px cannot be shrunk by 4"):
    scene.shrink(image, 4)


def test_mask_and_rgb_come_from_the_logits():
  model = build()
  variables = initialised(model)
  latents = jnp.ones((2, 5)), jnp.ones((2, 3))
  output = jax.jit(lambda v: model.apply(v, *latents, None, False, method="decode"))(variables)
  logits = jax.jit(
    lambda v: model.decoder.apply({"params": v["params"]["decoder"]}, *latents, None, False)
  )(variables)
  sigmoid = 1 / (1 + np.exp(-logits[..., 3:]))
  np.testing.assert_allclose(output[1], 1e-4 + 0.9999 * sigmoid, rtol=1e-5)
  expected = np.asarray([0.485, 0.456, 0.406]) + [0.229, 0.224, 0.225] * np.asarray(logits[..., :3])
  np.testing.assert_allclose(output[0], expected, rtol=1e-5)


def test_the_gradient_of_the_largest_is_finite_however_the_compiler_rounds():
  # the maximum's own gradient is 0/0 here in 5 of 16 examples: with few optimisations XLA rounds
  # the value that it compares otherwise than the one that it found
  window = stn.bump_window(32, 32)[None]
  logits = np.random.default_rng(0).normal(size=(16, 32, 32, 1)).astype(np.float32)

  def make_mask(logits):
    return (1e-4 + 0.9999 * jax.nn.sigmoid(logits)) * window

  def gradient(largest):
    def loss(x):
      x = make_mask(x)
      return jnp.mean(((x / largest(x)[:, None, None, None]) - 0.3) ** 2)

    return jax.jit(jax.grad(loss), compiler_options={"xla_backend_optimization_level": 0})(logits)

  found = gradient(scene.largest)
  assert np.isfinite(found).all()
  x = make_mask(jnp.asarray(logits))
  np.testing.assert_array_equal(scene.largest(x), np.asarray(x).max((1, 2, 3)))
  # each example apart, d/dx of mean (s/m − 0.3)², m = s at the place of the maximum
  s = np.asarray(x, np.float64)
  m = s.max((1, 2, 3), keepdims=True)
  slope = 2 * (s / m - 0.3) / s.size
  expected = slope / m - np.where(s == m, (slope * s / m**2).sum((1, 2, 3), keepdims=True), 0)
  sigmoid = 1 / (1 + np.exp(-logits.astype(np.float64)))
  expected *= 0.9999 * sigmoid * (1 - sigmoid) * np.asarray(window)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


def test_composition_is_eq_1_with_the_mask_normalised_twice():
  rng = np.random.default_rng(0)
  rgb = jnp.asarray(rng.uniform(size=(2, 8, 8, 3)), jnp.float32)
  mask = jnp.asarray(rng.uniform(1e-4, 0.4, size=(2, 8, 8, 1)), jnp.float32)
  background = pictures(1)
  got = apply(build(), "compose", rgb, mask, BOX, background)
  windowed = np.asarray(mask) * np.asarray(stn.bump_window(8, 8))[None]
  np.testing.assert_allclose(got["mask_raw_max"], windowed.max((1, 2, 3)), rtol=1e-6)
  in_crop = windowed / windowed.max((1, 2, 3), keepdims=True)
  np.testing.assert_allclose(got["mask_crop"], in_crop, rtol=1e-5)
  pasted = np.asarray(stn.paste(in_crop, BOX, (16, 20), outside="zeros", form="plane"))
  assert (pasted.max((1, 2, 3)) < 0.99).all()  # resampling lost the maximum
  on_frame = pasted / pasted.max((1, 2, 3), keepdims=True)
  np.testing.assert_allclose(got["mask_frame"], on_frame, atol=1e-5)
  layer = np.asarray(stn.paste(rgb, BOX, (16, 20), outside="border", form="plane"))
  expected = on_frame * layer + (1 - on_frame) * np.asarray(background)
  np.testing.assert_allclose(got["reconstruction"], expected, atol=1e-5)


def test_outside_of_the_box_stands_the_background():
  mask, rgb, background = jnp.ones((2, 8, 8, 1)), jnp.full((2, 8, 8, 3), 9.0), pictures(1)
  got = apply(build(), "compose", rgb, mask, BOX, background)
  # box 0: rows (−0.2 ± 0.4 + 1)/2·15 = 3 .. 9, columns (0.1 ± 0.5 + 1)/2·19 = 5.7 .. 15.2
  reconstruction = np.asarray(got["reconstruction"])[0]
  np.testing.assert_allclose(reconstruction[10:], np.asarray(background)[0, 10:], atol=1e-5)
  np.testing.assert_allclose(reconstruction[:, 16:], np.asarray(background)[0, :, 16:], atol=1e-5)
  np.testing.assert_allclose(reconstruction[6, 10], 9, atol=0.3)


def test_encoder_sees_the_windowed_normalised_crop():
  model = build()
  variables = initialised(model)
  crops = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), jnp.float32)
  encode = jax.jit(lambda v, x: model.apply(v, x, False, method="encode"))
  time_variant, time_invariant = encode(variables, crops)
  assert time_variant.shape == (2, 5)
  assert time_invariant.shape == (2, 3)
  # the window is 0 on the rim: what stands there cannot matter; the centre does
  for got, expected in zip(
    encode(variables, crops.at[:, 0].set(7)), (time_variant, time_invariant)
  ):
    np.testing.assert_array_equal(got, expected)
  changed = encode(variables, crops.at[:, 4, 4].set(7))
  assert np.abs(changed[0] - time_variant).max() > 1e-3
  own = {collection: tree["encoder"] for collection, tree in variables.items()}
  window = np.asarray(stn.bump_window(8, 8))[None]
  direct = model.encoder.apply(own, resnet.normalise_image(crops) * window, False)
  np.testing.assert_allclose(time_variant, direct[0], atol=1e-5)


def test_whole_pass_has_gradients_in_every_network():
  model = build()
  variables = initialised(model)
  keys = jax.random.split(jax.random.key(1), 2)
  images, background = pictures(), pictures(1)

  def loss(params):
    output, new = model.apply(
      {"params": params, "batch_stats": variables["batch_stats"]},
      images,
      background,
      keys,
      True,
      mutable=["batch_stats"],
    )
    return jnp.square(output["reconstruction"] - images).mean(), (output, new)

  (_, (output, new)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    variables["params"]
  )
  assert set(gradient) == {"detector", "encoder", "decoder"}
  assert set(new["batch_stats"]) == {"detector", "encoder"}
  for group, tree in gradient.items():
    leaves = jax.tree.leaves(tree)
    assert all(np.isfinite(leaf).all() for leaf in leaves), group
    assert sum(np.abs(leaf).sum() for leaf in leaves) > 0, group
  assert np.abs(gradient["detector"]["box"]["bias"]).min() > 0  # scale and shift, x and y
  shapes = {name: array.shape for name, array in output.items()}
  assert shapes["reconstruction"] == (2, 16, 20, 3)
  assert shapes["mask_raw_max"] == (2,)
  assert shapes["box"] == (2, 4)


def test_without_detector_the_encoder_sees_the_whole_frame():
  model = build(detector=None)
  variables = initialised(model)
  assert set(variables["params"]) == {"encoder", "decoder"}
  images = pictures()
  box = apply(model, "detect", images, False, variables=variables)
  np.testing.assert_array_equal(box, [[1, 1, 0, 0]] * 2)
  crops = apply(model, "crop", images, box, variables=variables)
  np.testing.assert_allclose(crops, jax.image.resize(images, (2, 8, 8, 3), "bilinear"), atol=1e-6)
  mask = jnp.full((2, 8, 8, 1), 0.5)
  rgb = jnp.full((2, 8, 8, 3), 0.25)
  got = apply(model, "compose", rgb, mask, box, images, variables=variables)
  np.testing.assert_allclose(got["reconstruction"], 0.25, atol=1e-6)  # mask 0.5/0.5 everywhere
  np.testing.assert_allclose(got["mask_raw_max"], 0.5)


def test_without_split_the_time_invariant_vector_is_empty():
  model = build(time_invariant_size=0)
  variables = initialised(model)
  output = jax.jit(lambda v: model.apply(v, pictures(), pictures(1)))(variables)
  assert output["time_invariant"].shape == (2, 0)
  assert "time_invariant" not in variables["params"]["encoder"]


def test_bfloat16_keeps_boxes_latents_and_images_float32():
  model = build(dtype=jnp.bfloat16)
  variables = initialised(model)
  output = jax.jit(lambda v: model.apply(v, pictures(), pictures(1)))(variables)
  assert {str(array.dtype) for array in output.values()} == {"float32"}
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_parameters_are_counted_by_group():
  params = {"a": {"x": jnp.ones((2, 3)), "y": jnp.ones(4)}, "b": jnp.ones(5)}
  assert scene.count_parameters(params) == {"a": 10, "b": 5, "total": 15}


def test_unknown_backbone_is_named():
  with pytest.raises(ValueError, match="'vgg' is unknown: choose one of resnet18"):
    build(encoder_backbone="vgg")


def test_the_encoder_can_have_a_norm_of_its_own():
  grouped = SMALL["backbone_options"] | {"norm": "group"}
  same, other = (build(backbone_options=grouped, encoder_norm=norm) for norm in ("", "batch"))
  assert (same.detector.backbone.norm, same.encoder.backbone.norm) == ("group", "group")
  assert (other.detector.backbone.norm, other.encoder.backbone.norm) == ("group", "batch")
  assert other.encoder.backbone.widths == same.encoder.backbone.widths


def test_the_encoders_last_layers_read_what_a_projection_gives():
  plain, given = (build(None, projection={"blocks": n, "width": 6}) for n in (0, 2))
  assert plain == build(None)
  crops = pictures()[:, :8, :8]
  variables = jax.jit(lambda: given.init(jax.random.key(0), crops, False, method="encode"))()
  assert set(variables["params"]["encoder"]) == {
    *("backbone", "projection", "time_variant", "time_invariant"),
  }
  own = variables["params"]["encoder"]
  assert own["time_variant"]["kernel"].shape == (6, 5)
  shown = resnet.normalise_image(crops)
  read = given.apply(variables, shown, False, method=lambda m, x, t: m.encoder(x, t))
  features = given.apply(variables, shown, False, method=lambda m, x, t: m.encoder.features(x, t))
  found = given.apply(variables, features, method=lambda m, x: m.encoder.projection(x))
  for name, vectors in zip(("time_variant", "time_invariant"), read, strict=True):
    expected = np.asarray(found) @ np.asarray(own[name]["kernel"]) + np.asarray(own[name]["bias"])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_papers_sizes():
  model = scene.build_scene(
    detector_backbone="resnet18",
    encoder_backbone="resnet50",
    backbone_options={},
    time_variant_size=600,
    time_invariant_size=128,
    crop_size=128,
    detector_shrink=4,
    decoder={},
    axis_name="batch",
    dtype=jnp.bfloat16,
  )
  image = jnp.zeros((1, 500, 500, 3))
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, image))
  counts = scene.count_parameters(shapes["params"])
  # torchvision's counts without classifier, and the linear layers' (D + 1) · outputs
  assert counts["detector"] == 11_176_512 + 513 * 4
  assert counts["encoder"] == 23_508_032 + 2049 * 728
  dense = 601 * 32768 + 129 * 32768
  channels = [256, 128, 128, 128, 64, 64, 64, 32, 32, 32]
  convolutions = sum(9 * a * b + b for a, b in itertools.pairwise(channels))
  assert counts["decoder"] == dense + convolutions + 33 * 4


def test_without_a_size_the_backbones_features_are_the_time_variant_vector():
  model = build(None, time_variant_size=0, time_invariant_size=0)
  crops = pictures()[:, :8, :8]
  variables = jax.jit(lambda: model.init(jax.random.key(0), crops, False, method="encode"))()
  assert set(variables["params"]["encoder"]) == {"backbone"}
  variant, invariant = apply(model, "encode", crops, False, variables=variables)
  own = {kind: tree["encoder"]["backbone"] for kind, tree in variables.items()}
  features = model.encoder.backbone.apply(own, resnet.normalise_image(crops), False)
  np.testing.assert_allclose(variant, features, rtol=1e-4, atol=1e-5)
  assert invariant.shape == (2, 0)


def test_features_are_what_the_vectors_are_read_from():
  model = build()
  variables = initialised(model)
  crops = pictures()[:, :8, :8]
  features = np.asarray(apply(model, "features", crops, False, variables=variables))
  variant, _ = apply(model, "encode", crops, False, variables=variables)
  kernel = np.asarray(variables["params"]["encoder"]["time_variant"]["kernel"])
  np.testing.assert_allclose(variant, features @ kernel, rtol=1e-3, atol=1e-5)
