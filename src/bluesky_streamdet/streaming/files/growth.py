"""Attributes by a layout: what their texts name is filled in, and those that count images grow with the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from bluesky_streamdet.streaming.files.layouts.layout import COUNTED, word_of

FIRST_IMAGE, LAST_IMAGE = COUNTED


class Growth:
    """Of one dataset of frames. facts: what texts may name. images_before: of the run, in files before this."""

    def __init__(self, facts: Mapping[str, Any], images_before: int = 0) -> None:
        self._facts = facts
        self._before = images_before
        self._first: list[tuple[str, str]] = []
        self._last: list[tuple[str, str]] = []

    def attributes(self, path: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of the dataset `path`, which `update` keeps true as long as it grows."""
        values: dict[str, Any] = {}
        for name, value in said.items():
            word = word_of(value)
            if word in COUNTED:
                (self._last if word == LAST_IMAGE else self._first).append((path, name))
            if word in COUNTED:
                values[name] = np.int32(self._before + (word == FIRST_IMAGE))
            elif (filled := value_of(value, self._facts)) is not None:
                values[name] = stored(filled)
        return values

    def begin(self, file: h5py.File) -> None:
        """Say where the images begin, in a file that was made for others."""
        for path, name in self._first:
            file[path].attrs.modify(name, np.int32(self._before + 1))
        self.update(file, 0)

    def update(self, file: h5py.File, frames: int) -> None:
        """Say how many frames there are."""
        for path, name in self._last:
            file[path].attrs.modify(name, np.int32(self._before + frames))


def value_of(value: Any, facts: Mapping[str, Any]) -> Any:
    """A value of a layout with what it names filled in; None for what nobody knows in this file."""
    if isinstance(value, list):
        return [value_of(one, facts) for one in value]
    if not isinstance(value, str):
        return value
    word = word_of(value)
    return facts[word] if word is not None else value.format_map(facts)


def stored(value: Any) -> Any:
    """As attributes are stored: whole numbers in four bytes where they fit, which is what most readers expect."""
    if isinstance(value, int) and not isinstance(value, bool):
        return np.int32(value) if -(1 << 31) <= value < 1 << 31 else np.int64(value)
    return value
