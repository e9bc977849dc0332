"""The dataset of the frames: they are written as they came, by direct chunk writes.

Frames that are small and not compressed share a chunk; its part that is not filled yet is written again with the next.
"""

from __future__ import annotations

from collections.abc import Sequence

import h5py

from bluesky_streamdet.core.events import Frame, FrameFormat
from bluesky_streamdet.streaming.files.chunks import SharedChunk, storage_of
from bluesky_streamdet.streaming.files.flatview import EVENT_ATTRIBUTE
from bluesky_streamdet.streaming.files.growth import Growth
from bluesky_streamdet.streaming.files.layouts.layout import Frames
from bluesky_streamdet.streaming.status import DatasetReport


class FrameData:
    """Frames of one format at `path`, of which an event has `event`. end: how many the dataset has, all written.

    before: that it has already; None to make it. Raises `Misfit` for a dataset that is there and of another kind, and
    what h5py raises.
    """

    def __init__(
        self,
        file: h5py.File,
        path: str,
        form: FrameFormat,
        event: int,
        wanted: Frames,
        growth: Growth,
        before: int | None = None,
    ) -> None:
        self.end = before or 0
        self._format = form
        self._event = event
        storage = storage_of(form, event, wanted.frames_per_chunk)
        own = growth.attributes(path, wanted.attributes)
        if before is None:
            data = storage.create(file, path, form.encoding)
            data.attrs.update(own)
            if event > 1:
                data.attrs[EVENT_ATTRIBUTE] = event
        else:
            data = file[path]
            storage.check(data)
        self._together = storage.together
        self._shared = SharedChunk(self._together, form.nbytes if self._together > 1 else 0)
        if self._together > 1:
            self._shared.resume(data, self.end, event)
        self._id = data.id
        self._tail = storage.tail
        self._zeros = (0,) * len(form.shape)
        self.report = DatasetReport(
            dataset=path,
            shape=form.shape,
            dtype=form.dtype,
            chunk_shape=storage.chunk,
            frames_per_event=event,
            first_row=self.end,
        )

    def accepts(self, frame: Frame) -> bool:
        """Whether the frame is of the format."""
        return frame.format is self._format or frame.format == self._format

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames, in this order."""
        self._resize(self.end + len(frames))
        if self._together > 1:
            self._write_shared(frames)
        else:
            self._write_single(frames)

    def flush(self) -> None:
        """Have all that was written in the file."""
        if self._shared.frames:
            self._write_chunk()
        self._id.flush()

    def trim(self, frames: int) -> None:
        """Keep so many."""
        self._resize(frames)

    def forget(self, end: int) -> None:
        """Count on `end` frames only, and drop those that wait for their chunk to fill."""
        self.end = end
        self._shared.clear()

    def _write_single(self, frames: Sequence[Frame]) -> None:
        write, event = self._id.write_direct_chunk, self._event
        for frame in frames:
            row = (self.end,) if event == 1 else divmod(self.end, event)
            if len(frame.parts) == 1:
                write((*row, *self._zeros), frame.parts[0])
            else:
                step, rest = frame.format.chunk[0], self._zeros[1:]
                for index, part in enumerate(frame.parts):
                    write((*row, index * step, *rest), part)
            self.end += 1

    def _write_shared(self, frames: Sequence[Frame]) -> None:
        shared = self._shared
        for frame in frames:
            shared.add(frame.parts[0])
            self.end += 1
            if shared.full:
                self._write_chunk()
                shared.clear()

    def _write_chunk(self) -> None:
        first = (self.end - self._shared.frames) // self._event
        self._id.write_direct_chunk((first, *(0 for _ in self._tail)), self._shared.buffer)

    def _resize(self, frames: int) -> None:
        self._id.set_extent((-(-frames // self._event), *self._tail))
