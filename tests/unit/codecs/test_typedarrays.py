"""Typed arrays against RFC 8746 as NumPy and cbor2 put it, and compressed ones against HDF5's filters."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import cbor2
import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from bluesky_streamdet.codecs.cbor import Reader, Tag, encode
from bluesky_streamdet.codecs.typedarrays import TYPES, Packed, packed, tagged, unpacked
from bluesky_streamdet.core.errors import MalformedMessage

ALL = 1 << 30


def type_by_rfc(tag: int) -> str:
    """NumPy's name of the elements, by RFC 8746, section 2.1: the tag is 0b010fsell."""
    is_float, signed, little, length = tag >> 4 & 1, tag >> 3 & 1, tag >> 2 & 1, tag & 3
    size = 1 << is_float + length
    kind = "f" if is_float else "i" if signed else "u"
    return f"{'|' if size == 1 else '<' if little else '>'}{kind}{size}"


TAGS_BY_RFC = [tag for tag in range(64, 88) if tag != 76]


def test_every_tag_of_the_rfc_is_known() -> None:
    assert {tag: type_by_rfc(tag) for tag in TAGS_BY_RFC} == TYPES


def by_cbor2(data: bytes) -> Any:
    """Arrays as DECTRIS' own example client reads them: cbor2, and a hook for tags."""

    def hook(*arguments: Any) -> Any:
        tag = next(one for one in arguments if isinstance(one, cbor2.CBORTag))
        if tag.tag in (40, 1040):
            shape, content = tag.value
            return content.reshape(shape, order="F" if tag.tag == 1040 else "C")
        return np.frombuffer(tag.value, type_by_rfc(tag.tag)) if 64 <= tag.tag < 88 else tag

    return cbor2.loads(data, tag_hook=hook)


def ours(data: bytes, most: int = ALL) -> NDArray[Any]:
    return unpacked(packed(Reader(data).item()), most)


DTYPES = st.sampled_from([one for one in map(type_by_rfc, TAGS_BY_RFC) if one[1:] != "f16"]).map(np.dtype)
ARRAYS = st_numpy.arrays(DTYPES, st_numpy.array_shapes(max_dims=4, min_side=0, max_side=6))


@given(ARRAYS)
def test_cbor2_reads_what_we_write(array: NDArray[Any]) -> None:
    read = by_cbor2(encode(tagged(array)))
    assert read.dtype.str == array.dtype.str
    np.testing.assert_array_equal(read, array)


@given(ARRAYS, st.booleans())
def test_we_read_what_cbor2_writes(array: NDArray[Any], column_major: bool) -> None:
    tag = next(tag for tag in TAGS_BY_RFC if type_by_rfc(tag) == array.dtype.str)
    content = cbor2.CBORTag(tag, array.tobytes("F" if column_major else "C"))
    data = cbor2.dumps(cbor2.CBORTag(1040 if column_major else 40, [list(array.shape), content]))
    read = ours(data)
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(read, by_cbor2(data))
    assert read.dtype == array.dtype.newbyteorder("<")
    assert read.flags.c_contiguous and read.flags.writeable


def binary128(value: float) -> bytes:
    """A number as big-endian binary128, by arithmetic on whole numbers."""
    sign = 1 if math.copysign(1, value) < 0 else 0
    if math.isinf(value) or math.isnan(value):
        number = 0x7FFF << 112 | (1 << 111 if math.isnan(value) else 0)
    elif value == 0:
        number = 0
    else:
        fraction, exponent = math.frexp(abs(value))
        number = exponent - 1 + 16383 << 112 | int((Fraction(fraction) * 2 - 1) * (1 << 112))
    return (sign << 127 | number).to_bytes(16, "big")


@given(st.lists(st.floats(), max_size=5), st.sampled_from([">", "<"]))
def test_numbers_of_sixteen_bytes(values: list[float], order: str) -> None:
    content = b"".join(binary128(value)[:: 1 if order == ">" else -1] for value in values)
    read = ours(cbor2.dumps(cbor2.CBORTag(83 if order == ">" else 87, content)))
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(np.signbit(read), [math.copysign(1, value) < 0 for value in values])


@pytest.mark.parametrize(
    ("hexadecimal", "value"),
    [
        ("3fff0000000000000000000000000000", 1.0),
        ("c0000000000000000000000000000000", -2.0),
        ("3ffd5555555555555555555555555555", 1 / 3),
        ("7ffeffffffffffffffffffffffffffff", math.inf),  # the largest there is far beyond ours
        ("00000000000000000000000000000001", 0.0),
    ],
)
def test_numbers_of_sixteen_bytes_by_hand(hexadecimal: str, value: float) -> None:
    assert ours(encode(Tag(83, bytes.fromhex(hexadecimal)))).tolist() == [value]


