"""What a column of values that come with each frame holds, by the first of them; and which of those that follow fit.

SWMR admits nothing of variable length, so that a text has so many bytes in each row. What does not fit, be it longer or
of another type, is handed back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TIMES = frozenset({"start_time", "stop_time"})
"""Particulars of a frame that are points in time, of which codecs give ns and NeXus wants seconds."""
DURATIONS = frozenset({"real_time"})
"""Those that stay in ns. Of others, the unit is what the stream means by it."""
MOST_VALUES = 1024
"""Of a list that becomes an array in each row."""
LEAST_TEXT, MOST_TEXT = 32, 1024
"""Bytes of a text in each row: twice those of the first text, between these."""
EXACT = 1 << 53
"""Whole numbers from here on are not all floats."""
JSON = "json"

Values = Sequence[Any] | NDArray[Any]
Unfit = dict[int, Any]
"""Values that a column can't hold, by their places in the block."""


class Kind(NamedTuple):
    """dtype, shape: of what a frame has in the column. unit: empty for none.

    content: `JSON` for texts that say in JSON what is no text.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    content: str = ""


def kind_of(key: str, value: Any) -> Kind:
    """The column for values like this one of the stream's `key`."""
    if isinstance(value, bool | int | float):
        if key in TIMES:
            return Kind("<f8", unit="s")
        return _numbers(np.asarray(value), "ns" if key in DURATIONS else "")
    if isinstance(value, str):
        return Kind(_text_type(value))
    if (array := _array(value)) is not None:
        return _numbers(array)
    return Kind(_text_type(_json(value)), content=JSON)


def absent(block: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a block of numbers has none."""
    return np.isnan(block) if block.dtype.kind == "f" else block == missing(block.dtype)


def missing(dtype: np.dtype[Any]) -> Any:
    """What stands in rows whose frames did not say the value."""
    if dtype.kind == "i":
        return np.iinfo(dtype).min
    if dtype.kind == "u":
        return np.iinfo(dtype).max
    return np.nan if dtype.kind == "f" else b""


def shown(key: str, content: str, values: Sequence[Any]) -> Values:
    """The values as a column of this content shows them."""
    if content:
        return [None if value is None else _json(value) for value in values]
    if key in TIMES:
        numbers = _array(values, most=len(values))
        if numbers is not None and numbers.ndim == 1 and numbers.dtype.kind != "b":
            return numbers / 1e9
        return [value / 1e9 if isinstance(value, int | float) else value for value in values]
    return values


def packed(values: Values, dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[NDArray[Any], Unfit]:
    """A block (len(values), *shape) of a column, with `missing` for None; and the values that do not fit into it."""
    if dtype.kind == "S":
        return _packed_texts(values, dtype)
    fits = _whole if dtype.kind in "iu" else _real
    try:
        array = np.array(values)
    except (ValueError, OverflowError):
        return _one_by_one(values, dtype, shape, fits)
    # Whole numbers among others have become floats, and the largest of them perhaps other numbers.
    unsure = array.dtype.kind == "f" and bool((np.abs(array) >= EXACT).any())
    if unsure or array.shape != (len(values), *shape) or not fits(array, dtype).all():
        return _one_by_one(values, dtype, shape, fits)
    return array.astype(dtype, copy=False), {}


def _one_by_one(
    values: Values,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    fits: Callable[[NDArray[Any], np.dtype[Any]], NDArray[np.bool_]],
) -> tuple[NDArray[Any], Unfit]:
    block = np.full((len(values), *shape), missing(dtype), dtype)
    unfit: Unfit = {}
    for index, value in enumerate(values):
        if value is None:
            continue
        one = _array([value])
        if one is not None and one.shape[1:] == shape and fits(one, dtype).all():
            block[index] = one[0]
        else:
            unfit[index] = value
    return block, unfit


def _whole(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Which are whole numbers that the type holds, and none that stands for a missing one."""
    if array.dtype.kind not in "biu":
        return np.zeros(1, bool)
    if array.dtype == dtype:
        return array != missing(dtype)
    limits = np.iinfo(dtype)
    return (array >= limits.min) & (array <= limits.max) & (array != missing(dtype))


def _real(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Which are numbers that a float says without losing any digit of a whole one."""
    if array.dtype.kind == "f":
        return np.ones(1, bool)
    if array.dtype.kind not in "biu":
        return np.zeros(1, bool)
    return (array >= -EXACT) & (array <= EXACT)


def _packed_texts(texts: Values, dtype: np.dtype[Any]) -> tuple[NDArray[Any], Unfit]:
    if isinstance(texts, list) and len(texts) > 1 and texts[0] is not None and texts.count(texts[0]) == len(texts):
        # What a header says of each frame is mostly the same.
        block, unfit = _packed_texts(texts[:1], dtype)
        return np.repeat(block, len(texts)), dict.fromkeys(range(len(texts)), texts[0]) if unfit else {}
    size = dtype.itemsize
    try:
        encoded = [text.encode() for text in texts]
        if max(map(len, encoded), default=0) <= size and not any(b"\0" in text for text in encoded):
            return np.array(encoded, dtype), {}
    except (AttributeError, UnicodeEncodeError):
        pass
    unfit: Unfit = {}
    encoded = []
    for index, text in enumerate(texts):
        cut = text.replace("\0", "").encode(errors="replace") if isinstance(text, str) else b""
        if text is not None and (not isinstance(text, str) or len(cut) > size or cut.decode() != text):
            unfit[index] = text
        encoded.append(cut[:size].decode(errors="ignore").encode())
    return np.array(encoded, dtype), unfit


def _array(value: Any, most: int = MOST_VALUES) -> NDArray[Any] | None:
    """The array of at most so many numbers that a list says; None where it says something else."""
    if not isinstance(value, list | tuple) or not value or len(value) > most:
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    return array if array.dtype.kind in "biuf" and 0 < array.size <= most else None


def _numbers(array: NDArray[Any], unit: str = "") -> Kind:
    if array.dtype.kind == "f":
        return Kind("<f8", array.shape, unit)
    if array.dtype.kind not in "biu" or array.dtype == np.uint64:
        return Kind(_text_type(_json(array.tolist())), content=JSON)
    return Kind("<i8", array.shape, unit)


def _text_type(text: str) -> str:
    size = 2 * len(text.encode(errors="replace"))
    return f"|S{min(max(LEAST_TEXT, -(-size // 16) * 16), MOST_TEXT)}"


def _json(value: Any) -> str:
    return json.dumps(value, default=str)
