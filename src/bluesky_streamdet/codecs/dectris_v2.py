"""DECTRIS detectors' stream, version 2, of EIGER2, PILATUS4 and SELUN; and Jungfraujoch's variant of it.

Each message is one part, a CBOR map whose first key is "type":

    start   series_id, series_unique_id, arm_date, channels, number_of_images, user_data, and the configuration; with
            header_detail "all" also flatfield, pixel_mask and countrate_correction_lookup_table
    image   series_id, series_unique_id, image_id, series_date, start_time, stop_time, real_time, and
            data: {channel: 40([[rows, columns], 69(56500(["bslz4", 2, h'...']))]), ...}
    end     series_id, series_unique_id

Times are [ticks, ticks a second]. A channel is a threshold, or what is made of two; an image of one channel is a frame
(rows, columns), of several one (channels, rows, columns), a part of payload each, in the order of the header. An image
number is unique in its series, so that it serves as the position. Source: DECTRIS, "Stream V2",
https://github.com/dectris/documentation.

Jungfraujoch adds keys, such as spots, and messages of calibrations, which are passed over; its maps have no length that
they say beforehand. Source: "CBOR messages", https://jungfraujoch.readthedocs.io.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs import dectris_v2_header as header
from bluesky_streamdet.codecs.cbor import Reader, Tag, bytes_of, encode
from bluesky_streamdet.codecs.codec import DTYPES, LARGEST_FRAME, FormatChecker, Message, check_number, check_payload
from bluesky_streamdet.codecs.template import Template
from bluesky_streamdet.codecs.typedarrays import COMPRESSED, NAMES, ROW_MAJOR, TAGS, Packed, packed, unpacked
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, RAW, Event, Frame, FrameFormat, SeriesEnd, SeriesStart

TIMES = {"start_time": "start_time", "stop_time": "stop_time", "end_time": "stop_time", "real_time": "real_time"}
"""Their names of times, Jungfraujoch's too, and ours."""
SERIES_DATE = "series_date"
"""The moment that an image's times count from."""
OF_SERIES = frozenset({"series_id", "series_unique_id"})
READ = {
    "image": OF_SERIES | {"image_id", "data", SERIES_DATE} | TIMES.keys(),
    "end": OF_SERIES,
    "calibration": frozenset[str](),
    "metadata": frozenset[str](),
}
"""What is read of each type of message; the rest is passed over. Of a start, everything is read."""
IGNORED = ("calibration", "metadata")
"""Jungfraujoch's messages that no frame needs."""

NUMBER, PART = "image_id", "part"
"""Meanings of what differs between images, beside the times."""
PIXEL_TYPES = {kind: name for name, kind in DTYPES.items()}
MOST_CHANNELS = 64
MOST_UNLIKE = 100
"""Images of a series that are not like the one before, after which it is no longer worth looking."""
LONGEST_DATE = 64
LATEST = (1 << 63) - 1
"""ns."""
BILLION = 1_000_000_000


class _Likeness(NamedTuple):
    """What images have in common with one that was read with care.

    template: finds the values in which they differ; meanings: of these, with what else one has to know. form: theirs.
    said: what else is handed on.
    """

    template: Template
    meanings: tuple[tuple[str, int], ...]
    series: str | None
    form: FrameFormat
    said: dict[str, Any] | None


