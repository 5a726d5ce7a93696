import numpy as np
import pytest

from jaxpose import parameter_paths

TREE = {"encoder": {"backbone": {"layer1_0": 1, "layer1_1": 2, "layer10_0": 3, "layer1_x": 4}}}


@pytest.mark.parametrize(
  ("entry", "path", "expected"),
  [
    ("", "encoder/backbone", True),
    ("encoder", "encoder", True),
    ("encoder", "encoder/backbone/bn1", True),
    ("encoder/backbone", "encoder", False),
    ("encoder/backbone/layer1", "encoder/backbone/layer1_0/conv1", True),
    ("encoder/backbone/layer1", "encoder/backbone/layer10_0/conv1", False),
    ("encoder/backbone/layer1", "encoder/backbone/layer1_x", False),
    ("encoder/backbone/layer1_0", "encoder/backbone/layer1_1/conv1", False),
    ("bn1", "layer1_0/bn1", False),
    ("layer1", "encoder/backbone/layer1_0", False),
  ],
)
def test_an_entry_covers_what_lies_below_it(entry, path, expected):
  assert parameter_paths.covers(entry, path) == expected


def test_a_module_sees_the_entries_from_itself():
  entries = ("encoder/backbone/layer1", "encoder/time_variant", "head")
  assert parameter_paths.below(entries, "encoder/backbone") == ("layer1",)
  assert parameter_paths.below((*entries, "encoder"), "encoder/backbone") == ("",)
  assert parameter_paths.below(entries, "detector/backbone") == ()


def test_the_mask_is_true_where_an_entry_covers():
  found = parameter_paths.mask(TREE, ("encoder/backbone/layer1",))
  blocks = found["encoder"]["backbone"]
  np.testing.assert_equal(
    blocks, {"layer1_0": True, "layer1_1": True, "layer10_0": False, "layer1_x": False}
  )


def test_what_covers_nothing_is_named_with_what_there_is():
  parameter_paths.check(("encoder", "encoder/backbone/layer1"), TREE, "WHERE")
  said = "WHERE names 'encoder/backbone/stage0': encoder/backbone has layer10_0, layer1_0, layer1_1"
  with pytest.raises(ValueError, match=said):
    parameter_paths.check(("encoder/backbone/stage0",), TREE, "WHERE")
  with pytest.raises(ValueError, match=r"WHERE names 'decoder': there are encoder$"):
    parameter_paths.check(("decoder",), TREE, "WHERE")
  with pytest.raises(ValueError, match="encoder/backbone/layer1_0/conv1'"):
    parameter_paths.check(("encoder/backbone/layer1_0/conv1",), TREE, "WHERE")
