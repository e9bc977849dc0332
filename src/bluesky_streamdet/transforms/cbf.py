"""CBF images whose pixels are compressed by byte offsets, as PILATUS detectors write and send them.

A text header, the bytes 0C 1A 04 D5, then `X-Binary-Size` bytes of pixels. Each pixel is the difference to the one
before it, the first to 0, in little-endian bytes: one byte; after the byte 80, two; after 80 0080, four; after
80 0080 00000080, eight. What follows the pixels, zeros and the end of the MIME section, is not looked at.
Source: CBFlib, byte_offset compression, http://www.bernstein-plus-sons.com/software/CBF/doc/CBFlib.html
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage

MARKER = b"\x0c\x1a\x04\xd5"
LONGEST_HEADER = 1 << 16
"""Bytes of text, in which a PILATUS says all of its settings in some 2000; beyond this no marker is looked for."""
MOST_DIGITS = 18
PADDING = 4095
"""Zeros behind the pixels, as a PILATUS writes them."""

ESCAPE = 0x80
LENGTHS = (1, 3, 7, 15)
"""Bytes of a pixel in one, two, four and eight bytes, with what announces them."""
STRETCH = 64
"""Escapes that are followed one by one at a time, of all stretches at once."""

ELEMENTS = {
    f"{'un' * (kind == 'u')}signed {8 * size}-bit integer": np.dtype(f"<{kind}{size}")
    for kind in "iu"
    for size in (1, 2, 4, 8)
}
"""What a header calls each pixel type."""

_FIELD = re.compile(
    rb"^(X-Binary-Size|X-Binary-Number-of-Elements|X-Binary-Size-(?:Fastest|Second)-Dimension|X-Binary-Element-Type|"
    rb'Content-MD5|X-Binary-Element-Byte-Order|[ \t]*conversions)[:=][ \t]*"?([^\r\n"]*)',
    re.MULTILINE | re.IGNORECASE,
)
_SIZE, _ELEMENTS = b"x-binary-size", b"x-binary-number-of-elements"
_FASTEST, _SECOND = b"x-binary-size-fastest-dimension", b"x-binary-size-second-dimension"


class _Binary(NamedTuple):
    """Where the pixels are: from byte `begin` on, `size` of them; and what the header says besides, by lower name."""

    begin: int
    size: int
    fields: dict[bytes, bytes]


def verify(blob: Buffer, nbytes: int, itemsize: int) -> None:
    """Check that `blob` can be a frame of `nbytes` decoded bytes, by its header alone. Raises `MalformedMessage`."""
    _binary(memoryview(blob), nbytes // itemsize)


def decode(blob: Buffer, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The array of `shape` and integer `dtype` in `blob`. Raises `MalformedMessage` when it does not decode.

    A `Content-MD5` is checked where there is one. Values that do not fit into `dtype` wrap around.
    """
    kind, count = np.dtype(dtype), math.prod(shape)
    view = memoryview(blob)
    binary = _binary(view, count)
    _check_fields(binary.fields, shape, kind)
    data = np.frombuffer(view, np.uint8, binary.size, binary.begin)
    _check_sum(binary.fields, data)
    return _pixels(data, count, kind).reshape(shape)


def encode(image: NDArray[Any]) -> bytes:
    """`image`, of an integer type, as a whole CBF. Raises `ValueError` for another type, or more than 2-D."""
    image = np.ascontiguousarray(image)
    element = next((name for name, kind in ELEMENTS.items() if kind == image.dtype), None)
    if element is None or not 1 <= image.ndim <= 2:
        raise ValueError(f"no CBF can be made of an array of {image.ndim} dimensions and type {image.dtype}")
    data = _offsets(image.reshape(-1)).tobytes()
    rows, columns = image.shape if image.ndim == 2 else (1, image.size)
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    text = (
        "###CBF: VERSION 1.5, bluesky-streamdet\r\n\r\ndata_image\r\n\r\n"
        '_array_data.header_convention "PILATUS_1.2"\r\n_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n'
        'Content-Type: application/octet-stream;\r\n     conversions="x-CBF_BYTE_OFFSET"\r\n'
        f"Content-Transfer-Encoding: BINARY\r\nX-Binary-Size: {len(data)}\r\nX-Binary-ID: 1\r\n"
        f'X-Binary-Element-Type: "{element}"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n'
        f"Content-MD5: {digest}\r\nX-Binary-Number-of-Elements: {image.size}\r\n"
        f"X-Binary-Size-Fastest-Dimension: {columns}\r\nX-Binary-Size-Second-Dimension: {rows}\r\n"
        f"X-Binary-Size-Padding: {PADDING}\r\n\r\n"
    )
    end = b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n\r\n"
    return b"".join((text.encode(), MARKER, data, bytes(PADDING), end))


