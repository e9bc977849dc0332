"""One series in one HDF5 file: frames as they came, by direct chunk writes; readable by others while it grows (SWMR).

What is counted as readable survives `kill -9` of this process. The datasets are never longer than what was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.streaming.files import appending, layouts
from bluesky_streamdet.streaming.files.access import AS_USUAL, Access, Writable
from bluesky_streamdet.streaming.files.beside import Beside
from bluesky_streamdet.streaming.files.chunks import Misfit
from bluesky_streamdet.streaming.files.failing import REFUSALS, failed
from bluesky_streamdet.streaming.files.flatview import add_flat_view
from bluesky_streamdet.streaming.files.framedata import FrameData
from bluesky_streamdet.streaming.files.growth import Growth
from bluesky_streamdet.streaming.files.layouts import Chosen, places, placing
from bluesky_streamdet.streaming.files.layouts.facts import facts_of
from bluesky_streamdet.streaming.files.mending.amending import amended, redo_log
from bluesky_streamdet.streaming.files.mending.journal import append_journal, journal_of, take_journal
from bluesky_streamdet.streaming.files.mending.merging import merge
from bluesky_streamdet.streaming.files.paths import EXISTS
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.files.several.mould import Mould
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.verdict import Verdict
from bluesky_streamdet.streaming.status import DatasetReport, ScalarReport, SeriesReport


class Opening(NamedTuple):
    """What is known when a file is opened: its first frame, when the series began, what its header and request say."""

    first: Frame
    started: datetime
    metadata: Mapping[str, Any]
    parameters: Mapping[str, Any]


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
        self._growth = Growth({})
        self._frames: FrameData | None = None
        self._beside: Beside | None = None
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
        opening = Opening(first, started, metadata, parameters or {})
        if self.path.exists() and (self._append or self._adds):
            go_on = self._go_on if self._append else self._add_dataset
            go_on(opening)
            return
        if mould is not None and mould.content is None:
            self._fill(mould, opening)
        self._file = self._create(None if mould is None else mould.content)
        try:
            if mould is None:
                self._make(self._file, opening)
            else:
                self._take(self._file, mould, opening)
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

    def _make(self, file: h5py.File, opening: Opening) -> None:
        """Put all into the file that it will hold while it grows."""
        layout, there = self._chosen.layout, self._places
        facts = self._facts(opening)
        placing.make(file, layout, facts)
        if self._part is not None:
            self._part.write(file)
        self._verdict = Verdict.create(file, there, self._series, opening.started)
        placing.add_settings(file, layout, there, opening.metadata)
        placing.add_parameters(file, layout, there, opening.parameters)
        self._lay_out(file, opening, facts)
        placing.link(file, layout, facts, scalars=bool(opening.first.format.scalars))
        if self._also is not None:
            placing.link_also(file, there, facts["columns"], self._also)
        places.write(file, self._chosen, there)

    def _fill(self, mould: Mould, opening: Opening) -> None:
        try:
            mould.fill(lambda file: self._make(file, opening), self._access.library(self.path))
        except REFUSALS as error:
            raise failed(self.path, "set up", error) from error
        mould.places = self._places

    def _take(self, file: h5py.File, mould: Mould, opening: Opening) -> None:
        """Find in the file what another one has put into the mould, and say how this one differs."""
        assert mould.places is not None and self._part is not None
        self._places = mould.places.model_copy(deep=True)
        self._part.change(file)
        self._verdict = Verdict(file, self._places)
        self._lay_out(file, opening, self._facts(opening), 0)
        self._growth.begin(file)

    def _facts(self, opening: Opening) -> dict[str, Any]:
        form, layout = opening.first.format, self._chosen.layout
        return facts_of(layout, self._places, self._series, opening.started, form, self._event, opening.metadata)

    def _add_dataset(self, opening: Opening) -> None:
        """Put another dataset into a file that is there, whole or not at all; then open it to write."""
        self._chosen = appending.look_beside(self.path, self._detector, self._dataset)
        self._places = places.places_by(self._chosen, self._detector, self._dataset)
        try:
            late = take_journal(self.path)
            with amended(self.path) as file:
                if late:  # of the series before, which could not write them
                    before = places.read(file)
                    placing.add_parameters(file, places.layout_in(file, before).layout, before, late)
                self._make(file, opening)
            journal_of(self.path).unlink(missing_ok=True)
            self._open_again(opening, 0)
        except REFUSALS as error:
            self._give_up()
            raise failed(self.path, "opened to add to", error) from error

    def _go_on(self, opening: Opening) -> None:
        """Open a file that is there behind its last frame, once it is sure that this one fits."""
        before = appending.look(self.path, self._detector, self._series, self._event, self._dataset)
        try:
            with open_to_read(self.path) as file:
                self._places = places.read(file, self._dataset)
                self._chosen = places.layout_in(file, self._places)
                self._lay_out(file, opening, self._facts(opening), before.readable)
        except Misfit as error:
            self.data = None
            raise appending.refused(self.path, f"{error}.") from error
        except REFUSALS as error:
            raise failed(self.path, "read", error) from error
        try:
            file = self._open_again(opening, before.readable)
            self._verdict = Verdict(file, self._places)
            self._verdict.set_aside(before.account, self._series, opening.started)
            late = take_journal(self.path)
            self._added = {"late": late, "settings": dict(opening.metadata), "parameters": dict(opening.parameters)}
        except REFUSALS as error:
            self._give_up()
            raise failed(self.path, "opened to go on with", error) from error

    def _open_again(self, opening: Opening, before: int) -> h5py.File:
        self._opened = self._access.open_to_append(self.path)
        self._opened.grow()
        self._file = file = self._opened.file
        self._verdict = Verdict(file, self._places)
        self._lay_out(file, opening, self._facts(opening), before)
        return file

    def _lay_out(self, file: h5py.File, opening: Opening, facts: Mapping[str, Any], before: int | None = None) -> None:
        """Make all datasets that grow; or find them, with the frames that they have. Raises `Misfit`."""
        self._before = before or 0
        self._growth = Growth(facts, self._part.first_row if self._part is not None else 0)
        first, said = opening.first, opening.metadata
        layout, there, event = self._chosen.layout, self._places, self._event
        self._frames = FrameData(file, there.frames, first.format, event, layout.frames, self._growth, before)
        self._beside = Beside(file, layout, there, first, said, self._growth, event, before)
        self.data = self._frames.report
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

    def write(self, frames: Sequence[Frame]) -> None:
        """Append frames of one format, in this order. Raises `WriteFailed`."""
        assert self._frames is not None and self._beside is not None
        try:
            self._frames.write(frames)
        except REFUSALS as error:
            raise failed(self.path, "written", error) from error
        finally:
            self.rows = self._frames.end - self._before
        self._beside.take(frames)

    @property
    def _end(self) -> int:
        """Frames in the file, with those of earlier series."""
        return self._before + self.rows

    def accepts(self, frame: Frame) -> bool:
        """Whether the frame is of the kind that the file was opened for."""
        return self._frames is not None and self._frames.accepts(frame)

    def flush(self) -> int:
        """Make all that was written readable by other processes; return how many frames that is."""
        if self._file is not None and self.rows > self.readable:
            assert self._frames is not None and self._beside is not None
            try:
                # First the frames, then what counts them: a crash in between must not leave a count without frames.
                self._frames.flush()
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
        if self._frames is not None and self._beside is not None:
            self._frames.forget(self._end)
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
            assert self._opened is not None and self._beside is not None
            wanted = bool(late or self._event > 1 or self._added or self._beside.has_values_apart)
            wanted = wanted and self._opened.in_place  # What has its path now may be another file.
            self._opened.close()
            self._file = self._opened = None
            if wanted:
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
        assert self._file is not None and self._frames is not None and self._beside is not None
        self._frames.trim(self._end)
        self._beside.trim(self._end)
        self._growth.update(self._file, self._end)

    def _give_up(self) -> None:
        """Let go of the file, whatever state it is in. What was flushed stays readable."""
        opened, self._opened, self._file = self._opened, None, None
        if opened is not None:
            try:
                opened.close()
            except REFUSALS as error:
                raise failed(self.path, "closed", error) from error
