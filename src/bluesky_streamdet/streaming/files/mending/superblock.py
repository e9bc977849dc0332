"""The first bytes of an HDF5 file: whether somebody has it open to write, and where it ends.

HDF5 has no call that mends them. Source: HDF5 File Format Specification, section II.A, "Disk Format: Level 0A";
Bob Jenkins, lookup3.c, whose `hashlittle` is the checksum.
"""

from __future__ import annotations

from struct import Struct

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZE = 48
"""Bytes of a superblock with 8-byte addresses; what is behind it is no part of it."""
MARKED = 3
"""The version whose flags HDF5 heeds: the one of files that may be written by SWMR. Version 2 is like it otherwise."""
WRITING, SWMR = 1, 4
"""Flags of a file that is open for writing, and of one that is so by SWMR."""

_FIELDS = Struct("<8sBBBB4Q")
_CHECKSUM = Struct("<I")


class Superblock:
    """Of the first `SIZE` bytes of a file. `flags` and `end` may be set; `pack` gives the bytes.

    marks: whether HDF5 heeds the flags. end: the file's size as HDF5 has noted it. Raises `ValueError` for one of an
    older version, or one that is damaged.
    """

    def __init__(self, head: bytes) -> None:
        if len(head) < SIZE or not head.startswith(SIGNATURE):
            raise ValueError("it is no HDF5 file")
        signature, version, offsets, lengths, flags, base, extension, end, root = _FIELDS.unpack_from(head)
        if version not in (MARKED - 1, MARKED) or (offsets, lengths) != (8, 8):
            raise ValueError(f"its superblock is of version {version}, which has no flags")
        if _CHECKSUM.unpack_from(head, _FIELDS.size)[0] != lookup3(head[: _FIELDS.size]):
            raise ValueError("its superblock is damaged")
        self.marks = version == MARKED
        self.flags = flags
        self.end = end
        self._before = (signature, version, offsets, lengths)
        self._addresses = (base, extension)
        self._root = root

    def pack(self) -> bytes:
        head = _FIELDS.pack(*self._before, self.flags, *self._addresses, self.end, self._root)
        return head + _CHECKSUM.pack(lookup3(head))


def lookup3(data: bytes) -> int:
    """The checksum that HDF5 has of its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    while len(data) > 12:
        x, y, z = _THREE.unpack_from(data)
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
        data = data[12:]
    if not data:
        return c
    x, y, z = _THREE.unpack(data.ljust(12, b"\0"))
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)


_MASK = 0xFFFFFFFF
_THREE = Struct("<3I")


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for first, second, third in ((4, 6, 8), (16, 19, 4)):
        a = (a - c) & _MASK ^ _turned(c, first)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ _turned(a, second)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ _turned(b, third)
        b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for first, second, third in ((14, 11, 25), (16, 4, 14)):
        c = (c ^ b) - _turned(b, first) & _MASK
        a = (a ^ c) - _turned(c, second) & _MASK
        b = (b ^ a) - _turned(a, third) & _MASK
    return (c ^ b) - _turned(b, 24) & _MASK
