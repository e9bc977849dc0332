"""One series in one HDF5 file: frames as they came, by direct chunk writes; readable by others while it grows (SWMR).

What is counted as readable survives `kill -9` of this process. The datasets are never longer than what was written.
Frames that are small and not compressed share a chunk; its part that is not filled yet is written again with the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import FileTaken, WriteFailed
from bluesky_streamdet.core.events import BSLZ4, Frame, FrameFormat
from bluesky_streamdet.streaming import nexus
from bluesky_streamdet.streaming.messages import DatasetReport, SeriesReport

SHARED_CHUNK_BYTES = 1 << 20
SHARED_CHUNK_FRAMES = 64
SHARED_FRAME_BYTES = 256 << 10
"""Frames up to this size share chunks of up to `SHARED_CHUNK_BYTES` or `SHARED_CHUNK_FRAMES`."""
SCALAR_CHUNK = 4096

FILTERS: dict[str, Mapping[str, Any]] = {BSLZ4: hdf5plugin.Bitshuffle(cname="lz4")}
"""The HDF5 filter that reads what each payload encoding holds; none for raw pixels."""


class ScalarColumn:
    """A dataset of one number for each frame, gathered in memory and written in blocks."""

    def __init__(self, group: h5py.Group, name: str, dtype: str, unit: str) -> None:
        dataset = group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(SCALAR_CHUNK,))
        if unit:
            dataset.attrs["units"] = unit
        self._id = dataset.id
        self._dtype = np.dtype(dtype)
        self._written = 0
        self.waiting: list[Any] = []

    def write(self) -> None:
        """Append what is waiting."""
        block = np.array(self.waiting, self._dtype)
        start, self._written = self._written, self._written + len(block)
        self._id.set_extent((self._written,))
        space = self._id.get_space()
        space.select_hyperslab((start,), (len(block),))
        self._id.write(h5py.h5s.create_simple((len(block),)), space, block)
        self.waiting.clear()

    def trim(self, rows: int) -> None:
        """Keep so many."""
        if self._written > rows:
            self._id.set_extent((rows,))
            self._written = rows


class _SharedChunk:
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

    def clear(self) -> None:
        self.frames = 0


class SeriesFile:
    """The file of one series. Opened with the first frame, as only that tells what all of them are like.

    path: inside the data directory, checked. event: frames of an event; more than one gives a dataset (events, frames,
    …). Raises `WriteFailed` from each method when the file system or HDF5 refuses; then nothing more can be written.
    """

    def __init__(self, path: Path, detector: str, series: str, *, event: int = 1, replace: bool = False) -> None:
        self.path = path
        self.rows = 0
        self.readable = 0
        self.data: DatasetReport | None = None
        self._detector = detector
        self._series = series
        self._event = event
        self._mode = "w" if replace else "x"
        self._file: h5py.File | None = None
        self._format: FrameFormat | None = None
        self._columns: dict[str, ScalarColumn] = {}
        self._together = 1
        self._shared = _SharedChunk(0, 0)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self, first: Frame, started: datetime, metadata: Mapping[str, Any]) -> None:
        """Create the file, with all that it will hold while it grows: SWMR admits no new object."""
        try:
            self._file = h5py.File(self.path, self._mode, libver="latest", locking=False)
        except FileExistsError as error:
            raise FileTaken(f"The file {self.path} exists.", "Choose another name, or ask to replace it.") from error
        except OSError as error:
            raise WriteFailed(f"The file {self.path} can't be created: {error}.") from error
        try:
            nexus.create(self._file, self._detector, self._series, started, metadata)
            group = self._file[nexus.detector_group(self._detector)]
            self._create_data(group, first.format)
            self._columns = {
                "sequence_number": ScalarColumn(group, "sequence_number", "u8", ""),
                "receive_time": ScalarColumn(group, "receive_time", "i8", "ns"),
            }
            group["receive_time"].attrs["start"] = "1970-01-01T00:00:00Z"
            for name, value in (first.detail or {}).items():
                if isinstance(value, int | float):
                    kind = "i8" if isinstance(value, int) else "f8"
                    self._columns[name] = ScalarColumn(group, name, kind, "ns" if name.endswith("_time") else "")
            self._file.swmr_mode = True
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            self._give_up()
            raise WriteFailed(f"The file {self.path} can't be set up: {error}.") from error

    def _create_data(self, group: h5py.Group, form: FrameFormat) -> None:
        self._format = form
        event = () if self._event == 1 else (self._event,)
        chunk = (*(1 for _ in event), *form.chunk)
        if form.encoding not in FILTERS and form.parts == 1:
            self._together = frames_per_chunk(form.nbytes, self._event)
        if self._together > 1:
            chunk = (*event, *form.shape)
            self._shared = _SharedChunk(self._together, form.nbytes)
        rows = max(1, self._together // self._event)
        data = group.create_dataset(
            "data",
            (0, *event, *form.shape),
            form.dtype,
            maxshape=(None, *event, *form.shape),
            chunks=(rows, *chunk),
            **FILTERS.get(form.encoding, {}),
        )
        nexus.link_data(group.file, data, self._event)
        self._id = data.id
        self._tail = (*event, *form.shape)
        self._zeros = (0,) * len(form.shape)
        self.data = DatasetReport(
            dataset=nexus.DATA,
            shape=form.shape,
            dtype=form.dtype,
            chunk_shape=(rows, *chunk),
            frames_per_event=self._event,
        )

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames of one format, in this order. Raises `WriteFailed`."""
        numbers, times = self._columns["sequence_number"].waiting, self._columns["receive_time"].waiting
        try:
            end = self.rows + len(frames)
            self._id.set_extent((-(-end // self._event), *self._tail))
            if self._together > 1:
                self._write_shared(frames)
            else:
                self._write_single(frames)
        except (OSError, RuntimeError, ValueError) as error:
            raise WriteFailed(f"The file {self.path} can't be written: {error}.") from error
        for frame in frames:
            numbers.append(frame.number)
            times.append(frame.received)
        if len(self._columns) > 2:
            self._note_details(frames)

    def _note_details(self, frames: Sequence[Frame]) -> None:
        for name, column in list(self._columns.items())[2:]:
            column.waiting.extend((frame.detail or {}).get(name, 0) for frame in frames)

    def _write_single(self, frames: Sequence[Frame]) -> None:
        write, event = self._id.write_direct_chunk, self._event
        for frame in frames:
            row = (self.rows,) if event == 1 else divmod(self.rows, event)
            if len(frame.parts) == 1:
                write((*row, *self._zeros), frame.parts[0])
            else:
                step, rest = frame.format.chunk[0], self._zeros[1:]
                for index, part in enumerate(frame.parts):
                    write((*row, index * step, *rest), part)
            self.rows += 1

    def _write_shared(self, frames: Sequence[Frame]) -> None:
        shared = self._shared
        for frame in frames:
            shared.add(frame.parts[0])
            self.rows += 1
            if shared.full:
                self._write_chunk()
                shared.clear()

    def _write_chunk(self) -> None:
        first = (self.rows - self._shared.frames) // self._event
        self._id.write_direct_chunk((first, *(0 for _ in self._tail)), self._shared.buffer)

    def accepts(self, frame: Frame) -> bool:
        """Whether the frame is of the kind that the file was opened for."""
        return frame.format is self._format or frame.format == self._format

    def flush(self) -> int:
        """Make all that was written readable by other processes; return how many frames that is."""
        if self._file is not None and self.rows > self.readable:
            try:
                if self._shared.frames:
                    self._write_chunk()
                for column in self._columns.values():
                    column.write()
                self._file.flush()
            except (OSError, RuntimeError, ValueError) as error:
                raise WriteFailed(f"The file {self.path} can't be flushed: {error}.") from error
            self.readable = self.rows
        return self.readable

    def cut(self, rows: int) -> None:
        """Keep so many frames, when the file closes."""
        self.rows = self.readable = rows

    def forget_unflushed(self) -> int:
        """After a failure: count on nothing but what was readable before. Returns how many frames that gives up."""
        lost, self.rows = self.rows - self.readable, self.readable
        self._shared.clear()
        for column in self._columns.values():
            column.waiting.clear()
        return lost

    def close(self, report: SeriesReport, parameters: Mapping[str, Any]) -> None:
        """Close the file; then, as SWMR admits no new object while it is open, add the verdict and the parameters."""
        if self._file is None:
            return
        try:
            self.flush()
            self._trim()
            self._file.close()
            self._file = None
            with h5py.File(self.path, "r+", libver="latest", locking=False) as file:
                if self._event > 1:
                    _add_flat_view(file, self._event)
                nexus.finish(file, self._detector, report, parameters)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise WriteFailed(f"The file {self.path} can't be closed well: {error}.") from error
        finally:
            self._give_up()

    def _trim(self) -> None:
        """Bring all datasets to the length that counts."""
        self._id.set_extent((-(-self.rows // self._event), *self._tail))
        for column in self._columns.values():
            column.trim(self.rows)

    def _give_up(self) -> None:
        """Let go of the file, whatever state it is in. What was flushed stays readable."""
        file, self._file = self._file, None
        self._shared.clear()
        if file is not None:
            try:
                file.close()
            except (OSError, RuntimeError) as error:
                raise WriteFailed(f"The file {self.path} can't be closed: {error}.") from error


def frames_per_chunk(nbytes: int, event: int = 1) -> int:
    """How many raw frames of `nbytes` share a chunk: a whole number of events of `event` frames, or one frame."""
    if nbytes > SHARED_FRAME_BYTES or event * nbytes > SHARED_CHUNK_BYTES:
        return 1
    frames = max(1, min(SHARED_CHUNK_FRAMES, SHARED_CHUNK_BYTES // nbytes))
    return max(event, frames // event * event)


def _add_flat_view(file: h5py.File, event: int) -> None:
    """A virtual dataset of single frames over one of events, for readers that know nothing of events."""
    data = file[nexus.DATA]
    events, shape = data.shape[0], data.shape[2:]
    layout = h5py.VirtualLayout((events * event, *shape), data.dtype)
    source = h5py.VirtualSource(".", nexus.DATA, data.shape)
    for index in range(event):
        layout[index::event] = source[:, index]
    if events:
        file["/entry/data"].create_virtual_dataset("frames", layout)


def append_journal(path: Path, parameters: Mapping[str, Any]) -> None:
    """Keep late parameters beside the file until it closes; one JSON object a line."""
    with open(journal_of(path), "a", encoding="utf-8") as journal:
        journal.write(json.dumps(dict(parameters), default=str) + "\n")


def take_journal(path: Path) -> dict[str, Any]:
    """The late parameters of `path`, the newest of each name; a line that a crash cut short is left out."""
    parameters: dict[str, Any] = {}
    try:
        lines = journal_of(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            parameters.update(json.loads(line))
        except ValueError:
            continue
    return parameters


def journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".parameters")
