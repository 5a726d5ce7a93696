import numpy as np
import pytest

from jaxpose import skeleton


@pytest.mark.parametrize("body", skeleton.SKELETONS.values(), ids=lambda s: s.name)
def test_pairs_join_left_with_right(body):
  lefts = {i for i, name in enumerate(body.joints) if name.startswith("left")}
  assert {left for left, _ in body.pairs} == lefts
  for left, right in body.pairs:
    assert body.joints[left].removeprefix("left") == body.joints[right].removeprefix("right")


def test_flip_permutation_is_its_own_inverse():
  order = skeleton.H36M17.flip_permutation
  assert skeleton.H36M17.joints[order[1]] == "left_hip"
  np.testing.assert_array_equal(order[order], np.arange(17))


def test_root_without_a_pelvis_is_mid_hip():
  body = skeleton.skeleton_from_joint_names("x", ["RHip", "LHip", "LKnee", "nose"])
  assert body.root == (1, 0)
  assert body.parents == (0, 1, 1, 3)
  assert body.pairs == ((1, 0),)


def test_names_of_many_styles_find_their_parents():
  body = skeleton.skeleton_from_joint_names("x", ["pelvis", "left_hip", "hip_r", "RKnee", "l_knee"])
  assert [body.joints[p] for p in body.parents] == [
    "pelvis",
    "pelvis",
    "pelvis",
    "hip_r",
    "left_hip",
  ]
  assert body.root == (0,)


def test_sides_of_parts_that_nobody_lists_are_told_by_their_other_side():
  names = ["Hip", "LHip", "RHip", "LASI", "RASI", "collar_l", "collar_r", "Larynx", "RTool"]
  body = skeleton.skeleton_from_joint_names("x", names)
  assert body.pairs == ((1, 2), (3, 4), (5, 6))
  assert body.root == (0,)
  assert [body.joints[p] for p in body.parents[:3]] == ["Hip", "Hip", "Hip"]


def test_no_hips_is_an_error():
  with pytest.raises(ValueError, match="pelvis"):
    skeleton.skeleton_from_joint_names("face", ["nose", "LEye"])


def test_dictionary_round_trip():
  body = skeleton.MPI13
  assert skeleton.Skeleton.from_dict(body.to_dict()) == body


@pytest.mark.parametrize(
  ("joints", "parents", "root"),
  [(("a", "a"), (0, 0), (0,)), (("a",), (1,), (0,)), (("a",), (0,), ())],
)
def test_fields_that_do_not_belong_together(joints, parents, root):
  with pytest.raises(ValueError, match="skeleton"):
    skeleton.Skeleton("bad", joints, parents, (), root)
