"""What a file of frames has, whether it was closed or its writer died: how many frames are whole, and where."""

from __future__ import annotations

import json

import h5py
import numpy as np

from bluesky_streamdet.streaming.files import apart, layouts
from bluesky_streamdet.streaming.files.flatview import EVENT_ATTRIBUTE
from bluesky_streamdet.streaming.files.layouts import places
from bluesky_streamdet.streaming.files.layouts.layout import Layout
from bluesky_streamdet.streaming.files.layouts.places import Places


def layout_of(file: h5py.File, there: Places) -> Layout:
    try:
        return places.layout_in(file, there).layout
    except (KeyError, ValueError, json.JSONDecodeError):
        return layouts.nexus().layout  # An older version's, all of whose files were of this one.


def words_of(file: h5py.File, there: Places) -> dict[str, str]:
    return dict(places.words_of(layout_of(file, there), there))


def frames_per_event(file: h5py.File, there: Places) -> int:
    return int(file[there.frames].attrs.get(EVENT_ATTRIBUTE, 1))


def outcome_of(file: h5py.File, there: Places) -> str:
    return file[there.inside("outcome")].asstr()[()]


def frames_of(file: h5py.File, there: Places) -> int:
    """Frames that have all that belongs to them."""
    rows, event = min(len(one) for one in growing(file, there).values()), frames_per_event(file, there)
    if event == 1 or not rows:
        return rows
    # The last event may have some of its frames only; the others came at no time.
    return (rows - 1) * event + int(np.count_nonzero(file[there.columns["receive_time"]][rows - 1]))


def growing(file: h5py.File, there: Places) -> dict[str, h5py.Dataset]:
    """The datasets of the frames and of what each frame has beside it, by path."""
    own = {there.frames, *there.columns.values()}
    others = {path for name in places.dataset_names(file) if name != there.dataset for path in _paths(file, name)}
    found = {path: file[path] for path in own}
    for group in {path.rpartition("/")[0] for path in own}:
        for name, one in file[group or "/"].items():
            path = f"{group}/{name}"
            tables = path.startswith(f"{there.account}/") and name in ("series", apart.APART)
            grows = isinstance(one, h5py.Dataset) and one.maxshape[:1] == (None,)
            if grows and not tables and path not in others:
                found[path] = one
    return found


def _paths(file: h5py.File, dataset: str) -> set[str]:
    there = places.read(file, dataset)
    return {there.frames, *there.columns.values()}


def last_byte(dataset: h5py.Dataset) -> int:
    """Where the last of its chunks ends."""
    last = 0

    def look(chunk: h5py.h5d.StoreInfo) -> None:
        nonlocal last
        last = max(last, (chunk.byte_offset or 0) + chunk.size)

    dataset.id.chunk_iter(look)
    return last
