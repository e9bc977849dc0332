"""The checks that all codecs share."""

from __future__ import annotations

import pytest

from bluesky_streamdet.codecs.codec import DTYPES, LARGEST_FRAME, FormatChecker, check_number, check_payload
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, RAW, FrameFormat


def test_a_format_is_checked_once_for_each_way_of_saying_it() -> None:
    check = FormatChecker()
    form = check((4, 6), "uint16", RAW, None)
    assert form == FrameFormat((4, 6), "<u2", RAW, (4, 6))
    assert check((4, 6), "uint16", RAW, None) is form
    assert check((4, 6), "uint16", RAW, (4, 6)) == form
    assert check((4, 6), "uint16", RAW, (2, 6)).parts == 2


def test_a_peer_cannot_fill_the_memory_with_formats() -> None:
    check = FormatChecker()
    for rows in range(1, 1000):
        check((rows, 6), "uint16", RAW, None)
    assert len(check._known) <= 101


@pytest.mark.parametrize(("name", "type_string"), DTYPES.items())
def test_pixels_are_little_endian(name: str, type_string: str) -> None:
    assert FormatChecker()((1,), name, RAW, None).dtype == type_string
    assert type_string[0] in "<|"


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding", "chunk", "reason"),
    [
        ((), "uint8", RAW, None, "impossible shape"),
        ((0, 3), "uint8", RAW, None, "impossible shape"),
        ((-1, -3), "uint8", RAW, None, "impossible shape"),
        ((1,) * 5, "uint8", RAW, None, "impossible shape"),
        ((10**4200,) * 4, "uint8", RAW, None, "impossible shape"),
        ((1,) * 100_000, "uint8", RAW, None, "impossible shape"),
        ((10**9, 10**9), "uint8", RAW, None, "shape too large"),
        ((LARGEST_FRAME // 8 + 1,), "float64", BSLZ4, None, "shape too large"),
        ((2, 3), "object", RAW, None, "unknown pixel type"),
        ((2, 3), "<u2", RAW, None, "unknown pixel type"),
        ((2, 3), "x" * 100_000, RAW, None, "unknown pixel type"),
        ((2, 3), "uint8", "gzip", None, "unknown compression"),
        ((4, 3), "uint8", RAW, (3, 3), "impossible chunks"),
        ((4, 3), "uint8", RAW, (4, 1), "impossible chunks"),
        ((4, 3), "uint8", RAW, (-1, 3), "impossible chunks"),
        ((4, 3), "uint8", RAW, (4,), "impossible chunks"),
        ((4, 3), "uint8", RAW, (1,) * 100_000, "impossible chunks"),
    ],
)
def test_impossible_formats_are_refused_in_few_words(
    shape: tuple[int, ...], dtype: str, encoding: str, chunk: tuple[int, ...] | None, reason: str
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        FormatChecker()(shape, dtype, encoding, chunk)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 400


def test_the_largest_frame_is_allowed() -> None:
    assert FormatChecker()((LARGEST_FRAME,), "uint8", RAW, None).nbytes == LARGEST_FRAME


def test_payload_parts_have_their_length() -> None:
    form = FrameFormat((4, 3), "<u2", RAW, (2, 3))
    check_payload(form, [bytes(12), memoryview(bytes(12))])
    for parts, reason in [
        ([bytes(24)], "wrong number of parts"),
        ([bytes(12), bytes(11)], "payload too short"),
        ([bytes(13), bytes(12)], "payload too long"),
    ]:
        with pytest.raises(MalformedMessage, match=reason):
            check_payload(form, parts)


@pytest.mark.parametrize("number", [-1, 1 << 53, 10**4200])
def test_numbers_stay_in_the_range_that_json_is_exact_in(number: int) -> None:
    assert check_number((1 << 53) - 1, "frame number") == (1 << 53) - 1
    with pytest.raises(MalformedMessage, match="impossible frame number"):
        check_number(number, "frame number")
