"""The two older dialects of Xspress3 streams, whose scalars are pickled; and the format of `codecs.xspress3` as well.

    header      {"htype": "header", "filename", "overwritable"}, since 2024 with "limits" (of windows) and "extra_tags"
    image       {"htype": "image", "exptime", "frame", "shape", "type", "compression"}, the spectra, a pickled list of
                arrays: one message of three parts since 2024, three messages one behind another before
    series_end  {"htype": "series_end"}, sometimes twice

No message has a number. Of three that belong together any may be lost on a PUB socket; then those that are left of
that frame count as one malformed message, and the next header begins anew. Pickles are read as `codecs.pickled` says:
nothing in them is ever carried out. Described in docs/reference/xspress3-stream.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs import xspress3
from bluesky_streamdet.codecs.codec import Message, check_number, check_payload, checked_format, plain
from bluesky_streamdet.codecs.pickled import ArrayReader, ArrayWriter, PickledArray
from bluesky_streamdet.codecs.xspress3 import End, Header, Image
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Event, Frame, FrameFormat, Scalar, SeriesEnd, SeriesStart
from bluesky_streamdet.transforms.deadtime import output_count_rate

TAGS = (
    *("output_count_rate", "all_events", "all_good", "clock_ticks", "total_ticks", "reset_ticks"),
    *("event_width", "dead_time_correction", "window_counts"),
)
"""What the arrays are, in their order, when the header does not say. The last one came with the newer dialect."""

RECORDED_RATE = "recorded_output_count_rate"
"""What the stream calls output_count_rate is divided by the clock's frequency where it should be multiplied."""
CLOCK_PERIOD = 12.5e-9
"""Seconds; the older streamers knew no other."""

CYCLES = "clock cycles"
UNITS = {
    "output_count_rate": "Hz",
    **dict.fromkeys(("clock_ticks", "total_ticks", "reset_ticks", "event_width"), CYCLES),
}

LOST = "a frame of which some messages were lost"


class Decoder(xspress3.Decoder):
    """Messages of either dialect, or of the present format, to events."""

    def __init__(self) -> None:
        super().__init__()
        self._read = ArrayReader().read
        self._tags = TAGS
        self._layout: _Layout | None = None
        # Of a frame in three messages: what of it has come, and whether the rest of one that is broken is to come.
        self._image: Image | None = None
        self._payload: Buffer | None = None
        self._broken = False

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if len(parts) == 1 and self._continues(parts[0]):
            return self._continue(parts[0], received)
        lost, self._image, self._payload, self._broken = self._image is not None, None, None, False
        events = super().decode(parts, received)
        if lost:
            raise MalformedMessage(LOST, events=events)
        return events

    def _of_another_dialect(
        self, header: Header | Image | End, parts: Sequence[Buffer], received: int
    ) -> Sequence[Event]:
        if header.msg_number is not None:
            raise MalformedMessage("header without what it needs", "a message that is numbered has a `series` too")
        if type(header) is Image:
            if len(parts) == 1:
                self._format_of(header)
                self._image = header
                return ()
            return (self._frame_of(header, parts[1:-1], parts[-1], received),)
        if len(parts) > 1:
            raise MalformedMessage("wrong number of parts", f"{len(parts)} in a header or series_end")
        if type(header) is Header:
            return (self._start(header),)
        assert type(header) is End
        return (SeriesEnd(None, None, header.error[: xspress3.LONGEST_ERROR]),)

    def _start(self, header: Header) -> SeriesStart:
        if header.overwritable is None:
            raise MalformedMessage("header without what it needs", "`overwritable` or `series` is missing")
        tags = TAGS if header.extra_tags is None else tuple(header.extra_tags)
        xspress3.checked_scalars([Scalar(name, "uint8") for name in tags])
        self._tags = tags
        metadata = {"clock_period": CLOCK_PERIOD, **(header.metadata or {})}
        if header.limits is not None:
            metadata["windows"] = header.limits
        return SeriesStart(None, None, header.filename, xspress3.announced(header.nframes), metadata)

    # A frame of three messages.

    def _continues(self, part: Buffer) -> bool:
        """Whether a message of one part is the payload or the pickle of a frame, and no header."""
        view = memoryview(part)
        if self._image is not None and self._payload is None and view.nbytes == self._format_of(self._image).nbytes:
            return True
        return view.nbytes > 0 and (view[:1] != b"{" or view[-1:] != b"}")

    def _continue(self, part: Buffer, received: int) -> Sequence[Event]:
        image, payload, broken = self._image, self._payload, self._broken
        pickled = memoryview(part)[:1] == b"\x80" and memoryview(part)[-1:] == b"."
        self._broken = False
        if image is not None and payload is None and self._is_payload(image, part):
            self._payload = part
            return ()
        self._image = self._payload = None
        if image is not None and payload is not None and pickled:
            return (self._frame_of(image, (payload,), part, received),)
        if image is None and pickled and broken:
            return ()  # The payload that it follows has been counted.
        # What is left of a payload's frame is its pickle; if this one is of the next frame, that pickle counts too.
        self._broken = not pickled and payload is None
        raise MalformedMessage(LOST)

    def _is_payload(self, image: Image, part: Buffer) -> bool:
        form, size = self._format_of(image), memoryview(part).nbytes
        return size == form.nbytes or (form.encoding != RAW and memoryview(part)[:1] != b"\x80")

    # Either dialect.

    def _format_of(self, header: Image) -> FrameFormat:
        if header.series is not None:
            return super()._format_of(header)
        key = (header.shape, header.type, header.compression, header.chunks)
        if self._format is None or key != self._key:
            self._format, self._key = checked_format(*key), key
        return self._format

    def _frame_of(self, header: Image, payload: Sequence[Buffer], pickle: Buffer, received: int) -> Frame:
        form = self._format_of(header)
        check_payload(form, payload)
        arrays, data = self._read(pickle)
        layout = self._layout
        if layout is None or layout.arrays is not arrays or layout.bare is not form or layout.tags is not self._tags:
            layout = self._layout = _Layout(form, arrays, self._tags)
        number = check_number(header.frame, "frame number")
        record, detail = layout.record(data), xspress3.detail_of(header)
        return Frame(number, None, None, layout.format, tuple(payload), received, detail, header.discard, record)


