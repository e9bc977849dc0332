"""LZ4 as HDF5's filter 32004 stores it, and as DECTRIS detectors send it in their stream of version 2.

A blob is a header of 12 bytes (decoded size as big-endian uint64, block size in bytes as big-endian uint32), then for
each block its compressed size (big-endian uint32) and its data: LZ4, or the bytes as they are where the two sizes are
equal. Version 1 of the stream sends the LZ4 data of the whole frame, and nothing else. Sources: the HDF Group, "LZ4
HDF5 filter format", https://github.com/HDFGroup/hdf5_plugins; the LZ4 project, "LZ4 Block Format".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from lz4 import block as library
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.transforms.bslz4 import HEADER, LZ4_AT_BEST, MOST_BLOCKS

BLOCK = struct.Struct(">I")
LARGEST_BLOCK = 1 << 30
"""Bytes; the filter's own default, and half of what LZ4 takes."""


def verify(blob: Buffer, nbytes: int, itemsize: int) -> None:
    """Check that `blob` can be a frame of `nbytes` decoded bytes: its header, and that its blocks end where it ends.

    The blocks are not decompressed. Raises `MalformedMessage`.
    """
    for _ in _blocks(memoryview(blob), nbytes):
        pass


def decode(blob: Buffer, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The array of `shape` and `dtype` in `blob`, read-only. Raises `MalformedMessage` when it does not decode."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    pieces = [_decoded(*one) for one in _blocks(memoryview(blob), nbytes)]
    whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return np.frombuffer(whole, dtype).reshape(shape)


def encode(array: NDArray[Any]) -> bytes:
    """`array` as a blob of HDF5's filter 32004, in one block. It has at most 1 GiB."""
    data = library.compress(np.ascontiguousarray(array).data, store_size=False)
    return bytes(from_block(data, array.nbytes))


def from_block(data: Buffer, nbytes: int) -> Buffer:
    """The LZ4 data of a frame of `nbytes` decoded bytes as a blob of HDF5's filter; what is one already stays as it is.

    Raises `MalformedMessage`.
    """
    view = memoryview(data)
    # LZ4 data can't begin like this: the match would lie at a distance of nothing.
    if view[:8] == HEADER.pack(nbytes, 0)[:8]:
        return data
    if view.nbytes == nbytes:
        # The filter would take it for bytes that nobody compressed; so let it be those.
        data = _decoded(view, nbytes, compressed=True)
    return b"".join((HEADER.pack(nbytes, nbytes), BLOCK.pack(view.nbytes), data))


def to_block(blob: Buffer, nbytes: int) -> Buffer:
    """The LZ4 data of the frame of `nbytes` decoded bytes in `blob`. Raises `MalformedMessage`."""
    blocks = list(_blocks(memoryview(blob), nbytes))
    if len(blocks) == 1 and blocks[0][2]:
        return blocks[0][0]
    return library.compress(b"".join(_decoded(*one) for one in blocks), store_size=False)


def _blocks(view: memoryview, nbytes: int) -> Iterator[tuple[memoryview, int, bool]]:
    """Data, decoded size, and whether it is compressed, of each block of a blob that holds `nbytes`."""
    size = view.nbytes
    if size < HEADER.size:
        raise MalformedMessage("compressed blob too short", f"{size} bytes")
    total, block = HEADER.unpack_from(view)
    if total != nbytes:
        raise MalformedMessage("compressed blob of another size", f"it says {total} bytes, the header {nbytes}")
    if not 0 < block <= LARGEST_BLOCK or nbytes > MOST_BLOCKS * block:
        raise MalformedMessage("compressed blob with an impossible block size", f"{block}")
    if nbytes > LZ4_AT_BEST * size:
        raise MalformedMessage("compressed blob too short", f"{size} bytes cannot hold {nbytes}")
    position = HEADER.size
    for start in range(0, nbytes, block):
        if position + BLOCK.size > size:
            raise _of_another_length(size)
        (length,) = BLOCK.unpack_from(view, position)
        position += BLOCK.size + length
        if length == 0 or position > size:
            raise _of_another_length(size)
        wanted = min(block, nbytes - start)
        yield view[position - length : position], wanted, length != wanted
    if position != size:
        raise _of_another_length(size)


def _of_another_length(size: int) -> MalformedMessage:
    return MalformedMessage("compressed blob cut or too long", f"{size} bytes")


def _decoded(data: memoryview, nbytes: int, compressed: bool) -> Buffer:
    """What a block says, `nbytes` of it."""
    if not compressed:
        return data
    try:
        decoded = library.decompress(data, uncompressed_size=nbytes)
    except (library.LZ4BlockError, ValueError) as error:
        raise MalformedMessage("compressed blob does not decode", str(error)) from error
    if len(decoded) != nbytes:
        raise MalformedMessage("compressed blob does not decode", f"{len(decoded)} of {nbytes} bytes")
    return decoded
