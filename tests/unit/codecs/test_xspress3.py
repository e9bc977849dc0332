from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs import xspress3
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, Frame, FrameFormat, Scalar, SeriesEnd, SeriesStart
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from bluesky_streamdet.transforms import pixels
from tests.unit.codecs.buffers import BUFFERS

FEW = (Scalar("live", "|u1", (), "s"),)
MANY = (
    Scalar("all_good", "<u4", (4,)),
    Scalar("window_counts", "<u4", (2, 4)),
    Scalar("dead_time_correction", "<f8", (4,)),
    Scalar("clock_ticks", "<u4", (4,), "clock cycles"),
)


class TestXspress3(DecoderContract):
    codec = CODECS["xspress3"]
    by_hand = Path(__file__).parents[2] / "data/xspress3-by-hand.yaml"
    series = "20261121-a7"
    records = ((), FEW, MANY)
    buffers = BUFFERS


START = b'{"htype":"header","msg_number":1,"series":"7","filename":"x"%s}'
IMAGE = b'{"htype":"image","msg_number":1,"series":"7","frame":0,"shape":[2,2],"type":"uint8"%s}'
LIVE = b',"scalars":[{"name":"live","type":"uint16"}]'
OTHER = b'{"htype":"image","exptime":0.1,"frame":0,"shape":[2,2],"type":"uint8","compression":"none"}'


