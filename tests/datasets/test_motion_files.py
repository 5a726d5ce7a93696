"""Motion files: joint places derived by hand, and damage that is named."""

import json

import numpy as np
import pytest
from real_data import real_data_dir

from datasets.mocap_people import clips, people
from datasets.mocap_people.acclaim import read_acclaim
from datasets.mocap_people.bvh import read_bvh
from datasets.mocap_people.deepmimic import read_deepmimic
from datasets.mocap_people.motion import Motion
from datasets.synthetic_people.bodies import POINT

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 9 9 9
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Arm
  {
    OFFSET 0 2 0
    CHANNELS 3 Yrotation Zrotation Xrotation
    End Site
    {
      OFFSET 3 0 0
    }
  }
  JOINT Tail
  {
    OFFSET 1 2 4
    CHANNELS 2 Zposition Yrotation
  }
}
MOTION
Frames: 2
Frame Time: 0.04
1 2 3 90 0 0 0 0 0 4 0
1 2 3 90 90 0 90 90 0 7 0
"""
ASF = """# a comment
:version 1.10
:units
  mass 1.0
  length 0.5
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name a
    direction 1 0 0
    length 2
    axis 0 0 90 XYZ
    dof rx
    limits (-160.0 20.0)
  end
  begin
    name b
    direction 0 0 1
    length 3
    axis 0 0 0 XYZ
  end
  begin
    name c
    direction 1 0 0
    length 2
    axis 90 90 0 XYZ
    dof rx
  end
  begin
    name d
    direction 1 0 0
    length 2
    axis 0 0 0 XYZ
    dof rz rx
  end
:hierarchy
  begin
    root a c d
    a b
  end
