"""Changes of a closed file that are made whole or not at all, whenever the process is killed or the disk is full.

HDF5 changes a file in many places, and a kill in between leaves what nobody can read. So it works on an overlay, which
keeps what it writes in memory. What has changed goes into a log beside the file, whole and with a checksum; only then
into the file; then the log goes. `redo` finishes what was interrupted: a log that is whole is carried out, one that is
not belongs to a file that was not touched yet. While the file is changed it is marked as being written, so that nobody
takes half a change for the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple, Self

import h5py
from typing_extensions import Buffer

from bluesky_streamdet.streaming.files.access import LIBRARY
from bluesky_streamdet.streaming.files.hold import Hold
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, WRITING, Superblock

log = logging.getLogger(__name__)

PAGE = 4096
"""Bytes in which changes are kept."""
MAGIC = b"streamdet redo 1"
_HEAD = Struct("<16sQQQ")
"""Magic; size of the file before, and afterwards; number of pages."""
_PAGE_HEAD = Struct("<QQ8s")
"""Number, length, digest of what was there; the bytes follow. A digest of all before ends the log."""
DIGEST = 32


def redo_log(path: Path) -> Path:
    return path.with_name(path.name + ".redo")


@contextmanager
def amended(
    path: Path,
    prepare: Callable[[Overlay], None] = lambda _: None,
    check: Callable[[h5py.File], None] = lambda _: None,
) -> Iterator[h5py.File]:
    """The closed file `path`, open for changes of any kind, all of which are in it at the end of the block.

    An exception in the block changes nothing. prepare: may change bytes before HDF5 sees them. check: gets the file as
    it would be, and may raise what then keeps it from being changed.
    Raises `FileTaken` while somebody writes it, `OSError` for what can't be opened, or has no room.
    """
    with Hold(path):
        redo(path, held=True)
        with open(path, "r+b", buffering=0) as file:
            overlay = Overlay(file)
            prepare(overlay)
            _check_closed(overlay)
            with h5py.File(overlay, "r+", libver=LIBRARY) as changed:
                yield changed
            with h5py.File(overlay, "r") as changed:
                check(changed)
            _carry_out(path, file, overlay.change())


def redo(path: Path, *, held: bool = False) -> bool:
    """Finish the changes of a file in which somebody was interrupted. True when there were some.

    held: whether the caller has the file's `Hold`. Raises `FileTaken` or `OSError`.
    """
    if not redo_log(path).exists():
        return False
    if not held:
        with Hold(path):
            return redo(path, held=True)
    with open(path, "r+b", buffering=0) as file:
        written = Change.unpack(redo_log(path).read_bytes())
        if written is None or not written.is_of(file):
            log.warning("the changes beside %s are cut short, or of another file; it stays as it was", path)
            _forget_log(path)
            return False
        written.apply(file)
        _forget_log(path)
    log.info("changes of %s that had been interrupted are finished", path)
    return True


def _check_closed(overlay: Overlay) -> None:
    overlay.seek(0)
    with suppress(ValueError):
        if Superblock(overlay.read(SIZE)).flags:
            # HDF5 heeds this only where it opens the file itself.
            raise OSError(errno.EBUSY, "the file is already open for write, or its writer died")


class Overlay:
    """A file as h5py wants it, which keeps in memory what is written, and reads the rest of the file below.

    before, size: bytes of the file below, and of this one.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.before = self.size = self._kept = file.seek(0, os.SEEK_END)
        self._position = 0
        self._pages: dict[int, bytearray] = {}

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self.size - self._position)]
        done = 0
        for number, start, length in _in_pages(self._position, len(view)):
            page = self._pages.get(number)
            part = (
                page[start : start + length]
                if page is not None
                else self._below(number * PAGE + start, length, self._kept)
            )
            view[done : done + length] = part
            done += length
        self._position += done
        return done

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._position)
        buffer = bytearray(left if size < 0 else min(size, left))
        self.readinto(buffer)
        return bytes(buffer)

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        done = 0
        for number, start, length in _in_pages(self._position, len(view)):
            self._page(number)[start : start + length] = view[done : done + length]
            done += length
        self._position += done
        self.size = max(self.size, self._position)
        return done

    def truncate(self, size: int) -> int:
        for number in [one for one in self._pages if (one + 1) * PAGE > size]:
            start = max(0, size - number * PAGE)
            self._pages[number][start:] = bytes(PAGE - start)
        self._kept = min(self._kept, size)
        self.size = size
        return size

    def flush(self) -> None:
        """Nothing leaves before all is there."""

    def change(self) -> Change:
        """What differs from the file below."""
        # What was cut off and is there again reads as zeros.
        for number, _, _ in _in_pages(self._kept, min(self.before, self.size) - self._kept):
            self._page(number)
        pages: dict[int, tuple[bytes, bytes]] = {}
        for number in sorted(self._pages):
            new = bytes(self._pages[number][: max(0, self.size - number * PAGE)])
            old = self._below(number * PAGE, len(new), self.before)
            if new != old:
                pages[number] = new, _digest(number, old)
        if self.size and 0 not in pages and (pages or self.size != self.before):
            # The one that is marked meanwhile.
            pages[0] = bytes(self._page(0)[: self.size]), _digest(0, self._below(0, min(PAGE, self.size), self.before))
        return Change(self.before, self.size, pages)

    def _page(self, number: int) -> bytearray:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(self._below(number * PAGE, PAGE, self._kept))
        return page

    def _below(self, position: int, length: int, end: int) -> bytes:
        """Bytes of the file below up to `end`, then zeros."""
        self._file.seek(position)
        there = self._file.read(max(0, min(length, end - position))) or b""
        return there.ljust(length, b"\0")


