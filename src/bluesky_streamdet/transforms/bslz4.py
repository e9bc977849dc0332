"""Bitshuffle and LZ4 as HDF5's filter 32008 stores it, and as DECTRIS detectors send it.

A blob is a header of 12 bytes (decoded size as big-endian uint64, block size in bytes as big-endian uint32), then for
each block its compressed size (big-endian uint32) and its LZ4 data, then the last (elements modulo 8) elements as they
are. Source: the bitshuffle project's HDF5 filter, https://github.com/kiyo-masui/bitshuffle.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage, MissingLibrary
from bluesky_streamdet.core.events import BSLZ4, RAW

HEADER = struct.Struct(">QI")
LARGEST_BLOCK = 1 << 30
"""Bytes. Usual are 8192; beyond this, bitshuffle's own counter overflows."""
MOST_BLOCKS = 1 << 20
"""A frame of a GiB has 131,072 of the usual size. Many more would take seconds to count, which is the loop's time."""
LZ4_AT_BEST = 255
"""No byte of LZ4 says more than so many bytes. What claims to is a bomb."""
_block_size = struct.Struct(">I").unpack_from


def verify(blob: Buffer, nbytes: int, itemsize: int) -> None:
    """Check that `blob` can be a frame of `nbytes` decoded bytes: its header, and that its blocks end where it ends.

    The blocks are not decompressed. Raises `MalformedMessage`.
    """
    view = memoryview(blob)
    size = view.nbytes
    if size < HEADER.size:
        raise MalformedMessage("compressed blob too short", f"{size} bytes")
    total, block = HEADER.unpack_from(view)
    if total != nbytes:
        raise MalformedMessage("compressed blob of another size", f"it says {total} bytes, the header {nbytes}")
    if not 0 < block <= LARGEST_BLOCK or block % (8 * itemsize) or nbytes > MOST_BLOCKS * block:
        raise MalformedMessage("compressed blob with an impossible block size", f"{block}")
    if nbytes > LZ4_AT_BEST * size:
        raise MalformedMessage("compressed blob too short", f"{size} bytes cannot hold {nbytes}")
    tail = nbytes % (8 * itemsize)
    end = size - tail
    position = HEADER.size
    try:
        for _ in range(-(-(nbytes - tail) // block)):
            position += 4 + _block_size(view, position)[0]
    except struct.error:
        position = -1
    if position != end:
        raise MalformedMessage("compressed blob cut or too long", f"{size} bytes")


def decode(blob: Buffer, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The array of `shape` and `dtype` in `blob`. Raises `MalformedMessage` when it does not decode."""
    kind = np.dtype(dtype)
    wanted = math.prod(shape) * kind.itemsize
    verify(blob, wanted, kind.itemsize)
    block = HEADER.unpack_from(memoryview(blob))[1]
    payload = np.frombuffer(blob, np.uint8, offset=HEADER.size)
    try:
        return _bitshuffle().decompress_lz4(payload, shape, kind, block // kind.itemsize)
    except (RuntimeError, ValueError) as error:
        raise MalformedMessage("compressed blob does not decode", str(error)) from error


def usual() -> str:
    """This encoding where the library for it is installed, otherwise none."""
    return BSLZ4 if importlib.util.find_spec("bitshuffle") is not None else RAW


def encode(array: NDArray[Any]) -> bytes:
    """`array` as a blob of HDF5's filter 32008."""
    array = np.ascontiguousarray(array)
    elements = max(8192 // array.itemsize // 8 * 8, 128)
    body = _bitshuffle().compress_lz4(array, elements)
    return HEADER.pack(array.nbytes, elements * array.itemsize) + body.tobytes()


@cache
def _bitshuffle() -> ModuleType:
    try:
        import bitshuffle
    except ImportError as error:
        raise MissingLibrary(
            "Decoding and compressing bslz4 frames needs the library 'bitshuffle'.",
            "It has wheels for Python 3.11 and 3.12: `pip install bitshuffle`. Files are written without it.",
        ) from error
    return bitshuffle
