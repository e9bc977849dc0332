"""A frame as a picture for people: logarithmic, stretched to where its values are, in the colours of viridis.

Gaps and bad pixels are grey. Peaks survive when it is made smaller: each block shows its largest value.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 1.0, 99.9
"""Percentiles of the values that get the first and the last colour."""
SAMPLE = 100_000
"""So many pixels are enough to tell the percentiles from."""

GREY = (128, 128, 128)
VIRIDIS = (
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c "
    "1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
)
"""Support points of the colour map, evenly spaced; what is between differs from the original by 2 % at most.
Source: S. van der Walt and N. Smith for matplotlib, CC0."""


def as_png(pixels: NDArray[Any], factor: int = 1) -> bytes:
    """A PNG of a frame; blocks of `factor` x `factor` pixels become one. Of more than two axes, images are stacked."""
    image = pixels.reshape(-1, pixels.shape[-1]) if pixels.ndim else pixels.reshape(1, 1)
    valid = _valid(image)
    image, valid = _shrink(np.where(valid, image, 0), factor), _shrink(valid, factor)
    return _png(_colour_numbers(image, valid))


def _valid(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels hold counts. Detectors mark gaps and bad pixels by the largest value, or by a negative one."""
    kind = image.dtype.kind
    if kind == "u":
        return image != np.iinfo(image.dtype).max
    if kind == "i":
        return image >= 0
    return np.isfinite(image)


def _shrink(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """The largest value of each block."""
    if factor == 1:
        return image
    rows, columns = np.arange(0, image.shape[0], factor), np.arange(0, image.shape[1], factor)
    return np.maximum.reduceat(np.maximum.reduceat(image, rows, axis=0), columns, axis=1)


def _colour_numbers(image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Number 0 for pixels without a value, 1 to 255 on a logarithmic scale between the percentiles."""
    values = image.astype(np.float32)
    sample = values[valid][:: max(1, values.size // SAMPLE)]
    low, high = np.percentile(sample, (LOW, HIGH)) if sample.size else (0.0, 1.0)
    span = max(float(high - low), 1e-6 * max(abs(float(high)), 1.0))
    # One count above the least is visible, whatever the largest is; where all is less than a few counts, a tenth is.
    unit = min(1.0, span / 10)
    shade = np.log1p(np.clip(values - low, 0, span) / unit) / np.log1p(span / unit)
    return np.where(valid, 1 + np.round(254 * shade), 0).astype(np.uint8)


def _png(numbers: NDArray[np.uint8]) -> bytes:
    """An image of palette colours. Source: the PNG specification, https://www.w3.org/TR/png-3/."""
    rows, columns = numbers.shape
    # Each line begins with the number of its filter, 0 for none.
    lines = np.zeros((rows, columns + 1), np.uint8)
    lines[:, 1:] = numbers
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _PALETTE), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _palette() -> bytes:
    points = np.array([list(bytes.fromhex(point)) for point in VIRIDIS.split()], np.float64)
    at = np.linspace(0, len(points) - 1, 255)
    colours = np.stack([np.interp(at, np.arange(len(points)), points[:, channel]) for channel in range(3)], axis=1)
    return bytes(GREY) + np.round(colours).astype(np.uint8).tobytes()


_PALETTE = _palette()
