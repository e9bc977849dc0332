from __future__ import annotations

from pathlib import Path
from random import Random

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs import dectris_v2
from bluesky_streamdet.codecs.codec import DTYPES
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, LZ4, RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from bluesky_streamdet.testing.hostile import mutated
from bluesky_streamdet.transforms import pixels
from tests.unit.codecs.buffers import BUFFERS
from tests.unit.codecs.stream2 import END, PICTURE, array, compressed, decode, frame_of, image, start
from tests.unit.codecs.test_typedarrays import TAGS_BY_RFC, type_by_rfc


class TestDectrisVersion2(DecoderContract):
    codec = CODECS["dectris_v2"]
    by_hand = Path(__file__).parents[2] / "data/dectris-v2-by-hand.yaml"
    series = "14"
    encodings = (RAW, BSLZ4, LZ4)
    buffers = BUFFERS


# Images.


@pytest.mark.parametrize("tag", [tag for tag in TAGS_BY_RFC if tag not in (83, 87)])
@pytest.mark.parametrize("column_major", [False, True])
def test_pixels_of_each_type_and_order(tag: int, column_major: bool) -> None:
    """Those that a file can't take as they came are turned."""
    picture = PICTURE.astype(type_by_rfc(tag))
    content = CBORTag(tag, picture.tobytes("F" if column_major else "C"))
    frame = frame_of(image(data={"x": CBORTag(1040 if column_major else 40, [[2, 3], content])}))
    assert frame.format == FrameFormat((2, 3), DTYPES[picture.dtype.newbyteorder("=").name], RAW, (2, 3))
    np.testing.assert_array_equal(pixels.decode(frame), picture)


@pytest.mark.parametrize("algorithm", ["bslz4", "lz4"])
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4", "<i2", "<i4", "<f4"])
@pytest.mark.parametrize("count", [1, 3])
def test_compressed_pixels_stay_as_they_came(algorithm: str, dtype: str, count: int) -> None:
    pytest.importorskip("bitshuffle")
    pictures = np.random.default_rng(0).poisson(0.5, (count, 40, 50)).astype(dtype)
    data = {f"threshold_{number + 1}": compressed(one, algorithm) for number, one in enumerate(pictures)}
    frame = frame_of(image(data=data))
    assert [bytes(part) for part in frame.parts] == [one.value[1].value.value[2] for one in data.values()]
    assert frame.format.encoding == algorithm
    np.testing.assert_array_equal(pixels.decode(frame), pictures if count > 1 else pictures[0])


@pytest.mark.parametrize("announced", [True, False])
def test_channels_come_in_the_order_of_the_header(announced: bool) -> None:
    """Where that was lost, or does not say, in the order of the image."""
    names = ["low", "high", "difference"]
    mixed = {name: array(PICTURE + 10 * names.index(name)) for name in ("difference", "low", "high")}
    message = start(channels=names) if announced else start()
    first, second = decode(message, image(0, data=mixed), image(1, data=mixed))[1:]
    for frame in (first, second):
        assert isinstance(frame, Frame)
        assert frame.format == FrameFormat((3, 2, 3), "<u2", RAW, (1, 2, 3))
        order = [0, 10, 20] if announced else [20, 0, 10]
        np.testing.assert_array_equal(pixels.decode(frame), [PICTURE + added for added in order])


def test_channels_of_another_series_are_none_of_ours() -> None:
    events = decode(start(channels=["one", "two"]), image(series_id=4))
    assert isinstance(events[1], Frame)


@pytest.mark.parametrize(
    ("time", "nanoseconds"),
    [
        ([0, 50_000_000], 0),
        ([215873, 50_000_000], 4_317_460),
        ([1, 3], 333_333_333),
        ([2, 3], 666_666_667),
        ([(1 << 63) - 1, 1_000_000_000], (1 << 63) - 1),
        ([1 << 53, 100_000_000], (1 << 53) * 10),
    ],
)
def test_times_are_exact_to_the_nanosecond(time: list[int], nanoseconds: int) -> None:
    decoder = dectris_v2.Decoder()
    for number in range(2):
        (frame,) = decoder.decode([image(number, start_time=time, stop_time=[5, 1], real_time=time)], 0)
        assert isinstance(frame, Frame)
        assert frame.detail == {"start_time": nanoseconds, "stop_time": 5_000_000_000, "real_time": nanoseconds}


