"""Values with a type and a unit, as a client may give them: {"value": 1.5, "units": "mm", "dtype": "float32"}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_NESTING = (Mapping, list, tuple)
_WHOLE = tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
TYPES = ("bool", "text", *_WHOLE, "float32", "float64")
"""Names of the types that values of a file may have."""
KEYS = frozenset(("value", "units", "dtype"))
TRUTHS = {"true": True, "false": False}
LONGEST_UNIT = 40
MOST_VALUES = 1_000_000
"""Of a list; what is larger is data, and no setting."""
DEEPEST = 10
"""Levels of dicts that are looked through."""
MOST_LEVELS = 50
"""Of lists and dicts in one another; between two processes a few more could not be read any more."""


class Quantity(NamedTuple):
    """value: as it is to be stored. units: empty for what has none."""

    value: Any
    units: str


def check(parameters: Mapping[str, Any], apart: frozenset[str] = frozenset()) -> None:
    """Raise `ValueError`, which names the parameter, for values that are not of the type that they claim, or too deep.

    apart: names whose types are not looked at.
    """
    for name, value in parameters.items():
        if not _is_flat_enough(value):
            raise ValueError(f"{name[:80]}: it has more than {MOST_LEVELS} levels of lists and dicts")
    _check_types({name: value for name, value in parameters.items() if name not in apart}, 0)


def _is_flat_enough(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        inside = (one.values() if isinstance(one, Mapping) else one for one in level if isinstance(one, _NESTING))
        level = [inner for values in inside for inner in values if isinstance(inner, _NESTING)]
        if not level:
            return True
    return False


def _check_types(parameters: Mapping[str, Any], level: int) -> None:
    for name, value in parameters.items():
        try:
            known = quantity_of(value) is not None
        except ValueError as error:
            raise ValueError(f"{name[:80]}: {error}") from None
        if not known and isinstance(value, Mapping) and level < DEEPEST:
            _check_types(value, level + 1)


def quantity_of(said: Any) -> Quantity | None:
    """The quantity that `said` is; None for what is none. Raises `ValueError` for one that can't be so."""
    if not isinstance(said, Mapping) or "value" not in said or len(said) < 2 or not KEYS.issuperset(said):
        return None
    units, dtype = said.get("units"), said.get("dtype")
    if units is not None and (not isinstance(units, str) or len(units) > LONGEST_UNIT or not units.isprintable()):
        raise ValueError(f"units are a text of at most {LONGEST_UNIT} letters, such as mm, and not {units!r:.60}")
    return Quantity(converted(said["value"], dtype), units or "")


def converted(value: Any, dtype: Any) -> Any:
    """The number, text or list as what is called `dtype`, one of `TYPES`; as it is for None.

    Texts of numbers become numbers, and the reverse. Raises `ValueError` for what that type can't hold; a number may
    lose digits in a float, and nothing else.
    """
    if dtype is None:
        return value
    if dtype not in TYPES:
        raise ValueError(f"no type is called {dtype!r:.40}; there are {', '.join(TYPES)}")
    if dtype == "text":
        return _as_text(value)
    array = _numbers(_number_in(value, dtype) if isinstance(value, str) else value, dtype)
    if dtype == "bool":
        _refuse(array, ~np.isin(array, (0, 1)), dtype)
    elif array.dtype.kind == "b" and array.size:
        raise ValueError(f"{value!r:.60} is no {dtype}, but a bool")
    elif dtype.startswith("float"):
        with np.errstate(over="ignore"):
            _refuse(array, np.isinf(array.astype(dtype)) & np.isfinite(array), dtype)
    else:
        _refuse_no_integers(array, dtype)
    result = array.astype(dtype)
    return result if result.ndim else result[()]


def _numbers(value: Any, dtype: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("the lists in it are not all of the same length") from None
    if array.size > MOST_VALUES:
        raise ValueError(f"it has {array.size} values; {MOST_VALUES} are the most")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{value!r:.60} is no {dtype}")
    return array


def _refuse_no_integers(array: NDArray[Any], dtype: str) -> None:
    limits = np.iinfo(dtype)
    fits = (array >= limits.min) & (array <= limits.max)
    if array.dtype.kind == "f":
        # The largest integer is none of the floats, which compare as if it were the one above it.
        fits &= (array < 2.0 ** int(limits.max).bit_length()) & (array == np.trunc(array))
    _refuse(array, ~fits, dtype, f" (from {limits.min} to {limits.max})")


def _refuse(array: NDArray[Any], bad: Any, dtype: str, more: str = "") -> None:
    if np.any(bad):
        raise ValueError(f"{array[bad].flat[0]} is no {dtype}{more}")


def _as_text(value: Any) -> Any:
    """Texts and lists of texts as they are, and numbers as people write them."""
    if isinstance(value, list | tuple):
        return [_as_text(one) for one in value]
    if isinstance(value, str | int | float | np.generic):
        return str(value)
    raise ValueError(f"{value!r:.60} is no text")


def _number_in(text: str, dtype: str) -> Any:
    """The number that a text says; the text where it says none."""
    if dtype == "bool" and text.lower() in TRUTHS:
        return TRUTHS[text.lower()]
    try:
        return float(text) if dtype.startswith("float") else int(text)
    except ValueError:
        return text
