import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.training.transfer import take_groups


def tree(fill, **shapes):
  """{group: {layer: {"kernel": array}}} from {"group_layer": shape}."""
  found = {}
  for name, shape in shapes.items():
    group, layer = name.split("_")
    found.setdefault(group, {})[layer] = {"kernel": jnp.full(shape, fill, jnp.float32)}
  return found


def run(fill, *, stats=True, **shapes):
  variables = {"params": tree(fill, **shapes)}
  if stats:
    variables["batch_stats"] = {"encoder": {"bn": {"mean": jnp.full(3, fill + 0.5)}}}
  return variables


def test_common_groups_are_taken_with_their_statistics_and_others_stay():
  own = run(1.0, encoder_a=(2, 3), head_b=(3,))
  own["frozen"] = {"pose": jnp.ones(2)}
  other = run(7.0, encoder_a=(2, 3), encoder_extra=(4,), decoder_c=(5,))
  other["frozen"] = {"pose": jnp.zeros(2)}
  found = take_groups(own, other, where="runs/x")
  assert set(found["params"]) == {"encoder", "head"}
  assert set(found["params"]["encoder"]) == {"a"}  # what only the other has is left
  np.testing.assert_array_equal(found["params"]["encoder"]["a"]["kernel"], np.full((2, 3), 7.0))
  np.testing.assert_array_equal(found["params"]["head"]["b"]["kernel"], np.ones(3))
  np.testing.assert_array_equal(found["batch_stats"]["encoder"]["bn"]["mean"], np.full(3, 7.5))
  np.testing.assert_array_equal(found["frozen"]["pose"], np.ones(2))
  np.testing.assert_array_equal(own["params"]["encoder"]["a"]["kernel"], np.ones((2, 3)))


@pytest.mark.parametrize(
  ("own", "other", "words"),
  [
    ({"head_a": (2,)}, {"decoder_a": (2,)}, ("runs/x has the networks decoder", "one head")),
    ({"encoder_a": (2, 3)}, {"encoder_a": (2, 4)}, ("a/kernel is (2, 4) there, here (2, 3)",)),
    ({"encoder_a": (2,), "encoder_b": (2,)}, {"encoder_a": (2,)}, ("b/kernel is missing there",)),
  ],
)
def test_what_does_not_fit_is_named(own, other, words):
  with pytest.raises(ValueError, match="start from") as error:
    take_groups(run(1.0, **own), run(2.0, **other), where="runs/x")
  assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(("mine", "said"), [(True, "it has no batch"), (False, "it has batch")])
def test_batch_and_group_norm_are_not_mixed(mine, said):
  own = run(1.0, stats=mine, encoder_a=(2,))
  other = run(2.0, stats=not mine, encoder_a=(2,))
  with pytest.raises(ValueError, match=f"{said}_stats of the encoder.*backbone.norm"):
    take_groups(own, other, where="runs/x")
