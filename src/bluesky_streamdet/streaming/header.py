"""What a file of ours says of its detector, as the stream's header said it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.geometry import SAID
from bluesky_streamdet.streaming.files import nexus
from bluesky_streamdet.streaming.files.inspect import FileReport, NotOurFile, inspect
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
        data = file[nexus.DATA]
        if not report.readable or not isinstance(data, h5py.Dataset):
            raise NotOurFile(f"{path} has no frame yet.", "Take one, so that its shape and its gaps are known.")
        last = data[-1] if report.frames_per_event == 1 else data[-1, 0]
        group = file[nexus.detector_group(report.detector)]
        assert isinstance(group, h5py.Group)
        bad = masked(last)
        if "pixel_mask" in group and group["pixel_mask"].shape == bad.shape:
            bad |= group["pixel_mask"][()] != 0
        return FileHeader(_said(file, report), tuple(report.shape), report.dtype, bad)


def _said(file: h5py.File, report: FileReport) -> dict[str, Any]:
    places = [nexus.detector_group(report.detector), nexus.collection_group(report.detector)]
    said = {}
    for name in SAID:
        paths = [nexus.ELSEWHERE[name]] if name in nexus.ELSEWHERE else [f"{place}/{name}" for place in places]
        for path in paths:
            if path in file and isinstance(file[path], h5py.Dataset):
                said[name] = file[path][()]
                break
    return said
