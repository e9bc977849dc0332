"""DECTRIS detectors' stream, version 1, of EIGER and PILATUS3 by SIMPLON.

    dheader-1.0      {"htype", "series", "header_detail"}; unless the detail is "none": + configuration (JSON); with
                     "all": + flat field, pixel mask and count-rate table, each a header {"htype", "shape", "type"} and
                     a blob; then an appendix
    dimage-1.0       {"htype", "series", "frame", "hash"}, dimage_d-1.0 {"shape", "type", "encoding", "size"}, the blob,
                     dconfig-1.0 {"start_time", "stop_time", "real_time"} in ns; then an appendix
    dseries_end-1.0  {"htype", "series"}

Shapes are (columns, rows). Source: DECTRIS, "SIMPLON API Reference", chapter Stream interface. A frame number is unique
in its series there, so that it serves as the position.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import (
    LARGEST_NUMBER,
    FormatChecker,
    Message,
    check_number,
    check_payload,
    checked_format,
    json_of,
    plain,
)
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, LZ4, RAW, Event, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.transforms import lz4

Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]

BEFORE_FIRST_FRAME = -1
"""Position of a header, as frames count from 0."""


class _Header(msgspec.Struct, tag_field="htype", tag="dheader-1.0"):
    series: int
    header_detail: str = "basic"


class _Image(msgspec.Struct, tag_field="htype", tag="dimage-1.0"):
    series: int
    frame: int


class _SeriesEnd(msgspec.Struct, tag_field="htype", tag="dseries_end-1.0"):
    series: int


class _Data(msgspec.Struct, gc=False):
    shape: tuple[int, ...]
    type: str
    encoding: str
    size: int | None = None


class _Times(msgspec.Struct, gc=False):
    start_time: Nanoseconds | None = None
    stop_time: Nanoseconds | None = None
    real_time: Nanoseconds | None = None


class _Table(msgspec.Struct):
    htype: str
    shape: tuple[int, ...]
    type: str


_HEADERS = msgspec.json.Decoder(_Header | _Image | _SeriesEnd)
_DATA = msgspec.json.Decoder(_Data)
_TIMES = msgspec.json.Decoder(_Times)
_TABLE = msgspec.json.Decoder(_Table)
_SETTINGS = msgspec.json.Decoder(dict[str, Any])

TABLES = {
    "dflatfield-1.0": "flatfield",
    "dpixelmask-1.0": "pixel_mask",
    "dcountrate_table-1.0": "countrate_correction_table",
}
"""The tables of a header of detail "all", and our names of them."""

RENAMED = {
    "detector_distance": "distance",
    "detector_number": "serial_number",
    "eiger_fw_version": "firmware_version",
    "countrate_correction_count_cutoff": "saturation_value",
    "flatfield_correction_applied": "flatfield_applied",
    "virtual_pixel_correction_applied": "virtual_pixel_interpolation_applied",
}
"""SIMPLON's names that differ from `core.metadata`'s."""

PARTS_OF_HEADER = {"none": 1, "basic": 2, "all": 8}
"""By its detail, and without the appendix."""

ENCODINGS = {"<": RAW, "": RAW, "lz4<": LZ4, "bs8-lz4<": BSLZ4, "bs16-lz4<": BSLZ4, "bs32-lz4<": BSLZ4}
"""LZ4 comes without the header that a file needs, and gets it here."""


class Decoder:
    """Messages of DECTRIS' stream version 1 to events."""

    def __init__(self) -> None:
        self._format = FormatChecker()

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if not parts:
            raise MalformedMessage("empty message")
        header = json_of(_HEADERS, parts[0])
        if type(header) is _Image:
            return (self._frame(header, parts, received),)
        if type(header) is _Header:
            return (_series_start(header, parts),)
        if len(parts) > 1:
            raise MalformedMessage("wrong number of parts", f"{len(parts)} in a series end")
        return (SeriesEnd(str(header.series)),)

    def _frame(self, header: _Image, parts: Sequence[Buffer], received: int) -> Frame:
        if len(parts) not in (4, 5):
            raise MalformedMessage(
                "wrong number of parts", f"{len(parts)} in an image instead of 4, or 5 with an appendix"
            )
        data: _Data = json_of(_DATA, parts[1])
        if data.encoding not in ENCODINGS:
            raise MalformedMessage("unknown compression", f"{data.encoding!r}; set the detector to bslz4 or none")
        size = memoryview(parts[2]).nbytes
        if data.size is not None and data.size != size:
            raise MalformedMessage("payload of another size", f"{size} bytes instead of {data.size}")
        form = self._format(data.shape[::-1], data.type, ENCODINGS[data.encoding], None)
        payload = (parts[2] if form.encoding != LZ4 else lz4.from_block(parts[2], form.nbytes),)
        check_payload(form, payload)
        times = json_of(_TIMES, parts[3])
        detail = {name: value for name in times.__struct_fields__ if (value := getattr(times, name)) is not None}
        number = check_number(header.frame, "frame number")
        return Frame(number, number, str(header.series), form, payload, received, detail or None)


