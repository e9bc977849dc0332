"""A series as the sinks see it: its file, its outputs, its report. Carries out what the receiver decides.

A failure of the file ends nothing else: frames that it can't take are counted as failed, with the reason, and still go
to the outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bluesky_streamdet.core.errors import StreamdetError, WriteFailed
from bluesky_streamdet.core.events import Frame, SeriesStart
from bluesky_streamdet.core.series import Outcome, Series
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.journal import append_journal
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport

log = logging.getLogger(__name__)

FLAGGED = "flagged by the detector"
CUT = "cut off by request"
OTHER_FORMAT = "of another shape or type than the first frame"


def now_utc() -> datetime:
    return datetime.now(UTC)


class SeriesWriter:
    """Writes one series. `path` is None for a series that is only forwarded.

    note: why the file is called otherwise than the stream wanted, empty when it isn't. failure: why nothing can be
    written. also: another path that the frames shall have in the file.
    """

    def __init__(
        self,
        id: str,
        detector: str,
        path: Path | None,
        request: ArmRequest,
        note: str = "",
        failure: StreamdetError | None = None,
        also: str | None = None,
    ) -> None:
        self.id = id
        self.path = path
        self.request = request
        self.failure = failure
        self.keep: int | None = None
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
        options = {"event": request.frames_per_event, "replace": request.replace, "append": request.append}
        self._file = SeriesFile(path, detector, id, also=also, **options) if path else None

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
        """Put the frames into the file, or count why not."""
        series = self._series
        assert series is not None
        ledger = series.ledger
        if self.failure is not None:
            ledger.failed[self.failure.code] += len(frames)
            return
        if self._file is None:
            ledger.live_only += len(frames)
            return
        wanted = self._wanted(frames, series)
        if not wanted:
            return
        before = self._file.rows
        try:
            self._file.write(wanted)
        except WriteFailed as error:
            self._file.rows = before
            self._fail(error, len(wanted))

    def _wanted(self, frames: list[Frame], series: Series) -> list[Frame]:
        file = self._file
        assert file is not None
        if not file.is_open:
            first = next((frame for frame in frames if not frame.discard), None)
            if first is None:
                series.ledger.discarded[FLAGGED] += len(frames)
                return []
            self._open(file, first)
            if self.failure is not None:
                series.ledger.failed[self.failure.code] += len(frames)
                return []
        if all(not frame.discard and file.accepts(frame) for frame in frames):
            return frames
        kept = []
        for frame in frames:
            if frame.discard:
                series.ledger.discarded[FLAGGED] += 1
            elif not file.accepts(frame):
                series.ledger.failed[OTHER_FORMAT] += 1
            else:
                kept.append(frame)
        return kept

    def _open(self, file: SeriesFile, first: Frame) -> None:
        assert self._started_at is not None
        try:
            file.open(first, self._started_at, self._metadata, self.request.metadata)
        except StreamdetError as error:
            self._fail(error, 0)

    def _fail(self, error: StreamdetError, lost: int) -> None:
        """Nothing more goes into the file; what is not readable yet can't be counted on, wherever it is."""
        assert self._series is not None and self._file is not None
        self.failure = error
        lost += self._file.forget_unflushed()
        if lost:
            self._series.ledger.failed[error.code] += lost
        log.warning("series %s: %s", self.id, error)

    def flush(self) -> bool:
        """Make what was written readable. True when that changed something."""
        if self._file is None or self._series is None or self.failure is not None:
            return False
        ledger = self._series.ledger
        before = ledger.written
        try:
            ledger.written = self._file.flush()
        except WriteFailed as error:
            self._fail(error, 0)
        return ledger.written != before

    def set_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Metadata that came late; kept beside the open file until it closes. Raises `WriteFailed`."""
        if self._file is not None and self._file.is_open:
            try:
                append_journal(self._file.path, parameters)
            except OSError as error:
                raise WriteFailed(f"The parameters can't be kept beside {self.path}: {error.strerror}.") from error
            self._late.update(parameters)
        self.request = self.request.model_copy(update={"metadata": {**self.request.metadata, **parameters}})

    def finish(self, series: Series) -> None:
        """Close the file and judge the series."""
        self._series = series
        self.flush()
        self._cut(series)
        self._ended_at = now_utc()
        self._judge(series)
        self._close()
        log.info("series %s ended %s. %s", self.id, self._outcome, self._reason)

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
        self._reason = "; ".join(one for one in (failure, self._note, reason) if one)

    def _close(self) -> None:
        if self._file is None or not self._file.is_open:
            if self._file is not None and not self._file.rows:
                self.path = None
            return
        try:
            self._file.close(self.report(), self._late)
        except StreamdetError as error:
            log.warning("series %s: %s", self.id, error)
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
            data=self._file.data if self._file is not None else None,
            stream_series=self._series.key if self._series is not None else None,
            armed_at=self._armed_at,
            started_at=self._started_at,
            ended_at=self._ended_at,
            outcome=self._outcome,
            reason=self._reason or str(self.failure or ""),
            ledger=ledger,
        )
