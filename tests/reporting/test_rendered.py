import made_up_run
import numpy as np
import pytest

from jaxpose.reporting import rendered

SIZE = made_up_run.SIZE


@pytest.fixture(scope="module")
def run():
  dataset = made_up_run.Dataset()
  return dataset, made_up_run.embeddings(dataset)


def test_rows_are_found_by_sequence_camera_and_frame(run):
  dataset, arrays = run
  order = np.random.default_rng(0).permutation(dataset.num_frames)
  shuffled = {k: arrays[k][order] for k in ("sequence", "camera", "frame")}
  np.testing.assert_array_equal(rendered.frame_ids(dataset, shuffled, np.arange(len(order))), order)
  with pytest.raises(ValueError, match="frame 11"):
    rendered.frame_ids(dataset, {**shuffled, "frame": np.full(len(order), 11)}, [0])
  with pytest.raises(ValueError, match="sequence 9"):
    rendered.frame_ids(dataset, {**shuffled, "sequence": np.full(len(order), 9)}, [0])


def test_frames_are_rendered_in_batches_of_one_shape(run):
  dataset, _ = run
  shapes = set()

  def render(frames):
    shapes.add(frames["image"].shape)
    return made_up_run.render(frames)

  found = rendered.render_frames(
    dataset, np.array([3, 7, 0, 1, 2, 4, 5, 6, 8, 9, 11]), render, SIZE
  )
  assert shapes == {(8, *SIZE, 3)}
  assert len(found["image"]) == len(found["box_found_px"]) == 11
  np.testing.assert_array_equal(found["frame"][:3], [16, 12, 10])
  np.testing.assert_allclose(found["box_found_px"][1], dataset.boxes([7])[0])


def test_random_frames_are_drawn_by_seed_and_include_empty_ones(run):
  dataset, arrays = run
  options = {"split": "test", "image_size": SIZE, "count": 30, "worst": 2}

  def titles(seed):
    groups = rendered.gather_frames(dataset, arrays, made_up_run.render, seed=seed, **options)
    return [frame.title for frame in groups[0].frames], groups

  first, groups = titles(3)
  assert first == titles(3)[0] != titles(4)[0]
  assert len(set(first)) == 30
  assert any("frame 10" in title for title in first)  # nobody is there
  notes = {frame.title: frame.notes for frame in groups[0].frames}
  assert notes[next(t for t in first if "frame 10" not in t)] == "IoU 1.00, presence 1.00"
  assert "known to be empty" in notes[next(t for t in first if "frame 10" in t)]


def test_the_worst_boxes_of_the_whole_split_are_found(run):
  dataset, arrays = run
  box = arrays["box_px"].copy()
  box[23] += 100  # no overlap
  box[8] += [0, 0, 20, 0]
  box[0] += 100  # empty: not counted
  groups = rendered.gather_frames(
    dataset,
    {**arrays, "box_px": box},
    made_up_run.render,
    split="test",
    image_size=SIZE,
    count=2,
    worst=2,
    seed=0,
  )
  worst = next(group for group in groups if group.title == "worst by box IoU")
  # id 23 = track 3 (b, cam1), frame 10 + 2 · 5; id 8 = track 1 (a, cam1), frame 10 + 2 · 2
  assert [f.title for f in worst.frames] == ["b · cam1 · frame 20", "a · cam1 · frame 14"]
  assert "of 30 frames" in worst.note


def test_reconstruction_errors_look_where_somebody_is():
  image = np.zeros((3, 4, 5, 3), np.uint8)
  image[:, 1, 1] = 255  # a person of one pixel
  arrays = {
    "image": image,
    "background": np.zeros_like(image),
    "mask_frame": np.zeros((3, 4, 5, 1)),
    "reconstruction": image / 255.0,
  }
  arrays["reconstruction"][1, 1, 1] = 0.0  # missed, and no mask there
  arrays["reconstruction"][2, 3, 3] = 0.5  # paint where there is neither person nor mask
  np.testing.assert_allclose(rendered.reconstruction_errors(arrays), [0, 1, 0])


def test_swaps_take_pose_from_rows_and_looks_from_columns(run):
  dataset, arrays = run
  grid = rendered.gather_swaps(
    dataset,
    arrays,
    made_up_run.render,
    made_up_run.decode,
    split="test",
    image_size=SIZE,
    count=3,
    seed=1,
  )
  assert (len(grid.poses), len(grid.looks), len(grid.decoded)) == (3, 3, 3)
  columns = [[int(image[0, :, 0].argmax()) for image in line] for line in grid.decoded]
  assert all(len(set(line)) == 1 for line in columns)  # the bar's place along a row
  looks = [
    [tuple(image[0, (bar + 1) % 16]) for image, bar in zip(line, bars, strict=True)]
    for line, bars in zip(grid.decoded, columns, strict=True)
  ]
  assert looks[0] == looks[1] == looks[2]  # the colour down a column
  assert len(set(looks[0])) == 3  # of three different people
  behind = [image[8:] for line in grid.decoded for image in line]
  assert all((image == 128).all() for image in behind)  # what the mask leaves out: rint(127.5)


def test_no_swaps_without_a_split_or_without_people(run):
  dataset, arrays = run
  options = {"split": "test", "image_size": SIZE, "count": 3, "seed": 1}
  for change in ({"time_invariant": np.zeros((36, 0))}, {"presence": np.zeros(36)}):
    assert (
      rendered.gather_swaps(
        dataset, {**arrays, **change}, made_up_run.render, made_up_run.decode, **options
      )
      is None
    )


def test_each_background_is_shown_once(run):
  found = rendered.gather_backgrounds(run[0], "test", 5)
  assert [caption for caption, _ in found] == ["test: a · cam0", "test: a · cam1"]
  assert found[1][1].shape == (*SIZE, 3)
  assert (found[1][1] == 50).all()
  assert len(rendered.gather_backgrounds(run[0], "test", 1)) == 1
