"""The stream of a receiver of the SLS detector software; each module of an EIGER at the Paul Scherrer Institute has
one.

    {"frameNumber", "bitmode", "shape", "size", "data", ...} + the pixels
    {"data": 0, ...}                                              the end of an acquisition

Frames count from 1, in each acquisition anew; the shape is (columns, rows). No message announces a series. Source: the
interface of "slsReceiver" of slsDetectorPackage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import FormatChecker, Message, check_number, check_payload, json_of
from bluesky_streamdet.codecs.details import Details
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Event, Frame, SeriesEnd, SeriesStart

BITS = {8: "uint8", 16: "uint16", 32: "uint32"}
DETAILS = ("timestamp", "expLength", "packetNumber", "bunchId", "acqIndex", "frameIndex", "fileIndex")
"""Numbers of each frame that are kept, under these names."""
TICK = 100
"""ns of the clock of 10 MHz that "timestamp" counts, from the start of the measurement."""


class _Header(msgspec.Struct, gc=False):
    frameNumber: int  # noqa: N815, as it is called on the wire
    bitmode: int = 16
    shape: tuple[int, int] | None = None
    size: int | None = None
    data: int = 1


_HEADERS = msgspec.json.Decoder(_Header)
_ALL = msgspec.json.Decoder(dict[str, Any])


class Decoder:
    """Messages of one module's receiver to frames of that module."""

    def __init__(self) -> None:
        self._format = FormatChecker()
        self._details = Details()

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if not parts:
            raise MalformedMessage("empty message")
        header = json_of(_HEADERS, parts[0])
        if not header.data or header.size == 0 or header.frameNumber == 0:
            return (SeriesEnd(),)
        if header.shape is None:
            raise MalformedMessage("header without what it needs", "`shape` is missing")
        if header.bitmode not in BITS:
            raise MalformedMessage(
                "unknown pixel type", f"{header.bitmode} bits; known are {', '.join(map(str, BITS))}"
            )
        columns, rows = header.shape
        form = self._format((rows, columns), BITS[header.bitmode], RAW, None)
        payload = tuple(parts[1:])
        check_payload(form, payload)
        number = check_number(header.frameNumber, "frame number") - 1
        said = json_of(_ALL, parts[0])
        detail = self._details({name: said[name] for name in DETAILS if name in said})
        if type(ticks := detail.get("timestamp")) is int:
            detail["start_time"] = TICK * ticks
        return (Frame(number, None, None, form, payload, received, detail or None),)


class Encoder:
    """Frames to messages as of one module's receiver. Scalars and compression have no place."""

    def __init__(self) -> None:
        self._last = 0

    def start(self, start: SeriesStart) -> Message:
        return []

    def frame(self, frame: Frame) -> Message:
        form = frame.format
        rows, columns = form.shape
        self._last = frame.number + 1
        header = {
            "jsonversion": 4,
            "bitmode": 8 * np.dtype(form.dtype).itemsize,
            "shape": [columns, rows],
            "size": form.nbytes,
            "frameNumber": self._last,
            "data": 1,
            "completeImage": 1,
            **{name: value for name, value in (frame.detail or {}).items() if name in DETAILS},
        }
        return [msgspec.json.encode(header), *frame.parts]

    def end(self, end: SeriesEnd) -> Message:
        return [msgspec.json.encode({"jsonversion": 4, "frameNumber": self._last + 1, "data": 0, "size": 0})]
