import json

import pytest

from jaxpose.reporting import markup


def test_children_and_attributes_are_escaped_once():
  inner = markup.element("b", "<&>")
  assert inner == "<b>&lt;&amp;&gt;</b>"
  outer = markup.element("p", inner, " '\"<i>", title='"><script>', class_="x", data_k=1)
  assert outer == (
    '<p title="&quot;&gt;&lt;script&gt;" class="x" data-k="1">'
    "<b>&lt;&amp;&gt;</b> &#x27;&quot;&lt;i&gt;</p>"
  )
  assert markup.element("img", alt=None) == "<img>"


@pytest.mark.parametrize("link", ["http://a/b.png", "//a/b", "javascript:alert(1)", "x.png"])
def test_no_link_leads_out_of_the_page(link):
  for name in ("src", "href"):
    with pytest.raises(ValueError, match="leave the page"):
      markup.element("a", **{name: link})
  assert markup.element("a", href="#top") == '<a href="#top"></a>'


def test_columns_of_numbers_are_told_from_words():
  made = markup.table(["name", "mm", "x"], [["a<b", "12.5 ± 0.3", "1"], ["c", "–", "no"]])
  assert '<th scope="col" class="number">mm</th>' in made
  assert '<td class="number">–</td>' in made
  assert "<td>1</td>" in made  # the column holds a word as well
  assert "<td>a&lt;b</td>" in made


def test_json_inside_a_script_cannot_end_it():
  text = markup.script_json({"name": "</script><!-- & \u2028"})
  assert not set("<>&\u2028") & set(text)
  assert json.loads(text) == {"name": "</script><!-- & \u2028"}


def test_numbers_that_are_none_show_as_a_dash():
  assert [markup.number(v) for v in (1.234, None, float("nan"))] == ["1.23", "–", "–"]
