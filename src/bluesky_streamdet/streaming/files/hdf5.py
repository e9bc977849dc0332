"""One series in one HDF5 file: frames as they came, by direct chunk writes; readable by others while it grows (SWMR).

What is counted as readable survives `kill -9` of this process. The datasets are never longer than what was written.
Frames that are small and not compressed share a chunk; its part that is not filled yet is written again with the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.core.events import Frame, FrameFormat
from bluesky_streamdet.streaming.files import appending, layouts, places, placing
from bluesky_streamdet.streaming.files.access import AS_USUAL, Access, Writable
from bluesky_streamdet.streaming.files.amending import amended, redo_log
from bluesky_streamdet.streaming.files.beside import Beside
from bluesky_streamdet.streaming.files.chunks import Misfit, SharedChunk, storage_of
from bluesky_streamdet.streaming.files.facts import facts_of
from bluesky_streamdet.streaming.files.failing import REFUSALS, failed
from bluesky_streamdet.streaming.files.flatview import EVENT_ATTRIBUTE, add_flat_view
from bluesky_streamdet.streaming.files.growth import Growth
from bluesky_streamdet.streaming.files.journal import append_journal, journal_of, take_journal
from bluesky_streamdet.streaming.files.layouts import Chosen
from bluesky_streamdet.streaming.files.merging import merge
from bluesky_streamdet.streaming.files.mould import Mould
from bluesky_streamdet.streaming.files.parts import Part
from bluesky_streamdet.streaming.files.paths import EXISTS
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.verdict import Verdict
from bluesky_streamdet.streaming.status import DatasetReport, ScalarReport, SeriesReport


class SeriesFile:
    """The file of one series. Opened with the first frame, as only that tells what all of them are like.

    path: inside the data directory, checked. event: frames of an event; more than one gives a dataset (events, frames,
    …). append: go on behind the frames of the dataset of a file that is there. add: put another dataset into such a
    file; either makes a file that is not there. layout: of a new file; one that is there has its own. dataset: name of
    the frames' dataset. also: another path in the file that the frames shall have. part: which of the series' files it
    is, where there are several. rows, readable: frames of this series.
    Raises `WriteFailed` from each method when the file system or HDF5 refuses; then nothing more can be written.
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
        add: bool = False,
        also: str | None = None,
        layout: Chosen | None = None,
        dataset: str = places.FIRST_DATASET,
        access: Access = AS_USUAL,
        part: Part | None = None,
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
        self._adds = add
        self._dataset = dataset
        self._chosen = layout or layouts.nexus()
        self._places = places.places_by(self._chosen, detector, dataset)
        self._before = 0
        self._added: dict[str, Any] = {}
        self._also = also
        self._access = access
        self._part = part
        self._opened: Writable | None = None
        self._file: h5py.File | None = None
        self._format: FrameFormat | None = None
        self._growth = Growth({})
        self._beside: Beside | None = None
        self._together = 1
        self._shared = SharedChunk(0, 0)
        self._verdict: Verdict | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def in_place(self) -> bool:
        """Whether the open file is still where it was; somebody can have removed it, or unmounted its disk."""
        return self._opened is not None and self._opened.in_place

    def open(
        self,
        first: Frame,
        started: datetime,
        metadata: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
        mould: Mould | None = None,
    ) -> None:
        """Create the file, with all that it will hold while it grows, as SWMR admits no new object; or go on in one.

        mould: shared with other parts of the series that are opened with the same values.
        Raises `FileTaken` for a file that is there: unless asked to replace it, or to append what fits into it.
        """
        if self.path.exists() and (self._append or self._adds):
            go_on = self._go_on if self._append else self._add_dataset
            go_on(first, started, metadata, parameters or {})
            return
        if mould is not None and mould.content is None:
            self._fill(mould, first, started, metadata, parameters or {})
        self._file = self._create(None if mould is None else mould.content)
        try:
            if mould is None:
                self._make(self._file, first, started, metadata, parameters or {})
            else:
                self._take(self._file, mould, first, started, metadata)
            assert self._opened is not None
            self._opened.grow()
        except REFUSALS as error:
            with suppress(OSError):
                self.path.unlink()  # There is nothing in it, and its name may be wanted.
            self._give_up()
            raise failed(self.path, "set up", error) from error

    @property
    def layout(self) -> str:
        """What the file's layout is called."""
        return self._chosen.name

    @property
    def columns(self) -> list[ScalarReport]:
        """Where number and time of each frame will be, in a new file."""
        return places.first_columns(self._chosen, self._detector, self._dataset)

    def wanting(self, parameters: Mapping[str, Any]) -> str:
        """Which parameters the layout requires that are not among these, in words; empty for none."""
        names = placing.missing(self._chosen.layout, parameters)
        return f"parameters that the layout {self.layout} requires were not given: {', '.join(names)}" if names else ""

    def _make(
        self,
        file: h5py.File,
        first: Frame,
        started: datetime,
        metadata: Mapping[str, Any],
        parameters: Mapping[str, Any],
    ) -> None:
        """Put all into the file that it will hold while it grows."""
        layout, there = self._chosen.layout, self._places
        facts = self._facts(first, started, metadata)
        placing.make(file, layout, facts)
        if self._part is not None:
            self._part.write(file)
        self._verdict = Verdict.create(file, there, self._series, started)
        placing.add_settings(file, layout, there, metadata)
        placing.add_parameters(file, layout, there, parameters)
        self._lay_out(file, first, metadata, facts)
        placing.link(file, layout, facts, scalars=bool(first.format.scalars))
        if self._also is not None:
            placing.link_also(file, there, facts["columns"], self._also)
        places.write(file, self._chosen, there)

    def _fill(
        self,
        mould: Mould,
        first: Frame,
        started: datetime,
        metadata: Mapping[str, Any],
        parameters: Mapping[str, Any],
    ) -> None:
        try:
            mould.fill(
                lambda file: self._make(file, first, started, metadata, parameters), self._access.library(self.path)
            )
        except REFUSALS as error:
            raise failed(self.path, "set up", error) from error
        mould.places = self._places

    def _take(
        self, file: h5py.File, mould: Mould, first: Frame, started: datetime, metadata: Mapping[str, Any]
    ) -> None:
        """Find in the file what another one has put into the mould, and say how this one differs."""
        assert mould.places is not None and self._part is not None
        self._places = mould.places
        self._part.change(file)
        self._verdict = Verdict(file, self._places)
        self._lay_out(file, first, metadata, self._facts(first, started, metadata), 0)
        self._growth.begin(file)

    def _facts(self, first: Frame, started: datetime, said: Mapping[str, Any]) -> dict[str, Any]:
        return facts_of(self._chosen.layout, self._places, self._series, started, first.format, self._event, said)

    def _add_dataset(
        self, first: Frame, started: datetime, metadata: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> None:
        """Put another dataset into a file that is there, whole or not at all; then open it to write."""
        self._chosen = appending.look_beside(self.path, self._detector, self._dataset)
        self._places = places.places_by(self._chosen, self._detector, self._dataset)
        try:
            late = take_journal(self.path)
            with amended(self.path) as file:
                if late:  # of the series before, which could not write them
                    before = places.read(file)
                    placing.add_parameters(file, places.layout_in(file, before).layout, before, late)
                self._make(file, first, started, metadata, parameters)
            journal_of(self.path).unlink(missing_ok=True)
            self._open_again(first, started, metadata, 0)
        except REFUSALS as error:
            self._give_up()
            raise failed(self.path, "opened to add to", error) from error

    def _go_on(
        self, first: Frame, started: datetime, metadata: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> None:
        """Open a file that is there behind its last frame, once it is sure that this one fits."""
        before = appending.look(self.path, self._detector, self._series, self._event, self._dataset)
        try:
            with open_to_read(self.path) as file:
                self._places = places.read(file, self._dataset)
                self._chosen = places.layout_in(file, self._places)
                self._lay_out(file, first, metadata, self._facts(first, started, metadata), before.readable)
        except Misfit as error:
            self.data = None
            raise appending.refused(self.path, f"{error}.") from error
        except REFUSALS as error:
            raise failed(self.path, "read", error) from error
        try:
            file = self._open_again(first, started, metadata, before.readable)
            self._verdict = Verdict(file, self._places)
            self._verdict.set_aside(before.account, self._series, started)
            late = take_journal(self.path)
            self._added = {"late": late, "settings": dict(metadata), "parameters": dict(parameters)}
        except REFUSALS as error:
            self._give_up()
            raise failed(self.path, "opened to go on with", error) from error

    def _open_again(self, first: Frame, started: datetime, metadata: Mapping[str, Any], before: int) -> h5py.File:
        self._opened = self._access.open_to_append(self.path)
        self._opened.grow()
        self._file = file = self._opened.file
        self._verdict = Verdict(file, self._places)
        self._lay_out(file, first, metadata, self._facts(first, started, metadata), before)
        return file

    def _lay_out(
        self,
        file: h5py.File,
        first: Frame,
        metadata: Mapping[str, Any],
        facts: Mapping[str, Any],
        before: int | None = None,
    ) -> None:
        """Make all datasets that grow; or find them, with the frames that they have. Raises `Misfit`."""
        self._before = before or 0
        self._growth = Growth(facts, self._part.first_row if self._part is not None else 0)
        self._open_data(file, first.format, before)
        layout = self._chosen.layout
        self._beside = Beside(file, layout, self._places, first, metadata, self._growth, self._event, before)
        assert self.data is not None
        self.data.columns, self.data.scalars = self._beside.columns, self._beside.scalars
        also = placing.other_paths(layout, facts, scalars=bool(first.format.scalars))
        self.data.also = also if self._also is None else [*also, self._also]

    def _create(self, content: bytes | None) -> h5py.File:
        try:
            self._opened = self._access.create(self.path, replace=self._replace, content=content)
            for beside in (journal_of(self.path), redo_log(self.path)):
                beside.unlink(missing_ok=True)
        except FileExistsError as error:
            raise FileTaken(f"The file {self.path} exists.", EXISTS) from error
        except REFUSALS as error:
            raise failed(self.path, "created", error) from error
        return self._opened.file

    def _open_data(self, file: h5py.File, form: FrameFormat, before: int | None) -> None:
        wanted, path = self._chosen.layout.frames, self._places.frames
        storage = storage_of(form, self._event, wanted.frames_per_chunk)
        own = self._growth.attributes(path, wanted.attributes)
        if before is None:
            data = storage.create(file, path, form.encoding)
            data.attrs.update(own)
            if self._event > 1:
                data.attrs[EVENT_ATTRIBUTE] = self._event
        else:
            data = file[path]
            storage.check(data)
        self._format, self._together = form, storage.together
        if self._together > 1:
            self._shared = SharedChunk(self._together, form.nbytes)
            self._shared.resume(data, self._before, self._event)
        self._id = data.id
        self._tail = storage.tail
        self._zeros = (0,) * len(form.shape)
        self.data = DatasetReport(
            dataset=path,
            shape=form.shape,
            dtype=form.dtype,
            chunk_shape=storage.chunk,
            frames_per_event=self._event,
            first_row=self._before,
        )

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames of one format, in this order. Raises `WriteFailed`."""
        assert self._beside is not None
        try:
            end = self._end + len(frames)
            self._id.set_extent((-(-end // self._event), *self._tail))
            if self._together > 1:
                self._write_shared(frames)
            else:
                self._write_single(frames)
        except REFUSALS as error:
            raise failed(self.path, "written", error) from error
        self._beside.take(frames)

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
        if self._file is not None and self._beside is not None and self.rows > self.readable:
            try:
                if self._shared.frames:
                    self._write_chunk()
                # First the frames, then what counts them: a crash in between must not leave a count without frames.
                self._id.flush()
                self._beside.write()
                self._growth.update(self._file, self._end)
                self._file.flush()
            except REFUSALS as error:
                raise failed(self.path, "flushed", error) from error
            self.readable = self.rows
        return self.readable

    def note(self, parameters: Mapping[str, Any]) -> None:
        """Keep parameters that came late beside the open file, until it closes. Raises `OSError`."""
        append_journal(self.path, parameters)

    def cut(self, rows: int) -> None:
        """Keep so many frames, when the file closes."""
        self.rows = self.readable = rows

    def forget_unflushed(self) -> int:
        """After a failure: count on nothing but what was readable before. Returns how many frames that gives up."""
        lost, self.rows = self.rows - self.readable, self.readable
        self._shared.clear()
        if self._beside is not None:
            self._beside.forget()
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
            self._verdict.write(report, slice(self._before, self._end))
            assert self._opened is not None
            self._opened.close()
            self._file = self._opened = None
            assert self._beside is not None
            if late or self._event > 1 or self._added or self._beside.has_values_apart:
                self._add(late)
        except REFUSALS as error:
            raise failed(self.path, "closed well", error) from error
        finally:
            self._give_up()

    def _add(self, late: Mapping[str, Any]) -> None:
        layout, there = self._chosen.layout, self._places
        with amended(self.path) as file:
            merge(file, layout, there, self._event, self._end)
            if self._event > 1:
                add_flat_view(file, layout, there, self._event, self._end)
            if self._added:
                appending.add_account(file, layout, there, self._series, self._added, late)
                if self._also is not None:
                    columns = places.words_of(layout, there)["columns"]
                    placing.link_also(file, there, columns, self._also)
            else:
                placing.add_parameters(file, layout, there, late)
        journal_of(self.path).unlink(missing_ok=True)

    def _trim(self) -> None:
        """Bring all datasets to the length that counts."""
        assert self._file is not None and self._beside is not None
        self._id.set_extent((-(-self._end // self._event), *self._tail))
        self._beside.trim(self._end)
        self._growth.update(self._file, self._end)

    def _give_up(self) -> None:
        """Let go of the file, whatever state it is in. What was flushed stays readable."""
        opened, self._opened, self._file = self._opened, None, None
        self._shared.clear()
        if opened is not None:
            try:
                opened.close()
            except REFUSALS as error:
                raise failed(self.path, "closed", error) from error