class Decoder:
    """Messages of DECTRIS' stream version 2 to events.

    Several parts are as many messages: some senders glue together what waits. When one of them is malformed, the
    events of the others come with the complaint.
    """

    def __init__(self) -> None:
        self._format = FormatChecker()
        self._series: str | None = None
        self._channels: tuple[str, ...] = ()
        self._likeness: _Likeness | None = None
        self._unlike = 0  # how often an image was not like the one before

    def decode(self, parts: Sequence[Buffer], received: int) -> Sequence[Event]:
        if len(parts) == 1:
            return self._message(bytes_of(parts[0]), received)
        if not parts:
            raise MalformedMessage("empty message")
        events: list[Event] = []
        complaint: MalformedMessage | None = None
        for part in parts:
            try:
                events += self._message(bytes_of(part), received)
            except MalformedMessage as error:
                complaint = complaint or error
        if complaint is not None:
            complaint.events = events
            raise complaint
        return events

    def _message(self, view: memoryview, received: int) -> Sequence[Event]:
        likeness = self._likeness
        if likeness is not None and (values := likeness.template.match(view)) is not None:
            return (_like(likeness, values, received),)
        reader = Reader(view)
        marks: list[tuple[int, str, int]] = []
        message = _fields(reader, marks)
        if not reader.at_end:
            raise MalformedMessage("something behind the message", f"{len(view) - reader.position} bytes")
        kind = message.get("type")
        if kind == "image":
            return (self._image(message, view, marks, reader.byte_strings, received),)
        if kind == "start":
            start = header.series_start(message)
            self._series, self._channels = start.series, header.channels_of(message)
            self._likeness, self._unlike = None, 0
            return (start,)
        if kind == "end":
            return (SeriesEnd(header.series_of(message)),)
        if kind in IGNORED:
            return ()
        raise MalformedMessage("unknown type of message", f"{kind!r:.50}")

    def _image(
        self,
        message: dict[str, Any],
        view: memoryview,
        marks: list[tuple[int, str, int]],
        blobs: list[int],
        received: int,
    ) -> Frame:
        number, data, series = message.get("image_id"), message.get("data"), header.series_of(message)
        if type(number) is not int:
            raise MalformedMessage("image without a number")
        check_number(number, "image number")
        if not isinstance(data, dict) or not data:
            raise MalformedMessage("image without channels", f"image {number}")
        channels = self._in_order(data, series, number)
        arrays = [packed(data[channel]) for channel in channels]
        form = self._form_of(arrays)
        payload = tuple(_payload(array) for array in arrays)
        check_payload(form, payload)
        times = ((name, message[name]) for name in TIMES if message.get(name) is not None)
        detail = {TIMES[name]: _nanoseconds(*_rational(time)) for name, time in times}
        said = _date_in(message)
        as_it_came = all(array.data is part for array, part in zip(arrays, payload, strict=True))
        if as_it_came and len(blobs) == len(data) and self._unlike < MOST_UNLIKE:
            self._unlike += 1
            marks += [(at, PART, channels.index(channel)) for at, channel in zip(blobs, data, strict=True)]
            marks.sort()
            template = Template(view, [at for at, _, _ in marks])
            self._likeness = _Likeness(template, tuple((name, known) for _, name, known in marks), series, form, said)
        return Frame(number, number, series, form, payload, received, detail or None, said=said)

    def _in_order(self, data: dict[str, Any], series: str | None, number: int) -> Sequence[str]:
        """The channels as the header has them; as the image has them, where the header was lost or does not say."""
        if len(data) > MOST_CHANNELS:
            raise MalformedMessage("too many channels", f"{len(data)} in image {number}")
        if not self._channels or series != self._series:
            return tuple(data)
        if missing := [channel for channel in self._channels if channel not in data]:
            raise MalformedMessage("channel missing", f"{missing[0]!r:.50} in image {number}")
        if others := data.keys() - set(self._channels):
            raise MalformedMessage("channel that nobody announced", f"{others.pop()!r:.50} in image {number}")
        return self._channels

    def _form_of(self, arrays: Sequence[Packed]) -> FrameFormat:
        """What a frame of these channels is like. Raises `MalformedMessage` when they are not all alike."""
        first, *others = arrays
        for other in others:
            if other[:3] != first[:3] or other.column_major != first.column_major:
                raise MalformedMessage(
                    "channels that differ", f"{other.shape} of {other.dtype}, {first.shape} of {first.dtype}"
                )
        kind = PIXEL_TYPES.get(first.dtype.replace(">", "<"), first.dtype)
        if first.encoding != RAW and _has_to_be_turned(first):
            raise MalformedMessage("compressed pixels in another order", f"{first.dtype}; little-endian rows are read")
        if not others:
            return self._format(first.shape, kind, first.encoding, None)
        return self._format((len(arrays), *first.shape), kind, first.encoding, (1, *first.shape))


def _fields(reader: Reader, marks: list[tuple[int, str, int]]) -> dict[str, Any]:
    """What is read of a message. Notes in `marks` where numbers are in which images differ."""
    fields: dict[str, Any] = {}
    wanted: frozenset[str] | None = None
    for key in reader.entries():
        if wanted is not None and key not in wanted:
            reader.skip()
            continue
        at = reader.position
        value = fields[key] = reader.item()
        if key == "type":
            wanted = READ.get(value) if isinstance(value, str) else None
        elif key == NUMBER and type(value) is int and value >= 0:
            marks.append((at, NUMBER, 0))
        elif key in TIMES and reader.is_array(at, 2):
            marks.append((at + 1, TIMES[key], _rational(value)[1]))
    return fields


