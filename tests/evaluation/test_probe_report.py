"""The curves, and tables of results with gaps; a whole table is tried with the probe."""

import matplotlib.figure
import numpy as np
import pytest

from jaxpose.evaluation import probe_report
from jaxpose.evaluation.metrics import metric_name
from jaxpose.evaluation.probe_records import ProbeRecord, ProbeResults, load_results

_NAMES = [metric_name(name, 3) for name in ("MPJPE", "N-MPJPE", "P-MPJPE")]


def _record(row, labels, seed, n_mpjpe):
  """MPJPE is 10 mm more than N-MPJPE, P-MPJPE 20 mm less."""
  metrics = dict(zip(_NAMES, (n_mpjpe + 10, n_mpjpe, n_mpjpe - 20)))
  return ProbeRecord(row, labels, seed, metrics, 1.0)


def _results(records, rows=("mean pose", "trained", "supervised")):
  counts = {
    f"{split}{what}": number
    for split, numbers in (("train", (900, 500, 40, 7)), ("test", (300, 200, 30, 2)))
    for what, number in zip(("", "_labelled", "_left_out_empty", "_left_out_root_unknown"), numbers)
  }
  labels = sorted({record.labels for record in records})
  return ProbeResults(list(records), list(rows), labels, 3, counts, {})


_RECORDS = [
  _record("trained", 10, 0, 150.0),
  _record("trained", 10, 1, 130.0),
  _record("trained", 10, 2, 110.0),
  _record("mean pose", 10, 0, 200.0),
  _record("mean pose", 10, 1, 210.0),
  _record("mean pose", 10, 2, 190.0),
  _record("trained", 500, 0, 90.0),
  _record("mean pose", 500, 0, 180.0),
  _record("supervised", 500, 0, 45.0),
]


def test_the_table_is_by_labels_and_in_the_order_of_the_rows():
  lines = probe_report.markdown_table(_results(_RECORDS)).splitlines()
  head = lines.index(
    "| labels | embedding | " + " | ".join(_NAMES) + f" | {_NAMES[1]} ÷ mean pose |"
  )
  assert lines[head + 1] == "|---:|---|---:|---:|---:|---:|"
  # deviations of (150, 130, 110) and (200, 210, 190) with n - 1: 20 and 10
  assert lines[head + 2 :] == [
    "| 10 | mean pose | 210.0 ± 10.0 | 200.0 ± 10.0 | 180.0 ± 10.0 | 1.000 |",
    "| 10 | trained | 140.0 ± 20.0 | 130.0 ± 20.0 | 110.0 ± 20.0 | 0.650 |",
    "| 500 | mean pose | 190.0 | 180.0 | 160.0 | 1.000 |",
    "| 500 | trained | 100.0 | 90.0 | 70.0 | 0.500 |",
    "| 500 | supervised | 55.0 | 45.0 | 25.0 | 0.250 |",
  ]


def test_the_table_says_which_frames_were_used():
  first = probe_report.markdown_table(_results(_RECORDS)).splitlines()[0]
  assert "500 of 900 train, 200 of 300 test" in first
  assert "empty: 40 train, 30 test" in first
  assert "root: 7 train, 2 test" in first


def test_without_a_score_there_is_no_curve(tmp_path):
  results = _results([])
  paths = probe_report.write_probe_report(tmp_path / "new" / "probe", results)
  assert [path.name for path in paths] == ["results.json", "results.md"]
  assert {path.name for path in paths[0].parent.iterdir()} == {"results.json", "results.md"}
  text = paths[1].read_text(encoding="utf-8")
  assert text.endswith("No test frame that could be scored.\n")
  assert "|" not in text
  assert load_results(tmp_path / "new" / "probe") == results
  probe_report.write_probe_report(tmp_path / "new" / "probe", _results(_RECORDS))
  probe_report.write_probe_report(tmp_path / "new" / "probe", results)  # the curve goes
  assert {path.name for path in paths[0].parent.iterdir()} == {"results.json", "results.md"}


def test_a_table_or_curve_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
  probe_report.write_probe_report(tmp_path, _results(_RECORDS))
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  assert before["label_efficiency.png"].startswith(b"\x89PNG")

  def fail(figure, path, **options):
    with open(path, "wb") as file:
      file.write(b"half")
    raise OSError("no space left")

  monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
  with pytest.raises(OSError, match="no space left"):
    probe_report.write_probe_report(tmp_path, _results(_RECORDS))
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def axes(tmp_path, monkeypatch):
  """The axes that are drawn for `_RECORDS` and an embedding that was not scored."""
  drawn = []
  monkeypatch.setattr(
    matplotlib.figure.Figure, "savefig", lambda figure, path, **options: drawn.append(figure)
  )
  rows = ("mean pose", "trained", "random", "supervised")
  probe_report.plot_label_efficiency(_results(_RECORDS, rows), tmp_path / "curve.png")
  (figure,) = drawn
  (axes,) = figure.axes
  return axes


def test_curves_are_means_over_seeds(axes):
  lines = {line.get_label(): line for line in axes.get_lines()}
  assert list(lines) == ["mean pose", "trained", "supervised"]
  np.testing.assert_array_equal(lines["mean pose"].get_xydata(), [[10, 200], [500, 180]])
  np.testing.assert_array_equal(lines["trained"].get_xydata(), [[10, 130], [500, 90]])
  np.testing.assert_array_equal(lines["supervised"].get_xydata(), [[500, 45]])
  assert [line.get_linestyle() for line in lines.values()] == ["--", "-", "-"]
  assert lines["supervised"].get_markersize() > lines["trained"].get_markersize()
  assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)
  assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
  assert axes.get_ylabel() == "N-MPJPE/3 joints, mm"


def test_bands_are_one_deviation_wide(axes):
  bands = {}
  for line, band in zip(axes.get_lines(), axes.collections, strict=True):
    corners = band.get_paths()[0].vertices
    bands[line.get_label()] = {
      x: (corners[corners[:, 0] == x, 1].min(), corners[corners[:, 0] == x, 1].max())
      for x in np.unique(corners[:, 0])
    }
  assert bands == {
    "mean pose": {10: (190, 210), 500: (180, 180)},
    "trained": {10: (110, 150), 500: (90, 90)},
    "supervised": {500: (45, 45)},
  }
