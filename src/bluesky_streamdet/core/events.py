"""What a stream says, whatever its wire format: a series starts, frames come, the series ends.

The payload of a frame stays as it travelled: encoded, and uncopied (any object with the buffer protocol, such as a
view of ZeroMQ's own memory). Only a transform or a viewer decodes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Buffer

BSLZ4 = "bslz4"
"""Bitshuffle and LZ4 in the form of HDF5's filter 32008: a 12-byte header, then the blocks."""
LZ4 = "lz4"
"""LZ4 in the form of HDF5's filter 32004: a 12-byte header, then the blocks."""
RAW = "none"
"""Bytes of a C-contiguous array."""
CBF = "cbf"
"""A whole CBF image, its pixels compressed by byte offsets. No HDF5 filter reads it."""
MONO12P = "mono12p"
"""Two pixels of twelve bits in three bytes. No HDF5 filter reads it."""
STORABLE = frozenset({RAW, BSLZ4, LZ4})
"""Encodings that a file keeps as they travelled. Others are decoded on the way."""


@dataclass(frozen=True)
class Scalar:
    """Numbers that come with each frame, such as the event counts of a spectrometer's channels.

    dtype: NumPy's type string with byte order. shape: () for one number. unit: empty for what has none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class FrameFormat:
    """What all frames of a series share.

    shape: of the whole frame, slowest axis first, such as (rows, columns).
    dtype: NumPy's type string with byte order, such as "<u2".
    encoding: of each part, such as `RAW` or `BSLZ4`.
    chunk: shape of what one part holds; the parts follow one another along the first axis.
    scalars: what comes with each frame besides its payload.
    """

    shape: tuple[int, ...]
    dtype: str
    encoding: str
    chunk: tuple[int, ...]
    scalars: tuple[Scalar, ...] = ()

    @cached_property
    def record(self) -> np.dtype[np.void]:
        """The scalars of one frame as they travel: one behind another, without padding."""
        return np.dtype([(one.name, one.dtype, one.shape) for one in self.scalars])

    @cached_property
    def nbytes(self) -> int:
        """Bytes of a decoded frame."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @cached_property
    def parts(self) -> int:
        """How many payload parts a frame has."""
        return math.prod(self.shape) // max(1, math.prod(self.chunk))


class SeriesStart(msgspec.Struct):
    """The detector announces a series.

    series: the detector's own name of it, when frames repeat that name; otherwise None.
    position: of this message in the stream; the first frame is expected at `position` + 1. None when nothing says it.
    filename: what the stream proposes, unchecked; None or empty when it proposes nothing.
    frames: how many frames are announced, None when nobody said.
    metadata: settings of the detector, by the names of `core.metadata`; what has no name there is under its own.
    save: False when the stream asks that nothing be written. message: what said so, as it came, if it is kept.
    """

    series: str | None = None
    position: int | None = None
    filename: str | None = None
    frames: int | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    save: bool = True
    message: Sequence[Buffer] | None = None


class Frame(msgspec.Struct, gc=False):
    """One readout of the whole detector, still encoded.

    number: as the detector counts. position: of this message in the stream, None when messages have no number.
    received: when it was read from the socket, in ns since 1970 (UTC).
    detail: values of this frame alone, such as the detector's own times in ns; texts and lists too.
    discard: the stream asks that this frame be shown and forwarded, but not written.
    scalars: bytes of one `FrameFormat.record`; None when the format has no scalars. message: the parts of the whole
    message, as they came, if they are kept; empty when another event has those that say it. said: the header as it was
    read, by its own keys, of a format whose files may show these too.
    """

    number: int
    position: int | None
    series: str | None
    format: FrameFormat
    parts: tuple[Buffer, ...]
    received: int
    detail: dict[str, Any] | None = None
    discard: bool = False
    scalars: Buffer | None = None
    message: Sequence[Buffer] | None = None
    said: dict[str, Any] | None = None


class SeriesEnd(msgspec.Struct):
    """The detector says that a series is over. Frames of it may still come.

    error: why it had to end before its time; empty when all is well. message: what said so, as it came, if it is kept.
    """

    series: str | None = None
    position: int | None = None
    error: str = ""
    message: Sequence[Buffer] | None = None


Event = SeriesStart | Frame | SeriesEnd


def payload_bytes(frame: Frame) -> int:
    """Bytes of the frame as it travelled, without its scalars."""
    first, *others = frame.parts
    nbytes = memoryview(first).nbytes
    return nbytes + sum(memoryview(part).nbytes for part in others) if others else nbytes
