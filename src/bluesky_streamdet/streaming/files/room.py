"""Whether there is room for a series, before it begins and while it grows.

A disk that is full to the last byte makes HDF5 fail in the middle of something. So a file takes no more frames a little
before, when there is still room to close it well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bluesky_streamdet.core.errors import NoRoom
from bluesky_streamdet.streaming.status import DiskReport

RESERVE = 2 << 20
"""Bytes that are left for what closes a file."""
EVERY = 0.5
"""Seconds between looks at the disk at most; where little is left, one looks the sooner."""
SOON = 60.0
"""Seconds until a disk is full in which the status says so."""
HINT = "Make room, or change files.directory in the configuration."


class Room:
    """What is left where one file grows. least: bytes below which the status warns. clock: seconds, monotonic."""

    def __init__(self, path: Path, least: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._least = least
        self._clock = clock
        self._free: int | None = None
        self._looked_at = 0.0
        self._taken = 0
        self._rate = 0.0

    def take(self, nbytes: int) -> bool:
        """Note so many bytes that are about to be written. True when the disk was looked at.

        Raises `NoRoom` when too little would be left to close the file well, `OSError` for a disk that is gone.
        """
        self._taken += nbytes
        now = self._clock()
        if self._free is not None and now < self._looked_at + EVERY and 2 * self._taken < self._free - RESERVE:
            return False
        if self._free is not None and now > self._looked_at:
            self._rate = (self._taken - nbytes) / (now - self._looked_at)
        self._free, self._looked_at, self._taken = free_bytes(self._path.parent), now, nbytes
        if self._free - nbytes < RESERVE:
            raise NoRoom(
                f"The file {self._path} takes no more frames: {_megabytes(self._free)} are left on its disk, "
                f"the next ones are {_megabytes(nbytes)}, and it takes {_megabytes(RESERVE)} to close it well.",
                HINT,
            )
        return True

    def report(self) -> DiskReport | None:
        """What the last look has shown; None before the first."""
        if self._free is None:
            return None
        left = max(0, self._free - self._taken - RESERVE)
        seconds = left / self._rate if self._rate > 0 else None
        warning = ""
        if left + RESERVE < self._least or (seconds is not None and seconds < SOON):
            when = f", full in about {seconds:.0f} s" if seconds is not None else ""
            warning = f"{_megabytes(left)} are left for {self._path}{when}. {HINT}"
        return DiskReport(free_megabytes=round(self._free / 1e6, 1), seconds_left=seconds, warning=warning)


def check_room(folder: Path, least: int, frames: int | None, frame_bytes: float | None) -> None:
    """Raise `NoRoom` unless `least` bytes are left once a series is in the folder.

    frames: as many as are expected, each of `frame_bytes`, if that is known; otherwise nothing is known of its size.
    """
    try:
        free = free_bytes(folder)
    except OSError:
        return  # Whoever opens the file will say what is the matter.
    if frames is not None and frame_bytes is not None:
        needed = round(frames * frame_bytes)
        if free - needed < least:
            raise NoRoom(
                f"There is no room for the series in {folder}: {frames} frames of {frame_bytes:.0f} bytes, as those of "
                f"the last series, are {_megabytes(needed)} ({needed} bytes); {_megabytes(free)} ({free} bytes) are "
                f"free, of which {_megabytes(least)} shall be left (files.least_free_megabytes).",
                HINT,
            )
    elif free < least:
        raise NoRoom(
            f"There is no room for a series in {folder}: {_megabytes(free)} ({free} bytes) are free, and "
            f"{_megabytes(least)} shall be left (files.least_free_megabytes).",
            HINT,
        )


def free_bytes(folder: Path) -> int:
    """That this user may still write where the folder is, or will be. Raises `OSError`."""
    existing = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    disk = os.statvfs(existing)
    return disk.f_bavail * disk.f_frsize


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f} MB"
