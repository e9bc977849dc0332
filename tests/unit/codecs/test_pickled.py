"""Pickles are read as data: arrays come out as Python would make them, and nothing in a pickle is carried out."""

from __future__ import annotations

import pickle
import time
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bluesky_streamdet.codecs.pickled import LARGEST_PICKLE, ArrayReader, ArrayWriter, arrays_in
from bluesky_streamdet.core.errors import MalformedMessage

ARRAYS = [
    np.arange(4) / 3,
    np.arange(4, dtype="<u4"),
    np.arange(8, dtype="<u4").reshape(2, 4),
    np.array([6, -7], "<i4"),
    np.array(2.5),
    np.arange(3, dtype="u1"),
    np.array([True, False]).view("i1"),
]


def values(data: bytes) -> list[NDArray[Any]]:
    return [np.frombuffer(data[one.start : one.end], one.dtype).reshape(one.shape) for one in arrays_in(data)]


def same(one: list[NDArray[Any]], other: list[NDArray[Any]]) -> None:
    for left, right in zip(one, other, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_that_python_pickled(protocol: int) -> None:
    same(values(pickle.dumps(ARRAYS, protocol)), ARRAYS)
    assert values(pickle.dumps([], protocol)) == []


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_that_an_older_numpy_pickled(protocol: int) -> None:
    """NumPy 1 calls its module by another name; a text of protocol 4 has its length before it."""
    ours, theirs = b"numpy._core.multiarray", b"numpy.core.multiarray"
    data = pickle.dumps(ARRAYS, protocol).replace(ours, theirs)
    data = data.replace(b"\x8c" + bytes([len(ours)]) + theirs, b"\x8c" + bytes([len(theirs)]) + theirs)
    if protocol == 4:
        size = int.from_bytes(data[3:11], "little") - 1
        data = data[:3] + size.to_bytes(8, "little") + data[11:]
    assert theirs in data
    same(values(data), ARRAYS)


def test_python_reads_what_we_write() -> None:
    writer = ArrayWriter([(one.dtype.str, one.shape) for one in ARRAYS])
    for _ in range(2):
        data = writer.write([one.tobytes() for one in ARRAYS])
        same(pickle.loads(data), ARRAYS)
        same(values(data), ARRAYS)
    assert pickle.loads(ArrayWriter([]).write([])) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["<f8", "<u4", "<i4", "|u1"]), st.lists(st.integers(1, 5), max_size=3)), max_size=9
    ),
    st.integers(0, 1 << 32),
)
def test_any_arrays(kinds: list[tuple[str, list[int]]], seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = [random.integers(0, 100, shape).astype(kind) for kind, shape in kinds]
    data = ArrayWriter([(one.dtype.str, one.shape) for one in arrays]).write([one.tobytes() for one in arrays])
    same(values(data), arrays)
    same(pickle.loads(data), arrays)
    same(values(pickle.dumps(arrays, 4)), arrays)


def test_a_reader_of_a_stream_sees_each_change() -> None:
    reader = ArrayReader()
    random = np.random.default_rng(1)
    places: set[int] = set()
    for n in range(20):
        shape = (2, 4) if n < 15 else (4, 2)
        arrays = [random.random(4), random.integers(0, 1 << 30, shape)]
        found, data = reader.read(memoryview(pickle.dumps(arrays, 4)))
        same([np.frombuffer(data[one.start : one.end], one.dtype).reshape(one.shape) for one in found], arrays)
        places.add(id(found))
    assert len(places) == 2, "what is alike is learned once"


CARRIED_OUT: list[str] = []


class Runs:
    """Unpickled, it calls something."""

    def __reduce__(self) -> Any:
        return CARRIED_OUT.append, ("a call",)


def nested(depth: int) -> bytes:
    """A tuple of the same tuple twice, and so on: a few bytes each, 2 to the power of `depth` all together."""
    return b"\x80\x04)\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(depth)) + b"."


HOSTILE: list[tuple[str, bytes]] = [
    ("a call", pickle.dumps([Runs()])),
    ("a call, protocol 0", pickle.dumps([Runs()], 0)),
    ("a name beside the known ones", b"\x80\x03]cnumpy\nload\na."),
    ("a name of the interpreter", b"\x80\x03]c__builtin__\neval\nX\x01\0\0\x001\x85Ra."),
    ("a name inside of another", b"\x80\x04]\x8c\x05numpy\x8c\x0fndarray.tofile\x93a."),
    ("a name made of something else", b"\x80\x04]))\x93a."),
    ("an array of objects", pickle.dumps([np.array([1, "x", None], object)])),
    ("an array of records", pickle.dumps([np.zeros(2, [("a", "u4")])])),
    ("big-endian numbers", pickle.dumps([np.arange(4, dtype=">u4")])),
    ("Fortran order", pickle.dumps([np.asfortranarray(np.arange(6).reshape(2, 3))], 4)),
    ("texts", pickle.dumps([np.array(["abc"])])),
    ("times", pickle.dumps([np.array([0], "M8[ns]")])),
    ("no list", pickle.dumps(np.arange(3), 4)),
    ("a dict", pickle.dumps({"a": np.arange(3)}, 4)),
    ("a list of numbers", pickle.dumps([1, 2, 3], 4)),
    ("a type alone", b"\x80\x03]cnumpy\ndtype\nX\x02\0\0\0u4K\0K\x01\x87Ra."),
    (
        "an array without values",
        b"\x80\x03]cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87Ra.",
    ),
    ("a persistent id", b"\x80\x03]X\x01\0\0\0aQa."),
    ("a class with a state", b"\x80\x03](cos\nsystem\nX\x01\0\0\0a\x85oba."),
    ("an instance", b"(X\x01\0\0\0ai__builtin__\nprint\n."),
    ("an extension", b"\x80\x02]\x82\x01a."),
    ("a buffer out of band", b"\x80\x05]\x97a."),
    ("more than was sent", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f]."),
    ("bytes that were not sent", b"\x80\x04]B\xff\xff\xff\xffa."),
    ("8-byte lengths", b"\x80\x05]\x96\xff\xff\xff\xff\xff\xff\xff\xffa."),
    ("a text that was not sent", b"\x80\x04]X\xff\xff\xff\xffa."),
    ("an empty stack", b"\x80\x03R."),
    ("nothing", b""),
    ("no end", b"\x80\x03]"),
    ("something behind its end", pickle.dumps([], 3) + b"]."),
    ("two results", b"\x80\x03]]."),
    ("a mark that is left", b"\x80\x03(]."),
    ("no mark", b"\x80\x03]]e."),
    ("a list in itself", b"\x80\x03]q\0h\0a."),
    ("an unknown place in the memo", b"\x80\x03]h\x09a."),
    ("a text that is no UTF-8", b"\x80\x03]X\x01\0\0\0\xffa."),
    ("a tuple that grows", nested(40)),
    ("a name that grows", nested(40)[:-1] + b")\x93."),
    ("too large", pickle.dumps([np.zeros(LARGEST_PICKLE, "u1")], 4)),
]


@pytest.mark.parametrize("data", [data for _, data in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_nothing_else_is_read_or_done(data: bytes) -> None:
    start = time.monotonic()
    tracemalloc.start()
    with pytest.raises(MalformedMessage) as caught:
        ArrayReader().read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 400
    assert peak < 2 << 20
    assert time.monotonic() - start < 5
    assert not CARRIED_OUT


@pytest.mark.parametrize("place", [b"r\xff\xff\xff\x7f", b"r\xff\xff\xff\xff"])
def test_a_place_far_out_in_the_memo_costs_nothing(place: bytes) -> None:
    """Python's own unpickler makes room for all places before it, which is 16 GB."""
    tracemalloc.start()
    assert arrays_in(b"\x80\x03]" + place + b".") == ()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        (b"K\x04\x85", b"K\x05\x85"),  # one value more than there are bytes for
        (b"K\x04\x85", b"K\x03\x85"),
        (b"K\x04\x85", b"K\x00\x85"),
        (b"u4", b"u2"),
        (b"u4", b"O4"),
        (b"u4", b"V4"),
        (b"K\x03\x8c", b"K\x04\x8c"),
    ],
)
def test_values_and_their_description_have_to_agree(change: tuple[bytes, bytes]) -> None:
    data = pickle.dumps([np.arange(4, dtype="<u4")], 4)
    assert change[0] in data
    with pytest.raises(MalformedMessage):
        arrays_in(data.replace(*change))


def test_changed_pickles() -> None:
    """A seeded mutator; what still passes is what Python would have made, or nothing."""
    random = Random(3)
    data = pickle.dumps(ARRAYS[:3], 4)
    passed = 0
    for _ in range(20_000):
        changed = bytearray(data)
        for _ in range(random.randint(1, 3)):
            changed[random.randrange(len(changed))] = random.choice([random.randrange(256), *data[:20]])
        if random.random() < 0.2:
            del changed[random.randrange(len(changed)) :]
        try:
            arrays = arrays_in(bytes(changed))
        except MalformedMessage:
            continue
        passed += 1
        assert all(0 <= one.start <= one.end <= len(changed) for one in arrays)
        values(bytes(changed))
    assert passed