class _Layout:
    """How the arrays of a pickle become the record of a frame."""

    def __init__(self, bare: FrameFormat, arrays: tuple[PickledArray, ...], tags: tuple[str, ...]) -> None:
        self.bare, self.arrays, self.tags = bare, arrays, tags
        if len(arrays) > len(tags):
            raise MalformedMessage("more scalars than names for them", f"{len(arrays)} instead of {len(tags)}")
        places = dict(zip(tags, arrays, strict=False))
        scalars = [self._scalar(name, array) for name, array in places.items()]
        good, ticks = places.get("all_good"), places.get("total_ticks")
        self._counted: tuple[PickledArray, PickledArray] | None = None
        if "output_count_rate" in places and good is not None and ticks is not None and good.shape == ticks.shape:
            self._counted = good, ticks
            scalars.insert(0, Scalar("output_count_rate", "float64", good.shape, "Hz"))
        self.format = dataclasses.replace(bare, scalars=xspress3.checked_scalars(scalars))

    def _scalar(self, name: str, array: PickledArray) -> Scalar:
        kind = np.dtype(array.dtype).name
        if name == "output_count_rate":
            return Scalar(RECORDED_RATE, kind, array.shape)
        return Scalar(name, kind, array.shape, UNITS.get(name, ""))

    def record(self, pickle: bytes) -> Buffer | None:
        """The scalars of a frame, from its pickle."""
        if not self.format.scalars:
            return None
        pieces: list[Buffer] = [pickle[one.start : one.end] for one in self.arrays]
        if self._counted is not None:
            good, ticks = (np.frombuffer(pickle[one.start : one.end], one.dtype) for one in self._counted)
            pieces.insert(0, output_count_rate(good, ticks, CLOCK_PERIOD).tobytes())
        return b"".join(pieces)


class Encoder:
    """Events to messages of three parts, as since 2024; or to those that are sent as three messages, if `loose`.

    Count rates are in Hz. The list of scalars ends before the first of `TAGS` that a frame does not have, as its
    readers know them by their order; what is not among them has no place in these dialects.
    """

    def __init__(self, *, loose: bool = False) -> None:
        self._tags = TAGS[:-1] if loose else TAGS
        self._exposure: float | None = None
        self._format: FrameFormat | None = None
        self._tail = b""
        self._places: list[slice] = []
        self._write = ArrayWriter([]).write

    def start(self, start: SeriesStart) -> Message:
        metadata = {name: plain(value) for name, value in start.metadata.items()}
        exposure = metadata.get("count_time")
        self._exposure = float(exposure) if isinstance(exposure, int | float) else None
        header: dict[str, Any] = {"htype": "header", "filename": start.filename or "", "overwritable": False}
        if len(self._tags) == len(TAGS):
            if isinstance(windows := metadata.pop("windows", None), list):
                header["limits"] = windows
            header["extra_tags"] = TAGS
        if start.frames is not None:
            header["nframes"] = start.frames
        if metadata:
            header["metadata"] = metadata
        return [msgspec.json.encode(header)]

    def frame(self, frame: Frame) -> Message:
        if frame.format is not self._format:
            self._learn(frame.format)
        exposure = xspress3.exposure_of(frame)
        exposure = self._exposure if exposure is None else exposure
        head = b'{"htype":"image","exptime":%b,"frame":%d' % (msgspec.json.encode(exposure), frame.number)
        if frame.discard:
            head += b',"discard":true'
        record = memoryview(frame.scalars or b"").cast("B")
        return [head + self._tail, *frame.parts, self._write([record[place] for place in self._places])]

    def end(self, end: SeriesEnd) -> Message:
        said = {"htype": "series_end"}
        if end.error:
            said["error"] = end.error[: xspress3.LONGEST_ERROR]
        return [msgspec.json.encode(said)]

    def _learn(self, form: FrameFormat) -> None:
        self._format = form
        self._tail = xspress3.described(dataclasses.replace(form, scalars=()))
        places, start = {}, 0
        for one in form.scalars:
            end = start + math.prod(one.shape) * np.dtype(one.dtype).itemsize
            places[one.name] = one, slice(start, end)
            start = end
        known = list(takewhile(places.__contains__, self._tags))
        self._places = [places[tag][1] for tag in known]
        self._write = ArrayWriter([(places[tag][0].dtype, places[tag][0].shape) for tag in known]).write
