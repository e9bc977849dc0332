"""What a file of ours says of its detector, as the stream's header said it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.geometry import SAID
from bluesky_streamdet.streaming.files.inspect import NotOurFile, inspect
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.transforms.masks import masked


class FileHeader(NamedTuple):
    """said: by the names of `core.metadata`. shape, dtype: of a frame. bad: where it holds no counts, in each frame."""

    said: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str
    bad: NDArray[np.bool_]


def read_header(path: Path) -> FileHeader:
    """Of the last series. Raises `NotOurFile`, also for a file without a frame."""
    report = inspect(path)
    with open_to_read(path) as file:
        there = places.read(file)
        data = file[there.frames]
        if not report.readable or not isinstance(data, h5py.Dataset):
            raise NotOurFile(f"{path} has no frame yet.", "Take one, so that its shape and its gaps are known.")
        last = data[-1] if report.frames_per_event == 1 else data[-1, 0]
        bad = masked(last)
        mask = _value(file, there, "pixel_mask")
        if mask is not None and mask.shape == bad.shape:
            bad |= mask != 0
        return FileHeader(_said(file, there), tuple(report.shape), report.dtype, bad)


def _said(file: h5py.File, there: Places) -> dict[str, Any]:
    values = {name: _value(file, there, name) for name in SAID}
    return {name: value for name, value in values.items() if value is not None}


def _value(file: h5py.File, there: Places, name: str) -> Any:
    """What the header said under this name; None for what it did not say."""
    dataset = file.get(there.settings.get(name) or there.inside(name))
    return dataset[()] if isinstance(dataset, h5py.Dataset) else None
