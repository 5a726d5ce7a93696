"""Parts of parameter trees by their paths: `encoder` a group, `encoder/backbone/bn1` a layer.

A path names everything below it. Its last name may be that of a stage: `encoder/backbone/layer1`
is `layer1_0`, `layer1_1` and so on.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax


def text(path: Any) -> str:
  """A key path of `jax.tree_util` with slashes: `encoder/backbone/conv1/kernel`."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def by_path(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by their paths."""
  return {text(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def group_of(entry: str) -> str:
  """The parameter group that a path begins with."""
  return entry.split("/")[0]


def covers(entry: str, path: str) -> bool:
  """Is `path` the part that `entry` names, or below it? The empty entry covers everything."""
  if not entry:
    return True
  *before, last = entry.split("/")
  names = path.split("/")
  if len(names) <= len(before) or names[: len(before)] != before:
    return False
  return re.fullmatch(rf"{re.escape(last)}(_\d+)?", names[len(before)]) is not None


def covered(entries: Iterable[str], path: str) -> bool:
  """Does any of the entries cover the path?"""
  return any(covers(entry, path) for entry in entries)


def below(entries: Iterable[str], module: str) -> tuple[str, ...]:
  """The entries as a module sees them: ("",) for all of it, else the rest of each path into it."""
  entries = tuple(entries)
  if covered(entries, module):
    return ("",)
  return tuple(e.removeprefix(f"{module}/") for e in entries if e.startswith(f"{module}/"))


def mask(tree: Any, entries: Collection[str]) -> Any:
  """True in the place of every array that an entry covers."""
  return jax.tree_util.tree_map_with_path(lambda path, _: covered(entries, text(path)), tree)


def check(entries: Iterable[str], tree: Mapping[str, Any], where: str) -> None:
  """Raises ValueError where an entry covers nothing of a tree: names what there is in its place.

  Args:
    where: what the entries come from, to begin the error with.
  """
  paths = list(by_path(tree))
  for entry in entries:
    if any(covers(entry, path) for path in paths):
      continue
    names, there = entry.split("/"), ""
    while names and any(path.startswith(f"{there}{names[0]}/") for path in paths):
      there += f"{names.pop(0)}/"
    found = sorted({p.removeprefix(there).split("/")[0] for p in paths if p.startswith(there)})
    place = f"{there[:-1]} has" if there else "there are"
    raise ValueError(f"{where} names {entry!r}: {place} {', '.join(found)}")
