from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs import array10, details
from bluesky_streamdet.codecs.codec import LARGEST_NUMBER, Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, RAW, Frame, FrameFormat, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.sniff import codec_of
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from bluesky_streamdet.transforms import pixels
from tests.conftest import Recordings
from tests.unit.codecs.buffers import BUFFERS

BY_HAND = Path(__file__).parents[2] / "data/array-1.0-by-hand.yaml"


class TestArray10(DecoderContract):
    codec = CODECS["array-1.0"]
    by_hand = BY_HAND
    multipart = False  # How many parts there are is said nowhere.
    buffers = BUFFERS


class TestGigafrost(DecoderContract):
    codec = CODECS["gigafrost"]
    by_hand = BY_HAND
    series = "0-0"
    multipart = False
    mutations = 5_000  # The decoder is the same.


IMAGE = b'{"htype":"array-1.0","frame":0,"shape":[4,2],"type":"uint8"%s}'


def header(**changes: Any) -> bytes:
    said = {"htype": "array-1.0", "frame": 0, "shape": [4, 2], "type": "uint8"} | changes
    return json.dumps({name: value for name, value in said.items() if value != "missing"}).encode()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([header(), b"1234567"], "payload too short"),
        ([header(), b"123456789"], "payload too long"),
        ([header(), b"12345678", b"1234567"], "payload too short"),
        ([header()], "frame without data"),
        ([header(), b"", b""], "frame without data"),
        ([header(shape=[4, 0]), b"1"], "impossible shape"),
        ([header(shape=[1, 1, 4, 2]), b"12345678", b"12345678"], "impossible shape"),
        ([header(shape=[10**9, 10**9]), b"1"], "shape too large"),
        ([header(shape=[1 << 29]), b"1", b"2", b"3"], "shape too large"),
        ([header(shape="missing"), b"1"], "header without what it needs"),
        ([header(shape=[4, True]), b"1"], "header without what it needs"),
        ([header(type="missing"), b"1"], "header without what it needs"),
        ([header(type="complex64"), b"1"], "unknown pixel type"),
        ([header(frame="missing"), b"12345678"], "header without what it needs"),
        ([header(frame=1.0), b"12345678"], "header without what it needs"),
        ([header(frame=True), b"12345678"], "header without what it needs"),
        ([header(frame=-1), b"12345678"], "impossible frame number"),
        ([header(frame=LARGEST_NUMBER), b"12345678"], "impossible frame number"),
        ([header(endianess="middle"), b"12345678"], "unknown byte order"),
        ([header(endianness=1), b"12345678"], "unknown byte order"),
        ([header(encoding="zlib9"), b"12345678"], "unknown compression"),
        ([header(encoding=3), b"12345678"], "header without what it needs"),
        ([header(encoding="bslz4"), b"12345678"], "compressed blob too short"),
        ([header(encoding="bslz4", endianess="big", type="uint16"), b"1"], "compressed in big-endian order"),
        ([header(htype="chunk-1.0", cmpr="s-lz4"), b"12345678"], "unknown compression"),
        ([header(htype="pilatus-1.0"), b"12345678"], "header of another kind"),
        ([header(htype=[]), b"12345678"], "header of another kind"),
        ([header(htype=[["array-1.0"]]), b"12345678"], "header of another kind"),
        ([header(htype="missing"), b"12345678"], "header of another kind"),
        ([b'{"htype":"dseries_end-1.0"}', b"1"], "wrong number of parts"),
        ([b"[1]", b"1"], "header without what it needs"),
        ([b"image"], "header is no JSON"),
        ([], "empty message"),
    ],
)
def test_each_fault_has_its_reason(parts: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        array10.Decoder().decode(parts, 0)
    assert caught.value.reason == reason


def one(parts: Message, decoder: array10.Decoder | None = None) -> Frame:
    (frame,) = (decoder or array10.Decoder()).decode(parts, 7)
    assert isinstance(frame, Frame)
    return frame


def test_a_stream_may_change_what_it_says_of_its_frames() -> None:
    decoder = array10.Decoder()
    for parts, values in [
        ([header(type="uint16", shape=[2]), b"\1\0\2\0"], [1, 2]),
        ([header(type="uint16", shape=[2], endianess="big"), b"\1\0\2\0"], [256, 512]),
        ([header(type="uint16", shape=[2]), b"\1\0\2\0"], [1, 2]),
        ([header(type="uint8", shape=[2]), b"\1\2"], [1, 2]),
        ([header(type="uint8", shape=[2]), b"\1\2", b"\3\4"], [[1, 2], [3, 4]]),
    ]:
        assert pixels.decode(one(parts, decoder)).tolist() == values


def test_particulars_come_from_the_camera_and_from_who_hands_its_frames_on() -> None:
    own = {"a": 1, "b": 2.5, "c": True, "d": "text", "e": [1], "f": None}
    kept = {"a": 1, "b": 2.5, "c": True, "d": "text", "e": [1]}
    assert one([header(image_attributes=own), b"12345678"]).detail == kept
    assert one([header(image_attributes=[1], x=4, y="z"), b"12345678"]).detail == {"x": 4, "y": "z"}


def test_what_the_format_itself_says_is_handed_on_as_it_was_read() -> None:
    decoder = array10.Decoder()
    ways = [
        {"tag": "a", "source": "pco", "htype": ["array-1.0"]},
        {"tag": "b"},
        {"tag": "b", "endianess": "big"},
        {},
        {},
    ]
    frames = [one([header(more=1, **way), b"12345678"], decoder) for way in ways]
    said = [json.loads(header(**way)) for way in ways]
    assert [frame.said for frame in frames] == [
        {key: value for key, value in one.items() if key not in ("frame", "more")} for one in said
    ]
    assert frames[-1].said is frames[-2].said, "which costs nothing where nobody wants it"


def test_the_camera_knows_better_than_who_hands_its_frames_on() -> None:
    for said in ({"status": 1, "image_attributes": {"status": 2}}, {"image_attributes": {"status": 2}, "status": 1}):
        assert one([header(**said), b"12345678"]).detail == {"status": 2}


def test_so_many_particulars_are_kept_and_no_more() -> None:
    decoder = array10.Decoder()
    for batch in range(20):
        own = {f"n{batch}_{index}": index for index in range(100)}
        detail = one([header(image_attributes=own), b"12345678"], decoder).detail
        assert detail is not None and len(detail) == details.MOST_DETAILS
    assert len(decoder._details._names) <= details.MOST_NAMES


@pytest.mark.parametrize("own", [{}, {"scan_index": 1}, {"scan_index": 1, "scan_datetime": "now"}, {"scan_index": 1.5}])
def test_a_scan_that_is_not_named_is_none(own: dict[str, Any]) -> None:
    assert one([header(image_attributes=own), b"12345678"]).series is None


def test_our_own_way_of_telling_formats_apart() -> None:
    assert codec_of([header(), b"12345678"]) == "array-1.0"


def test_the_recording_of_a_real_camera(test_data: Recordings) -> None:
    folder = test_data / "pco/pco-50frames"
    decoder = array10.Decoder()
    for index in range(50):
        parts: Message = [(folder / f"{index:06}_00{part}.raw").read_bytes() for part in (0, 1)]
        frame = one(parts, decoder)
        assert (frame.number, frame.format.shape, frame.detail) == (375 + index, (64, 250), None)
        assert np.array_equal(pixels.decode(frame), np.frombuffer(parts[1], "<u2").reshape(64, 250))


# What our encoder sends, to a reader that was written from the description of the format alone.


def read_by_the_book(parts: Message) -> tuple[dict[str, Any], NDArray[Any]]:
    """Header and pixels of a message of two parts, raw, as std_daq and mflow read them."""
    said, payload = parts
    header = json.loads(bytes(said))
    assert header["htype"] in ("array-1.0", ["array-1.0"])
    assert header.get("encoding", "") == ""
    assert header.get("endianess", "little") == "little"
    kind = np.dtype(header["type"]).newbyteorder("<")
    return header, np.frombuffer(payload, kind).reshape(header["shape"])


@pytest.mark.parametrize("encoder", [array10.Encoder, array10.GigafrostEncoder])
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<i4", "<f2", "<f8"])
def test_a_reader_by_the_book_understands_it(encoder: type[array10.Encoder], dtype: str) -> None:
    image = np.arange(12).reshape(3, 4).astype(dtype)
    frame = Frame(7, None, None, FrameFormat((3, 4), dtype, RAW, (3, 4)), (image.tobytes(),), 0)
    header, read = read_by_the_book(encoder().frame(frame))
    assert header["frame"] == 7
    # What a PCO's receiver at PSI insists on, in either of its spellings.
    assert {"htype", "source", "endianess"} <= header.keys() and {"tag", "tags"} & header.keys()
    assert np.array_equal(read, image) and read.dtype == image.dtype


def test_raw_modules_go_as_one_picture() -> None:
    images = np.arange(24, dtype="<u2").reshape(2, 3, 4)
    frame = Frame(0, None, None, FrameFormat((2, 3, 4), "<u2", RAW, (1, 3, 4)), tuple(map(bytes, images)), 0)
    assert np.array_equal(read_by_the_book(array10.Encoder().frame(frame))[1], images)


def test_compressed_modules_go_as_they_are() -> None:
    form = FrameFormat((2, 1, 3), "<u2", BSLZ4, (1, 1, 3))
    blob = bytes.fromhex("0000000000000006 00002000 0100 0200 0300")
    frame = Frame(0, None, None, form, (blob, blob), 0)
    after = one(array10.Encoder().frame(frame))
    assert (after.format, after.parts) == (form, frame.parts)


def test_numbers_of_a_frame_travel_on() -> None:
    form = FrameFormat((1,), "|u1", RAW, (1,))
    for detail in ({"scan_index": 3, "temperature": 1.5}, {"image_is_complete": False}, None):
        frame = Frame(0, None, None, form, (b"1",), 0, detail)
        assert one(array10.Encoder().frame(frame)).detail == detail


def test_a_simulated_gigafrost_says_what_a_real_one_does() -> None:
    encoder = array10.GigafrostEncoder()
    start = SeriesStart("4", metadata={"data_collection_date": "2021-09-08T07:55:55+00:00"})
    assert (encoder.start(start), encoder.end(SeriesEnd())) == ([], [])
    detail = {"start_time": 2_000_000, "stop_time": 3_000_000, "real_time": 1_000_000}
    said, _ = read_by_the_book(
        encoder.frame(Frame(3, None, None, FrameFormat((1,), "|u1", RAW, (1,)), (b"1",), 0, detail))
    )
    assert said["image_attributes"] == {
        "scan_index": 4,
        "scan_datetime": 1631087755,
        "trigger_signal": 0,
        "image_number": 3,
        "image_exposure_time": 10_000,
        "enable_signal": 0,
        "image_sync_time": 0,
        "time_stamp": 20_000,
        "image_is_complete": True,
    }
    encoder.start(SeriesStart("x", metadata={"data_collection_date": "yesterday"}))
    assert encoder._scan == {"scan_index": 0, "scan_datetime": 0}
