"""What every codec has to pass. A test module subclasses `DecoderContract` in three lines:

    class TestMyFormat(DecoderContract):
        codec = CODECS["my_format"]
        by_hand = Path(__file__).parent / "data/my-format.yaml"

The rule: whatever a peer sends, `decode` gives sane events or raises `MalformedMessage`, and allocates nothing for it
that the peer has not sent. And what encoder and decoder agree on must be what the vendor describes: hence a capture by
hand, whose form `testing.by_hand` describes.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.catalog import Codec
from bluesky_streamdet.codecs.codec import DTYPES, LARGEST_FRAME, Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, RAW, Event, Frame, FrameFormat, Scalar, SeriesEnd, SeriesStart
from bluesky_streamdet.testing import by_hand as captures
from bluesky_streamdet.testing.hostile import NASTY_JSON, bad_documents, mutated
from bluesky_streamdet.transforms import pixels

RECEIVED = 1_700_000_000_000_000_000
"""When our messages are said to have been read, in ns since 1970."""
SPARE_BYTES = 2 << 20
"""What decoding may allocate beside what was sent."""
LONGEST_COMPLAINT = 500
"""Characters of an error, whatever it quotes."""

_shared = settings(suppress_health_check=[HealthCheck.differing_executors], deadline=None, derandomize=True)


class DecoderContract:
    """Subclass it, and set at least `codec` and `by_hand`.

    by_hand: capture of messages that were assembled by hand from the vendor's description.
    series: what the detector calls a series, where frames repeat that name. dtypes, encodings, multipart: what the
    format can say of a frame; `multipart` if a frame may have several parts of payload. records: kinds of scalars that
    may come with a frame, if any. appendices: how many parts of any content may follow a frame's own. buffers: what
    parts are handed over in. mutations: how many changed messages are tried.
    """

    codec: ClassVar[Codec]
    by_hand: ClassVar[Path]
    series: ClassVar[str | None] = None
    dtypes: ClassVar[Sequence[str]] = tuple(DTYPES)
    encodings: ClassVar[Sequence[str]] = (RAW, BSLZ4)
    multipart: ClassVar[bool] = True
    records: ClassVar[Sequence[tuple[Scalar, ...]]] = ((),)
    appendices: ClassVar[int] = 0
    buffers: ClassVar[Sequence[Callable[[bytes], Buffer]]] = (bytes, bytearray, memoryview)
    mutations: ClassVar[int] = 100_000

    # What encoder and decoder agree on.

    @_shared
    @given(st.data())
    def test_frames_survive_the_round_trip(self, data: st.DataObject) -> None:
        sent = data.draw(st.lists(self._frames(), min_size=1, max_size=4))
        for number, frame in enumerate(sent):
            frame.number = number
        frames = self._round_trip([self._start(), *sent, SeriesEnd(self.series)])
        if self.codec.announced:
            start, *frames, end = frames
            assert isinstance(start, SeriesStart) and isinstance(end, SeriesEnd)
            assert [start.series, end.series] == [self.series, self.series]
        for before, after in zip(sent, frames, strict=True):
            assert isinstance(after, Frame)
            assert (after.number, after.series, after.format) == (before.number, self.series, before.format)
            assert [bytes(part) for part in after.parts] == [bytes(part) for part in before.parts]
            assert bytes(after.scalars or b"") == bytes(before.scalars or b"")
            assert after.received == RECEIVED
            np.testing.assert_array_equal(pixels.decode(after), pixels.decode(before))

    def test_positions_follow_one_another(self) -> None:
        """Where messages have a position, each frame's is the one behind the message before it."""
        events = self._round_trip(self._stream())
        positions = [event.position for event in events if event.position is not None]
        assert positions == list(range(positions[0], positions[0] + len(positions))) if positions else True
        known = {type(event).__name__ for event in events if event.position is not None}
        assert not known or {"SeriesStart", "Frame"} <= known

    def test_the_start_says_what_it_was_told(self) -> None:
        start = self._start()
        if not self.codec.announced:
            assert self._encoded([start, SeriesEnd(self.series)]) == []
            return
        (after,) = self._round_trip([start])
        assert isinstance(after, SeriesStart)
        assert (after.series, after.filename, after.frames) == (start.series, start.filename, start.frames)
        assert start.metadata.items() <= after.metadata.items()

    # What the vendor describes.

    def test_messages_assembled_by_hand(self) -> None:
        decoder = self.codec.decoder()
        for message in captures.read(self.by_hand):
            events = list(decoder.decode(message.parts, RECEIVED))
            assert [captures.described(event, like) for event, like in zip(events, message.events, strict=True)] == (
                message.events
            ), message.title

    def test_any_kind_of_buffer(self) -> None:
        for messages in (self._messages(), [message.parts for message in captures.read(self.by_hand)]):
            for wrap in self.buffers:
                decoder, plain = self.codec.decoder(), self.codec.decoder()
                for parts in messages:
                    wrapped = [wrap(bytes(part)) for part in parts]
                    for one, other in zip(decoder.decode(wrapped, 0), plain.decode(parts, 0), strict=True):
                        assert _plain(one) == _plain(other)

    def test_the_payload_is_not_copied(self) -> None:
        for parts in self._frame_messages():
            (frame,) = self._decode(parts)
            assert isinstance(frame, Frame)
            sent = [np.frombuffer(part, np.uint8) for part in parts]
            for part in frame.parts:
                assert any(np.shares_memory(np.frombuffer(part, np.uint8), one) for one in sent)

    # What peers may send.

    @_shared
    @given(st.lists(st.binary(max_size=200) | st.sampled_from(NASTY_JSON), max_size=10))
    def test_bytes_without_meaning(self, parts: list[bytes]) -> None:
        _survives(self.codec.decoder().decode, parts)

    def test_documents_with_wrong_values(self) -> None:
        """Each value of each JSON part missing, of another type, huge, negative, no number, deep, a megabyte long."""
        decode = self.codec.decoder().decode
        for parts in self._encoded(self._stream(self.dtypes[:1])):
            for index, part in enumerate(parts):
                for bad in bad_documents(bytes(part)):
                    _survives(decode, [*parts[:index], bad, *parts[index + 1 :]])

    def test_nothing_is_allocated_for_what_was_not_sent(self) -> None:
        decode = self.codec.decoder().decode
        for parts in self._frame_messages():
            for index, part in enumerate(parts):
                for bad in bad_documents(bytes(part), only=[[10**9, 10**9], [10**5, 10**4], [2**62] * 4, [1 << 28]]):
                    tracemalloc.start()
                    _survives(decode, [*parts[:index], bad, *parts[index + 1 :]])
                    peak = tracemalloc.get_traced_memory()[1]
                    tracemalloc.stop()
                    assert peak < SPARE_BYTES, bad

    def test_parts_that_are_cut(self) -> None:
        decode = self.codec.decoder().decode
        messages = [(parts, len(parts)) for parts in self._messages()]
        if self.codec.announced:
            start, whole = messages[0]
            messages[0] = start, whole - self.appendices
        for parts, whole in messages:
            for index, part in enumerate(map(bytes, parts[:whole])):
                for length in sorted({0, 1, len(part) // 2, len(part) - 1} - {len(part)}):
                    with pytest.raises(MalformedMessage):
                        decode([*parts[:index], part[:length], *parts[index + 1 :]], RECEIVED)

    def test_a_payload_that_is_too_long(self) -> None:
        decode = self.codec.decoder().decode
        for parts in self._frame_messages():
            (frame,) = self._decode(parts)
            assert isinstance(frame, Frame)
            payload = [bytes(part) for part in frame.parts]
            payload += [] if frame.scalars is None else [bytes(frame.scalars)]
            for index, part in enumerate(map(bytes, parts)):
                if part not in payload:
                    continue
                for extra in (b"\0", b"\0" * 64, part):
                    with pytest.raises(MalformedMessage):
                        decode([*parts[:index], part + extra, *parts[index + 1 :]], RECEIVED)

    def test_parts_that_are_missing_or_too_many(self) -> None:
        decode = self.codec.decoder().decode
        with pytest.raises(MalformedMessage):
            decode([], RECEIVED)
        for parts in self._frame_messages():
            for index in range(len(parts)):
                with pytest.raises(MalformedMessage):
                    decode([*parts[:index], *parts[index + 1 :]], RECEIVED)
            with pytest.raises(MalformedMessage):
                decode([*parts, *[b"{}"] * (self.appendices + 1)], RECEIVED)

    def test_changed_messages(self) -> None:
        """A seeded mutator over all messages; what still passes is sane, and decodes or says why not."""
        random = Random(self.by_hand.name)  # noqa: S311, to be repeatable
        decoder = self.codec.decoder()
        messages = [[bytes(part) for part in parts] for parts in self._messages()]
        messages += [[bytes(part) for part in message.parts] for message in captures.read(self.by_hand)]
        for parts in mutated(messages, random, self.mutations):
            for event in _survives(decoder.decode, parts):
                if isinstance(event, Frame):
                    _decodes_or_says_why(event)
        # It has not lost its way.
        calm = self.codec.decoder()
        assert [_plain(event) for parts in messages for event in _survives(decoder.decode, parts)] == [
            _plain(event) for parts in messages for event in calm.decode(parts, RECEIVED)
        ]

    # Messages of this format.

    def _start(self) -> SeriesStart:
        metadata = {"count_time": 0.25, "photon_energy": 8047.8, "description": "détecteur № 1"}
        return SeriesStart(self.series, None, "scan_0001.h5", 7, metadata)

    def _frames(self) -> st.SearchStrategy[Frame]:
        """Small frames of everything that the format can say."""
        shapes = st.lists(st.integers(1, 9), min_size=2, max_size=3 if self.multipart else 2).map(tuple)
        several = st.booleans() if self.multipart else st.just(value=False)
        kinds = st.sampled_from(self.dtypes), st.sampled_from(self.encodings)
        return st.builds(self._frame, shapes, *kinds, several, st.integers(0, 1 << 32), st.sampled_from(self.records))

    def _frame(
        self,
        shape: tuple[int, ...],
        dtype: str,
        encoding: str,
        several: bool,
        seed: int,
        scalars: tuple[Scalar, ...] = (),
    ) -> Frame:
        chunk = (1, *shape[1:]) if several else shape
        form = FrameFormat(shape, DTYPES[dtype], encoding, chunk, scalars)
        image = _pixels(shape, form.dtype, seed)
        arrays = [image[row : row + 1] for row in range(shape[0])] if several else [image]
        parts = tuple(map(pixels.ENCODERS[encoding], arrays))
        record = np.random.default_rng(seed).bytes(form.record.itemsize) if scalars else None
        return Frame(0, None, self.series, form, parts, RECEIVED, scalars=record)

    def _stream(self, dtypes: Sequence[str] | None = None) -> list[SeriesStart | Frame | SeriesEnd]:
        """A series with one frame of each kind."""
        several = [False, True] if self.multipart else [False]
        records = cycle(self.records)
        frames = [
            self._frame((4, 100), dtype, encoding, parted, 1, next(records))
            for dtype in dtypes or self.dtypes
            for encoding in self.encodings
            for parted in several
        ]
        for number, frame in enumerate(frames):
            frame.number = number
        return [self._start(), *frames, SeriesEnd(self.series)]

    def _messages(self) -> list[Message]:
        return self._encoded(self._stream())

    def _frame_messages(self) -> list[Message]:
        return self._messages()[1:-1] if self.codec.announced else self._messages()

    def _encoded(self, events: Sequence[SeriesStart | Frame | SeriesEnd]) -> list[Message]:
        encoder = self.codec.encoder()
        messages = []
        for event in events:
            match event:
                case SeriesStart():
                    messages.append(encoder.start(event))
                case Frame():
                    messages.append(encoder.frame(event))
                case SeriesEnd():
                    messages.append(encoder.end(event))
        return [message for message in messages if message]

    def _decode(self, parts: Sequence[Buffer]) -> Sequence[Event]:
        return self.codec.decoder().decode(parts, RECEIVED)

    def _round_trip(self, events: Sequence[SeriesStart | Frame | SeriesEnd]) -> list[Event]:
        decoder = self.codec.decoder()
        return [event for parts in self._encoded(events) for event in decoder.decode(parts, RECEIVED)]


def _pixels(shape: tuple[int, ...], dtype: str, seed: int) -> NDArray[Any]:
    kind = np.dtype(dtype)
    noise = np.random.default_rng(seed).integers(0, 256, (*shape, kind.itemsize), np.uint8)
    return noise.view(kind)[..., 0] if kind.kind != "f" else noise[..., 0].astype(kind) / 7


def _survives(decode: Callable[[Sequence[Buffer], int], Sequence[Event]], parts: Sequence[Buffer]) -> Sequence[Event]:
    """The events in `parts`, checked; what is malformed has none, or those of a message that ends another."""
    events: Sequence[Event] = ()
    said = ""
    try:
        events = decode(parts, RECEIVED)
    except MalformedMessage as error:
        events, said = error.events, str(error)
    assert len(said) < LONGEST_COMPLAINT
    for event in events:
        assert isinstance(event, SeriesStart | Frame | SeriesEnd)
        assert event.series is None or isinstance(event.series, str)
        if isinstance(event, Frame):
            _is_sane(event)
    return events


def _is_sane(frame: Frame) -> None:
    form = frame.format
    assert 0 <= frame.number < 1 << 53
    assert 0 < form.nbytes <= LARGEST_FRAME
    assert len(frame.parts) == form.parts
    if form.encoding == RAW:
        assert sum(memoryview(part).nbytes for part in frame.parts) == form.nbytes
    assert (frame.scalars is None) == (not form.scalars)
    assert memoryview(frame.scalars or b"").nbytes == form.record.itemsize


def _decodes_or_says_why(frame: Frame) -> None:
    try:
        image = pixels.decode(frame)
    except MalformedMessage:
        return
    assert (image.shape, image.dtype) == (frame.format.shape, frame.format.dtype)


def _plain(event: Event) -> object:
    """`event` in a form that compares, whatever buffers it holds."""
    if isinstance(event, Frame):
        kept = event.number, event.position, event.series, event.format, event.detail, event.discard
        return *kept, [bytes(part) for part in event.parts], bytes(event.scalars or b"")
    if isinstance(event, SeriesStart):
        metadata = {name: repr(value) for name, value in event.metadata.items()}
        return event.series, event.position, event.filename, event.frames, metadata, event.save
    return event.series, event.position, event.error