def _like(likeness: _Likeness, values: Sequence[int | memoryview], received: int) -> Frame:
    """An image that is like one before, with the values in which it differs."""
    form = likeness.form
    parts: list[Any] = [None] * form.parts
    detail: dict[str, Any] = {}
    number = 0
    for (name, known), value in zip(likeness.meanings, values, strict=True):
        if name is PART:
            parts[known] = value
        elif name is NUMBER:
            number = check_number(value, "image number")  # type: ignore[arg-type]
        else:
            detail[name] = _nanoseconds(value, known)  # type: ignore[arg-type]
    payload = tuple(parts)
    check_payload(form, payload)
    return Frame(number, number, likeness.series, form, payload, received, detail or None, said=likeness.said)


def _date_in(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """The moment that the times of a series count from, in ISO 8601, where an image says it."""
    date = message.get(SERIES_DATE)
    date = date.value if isinstance(date, Tag) else date
    return {SERIES_DATE: date} if isinstance(date, str) and len(date) <= LONGEST_DATE else None


def _payload(array: Packed) -> Buffer:
    """The pixels as a file takes them: as they travelled, unless their order is another."""
    if not _has_to_be_turned(array):
        return array.data
    return unpacked(array, LARGEST_FRAME).tobytes()


def _has_to_be_turned(array: Packed) -> bool:
    return array.dtype[0] == ">" or (array.column_major and len(array.shape) > 1)


def _rational(time: Any) -> tuple[int, int]:
    """Ticks, and ticks a second."""
    if isinstance(time, list) and list(map(type, time)) == [int, int] and time[0] >= 0 and time[1] > 0:
        return time[0], time[1]
    raise MalformedMessage("impossible time", f"{time!r:.50}")


def _nanoseconds(ticks: int, frequency: int) -> int:
    time = (ticks * BILLION + frequency // 2) // frequency
    if time > LATEST:
        raise MalformedMessage("impossible time", f"{ticks} ticks of {frequency} a second")
    return time


class Encoder:
    """Events to messages of DECTRIS' stream version 2. A series that is no number in decimal gets one, by counting."""

    def __init__(self) -> None:
        self._channels: Sequence[str] = ()
        self._names: dict[str, Any] = {}
        self._named: str | None = None
        self._count = 0

    def start(self, start: SeriesStart) -> Message:
        self._channels = [str(one) for one in start.metadata.get("channels", ())]
        self._count += 1
        self._name(start.series, start.metadata.get("series_unique_id"))
        return [encode(header.start_message(start, self._names))]

    def frame(self, frame: Frame) -> Message:
        form = frame.format
        names = self._channels
        if len(names) != form.parts:
            names = [f"threshold_{number + 1}" for number in range(form.parts)]
        shape = form.chunk if form.parts == 1 or form.chunk[0] > 1 else form.chunk[1:]
        data = {name: _array(shape, form, part) for name, part in zip(names, frame.parts, strict=True)}
        times = {name: [time, BILLION] for name, time in (frame.detail or {}).items() if name in TIMES}
        message = {"type": "image", **self._of(frame.series), "image_id": frame.number, **times, "data": data}
        return [encode(message)]

    def end(self, end: SeriesEnd) -> Message:
        return [encode({"type": "end", **self._of(end.series)})]

    def _of(self, series: str | None) -> dict[str, Any]:
        if not self._names or series != self._named:
            self._name(series, None)
        return self._names

    def _name(self, series: str | None, unique: Any) -> None:
        number = int(series) if series is not None and series.isdecimal() and len(series) < 20 else self._count
        self._named = series
        self._names = {"series_id": number, "series_unique_id": str(unique or series or number)}


def _array(shape: tuple[int, ...], form: FrameFormat, part: Buffer) -> Tag:
    """One channel of an image."""
    content: Any = part
    if form.encoding != RAW:
        element = np.dtype(form.dtype).itemsize if form.encoding == BSLZ4 else 0
        content = Tag(COMPRESSED, [NAMES[form.encoding], element, part])
    return Tag(ROW_MAJOR, [list(shape), Tag(TAGS[form.dtype], content)])
