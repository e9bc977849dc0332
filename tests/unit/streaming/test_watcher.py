"""What a watcher says of a stream: it counts as the service does, and recognises the format."""

from __future__ import annotations

import pytest

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.sim.faults import Chosen, Faults, Network
from bluesky_streamdet.streaming.watcher import LIMITS, Watcher

FORM = FrameFormat((2, 16), "<u2", RAW, (2, 16))
RECOGNISED = [name for name, codec in CODECS.items() if codec.announced and not codec.by_choice]


def series(codec: str, frames: int, faults: Faults | None = None, name: str = "7") -> list[Message]:
    encoder = CODECS[codec].encoder()
    network = Network(faults or Faults(), name, frames)
    metadata = {"count_time": 0.5, "nimages": frames, "ntrigger": 1}
    messages = network.header(encoder.start(SeriesStart(name, None, "scan", frames, metadata)))
    for number in range(frames):
        frame = Frame(number, None, name, FORM, (bytes(FORM.nbytes),), 0)
        messages += network.frame(number, encoder.frame(frame), 0.0, followed=number < frames - 1)
    messages += network.end(encoder.end(SeriesEnd(name)))
    return [message for message in messages if message]


def watched(messages: list[Message], watcher: Watcher | None = None) -> Watcher:
    watcher = watcher or Watcher()
    for message in messages:
        watcher.take(message, 0, 0.0)
    return watcher


@pytest.mark.parametrize("codec", RECOGNISED)
def test_a_whole_series(codec: str) -> None:
    sight = watched(series(codec, 5)).sight()
    assert sight.codec == codec
    assert sight.state == "complete"
    assert (sight.frames, sight.bytes) == (5, 5 * FORM.nbytes)
    assert (sight.ledger.unique, sight.ledger.missing, sight.ledger.pending) == (5, 0, 0)
    assert sight.header is not None
    assert sight.header.metadata["count_time"] == 0.5
    assert sight.frame is not None
    assert sight.frame.number == 4


@pytest.mark.parametrize("codec", RECOGNISED)
def test_gaps_duplicates_and_order_are_counted(codec: str) -> None:
    two, four, six = (Chosen(numbers=frozenset({number})) for number in (2, 4, 6))
    watcher = watched(series(codec, 10, Faults(drop=two, duplicate=four, reorder=six)))
    watcher.tick(2 * LIMITS.gap_seconds)
    watcher.tick(2 * LIMITS.gap_seconds + LIMITS.finish_seconds)
    sight = watcher.sight()
    assert (sight.ledger.unique, sight.ledger.missing, sight.ledger.duplicate) == (9, 1, 1)
    assert sight.state == "incomplete"
    assert "1 of 10 frames are missing (numbers 2)" in sight.reason


def test_a_series_is_seen_from_its_middle() -> None:
    watcher = watched(series("stins", 10)[4:])
    watcher.tick(2 * LIMITS.gap_seconds)
    sight = watcher.sight()
    assert sight.codec == "stins"
    assert sight.ledger.unique == 7
    assert sight.header is None


def test_frames_that_nothing_announces() -> None:
    watcher = watched(series("array-1.0", 10, Faults(drop=Chosen(numbers=frozenset({2})))))
    watcher.tick(2 * LIMITS.gap_seconds)
    sight = watcher.sight()
    assert (sight.codec, sight.state, sight.series, sight.frames) == ("array-1.0", "running", "1", 9)
    assert (sight.ledger.unique, sight.ledger.missing, sight.header) == (9, 1, None)
    watched(series("array-1.0", 4), watcher)
    assert (watcher.sight().series, watcher.sight().ledger.unique) == ("2", 4)


def test_one_series_after_another() -> None:
    watcher = watched(series("dectris_v1", 3, name="1"))
    watched(series("dectris_v1", 4, name="2"), watcher)
    sight = watcher.sight()
    assert (sight.series, sight.ledger.unique, sight.frames) == ("2", 4, 7)


def test_what_nobody_can_read_is_counted() -> None:
    watcher = watched([[b"noise"], [b'{"htype":"other"}']])
    assert watcher.sight().codec is None
    assert watcher.sight().between.malformed == {"in no known format": 2}
    watched(series("stins", 1), watcher)
    watcher.take([b"noise"], 0, 0.0)
    assert watcher.sight().between.malformed.total() == 3


def test_a_format_that_has_to_be_asked_for_is_named_and_not_taken() -> None:
    messages = series("xspress3-pickled", 3)
    sight = watched(messages).sight()
    assert (sight.codec, sight.frames) == (None, 0)
    assert sight.between.malformed == {"in a format that has to be asked for: xspress3-pickled": 5}
    sight = watched(messages, Watcher("xspress3-pickled")).sight()
    assert (sight.codec, sight.ledger.unique, sight.state) == ("xspress3-pickled", 3, "complete")


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"auto, xspress3, xspress3-pickled, stins, .*dectris_v1"):
        Watcher("stines")