"""
AMC = """#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
a 90
c 90
d 90 90
2
root 1 2 3 90 0 90
a 0
c 0
d 0 0
"""
HALF = np.sqrt(0.5)


def joint(name, kind, parent, x, y, z):
  return {"Name": name, "Type": kind, "Parent": parent, "AttachX": x, "AttachY": y, "AttachZ": z}


CHARACTER = {
  "Skeleton": {
    "Joints": [
      joint("root", "none", -1, 0, 0, 0),
      joint("arm", "spherical", 0, 0, 1, 0),
      joint("elbow", "revolute", 1, 2, 0, 0),
      joint("wrist", "fixed", 2, 0.5, 0, 0),
      joint("neck", "spherical", 0, 0, 0.5, 0),
    ]
  },
  "BodyDefs": [
    {"Name": "arm", "AttachX": 0, "AttachY": 0, "AttachZ": 0, "Param0": 1, "Param1": 1},
    {"Name": "neck", "AttachX": 0, "AttachY": 0.175, "AttachZ": 0, "Param0": 9, "Param1": 0.2},
  ],
}
ROW = [1, 2, 3, HALF, 0, HALF, 0, HALF, 0, 0, HALF, np.pi / 2, HALF, HALF, 0, 0]
FRAMES = {"Loop": "wrap", "Frames": [[0.1, *ROW], [0.3, *ROW], [0.3, *ROW]]}


def place(motion, frame, name):
  return motion.positions[frame, motion.joints.index(name)]


def test_bvh_channels_turn_in_their_order_the_first_outermost(tmp_path):
  (tmp_path / "a.bvh").write_text(BVH.replace("\n", "\r\n"))
  motion = read_bvh(tmp_path / "a.bvh")
  assert motion.joints == ("Hips", "Arm", "Arm_end", "Tail")
  assert motion.unit_mm is None
  assert motion.fps == pytest.approx(25)
  np.testing.assert_allclose(motion.time_s, [0, 0.04])
  # position channels take the place of the root's OFFSET
  np.testing.assert_allclose(place(motion, 0, "Hips"), [1, 2, 3])
  # Rz(90°): (0, 2, 0) -> (-2, 0, 0), then (3, 0, 0) -> (0, 3, 0)
  np.testing.assert_allclose(place(motion, 0, "Arm"), [-1, 2, 3], atol=1e-12)
  np.testing.assert_allclose(place(motion, 0, "Arm_end"), [-1, 5, 3], atol=1e-12)
  # Rz Rx (0, 2, 0) = Rz (0, 0, 2) = (0, 0, 2)
  np.testing.assert_allclose(place(motion, 1, "Arm"), [1, 2, 5], atol=1e-12)
  # Ry Rz (3, 0, 0) = Ry (0, 3, 0) = (0, 3, 0), in the root Rz Rx: (0, 0, 3)
  np.testing.assert_allclose(place(motion, 1, "Arm_end"), [1, 2, 8], atol=1e-12)
  # Zposition replaces z of the offset: (1, 2, 7), Rx: (1, -7, 2), Rz: (7, 1, 2)
  np.testing.assert_allclose(place(motion, 1, "Tail"), [8, 3, 5], atol=1e-12)
  # its own axes: those of its parent, x after Rz Rx along y
  np.testing.assert_allclose(motion.rotations[1, 3][:, 0], [0, 1, 0], atol=1e-12)


def test_acclaim_turns_bones_in_their_axes_and_in_the_order_of_their_freedoms(tmp_path):
  (tmp_path / "s.asf").write_text(ASF)
  (tmp_path / "s_1.amc").write_text(AMC.replace("\n", "\r\n"))
  motion = read_acclaim(tmp_path / "s_1.amc", tmp_path / "s.asf")
  assert set(motion.joints) == {"root", "a", "b", "c", "d"}
  assert motion.unit_mm == pytest.approx(50.8)  # 25.4 mm / 0.5
  assert motion.fps == pytest.approx(120)
  np.testing.assert_allclose(place(motion, 0, "root"), [1, 2, 3])
  # a turns by 90° about Rz(90°) x = y: (2, 0, 0) -> (0, 0, -2); b with it: (0, 0, 3) -> (3, 0, 0)
  np.testing.assert_allclose(place(motion, 0, "a"), [1, 2, 1], atol=1e-12)
  np.testing.assert_allclose(place(motion, 0, "b"), [4, 2, 1], atol=1e-12)
  # c's axes: x first, Ry(90°) Rx(90°) x = -z; by 90° about -z: (2, 0, 0) -> (0, -2, 0)
  np.testing.assert_allclose(place(motion, 0, "c"), [1, 0, 3], atol=1e-12)
  # d: z first, then x: (2, 0, 0) -> (0, 2, 0) -> (0, 0, 2)
  np.testing.assert_allclose(place(motion, 0, "d"), [1, 2, 5], atol=1e-12)
  # the root: x first, then z: (2, 0, 0) -> (0, 2, 0); (0, 0, 3) -> (0, -3, 0) -> (3, 0, 0)
  np.testing.assert_allclose(place(motion, 1, "a"), [1, 4, 3], atol=1e-12)
  np.testing.assert_allclose(place(motion, 1, "b"), [4, 4, 3], atol=1e-12)


def test_acclaim_knows_radians(tmp_path):
  (tmp_path / "s.asf").write_text(ASF)
  (tmp_path / "r.amc").write_text(
    AMC.replace(":DEGREES", ":RADIANS").replace(" 90", f" {np.pi / 2:.12f}")
  )
  motion = read_acclaim(tmp_path / "r.amc", tmp_path / "s.asf")
  np.testing.assert_allclose(place(motion, 0, "d"), [1, 2, 5], atol=1e-9)
  np.testing.assert_allclose(place(motion, 1, "b"), [4, 4, 3], atol=1e-9)


def test_deepmimic_rows_hold_times_places_quaternions_and_angles(tmp_path):
  (tmp_path / "c.txt").write_text(json.dumps(CHARACTER))
  (tmp_path / "m.txt").write_text(json.dumps(FRAMES))
  motion = read_deepmimic(tmp_path / "m.txt", tmp_path / "c.txt")
  assert motion.joints == ("root", "arm", "elbow", "wrist", "neck", "neck_end")
  assert motion.unit_mm == 1000
  np.testing.assert_allclose(motion.time_s, [0, 0.1, 0.4])  # the time to the next row
  expected = {
    "root": (1, 2, 3),
    "arm": (1, 3, 3),  # Ry (0, 1, 0)
    "elbow": (1, 5, 3),  # Ry Rz (2, 0, 0) = Ry (0, 2, 0)
    "wrist": (1, 5, 3.5),  # Ry Rz Rz (0.5, 0, 0) = Ry (-0.5, 0, 0)
    "neck": (1, 2.5, 3),
    "neck_end": (1.275, 2.5, 3),  # Ry Rx (0, 0.175 + 0.1, 0) = Ry (0, 0, 0.275)
  }
  for name, where in expected.items():
    np.testing.assert_allclose(place(motion, 1, name), where, atol=1e-12, err_msg=name)


FAMILIES = {
  "CMU as BVH": {"left_knee": "LeftKnee", "spine": "Chest", "head_top": "Head_end"},
  "LAFAN1, Mixamo": {"left_knee": "mixamorig:LeftLeg", "neck": "Neck", "head_top": "HeadTop_End"},
  "CMU as ASF": {"left_knee": "lfemur", "right_wrist": "rwrist", "head_top": "head"},
  "DeepMimic": {"left_knee": "left_knee", "left_toe": "left_ankle_end", "head": "neck"},
}
# Places in mm, y up; the person faces +z and has the left side at +x.
FIGURE = {
  "left_hip": (100, 900, 0),
  "right_hip": (-100, 900, 0),
  "left_knee": (100, 480, 0),
  "right_knee": (-100, 480, 0),
  "left_ankle": (100, 70, 0),
  "right_ankle": (-100, 70, 0),
  "left_toe": (100, 70, 180),
  "right_toe": (-100, 70, 180),
  "left_shoulder": (180, 1350, 0),
  "right_shoulder": (-180, 1350, 0),
  "left_elbow": (450, 1350, 0),
  "right_elbow": (-180, 1080, 0),
  "left_wrist": (450, 1350, 250),
  "right_wrist": (-180, 830, 0),
  "spine": (0, 1130, 0),
  "neck": (0, 1400, 0),
  "head": (0, 1480, 0),
  "head_top": (0, 1700, 0),
}
HEIGHT = (420 + 410) / 0.491


def figure(family, unit=1.0, without=(), **moved):
  """A standing person whose head turns by -40°, 0 and 40° about y; the unit is in the file."""
  naming = next(n for n in people.NAMINGS if n.name == family)
  names = {joint: candidates[0] for joint, candidates in naming.trunk.items()}
  for side, prefix in zip(people.SIDES, naming.sides):
    names |= {f"{side}_{part}": prefix + c[0] for part, c in naming.limbs.items()}
  names |= FAMILIES[family]
  places = {names[joint]: np.array(at, float) for joint, at in (FIGURE | moved).items()}
  if family == "DeepMimic":
    places["neck"] = np.array(FIGURE["neck"], float)  # turns with the head
  if family == "CMU as ASF":
    places["head"] = np.array(FIGURE["head_top"], float)
  places = {name: at for name, at in places.items() if name not in without}
  joints = tuple(places)
  turns = np.deg2rad([-40, 0, 40])
  rotations = np.tile(np.eye(3), (3, len(joints), 1, 1))
  # the head's own axes are some others than the world's
  own = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
  for frame, angle in enumerate(turns):
    c, s = np.cos(angle), np.sin(angle)
    yaw = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    rotations[frame, joints.index(names["head"])] = yaw @ own
  positions = np.tile(np.stack(list(places.values())), (3, 1, 1)) / unit
  return Motion(joints, positions, rotations, np.arange(3) / 12.0, None)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_person_of_every_family_of_names_stands_upright(family):
  pose, height = people.build_person(figure(family))
  assert height == pytest.approx(HEIGHT)

  def at(name, frame=1):
    return pose.points[frame, POINT[name]]

  for name, (x, y, z) in FIGURE.items():
    if name != "head":
      np.testing.assert_allclose(at(name), [x, -z, y], atol=1e-9, err_msg=name)
  np.testing.assert_allclose(at("pelvis"), [0, 0, 900])
  # forward is -y: the nose 0.040 heights before and 0.068 over the neck, turned left by 40°: to +x
  np.testing.assert_allclose(at("nose"), [0, -0.040 * HEIGHT, 1400 + 0.068 * HEIGHT], atol=1e-6)
  s, c = np.sin(np.deg2rad(40)), np.cos(np.deg2rad(40))
  nose = [0.040 * HEIGHT * s, -0.040 * HEIGHT * c, 1400 + 0.068 * HEIGHT]
  np.testing.assert_allclose(at("nose", 2), nose, atol=1e-6)
  # hands go on along the forearms
  np.testing.assert_allclose(at("left_hand"), [450, -250 - 0.05 * HEIGHT, 1350], atol=1e-6)
  np.testing.assert_allclose(at("right_hand"), [-180, 0, 830 - 0.05 * HEIGHT], atol=1e-6)
  axes = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # columns forward, left, up
  for found in (pose.pelvis_axes, pose.chest_axes, pose.head_axes):
    np.testing.assert_allclose(found[1], axes, atol=1e-9)


def test_the_heel_lies_behind_and_under_the_ankle():
  pose, _ = people.build_person(figure("DeepMimic"))
  ankle, toe, heel = (pose.points[0, POINT[f"left_{n}"]] for n in ("ankle", "toe", "heel"))
  drop, back = 0.024 * HEIGHT, 0.015 * HEIGHT
  sole = (toe - heel) / np.linalg.norm(toe - heel)
  assert (ankle - heel) @ sole == pytest.approx(back)
  assert np.linalg.norm(ankle - heel - back * sole) == pytest.approx(drop)
  assert heel[2] < ankle[2]


def test_a_head_that_ends_below_the_crown_is_made_as_long_as_an_adult_s():
  pose, _ = people.build_person(figure("CMU as BVH", head_top=(0, 1500, 0)))
  top = pose.points[0, POINT["head_top"]]
  np.testing.assert_allclose(top, [0, 0, 1400 + 0.155 * HEIGHT], atol=1e-9)


@pytest.mark.parametrize("unit", [1.0, 10.0, 25.4, 25.4 / 0.45, 1000.0])
def test_the_unit_is_told_from_the_legs(unit):
  pose, height = people.build_person(figure("LAFAN1, Mixamo", unit))
  assert height == pytest.approx(HEIGHT)
  np.testing.assert_allclose(pose.points[0, POINT["neck"]], [0, 0, 1400])


def test_a_unit_that_is_given_counts_and_must_make_a_human():
  _, height = people.build_person(figure("DeepMimic", 7.0), unit_mm=7.0)
  assert height == pytest.approx(HEIGHT)
  with pytest.raises(ValueError, match="no human's"):
    people.build_person(figure("DeepMimic", 7.0), unit_mm=1.0)


def test_of_several_joints_of_the_spine_the_middle_one_is_taken():
  motion = figure("LAFAN1, Mixamo")  # whose Spine is 230 mm over the pelvis and 270 under the neck
  low = np.full((3, 1, 3), (0.0, 950.0, 0.0))
  other = Motion(
    (*[n if n != "Spine" else "Spine1" for n in motion.joints], "Spine"),
    np.concatenate([motion.positions, low], axis=1),
    np.concatenate([motion.rotations, np.tile(np.eye(3), (3, 1, 1, 1))], axis=1),
    motion.time_s,
    None,
  )
  pose, _ = people.build_person(other)
  assert pose.points[0, POINT["spine"], 2] == pytest.approx(1130)


@pytest.mark.parametrize(
  ("name", "who_and_what"),
  [
    ("cmu_bvh/02_01", ("02", "unnamed")),
    ("other/02_04", ("02", "unnamed")),
    ("01_01_playground_jumps", ("01", "playground_jumps")),
    ("113_25", ("113", "unnamed")),
    ("walk1_subject5", ("subject5", "walk")),
    ("a/humanoid3d_backflip", ("a/humanoid3d_backflip", "backflip")),
    ("bend_over_02", ("bend_over_02", "bend_over")),
    ("0007", ("0007", "unnamed")),
  ],
)
def test_who_does_what_is_told_from_the_name(name, who_and_what):
  assert clips.name_clip(name) == who_and_what


def cut(text):
  return text[: int(0.8 * len(text))]


@pytest.mark.parametrize(
  ("name", "text", "said"),
  [
    ("a.bvh", "nothing", "no line MOTION"),
    ("a.bvh", "\x00\xff" + BVH, "does not begin with HIERARCHY"),
    ("a.bvh", BVH[: BVH.index("JOINT Tail")] + "MOTION", "not closed"),
    ("a.bvh", BVH.replace("Frames: 2", "Frames: 3"), "3 frames of 11 channels"),
    ("a.bvh", BVH.replace("0.04", "0"), "frame time"),
    ("a.bvh", BVH.replace("0.04\n1 2", "0.04\n1 x2"), "'x2' is no number"),
    ("a.bvh", BVH.replace("0.04\n1 2", "0.04\n1 nan"), "no finite numbers"),
    ("a.bvh", BVH.replace("Zrotation Xrotation", "Zrotation Wrotation"), "channel 'Wrotation'"),
    ("a.bvh", BVH.replace("OFFSET 3 0 0", "3 0 0"), "'Arm_end' has no OFFSET"),
    ("a.bvh", BVH, "joints are missing: Chest or Chest2; Neck"),
    ("s_1.amc", AMC.replace("a 0\n", ""), "frame 2: bone 'a' is missing"),
    ("s_1.amc", AMC.replace("a 90\n", "").replace("a 0\n", "a 0\na 0\n"), "frame 1: bone 'a'"),
    ("s_1.amc", AMC.replace("d 90 90", "d 90"), "'d 90' is not a bone and its values"),
    ("s_1.amc", AMC.replace("a 90", "a none"), "'none' is no number"),
    ("s_1.amc", "", "no frames"),
    ("m.json", cut(json.dumps(FRAMES)), "damaged JSON"),
    ("m.json", json.dumps({"Frames": [[1, 2, 3]]}), "3 values, but the character needs 17"),
    ("m.json", json.dumps({"Frames": [["x"] * 17] * 2}), "no number"),
    ("m.json", json.dumps({"Frames": [[0] * 17] * 2}), "not of length 1"),
    ("m.json", json.dumps({"Frames": [[0.0, *ROW]] * 2}), "must be positive"),
  ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, name, text, said):
  (tmp_path / "s.asf").write_text(ASF)
  (tmp_path / "c.txt").write_text(json.dumps(CHARACTER))
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=said) as error:
    clips.load_clips(str(tmp_path), 0.0)
  assert str(error.value).startswith(str(tmp_path / name))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("old", "new", "said"),
  [
    (":root", ":rot", "no section :root"),
    ("order TX", "order TZ", "order 'tz ty tz"),
    ("    dof rz rx", "    dof rz l", "degree of freedom 'l'"),
    ("    a b", "    a e", "'e', which is no bone"),
    ("    a b", "    a b c", "'c' has two parents"),
    ("direction 0 0 1", "direction 0 1", "direction must be three"),
    ("axis 0 0 90 XYZ", "axis 0 0 90", "three angles and their order"),
    ("length 0.5", "length 0", "length 0"),
  ],
)
def test_a_damaged_body_is_named(tmp_path, old, new, said):
  assert old in ASF
  (tmp_path / "s.asf").write_text(ASF.replace(old, new))
  (tmp_path / "s_1.amc").write_text(AMC)
  with pytest.raises(ValueError, match=said) as error:
    clips.load_clips(str(tmp_path), 0.0)
  assert "s_1.amc: s.asf: " in str(error.value)


def test_a_motion_without_its_body_and_a_folder_without_motion_are_said(tmp_path):
  (tmp_path / "notes.txt").write_text("not a motion")
  with pytest.raises(ValueError, match=r"holds no motion capture: \.bvh"):
    clips.load_clips(str(tmp_path), 0.0)
  (tmp_path / "s_1.amc").write_text(AMC)
  with pytest.raises(ValueError, match=r"s_1\.amc: there is no \.asf"):
    clips.load_clips(str(tmp_path), 0.0)
  (tmp_path / "s_1.amc").unlink()
  (tmp_path / "m.txt").write_text(json.dumps(FRAMES))
  with pytest.raises(ValueError, match=r"m\.txt: there is no DeepMimic character"):
    clips.load_clips(str(tmp_path), 0.0)
  with pytest.raises(ValueError, match=r"no folder .*nowhere"):
    clips.list_files(str(tmp_path / "nowhere"))
  with pytest.raises(ValueError, match=r"--config\.data\.path=DIR"):
    clips.list_files("")


def test_a_body_is_that_whose_name_the_motion_begins_with(tmp_path):
  for name in ("0.asf", "02.asf", "023.asf"):
    (tmp_path / name).touch()
  found = clips._body_of(tmp_path / "02_01.amc", sorted(tmp_path.glob("*.asf")))
  assert found.name == "02.asf"


def test_recorded_motion_agrees_between_formats():
  folder = real_data_dir() / "mocap"
  if not folder.is_dir():
    pytest.skip(f"no recorded motion: {folder} is missing")
  found = {clip.name: clip for clip in clips.load_clips(str(folder), 0.0)}
  assert len(found) == 36
  bvh, amc = found["cmu_bvh/02_01.bvh"], found["cmu_asfamc/02_01.amc"]
  assert bvh.subject == amc.subject == "02"
  legs = [POINT[f"{s}_{j}"] for s in people.SIDES for j in ("hip", "knee", "ankle", "toe")]
  np.testing.assert_allclose(bvh.pose.points[:, legs], amc.pose.points[:, legs], atol=0.1)
  for clip in found.values():
    assert 1500 < clip.height_mm < 1900
    toes = clip.pose.points[:, POINT["left_toe"]] - clip.pose.points[:, POINT["left_heel"]]
    forward = (toes * clip.pose.pelvis_axes[..., 0]).sum(axis=-1)
    assert forward.mean() > 60, clip.name  # feet point where the pelvis faces: nothing is mirrored
