"""The sections of the report, each from plain data to markup."""

import numpy as np

from jaxpose import drawing
from jaxpose.reporting import charts
from jaxpose.reporting.content import (
  FrameGroup,
  FrameView,
  Image,
  PoseView,
  Pretext,
  Report,
  SwapGrid,
  Table,
  Timeline,
)
from jaxpose.reporting.markup import (
  Html,
  bytes_uri,
  element,
  image_uri,
  join,
  page,
  picture,
  script_json,
  table,
)
from jaxpose.skeleton import Skeleton

_SIDE = 240  # shorter side of pictures on the page, px: small frames are enlarged for clean lines
_TILE = 112  # side of a picture in the swap grid, px


def summary(report: Report) -> Html:
  """What was trained on what, and the numbers that count."""
  rows = "".join(
    element("tr", element("th", key, scope="row"), element("td", value))
    for key, value in report.summary
  )
  warnings = join(*(element("p", text, class_="warning") for text in report.warnings))
  body = element("div", element("table", element("tbody", Html(rows))), class_="scroll")
  return join(warnings, body)


def frames(groups: list[FrameGroup]) -> Html:
  """Every group: a card per frame, with what the networks see, make and paint."""
  legend = element(
    "p",
    "Each row is one frame, left to right: the ",
    element("b", "frame"),
    " with the found box ",
    _key("d62828"),
    "in red and, where it is known, the true box ",
    _key("269646"),
    "in green; the ",
    element("b", "crop"),
    ", which is all that the encoder sees of the person; the crop as the ",
    element("b", "decoder"),
    " paints it from the encoder's two vectors; the ",
    element("b", "mask"),
    " in the crop and laid over the frame in blue: where the paint covers the background; the ",
    element("b", "reconstruction"),
    ", paint over background, which should equal the frame; and the ",
    element("b", "background"),
    " that the networks were given.",
  )
  parts: list[Html] = [legend]
  for group in groups:
    parts.append(element("h3", f"{group.split}: {group.title}"))
    parts.append(element("p", group.note, class_="soft"))
    parts += [_frame_card(frame) for frame in group.frames]
  return join(*parts)


def _frame_card(frame: FrameView) -> Html:
  image, factor = drawing.enlarge(frame.image, _SIDE)
  boxed = drawing.draw_box(image, drawing.scale_px(frame.box_true_px, factor), drawing.GREEN, 3)
  boxed = drawing.draw_box(boxed, drawing.scale_px(frame.box_px, factor), drawing.RED, 3)
  pictures: list[tuple[str, Image]] = [("frame, boxes", boxed), ("crop", frame.crop)]
  if frame.painted is not None:
    painted = frame.painted
    tinted = drawing.tint_mask(frame.image, painted.mask_frame, drawing.BLUE, 0.7)
    pictures += [
      ("decoded", painted.decoded),
      ("mask in crop", drawing.to_rgb(painted.mask_crop)),
      ("mask on frame", drawing.enlarge(tinted, _SIDE)[0]),
      ("reconstruction", painted.reconstruction),
      ("background", frame.background),
    ]
  cells = join(*(picture(image_uri(p), name, alt=f"{name}: {frame.title}") for name, p in pictures))
  heading = element("h4", frame.title, " ", element("span", frame.notes))
  return element("div", heading, element("div", cells, class_="strip"), class_="card")


def _key(colour: str) -> Html:
  return element("span", class_="key", style=f"background:#{colour}")


def one_table(content: Table) -> Html:
  note = element("p", content.note, class_="soft") if content.note else Html("")
  return join(note, table(content.header, content.rows, content.title))


