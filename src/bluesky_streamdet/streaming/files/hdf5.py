"""One series in one HDF5 file: frames as they came, by direct chunk writes; readable by others while it grows (SWMR).

What is counted as readable survives `kill -9` of this process. The datasets are never longer than what was written.
Frames that are small and not compressed share a chunk; its part that is not filled yet is written again with the next.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py

from bluesky_streamdet.core.errors import FileTaken, WriteFailed
from bluesky_streamdet.core.events import Frame, FrameFormat
from bluesky_streamdet.streaming.files import appending, experiment, nexus
from bluesky_streamdet.streaming.files.chunks import Misfit, SharedChunk, layout_of
from bluesky_streamdet.streaming.files.columns import NumberColumn, RecordColumns
from bluesky_streamdet.streaming.files.journal import journal_of, take_journal
from bluesky_streamdet.streaming.files.paths import EXISTS
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.verdict import Verdict
from bluesky_streamdet.streaming.status import DatasetReport, SeriesReport

LIBRARY = ("v110", "v110")
"""The first HDF5 that knows SWMR. "latest" makes files that only the newest library reads."""
ROOM_TO_ADD = 1 << 20
"""Bytes that the disk must have left before a file that is closed and good is opened again to add something."""

NANOSECONDS = frozenset({"start_time", "stop_time", "real_time"})
"""Particulars of a frame that codecs give in ns; of others the unit is what the stream means by it."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSALS = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError)
"""What h5py raises when HDF5 or the file system refuses."""