def _series_start(header: _Header, parts: Sequence[Buffer]) -> SeriesStart:
    if header.header_detail not in PARTS_OF_HEADER:
        raise MalformedMessage("unknown header detail", f"{header.header_detail!r}")
    wanted = PARTS_OF_HEADER[header.header_detail]
    if len(parts) not in (wanted, wanted + 1):
        raise MalformedMessage(
            "wrong number of parts",
            f"{len(parts)} in a header of detail {header.header_detail!r} instead of {wanted}, or one more",
        )
    settings: dict[str, Any] = json_of(_SETTINGS, parts[1]) if wanted > 1 else {}
    metadata = {RENAMED.get(name, name): value for name, value in settings.items()}
    for index in range(2, wanted, 2):
        name, array = _table(parts[index], parts[index + 1])
        metadata[name] = array
    appendix = _appendix(parts[wanted]) if len(parts) > wanted else None
    if appendix is not None:
        metadata["header_appendix"] = appendix
    if isinstance(appendix, dict) and isinstance(appendix.get("rotate"), int):
        # By beamlines' convention, and by the name that the transform `rotate` looks for.
        metadata["quarter_turns"] = appendix["rotate"]
    proposed = appendix.get("filename") if isinstance(appendix, dict) else None
    filename = proposed if isinstance(proposed, str) else None
    return SeriesStart(str(header.series), BEFORE_FIRST_FRAME, filename, _announced(settings), metadata)


def _announced(settings: dict[str, Any]) -> int | None:
    """Frames of the whole series: images of each trigger times triggers."""
    images, triggers = settings.get("nimages"), settings.get("ntrigger", 1)
    if isinstance(images, int) and isinstance(triggers, int) and 0 < images * triggers < LARGEST_NUMBER:
        return images * triggers
    return None


def _table(header: Buffer, blob: Buffer) -> tuple[str, NDArray[Any]]:
    """Name and array (rows, columns) of one of the tables in a header."""
    table: _Table = json_of(_TABLE, header)
    form, size = checked_format(table.shape, table.type), memoryview(blob).nbytes
    if size != form.nbytes:
        raise MalformedMessage("table of another size in the header", f"{size} bytes instead of {form.nbytes}")
    # DECTRIS gives (columns, rows) of images; the count-rate table is already (2, entries).
    shape = table.shape if table.htype == "dcountrate_table-1.0" else table.shape[::-1]
    return TABLES.get(table.htype, table.htype), np.frombuffer(blob, form.dtype).reshape(shape).copy()


def _appendix(part: Buffer) -> Any:
    """The user's own appendix: whatever JSON it holds, or its text; None when it is empty."""
    try:
        text = bytes(part).decode()
    except UnicodeDecodeError:
        return None
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


class Encoder:
    """Events to messages of DECTRIS' stream version 1; `SeriesStart.series` must be a number in decimal."""

    def __init__(self) -> None:
        self._originals = {ours: theirs for theirs, ours in RENAMED.items()}

    def start(self, start: SeriesStart) -> Message:
        tables = {name: start.metadata[name] for name in TABLES.values() if name in start.metadata}
        detail = "all" if len(tables) == len(TABLES) else "basic"
        header = {"htype": "dheader-1.0", "series": int(start.series or 0), "header_detail": detail}
        settings = {
            self._originals.get(name, name): plain(value)
            for name, value in start.metadata.items()
            if name not in tables and name != "header_appendix"
        }
        if start.frames is not None and "nimages" not in settings:
            settings |= {"nimages": start.frames, "ntrigger": 1}
        parts: Message = [msgspec.json.encode(header), msgspec.json.encode(settings)]
        if detail == "all":
            for htype, name in TABLES.items():
                parts += _encoded_table(htype, tables[name])
        appendix = start.metadata.get("header_appendix")
        if appendix is None and start.filename:
            appendix = {"filename": start.filename}
        return parts if appendix is None else [*parts, msgspec.json.encode(appendix)]

    def frame(self, frame: Frame) -> Message:
        form = frame.format
        bits = 8 * np.dtype(form.dtype).itemsize
        series = int(frame.series or 0)
        blob = frame.parts[0] if form.encoding != LZ4 else lz4.to_block(frame.parts[0], form.nbytes)
        data = {
            "htype": "dimage_d-1.0",
            "shape": form.shape[::-1],
            "type": np.dtype(form.dtype).name,
            "encoding": {BSLZ4: f"bs{bits}-lz4<", LZ4: "lz4<"}.get(form.encoding, "<"),
            "size": memoryview(blob).nbytes,
        }
        return [
            msgspec.json.encode({"htype": "dimage-1.0", "series": series, "frame": frame.number, "hash": ""}),
            msgspec.json.encode(data),
            blob,
            msgspec.json.encode({"htype": "dconfig-1.0", **(frame.detail or {})}),
        ]

    def end(self, end: SeriesEnd) -> Message:
        return [msgspec.json.encode({"htype": "dseries_end-1.0", "series": int(end.series or 0)})]


def _encoded_table(htype: str, array: NDArray[Any]) -> Message:
    shape = array.shape if htype == "dcountrate_table-1.0" else array.shape[::-1]
    header = {"htype": htype, "shape": shape, "type": array.dtype.name}
    return [msgspec.json.encode(header), np.ascontiguousarray(array).tobytes()]
