"""A sign on a file that somebody writes it, which goes with the process, however that ends.

It is a lock of the operating system on one byte far behind the end of the file: nobody who reads is in its way, nor it
in theirs, and HDF5's own lock is another one. Where the file system has no locks there is no sign, and nobody is
refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from bluesky_streamdet.core.errors import FileTaken

PLACE = 1 << 62
"""The byte; no file is so long."""
BETWEEN_TRIES = 0.02
_TAKEN = (errno.EAGAIN, errno.EACCES)
_LOCK = struct.Struct("@hhqqi0q")


class Hold:
    """Kept as long as the file is written; `release` it. Raises `FileTaken` when another has it.

    patience: seconds that another gets to let go of it, who only adds something to a closed file.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        for _ in range(int(patience / BETWEEN_TRIES)):
            if self._taken():
                return
            time.sleep(BETWEEN_TRIES)
        if not self._taken():
            self.release()
            raise FileTaken(
                f"The file {path} is being written.",
                "Wait for the end of its series; or stop the service that has it, if nobody knows of a series.",
            )

    def is_at(self, path: Path) -> bool:
        """Whether the file is still where it was; it can have been removed, or its disk unmounted."""
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(path))
        except OSError:
            return False

    def _taken(self) -> bool:
        assert self._descriptor is not None
        try:
            # Exclusive for a moment, so that of two who come at once one is refused; then shared, as on NFS a
            # reader's lock on the whole file meets this one.
            _set(self._descriptor, fcntl.F_WRLCK)
            _set(self._descriptor, fcntl.F_RDLCK)
        except OSError as error:
            return error.errno not in _TAKEN
        return True

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether somebody writes the file, for who may only read it. Raises `OSError` for one that can't be opened."""
    with open(path, "rb") as file:
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, PLACE, 1, 0)
        try:
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
        except OSError:
            return False
    return _LOCK.unpack(answer)[0] != fcntl.F_UNLCK


def _set(descriptor: int, kind: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK.pack(kind, os.SEEK_SET, PLACE, 1, 0))
