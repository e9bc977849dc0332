"""Pixels that hold no counts: by the detectors' convention, the highest value of an unsigned type, and what is
negative.

DECTRIS detectors mark gaps between modules, dead pixels and counters that overflowed with the highest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]


def masked(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a pixel holds no counts; of the shape of `pixels`."""
    if pixels.dtype.kind == "u":
        return pixels == np.iinfo(pixels.dtype).max
    if pixels.dtype.kind == "f":
        return ~np.isfinite(pixels)
    return pixels < 0


def invalid(dtype: np.dtype[Any]) -> float:
    """What a pixel of this type says that holds no counts."""
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max)
    return float("nan") if dtype.kind == "f" else -1


def mask(
    image: NDArray[Any],
    *,
    rectangles: Sequence[tuple[Span, Span]] = (),
    file: NDArray[Any] | None = None,
    value: float = -1,
) -> NDArray[Any]:
    """Give pixels a value of their own, so that nobody takes them for counts.

    rectangles: each [[first row, row behind the last], [first column, column behind the last]], as much of it as is in
    the picture. file: rows and columns, not 0 where a pixel is masked. value: what masked pixels become; of unsigned
    types, a negative one counts from above, so that -1 is the highest value. Same shape and dtype. Raises `ValueError`
    for a file of another shape, and a value that the type can't hold.
    """
    result = image.copy()
    kind = image.dtype
    if kind.kind == "u" and value < 0:
        value = int(np.iinfo(kind).max) + 1 + value
    if kind.kind in "iu" and not (value == int(value) and np.iinfo(kind).min <= value <= np.iinfo(kind).max):
        raise ValueError(f"a pixel of type {kind} can't be {value:g}")
    value = value if kind.kind == "f" else int(value)
    for rows, columns in rectangles:
        result[..., slice(*rows), slice(*columns)] = value
    if file is not None:
        if file.shape != image.shape[-2:]:
            raise ValueError(f"the mask of shape {file.shape} does not fit pictures of {image.shape}")
        result[..., file != 0] = value
    return result


def counts(pixels: NDArray[Any]) -> float:
    """The sum of all pixels that hold counts."""
    return float(pixels.sum(dtype=np.float64, where=~masked(pixels)))
