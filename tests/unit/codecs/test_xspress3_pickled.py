from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.catalog import CODECS, OUTPUTS
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.codecs.xspress3_pickled import LOST, TAGS, Decoder, Encoder
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Event, Frame, FrameFormat, Scalar, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.recordfile import read_recording
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from bluesky_streamdet.transforms import pixels
from bluesky_streamdet.transforms.deadtime import event_width_correction
from tests.conftest import Recordings
from tests.unit.codecs.buffers import BUFFERS


class TestXspress3Pickled(DecoderContract):
    codec = CODECS["xspress3-pickled"]
    by_hand = Path(__file__).parents[2] / "data/xspress3-pickled-by-hand.yaml"
    buffers = BUFFERS


CHANNELS, BINS = 3, 5
FORM = FrameFormat(
    (CHANNELS, BINS),
    "<u4",
    RAW,
    (CHANNELS, BINS),
    (
        Scalar("clock_ticks", "<u4", (CHANNELS,), "clock cycles"),
        Scalar("num_resets", "<u4", (CHANNELS,)),
        *(Scalar(name, "<u4", (CHANNELS,)) for name in ("all_events", "all_good", "total_ticks", "reset_ticks")),
        Scalar("window_counts", "<u4", (2, CHANNELS)),
        Scalar("event_width", "<i4", (CHANNELS,)),
        *(Scalar(name, "<f8", (CHANNELS,)) for name in ("dead_time_correction", "output_count_rate")),
    ),
)
"""As our streamer has it: in another order than the older dialects, and with what these don't have."""


def numbers(n: int) -> NDArray[Any]:
    """One record of scalars, each value of which is distinct."""
    record = np.zeros(1, FORM.record)
    for index, one in enumerate(FORM.scalars):
        size = record[one.name].size
        record[one.name] = (1000 * n + 50 * index + 1 + np.arange(size)).reshape(record[one.name].shape)
    # As the decoder will have it.
    record["output_count_rate"] = record["all_good"] / (record["total_ticks"] * 12.5e-9)
    return record


def spectra(n: int) -> NDArray[Any]:
    return np.arange(n * CHANNELS * BINS, (n + 1) * CHANNELS * BINS, dtype="<u4").reshape(CHANNELS, BINS)


def frame(n: int) -> Frame:
    return Frame(n, None, None, FORM, (spectra(n).tobytes(),), 0, scalars=numbers(n).tobytes())


def messages(dialect: str, count: int) -> list[Message]:
    """A series in one of the dialects, as outputs send it."""
    form = OUTPUTS[dialect]
    encoder = form.encoder()
    start = SeriesStart(filename="scan.h5", frames=count, metadata={"count_time": 0.25, "windows": [[[0, 1]] * 3] * 2})
    whole = [encoder.start(start), *(encoder.frame(frame(n)) for n in range(count)), encoder.end(SeriesEnd())]
    return [[part] for message in whole for part in message] if form.loose else whole


def decoded(sent: Sequence[Message], decoder: Decoder | None = None) -> tuple[list[Event], list[str]]:
    """The events, and the reasons of what was malformed, in the order in which a receiver gets them."""
    decoder = decoder or Decoder()
    events: list[Event] = []
    reasons = []
    for parts in sent:
        try:
            events += decoder.decode(parts, 0)
        except MalformedMessage as error:
            reasons.append(error.reason)
            events += error.events
    return events, reasons


def numbers_of(events: Sequence[Event]) -> list[int]:
    return [event.number for event in events if isinstance(event, Frame)]


