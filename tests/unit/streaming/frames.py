"""Frames for tests: every one different, in each way that they travel, with what an independent decoding must give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.events import RAW, Frame, FrameFormat
from bluesky_streamdet.transforms import pixels

NOON = 1_700_000_000_000_000_000
"""ns since 1970 at which frame 0 was received."""


def picture(number: int, shape: tuple[int, ...] = (4, 6), dtype: str = "<u2") -> NDArray[Any]:
    """Pixels that are no other frame's, and differ among themselves."""
    count = int(np.prod(shape))
    return (np.arange(count, dtype=np.int64) * 7 + number * 131 + 1).reshape(shape).astype(dtype)


def frame(
    number: int,
    shape: tuple[int, ...] = (4, 6),
    dtype: str = "<u2",
    encoding: str = RAW,
    parts: int = 1,
    position: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Frame:
    """One frame with the pixels of `picture`, its rows divided among `parts`."""
    form = FrameFormat(shape, dtype, encoding, (shape[0] // parts, *shape[1:]))
    blocks = np.split(picture(number, shape, dtype), parts)
    payload = tuple(pixels.ENCODERS[encoding](one) for one in blocks)
    return Frame(number, position, None, form, payload, NOON + number, dict(detail) if detail else None)


def pictures(numbers: Sequence[int] | range, shape: tuple[int, ...] = (4, 6), dtype: str = "<u2") -> NDArray[Any]:
    """What a dataset of these frames must hold, of shape (frames, *shape)."""
    return np.array([picture(number, shape, dtype) for number in numbers], dtype).reshape(-1, *shape)
