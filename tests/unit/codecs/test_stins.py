from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs import stins
from bluesky_streamdet.codecs.codec import LARGEST_NUMBER, Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import Frame, SeriesStart
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from tests.unit.codecs.buffers import BUFFERS


class TestStins(DecoderContract):
    codec = CODECS["stins"]
    by_hand = Path(__file__).parents[2] / "data/stins-by-hand.yaml"
    buffers = BUFFERS


class TestStinsModule(DecoderContract):
    codec = CODECS["stins-module"]
    by_hand = Path(__file__).parents[2] / "data/stins-module-by-hand.yaml"
    multipart = False  # A module has one part of each frame.
    buffers = BUFFERS


IMAGE = b'{"htype":"image","msg_number":1,"frame":0,"shape":[4,2],"type":"uint8","compression":"none"%s}'


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([IMAGE % b"", b"1234567"], "payload too short"),
        ([IMAGE % b"", b"123456789"], "payload too long"),
        ([IMAGE % b"", b"1234", b"5678"], "wrong number of parts"),
        ([IMAGE % b',"chunks":[2,2]', b"12345678"], "wrong number of parts"),
        ([IMAGE % b',"chunks":[3,2]', b"123456", b"78"], "impossible chunks"),
        ([IMAGE % b',"chunks":[4,1]', b"1234", b"5678"], "impossible chunks"),
        ([IMAGE % b',"chunks":[0,2]', b"12345678"], "impossible chunks"),
        ([IMAGE % b',"shape":[4,0]', b""], "impossible shape"),
        ([IMAGE % b',"shape":[]', b"1"], "impossible shape"),
        ([IMAGE % b',"shape":[1,1,1,2,4]', b"12345678"], "impossible shape"),
        ([IMAGE % b',"shape":[1000000000,1000000000]', b""], "shape too large"),
        ([IMAGE % b',"type":"complex64"', b"12345678"], "unknown pixel type"),
        ([IMAGE % b',"compression":"gzip"', b"12345678"], "unknown compression"),
        ([IMAGE % b',"compression":"cbf"', b"12345678"], "CBF without its marker"),
        ([IMAGE % b',"compression":"mono12p"', b"12345678"], "mono12p of another type than uint16"),
        ([IMAGE % b',"compression":"bslz4"', b"12345678"], "compressed blob too short"),
        ([IMAGE % b',"frame":-1', b"12345678"], "impossible frame number"),
        ([IMAGE % b',"msg_number":-1', b"12345678"], "impossible msg_number"),
        ([IMAGE % b',"msg_number":"1"', b"12345678"], "header without what it needs"),
        ([b'{"htype":"header","msg_number":1,"filename":"x"}', b"[1]"], "header without what it needs"),
        ([b'{"htype":"series_end","msg_number":1}', b""], "wrong number of parts"),
        ([b"image"], "header is no JSON"),
        ([], "empty message"),
    ],
)
def test_each_fault_has_its_reason(parts: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        stins.Decoder().decode(parts, 0)
    assert caught.value.reason == reason


def test_numbers_that_python_writes_and_json_does_not_know() -> None:
    header = b'{"htype":"header","msg_number":1,"filename":"scan"}'
    (start,) = stins.Decoder().decode([header, b'{"temperature": NaN, "most": [Infinity], "save_raw": false}'], 0)

    assert isinstance(start, SeriesStart)
    assert (start.filename, start.save) == ("scan", False)
    assert math.isnan(start.metadata["temperature"])
    assert start.metadata["most"] == [math.inf]
    (frame,) = stins.Decoder().decode([IMAGE % b',"temperature":NaN', b"12345678"], 0)
    assert isinstance(frame, Frame)


@pytest.mark.parametrize(
    "settings", [b'{"a": NaN', b'{"a": nan}', b"[" * 100_000 + b"NaN", b'{"a": NaN, "b": "\\ud800"}', b'"\xff NaN"']
)
def test_what_only_looks_like_python(settings: bytes) -> None:
    with pytest.raises(MalformedMessage, match="header"):
        stins.Decoder().decode([b'{"htype":"header","msg_number":1}', settings], 0)


@pytest.mark.parametrize("nframes", [b"0", b"-3", b"true", b"null", b'"7"', b"2.5", str(LARGEST_NUMBER).encode()])
def test_an_impossible_number_of_frames_announces_nothing(nframes: bytes) -> None:
    parts = [b'{"htype":"header","msg_number":1,"filename":"x"}', b'{"nframes":%s}' % nframes]
    (start,) = stins.Decoder().decode(parts, 0)
    assert isinstance(start, SeriesStart) and start.frames is None


def test_the_encoder_numbers_its_messages_and_asks_for_no_file() -> None:
    encoder, decoder = stins.Encoder(), stins.Decoder()
    for position in range(3):
        (start,) = decoder.decode(encoder.start(SeriesStart(save=False)), 0)
        assert start == SeriesStart(None, position, "", save=False)


def test_what_else_an_image_says_is_kept_with_its_frame() -> None:
    parts = [IMAGE % b',"exposure_time":0.25,"laser_on":true,"note":"dark","x":[0,260]', b"12345678"]

    (frame,) = stins.Decoder().decode(parts, 0)
    assert isinstance(frame, Frame)
    assert frame.detail == {"exposure_time": 0.25, "laser_on": True, "note": "dark", "x": [0, 260]}
    # It travels on, and can't take the place of what the format itself says.
    again = msgspec.structs.replace(frame, detail={**frame.detail, "frame": 99})
    header = msgspec.json.decode(stins.Encoder().frame(again)[0])
    assert (header["laser_on"], header["exposure_time"], header["frame"]) == (True, 0.25, 0)