def swaps(grids: list[SwapGrid]) -> Html:
  """Pose of the row in the looks of the column."""
  parts: list[Html] = [
    element(
      "p",
      "The encoder splits a crop into a time-variant vector (pose) and a time-invariant one"
      " (looks). Here the decoder gets the first from the crop at the left of the row and the"
      " second from the crop at the top of the column. If the split works, the pose is the same"
      " along a row, and clothes and build are the same down a column.",
    )
  ]
  for grid in grids:
    blank = np.full((_TILE, _TILE, 3), 255, np.uint8)
    rows = [[blank, *(_tile(look) for look in grid.looks)]]
    for pose, line in zip(grid.poses, grid.decoded, strict=True):
      rows.append([_tile(pose), *(_tile(image) for image in line)])
    caption = f"{grid.split}: poses down the left, looks along the top, decoded crops between"
    whole = picture(image_uri(drawing.grid(rows)), caption)
    parts.append(element("div", whole, class_="wide"))
  return join(*parts)


def _tile(image: Image) -> Image:
  return drawing.fit(image, _TILE, _TILE, drawing.WHITE)


def backgrounds(pictures: list[tuple[str, Image]]) -> Html:
  """The empty scene that each camera is given."""
  note = element(
    "p",
    "The scene without the person, one picture for each camera. What is left of a person in it (a"
    " ghost) cannot be told from furniture: mask and box suffer where it stands.",
  )
  tiles = join(*(picture(image_uri(image), caption) for caption, image in pictures))
  return join(note, element("div", tiles, class_="tiles"))


def timelines(lines: list[Timeline]) -> Html:
  """Presence along each camera's frames."""
  parts: list[Html] = [
    element(
      "p",
      "Is there a person? Time runs from left to right. A bar's height is the presence, from 0"
      " to 1: ",
      _key("1d6edc"),
      "blue from 0.5 on (a person), ",
      _key("969696"),
      "grey below (empty). The thin strip above shows what is known: ",
      _key("269646"),
      "green a person, ",
      _key("cdcdcd"),
      "grey empty, white unknown.",
    )
  ]
  for line in lines:
    image = drawing.timeline(line.presence, line.known)
    share = float(np.mean(np.asarray(line.presence) >= 0.5))
    caption = f"{len(line.presence)} frames, a person in {share:.0%} of them"
    parts.append(element("h3", line.title))
    parts.append(element("div", picture(image_uri(image, lossless=True), caption), class_="wide"))
    kinds = (("seen as empty", line.seen_empty), ("seen with a person", line.seen_occupied))
    tiles = [
      picture(image_uri(image), f"{kind}: {caption}")
      for kind, found in kinds
      for caption, image in found
    ]
    if tiles:
      parts.append(element("div", join(*tiles), class_="tiles"))
  return join(*parts)


def poses(views: list[PoseView], skeleton: Skeleton) -> Html:
  """Predicted over true skeletons from two viewpoints, then one figure that turns."""
  parts: list[Html] = [
    element(
      "p",
      "True pose ",
      _key("269646"),
      "in green and predicted pose ",
      _key("d62828"),
      "in red, both with the pelvis in the middle, in mm (a square of the grid is 500 mm). Dark"
      " lines are the person's left side. From the front as the camera sees it; from the side and"
      " from above, where errors in depth show, the camera is on the left and below.",
    )
  ]
  for view in views:
    drawn = charts.pose_pictures(view, skeleton)
    cells = join(
      picture(image_uri(drawing.enlarge(view.image, _SIDE)[0]), "frame"),
      *(picture(image_uri(image, lossless=True), name) for name, image in drawn.items()),
    )
    heading = element("h4", view.title, " ", element("span", view.notes))
    parts.append(element("div", heading, element("div", cells, class_="poses"), class_="card"))
  parts.append(element("h3", "The same poses, to turn"))
  parts.append(
    element("p", "Drag to turn, wheel or pinch to zoom, slide to the next pose.", class_="soft")
  )
  return join(*parts, _turning(views, skeleton))


def _turning(views: list[PoseView], skeleton: Skeleton) -> Html:
  from plotly.offline import get_plotlyjs

  figure = script_json(charts.turning_figure(views, skeleton))
  start = (
    f"const figure = {figure};\n"
    "Plotly.newPlot('turn', figure.data, figure.layout, {displaylogo: false, responsive: true});"
  )
  return join(
    element("div", id="turn"),
    element("script", Html(get_plotlyjs())),
    element("script", Html(start)),
  )


