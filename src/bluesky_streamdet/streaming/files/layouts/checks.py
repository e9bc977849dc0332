"""What parts of a layout have against one another, each of which is right by itself."""

from __future__ import annotations

from collections.abc import Iterator

from bluesky_streamdet.core.quantities import converted
from bluesky_streamdet.streaming.files.layouts.layout import Layout, fill

Complaint = tuple[tuple[str, ...], str]
"""Where in the layout, and what is wrong."""
SAMPLE = {"detector": "DETECTOR", "dataset": "DATASET", "entry": "ENTRY"}
"""Names that nobody gives, to see which paths are the same."""


def complaints(layout: Layout) -> Iterator[Complaint]:
    """All that is wrong with a layout as a whole."""
    words = layout.words(SAMPLE)
    taken: dict[str, tuple[str, ...]] = {}
    for where, template in layout.datasets():
        path = fill(template, words)
        if path == "/":
            yield where, "/ is the file's own group; a dataset has a name, as in /entry/data"
        if path in taken:
            yield where, f"it has the path of {_named(taken[path])}, {template}"
        taken.setdefault(path, where)
    for link in layout.links:
        path = fill(link, words)
        if path in taken:
            yield ("links", link), f"it has the path of {_named(taken[path])}"
    yield from _of_groups(layout, words, taken)
    yield from _of_links(layout, words, taken)
    yield from _of_values(layout)
    for name, derived in layout.columns.derived.items():
        if derived.of in layout.columns.derived:
            yield ("columns", "derived", name, "of"), f"{derived.of} is derived itself; say what both come from"


def _of_values(layout: Layout) -> Iterator[Complaint]:
    for path, fixed in layout.values.items():
        if "{" not in str(fixed.value):
            try:
                converted(fixed.value, fixed.dtype)
            except ValueError as error:
                yield ("values", path, "value"), str(error)


def _of_groups(layout: Layout, words: dict[str, str], taken: dict[str, tuple[str, ...]]) -> Iterator[Complaint]:
    groups = {
        ("columns", "group"): words["columns"],
        ("account",): words["account"],
        ("settings",): fill(layout.settings, words),
        **{("groups", one): fill(one, words) for one in layout.groups},
    }
    for where, path in groups.items():
        if path in taken:
            yield where, f"a group can't have the path of {_named(taken[path])}, which is a dataset"
    if words["account"] == "/":
        yield ("account",), "/ is the file's own group; the account needs one of its own"
    if words["columns"] == words["account"]:
        yield ("account",), "it has the path of the columns; each needs a group of its own"
    things = {**{where: fill(path, words) for where, path in layout.datasets()}, **groups}
    things |= {("links", one): fill(one, words) for one in layout.links}
    for where, path in things.items():
        for above in _above(path):
            if above in taken:
                yield where, f"it would be inside of {_named(taken[above])}, {above}, which is no group"


def _of_links(layout: Layout, words: dict[str, str], taken: dict[str, tuple[str, ...]]) -> Iterator[Complaint]:
    made = {*taken, *(fill(one, words) for one in (*layout.groups, *layout.links, layout.settings))}
    made |= {words["columns"], words["account"]}
    made |= {above for one in made for above in _above(one)}
    for path, link in layout.links.items():
        to = fill(link.to, words)
        if to == fill(path, words):
            yield ("links", path), "it leads to itself"
        elif not link.soft and to not in made:
            yield ("links", path), f"the layout makes nothing at {link.to}; only a soft link may lead there"


def _named(where: tuple[str, ...]) -> str:
    return ".".join(where)


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
