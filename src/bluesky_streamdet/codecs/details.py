"""What a header says of its frame alone, beyond what its format knows: numbers, texts, lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

NUMBERS = frozenset((int, float, bool))
TIMES = frozenset(("start_time", "stop_time", "real_time"))
"""Particulars that are numbers of ns in our events. What else a stream calls so gets an underscore behind its name."""
UNFIT = re.compile(r"^(?=[^A-Za-z])|[^A-Za-z0-9_]", re.ASCII)
"""What a dataset's name should not have: a beginning that is no letter, and all but letters, digits and underscores."""
LONGEST_NAME = 64
MOST_DETAILS = 64
"""Particulars of a frame that are looked at; those behind them are left out."""
MOST_NAMES = 1000
LARGEST_DETAIL = 1 << 63
MOST_BITS = 1024
LONGEST_TEXT = 4096
"""Letters of a text that are kept; behind them stands how many there were."""
LARGEST_LIST = 16 << 10
"""Bytes of JSON of a list or dict; of a larger one its text is kept, as of others."""


class Details:
    """Takes what can be kept with a frame, under names that a file can have.

    Numbers, texts and lists stay what they are. A whole number beyond 64 bits becomes a text, so that none of its
    digits is lost; null says nothing.
    """

    def __init__(self) -> None:
        self._names = _Names()

    def __call__(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if len(said) > MOST_DETAILS:
            said = dict(islice(said.items(), MOST_DETAILS))
        names = self._names
        kept = {
            names[name]: value
            for name, value in said.items()
            if type(value) in NUMBERS and -LARGEST_DETAIL <= value < LARGEST_DETAIL
        }
        return kept if len(kept) == len(said) else self._with_others(said, kept)

    def _with_others(self, said: Mapping[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """The same with what is no small number, which most frames have nothing of."""
        for key, value in said.items():
            name = self._names[key]
            if value is not None and name not in kept:
                kept[f"{name}_" if name in TIMES and type(value) is not float else name] = _bounded(value)
        return kept


class _Names(dict[str, str]):
    """Names fit for datasets, each of another name on the wire, by that; made once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __missing__(self, name: str) -> str:
        if len(self) >= MOST_NAMES:
            self.clear()
            self._given.clear()
        fit = UNFIT.sub(lambda found: "_" if found[0] else "x_", name[:LONGEST_NAME]) or "unnamed"
        while fit in self._given:
            fit += "_"
        self._given.add(fit)
        self[name] = fit
        return fit


def _bounded(value: Any) -> Any:
    """The value, or as a text what is too large to stay what it is."""
    if type(value) is float:
        return value
    if type(value) is int:
        return str(value) if value.bit_length() <= MOST_BITS else f"a number of {value.bit_length()} bits"
    if type(value) is not str:
        encoded = msgspec.json.encode(value)
        if len(encoded) <= LARGEST_LIST:
            return value
        value = encoded.decode()
    return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}... of {len(value)} letters"
