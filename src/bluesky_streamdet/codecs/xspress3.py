"""Spectra with scalars: what our Xspress3 streamer sends, and any detector may whose frames come with numbers.

    header      {"htype": "header", "msg_number", "series", "filename"} [+ a JSON part of settings]
    image       {"htype": "image", "msg_number", "series", "frame", "shape", "type", "compression", "scalars"}
                + one or more parts of payload + one part with the record of scalars
    series_end  {"htype": "series_end", "msg_number", "series"}

The standard format with three more keys: "series" names the series in each message; "scalars" describes the record, one
{"name", "type", "shape", "unit"} for each array in it, in their order and without padding; "error" in a series_end says
why it came before its time. Optional besides: "nframes" and "save" in the header, "exptime" (s), "chunks" and "discard"
in an image. Described in docs/reference/xspress3-stream.md.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import (
    DTYPES,
    LARGEST_NUMBER,
    Message,
    check_number,
    check_payload,
    checked_format,
    json_of,
    plain,
)
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import Event, Frame, FrameFormat, Scalar, SeriesEnd, SeriesStart

MOST_SCALARS = 64
LARGEST_RECORD = 1 << 20
"""Bytes of the scalars of one frame."""
MOST_AXES = 3
LONGEST_UNIT = 40
LONGEST_SERIES = 200
LONGEST_ERROR = 1000
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

PICKLED = "a dialect with pickled scalars, which only the codec xspress3-pickled reads"
"""Reason of what this codec refuses though it knows it."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Header(msgspec.Struct, tag_field="htype", tag="header"):
    """Of all dialects; the older ones have no series, and say whether the file may be overwritten."""

    filename: str | None = None
    series: str | None = None
    msg_number: int | None = None
    nframes: int | None = None
    save: bool = True
    overwritable: bool | None = None
    limits: list[list[list[int]]] | None = None
    extra_tags: list[str] | None = None
    metadata: dict[str, Any] | None = None


class Image(msgspec.Struct, tag_field="htype", tag="image", gc=False):
    frame: int
    shape: tuple[int, ...]
    type: str
    compression: str = "none"
    series: str | None = None
    msg_number: int | None = None
    exptime: Seconds | None = None
    chunks: tuple[int, ...] | None = None
    scalars: msgspec.Raw = msgspec.Raw(b"")
    discard: bool = False


class End(msgspec.Struct, tag_field="htype", tag="series_end"):
    series: str | None = None
    msg_number: int | None = None
    error: str = ""


class _Described(msgspec.Struct):
    name: str
    type: str
    shape: tuple[int, ...] = ()
    unit: str = ""


HEADERS = msgspec.json.Decoder(Header | Image | End)
SETTINGS = msgspec.json.Decoder(dict[str, Any])
_SCALARS = msgspec.json.Decoder(list[_Described])


class Decoder:
    """Messages of the format to events."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._format: FrameFormat | None = None

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if not parts:
            raise MalformedMessage("empty message")
        header = json_of(HEADERS, parts[0])
        series, position = header.series, header.msg_number
        if series is None:
            return self._of_another_dialect(header, parts, received)
        if len(series) > LONGEST_SERIES:
            raise MalformedMessage("name of the series too long", f"{len(series)} characters")
        if position is not None:
            check_number(position, "msg_number")
        if type(header) is Image:
            return (self._frame(header, parts, received),)
        if type(header) is Header:
            return (_series_start(header, parts[1:]),)
        if len(parts) > 1:
            raise MalformedMessage("wrong number of parts", f"{len(parts)} in a series_end")
        return (SeriesEnd(series or None, position, header.error[:LONGEST_ERROR]),)

    def _of_another_dialect(
        self, header: Header | Image | End, parts: Sequence[Buffer], received: int
    ) -> Sequence[Event]:
        """What has no series. Raises `MalformedMessage`, as this codec knows nothing like it."""
        if type(header) is Header and header.overwritable is not None:
            raise MalformedMessage(PICKLED)
        if type(header) is Image and (len(parts) == 1 or memoryview(parts[-1])[:1] == b"\x80"):
            raise MalformedMessage(PICKLED)
        raise MalformedMessage("header without what it needs", "`series` is missing")

    def _frame(self, header: Image, parts: Sequence[Buffer], received: int) -> Frame:
        form = self._format_of(header)
        if form.scalars:
            payload, record = tuple(parts[1:-1]), parts[-1]
            check_payload(form, payload)
            if (size := memoryview(record).nbytes) != form.record.itemsize:
                raise MalformedMessage("scalars of another size", f"{size} of {form.record.itemsize} bytes")
        else:
            payload, record = tuple(parts[1:]), None
            check_payload(form, payload)
        number = check_number(header.frame, "frame number")
        detail, series = detail_of(header), header.series or None
        return Frame(number, header.msg_number, series, form, payload, received, detail, header.discard, record)

    def _format_of(self, header: Image) -> FrameFormat:
        """The format that an image announces. It is the one before, mostly, and then nothing is read of it."""
        key = (header.shape, header.type, header.compression, header.chunks, bytes(header.scalars))
        if self._format is None or key != self._key:
            form = checked_format(header.shape, header.type, header.compression, header.chunks)
            self._format = dataclasses.replace(form, scalars=_scalars(header.scalars))
            self._key = key
        return self._format


def _series_start(header: Header, more: Sequence[Buffer]) -> SeriesStart:
    settings: dict[str, Any] = {}
    for part in more:
        settings.update(json_of(SETTINGS, part))
    frames = announced(header.nframes)
    return SeriesStart(header.series or None, header.msg_number, header.filename, frames, settings, header.save)


def announced(frames: int | None) -> int | None:
    """The number of frames that a header announces; None for one that can't be meant."""
    return frames if frames is not None and 0 < frames < LARGEST_NUMBER else None


