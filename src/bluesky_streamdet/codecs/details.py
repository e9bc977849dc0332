"""The numbers that a header says of its frame alone, beyond what its format knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

NUMBERS = frozenset((int, float, bool))
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
MOST_DETAILS = 64
"""Particulars of a frame that are looked at; those behind them are left out."""
MOST_NAMES = 1000
LARGEST_DETAIL = 1 << 63


class Details:
    """Takes those that a file can keep in columns of their names."""

    def __init__(self) -> None:
        self._fits = _Fits()

    def __call__(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if len(said) > MOST_DETAILS:
            said = dict(islice(said.items(), MOST_DETAILS))
        fits = self._fits
        return {
            name: value
            for name, value in said.items()
            if type(value) in NUMBERS and fits[name] and -LARGEST_DETAIL <= value < LARGEST_DETAIL
        }


class _Fits(dict[str, bool]):
    """Whether a name is fit for a dataset, by that name; found out once."""

    def __missing__(self, name: str) -> bool:
        if len(self) >= MOST_NAMES:
            self.clear()
        fits = self[name] = NAME.fullmatch(name) is not None
        return fits
