"""One file of a run: its series, the frames asked for, and what was handed out of it in documents."""

from __future__ import annotations

from dataclasses import dataclass, field

from bluesky_streamdet.devices import failures
from bluesky_streamdet.devices.paths import PathChoice, readers_uri
from bluesky_streamdet.devices.setup import Setup
from bluesky_streamdet.devices.watch import PendingFrames, SeriesWatch
from bluesky_streamdet.documents import (
    COLUMN_UNITS,
    COLUMNS,
    DATA,
    AssetDocuments,
    Column,
    FrameLayout,
    Named,
    ResourceDocuments,
    SpectraDocuments,
    StreamDocuments,
    reader_path,
)
from bluesky_streamdet.streaming.status import DatasetReport, SeriesReport


@dataclass(slots=True)
class RunFile:
    """events_before: events of the run's earlier files. asked: frames that the detector was asked for, of this file.

    armed: with what the driver was armed for this series (frames of a trigger, exposure, external, its own options);
    None if it was not. refused: the detector's driver has raised an error. runs: that it says it belongs to, by their
    ids, the first first.
    """

    watch: SeriesWatch
    choice: PathChoice
    frames_per_event: int
    events_before: int
    asked: int = 0
    armed: tuple[int, float, bool, object] | None = None
    refused: bool = False
    pending: list[PendingFrames] = field(default_factory=list)
    documents: AssetDocuments | None = None
    knows_run: bool = False

    @property
    def report(self) -> SeriesReport:
        return self.watch.report

    @property
    def announced(self) -> int:
        """Events handed out."""
        return self.documents.announced if self.documents is not None else 0

    @property
    def written(self) -> int:
        """Frames that can be read, of those asked for."""
        return min(self.report.ledger.written, self.asked)

    @property
    def events(self) -> int:
        """Whole events that can be read, of those asked for."""
        return self.written // self.frames_per_event

    @property
    def short(self) -> bool:
        """Whether frames that were asked for are not there, or not yet."""
        written = self.report.ledger.written
        return any(max(one.wait.written, written) < one.wait.target for one in self.pending)

    @property
    def failed(self) -> bool:
        """Whether somebody has told already what is wrong."""
        return self.refused or any(one.wait.error is not None for one in self.pending)

    def leftover(self, *, handed_out: bool) -> bool:
        """Whether the next frames need a new file.

        handed_out: whether all that was asked for should have been by now.
        """
        report = self.report
        if report.outcome is not None or self.short or self.failed or report.ledger.unique > self.asked:
            return True
        return handed_out and self.asked > self.announced * self.frames_per_event

    def end_waits(self) -> None:
        """End all waits without an error."""
        for one in self.pending:
            one.wait.end()
        self.watch.wake()

    def hand_out(self, events: int, setup: Setup, name: str, described: FrameLayout | None) -> list[Named]:
        """Documents of all events before `events` that were not handed out, counted from this file's first.

        Raises `ConfigError` when the frames are not what `described` says.
        """
        if events <= self.announced:
            return []
        if self.documents is None:
            self.documents = self._start_documents(setup, name, described)
        return self.documents.up_to(events)

    def take_back(self) -> None:
        """Forget documents that were handed out and dropped."""
        if self.documents is not None:
            self.documents.take_back()

    def _start_documents(self, setup: Setup, name: str, described: FrameLayout | None) -> AssetDocuments:
        report = self.report
        assert report.file is not None and report.data is not None, "a series with written frames has a file"
        layout = layout_of(report, report.data, self.frames_per_event, setup)
        if described is not None and not described.same_frames(layout):
            raise failures.other_frames(report.detector, _in_words(layout), _in_words(described))
        if setup.asset_docs == "resource":
            wanted = SPECTRA if setup.channels else DATA
            if report.data.dataset != DATA and wanted not in report.data.also:
                raise failures.no_handler(report, wanted)
        if setup.asset_docs == "resource" and setup.channels:
            return SpectraDocuments(reader_path(report.file, setup.path_map), setup.channels)
        if setup.asset_docs == "resource":
            return ResourceDocuments(reader_path(report.file, setup.path_map), self.frames_per_event)
        return StreamDocuments(layout, name, readers_uri(report.file, self.choice, setup.path_map), setup.separator)


SPECTRA = "/entry/instrument/detector/data"
"""Where the handlers of Xspress3 files look."""


def layout_of(report: SeriesReport, data: DatasetReport, frames_per_event: int, setup: Setup) -> FrameLayout:
    """What the service says of frames, with the columns to announce beside them."""
    group = f"/entry/instrument/{report.detector}"
    said = {one.name: one for one in (data.columns or report.columns)}
    columns: dict[str, Column] = {}
    for name in setup.columns:
        one = said.get(name)
        if one is not None:
            alone = one.shape == (1,)
            columns[name] = Column(one.dataset, one.dtype, () if alone else one.shape, one.unit, second_axis=alone)
        else:
            columns[name] = Column(f"{group}/{name}", COLUMNS[name], unit=COLUMN_UNITS.get(name, ""))
    for one in data.scalars:
        if one.name in setup.scalars:
            place = one.dataset or f"{group}/{one.name}"
            columns[one.name] = Column(place, one.dtype, one.shape, one.unit, setup.dims.get(one.name, ()))
    frames = setup.dims.get("", ())
    return FrameLayout(data.shape, data.dtype, data.chunk_shape, frames_per_event, data.dataset, columns, frames)


def expected_layout(
    report: SeriesReport, last: DatasetReport | None, frames_per_event: int, setup: Setup
) -> FrameLayout:
    """What frames will be like, before the first of them: as the device was told, otherwise as `last` says.

    Raises `ConfigError` when nobody knows.
    """
    if report.data is None and setup.shape is not None and setup.dtype is not None:
        last = DatasetReport(dataset=DATA, shape=tuple(setup.shape), dtype=setup.dtype, chunk_shape=())
    data = report.data or last
    if data is None:
        raise failures.unknown_frames(report.detector)
    return layout_of(report, data, frames_per_event, setup)


def _in_words(layout: FrameLayout) -> str:
    return f"shape {layout.shape} and type {layout.dtype}"
