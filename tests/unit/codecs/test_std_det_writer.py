"""What std-det-writer gets: a header that it has room for, images from 0, and an end."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from typing_extensions import Buffer

from bluesky_streamdet.codecs import array10
from bluesky_streamdet.codecs.std_det_writer import LARGEST_HEADER, Encoder, Run
from bluesky_streamdet.core.events import BSLZ4, Frame, FrameFormat
from tests.unit.streaming.frames import frame, picture

RUN = Run("/data/one.h5", 7, 3, "GF2", 18600)


def header(message: list[Buffer]) -> dict[str, Any]:
    return msgspec.json.decode(bytes(message[0]))


def test_a_header_as_the_writer_reads_it() -> None:
    encoder = Encoder(RUN)
    message = encoder.frame(frame(7766800))
    assert header(message) == {
        "htype": ["array-1.0"],
        "shape": [4, 6],
        "type": "uint16",
        "frame": 0,
        "endianess": "little",
        "source": "gigafrost",
        "i_image": 0,
        "output_file": "/data/one.h5",
        "run_id": 7,
        "n_images": 3,
        "detector_name": "GF2",
        "user_id": 18600,
        "status": 0,
        "image_attributes": header(message)["image_attributes"],
        "original_frame": 7766800,
    }
    attributes = header(message)["image_attributes"]
    assert attributes["image_number"] == 0
    assert {"scan_index", "time_stamp", "image_is_complete"} <= attributes.keys()
    assert bytes(message[1]) == picture(7766800, (4, 6)).tobytes()


def test_our_decoder_reads_it() -> None:
    (got,) = array10.Decoder().decode(Encoder(RUN).frame(frame(5)), 0)
    assert isinstance(got, Frame)
    assert got.number == 0
    assert got.detail is not None
    assert (got.detail["original_frame"], got.detail["n_images"]) == (5, 3)


def test_only_what_was_counted_moves_on() -> None:
    encoder = Encoder(RUN)
    images = []
    for number in (10, 11, 12, 13, 14):
        message = encoder.frame(frame(number))
        images.append((header(message)["i_image"], header(message)["original_frame"]) if message else None)
        if number != 11:
            encoder.count()
    assert images == [(0, 10), (1, 11), (1, 12), (2, 13), None]
    assert encoder.complete and encoder.over


def test_the_end_is_one_message_more_with_the_last_pixels() -> None:
    encoder = Encoder(RUN)
    last = encoder.frame(frame(0))
    encoder.count()
    closing = encoder.close()
    assert (header(closing)["i_image"], header(closing)["frame"]) == (3, 3)
    assert "original_frame" not in header(closing)
    assert closing[1] == last[1]
    assert encoder.close() == []
    assert encoder.frame(frame(1)) == []


def test_without_an_image_there_is_no_file_to_close() -> None:
    assert Encoder(RUN).close() == []


def test_without_a_run_nothing_is_sent() -> None:
    encoder = Encoder()
    assert encoder.over and not encoder.complete
    assert encoder.frame(frame(0)) == encoder.close() == []


@pytest.mark.parametrize("way", [{"encoding": BSLZ4}, {"parts": 2}, {"encoding": BSLZ4, "parts": 4}])
def test_the_writer_gets_raw_pixels(way: dict[str, Any]) -> None:
    _, pixels = Encoder(RUN).frame(frame(3, **way))
    np.testing.assert_array_equal(np.frombuffer(pixels, "<u2").reshape(4, 6), picture(3, (4, 6)))


def test_pixels_that_can_not_be_decoded_have_no_message() -> None:
    broken = msgspec.structs.replace(frame(0, encoding=BSLZ4), parts=(b"\0" * 11 + b"\x30" + b"\xff" * 40,))
    assert Encoder(RUN).frame(broken) == []


def test_a_header_is_never_longer_than_what_the_writer_reads() -> None:
    longest = Run("/gpfs/" + "a" * 134, (1 << 63) - 1, (1 << 53) - 1, "d" * 40, (1 << 31) - 1)
    form = FrameFormat((1 << 13, 1 << 14), "<f8", "none", (1 << 13, 1 << 14))
    detail = {"image_exposure_time": 1 << 50, "time_stamp": 1 << 60, "image_sync_time": 1 << 40}
    message = Encoder(longest).frame(Frame((1 << 53) - 1, None, None, form, (b"",), 0, detail))
    assert len(bytes(message[0])) <= LARGEST_HEADER
    assert header(message)["image_attributes"] == {"image_number": 0}
    assert header(message)["output_file"] == longest.output_file
