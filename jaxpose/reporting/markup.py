"""HTML elements that escape what they hold and cannot point to the network."""

import base64
import html
import json
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxpose.data import records

_VOID = ("img", "br", "meta", "hr")
_LINKS = ("src", "href", "action", "data", "poster", "srcset", "formaction", "background")


class Html(str):
  """Markup: text that is escaped already."""

  __slots__ = ()


def element(tag: str, *children: Any, **attributes: Any) -> Html:
  """`<tag attributes>children</tag>`; everything that is not `Html` is escaped.

  Attribute names end in `_` where Python needs it (`class_`) and have `-` for other `_`. Attributes
  of None are left out.

  Raises:
    ValueError: a link that leads out of the page: only `data:` images and `#anchors` are allowed.
  """
  parts = []
  for name, value in attributes.items():
    if value is None:
      continue
    key = name.rstrip("_").replace("_", "-")
    if key in _LINKS and not str(value).startswith(("data:image/", "#")):
      raise ValueError(f"{key}={str(value)[:60]!r} would leave the page: inline it as data:image/")
    parts.append(f' {key}="{html.escape(str(value), quote=True)}"')
  start = f"<{tag}{''.join(parts)}>"
  if tag in _VOID:
    return Html(start)
  return Html(f"{start}{join(*children)}</{tag}>")


def join(*children: Any) -> Html:
  """Children one after the other, escaped unless they are `Html`."""
  return Html("".join(c if isinstance(c, Html) else html.escape(str(c)) for c in children))


def image_uri(image: UInt8[np.ndarray, "H W 3"], lossless: bool = False) -> str:
  """The image as a `data:` URI: JPEG for photographs, PNG (`lossless`) for drawings."""
  data = records.encode_png(image) if lossless else records.encode_jpeg(image, quality=88)
  return bytes_uri(data, "png" if lossless else "jpeg")


def bytes_uri(data: bytes, kind: str) -> str:
  """An encoded image file as a `data:` URI."""
  return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(uri: str, caption: Any, alt: str | None = None, class_: str | None = None) -> Html:
  """A figure with its caption."""
  text = alt if alt is not None else caption
  shown = element("img", src=uri, alt=text, loading="lazy")
  return element("figure", shown, element("figcaption", caption), class_=class_)


def table(header: list[Any], rows: list[list[Any]], caption: Any = None) -> Html:
  """A table that scrolls sideways on a narrow screen; columns of numbers are set flush right."""
  numeric = [
    bool(rows) and all(_is_number(row[i]) for row in rows if i < len(row))
    for i in range(len(header))
  ]
  classes = ["number" if yes else None for yes in numeric]
  head = [element("th", c, scope="col", class_=k) for c, k in zip(header, classes, strict=True)]
  body = [
    element("tr", *(element("td", c, class_=k) for c, k in zip(row, classes, strict=True)))
    for row in rows
  ]
  parts = [element("thead", element("tr", *head)), element("tbody", *body)]
  if caption is not None:
    parts.insert(0, element("caption", caption))
  return element("div", element("table", *parts), class_="scroll")


def _is_number(cell: Any) -> bool:
  text = str(cell).strip().removesuffix("%").split("±")[0].strip()
  try:
    float(text)
  except ValueError:
    return text == "–"
  return True


def number(value: Any, digits: int = 2) -> str:
  """A number for a table; an en dash for None and NaN."""
  if value is None or not np.isfinite(value):
    return "–"
  return f"{value:.{digits}f}"


def script_json(values: Any) -> str:
  """JSON for inside a `<script>`: `<`, `>` and `&` become escapes, so that no tag can end it."""
  text = json.dumps(values, separators=(",", ":"), allow_nan=False)
  for character in "<>&\u2028\u2029":
    text = text.replace(character, f"\\u{ord(character):04x}")
  return text


_STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --ground: #f6f7f9; --accent: #1d6edc; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  color: var(--ink); background: var(--ground); }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 28px; }
h1 { font-size: 1.7rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 8px; }
h3 { font-size: 1.02rem; margin: 22px 0 6px; }
p { margin: 6px 0 10px; max-width: 78ch; }
.soft, figcaption, caption { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 6px; margin: 14px 0 4px; }
nav a { padding: 4px 11px; border-radius: 14px; background: #fff; border: 1px solid var(--line);
  color: var(--accent); text-decoration: none; font-size: .9rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 18px; margin: 16px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: 6px 0 10px; }
caption { text-align: left; padding-bottom: 4px; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; border-radius: 4px; background: #ddd; }
figcaption { font-size: .78rem; line-height: 1.3; padding: 3px 1px 0; }
.card { border-top: 1px solid var(--line); padding: 10px 0 12px; }
.card h4 { margin: 0 0 6px; font-size: .9rem; font-weight: 600; overflow-wrap: anywhere; }
.card h4 span { font-weight: 400; color: var(--soft); }
.strip { display: grid; gap: 8px; grid-template-columns: repeat(7, minmax(0, 1fr)); }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.poses { display: grid; gap: 8px; grid-template-columns: repeat(4, minmax(0, 1fr)); }
.wide { max-width: 900px; }
.chart { max-width: 860px; }
.chart img { background: #fff; }
.warning { background: #fff4e0; border: 1px solid #f0cf94; border-radius: 8px; padding: 8px 12px;
  margin: 8px 0; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin: 0 .3em 0 .1em; }
#turn { width: 100%; max-width: 720px; height: 560px; }
pre { overflow-x: auto; font-size: .8rem; background: var(--ground); padding: 10px; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 760px) {
  section { padding: 12px; }
  .strip { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .poses { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #turn { height: 420px; }
}
"""

# Nothing may be fetched, whatever the page holds; plotly builds functions from strings.
_POLICY = (
  "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
  "script-src 'unsafe-inline' 'unsafe-eval'"
)


def page(title: str, *body: Html) -> str:
  """A whole document that needs no network."""
  head = element(
    "head",
    element("meta", charset="utf-8"),
    element("meta", name="viewport", content="width=device-width, initial-scale=1"),
    element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
    element("title", title),
    element("style", Html(_STYLE)),
  )
  return f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n"
