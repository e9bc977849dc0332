"""array-1.0, in which cameras at PSI send, PCO and GigaFRoST among them, and which the programs behind them hand on.

    {"htype": "array-1.0", "shape", "type", "frame"} + the pixels, or more parts of the same shape

Optional: "endianess" (as the cameras spell it) or "endianness", "encoding", "source", "tag" or "tags"; and whatever
else the sender has to say of the frame, at the top or in "image_attributes". No message announces a series; its end is
said, seldom, by {"htype": "dseries_end-1.0"} alone. chunk-1.0, the format before, has the shape reversed.
What is read and written, and what no such stream can tell: docs/reference/array-1.0.md. Sources: "htypes" of the Paul
Scherrer Institute, the receiver of "mflow", and headers of real cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import FormatChecker, Message, check_number, check_payload, json_of
from bluesky_streamdet.codecs.details import LARGEST_DETAIL, MOST_DETAILS, Details
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, RAW, Event, Frame, FrameFormat, SeriesEnd, SeriesStart

ARRAY, CHUNK, END = "array-1.0", "chunk-1.0", "dseries_end-1.0"
KINDS = (ARRAY, CHUNK, END)

ENCODINGS = {"": RAW, "bitshuffle_lz4": BSLZ4}
"""What others call the encodings that we know."""
BYTE_ORDERS = ("little", "big")

SHOWN = ("htype", "shape", "type", "endianess", "endianness", "encoding", "cmpr", "source", "tag", "tags")
"""Keys of the format itself, which files have where their layout names them."""
KNOWN = frozenset((*SHOWN, "frame", "image_attributes"))
"""Keys that are no particulars of a frame, or hold them."""
_HEADERS = msgspec.json.Decoder(dict[str, Any])


class Decoder:
    """Messages of array-1.0 to frames. Pixels in big-endian order are swapped; all others stay as they travelled."""

    def __init__(self) -> None:
        self._checked = FormatChecker()
        self._said: tuple[Any, ...] = ()
        self._format: FrameFormat | None = None
        self._swapped = False
        self._details = Details()
        self._scan: tuple[Any, Any] = (None, None)
        self._series: str | None = None
        self._own: tuple[Any, ...] = ()
        self._shown: dict[str, Any] = {}
        self._shown_with: tuple[Any, ...] | None = None

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if not parts:
            raise MalformedMessage("empty message")
        header = json_of(_HEADERS, parts[0])
        kind = _kind(header.get("htype"))
        payload = tuple(parts[1:])
        if len(payload) != 1 or not memoryview(payload[0]).nbytes:
            payload = tuple(part for part in payload if memoryview(part).nbytes)
        if kind == END:
            if payload:
                raise MalformedMessage("wrong number of parts", f"{len(payload)} of payload in a {END}")
            return (SeriesEnd(),)
        if not payload:
            raise MalformedMessage("frame without data")
        form = self._format_of(header, kind, len(payload))
        check_payload(form, payload)
        if self._swapped:
            payload = tuple(_little_endian(part, form.dtype) for part in payload)
        number = header.get("frame")
        if type(number) is not int:
            raise MalformedMessage("header without what it needs", "`frame` is missing, or no whole number")
        check_number(number, "frame number")
        attributes = header.get("image_attributes")
        series = self._series_of(attributes) if type(attributes) is dict else None
        said = self._shown_of(header)
        return (Frame(number, None, series, form, payload, received, self._detail_of(header), said=said),)

    def _format_of(self, header: dict[str, Any], kind: str, parts: int) -> FrameFormat:
        """The format that a header says. It is the one before, mostly, and then nothing is checked."""
        get = header.get
        order = get("endianess", get("endianness", "little"))
        encoding = get("cmpr" if kind == CHUNK else "encoding") or ""
        said = get("shape"), get("type"), order, encoding, kind, parts
        if self._format is None or said != self._said:
            self._format = self._new_format(*said)
            self._said = said
            self._swapped = order == "big" and self._format.dtype[0] == "<"
        return self._format

    def _new_format(self, shape: Any, dtype: Any, order: Any, encoding: Any, kind: str, parts: int) -> FrameFormat:
        if type(shape) is not list or not all(type(size) is int for size in shape):
            raise MalformedMessage("header without what it needs", "`shape` is missing, or no list of whole numbers")
        if type(dtype) is not str or type(encoding) is not str:
            raise MalformedMessage("header without what it needs", "`type` is missing, or it or `encoding` is no text")
        if order not in BYTE_ORDERS:
            raise MalformedMessage("unknown byte order", f"{str(order)[:40]!r}; known are {', '.join(BYTE_ORDERS)}")
        if kind == CHUNK and encoding:
            raise MalformedMessage("unknown compression", f"{encoding[:40]!r} in a {CHUNK}, which is read raw only")
        encoding = ENCODINGS.get(encoding, encoding)
        whole = tuple(shape if kind == ARRAY else shape[::-1])
        stacked, chunk = (whole, None) if parts == 1 else ((parts, *whole), (1, *whole))
        form = self._checked(stacked, dtype[:40], encoding[:40], chunk)
        if order == "big" and encoding != RAW and form.dtype[0] == "<":
            raise MalformedMessage("compressed in big-endian order", f"{encoding!r}; send it raw, or little-endian")
        return form

    def _series_of(self, attributes: dict[str, Any]) -> str | None:
        """The scan that a GigaFRoST counts its frames in; None for a header that names none."""
        scan = attributes.get("scan_datetime"), attributes.get("scan_index")
        if scan != self._scan:
            began, index = scan
            named = type(began) is int and type(index) is int and max(abs(began), abs(index)) < LARGEST_DETAIL
            self._scan, self._series = scan, f"{began}-{index}" if named else None
        return self._series

    def _shown_of(self, header: dict[str, Any]) -> dict[str, Any]:
        """What files may show of the header. It is the same as before, mostly, and then the same object."""
        get = header.get
        own = get("htype"), get("source"), get("tag"), get("tags")
        if own != self._own or self._shown_with is not self._said:
            self._own, self._shown_with = own, self._said
            self._shown = {key: header[key] for key in SHOWN if key in header}
        return self._shown

    def _detail_of(self, header: dict[str, Any]) -> dict[str, Any] | None:
        """What a header says of its frame alone. Values in "image_attributes" win, being the camera's."""
        own = header.get("image_attributes")
        detail = self._details(own) if type(own) is dict else {}
        if more := [name for name in header if name not in KNOWN]:
            detail = self._details({name: header[name] for name in more[:MOST_DETAILS]}) | detail
        return detail or None