DATA = {"threshold_1": array(PICTURE)}
OTHER = {"threshold_2": array(PICTURE)}
TWO = [start(channels=["threshold_1", "threshold_2"])]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b""], "CBOR is cut"),
        ([cbor2.dumps([1])], "no CBOR map"),
        ([cbor2.dumps({})], "unknown type of message"),
        ([cbor2.dumps({"type": "header"})], "unknown type of message"),
        ([cbor2.dumps({"type": ["image"]})], "unknown type of message"),
        ([END + b"\0"], "something behind the message"),
        ([image() + END], "something behind the message"),
        ([image(image_id=None)], "image without a number"),
        ([image(image_id=1.0)], "image without a number"),
        ([image(image_id=True)], "image without a number"),
        ([image(-1)], "impossible image number"),
        ([image(1 << 53)], "impossible image number"),
        ([image(0), image(1 << 53)], "impossible image number"),
        ([image(data={})], "image without channels"),
        ([image(data=None)], "image without channels"),
        ([image(data=[array(PICTURE)])], "image without channels"),
        ([*TWO, image()], "channel missing"),
        ([*TWO, image(data=OTHER)], "channel missing"),
        ([*TWO, image(data=DATA | OTHER | {"threshold_3": array(PICTURE)})], "channel that nobody announced"),
        ([image(data={str(one): array(PICTURE) for one in range(65)})], "too many channels"),
        ([image(data=DATA | {"threshold_2": array(PICTURE[:1])})], "channels that differ"),
        ([image(data=DATA | {"threshold_2": array(PICTURE.astype("<u4"))})], "channels that differ"),
        ([image(data={"threshold_1": PICTURE.tobytes()})], "no typed array"),
        ([image(data={"threshold_1": CBORTag(40, [[2, 3], CBORTag(69, b"short")])})], "payload too short"),
        ([image(data={"threshold_1": CBORTag(40, [[2, 3], CBORTag(69, bytes(13))])})], "payload too long"),
        ([image(), image(data={"threshold_1": CBORTag(40, [[2, 3], CBORTag(69, bytes(11))])})], "payload too short"),
        ([image(data={"threshold_1": CBORTag(40, [[], CBORTag(69, b"")])})], "impossible shape"),
        ([image(data={"threshold_1": CBORTag(40, [[0, 3], CBORTag(69, b"")])})], "impossible shape"),
        ([image(data={"threshold_1": CBORTag(40, [[1 << 40, 1 << 40], CBORTag(69, b"")])})], "shape too large"),
        ([image(data={"threshold_1": CBORTag(87, bytes(16))})], "unknown pixel type"),
        (
            [image(data={"threshold_1": CBORTag(40, [[2, 3], CBORTag(65, CBORTag(56500, ["lz4", 0, bytes(20)]))])})],
            "compressed pixels in another order",
        ),
        (
            [image(data={"threshold_1": CBORTag(40, [[2, 3], CBORTag(69, CBORTag(56500, ["bszstd", 2, b""]))])})],
            "unknown compression",
        ),
        ([image(real_time=[1, 0])], "impossible time"),
        ([image(real_time=[-1, 1])], "impossible time"),
        ([image(real_time=[1, 2, 3])], "impossible time"),
        ([image(real_time=[1.5, 2])], "impossible time"),
        ([image(real_time=[True, 2])], "impossible time"),
        ([image(real_time=1.5)], "impossible time"),
        ([image(real_time=[1 << 63, 10**9])], "impossible time"),
        ([image(real_time=[1, 10**9]), image(real_time=[1 << 63, 10**9])], "impossible time"),
    ],
)
def test_each_fault_has_its_reason(messages: list[bytes], reason: str) -> None:
    decoder = dectris_v2.Decoder()
    *before, last = messages
    for message in before:
        decoder.decode([message], 0)
    with pytest.raises(MalformedMessage) as caught:
        decoder.decode([last], 0)
    assert caught.value.reason == reason


def test_the_complaint_says_which_channel_is_missing() -> None:
    with pytest.raises(MalformedMessage, match="'threshold_2' in image 7"):
        decode(*TWO, image(7))


def test_messages_that_are_glued_together_do_not_spoil_one_another() -> None:
    decoder = dectris_v2.Decoder()
    assert [type(event) for event in decoder.decode([start(), image(0), END], 0)] == [SeriesStart, Frame, SeriesEnd]
    with pytest.raises(MalformedMessage) as caught:
        decoder.decode([start(), image(0, data={}), image(1), b"", END], 0)
    assert caught.value.reason == "image without channels"
    begin, frame, end = caught.value.events
    assert isinstance(begin, SeriesStart) and isinstance(frame, Frame) and isinstance(end, SeriesEnd)
    assert frame.number == 1


def outcome(decoder: dectris_v2.Decoder, parts: list[bytes]) -> object:
    """What a decoder makes of a message, in a form that compares."""
    try:
        events = decoder.decode(parts, 0)
    except MalformedMessage as error:
        return error.reason, len(error.events)
    frames = [one for one in events if isinstance(one, Frame)]
    return len(events), [
        (one.number, one.series, one.format, one.detail, [bytes(part) for part in one.parts]) for one in frames
    ]


def test_images_that_are_like_one_before_are_read_as_if_they_were_not() -> None:
    """The short cut, and the careful way of a decoder that has seen nothing but the header, on changed messages."""
    random = Random(5)
    header = start(channels=["a", "b"])
    times = [[n * 1000, 50_000_000] for n in (0, 1, 300, 70_000, 5_000_000)]
    messages = [
        [
            image(
                number,
                start_time=time,
                real_time=[5, 7],
                data={"a": array(PICTURE + np.uint16(number % 99)), "b": array(PICTURE)},
            )
        ]
        for number, time in zip((0, 5, 23, 24, 255, 256, 65536), times * 2, strict=False)
    ]
    warm = dectris_v2.Decoder()
    warm.decode([header], 0)
    warm.decode(messages[0], 0)
    known = warm._likeness
    assert known is not None
    short_cuts = 0
    for parts in (*messages, *mutated(messages, random, 3000)):
        warm._likeness = known
        careful = dectris_v2.Decoder()
        careful.decode([header], 0)
        assert outcome(warm, parts) == outcome(careful, parts)
        short_cuts += warm._likeness is known
    assert short_cuts > 300


def test_senders_whose_images_are_never_alike_cost_no_more_templates() -> None:
    decoder = dectris_v2.Decoder()
    for number in range(dectris_v2.MOST_UNLIKE + 5):
        before = decoder._likeness
        decoder.decode([image(number, background=number + 0.5)], 0)
        assert (decoder._likeness is not before) == (number < dectris_v2.MOST_UNLIKE)
    decoder.decode([start()], 0)
    decoder.decode([image(0)], 0)
    assert decoder._likeness is not None
