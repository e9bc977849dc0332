"""Pixels of twelve bits, packed two in three bytes, as cameras of the GenICam kind send them.

    p0 = b0 | (b1 & 0x0f) << 8        p1 = b1 >> 4 | b2 << 4

A last pixel without a partner takes two bytes, of which the highest four bits are 0.
Source: GenICam, Pixel Format Naming Convention, Mono12p.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage

MOST = (1 << 12) - 1
"""The largest value of a pixel."""
BLOCK = 1 << 15
"""Pairs that are unpacked at a time, so that what lies between stays in the processor's cache."""


def packed_size(pixels: int) -> int:
    """Bytes of so many pixels."""
    return (3 * pixels + 1) // 2


def verify(blob: Buffer, nbytes: int, itemsize: int) -> None:
    """Check that `blob` holds just the pixels of a frame of `nbytes` decoded bytes. Raises `MalformedMessage`."""
    size = memoryview(blob).nbytes
    if itemsize != 2:
        raise MalformedMessage("mono12p of another type than uint16", f"of {itemsize} bytes")
    pixels = nbytes // itemsize
    if size == packed_size(pixels):
        return
    if size % 3 == 1:
        raise MalformedMessage("mono12p of odd length", f"{size} bytes hold no whole number of pixels")
    raise MalformedMessage("mono12p of another length", f"{size} bytes are not {pixels} pixels")


def decode(blob: Buffer, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The array of `shape`, of `dtype` "<u2" or "<i2", in `blob`. Raises `MalformedMessage` for a wrong length."""
    count = math.prod(shape)
    verify(blob, count * np.dtype(dtype).itemsize, np.dtype(dtype).itemsize)
    data = np.frombuffer(blob, np.uint8)
    values = np.empty(-(-count // 2) * 2, "<u2")
    pairs = values.view("<u4")
    # All but the last are read as four bytes, of which the fourth is the next pair's; the last may have no fourth.
    whole = max(pairs.size - 1, 0)
    packed = as_strided(data[:4].view("<u4"), (whole,), (3,), writeable=False) if whole else pairs[:0]
    for begin in range(0, whole, BLOCK):
        end = min(begin + BLOCK, whole)
        pairs[begin:end] = _unpacked(packed[begin:end].copy())
    last = bytes(data[3 * whole :]).ljust(4, b"\0")
    pairs[whole:] = _unpacked(np.frombuffer(last, "<u4"))
    return values[:count].reshape(shape).view(dtype)


def _unpacked(pairs: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Twelve bits at 0 and twelve at 12, moved to 0 and 16."""
    low = np.bitwise_and(pairs, np.uint32(MOST))
    high = np.bitwise_and(np.left_shift(pairs, np.uint32(4)), np.uint32(MOST << 16))
    return np.bitwise_or(low, high, out=low)


def encode(image: NDArray[Any]) -> bytes:
    """The pixels of `image`, of any integer type. Raises `ValueError` for values that twelve bits can't hold."""
    if image.dtype.kind not in "iu" or (image.size and (image.min() < 0 or image.max() > MOST)):
        raise ValueError(f"mono12p holds integers of 0 to {MOST}, no other {image.dtype}")
    flat = np.zeros(-(-image.size // 2) * 2, np.uint16)
    flat[: image.size] = image.reshape(-1)
    even, odd = flat[::2], flat[1::2]
    packed = np.empty((even.size, 3), np.uint8)
    packed[:, 0] = even & 0xFF
    packed[:, 1] = even >> 8 | (odd & 0xF) << 4
    packed[:, 2] = odd >> 4
    return packed.tobytes()[: packed_size(image.size)]
