"""Which frames, crops and vectors go where in one pass, with sums in place of networks."""

import jax.numpy as jnp
import numpy as np

from jaxpose.methods import scene_method


class Sums:
  """A scene whose crops are frames plus boxes, and whose vectors are sums of crops."""

  def __init__(self):
    self.decoded = []

  def detect(self, images, train):
    return 100 * images[:, :, 0, 0]

  def crop(self, images, box):
    return images + box[:, :, None, None]

  def encode(self, crops, train):
    total = crops.sum((2, 3))
    return total, -total

  def decode(self, time_variant, time_invariant, dropout_keys, train):
    self.decoded.append((time_variant, time_invariant, dropout_keys, train))
    return time_variant + 0.5, time_invariant - 0.5

  def compose(self, rgb, mask, box, background):
    shown = {"reconstruction": rgb + mask + box + background, "mask_frame": mask}
    return {**shown, "mask_raw_max": box}


SEEN = jnp.asarray([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1)  # frames of a pixel
BACKGROUND = 0.25 * SEEN[:, :, 0, 0]
BOX = np.array([[100.0], [200], [300]])


def brighten(crops):
  return crops + 7


def swap(vectors):
  return 10 * vectors[0], 20 * vectors[1][::-1]


def test_jitter_changes_what_the_time_variant_vectors_see_alone():
  out = scene_method._reconstruct(Sums(), SEEN, BACKGROUND, brighten, swap, None, True)
  np.testing.assert_array_equal(out["box"], BOX)
  np.testing.assert_array_equal(out["crop"][:, :, 0, 0], [[101], [202], [303]])
  np.testing.assert_array_equal(out["time_variant"], [[108], [209], [310]])
  np.testing.assert_array_equal(out["time_invariant"], [[-101], [-202], [-303]])
  plain = scene_method._reconstruct(Sums(), SEEN, BACKGROUND, None, swap, None, True)
  np.testing.assert_array_equal(plain["time_variant"], [[101], [202], [303]])
  np.testing.assert_array_equal(plain["time_invariant"], out["time_invariant"])


def test_frames_are_decoded_with_exchanged_vectors_and_told_by_their_own():
  scene, keys = Sums(), np.arange(3)
  out = scene_method._reconstruct(scene, SEEN, BACKGROUND, brighten, swap, keys, True)
  ((variant, invariant, given, train),) = scene.decoded
  np.testing.assert_array_equal(variant, [[1080], [2090], [3100]])
  np.testing.assert_array_equal(invariant, [[-6060], [-4040], [-2020]])
  assert given is keys
  assert train
  np.testing.assert_array_equal(out["time_variant"], variant / 10)
  np.testing.assert_array_equal(out["decoded"], variant + 0.5)
  # decoded + mask + box + background
  np.testing.assert_array_equal(
    out["reconstruction"], (variant + 0.5) + (invariant - 0.5) + BOX + BACKGROUND
  )
  np.testing.assert_array_equal(out["mask_max"], BOX)
  assert "mask_raw_max" not in out


def test_without_decoding_both_vectors_are_of_the_jittered_crop():
  scene = Sums()
  out = scene_method._look(scene, SEEN, None, brighten, None, None, True)
  np.testing.assert_array_equal(out["box"], BOX)
  np.testing.assert_array_equal(out["crop"][:, :, 0, 0], [[101], [202], [303]])
  np.testing.assert_array_equal(out["time_variant"], [[108], [209], [310]])
  np.testing.assert_array_equal(out["time_invariant"], -out["time_variant"])
  assert scene.decoded == []
