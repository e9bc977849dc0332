"""Frames from a file that may still be growing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.documents import DATA, reader_path
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.several import parts

PATIENCE = 1.0
"""Seconds that a file gets to become readable, as its writer needs some milliseconds alone when it adds something."""
BETWEEN_TRIES = 0.01


def local_path(uri: str, path_map: Mapping[str, str] | None = None) -> Path:
    """The path on this machine of a file that documents or a catalog refer to by `uri`."""
    written = urlparse(uri).path
    path = Path(reader_path(written, path_map))
    # Some write %20 for a space, and some, Tiled among them, take the path as it stands.
    return path if path.exists() else Path(reader_path(unquote(written), path_map))


@contextmanager
def open_to_read(
    path: str | Path, sleep: Callable[[float], None] = time.sleep, *, whole: bool = True
) -> Iterator[h5py.File]:
    """The file, whether it is closed, being written, or was left open by a writer that died. Raises `OSError`.

    whole: also for a master some of whose files can't be read; frames of these would be fill values.
    """
    for _ in range(int(PATIENCE / BETWEEN_TRIES)):
        try:
            file = _opened(path)
            break
        except OSError as error:
            if "already open for" not in str(error):
                raise
            sleep(BETWEEN_TRIES)
    else:
        file = _opened(path)
    with file:
        if whole:
            parts.check(file)
        yield file


def _opened(path: str | Path) -> h5py.File:
    try:
        # Closed files this way, as for SWMR nobody looks whether the file has been cut short.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag values don't match" in str(error):
            # Somebody in this process has it open, such as a handler of databroker; HDF5 wants it the same way.
            return h5py.File(path, "r")
        if "already open for write" not in str(error):
            raise
    return h5py.File(path, "r", libver="latest", swmr=True, locking=False)


def read_frames(path: str | Path, dataset: str | None = None, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Rows `start` to `stop` of a dataset; fewer when the file holds fewer. Raises `OSError`, `KeyError`.

    dataset: its path, or the name of one of frames; left out, the frames of the last one.
    """
    with open_to_read(path) as file:
        path_inside = dataset if dataset is not None and "/" in dataset else _frames(file, dataset)
        return np.asarray(file[path_inside][start:stop])


def _frames(file: h5py.File, dataset: str | None) -> str:
    """The path of frames by the name of their dataset; of the last one for None."""
    if dataset is None and DATA in file and not places.datasets(file):
        return DATA  # whoever wrote it
    return places.read(file, dataset).frames
