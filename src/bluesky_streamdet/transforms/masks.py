"""Pixels that hold no counts: by the detectors' convention, the highest value of an unsigned type, and what is
negative.

DECTRIS detectors mark gaps between modules, dead pixels and counters that overflowed with the highest value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def masked(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a pixel holds no counts; of the shape of `pixels`."""
    if pixels.dtype.kind == "u":
        return pixels == np.iinfo(pixels.dtype).max
    if pixels.dtype.kind == "f":
        return ~np.isfinite(pixels)
    return pixels < 0


def counts(pixels: NDArray[Any]) -> float:
    """The sum of all pixels that hold counts."""
    return float(pixels.sum(dtype=np.float64, where=~masked(pixels)))