def probe(tables: list[Table], label_plot: bytes | None) -> Html:
  """Pose errors of the regressors on top of the embeddings, and the label-efficiency curve."""
  parts = [
    element(
      "p",
      "A small network learns 3D poses from the embeddings of a few labelled frames; the"
      " embeddings stay as they are. Errors on the test frames are in mm, lower is better: MPJPE is"
      " the mean distance between predicted and true joints, N-MPJPE the same after the best"
      " scaling, P-MPJPE after the best rotation, shift and scaling. The mean pose needs no picture"
      " at all, the random encoder no training: what was learnt is the distance to them.",
    )
  ]
  if label_plot is not None:
    chart = picture(bytes_uri(label_plot, "png"), "error against the number of labelled frames")
    parts.append(element("div", chart, class_="chart"))
  return join(*parts, *(one_table(content) for content in tables))


def pretext(content: Pretext) -> Html:
  """Which views are taken for views of one instant."""
  parts = [one_table(found) for found in content.tables]
  if content.plot is not None:
    chart = picture(bytes_uri(content.plot, "png"), "accuracy against the gap of the pairs")
    parts.insert(1, element("div", chart, class_="chart"))
  for caption, image in content.retrievals:
    text = f"{caption}; numbers are the probability of being of one instant"
    parts.append(element("div", picture(image_uri(image), text), class_="wide"))
  return join(*parts)


def analyses(tables: list[Table], distance_plot: bytes | None) -> Html:
  """What launch/analyse.py found: clusters, pose distances, falls."""
  parts = [one_table(content) for content in tables]
  if distance_plot is not None:
    chart = picture(bytes_uri(distance_plot, "png"), "pose distance against temporal distance")
    parts.append(element("div", chart, class_="chart"))
  return join(*parts)


def curves(logged: charts.Curves) -> Html:
  """Everything logged during training."""
  chart = picture(
    bytes_uri(charts.plot_curves(logged), "png"),
    "Everything logged, against the training step; faint: as logged, strong: running mean.",
  )
  return element("div", chart)


def configuration(text: str) -> Html:
  """The configuration, folded away."""
  return element("details", element("summary", "show the configuration"), element("pre", text))


def build_page(report: Report) -> str:
  """The whole document."""
  found = build_sections(report)
  links = join(*(element("a", heading, href=f"#{anchor}") for anchor, heading, _ in found))
  header = element(
    "header",
    element("h1", report.title),
    element("p", f"Written {report.date}. Everything is inside this file.", class_="soft"),
    element("nav", links, aria_label="contents"),
  )
  main = element(
    "main",
    *(element("section", element("h2", heading), body, id=a) for a, heading, body in found),
  )
  return page(report.title, header, main)


def build_sections(report: Report) -> list[tuple[str, str, Html]]:
  """(anchor, heading, body) of every section that has something to show."""
  found: list[tuple[str, str, Html]] = [("summary", "Summary", summary(report))]
  if report.groups:
    found.append(("frames", "Boxes, masks, reconstructions", frames(report.groups)))
  if report.boxes is not None:
    found.append(("boxes", "Boxes in numbers", one_table(report.boxes)))
  if report.swaps:
    found.append(("swaps", "Pose and looks, swapped", swaps(report.swaps)))
  if report.timelines:
    found.append(("presence", "Presence", timelines(report.timelines)))
  if report.poses and report.skeleton is not None:
    found.append(("poses", "3D poses", poses(report.poses, report.skeleton)))
  if report.probe_tables or report.label_plot is not None:
    body = probe(report.probe_tables, report.label_plot)
    found.append(("probe", "Pose from few labels", body))
  if report.pretext is not None:
    found.append(("pretext", "Views of one instant", pretext(report.pretext)))
  if report.analyses:
    body = analyses(report.analyses, report.distance_plot)
    found.append(("analyses", "What the embedding knows, how poses change", body))
  if report.backgrounds:
    found.append(("backgrounds", "Backgrounds", backgrounds(report.backgrounds)))
  if charts.group_curves(report.curves):
    found.append(("curves", "Training curves", curves(report.curves)))
  if report.config:
    found.append(("config", "Configuration", configuration(report.config)))
  return found
