"""Rows by name: our own, and those that other packages register by entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import FunctionType
from typing import Any, TypeVar

from bluesky_streamdet.core.errors import ConfigError

Row = TypeVar("Row")


class Registry(Mapping[str, Row]):
    """Our own rows, and those that other packages register by the entry point group `bluesky_streamdet.KINDs`.

    kind: what a row is, in a word. cls: of which each row is an instance. A row of another package is loaded when it is
    asked for, which raises `ConfigError` when it can't be; it never takes the place of one of ours. made_of: makes a
    row of a function, where an entry point may name one.
    """

    def __init__(
        self,
        kind: str,
        cls: type[Row],
        rows: dict[str, Row],
        made_of: Callable[[Callable[..., Any]], Row] | None = None,
    ) -> None:
        self._kind = kind
        self._cls = cls
        self._rows = rows
        self._made_of = made_of
        self.group = f"bluesky_streamdet.{kind}s"

    def __getitem__(self, name: str) -> Row:
        if name in self._rows:
            return self._rows[name]
        for point in entry_points(group=self.group, name=name):
            return self._loaded(point)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in entry_points(group=self.group).names

    def __iter__(self) -> Iterator[str]:
        yield from self._rows
        yield from sorted(entry_points(group=self.group).names - self._rows.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _loaded(self, point: EntryPoint) -> Row:
        what = f"The {self._kind} {point.name!r} of {point.dist.name if point.dist else 'another package'}"
        hint = f"Mend {point.value}, or uninstall that package; all others work."
        try:
            row = point.load()
        except Exception as error:  # whatever their code raises
            raise ConfigError(f"{what} can't be loaded: {type(error).__name__}: {error}.", hint) from error
        if self._made_of is not None and isinstance(row, FunctionType):
            return self._made_of(row)
        if not isinstance(row, self._cls):
            raise ConfigError(f"{what} is no {self._cls.__name__}, but a {type(row).__name__}.", hint)
        return row
