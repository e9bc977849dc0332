"""A supervisor without a data plane, which does what a test says and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.config import DetectorConfig, for_row
from bluesky_streamdet.service.late import LateParameters
from bluesky_streamdet.service.serieslog import SeriesLog
from bluesky_streamdet.streaming.messages import Abort, Answer, Arm, Command, GetFrame, Stop
from bluesky_streamdet.streaming.status import FrameReport, LedgerReport, SeriesReport, Status

PIXELS = np.arange(12, dtype="<u2").reshape(3, 4)


class FakeSupervisor:
    """refusal: raised instead of the next answer. pixels: of the latest frame; None when none has come."""

    def __init__(self, directory: Path) -> None:
        self.config: DetectorConfig = for_row("eiger", directory=directory, environ={})
        self.board = StatusBoard(Status(detector="eiger"))
        self.series = SeriesLog(directory, "eiger")
        self.late = LateParameters(directory, "eiger", self.series.report, timeout=5)
        self.ready = True
        self.restarts = 0
        self.process: int | None = None
        self.asked: list[Command] = []
        self.refusal: StreamdetError | None = None
        self.pixels: np.ndarray | None = None
        self.killed: list[str] = []

    async def ask(self, command: Command) -> tuple[Answer, list[bytes]]:
        self.asked.append(command)
        if self.refusal is not None:
            raise self.refusal
        match command:
            case Arm(request=request):
                report = SeriesReport(id=request.id or "made-up", detector="eiger")
                self.become(State.ARMED, report)
                return Answer(series=report), []
            case Stop() | Abort():
                self.end(Outcome.ABORTED if isinstance(command, Abort) else Outcome.COMPLETE)
            case GetFrame():
                if self.pixels is not None:
                    return Answer(frame=described(self.pixels)), [self.pixels.tobytes()]
        return Answer(status=self.board.status), []

    async def kill(self, reason: str) -> None:
        self.killed.append(reason)
        self.end(Outcome.INTERRUPTED)

    def forget_trouble(self) -> None:
        self.put(error=None)

    def become(self, state: State, report: SeriesReport) -> None:
        """Let a series be armed or run."""
        self.series.note(report)
        self.put(state=state, series=report)

    def end(self, outcome: Outcome) -> None:
        """Let the series end."""
        report = self.board.status.series
        assert report is not None
        missing = (report.ledger.expected or 0) - report.ledger.unique
        ledger = report.ledger.model_copy(update={"missing": missing})
        final = report.model_copy(update={"outcome": outcome, "ledger": ledger})
        self.series.note(final)
        self.put(state=State.IDLE, series=None, last_series=final)

    def put(self, **changes: object) -> None:
        self.board.put(self.board.status.model_copy(update=changes))


def described(pixels: np.ndarray) -> FrameReport:
    """The report of a frame with these pixels, uncompressed."""
    return FrameReport(
        series="one",
        number=7,
        shape=pixels.shape,
        dtype=pixels.dtype.str,
        encoding="none",
        chunk=pixels.shape,
        received=5,
    )


def running(id: str = "one", update: Callable[[LedgerReport], LedgerReport] = lambda ledger: ledger) -> SeriesReport:
    """A series of 100 frames, of which 42 are there."""
    ledger = update(LedgerReport(expected=100, received=43, unique=42, duplicate=1, written=40, pending=2))
    return SeriesReport(id=id, detector="eiger", file="/data/one.h5", ledger=ledger)