class SeriesFile:
    """The file of one series. Opened with the first frame, as only that tells what all of them are like.

    path: inside the data directory, checked. event: frames of an event; more than one gives a dataset (events, frames,
    …). append: go on behind the frames that the file has, if there is one. also: another path in the file that the
    frames shall have. rows, readable: frames of this series. Raises `WriteFailed` from each method when the file system
    or HDF5 refuses; then nothing more can be written.
    """

    def __init__(
        self,
        path: Path,
        detector: str,
        series: str,
        *,
        event: int = 1,
        replace: bool = False,
        append: bool = False,
        also: str | None = None,
    ) -> None:
        self.path = path
        self.rows = 0
        self.readable = 0
        self.data: DatasetReport | None = None
        self._detector = detector
        self._series = series
        self._event = event
        self._replace = replace
        self._append = append
        self._before = 0
        self._added: dict[str, Any] = {}
        self._also = also
        self._file: h5py.File | None = None
        self._format: FrameFormat | None = None
        self._columns: dict[str, NumberColumn] = {}
        self._records: RecordColumns | None = None
        self._together = 1
        self._shared = SharedChunk(0, 0)
        self._verdict: Verdict | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(
        self, first: Frame, started: datetime, metadata: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Create the file, with all that it will hold while it grows, as SWMR admits no new object; or go on in one.

        Raises `FileTaken` for a file that is there: unless asked to replace it, or to append what fits into it.
        """
        if self._append and self.path.exists():
            self._go_on(first, started, metadata, parameters or {})
            return
        self._file = self._create()
        try:
            nexus.create(self._file, self._detector, self._series, started, metadata)
            experiment.add_parameters(self._file, self._detector, parameters or {})
            self._verdict = Verdict.create(self._file, self._detector, started)
            group = self._file[nexus.detector_group(self._detector)]
            self._lay_out(group, first, metadata)
            if self._also is not None:
                nexus.link_as(group, self._also)
            self._file.swmr_mode = True
        except REFUSALS as error:
            with suppress(OSError):
                self.path.unlink()  # There is nothing in it, and its name may be wanted.
            self._give_up()
            raise self._failed("set up", error) from error

    def _go_on(
        self, first: Frame, started: datetime, metadata: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> None:
        """Open a file that is there behind its last frame, once it is sure that this one fits."""
        before = appending.look(self.path, self._detector, self._series, self._event)
        try:
            with open_to_read(self.path) as file:
                self._lay_out(file[nexus.detector_group(self._detector)], first, metadata, before.readable)
        except Misfit as error:
            self.data = None
            raise appending.refused(self.path, f"{error}.") from error
        except REFUSALS as error:
            raise self._failed("read", error) from error
        try:
            self._file = appending.open_to_write(self.path)
            self._verdict = Verdict(self._file, self._detector)
            self._verdict.set_aside(before.account, self._series, started)
            group = self._file[nexus.detector_group(self._detector)]
            self._lay_out(group, first, metadata, before.readable)
            late = take_journal(self.path)
            self._added = {"late": late, "settings": dict(metadata), "parameters": dict(parameters)}
        except REFUSALS as error:
            self._give_up()
            raise self._failed("opened to go on with", error) from error

    def _lay_out(self, group: h5py.Group, first: Frame, metadata: Mapping[str, Any], before: int | None = None) -> None:
        """Make all datasets that grow; or find them, with the frames that they have. Raises `Misfit`."""
        self._before = before or 0
        grown = appending.growing(group) if before is not None else {}
        self._open_data(group, first.format, before)
        self._open_columns(group, first.detail or {}, grown, before)
        if first.format.scalars:
            taken = group if before is None else [name for name in group if name not in grown or name in self._columns]
            self._records = RecordColumns(group, first.format, metadata, self._event, taken, before)
            assert self.data is not None
            self.data.scalars = self._records.reports
        if before is None and first.format.scalars:
            nexus.link_spectra(group, metadata)
        wanted = {*self._columns, *(one.name for one in (self._records.reports if self._records is not None else ()))}
        if missing := sorted(grown.keys() - wanted):
            raise Misfit(f"it has {', '.join(missing)} of each frame, which does not come now")

    def _create(self) -> h5py.File:
        try:
            if self._replace:
                # Who still reads the old one goes on reading that.
                self.path.unlink(missing_ok=True)
            journal_of(self.path).unlink(missing_ok=True)
            return h5py.File(self.path, "x", libver=LIBRARY, locking=False)
        except FileExistsError as error:
            raise FileTaken(f"The file {self.path} exists.", EXISTS) from error
        except REFUSALS as error:
            with suppress(OSError):
                self.path.unlink()
            raise self._failed("created", error) from error

    def _open_columns(
        self, group: h5py.Group, detail: Mapping[str, Any], grown: Mapping[str, Any], before: int | None
    ) -> None:
        self._columns = {
            "sequence_number": NumberColumn(group, "sequence_number", "u8", "", self._event, before),
            "receive_time": NumberColumn(group, "receive_time", "i8", "ns", self._event, before),
        }
        if before is None:
            group["receive_time"].attrs["start"] = "1970-01-01T00:00:00Z"
        for name, value in detail.items():
            # A stream may call its numbers as it likes, also as something is called that is there.
            free = name not in group or (name in grown and name not in self._columns)
            if isinstance(value, int | float) and free:
                kind, unit = "i8" if isinstance(value, int) else "f8", "ns" if name in NANOSECONDS else ""
                self._columns[name] = NumberColumn(group, name, kind, unit, self._event, before)

    def _open_data(self, group: h5py.Group, form: FrameFormat, before: int | None) -> None:
        layout = layout_of(form, self._event)
        if before is None:
            data = layout.create(group, form.encoding)
            nexus.link_data(group.file, data, self._event)
        else:
            data = group["data"]
            layout.check(data)
        self._format, self._together = form, layout.together
        if self._together > 1:
            self._shared = SharedChunk(self._together, form.nbytes)
            self._shared.resume(data, self._before, self._event)
        self._id = data.id
        self._tail = layout.tail
        self._zeros = (0,) * len(form.shape)
        self.data = DatasetReport(
            dataset=nexus.DATA,
            shape=form.shape,
            dtype=form.dtype,
            chunk_shape=layout.chunk,
            frames_per_event=self._event,
            first_row=self._before,
        )

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames of one format, in this order. Raises `WriteFailed`."""
        numbers, times = self._columns["sequence_number"].waiting, self._columns["receive_time"].waiting
        try:
            end = self._end + len(frames)
            self._id.set_extent((-(-end // self._event), *self._tail))
            if self._together > 1:
                self._write_shared(frames)
            else:
                self._write_single(frames)
        except REFUSALS as error:
            raise self._failed("written", error) from error
        for frame in frames:
            numbers.append(frame.number)
            times.append(frame.received)
        if len(self._columns) > 2:
            self._note_details(frames)
        if self._records is not None:
            self._records.take(frames)

    def _note_details(self, frames: Sequence[Frame]) -> None:
        for name, column in list(self._columns.items())[2:]:
            column.waiting.extend((frame.detail or {}).get(name, 0) for frame in frames)

    def _write_single(self, frames: Sequence[Frame]) -> None:
        write, event = self._id.write_direct_chunk, self._event
        for frame in frames:
            row = (self._end,) if event == 1 else divmod(self._end, event)
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
        first = (self._end - self._shared.frames) // self._event
        self._id.write_direct_chunk((first, *(0 for _ in self._tail)), self._shared.buffer)

    @property
    def _end(self) -> int:
        """Frames in the file, with those of earlier series."""
        return self._before + self.rows

    def accepts(self, frame: Frame) -> bool:
        """Whether the frame is of the kind that the file was opened for."""
        return frame.format is self._format or frame.format == self._format

    def flush(self) -> int:
        """Make all that was written readable by other processes; return how many frames that is."""
        if self._file is not None and self.rows > self.readable:
            try:
                if self._shared.frames:
                    self._write_chunk()
                # First the frames, then what counts them: a crash in between must not leave a count without frames.
                self._id.flush()
                for column in self._all_columns():
                    column.write()
                self._file.flush()
            except REFUSALS as error:
                raise self._failed("flushed", error) from error
            self.readable = self.rows
        return self.readable

    def cut(self, rows: int) -> None:
        """Keep so many frames, when the file closes."""
        self.rows = self.readable = rows

    def forget_unflushed(self) -> int:
        """After a failure: count on nothing but what was readable before. Returns how many frames that gives up."""
        lost, self.rows = self.rows - self.readable, self.readable
        self._shared.clear()
        for column in self._all_columns():
            column.forget()
        return lost

    def close(self, report: SeriesReport, late: Mapping[str, Any]) -> None:
        """Write the verdict and close the file; then add what SWMR does not admit while it is open.

        late: parameters that came after the file was opened.
        """
        if self._file is None:
            return
        try:
            self.flush()
            self._trim()
            assert self._verdict is not None
            self._verdict.write(report)
            self._file.close()
            self._file = None
            if late or self._event > 1 or self._added:
                self._add(late)
        except REFUSALS as error:
            raise self._failed("closed well", error) from error
        finally:
            self._give_up()

    def _add(self, late: Mapping[str, Any]) -> None:
        disk = os.statvfs(self.path)
        if disk.f_bavail * disk.f_frsize < ROOM_TO_ADD:
            raise OSError("the disk is too full to add the parameters that came late, or the view of single frames")
        with h5py.File(self.path, "r+", libver=LIBRARY, locking=False) as file:
            if self._event > 1:
                _add_flat_view(file, self._event, self._end)
            if self._added:
                appending.add_account(file, self._detector, self._series, self._added, late)
                if self._also is not None:
                    nexus.link_as(file[nexus.detector_group(self._detector)], self._also)
            else:
                experiment.add_parameters(file, self._detector, late)
        journal_of(self.path).unlink(missing_ok=True)

    def _trim(self) -> None:
        """Bring all datasets to the length that counts."""
        self._id.set_extent((-(-self._end // self._event), *self._tail))
        for column in self._all_columns():
            column.trim(self._end)

    def _all_columns(self) -> list[NumberColumn | RecordColumns]:
        return [*self._columns.values(), *([] if self._records is None else [self._records])]

    def _failed(self, what: str, error: Exception) -> WriteFailed:
        """The error in the user's words; HDF5's own fill a page."""
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number else str(error).partition(" (")[0]
        hint = "Make room, or change files.directory in the configuration." if number in FULL else ""
        return WriteFailed(f"The file {self.path} can't be {what}: {why}.", hint)

    def _give_up(self) -> None:
        """Let go of the file, whatever state it is in. What was flushed stays readable."""
        file, self._file = self._file, None
        self._shared.clear()
        if file is not None:
            try:
                file.close()
            except REFUSALS as error:
                raise self._failed("closed", error) from error


def _add_flat_view(file: h5py.File, event: int, rows: int) -> None:
    """A virtual dataset of `rows` single frames over one of events, for readers that know nothing of events."""
    data = file[nexus.DATA]
    if "frames" in file["/entry/data"]:
        del file["/entry/data/frames"]
    layout = h5py.VirtualLayout((rows, *data.shape[2:]), data.dtype)
    source = h5py.VirtualSource(".", nexus.DATA, data.shape)
    whole, rest = divmod(rows, event)
    # HDF5 maps element by element, in their order, so that the shapes need not agree.
    if whole:
        layout[: whole * event] = source[:whole]
    if rest:
        layout[whole * event :] = source[whole, :rest]
    if rows:
        file["/entry/data"].create_virtual_dataset("frames", layout)
