"""Whether files can be written and read at all, where the data will lie: tried with a small one."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import h5py
import hdf5plugin
import numpy as np

FILTERS = {
    "bitshuffle-LZ4 (32008)": hdf5plugin.Bitshuffle.filter_id,
    "LZ4 (32004)": hdf5plugin.LZ4.filter_id,
}
"""What compressed frames are stored by, and who opens the file needs."""

PIXELS = np.arange(4096, dtype=np.uint32).reshape(64, 64)


def missing_filters() -> list[str]:
    """The filters that HDF5 can't use in this Python."""
    return [name for name, number in FILTERS.items() if not h5py.h5z.filter_avail(number)]


def write_and_read(directory: Path) -> None:
    """Write a compressed frame into a new file, read it while the file is open, and remove the file.

    Raises `OSError`, which says what HDF5 or the file system could not do.
    """
    path = directory / f".streamdet-trial-{uuid4().hex}.h5"
    try:
        with h5py.File(path, "x", libver="latest", locking=False) as file:
            frames = file.create_dataset(
                "frames", (0, 64, 64), "u4", maxshape=(None, 64, 64), chunks=(1, 64, 64), **hdf5plugin.Bitshuffle()
            )
            file.swmr_mode = True
            frames.resize(1, axis=0)
            frames[0] = PIXELS
            frames.flush()
            _read_while_open(path)
    finally:
        path.unlink(missing_ok=True)


def _read_while_open(path: Path) -> None:
    with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
        if not np.array_equal(file["frames"][0], PIXELS):
            raise OSError("another reader of the open file gets other pixels than were written")


def clock_skew(directory: Path, now: float) -> float:
    """Seconds by which the file system's clock is ahead of `now`, seconds since 1970. Raises `OSError`."""
    path = directory / f".streamdet-trial-{uuid4().hex}"
    try:
        path.touch()
        return os.stat(path).st_mtime - now
    finally:
        path.unlink(missing_ok=True)
