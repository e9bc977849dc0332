"""Documents as bytes and back: what survives, what becomes plain, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.streaming import documentcode
from bluesky_streamdet.streaming.documentcode import ARRAY, KINDS, decode, encode

START: dict[str, Any] = {"uid": "run", "time": 1.5}


def back(**more: Any) -> dict[str, Any]:
    return decode("start", encode({**START, **more}))


def test_plain_values_survive() -> None:
    more = {"sample": "LaB6", "scan_id": 3, "shape": [2, 3], "none": None, "yes": True, "deep": {"a": [{"b": 1.5}]}}
    assert back(**more) == {**START, **more}


@pytest.mark.parametrize("dtype", ["?", "<u2", ">i4", "<f8", "<c16", "<U3", "|u1"])
def test_arrays_survive(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    came = back(array=array)["array"]
    assert np.array_equal(came, array)
    assert came.dtype == array.dtype.newbyteorder("<")
    came[0] = 0


def test_other_arrays() -> None:
    turned = back(empty=np.zeros((0, 3)), view=np.arange(6).reshape(2, 3).T, objects=np.array([None, "x"], object))
    assert turned["empty"].shape == (0, 3)
    assert turned["view"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert turned["objects"] == [None, "x"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(1.5), 1.5),
        (np.int16(-3), -3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (Path("/data"), "/data"),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (1 + 2j, [1.0, 2.0]),
        (object, "<class 'object'>"),
    ],
)
def test_what_becomes_plain(value: Any, plain: Any) -> None:
    assert back(value=value)["value"] == plain


def deep() -> list[Any]:
    inner: list[Any] = []
    for _ in range(100_000):
        inner = [inner]
    return inner


@pytest.mark.parametrize("value", [2**70, "x" * 100])
def test_what_can_not_be_sent(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentcode, "LARGEST", 100)
    with pytest.raises(MalformedMessage):
        encode({"uid": value})


def test_too_deep() -> None:
    with pytest.raises(MalformedMessage):
        encode({"uid": deep()})
    nested = b"\x91" * 100_000 + b"\x90"
    with pytest.raises(MalformedMessage):
        decode("start", b"\x81\xa1x" + nested)


def extension(*content: Any, code: int = ARRAY) -> bytes:
    array = msgspec.msgpack.Ext(code, msgspec.msgpack.encode(content))
    return msgspec.msgpack.encode({**START, "array": array})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({"uid": "run"}),
        msgspec.msgpack.encode({"uid": 1, "time": 1.5}),
        msgspec.msgpack.encode({1: 2}),
        extension("<f8", [2], b"12345678"),
        extension("<f8", [-1], b""),
        extension("O", [1], b"12345678"),
        extension("|O8", [1], b"12345678"),
        extension("<u4,<u4", [1], b"12345678"),
        extension("(2,2)<u2", [1], b"12345678"),
        extension("<U0", [1], b""),
        extension("<u1", [0, 2**63], b""),
        extension("<u1", [1] * 100, b"1"),
        extension("<u1", 5, b"1"),
        extension("<u1", [1], b"1", code=7),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode("start", data)


def test_kinds_and_sizes_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedMessage, match="no known kind"):
        decode("__import__", encode(START))
    data = encode(START)
    monkeypatch.setattr(documentcode, "LARGEST", len(data) - 1)
    with pytest.raises(MalformedMessage, match="too large"):
        decode("start", data)


@given(some.sampled_from(list(KINDS)), some.binary(max_size=200))
def test_hostile_bytes_raise_nothing_else(name: str, data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(name, data)


@given(some.binary(max_size=60), some.text(max_size=6), some.lists(some.integers(-2, 2**64 - 1), max_size=4))
def test_hostile_arrays_raise_nothing_else(content: bytes, dtype: str, shape: list[int]) -> None:
    with contextlib.suppress(MalformedMessage):
        decode("start", extension(dtype, shape, content))
