"""Emission lines of the elements, by the names that people call them: "Fe Ka", "Pb La1".

The numbers are xraydb's (Elam, Ravel and Sieber 2002), an optional library, which is loaded when first asked.
"""

from __future__ import annotations

import difflib
import importlib
import re
from functools import lru_cache
from typing import Any, NamedTuple

from bluesky_streamdet.core.errors import ConfigError, MissingLibrary

HEAVIEST = 98
"""Atomic number of the last element that has data."""

_NAME = re.compile(r"\s*([A-Z][a-z]?)[\s_-]*([KLM][a-z]?[0-9,]*)\s*")
_GREEK = str.maketrans("\N{GREEK SMALL LETTER ALPHA}\u03b2\N{GREEK SMALL LETTER GAMMA}\u03b6\u03b7", "abgzn")


class Line(NamedTuple):
    """One emission line. name: in Siegbahn's notation, such as "Ka1". energy: eV. intensity: its share of the photons
    that the element emits.
    """

    element: str
    name: str
    energy: float
    intensity: float


@lru_cache
def elements() -> tuple[str, ...]:
    """Symbols of the elements that have lines, the lightest first."""
    database = _database()
    symbols = (str(database.atomic_symbol(number)) for number in range(1, HEAVIEST + 1))
    return tuple(symbol for symbol in symbols if database.xray_lines(symbol))


def lines_of(element: str, excitation: float | None = None) -> list[Line]:
    """The lines of `element`, the strongest first; empty when `excitation` reaches no edge.

    excitation: energy of the beam in eV; all edges when None. Raises `ConfigError` for an unknown element.

    A photon is absorbed by each edge that it reaches in proportion to the edge's jump, and is emitted with the
    edge's fluorescence yield. What one shell passes on to the next (Coster-Kronig transitions, cascades) is left out.
    """
    return list(_lines_of(element, excitation))


@lru_cache(maxsize=512)
def _lines_of(element: str, excitation: float | None) -> tuple[Line, ...]:
    if element not in elements():
        raise _unknown("element", element, elements())
    database = _database()
    reached = {
        name: edge
        for name, edge in database.xray_edges(element).items()
        if (excitation is None or edge.energy < excitation) and edge.jump_ratio > 0
    }
    emitted, left = {}, 1.0
    for name, edge in sorted(reached.items(), key=lambda item: -item[1].energy):
        emitted[name] = left * (1 - 1 / edge.jump_ratio) * edge.fyield
        left /= edge.jump_ratio
    found = [
        Line(element, name, float(line.energy), line.intensity * emitted[line.initial_level])
        for name, line in database.xray_lines(element).items()
        if emitted.get(line.initial_level, 0.0) > 0
    ]
    total = sum(line.intensity for line in found)
    shares = (line._replace(intensity=line.intensity / total) for line in found)
    return tuple(sorted(shares, key=lambda line: -line.intensity))


def line_energy(name: str) -> float:
    """Energy of a line in eV, by a name such as "Fe Ka1".

    "Fe Ka" is the mean of the lines of that family, weighted with their intensities. Blanks, "-" and "_" between
    element and line don't matter; Greek letters are taken, too. Raises `ConfigError` for a name that is none.
    """
    match = _NAME.fullmatch(name.translate(_GREEK))
    if match is None:
        raise ConfigError(f"{name!r} is no emission line.", 'Write element and line, such as "Fe Ka" or "Pb La1".')
    element, line = match.groups()
    family = [one for one in lines_of(element) if line in _names_of(one.name)]
    if not family:
        known = sorted({name for one in lines_of(element) for name in _names_of(one.name)})
        raise _unknown(f"line of {element}", line, tuple(known))
    weight = sum(one.intensity for one in family)
    return sum(one.energy * one.intensity for one in family) / weight


def _names_of(name: str) -> set[str]:
    """All names of a line: "Lb2,15" is also "Lb2", and one of the family "Lb"."""
    return {name, name.split(",")[0], name[:2]}


def _unknown(what: str, name: str, known: tuple[str, ...]) -> ConfigError:
    near = difflib.get_close_matches(name, known, n=6, cutoff=0.4) or known[:20]
    return ConfigError(f"There is no {what} {name!r}.", f"Known are {', '.join(near)}.")


def _database() -> Any:
    # Imported late, as it is optional and takes most of a second.
    try:
        return importlib.import_module("xraydb")
    except ImportError as error:
        raise MissingLibrary(
            "Emission lines need the library 'xraydb', which is not installed.",
            "Install the extra: pip install 'bluesky-streamdet[xspress3]'.",
        ) from error