def compressed_by_hdf5(array: NDArray[Any], options: Any) -> bytes:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", array.shape, array.dtype, chunks=array.shape, **options)
        data[()] = array
        data.flush()
        return data.id.read_direct_chunk((0,) * array.ndim)[1]


@pytest.mark.parametrize("tag", [64, 65, 69, 70, 71, 77, 81, 85, 86])
@pytest.mark.parametrize("algorithm", ["bslz4", "lz4"])
@pytest.mark.parametrize("axes", [True, False])
@pytest.mark.parametrize("column_major", [True, False])
def test_compressed_arrays(tag: int, algorithm: str, axes: bool, column_major: bool) -> None:
    pytest.importorskip("bitshuffle")
    array = np.random.default_rng(1).poisson(0.5, (33, 45)).astype(type_by_rfc(tag))
    stored = np.ascontiguousarray(array.T) if column_major else array
    options = hdf5plugin.Bitshuffle(cname="lz4") if algorithm == "bslz4" else hdf5plugin.LZ4()
    blob = compressed_by_hdf5(stored, options)
    content = Tag(tag, Tag(56500, [algorithm, array.itemsize if algorithm == "bslz4" else 0, blob]))
    whole = Tag(1040 if column_major else 40, [[33, 45], content]) if axes else content
    read = ours(encode(whole))
    np.testing.assert_array_equal(read, array if axes else stored.reshape(-1))


FLAT = Tag(69, b"\1\0\2\0")
BLOB = struct.pack(">QI", 4, 8192) + b"\1\0\2\0"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\1\0", "no typed array"),
        (None, "no typed array"),
        (Tag(76, b"\1"), "unknown kind of array"),
        (Tag(41, [1, 2]), "unknown kind of array"),
        (Tag(69, [1, 2]), "typed array without bytes"),
        (Tag(69, Tag(2, b"\1")), "typed array without bytes"),
        (Tag(69, b"\1\0\2"), "typed array of broken elements"),
        (Tag(69, Tag(56500, ["bslz4", 2])), "typed array without bytes"),
        (Tag(69, Tag(56500, ["zstd", 2, BLOB])), "unknown compression"),
        (Tag(69, Tag(56500, ["cbf", 2, BLOB])), "unknown compression"),
        (Tag(69, Tag(56500, ["bslz4", 4, BLOB])), "compressed elements of another size"),
        (Tag(69, Tag(56500, ["bslz4", "2", BLOB])), "compressed elements of another size"),
        (Tag(69, Tag(56500, ["bslz4", 2, BLOB[:11]])), "compressed blob too short"),
        (Tag(70, Tag(56500, ["lz4", 0, struct.pack(">QI", 5, 5)])), "typed array of broken elements"),
        (Tag(40, [[2], b"\1\0\2\0"]), "impossible array of several axes"),
        (Tag(40, [[2, -1], FLAT]), "impossible array of several axes"),
        (Tag(40, [[2, 1.0], FLAT]), "impossible array of several axes"),
        (Tag(40, [[2, 1 << 60], FLAT]), "impossible array of several axes"),
        (Tag(40, [[1] * 5, FLAT]), "impossible array of several axes"),
        (Tag(40, [2, FLAT]), "impossible array of several axes"),
        (Tag(40, [[2], FLAT, 0]), "impossible array of several axes"),
        (Tag(40, [[3], FLAT]), "array of another size"),
        (Tag(40, [[1], FLAT]), "array of another size"),
        (Tag(40, [[1 << 50, 1 << 50], FLAT]), "array too large"),
        (Tag(40, [[9], Tag(69, Tag(56500, ["lz4", 0, BLOB]))]), "compressed blob of another size"),
        (Tag(69, Tag(56500, ["lz4", 0, struct.pack(">QI", 1 << 40, 8192)])), "array too large"),
    ],
)
def test_arrays_that_contradict_themselves(value: Any, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        ours(encode(value))
    assert caught.value.reason == reason


def test_no_more_is_unpacked_than_is_wanted() -> None:
    data = encode(tagged(np.zeros((10, 10), "<u4")))
    assert ours(data, 400).shape == (10, 10)
    with pytest.raises(MalformedMessage, match="is 400 bytes, the limit 399"):
        ours(data, 399)


def test_what_has_no_typed_array() -> None:
    for array in (np.array(["text"]), np.array([1 + 2j]), np.array([True])):
        with pytest.raises(TypeError):
            tagged(array)
    longer = np.array([1.5, 2.5], np.longdouble)
    np.testing.assert_array_equal(by_cbor2(encode(tagged(longer))), longer)


def test_the_shape_is_that_of_the_rows_whatever_the_order_in_memory() -> None:
    assert packed(Tag(1040, [[2, 1], Tag(69, memoryview(b"\1\0\2\0"))])) == Packed(
        (2, 1), "<u2", "none", b"\1\0\2\0", column_major=True
    )