def _kind(htype: Any) -> str:
    """Which of `KINDS` a header is, whose "htype" is a text or a list of them. Raises `MalformedMessage`."""
    if htype == ARRAY:
        return ARRAY
    for one in htype[:10] if type(htype) is list else (htype,):
        if type(one) is str and one in KINDS:
            return one
    raise MalformedMessage("header of another kind", f"{str(htype)[:60]!r}; known are {', '.join(KINDS)}")


def _little_endian(part: Buffer, dtype: str) -> memoryview:
    return np.frombuffer(part, dtype).byteswap().data.cast("B")


class Encoder:
    """Frames to messages of array-1.0; there is none for the start of a series, or for its end.

    As the oldest readers want them: two parts, and every key of a PCO's header. Pixels that are compressed stay so, and
    "encoding" says how: a reader that does not know the key takes them for raw. Numbers of the frame's own go into
    "image_attributes"; scalars have no place.
    """

    source, htype, tags = "", b'"array-1.0"', b'"tag":""'

    def __init__(self) -> None:
        self._format: FrameFormat | None = None
        self._tail = b""

    def start(self, start: SeriesStart) -> Message:
        return []

    def frame(self, frame: Frame) -> Message:
        form = frame.format
        if form is not self._format:
            self._format, self._tail = form, self._described(form)
        attributes = self._attributes(frame)
        own = b',"image_attributes":%b' % msgspec.json.encode(attributes) if attributes else b""
        header = b'{"htype":%b,%b,"source":"%b","frame":%d%b%b' % (
            self.htype, self.tags, self.source.encode(), frame.number, own, self._tail
        )  # fmt: skip
        if len(frame.parts) > 1 and form.encoding == RAW:
            return [header, b"".join(frame.parts)]
        return [header, *frame.parts]

    def end(self, end: SeriesEnd) -> Message:
        return []

    def _attributes(self, frame: Frame) -> dict[str, Any] | None:
        return frame.detail

    def _described(self, form: FrameFormat) -> bytes:
        """The end of a header of such frames, from a comma on."""
        shape = form.shape
        if form.parts > 1 and form.encoding != RAW:
            shape = form.chunk[1:] if form.chunk[0] == 1 and len(form.chunk) > 1 else form.chunk
        said = {"shape": shape, "type": np.dtype(form.dtype).name, "endianess": "little"}
        if form.encoding != RAW:
            said["encoding"] = form.encoding
        return b"," + msgspec.json.encode(said)[1:]


class GigafrostEncoder(Encoder):
    """The same with the header of a GigaFRoST, whose scan is the series that was announced last.

    The camera's times are taken to be in units of 100 ns, which suits the one header that we know.
    """

    source, htype, tags = "gigafrost", b'["array-1.0"]', b'"tags":["0"]'

    def __init__(self) -> None:
        super().__init__()
        self._scan = {"scan_index": 0, "scan_datetime": 0}

    def start(self, start: SeriesStart) -> Message:
        series = start.series or ""
        self._scan = {
            "scan_index": int(series) if series.isdecimal() and len(series) < 10 else 0,
            "scan_datetime": _seconds(start.metadata.get("data_collection_date")),
        }
        return []

    def _attributes(self, frame: Frame) -> dict[str, Any]:
        detail = frame.detail or {}
        said = {
            **self._scan,
            "trigger_signal": 0,
            "image_number": frame.number,
            "image_exposure_time": detail.get("real_time", 0) // 100,
            "enable_signal": 0,
            "image_sync_time": 0,
            "time_stamp": detail.get("start_time", 0) // 100,
            "image_is_complete": True,
        }
        return {name: detail.get(name, value) for name, value in said.items()}


def _seconds(date: Any) -> int:
    """Seconds since 1970 of a date in ISO 8601; 0 when there is none."""
    try:
        return max(int(datetime.fromisoformat(date).timestamp()), 0)
    except (TypeError, ValueError, OverflowError, OSError):
        return 0