# The header.


def _binary(view: memoryview, count: int) -> _Binary:
    """Where the pixels of a blob are that shall hold `count` of them."""
    head = bytes(view[:LONGEST_HEADER])
    marker = head.find(MARKER)
    if marker < 0:
        raise MalformedMessage("CBF without its marker", f"not in the first {len(head)} bytes")
    fields = {name.strip().lower(): value.strip() for name, value in _FIELD.findall(head, 0, marker)}
    begin = marker + len(MARKER)
    size = _number(fields, _SIZE)
    if size is None:
        raise MalformedMessage("CBF without X-Binary-Size")
    if size > view.nbytes - begin:
        raise MalformedMessage("CBF cut", f"it announces {size} bytes of pixels, and {view.nbytes - begin} came")
    if _number(fields, _ELEMENTS) not in (None, count):
        raise MalformedMessage("CBF of another size", f"{fields[_ELEMENTS]!r} pixels instead of {count}")
    # Also before anything is allocated: a pixel takes a byte at least, and fifteen at most.
    if not count <= size <= LENGTHS[-1] * count:
        raise MalformedMessage("CBF of another size", f"{size} bytes are not {count} pixels")
    return _Binary(begin, size, fields)


def _number(fields: dict[bytes, bytes], name: bytes) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    if not text.isdigit() or len(text) > MOST_DIGITS:
        raise MalformedMessage("CBF with an impossible number", f"{name.decode()}: {text[:40]!r}")
    return int(text)