def _in_pages(position: int, length: int) -> Iterator[tuple[int, int, int]]:
    """The pages that some bytes lie in: number, first byte in it, how many."""
    while length > 0:
        number, start = divmod(position, PAGE)
        part = min(length, PAGE - start)
        yield number, start, part
        position += part
        length -= part


class Change(NamedTuple):
    """What becomes of a file of `before` bytes: it gets `size`, and pages, each with the digest of the one before."""

    before: int
    size: int
    pages: Mapping[int, tuple[bytes, bytes]]

    def pack(self) -> bytes:
        data = bytearray(_HEAD.pack(MAGIC, self.before, self.size, len(self.pages)))
        for number, (page, old) in self.pages.items():
            data += _PAGE_HEAD.pack(number, len(page), old) + page
        return bytes(data) + hashlib.sha256(data).digest()

    @classmethod
    def unpack(cls, data: bytes) -> Self | None:
        """None for a log that is not whole."""
        data, digest = data[:-DIGEST], data[-DIGEST:]
        if hashlib.sha256(data).digest() != digest or not data.startswith(MAGIC):
            return None
        _, before, size, count = _HEAD.unpack_from(data)
        pages, place = {}, _HEAD.size
        for _ in range(count):
            number, length, old = _PAGE_HEAD.unpack_from(data, place)
            place += _PAGE_HEAD.size
            pages[number] = data[place : place + length], old
            place += length
        return cls(before, size, pages)

    def is_of(self, file: io.FileIO) -> bool:
        """Whether the file is the one before, the one afterwards, or in between; a name can have come to another."""
        if file.seek(0, os.SEEK_END) not in (self.before, self.size):
            return False
        known = []
        for number, (page, old) in self.pages.items():
            if number * PAGE < self.before:
                file.seek(number * PAGE)
                there = (file.read(len(page)) or b"").ljust(len(page), b"\0")
                known.append(_digest(number, there) in (old, _digest(number, page)))
        return 2 * sum(known) >= len(known)  # A power cut may have left pages that are neither.

    def apply(self, file: io.FileIO) -> None:
        _mark(file)
        file.truncate(self.size)
        for number, (page, _) in self.pages.items():
            skipped = 0 if number else SIZE
            _write(file, number * PAGE + skipped, page[skipped:])
        # The mark goes last, with which HDF5 refuses a file that is half changed.
        if 0 in self.pages:
            _write(file, 0, self.pages[0][0][:SIZE])
        os.fsync(file.fileno())


def _digest(number: int, page: bytes) -> bytes:
    return hashlib.blake2b(page if number else page[SIZE:], digest_size=8).digest()


def _carry_out(path: Path, file: io.FileIO, change: Change) -> None:
    """Have the file changed. Raises `OSError`; the file is the old one then, or `redo` mends it."""
    if not change.pages and change.size == change.before:
        return
    try:
        _write_log(redo_log(path), change.pack())
        if change.size > change.before:
            os.posix_fallocate(file.fileno(), change.before, change.size - change.before)
    except OSError:
        with suppress(OSError):
            file.truncate(change.before)
            redo_log(path).unlink(missing_ok=True)
        raise
    change.apply(file)
    _forget_log(path)


def _mark(file: io.FileIO) -> None:
    """Mark the file as being written, if it is one that can be marked."""
    file.seek(0)
    with suppress(ValueError):
        head = Superblock(file.read(SIZE) or b"")
        head.flags |= WRITING
        _write(file, 0, head.pack())


def _write(file: io.FileIO, position: int, data: bytes) -> None:
    file.seek(position)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _write_log(path: Path, data: bytes) -> None:
    with open(path, "wb") as log_file:
        log_file.write(data)
        log_file.flush()
        os.fsync(log_file.fileno())
    _sync_folder(path)


def _forget_log(path: Path) -> None:
    redo_log(path).unlink()
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    """Have the names in the folder of `path` outlive a power cut."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
