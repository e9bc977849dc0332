"""The layouts that come with the package, and those of a beamline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from bluesky_streamdet.core.errors import ConfigError, RequestRefused
from bluesky_streamdet.streaming import yamlfile
from bluesky_streamdet.streaming.files.layouts.checks import complaints
from bluesky_streamdet.streaming.files.layouts.layout import Layout
from bluesky_streamdet.streaming.wording import in_words

FOLDER = Path(__file__).parent
KEY = "[key]"
"""How pydantic says that the name is wrong, and not what is behind it."""
BRACE = "got '{'"
"""How YAML complains of a brace that it takes for the beginning of something."""
LARGEST = 256 << 10
"""Bytes of a layout, as each file of frames has its own inside."""


class Chosen(NamedTuple):
    """A layout, and what it is called."""

    name: str
    layout: Layout


def shipped() -> dict[str, Path]:
    """The files of the layouts that come with the package, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def load(path: Path) -> Layout:
    """A layout from a file. Raises `ConfigError`, which names the line of each thing that is wrong."""
    document = _read(path)
    if path.stat().st_size > LARGEST:
        raise ConfigError(f"The layout {path} is longer than {LARGEST >> 10} KiB.")
    try:
        layout = Layout.model_validate(document.values)
    except ValidationError as error:
        wrong = [{**one, "loc": tuple(step for step in one["loc"] if step != KEY)} for one in error.errors()]
        raise ConfigError(in_words(wrong, Layout, document.place)) from error
    wrong = [f"{document.place(where)}: {'.'.join(where)}: {what}." for where, what in complaints(layout)]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return layout


def _read(path: Path) -> yamlfile.Document:
    try:
        document = yamlfile.read(path, "layout")
    except ConfigError as error:
        hint = "Between { and }, what has braces itself needs quotes." if BRACE in error.message else error.hint
        raise ConfigError(error.message, hint) from error
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path} is no layout.", "`streamdet config layouts nexus` prints one to start from.")
    return document


class Layouts:
    """Those that a service knows: what comes with the package, and `own` files by their names.

    default: for series that name none. Raises `ConfigError`, which names the line of what is wrong in a file.
    """

    def __init__(self, default: str, own: Mapping[str, Path]) -> None:
        self._own = {name: Chosen(name, load(path)) for name, path in own.items()}
        if taken := sorted(self._own.keys() & shipped().keys()):
            raise ConfigError(f"There is a layout {taken[0]!r} that comes with the package.", "Call it otherwise.")
        if default not in self.names:
            raise ConfigError(*_unknown(default, self.names))
        self._default = default

    @property
    def names(self) -> list[str]:
        return [*shipped(), *self._own]

    def chosen(self, name: str | None) -> Chosen:
        """The layout of a name, or the default for None. Raises `RequestRefused`."""
        name = self._default if name is None else name
        if name not in self.names:
            raise RequestRefused(*_unknown(name, self.names))
        return self._own.get(name) or _shipped(name)


def _unknown(name: str, names: Sequence[str]) -> tuple[str, str]:
    return f"There is no layout {name!r}.", f"There are: {', '.join(names)}."


@cache
def _shipped(name: str) -> Chosen:
    return Chosen(name, load(shipped()[name]))


def nexus() -> Chosen:
    """The layout of files for which nobody chose one."""
    return _shipped("nexus")
