"""CBOR against cbor2, and against what no honest sender sends."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.codecs.cbor import DEEPEST, LONGEST_TEXT, MOST_ITEMS, MOST_SKIPPED, Cut, Reader, Tag, encode
from bluesky_streamdet.core.errors import MalformedMessage

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=300)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=30), inner, max_size=5)
)


def plain(value: Any) -> Any:
    """`value` with bytes for views of them."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, Tag):
        return Tag(value.number, plain(value.value))
    if isinstance(value, list):
        return [plain(one) for one in value]
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


@given(VALUES)
def test_we_read_what_cbor2_writes(value: Any) -> None:
    data = cbor2.dumps(value)
    reader = Reader(data)
    assert plain(reader.item()) == value
    assert reader.at_end
    passing = Reader(data)
    passing.skip()
    assert passing.position == len(data)


@given(VALUES)
def test_cbor2_reads_what_we_write(value: Any) -> None:
    assert cbor2.loads(encode(value)) == value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # RFC 8949, appendix A.
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616),
        ("3903e7", -1000),
        ("f93c00", 1.0),
        ("f90001", 5.960464477539063e-8),
        ("f97bff", 65504.0),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("f97c00", math.inf),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("f7", None),
        ("c11a514b67b0", Tag(1, 1363896240)),
        ("d818456449455446", Tag(24, b"dIETF")),
        ("4401020304", b"\1\2\3\4"),
        ("62c3bc", "ü"),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("a201020304", {"1": 2, "3": 4}),
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9fff", []),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
    ],
)
def test_items_of_the_standard(data: str, value: Any) -> None:
    whole = bytes.fromhex(data)
    assert plain(Reader(whole).item()) == value
    reader = Reader(whole)
    reader.skip()
    assert reader.at_end
    for length in range(len(whole)):
        for read in (Reader.item, Reader.skip):
            with pytest.raises(Cut) as caught:
                read(Reader(whole[:length]))
            assert length < caught.value.needed <= len(whole)


def test_bytes_are_views_and_their_places_are_noted() -> None:
    data = encode({"a": b"first", "b": [Tag(64, b"second")], "c": 3})
    reader = Reader(data)
    read = reader.item()
    views = [read["a"], read["b"][0].value]
    assert all(view.obj is data for view in views)
    assert [data[at + 1 :][: len(view)] for at, view in zip(reader.byte_strings, views, strict=True)] == views


def test_the_keys_of_a_map_one_by_one() -> None:
    reader = Reader(encode(Tag(55799, {"one": 1, "two": [1, 2, 3], "three": {"x": b"y"}})))
    seen = {}
    for key in reader.entries():
        if key == "two":
            reader.skip()
        else:
            seen[key] = plain(reader.item())
    assert seen == {"one": 1, "three": {"x": b"y"}}
    assert reader.at_end
    with pytest.raises(MalformedMessage, match="no CBOR map"):
        next(Reader(encode([1])).entries())


DEEP = DEEPEST + 1
HOSTILE = {
    "nested arrays": (b"\x81" * 100_000, "CBOR nested too deep"),
    "nested maps": (b"\xa1\x60" * 100_000, "CBOR nested too deep"),
    "nested arrays without length": (b"\x9f" * 100_000, "CBOR nested too deep"),
    "just too deep": (b"\x81" * DEEP + b"\0", "CBOR nested too deep"),
    "a terabyte": (bytes.fromhex("5b 000000ffffffffff"), "CBOR is cut"),
    "a text of a terabyte": (bytes.fromhex("7b 000000ffffffffff"), ""),
    "a billion items": (bytes.fromhex("9a 3fffffff 00"), "CBOR is cut"),
    "a huge map": (bytes.fromhex("bb ffffffffffffffff 00"), "CBOR is cut"),
    "many items": (b"\x9a" + (MOST_SKIPPED + 1).to_bytes(4, "big") + bytes(MOST_SKIPPED + 1), "too many CBOR items"),
    "many items without end": (b"\x9f" + bytes(MOST_SKIPPED + 1) + b"\xff", "too many CBOR items"),
    "many empty arrays": (b"\x9f" + b"\x80" * (MOST_SKIPPED + 1) + b"\xff", "too many CBOR items"),
    "a break of nothing": (b"\xff", "no CBOR"),
    "a break in an array of two": (bytes.fromhex("82 00 ff"), "no CBOR"),
    "a reserved length": (b"\x1c", "no CBOR"),
    "a number of indefinite length": (b"\x1f", "no CBOR"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("read", [Reader.item, Reader.skip])
def test_hostile_items_are_refused(name: str, read: Any) -> None:
    data, reason = HOSTILE[name]
    tracemalloc.start()
    begun = time.thread_time()
    with pytest.raises(MalformedMessage) as caught:
        read(Reader(data))
    took, peak = time.thread_time() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason.startswith(reason)
    assert peak < 50 * MOST_ITEMS
    assert took < 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1" * 100_000 + b"\0", "CBOR nested too deep"),
        (b"\x9a" + (MOST_ITEMS + 1).to_bytes(4, "big") + bytes(MOST_ITEMS + 1), "too many CBOR items"),
        (b"\xbf" + b"\x61a\0" * MOST_ITEMS + b"\xff", "too many CBOR items"),
        (b"\x7a" + (LONGEST_TEXT + 1).to_bytes(4, "big") + bytes(LONGEST_TEXT + 1), "CBOR text too long"),
        (b"\x7f" + (b"\x7a\x00\x90\x00\x00" + bytes(9 << 20)) * 2 + b"\xff", "CBOR text too long"),
        (b"\x62\xff\xff", "CBOR text is no UTF-8"),
        (b"\xf8\x20", "no CBOR"),
        (b"\xe0", "no CBOR"),
        (bytes.fromhex("5f 61 61 ff"), "no CBOR"),
        (bytes.fromhex("5f 5f 41 00 ff ff"), "no CBOR"),
    ],
)
def test_what_is_not_built(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        Reader(data).item()
    assert caught.value.reason == reason


def test_tags_are_passed_over_by_the_million_and_no_more() -> None:
    reader = Reader(b"\xc1" * 1000 + b"\0")
    reader.skip()
    assert reader.at_end
    with pytest.raises(MalformedMessage, match="too many CBOR items"):
        Reader(b"\xc1" * (MOST_SKIPPED + 1) + b"\0").skip()


@given(st.binary(max_size=300))
def test_noise(noise: bytes) -> None:
    for read in (Reader.item, Reader.skip):
        reader = Reader(noise)
        try:
            read(reader)
        except MalformedMessage:
            continue
        assert 0 < reader.position <= len(noise)


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), (1 << 64, OverflowError), ({1}, TypeError)])
def test_what_has_no_place_in_cbor(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(value)
