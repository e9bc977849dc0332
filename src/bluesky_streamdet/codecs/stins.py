"""The standard format: a JSON header and raw parts, numbered by `msg_number`.

    header      {"htype": "header", "msg_number", "filename"} [+ a JSON part of settings]
    image       {"htype": "image", "msg_number", "frame", "shape", "type", "compression"} + one or more parts of payload
    series_end  {"htype": "series_end", "msg_number"}

`msg_number` counts all messages over the life of the sender; without it, frames are put in order by their numbers.
Optional in an image: "chunks" (what one part holds) and "discard" (show it, don't write it); what else there is is kept
with its frame. Optional in the settings: "save_raw" (false: write nothing), "nframes" and "exptime", in
seconds.
Detectors that speak it, and where the format is described: docs/reference/stins.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import (
    LARGEST_NUMBER,
    FormatChecker,
    Message,
    check_number,
    check_payload,
    json_of,
    plain,
)
from bluesky_streamdet.codecs.details import Details
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Event, Frame, FrameFormat, SeriesEnd, SeriesStart


class _Header(msgspec.Struct, tag_field="htype", tag="header"):
    filename: str | None = None
    msg_number: int | None = None


class _Image(msgspec.Struct, tag_field="htype", tag="image", gc=False):
    frame: int
    shape: tuple[int, ...]
    type: str
    compression: str = "none"
    msg_number: int | None = None
    chunks: tuple[int, ...] | None = None
    discard: bool = False


class _SeriesEnd(msgspec.Struct, tag_field="htype", tag="series_end"):
    msg_number: int | None = None


class _BareImage(_Image, tag_field="htype", tag="image", gc=False, forbid_unknown_fields=True):
    """An image header that says nothing else, as most do; so the others alone are read twice."""


_BARE = msgspec.json.Decoder(_BareImage)
_HEADERS = msgspec.json.Decoder(_Header | _Image | _SeriesEnd)
_ALL = msgspec.json.Decoder(dict[str, Any])
IMAGE_KEYS = frozenset(("htype", *_Image.__struct_fields__))
_SETTINGS = msgspec.json.Decoder(dict[str, Any])


class Decoder:
    """Messages of the standard format to events."""

    def __init__(self) -> None:
        self._format = FormatChecker()
        self._details = Details()

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if not parts:
            raise MalformedMessage("empty message")
        header, detail = self._header_of(parts[0])
        position = header.msg_number
        if position is not None:
            check_number(position, "msg_number")
        if isinstance(header, _Image):
            form = self._form(header)
            payload = tuple(parts[1:])
            check_payload(form, payload)
            number = check_number(header.frame, "frame number")
            return (Frame(number, position, None, form, payload, received, detail, header.discard),)
        if type(header) is _Header:
            return (_series_start(header, parts[1:]),)
        if len(parts) > 1:
            raise MalformedMessage("wrong number of parts", f"{len(parts)} in a series_end")
        return (SeriesEnd(None, position),)

    def _header_of(self, part: Buffer) -> tuple[_Header | _Image | _SeriesEnd, dict[str, Any] | None]:
        """The header, and what an image's says besides."""
        try:
            return _BARE.decode(part), None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            header = json_of(_HEADERS, part)
        if type(header) is not _Image:
            return header, None
        said = json_of(_ALL, part)
        return header, self._details({name: said[name] for name in said if name not in IMAGE_KEYS}) or None

    def _form(self, header: _Image) -> FrameFormat:
        return self._format(header.shape, header.type, header.compression or RAW, header.chunks)


class ModuleDecoder(Decoder):
    """The same from one module of several, whose image header describes the whole frame, with the modules first, and
    whose payload is the part that "chunks" describes.
    """

    def _form(self, header: _Image) -> FrameFormat:
        part = header.chunks
        if part is None:
            return super()._form(header)
        if len(part) < 2 or part[0] != 1 or part[1:] != header.shape[1:]:
            raise MalformedMessage("impossible chunks", f"{part[:5]} of {header.shape[:5]} are no module's part")
        return self._format(part[1:], header.type, header.compression or RAW, None)


def _series_start(header: _Header, more: Sequence[Buffer]) -> SeriesStart:
    settings: dict[str, Any] = {}
    for part in more:
        settings.update(json_of(_SETTINGS, part))
    save = settings.pop("save_raw", True)
    frames = settings.get("nframes")
    announced = type(frames) is int and 0 < frames < LARGEST_NUMBER
    if isinstance(settings.get("exptime"), int | float):
        settings.setdefault("count_time", settings["exptime"])
    return SeriesStart(
        None, header.msg_number, header.filename, frames if announced else None, settings, save is not False
    )


class Encoder:
    """Events to messages of the standard format, numbered in the order in which they are made."""

    def __init__(self) -> None:
        self._count = 0

    def start(self, start: SeriesStart) -> Message:
        header = {"htype": "header", "msg_number": self._next(), "filename": start.filename or ""}
        settings = {name: plain(value) for name, value in start.metadata.items()}
        if not start.save:
            settings["save_raw"] = False
        if start.frames is not None:
            settings.setdefault("nframes", start.frames)
        encoded: Message = [msgspec.json.encode(header)]
        return [*encoded, msgspec.json.encode(settings)] if settings else encoded

    def frame(self, frame: Frame) -> Message:
        form = frame.format
        shape, chunks = self._shapes(form)
        header: dict[str, Any] = {
            "htype": "image",
            "msg_number": self._next(),
            "frame": frame.number,
            "shape": shape,
            "type": np.dtype(form.dtype).name,
            "compression": form.encoding,
        }
        if chunks != shape:
            header["chunks"] = chunks
        if frame.discard:
            header["discard"] = True
        if frame.detail:
            header = frame.detail | header
        return [msgspec.json.encode(header), *frame.parts]

    def end(self, end: SeriesEnd) -> Message:
        return [msgspec.json.encode({"htype": "series_end", "msg_number": self._next()})]

    def _next(self) -> int:
        number = self._count
        self._count += 1
        return number

    def _shapes(self, form: FrameFormat) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the whole frame, and of what one part holds."""
        return form.shape, form.chunk


class ModuleEncoder(Encoder):
    """As one of `modules` modules, for `ModuleDecoder`."""

    def __init__(self, modules: int = 4) -> None:
        super().__init__()
        self._modules = modules

    def _shapes(self, form: FrameFormat) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self._modules, *form.shape), (1, *form.shape)
