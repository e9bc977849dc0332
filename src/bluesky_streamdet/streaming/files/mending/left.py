"""A file that its writer left behind when it died: read as it is, without mending it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from bluesky_streamdet.streaming.files.hold import is_held
from bluesky_streamdet.streaming.files.mending.amending import Overlay
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, Superblock


def is_left(path: Path) -> bool:
    """Whether the file is marked as being written, and nobody writes it. Raises `OSError`."""
    head = superblock_of(path)
    return head is not None and bool(head.flags) and not is_held(path)


@contextmanager
def open_left(path: Path) -> Iterator[h5py.File]:
    """The file, which nobody writes, as one that was closed: HDF5 tries long to read one by SWMR that is damaged."""
    with open(path, "rb", buffering=0) as raw:
        overlay = Overlay(raw)
        unmarked(overlay)
        with h5py.File(overlay, "r") as file:
            yield file


def superblock_of(path: Path) -> Superblock | None:
    with open(path, "rb") as file:
        try:
            return Superblock(file.read(SIZE))
        except ValueError:
            return None  # An older kind, which has no mark.


def unmarked(overlay: Overlay) -> None:
    """Let HDF5 take the file for one that was closed, of the size that it says, if that is more than it has."""
    overlay.seek(0)
    with suppress(ValueError):
        head = Superblock(overlay.read(SIZE))
        overlay.truncate(max(head.end, overlay.size))
        cut_short(overlay)


def cut_short(overlay: Overlay) -> None:
    """Let HDF5 take the file for one that was closed, of the size that it has."""
    overlay.seek(0)
    with suppress(ValueError):
        head = Superblock(overlay.read(SIZE))
        head.flags, head.end = 0, overlay.size
        overlay.seek(0)
        overlay.write(head.pack())
