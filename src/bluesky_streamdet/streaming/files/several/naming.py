"""What files are called: names from templates, with a place for the index where a series has several files.

    scan_{index:03d}.h5      the files scan_001.h5, scan_002.h5 and so on, shown as one by scan.h5
    scan_%03d.h5             the same, as C's printf writes it

A template is never given to `format` or to printf: a width of a billion, an attribute or a `%n` is a request that it
could make of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from string import Formatter
from typing import NamedTuple

from bluesky_streamdet.core.errors import PathRefused

SUFFIXES = (".h5", ".hdf5", ".nxs")
SEPARATORS = "_-. "
"""Around an index; those that have nothing to separate without it go with it."""
WIDTH = 3
"""Digits of an index that nobody asked for; more where there are more files."""
INDEX = "{index}, {index:03d}, %d or %03d, once, with a width up to 9"

_WIDTH = re.compile(r"(?:0([1-9]))?d?")
_DIRECTIVE = re.compile(r"%(?:\d+\$)?[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*)?)?(?:hh|ll|[hlLqjzt])?[diouxXeEfFgGaAcspnm%]")


class Name(NamedTuple):
    """The name of a series' file, or of its files, relative to a folder; may have folders of its own.

    width: digits of the index between `before` and `after` at least; None where there is none.
    """

    before: str
    width: int | None = None
    after: str = ""

    def file(self, index: int = 1) -> str:
        """The name with the index, which counts from 1, in its place."""
        return self.before if self.width is None else f"{self.before}{index:0{self.width}d}{self.after}"

    def numbered(self) -> Name:
        """The name with suffix and index, for a series of several files; an index is put behind where there is none."""
        stem, suffix = _split(self.before if self.width is None else self.after)
        suffix = suffix or SUFFIXES[0]
        return Name(f"{stem}_", WIDTH, suffix) if self.width is None else self._replace(after=stem + suffix)

    @property
    def whole(self) -> str:
        """The name of what shows all the files as one: without the index and what set it apart."""
        if self.width is None:
            return self.before
        folder, slash, head = self.before.rpartition("/")
        tail, suffix = _split(self.after)
        head = head.rstrip(SEPARATORS)
        name = head + (tail if head else tail.lstrip(SEPARATORS))
        return f"{folder}{slash}{name or 'master'}{suffix}"

    def again(self, number: int) -> Name:
        """Another name, to try where this one is taken; itself for 0."""
        if not number:
            return self
        if self.width is None:
            stem, suffix = _split(self.before)
            return Name(f"{stem}_{number}{suffix}")
        head = self.before.rstrip(SEPARATORS)
        return self._replace(before=f"{head}_{number}{self.before[len(head) :] or '_'}")


def fill_in(template: str, detector: str, series: str) -> Name:
    """A name from a template with {detector}, {id}, {date}, and a place for the index.

    Raises `PathRefused` for other braces, for more than one index, and for one in the name of a folder.
    """
    values = {"detector": detector, "id": series, "date": datetime.now(UTC).strftime("%Y%m%d")}
    texts, widths = [""], []
    try:
        for text, field, form, conversion in Formatter().parse(template):
            for part in re.split(f"({_DIRECTIVE.pattern})", text):
                if _DIRECTIVE.fullmatch(part):
                    widths.append(_width(part[1:]))
                    texts.append("")
                else:
                    texts[-1] += part
            if field == "index" and not conversion:
                widths.append(_width(form or ""))
                texts.append("")
            elif field is not None:
                if form or conversion:
                    raise ValueError(field)
                texts[-1] += values[field]
    except (KeyError, ValueError) as error:
        raise PathRefused(
            f"The file name {template[:100]!r} has braces other than {{detector}}, {{id}}, {{date}}, or a % that is no "
            "index.",
            f"The index of a file is {INDEX}.",
        ) from error
    if not widths:
        return Name(texts[0])
    if len(widths) > 1 or "/" in texts[1]:
        raise PathRefused(
            f"The file name {template[:100]!r} has several indices, or one in a folder's name.",
            f"The index of a file is {INDEX}, in the name of the file.",
        )
    return Name(texts[0], widths[0], texts[1])


def _width(form: str) -> int:
    """Digits at least, of what stands behind the colon or the percent sign. Raises `ValueError`."""
    found = _WIDTH.fullmatch(form)
    if found is None:
        raise ValueError(form)
    return int(found[1] or 1)


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix, which is empty where it is none of ours."""
    suffix = next((one for one in SUFFIXES if name.endswith(one)), "")
    return name.removesuffix(suffix), suffix
