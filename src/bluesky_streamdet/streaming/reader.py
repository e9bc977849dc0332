"""Frames from a file that may still be growing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.streaming import nexus


@contextmanager
def open_to_read(path: str | Path) -> Iterator[h5py.File]:
    """The file, whether it is closed, being written, or was left open by a writer that died. Raises `OSError`."""
    with _opened(path) as file:
        yield file


def _opened(path: str | Path) -> h5py.File:
    try:
        return h5py.File(path, "r", libver="latest", swmr=True, locking=False)
    except ValueError:
        # A file of an older library version can't be opened for SWMR; nor does it need to.
        return h5py.File(path, "r", locking=False)


def read_frames(path: str | Path, dataset: str = nexus.DATA, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Rows `start` to `stop` of a dataset; fewer when the file holds fewer. Raises `OSError`, `KeyError`."""
    with open_to_read(path) as file:
        return np.asarray(file[dataset][start:stop])
