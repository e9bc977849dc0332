"""A series as the sinks see it: its file, its outputs, its report. Carries out what the receiver decides.

A failure of the file ends nothing else: frames that it can't take go into a file in a second directory, if there is
one, or are counted as failed, with the reason; and still go to the outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bluesky_streamdet.core.errors import PathRefused, StreamdetError, WriteFailed
from bluesky_streamdet.core.events import Frame, SeriesStart
from bluesky_streamdet.core.series import Outcome, Series
from bluesky_streamdet.streaming.files.failing import failed
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.mending.recovering import mend
from bluesky_streamdet.streaming.files.room import Room
from bluesky_streamdet.streaming.files.several.rolling import RollingFile
from bluesky_streamdet.streaming.files.spill import SPILLED, Spill
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.statistics import SeriesStatistics
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

log = logging.getLogger(__name__)

FLAGGED = "flagged by the detector"
CUT = "cut off by request"
OTHER_FORMAT = "of another shape or type than the first frame"


def _fitting(frames: list[Frame], accepts: Callable[[Frame], bool], series: Series) -> list[Frame]:
    """The frames that a file can take; the others are counted."""
    if all(not frame.discard and accepts(frame) for frame in frames):
        return frames
    kept = []
    for frame in frames:
        if frame.discard:
            series.ledger.discarded[FLAGGED] += 1
        elif not accepts(frame):
            series.ledger.failed[OTHER_FORMAT] += 1
        else:
            kept.append(frame)
    return kept


def _check_in_place(file: SeriesFile | RollingFile) -> None:
    """Raise `WriteFailed` for an open file that nobody will find."""
    if not file.in_place:
        raise WriteFailed(
            f"The file {file.path} is not where it was.", "Somebody has removed or moved it, or unmounted its disk."
        )


def now_utc() -> datetime:
    return datetime.now(UTC)


class SeriesWriter:
    """Writes one series. file: where it goes, not opened yet; None for a series that is only forwarded.

    note: why the file is called otherwise than the stream wanted, empty when it isn't. failure: why nothing can be
    written.
    """

    def __init__(
        self,
        id: str,
        detector: str,
        file: SeriesFile | RollingFile | None,
        request: ArmRequest,
        note: str = "",
        failure: StreamdetError | None = None,
        room: Room | None = None,
        spill: Spill | None = None,
    ) -> None:
        self.id = id
        self.path: Path | None = file.path if file is not None else None
        self.request = request
        self.failure = failure
        self.room = room
        self.spill = spill
        self.keep: int | None = None
        self.statistics = SeriesStatistics()
        self._detector = detector
        self._note = note
        self._armed_at: datetime | None = None
        self._started_at: datetime | None = None
        self._ended_at: datetime | None = None
        self._series: Series | None = None
        self._metadata: Mapping[str, Any] = {}
        self._outcome: Outcome | None = None
        self._reason = ""
        self._late: dict[str, Any] = {}
        self._handed = 0
        self._in_hand: list[Frame] = []
        self._file = file

    @property
    def files(self) -> list[Path]:
        """The files that the frames are in, where that is another than `path`."""
        return self._file.parts if isinstance(self._file, RollingFile) else []

    def armed(self) -> None:
        self._armed_at = now_utc()

    def begin(self, series: Series, start: SeriesStart | None) -> None:
        """The series has started; its file opens with the first frame."""
        self._series = series
        self._started_at = now_utc()
        if start is not None:
            self._metadata = start.metadata
            if not start.save and self._file is not None:
                self._file = self.path = None
                self._note = "the stream asked that nothing be written"

    def write(self, frames: list[Frame]) -> None:
        """Put the frames into the file, or where those go that it takes no more, or count why not."""
        series = self._series
        assert series is not None
        if self._file is None and self.failure is None:
            series.ledger.live_only += len(frames)
            return
        if self.failure is None:
            frames = self._write(frames, series)
        if frames and self.failure is not None:
            self._write_elsewhere(frames, series, self.failure)

    def _write(self, frames: list[Frame], series: Series) -> list[Frame]:
        """Put the frames into the file. Returns those that it did not take as it could not be opened."""
        file = self._file
        assert file is not None
        if not file.is_open:
            first = next((frame for frame in frames if not frame.discard), None)
            if first is None:
                series.ledger.discarded[FLAGGED] += len(frames)
                return []
            self._open(file, first)
            if self.failure is not None:
                return frames
        wanted = _fitting(frames, file.accepts, series)
        if not wanted:
            return []
        self._handed += len(wanted)
        if self.spill is not None:
            self._in_hand += wanted
        try:
            self._look_at_disk(file, self.statistics.size_of(wanted))
            file.write(wanted)
        except WriteFailed as error:
            self._fail(error)
        else:
            self.statistics.wrote(wanted)
        return []

    def _look_at_disk(self, file: SeriesFile | RollingFile, nbytes: int) -> None:
        """Now and then, before so many bytes are written. Raises `WriteFailed`."""
        if self.room is None:
            return
        try:
            looked = self.room.take(nbytes)
        except OSError as error:
            raise failed(file.path, "written", error) from error
        if looked:
            _check_in_place(file)

    def _write_elsewhere(self, frames: list[Frame], series: Series, failure: StreamdetError) -> None:
        """Spill the frames, or count them as failed."""
        spill = self.spill
        if spill is None or not isinstance(failure, WriteFailed | PathRefused):
            series.ledger.failed[failure.code] += len(frames)
            return
        wanted = _fitting(frames, spill.accepts, series)
        if not wanted:
            return
        if spill.path is None and spill.failure is None:
            assert self._started_at is not None
            spill.open(wanted[0], self._started_at, self._metadata, self.request.metadata)
        before = spill.handed - spill.readable if spill.failure is None else 0
        spill.write(wanted)
        if spill.failure is not None:
            self._count_spilled(series, spill)
            series.ledger.failed[spill.failure.code] += before + len(wanted)

    def _open(self, file: SeriesFile | RollingFile, first: Frame) -> None:
        assert self._started_at is not None
        try:
            file.open(first, self._started_at, self._metadata, self.request.metadata)
        except StreamdetError as error:
            self._fail(error)

    def _fail(self, error: StreamdetError) -> None:
        """Nothing more goes into the file; what is not readable yet can't be counted on, wherever it is."""
        assert self._series is not None and self._file is not None
        self.failure = error
        log.warning("series %s: %s", self.id, error)
        self._file.forget_unflushed()
        self._series.ledger.written = self._file.readable
        lost, self._handed = self._handed - self._file.readable, self._file.readable
        in_hand, self._in_hand = self._in_hand, []
        if lost and self.spill is not None:
            self._write_elsewhere(in_hand[-lost:], self._series, error)
        elif lost:
            self._series.ledger.failed[error.code] += lost

    def flush(self) -> bool:
        """Make what was written readable. True when that changed something."""
        if self._series is None:
            return False
        if self.failure is not None:
            return self._flush_spill(self._series)
        if self._file is None:
            return False
        ledger = self._series.ledger
        before = ledger.written
        try:
            ledger.written = self._file.flush()
        except WriteFailed as error:
            self._fail(error)
            self._flush_spill(self._series)
        if ledger.written == before:
            return False
        self._in_hand = self._in_hand[len(self._in_hand) - (self._handed - ledger.written) :]
        self.statistics.readable(ledger.written)
        return True

    def _flush_spill(self, series: Series) -> bool:
        spill = self.spill
        if spill is None or spill.path is None or spill.failure is not None:
            return False
        before = spill.readable
        spill.flush()
        self._count_spilled(series, spill)
        if spill.failure is not None:
            series.ledger.failed[spill.failure.code] += spill.handed - spill.readable
        return spill.readable > before

    @staticmethod
    def _count_spilled(series: Series, spill: Spill) -> None:
        if spill.readable:
            series.ledger.failed[SPILLED] = spill.readable

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Metadata that came late; kept beside the open file until it closes. Raises `WriteFailed`."""
        growing = self._file if self.failure is None else self.spill
        if growing is not None and growing.is_open:
            try:
                growing.note(parameters)
            except OSError as error:
                raise WriteFailed(f"The parameters can't be kept beside {growing.path}: {error.strerror}.") from error
        if any(one is not None and one.is_open for one in (self._file, self.spill)):
            self._late.update(parameters)
        self.request = self.request.model_copy(update={"metadata": {**self.request.metadata, **parameters}})

    def finish(self, series: Series) -> None:
        """Close the file and judge the series."""
        self._series = series
        self.flush()
        self._look_a_last_time()
        self._cut(series)
        self._ended_at = now_utc()
        self._judge(series)
        self._close()
        log.info("series %s ended %s. %s", self.id, self._outcome, self._reason)

    def _look_a_last_time(self) -> None:
        """Notice that the file has gone, also when no frame came since."""
        if self._file is not None and self._file.is_open and self.failure is None:
            try:
                _check_in_place(self._file)
            except WriteFailed as error:
                self._fail(error)

    def _cut(self, series: Series) -> None:
        if self._file is None or self.keep is None or self.failure is not None or self.keep >= self._file.rows:
            return
        series.ledger.discarded[CUT] += self._file.rows - self.keep
        series.ledger.written = self.keep
        self._file.cut(self.keep)

    def _judge(self, series: Series) -> None:
        self._outcome, reason = series.outcome()
        if self.failure is not None and self._outcome is Outcome.COMPLETE:
            self._outcome = Outcome.INCOMPLETE
        failure = str(self.failure) if self.failure is not None else ""
        wanting = self._file.wanting(self.request.metadata) if self._file is not None and self._file.is_open else ""
        self._reason = "; ".join(one for one in (failure, self._spilled(), self._note, wanting, reason) if one)

    def _spilled(self) -> str:
        """Where the frames are that are not in the file, or why nowhere."""
        if self.spill is None:
            return ""
        said = f"{self.spill.readable} frames are in {self.spill.path}" if self.spill.readable else ""
        return "; ".join(one for one in (said, str(self.spill.failure or "")) if one)

    def _close(self) -> None:
        if self.spill is not None:
            self.spill.close(self.report(), self._late)
        if self._file is None or not self._file.is_open:
            if self._file is not None and not self._file.rows:
                self.path = None
            return
        try:
            self._file.close(self.report(), self._late)
        except StreamdetError as error:
            log.warning("series %s: %s", self.id, error)
            mend(self._file.path, self.report())
            self._outcome = Outcome.INCOMPLETE if self._outcome is Outcome.COMPLETE else self._outcome
            if self.failure is None:
                self.failure = error
                self._reason = "; ".join(one for one in (str(error), self._reason) if one)

    def report(self) -> SeriesReport:
        ledger = LedgerReport()
        if self._series is not None:
            ledger = LedgerReport.model_validate(self._series.ledger.report())
        elif self.request.expected_frames is not None:
            ledger = LedgerReport(expected=self.request.expected_frames)
        return SeriesReport(
            id=self.id,
            detector=self._detector,
            file=str(self.path) if self.path else None,
            layout=self._file.layout if self._file is not None else "nexus",
            columns=self._file.columns if isinstance(self._file, SeriesFile) else [],
            parts=len(self.files),
            part=str(self.files[-1]) if self.files else None,
            spill=str(self.spill.path) if self.spill is not None and self.spill.path is not None else None,
            data=self._file.data if self._file is not None else None,
            stream_series=self._series.key if self._series is not None else None,
            armed_at=self._armed_at,
            started_at=self._started_at,
            ended_at=self._ended_at,
            outcome=self._outcome,
            reason=self._reason or "; ".join(one for one in (str(self.failure or ""), self._spilled()) if one),
            ledger=ledger,
            statistics=self.statistics.report(),
        )