DIALECTS = ["xspress3-2021", "xspress3-2024"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_older_receivers_get(dialect: str) -> None:
    """As their authors read it: JSON, bytes, and a pickle of arrays in a fixed order."""
    (header,), *images, (end,) = messages(dialect, 3) if dialect == "xspress3-2024" else grouped(messages(dialect, 3))
    said = msgspec.json.decode(header)
    assert (said["htype"], said["filename"], said["overwritable"]) == ("header", "scan.h5", False)
    for n, (head, payload, pickled) in enumerate(images):
        said = msgspec.json.decode(head)
        assert (said["htype"], said["exptime"], said["frame"]) == ("image", 0.25, n)
        assert (said["shape"], said["type"], said["compression"]) == ([CHANNELS, BINS], "uint32", "none")
        np.testing.assert_array_equal(np.frombuffer(payload, "<u4").reshape(CHANNELS, BINS), spectra(n))
        extras = pickle.loads(bytes(pickled))
        assert len(extras) == (8 if dialect == "xspress3-2021" else 9)
        for name, values in zip(TAGS, extras, strict=False):
            np.testing.assert_array_equal(values, numbers(n)[name][0])
    assert msgspec.json.decode(end) == {"htype": "series_end"}


def grouped(sent: list[Message]) -> list[Message]:
    """Three messages of an image as one, as a recorder puts them together."""
    header, *images, end = sent
    return [header, *([*a, *b, *c] for a, b, c in zip(*[iter(images)] * 3, strict=True)), end]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_we_send_to_older_receivers_comes_back(dialect: str) -> None:
    (start, *frames, end), reasons = decoded(messages(dialect, 4))
    assert not reasons
    assert isinstance(start, SeriesStart) and isinstance(end, SeriesEnd)
    assert start.frames == 4 and start.metadata["count_time"] == 0.25
    for n, after in enumerate(frames):
        assert isinstance(after, Frame) and after.scalars is not None
        np.testing.assert_array_equal(pixels.decode(after), spectra(n))
        (record,) = np.frombuffer(after.scalars, after.format.record)
        for name in TAGS if dialect == "xspress3-2024" else TAGS[:-1]:
            np.testing.assert_array_equal(record[name], numbers(n)[name][0])
        # Ours are in Hz, so that what the stream says and what is recomputed are one.
        np.testing.assert_array_equal(record["recorded_output_count_rate"], record["output_count_rate"])
        assert after.detail == {"real_time": 250_000_000}
        assert after.format is frames[0].format  # type: ignore[union-attr]


@pytest.mark.parametrize("lost", range(17))
def test_a_lost_message_costs_its_frame_and_no_other(lost: int) -> None:
    sent = messages("xspress3-2021", 5)
    assert len(sent) == 17
    events, reasons = decoded([message for index, message in enumerate(sent) if index != lost])
    kinds = [type(event) for event in events]
    of_frame = (lost - 1) // 3 if 0 < lost < 16 else None
    assert numbers_of(events) == [n for n in range(5) if n != of_frame]
    assert reasons == ([] if of_frame is None else [LOST])
    assert kinds.count(SeriesStart) == (lost != 0)
    assert kinds.count(SeriesEnd) == (lost != 16)


@pytest.mark.parametrize("first", range(17))
def test_a_receiver_that_joins_late(first: int) -> None:
    events, reasons = decoded(messages("xspress3-2021", 5)[first:])
    assert numbers_of(events) == [n for n in range(5) if 1 + 3 * n >= first]
    assert reasons == ([LOST] if first in range(1, 16) and (first - 1) % 3 else [])


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_lost_what_is_whole_arrives(seed: int) -> None:
    """Each frame of which something came, and not all, is counted once; unless two neighbours make one."""
    random = Random(seed)
    sent = messages("xspress3-2021", 20)
    kept = [random.random() > 0.15 for _ in sent]
    events, reasons = decoded([message for message, keep in zip(sent, kept, strict=True) if keep])
    parts = [kept[1 + 3 * n : 4 + 3 * n] for n in range(20)]
    assert numbers_of(events) == [n for n in range(20) if all(parts[n]) or _patched(parts, n)]
    broken = sum(any(one) and not all(one) for one in parts)
    assert set(reasons) <= {LOST}
    assert 0 <= broken - len(reasons) <= sum(_looks_like_one(*pair) for pair in pairwise(parts))
    assert kept[-1] == isinstance(events[-1], SeriesEnd)


def _patched(parts: list[list[bool]], n: int) -> bool:
    """Whether the header of frame n is followed by the rest of the next one's, which nothing can tell from its own."""
    following = next((one for one in parts[n + 1 :] if any(one)), None)
    if following is None or not parts[n][0]:
        return False
    return (parts[n] == [True, False, False] and following == [False, True, True]) or (
        parts[n] == [True, True, False] and following == [False, False, True]
    )


def _looks_like_one(one: list[bool], other: list[bool]) -> bool:
    return not all(one) and not all(other)


def test_frames_in_one_message_end_one_in_three() -> None:
    image = messages("xspress3-2021", 1)[1]
    whole = messages("xspress3-2024", 2)[1:]
    events, reasons = decoded([image, *whole])
    assert (numbers_of(events), reasons) == ([0, 1], [LOST])


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b'{"htype":"header","filename":"x"}'], "header without what it needs"),
        (
            [b'{"htype":"header","filename":"x","overwritable":true,"extra_tags":["../a"]}'],
            "impossible name or unit of a scalar",
        ),
        (
            [b'{"htype":"header","filename":"x","overwritable":true,"extra_tags":["a","a"]}'],
            "too many scalars, or two of one name",
        ),
        ([b'{"htype":"header","filename":"x","overwritable":true}', b"{}"], "wrong number of parts"),
        ([b'{"htype":"series_end","msg_number":3}'], "header without what it needs"),
        ([b'{"htype":"image","frame":0,"shape":[2],"type":"uint8"}', b"12", b""], "broken pickle"),
        ([b'{"htype":"image","frame":0,"shape":[2],"type":"uint8"}', b"12", b"\x80\x04"], "broken pickle"),
        (
            [b'{"htype":"image","frame":0,"shape":[2],"type":"uint8"}', b"12", b"\x80\x04N."],
            "a pickle of something else than arrays",
        ),
        ([b'{"htype":"image","frame":0,"shape":[2],"type":"uint8"}', b"123", b"\x80\x04]."], "payload too long"),
        ([b'{"htype":"image","frame":-1,"shape":[2],"type":"uint8"}', b"12", b"\x80\x04]."], "impossible frame number"),
        ([b'{"htype":"image","frame":0,"shape":[1000000,1000000],"type":"uint8"}'], "shape too large"),
        (
            [b'{"htype":"image","frame":0,"shape":[2],"type":"uint8"}', b"12", pickle.dumps([np.arange(2)] * 10, 4)],
            "more scalars than names for them",
        ),
    ],
)
def test_each_fault_has_its_reason(parts: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        Decoder().decode(parts, 0)
    assert caught.value.reason == reason


def test_the_header_names_the_scalars() -> None:
    header = b'{"htype":"header","filename":"","overwritable":true,"extra_tags":["output_count_rate","live"]}'
    image = b'{"htype":"image","frame":0,"shape":[2],"type":"uint8"}'
    pickled = pickle.dumps([np.array([1.5, 2.5]), np.array([3, 4], "<u2")], 4)
    events, reasons = decoded([[header], [image, b"12", pickled]])
    (one,) = events[1:]
    assert isinstance(one, Frame) and not reasons
    # Without counts and ticks there is nothing to make a rate of.
    assert [each.name for each in one.format.scalars] == ["recorded_output_count_rate", "live"]


def test_frames_without_scalars_have_an_empty_list() -> None:
    encoder = Encoder()
    form = FrameFormat((2,), "|u1", RAW, (2,))
    head, _, pickled = encoder.frame(Frame(0, None, None, form, (b"12",), 0))
    assert pickle.loads(bytes(pickled)) == []
    assert msgspec.json.decode(head)["exptime"] is None


@pytest.mark.parametrize(
    ("name", "frames", "exposure"), [("xspress3-dump", 20, 0.099999875), ("xspress3-multipart", 5, 0.049999875)]
)
def test_recordings_of_real_detectors(test_data: Recordings, name: str, frames: int, exposure: float) -> None:
    recorded = [one.parts for one in read_recording(test_data / f"xspress3/{name}.cbors")]
    events, reasons = decoded(recorded)
    assert not reasons
    assert isinstance(events[0], SeriesStart) and str(events[0].filename).startswith("/data/staff/nanomax/")
    assert isinstance(events[-1], SeriesEnd)
    assert numbers_of(events) == list(range(frames))
    extras = [parts[-1] for parts in recorded if bytes(parts[-1][:1]) == b"\x80"]
    for one, pickled in zip(events[1:-1], extras, strict=True):
        assert isinstance(one, Frame) and one.scalars is not None
        (said,) = np.frombuffer(one.scalars, one.format.record)
        np.testing.assert_array_equal(pixels.decode(one).sum(axis=1), said["all_good"])
        np.testing.assert_array_equal(said["clock_ticks"], round(exposure / 12.5e-9))
        np.testing.assert_array_equal(said["total_ticks"], said["clock_ticks"])
        recomputed = event_width_correction(
            said["all_events"], said["reset_ticks"], said["clock_ticks"], said["event_width"]
        )
        np.testing.assert_array_equal(recomputed, said["dead_time_correction"])
        np.testing.assert_array_equal(said["output_count_rate"], said["all_good"] / (said["total_ticks"] * 12.5e-9))
        # What Python's own unpickler makes of it: the recordings are known to be harmless.
        for tag, values in zip(TAGS, pickle.loads(pickled), strict=False):
            np.testing.assert_array_equal(said["recorded_" * (tag == TAGS[0]) + tag], values)
