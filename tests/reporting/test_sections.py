import base64
import dataclasses
import html.parser
import re

import cv2
import made_up_report
import numpy as np
import pytest

from jaxpose.reporting import sections
from jaxpose.reporting.content import Report

VOID = ("img", "br", "meta", "hr", "link", "input")


class Page(html.parser.HTMLParser):
  """Checks that tags close in order, and collects what a test asks for."""

  def __init__(self, text):
    super().__init__()
    self.open, self.links, self.ids, self.words = [], [], [], []
    self.tags = {}
    self.feed(text)
    self.close()
    assert not self.open, f"left open: {self.open}"

  def handle_starttag(self, tag, attrs):
    self.tags[tag] = self.tags.get(tag, 0) + 1
    for name, value in attrs:
      assert not name.startswith("on"), f"a handler: {name}={value}"
      if name in ("src", "href"):
        self.links.append(value)
      if name == "id":
        self.ids.append(value)
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if "script" not in self.open and "style" not in self.open:
      self.words.append(data)


@pytest.fixture(scope="module")
def text():
  return sections.build_page(made_up_report.make_report())


def test_the_page_is_well_formed_and_holds_everything_itself(text):
  page = Page(text)
  assert all(link.startswith(("data:image/", "#")) for link in page.links)
  anchors = [link[1:] for link in page.links if link.startswith("#")]
  assert anchors
  assert set(anchors) <= set(page.ids)
  assert "default-src &#x27;none&#x27;" in text  # the browser is told to fetch nothing
  assert len(text) < 8e6
  words = "".join(page.words)
  for heading in ("Summary", "Boxes, masks", "swapped", "Presence", "3D poses", "Training curves"):
    assert heading in words


def test_every_picture_decodes(text):
  links = [link for link in Page(text).links if link.startswith("data:image/")]
  # 4 cards of 7; a grid; 3 backgrounds; a timeline and 2 frames; 3 poses of 4; curves
  assert len(links) == 4 * 7 + 1 + 3 + 3 + 3 * 4 + 1
  for link in links:
    data = base64.b64decode(link.split(",", 1)[1])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None


def test_hostile_names_are_shown_and_do_nothing(text):
  hostile = sections.build_page(made_up_report.make_report(made_up_report.HOSTILE))
  page = Page(hostile)
  assert page.tags["script"] == Page(text).tags["script"] == 2  # plotly and the figure
  words = "".join(page.words)
  # title, summary, warning, group's note, table, backgrounds, timeline, poses, probe, config, cards
  assert words.count(made_up_report.HOSTILE) >= 15
  assert not re.search(r"<script>\s*alert", hostile)


def test_what_is_missing_is_left_out():
  page = Page(sections.build_page(Report("empty", "2030-01-01", [("data", "none")])))
  assert page.ids == ["summary"]
  assert "script" not in page.tags
  assert "img" not in page.tags


def test_the_boxes_are_drawn_in_red_and_green():
  report = made_up_report.make_report()
  frame = dataclasses.replace(
    report.groups[0].frames[0], image=np.full((96, 128, 3), 128, np.uint8)
  )
  card = sections._frame_card(frame)
  data = base64.b64decode(re.search(r"base64,([^\"]+)", card)[1])
  image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
  # enlarged 2.5 times; the found box's left edge at (42 + 0.5) · 2.5 − 0.5 = 105.75, the true one's
  # at (45 + 0.5) · 2.5 − 0.5 = 113.25; rows 80 to 160 lie inside of both
  _, green, red = np.moveaxis(image[80:160].mean(axis=0), -1, 0)
  assert 104 <= (red - green).argmax() <= 108
  assert 111 <= (green - red).argmax() <= 115
