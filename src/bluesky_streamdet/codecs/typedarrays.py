"""Arrays in CBOR: the typed arrays of RFC 8746, those of several axes, and DECTRIS' compressed byte strings in them.

    69(h'0100 0200')                               two little-endian uint16
    40([[2, 3], 69(h'...')])                       two rows of three
    1040([[2, 3], 69(h'...')])                     the same, but column by column
    40([[2, 3], 69(56500(["bslz4", 2, h'...']))])  compressed, of elements of two bytes

Sources: RFC 8746; DECTRIS, "CBOR Tag for DECTRIS Compressed Byte Strings", https://github.com/dectris/documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.codecs.cbor import Tag
from bluesky_streamdet.codecs.codec import LARGEST_NUMBER, MOST_DIMENSIONS
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import BSLZ4, LZ4, RAW
from bluesky_streamdet.transforms import bslz4, lz4

ROW_MAJOR, COLUMN_MAJOR = 40, 1040
COMPRESSED = 56500

TYPES = {
    64: "|u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "|u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "|i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 83: ">f16", 84: "<f2", 85: "<f4", 86: "<f8", 87: "<f16",
}  # fmt: skip
"""Element type of each tag. 76 is reserved; 68 means that arithmetic on it saturates; f16 is IEEE's binary128."""
TAGS = {kind: tag for tag, kind in TYPES.items() if tag != 68}

ALGORITHMS = {"bslz4": BSLZ4, "lz4": LZ4}
"""What DECTRIS calls our encodings."""
NAMES = {encoding: name for name, encoding in ALGORITHMS.items()}
_DECODERS: dict[str, Callable[[Buffer, tuple[int, ...], str], NDArray[Any]]] = {BSLZ4: bslz4.decode, LZ4: lz4.decode}


class Packed(NamedTuple):
    """An array as it travelled. dtype: of `TYPES`. shape: slowest axis first, whatever the order in memory."""

    shape: tuple[int, ...]
    dtype: str
    encoding: str
    data: Buffer
    column_major: bool = False

    @property
    def itemsize(self) -> int:
        return int(self.dtype[2:])


def packed(value: Any) -> Packed:
    """What a decoded CBOR item says of an array. Raises `MalformedMessage` when it is none, or contradicts itself."""
    if type(value) is not Tag:
        what = "a byte string" if isinstance(value, memoryview) else type(value).__name__
        raise MalformedMessage("no typed array", f"{what} where one belongs")
    if value.number not in (ROW_MAJOR, COLUMN_MAJOR):
        kind, encoding, data = _typed(value)
        nbytes = _decoded_size(encoding, data)
        if nbytes % int(kind[2:]):
            raise MalformedMessage("typed array of broken elements", f"{nbytes} bytes of {kind}")
        return Packed((nbytes // int(kind[2:]),), kind, encoding, data)
    match value.value:
        case [[*shape], Tag() as content] if len(shape) <= MOST_DIMENSIONS and all(map(_is_size, shape)):
            return Packed(tuple(shape), *_typed(content), value.number == COLUMN_MAJOR)
    raise MalformedMessage("impossible array of several axes", f"tag {value.number}")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST_NUMBER


def _typed(tag: Tag) -> tuple[str, str, Buffer]:
    """Element type, encoding and data of a typed array."""
    kind = TYPES.get(tag.number)
    if kind is None:
        raise MalformedMessage("unknown kind of array", f"CBOR tag {tag.number}")
    match tag.value:
        case memoryview() as data:
            return kind, RAW, data
        case Tag(number=56500, value=[str() as algorithm, element, memoryview() as data]):
            if algorithm not in ALGORITHMS:
                raise MalformedMessage("unknown compression", f"{algorithm[:50]!r}; known are {', '.join(ALGORITHMS)}")
            if algorithm == "bslz4" and element != int(kind[2:]):
                raise MalformedMessage("compressed elements of another size", f"{element!r:.20} bytes in {kind}")
            return kind, ALGORITHMS[algorithm], data
    raise MalformedMessage("typed array without bytes", f"CBOR tag {tag.number}")


def _decoded_size(encoding: str, data: Buffer) -> int:
    view = memoryview(data)
    if encoding == RAW:
        return view.nbytes
    if view.nbytes < bslz4.HEADER.size:
        raise MalformedMessage("compressed blob too short", f"{view.nbytes} bytes")
    return bslz4.HEADER.unpack_from(view)[0]


def unpacked(array: Packed, most: int) -> NDArray[Any]:
    """The values, in memory of their own, little-endian; binary128 as float64.

    Raises `MalformedMessage` for an array of more than `most` bytes, or of others than it says; `MissingLibrary`.
    """
    size = math.prod(array.shape)
    nbytes = size * array.itemsize
    if nbytes > most:
        raise MalformedMessage("array too large", f"{array.shape} of {array.dtype} is {nbytes} bytes, the limit {most}")
    # NumPy's own sixteen bytes are another format.
    kind = np.dtype("V16" if array.itemsize == 16 else array.dtype)
    if array.encoding != RAW:
        flat = _DECODERS[array.encoding](array.data, (size,), kind.str) if size else np.empty(0, kind)
    elif (found := memoryview(array.data).nbytes) == nbytes:
        flat = np.frombuffer(array.data, kind) if size else np.empty(0, kind)
    else:
        raise MalformedMessage("array of another size", f"{found} bytes instead of {nbytes}")
    if array.itemsize == 16:
        flat = _from_binary128(flat, array.dtype[0])
    values = flat.reshape(array.shape, order="F" if array.column_major else "C")
    return np.array(values, values.dtype.newbyteorder("<"), order="C")


def _from_binary128(flat: NDArray[np.void], order: str) -> NDArray[np.float64]:
    """Numbers of sixteen bytes, rounded. Source: IEEE 754-2008, section 3.4."""
    words = flat.view(f"{order}u8").reshape(-1, 2).astype(np.uint64)
    high, low = words.T if order == ">" else words[:, ::-1].T
    exponent = (high >> np.uint64(48)).astype(np.int32) & 0x7FFF
    fraction = (high & np.uint64((1 << 48) - 1)) * 2.0**-48 + low * 2.0**-112
    with np.errstate(over="ignore", under="ignore"):
        values = np.ldexp(1 + fraction, exponent - 16383)
    # What is subnormal there is far below the least that a float64 can say.
    values[exponent == 0] = 0.0
    values[exponent == 0x7FFF] = np.where(fraction[exponent == 0x7FFF], np.nan, np.inf)
    return np.where(high >> np.uint64(63), -values, values)


def tagged(array: NDArray[Any]) -> Tag:
    """`array` as a typed array, with its axes unless it has but one. `TypeError` for others' elements."""
    if array.dtype.kind == "f" and array.itemsize > 8:
        array = array.astype("<f8")
    if array.dtype.str not in TAGS:
        raise TypeError(f"no typed array holds elements of {array.dtype}")
    typed = Tag(TAGS[array.dtype.str], np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return typed if array.ndim == 1 else Tag(ROW_MAJOR, [list(array.shape), typed])
