import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpose.models.siamese import SiameseHeads, fuse

FIRST = np.float32([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
SECOND = np.float32([[2.0, -1.0, -4.0], [1.0, 7.0, 2.0]])


@pytest.mark.parametrize(
  ("fusion", "expected"),
  [
    ("mult", [[2, 2, 0], [0.5, 0, 0]]),
    ("concat", [[1, 0, 3, 2, 0, 0], [0.5, 0, 0, 1, 7, 2]]),
    ("add", [[3, 0, 0], [1.5, 7, 1]]),
    ("diff", [[0, 0, 7], [0, 0, 0]]),
  ],
)
def test_fusions_by_hand(fusion, expected):
  np.testing.assert_allclose(fuse(jnp.asarray(FIRST), jnp.asarray(SECOND), fusion), expected)


@pytest.mark.usefixtures("unchecked_signatures")
def test_an_unknown_fusion_is_named():
  with pytest.raises(ValueError, match="'product' of two views: choose one of mult, concat"):
    fuse(jnp.asarray(FIRST), jnp.asarray(SECOND), "product")


def test_both_heads_are_linear_in_the_fused_features():
  heads = SiameseHeads("concat")
  variables = heads.init(jax.random.key(0), jnp.asarray(FIRST), jnp.asarray(SECOND))
  found = heads.apply(variables, jnp.asarray(FIRST), jnp.asarray(SECOND))
  fused = np.maximum(np.concatenate([FIRST, SECOND], axis=1), 0)
  for name, logits in zip(("synchronised", "flipped"), found):
    own = variables["params"][name]
    assert own["kernel"].shape == (6, 1)
    expected = fused @ np.asarray(own["kernel"])[:, 0] + np.asarray(own["bias"])
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
  assert np.abs(found[0] - found[1]).max() > 1e-3
