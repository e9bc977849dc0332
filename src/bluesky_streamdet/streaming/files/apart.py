"""Values of single frames that no column can hold while the file is open, as SWMR admits no new and no wider one.

They stand in a table of the account, `apart`, in runs: of a key, from a row on, a JSON list of values in which null is
where the column has the value, or nobody said one. A long list takes several rows of the table, one after the other.
When the file is closed, they go into columns; see `merging`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

APART = "apart"
PIECE = 1000
"""Bytes of JSON in a row of the table, behind a line that says of what: key, first row, which piece, of how many."""
LONGEST_KEY = 80
MOST_KEYS = 200
"""Of a series; values of others are left out, as whoever makes up a key for each frame would fill the disk."""
_ROW = h5py.string_dtype("ascii", PIECE + 6 * LONGEST_KEY + 100)
"""One text, as Tiled can't read records that hold texts."""


def create(account: h5py.Group) -> None:
    account.create_dataset(APART, (0,), _ROW, maxshape=(None,), chunks=(8,))


class Apart:
    """The table in a file that grows. count: values that have gone into it, of this series."""

    def __init__(self, account: h5py.Group) -> None:
        self._table = account[APART]
        self._waiting: list[bytes] = []
        self.count = 0
        self._keys: set[str] = set()
        self._too_many = False

    def add(self, key: str, first: int, values: Mapping[int, Any]) -> None:
        """Keep values of `key`, by how many frames they come after frame `first` of the dataset."""
        if key not in self._keys and len(self._keys) >= MOST_KEYS:
            if not self._too_many:
                log.warning("values of %.80r are left out, as %d others have no column already", key, MOST_KEYS)
            self._too_many = True
            return
        self._keys.add(key)
        start = min(values)
        self.count += len(values)
        run = [values.get(index) for index in range(start, max(values) + 1)]
        text = json.dumps(run, default=str).encode()
        pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
        for index, piece in enumerate(pieces):
            said = [key[:LONGEST_KEY], first + start, index, len(pieces)]
            self._waiting.append(json.dumps(said).encode() + b"\n" + piece)

    def write(self) -> None:
        """Append what was added."""
        if self._waiting:
            rows, there = np.array(self._waiting, _ROW), len(self._table)
            self._table.resize((there + len(rows),))
            self._table[there:] = rows
            self._waiting.clear()

    def forget(self) -> None:
        """Drop what is not written."""
        self._waiting.clear()


def read(account: h5py.Group, frames: int) -> dict[str, dict[int, Any]]:
    """What stands apart of the first `frames` frames of a dataset: values by row, by key."""
    table = account.get(APART)
    found: dict[str, dict[int, Any]] = {}
    for key, first, values in _runs(table[()]) if isinstance(table, h5py.Dataset) else ():
        of_key = found.setdefault(key, {})
        for row, value in enumerate(values, first):
            if value is not None and row < frames:
                of_key[row] = value
    return {key: values for key, values in found.items() if values}


def empty(account: h5py.Group) -> None:
    """Take all out of the table of a file that is open for any change."""
    account[APART].resize((0,))


def _runs(rows: NDArray[Any]) -> Iterator[tuple[str, int, list[Any]]]:
    """Key, row of the first value, values. What a crash cut short is left out."""
    text = b""
    for row in rows:
        said, _, part = row.partition(b"\n")
        try:
            key, first, piece, pieces = json.loads(said)
            text = (text if piece else b"") + part
            if piece + 1 == pieces:
                yield key, first, json.loads(text)
        except ValueError:
            continue
