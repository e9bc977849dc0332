"""Messages that are like one before: only what may differ may differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.codecs.cbor import Reader, encode
from bluesky_streamdet.codecs.template import Template


def message(number: int, content: bytes, name: str = "x") -> bytes:
    return encode({"n": number, name: [content, 1.5], "m": number})


def marks(data: bytes) -> list[int]:
    """Where both numbers and the byte string begin."""
    reader = Reader(data)
    places = []
    for key in reader.entries():
        if key in "nm":
            places.append(reader.position)
        reader.item()
    return sorted([*places, *reader.byte_strings])


FIRST = message(7, b"first")
LIKE = Template(memoryview(FIRST), marks(FIRST))

NUMBERS = st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32])


@given(NUMBERS, st.binary(max_size=400))
def test_numbers_and_contents_may_differ(number: int, content: bytes) -> None:
    data = message(number, content)
    values = LIKE.match(memoryview(data))
    assert values == [number, content, number]
    assert isinstance(values[1], memoryview) and values[1].obj is data


@given(NUMBERS, st.binary(max_size=40), st.data())
def test_nothing_else_may_differ(number: int, content: bytes, data: st.DataObject) -> None:
    whole = message(number, content)
    assert LIKE.match(memoryview(whole + b"\0")) is None
    for length in range(len(whole)):
        assert LIKE.match(memoryview(whole[:length])) is None
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    values = LIKE.match(memoryview(changed))
    if values is not None:
        reader = Reader(changed)
        read = reader.item()
        assert reader.at_end
        assert values == [read["n"], read["x"][0], read["m"]]


def test_a_message_of_another_kind() -> None:
    assert LIKE.match(memoryview(message(7, b"first", "y"))) is None
    assert LIKE.match(memoryview(b"")) is None
    assert LIKE.match(memoryview(encode({"n": -1, "x": [b"", 1.5], "m": 7}))) is None
    assert LIKE.match(memoryview(encode({"n": 7, "x": ["first", 1.5], "m": 7}))) is None


def test_a_length_that_lies_is_no_match() -> None:
    data = FIRST.replace(b"\x45first", b"\x5b" + b"\xff" * 8 + b"first")
    assert data != FIRST
    assert LIKE.match(memoryview(data)) is None


def test_what_cannot_differ() -> None:
    data = encode({"n": "text"})
    with pytest.raises(ValueError, match="major type 3 at 3"):
        Template(memoryview(data), [3])
