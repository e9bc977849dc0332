"""How frames lie in their dataset: rows, chunks, filters; and the chunk that several small frames fill together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import hdf5plugin
from typing_extensions import Buffer

from bluesky_streamdet.core.events import BSLZ4, LZ4, FrameFormat
from bluesky_streamdet.streaming.files.layouts.layout import SHARED_CHUNK_FRAMES

SHARED_CHUNK_BYTES = 1 << 20
SHARED_FRAME_BYTES = 256 << 10
"""Frames up to this size share chunks of up to `SHARED_CHUNK_BYTES` or `SHARED_CHUNK_FRAMES`."""

FILTERS: dict[str, Mapping[str, Any]] = {BSLZ4: hdf5plugin.Bitshuffle(cname="lz4"), LZ4: hdf5plugin.LZ4()}
"""The HDF5 filter that reads what each payload encoding holds; none for raw pixels."""
FILTER_NAMES = {None: "no filter", **{one["compression"]: name for name, one in FILTERS.items()}}


class Misfit(ValueError):
    """What comes does not go into the datasets that a file has; says why."""


class Storage(NamedTuple):
    """The dataset of the frames, of shape (rows, *tail). together: frames of a chunk. filter: number of the filter."""

    together: int
    tail: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    filter: int | None

    def create(self, file: h5py.File, path: str, encoding: str) -> h5py.Dataset:
        """The dataset, still without rows."""
        shape, most = (0, *self.tail), (None, *self.tail)
        how = FILTERS.get(encoding, {})
        return file.create_dataset(path, shape, self.dtype, maxshape=most, chunks=self.chunk, **how)

    def check(self, data: h5py.Dataset) -> None:
        """Raise `Misfit` unless the dataset is as this one would be."""
        pipeline = data.id.get_create_plist()
        filters = [pipeline.get_filter(index)[0] for index in range(pipeline.get_nfilters())]
        there: dict[str, Any] = {
            "frames of shape": data.shape[1:],
            "pixels of type": data.dtype.str,
            "pixels with": FILTER_NAMES.get(filters[0] if filters else None, filters),
            "chunks of": data.chunks,
        }
        comes = self.tail, self.dtype, FILTER_NAMES[self.filter], self.chunk
        for (what, found), wanted in zip(there.items(), comes, strict=True):
            if found != wanted:
                raise Misfit(f"it has {what} {found}, and what comes has {wanted}")


def storage_of(form: FrameFormat, event: int, most: int = SHARED_CHUNK_FRAMES) -> Storage:
    """Where frames of the format go, of which an event has `event`. most: frames that share a chunk."""
    events = () if event == 1 else (event,)
    chunk, together = (*(1 for _ in events), *form.chunk), 1
    if form.encoding not in FILTERS and form.parts == 1:
        together = frames_per_chunk(form.nbytes, event, most)
    if together > 1:
        chunk = (*events, *form.shape)
    rows = max(1, together // event)
    number = FILTERS[form.encoding]["compression"] if form.encoding in FILTERS else None
    return Storage(together, (*events, *form.shape), form.dtype, (rows, *chunk), number)


def frames_per_chunk(nbytes: int, event: int = 1, most: int = SHARED_CHUNK_FRAMES) -> int:
    """How many raw frames of `nbytes` share a chunk: a whole number of events of `event` frames, or one frame."""
    if nbytes > SHARED_FRAME_BYTES or event * nbytes > SHARED_CHUNK_BYTES or most == 1:
        return 1
    frames = max(1, min(most, SHARED_CHUNK_BYTES // nbytes))
    return max(event, frames // event * event)


class SharedChunk:
    """A chunk of several frames that is being filled. One buffer for all, as fresh memory costs more than the copy."""

    def __init__(self, most: int, nbytes: int) -> None:
        self.buffer = bytearray(most * nbytes)
        self.frames = 0
        self._view = memoryview(self.buffer)
        self._nbytes = nbytes
        self._most = most

    @property
    def full(self) -> bool:
        return self.frames == self._most

    def add(self, pixels: Buffer) -> None:
        start = self.frames * self._nbytes
        self._view[start : start + self._nbytes] = pixels
        self.frames += 1

    def resume(self, data: h5py.Dataset, rows: int, event: int) -> None:
        """Go on with the chunk at the end of a dataset of so many frames, where that is not full."""
        self.frames = rows % self._most
        if self.frames:
            first = (rows - self.frames) // event
            _, content = data.id.read_direct_chunk((first, *(0 for _ in data.shape[1:])))
            self._view[:] = content

    def clear(self) -> None:
        self.frames = 0
