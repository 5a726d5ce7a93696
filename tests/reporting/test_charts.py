import cv2
import made_up_report
import numpy as np
import pytest

from jaxpose.reporting import charts
from jaxpose.reporting.content import PoseView
from jaxpose.skeleton import Skeleton


def test_curves_of_one_quantity_share_a_chart():
  two = ([0.0, 1.0], [3.0, 2.0])
  found = charts.group_curves(
    {"train/terms/loss": two, "validation/loss": two, "rate": two, "short": ([0.0], [1.0])}
  )
  assert [(name, sorted(lines)) for name, lines in found] == [
    ("loss", ["train", "validation"]),
    ("rate", ["rate"]),
  ]


def test_the_running_mean_forgets_and_skips_nan():
  values = np.array([1.0, 3, np.nan, 5, 8])
  # width 2: 1; (1 + 3)/2; 3 alone; 5 alone; (5 + 8)/2
  np.testing.assert_allclose(charts._running_mean(values, 2), [1, 2, 3, 5, 6.5])


def test_a_chart_is_a_png_even_with_odd_names():
  data = charts.plot_curves({"train/$x^$_<b>": ([0, 1, 2], [1, float("nan"), 3])})
  assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[2] == 3
  with pytest.raises(ValueError, match="two points"):
    charts.plot_curves({"a": ([0], [1])})


def test_the_turning_figure_has_up_as_up_and_leaves_out_unknown_bones():
  skeleton = Skeleton("tee", ("hip", "left", "right"), (0, 0, 0), ((1, 2),), (0,))
  true = np.array([[0.0, 0, 0], [100, -200, 300], [np.nan] * 3])
  predicted = np.array([[0.0, 0, 0], [110, -210, 310], [-100, 5, 6]])
  image = np.zeros((4, 4, 3), np.uint8)
  views = [PoseView("one", image, predicted, true), PoseView("two", image, predicted, predicted)]
  figure = charts.turning_figure(views, skeleton)
  assert len(figure["data"]) == 4
  shown = figure["data"][0]
  # camera's (x right, y down, z away) -> (right, away, up), one bone: left to hip
  assert (shown["x"], shown["y"], shown["z"]) == ([100, 0, None], [300, 0, None], [200, 0, None])
  assert [trace["visible"] for trace in figure["data"]] == [True, True, False, False]
  second = figure["layout"]["sliders"][0]["steps"][1]["args"][0]["visible"]
  assert second == [False, False, True, True]


def test_true_and_predicted_poses_are_drawn_in_their_colours():
  report = made_up_report.make_report()
  drawn = charts.pose_pictures(report.poses[0], report.skeleton)
  assert sorted(drawn) == ["front", "side", "top"]
  for image in drawn.values():
    red, green = image[..., 0].astype(int), image[..., 1].astype(int)
    assert (red - green > 60).sum() > 50
    assert (green - red > 40).sum() > 50


def test_the_reach_covers_all_poses_and_ignores_unknown_joints():
  poses = [np.array([[0.0, 0, np.nan], [100, -1000, 5]]), np.full((2, 3), np.nan)]
  assert charts.reach_mm(poses) == pytest.approx(1100)
  assert charts.reach_mm([np.zeros((2, 3))]) == pytest.approx(550)
