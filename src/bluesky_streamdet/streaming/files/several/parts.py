"""The files that a series has where it has several: what each says of itself, and how their master lists them.

HDF5 gives fill values for a file that it can't open, and says nothing. So a master says which files it needs, and
whoever opens one by this package is told when one of them is gone, or is another one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import h5py

from bluesky_streamdet.streaming.files.openfiles import can_open

INDEX, FIRST_ROW, MASTER = "part", "part_first_row", "part_of"
"""Attributes of a part's root."""
LISTED = "parts"
"""Attribute of a master's root: the path of its table of parts; and the name of that table in the account."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a file says that has some of the frames of a series.

    index: counts from 1. first_row: of its first frame among those of the series, in the order in which they came.
    master: name of the file that shows all of them.
    """

    index: int
    first_row: int
    master: str

    def write(self, file: h5py.File) -> None:
        file.attrs.update({INDEX: self.index, FIRST_ROW: self.first_row, MASTER: self.master})

    def change(self, file: h5py.File) -> None:
        """Say it in a file that was made for another part of the same series."""
        file.attrs.modify(FIRST_ROW, self.first_row)
        file.attrs.modify(INDEX, self.index)

    @classmethod
    def read(cls, file: h5py.File) -> Self | None:
        """None for a file that is no part."""
        said = file.attrs
        if not said.get(INDEX, 0):
            return None  # also one of which nobody has said yet which it is; it has no frames
        return cls(int(said[INDEX]), int(said[FIRST_ROW]), str(said[MASTER]))


@dataclass(frozen=True, slots=True)
class Listed:
    """A part as its master lists it: path relative to the master's folder, series, frames, bytes, and their numbers."""

    file: str
    series: str
    frames: int
    nbytes: int
    first_number: int
    last_number: int


def list_parts(file: h5py.File, account: str, parts: Sequence[Listed]) -> None:
    """Write the table of parts into the group `account`."""
    table = f"{account}/{LISTED}"
    # One text a row, as Tiled can't read records that hold texts.
    file.create_dataset(table, data=[json.dumps(asdict(one)) for one in parts], dtype=h5py.string_dtype())
    file.attrs[LISTED] = table


def listed_parts(file: h5py.File) -> list[Listed]:
    """The parts that a master lists; none for any other file."""
    table = file.attrs.get(LISTED)
    return [] if table is None else [Listed(**json.loads(row)) for row in file[str(table)][()]]


def unreadable(file: h5py.File) -> list[str]:
    """What is wrong with the parts of a master, in words, as far as their names and sizes tell; empty if nothing is."""
    # HDF5 looks beside the master itself, whatever link it was opened by.
    folder, listed = Path(file.filename).resolve().parent, listed_parts(file)
    faults = []
    if listed and not can_open(len(listed)):
        faults.append(f"there are {len(listed)}, and this process may not open so many (see ulimit -n)")
    for part in listed:
        try:
            size = (folder / part.file).stat().st_size
        except OSError as error:
            faults.append(f"{part.file}: {error.strerror}")
            continue
        if size < part.nbytes:
            faults.append(f"{part.file} has {size} bytes, and had {part.nbytes}")
    return faults


def check(file: h5py.File) -> None:
    """Raise `OSError` for a master that would show fill values, as some of its parts can't be read."""
    faults = unreadable(file)
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise OSError(f"{file.filename} shows frames of files that can't be read: {'; '.join(faults[:3])}{more}")