def _check_fields(fields: dict[bytes, bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    conversion = fields.get(b"conversions", b"x-CBF_BYTE_OFFSET")
    if conversion.lower() != b"x-cbf_byte_offset":
        raise MalformedMessage("CBF not compressed by byte offsets", f"{conversion!r}")
    if fields.get(b"x-binary-element-byte-order", b"LITTLE_ENDIAN").upper() != b"LITTLE_ENDIAN":
        raise MalformedMessage("CBF in another byte order", f"{fields[b'x-binary-element-byte-order']!r}")
    element = fields.get(b"x-binary-element-type", b"").decode("latin-1").lower()
    if kind not in ELEMENTS.values() or (element and ELEMENTS.get(element) != kind):
        raise MalformedMessage("CBF of another pixel type", f"{element!r} instead of {kind}")
    said = _number(fields, _FASTEST), _number(fields, _SECOND)
    wanted = shape[-1], math.prod(shape[:-1])
    if any(one not in (None, other) for one, other in zip(said, wanted, strict=True)):
        raise MalformedMessage("CBF of another shape", f"{said[1]} x {said[0]} instead of {wanted[0]} x {wanted[1]}")


def _check_sum(fields: dict[bytes, bytes], data: NDArray[np.uint8]) -> None:
    wanted = fields.get(b"content-md5")
    if wanted is not None:
        found = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest())
        if found != wanted:
            raise MalformedMessage("CBF whose MD5 sum differs", f"{found!r} instead of {wanted!r}")


# The pixels.


def _pixels(data: NDArray[np.uint8], count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """The `count` pixels in `data`, flat."""
    signed = np.dtype(f"<i{kind.itemsize}")
    places, lengths = _escapes(data)
    found = data.size - int((lengths - 1).sum())
    if places.size and places[-1] + lengths[-1] > data.size:
        raise MalformedMessage("CBF cut in the middle of a pixel")
    if found != count:
        raise MalformedMessage("CBF of another size", f"it holds {found} pixels instead of {count}")
    if not places.size:
        return np.cumsum(data.view(np.int8), dtype=signed).view(kind)
    # A pixel is where its first byte is; the other bytes of long ones are taken out.
    first = np.ones(data.size, np.bool_)
    for begin, length in ((1, 3), (3, 7), (7, 15)):
        longer = places[lengths >= length]
        for step in range(begin, length):
            first[longer + step] = False
    deltas = data.view(np.int8)[first].astype(signed)
    index = places - np.concatenate(([0], np.cumsum(lengths - 1)[:-1]))
    for length, width in ((3, 2), (7, 4), (15, 8)):
        chosen = lengths == length
        if chosen.any():
            deltas[index[chosen]] = _integers(data, places[chosen] + length - width, width).astype(signed)
    return np.cumsum(deltas, out=deltas, dtype=signed).view(kind)


def _integers(data: NDArray[np.uint8], places: NDArray[np.intp], width: int) -> NDArray[Any]:
    """The little-endian signed integers of `width` bytes at `places`."""
    anywhere = as_strided(data[:width].view(f"<i{width}"), (data.size - width + 1,), (1,), writeable=False)
    return anywhere[places]


def _escapes(data: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the pixels of more than one byte begin, and how many bytes each takes.

    The byte 80 begins one, unless it lies within another.
    """
    escapes = data == ESCAPE
    places = np.flatnonzero(escapes)
    if not places.size:
        return places, places
    lengths = _lengths(data, places)
    # How many lie before each byte is the number of the first that does not.
    before = np.zeros(data.size + 1, np.int32)
    np.cumsum(escapes, out=before[1:], dtype=np.int32)
    real = _reached(before[np.minimum(places + lengths, data.size)])
    return places[real], lengths[real]


def _lengths(data: NDArray[np.uint8], places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Bytes of the pixel at each of `places`, if one begins there; what lies behind the end counts as no escape."""
    padded = np.concatenate((data[places[0] :], np.zeros(LENGTHS[-1], np.uint8)))
    at = places - places[0]
    lengths = np.full(places.size, LENGTHS[1])
    longer = np.flatnonzero((padded[at + 1] == 0) & (padded[at + 2] == ESCAPE))
    lengths[longer] = LENGTHS[2]
    at = at[longer]
    if at.size:
        longest = (padded[at + 3] == 0) & (padded[at + 4] == 0) & (padded[at + 5] == 0) & (padded[at + 6] == ESCAPE)
        lengths[longer[longest]] = LENGTHS[3]
    return lengths


def _reached(following: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which places are reached from place 0, when from each of them one goes on to `following`, which is behind it.

    The way is followed in stretches of equal length, all at once: first backwards, to know where one leaves a stretch
    that is entered anywhere; then from stretch to stretch; then forwards within each.
    """
    count = following.size
    stretches = -(-count // STRETCH)
    padded = np.arange(1, stretches * STRETCH + 1)
    padded[:count] = following
    end = np.arange(1, stretches + 1) * STRETCH
    leaves = padded.copy()
    table = leaves.reshape(stretches, STRETCH)
    for column in range(STRETCH - 2, -1, -1):
        goal = table[:, column]
        inside = np.flatnonzero(goal < end)
        goal[inside] = leaves[goal[inside]]
    entries: list[int] = []
    at = 0
    while at < count:
        entries.append(at)
        at = int(leaves[at])
    reached = np.zeros(stretches * STRETCH, np.bool_)
    at_each = np.array(entries)
    ends = end[at_each // STRETCH]
    while at_each.size:
        reached[at_each] = True
        at_each = padded[at_each]
        inside = at_each < ends
        at_each, ends = at_each[inside], ends[inside]
    return reached[:count]


def _offsets(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of the differences between `values`, which are flat."""
    deltas = np.diff(values.astype(np.int64), prepend=np.int64(0))
    lengths = np.full(deltas.size, LENGTHS[0])
    for bits, length in zip((8, 16, 32), LENGTHS[1:], strict=True):
        # The lowest value of each width announces the next.
        most = (1 << (bits - 1)) - 1
        lengths[(deltas > most) | (deltas < -most)] = length
    begins = np.cumsum(lengths) - lengths
    data = np.zeros(int(lengths.sum()), np.uint8)
    for length, width, announced in ((1, 1, ()), (3, 2, (0,)), (7, 4, (0, 2)), (15, 8, (0, 2, 6))):
        chosen = np.flatnonzero(lengths == length)
        data[begins[chosen, None] + np.array(announced, np.intp)] = ESCAPE
        values_of = deltas[chosen].astype(f"<i{width}").view(np.uint8).reshape(-1, width)
        data[begins[chosen, None] + (length - width) + np.arange(width)] = values_of
    return data
