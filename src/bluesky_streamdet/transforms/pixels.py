"""The pixels of a frame, for whoever has to look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, CBF, LZ4, MONO12P, RAW, Frame
from bluesky_streamdet.transforms import bslz4, cbf, lz4, mono12p


def _raw(blob: Buffer, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    try:
        return np.frombuffer(blob, dtype).reshape(shape)
    except ValueError as error:
        raise MalformedMessage("payload of another size", str(error)) from error


DECODERS: dict[str, Callable[[Buffer, tuple[int, ...], str], NDArray[Any]]] = {
    RAW: _raw,
    BSLZ4: bslz4.decode,
    LZ4: lz4.decode,
    CBF: cbf.decode,
    MONO12P: mono12p.decode,
}
"""How each payload encoding becomes an array."""

ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    RAW: lambda image: image.tobytes(),
    BSLZ4: bslz4.encode,
    LZ4: lz4.encode,
    CBF: cbf.encode,
    MONO12P: mono12p.encode,
}
"""How an array becomes each payload encoding."""


def decode(frame: Frame) -> NDArray[Any]:
    """The pixels of `frame`, of its format's shape and dtype; read-only where they need no decoding."""
    form = frame.format
    one = DECODERS[form.encoding]
    if len(frame.parts) == 1:
        return one(frame.parts[0], form.shape, form.dtype)
    return np.concatenate([one(part, form.chunk, form.dtype) for part in frame.parts]).reshape(form.shape)


def downsample(image: NDArray[Any], factor: int) -> NDArray[np.float64]:
    """Means of `factor` x `factor` blocks of a picture; the blocks at the far edges hold what is left there.

    The last two axes are rows and columns. The sums are exact as long as they are integers below 2**53.
    """
    if factor < 1:
        raise ValueError(f"there are no blocks of {factor} x {factor} pixels")
    rows, columns = image.shape[-2:]
    row_starts, column_starts = np.arange(0, rows, factor), np.arange(0, columns, factor)
    sums = np.add.reduceat(np.add.reduceat(image, row_starts, axis=-2, dtype=np.float64), column_starts, axis=-1)
    heights = np.diff(row_starts, append=rows)
    widths = np.diff(column_starts, append=columns)
    return sums / np.outer(heights, widths)