def _scalars(said: Buffer) -> tuple[Scalar, ...]:
    if not memoryview(said).nbytes:
        return ()
    return checked_scalars([Scalar(one.name, one.type, one.shape, one.unit) for one in json_of(_SCALARS, said)])


def checked_scalars(scalars: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Scalars whose types are NumPy's names, with little-endian type strings instead. Raises `MalformedMessage`."""
    if len(scalars) > MOST_SCALARS or len({one.name for one in scalars}) < len(scalars):
        raise MalformedMessage("too many scalars, or two of one name", f"{len(scalars)}")
    checked, nbytes = [], 0
    for one in scalars:
        if not NAME.fullmatch(one.name) or len(one.unit) > LONGEST_UNIT:
            raise MalformedMessage("impossible name or unit of a scalar", f"{one.name[:70]!r} {one.unit[:70]!r}")
        if one.dtype not in DTYPES:
            raise MalformedMessage("unknown type of a scalar", f"{one.dtype!r}; known are {', '.join(DTYPES)}")
        if len(one.shape) > MOST_AXES or not all(1 <= size <= LARGEST_RECORD for size in one.shape):
            raise MalformedMessage("impossible shape of a scalar", f"{one.shape[: MOST_AXES + 1]}")
        checked.append(Scalar(one.name, DTYPES[one.dtype], one.shape, one.unit))
        nbytes += math.prod(one.shape) * np.dtype(DTYPES[one.dtype]).itemsize
    if nbytes > LARGEST_RECORD:
        raise MalformedMessage("scalars too large", f"{nbytes} bytes, the limit is {LARGEST_RECORD}")
    return tuple(checked)


class Encoder:
    """Events to messages of the format, numbered in the order in which they are made.

    A frame without a name of its series is said to be of the one that was announced last.
    """

    def __init__(self) -> None:
        self._count = 0
        self._announced = ""
        self._format: FrameFormat | None = None
        self._tail = b""
        self._series: str | None = None
        self._quoted = b""

    def start(self, start: SeriesStart) -> Message:
        self._announced = start.series or ""
        header: dict[str, Any] = {
            "htype": "header",
            "msg_number": self._next(),
            "series": self._announced,
            "filename": start.filename or "",
        }
        if start.frames is not None:
            header["nframes"] = start.frames
        if not start.save:
            header["save"] = False
        settings = {name: plain(value) for name, value in start.metadata.items()}
        encoded: Message = [msgspec.json.encode(header)]
        return [*encoded, msgspec.json.encode(settings)] if settings else encoded

    def frame(self, frame: Frame) -> Message:
        if frame.format is not self._format:
            self._format, self._tail = frame.format, described(frame.format)
        series = frame.series or self._announced
        if series != self._series:
            self._series, self._quoted = series, msgspec.json.encode(series)
        head = b'{"htype":"image","msg_number":%d,"series":%b,"frame":%d' % (self._next(), self._quoted, frame.number)
        exposure = exposure_of(frame)
        if exposure is not None:
            head += b',"exptime":%b' % msgspec.json.encode(exposure)
        if frame.discard:
            head += b',"discard":true'
        header = head + self._tail
        return [header, *frame.parts] if frame.scalars is None else [header, *frame.parts, frame.scalars]

    def end(self, end: SeriesEnd) -> Message:
        said: dict[str, Any] = {
            "htype": "series_end",
            "msg_number": self._next(),
            "series": end.series or self._announced,
        }
        if end.error:
            said["error"] = end.error[:LONGEST_ERROR]
        return [msgspec.json.encode(said)]

    def _next(self) -> int:
        number = self._count
        self._count += 1
        return number


def detail_of(header: Image) -> dict[str, Any] | None:
    """What an image says of itself besides its scalars: how long it was exposed, in ns."""
    return None if header.exptime is None else {"real_time": round(header.exptime * 1e9)}


def exposure_of(frame: Frame) -> float | None:
    """Seconds that the frame was exposed, when it says so itself."""
    real_time = (frame.detail or {}).get("real_time")
    return None if real_time is None else real_time / 1e9


def described(form: FrameFormat) -> bytes:
    """The end of a header of such frames, from a comma on."""
    said: dict[str, Any] = {"shape": form.shape, "type": np.dtype(form.dtype).name, "compression": form.encoding}
    if form.chunk != form.shape:
        said["chunks"] = form.chunk
    if form.scalars:
        said["scalars"] = [
            {"name": one.name, "type": np.dtype(one.dtype).name, "shape": one.shape, "unit": one.unit}
            for one in form.scalars
        ]
    return b"," + msgspec.json.encode(said)[1:]