def with_scalars(*scalars: Any) -> Message:
    return [IMAGE % (b',"scalars":' + json.dumps(scalars).encode()), b"1234", b"12"]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([IMAGE % LIVE, b"1234"], "wrong number of parts"),
        ([IMAGE % LIVE, b"1234", b"1"], "scalars of another size"),
        ([IMAGE % LIVE, b"1234", b"123"], "scalars of another size"),
        ([IMAGE % LIVE, b"123", b"12"], "payload too short"),
        ([IMAGE % LIVE, b"1234", b"12", b""], "wrong number of parts"),
        ([IMAGE % b"", b"1234", b"12"], "wrong number of parts"),
        (with_scalars({"name": "live"}), "header without what it needs"),
        (with_scalars({"name": "live", "type": "object"}), "unknown type of a scalar"),
        (with_scalars({"name": "live", "type": "<u2"}), "unknown type of a scalar"),
        (with_scalars({"name": "../data", "type": "uint16"}), "impossible name or unit of a scalar"),
        (with_scalars({"name": "", "type": "uint16"}), "impossible name or unit of a scalar"),
        (with_scalars({"name": "a", "type": "uint16", "unit": "m" * 41}), "impossible name or unit of a scalar"),
        (with_scalars(*[{"name": "a", "type": "uint8"}] * 2), "too many scalars, or two of one name"),
        (
            with_scalars(*[{"name": f"a{n}", "type": "uint8"} for n in range(65)]),
            "too many scalars, or two of one name",
        ),
        (with_scalars({"name": "a", "type": "uint16", "shape": [0]}), "impossible shape of a scalar"),
        (with_scalars({"name": "a", "type": "uint16", "shape": [1, 1, 1, 1]}), "impossible shape of a scalar"),
        (with_scalars({"name": "a", "type": "uint16", "shape": [10**15]}), "impossible shape of a scalar"),
        (with_scalars({"name": "a", "type": "uint16", "shape": [1000, 1000, 1000]}), "scalars too large"),
        ([IMAGE % b',"scalars":{}', b"1234", b"12"], "header without what it needs"),
        ([IMAGE % b',"scalars":[[]]', b"1234", b"12"], "header without what it needs"),
        ([IMAGE % b',"exptime":-1', b"1234"], "header without what it needs"),
        ([IMAGE % b',"exptime":1e300', b"1234"], "header without what it needs"),
        ([START % b',"nframes":"3"'], "header without what it needs"),
        ([IMAGE.replace(b'"7"', b'"%s"' % (b"7" * 201)) % b"", b"1234"], "name of the series too long"),
        ([b'{"htype":"series_end","msg_number":2}'], "header without what it needs"),
        ([b'{"htype":"series_end","series":"7","msg_number":2}', b""], "wrong number of parts"),
        # The older dialects, and the standard format.
        ([b'{"htype":"header","filename":"x","overwritable":false}'], xspress3.PICKLED),
        ([OTHER], xspress3.PICKLED),
        ([OTHER, b"1234", b"\x80\x04."], xspress3.PICKLED),
        ([b'{"htype":"header","msg_number":1,"filename":"x"}'], "header without what it needs"),
        ([OTHER, b"1234"], "header without what it needs"),
    ],
)
def test_each_fault_has_its_reason(parts: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        xspress3.Decoder().decode(parts, 0)
    assert caught.value.reason == reason


def test_what_is_refused_names_the_codec_that_reads_it() -> None:
    assert [name for name in CODECS if name in xspress3.PICKLED and CODECS[name].by_choice]


@pytest.mark.parametrize("nframes", [b"0", b"-3", b"null", str(1 << 53).encode()])
def test_an_impossible_number_of_frames_announces_nothing(nframes: bytes) -> None:
    (start,) = xspress3.Decoder().decode([START % (b',"nframes":%s' % nframes)], 0)
    assert isinstance(start, SeriesStart) and start.frames is None


def test_what_all_frames_say_alike_is_read_once() -> None:
    decoder, encoder = xspress3.Decoder(), xspress3.Encoder()
    form = FrameFormat((4, 2), "<u4", RAW, (4, 2), MANY)
    frames = [Frame(n, None, None, form, (bytes(32),), 0, scalars=bytes(form.record.itemsize)) for n in range(3)]
    first, *more = [decoder.decode(encoder.frame(frame), 0)[0].format for frame in frames]  # type: ignore[union-attr]
    assert first == form
    assert all(one is first for one in more)


def test_a_frame_is_of_the_series_that_was_announced_last() -> None:
    decoder, encoder = xspress3.Decoder(), xspress3.Encoder()
    frame = Frame(3, None, None, FrameFormat((2,), "|u1", RAW, (2,)), (b"12",), 0, {"real_time": 1_500_000_000})
    for series in ("a", 'b"\\', "a"):
        encoder.start(SeriesStart(series))
        (after,) = decoder.decode(encoder.frame(frame), 0)
        assert isinstance(after, Frame)
        assert (after.series, after.detail) == (series, {"real_time": 1_500_000_000})
        assert decoder.decode(encoder.end(SeriesEnd(error="x" * 9999)), 0)[0].series == series


def test_where_each_number_of_a_frame_lies() -> None:
    """Every (frame, channel, bin) and every (frame, scalar, channel) is distinct, and arrives at its place."""
    frames, channels, bins = 3, 4, 50
    counts = np.arange(frames * channels * bins, dtype="<u4").reshape(frames, channels, bins)
    form = FrameFormat((channels, bins), "<u4", RAW, (channels, bins), MANY)
    numbers = np.zeros(frames, form.record)
    for index, one in enumerate(MANY):
        size = numbers[one.name][0].size
        values = 10_000 * (index + 1) + np.arange(frames * size).reshape(numbers[one.name].shape)
        numbers[one.name] = values
    decoder, encoder = xspress3.Decoder(), xspress3.Encoder()
    for n in range(frames):
        parts = encoder.frame(Frame(n, None, "s", form, (counts[n].tobytes(),), 0, scalars=numbers[n].tobytes()))
        (after,) = decoder.decode(parts, 0)
        assert isinstance(after, Frame) and after.scalars is not None
        image, record = pixels.decode(after), np.frombuffer(after.scalars, after.format.record)[0]
        assert image[2, 7] == n * channels * bins + 2 * bins + 7
        np.testing.assert_array_equal(image, counts[n])
        assert record["window_counts"][1, 3] == 20_000 + n * 8 + 7
        assert record == numbers[n]
