"""What is known of a series from elsewhere, in words: its state, how far it is, and when a wait for it is over.

Without input or output: statuses and times are arguments.
"""

from __future__ import annotations

from enum import StrEnum

from bluesky_streamdet.core.errors import DeadlineExceeded, FramesLost, ServiceUnreachable
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.status import SeriesReport, Status


class WriterStatus(StrEnum):
    """What a writer does, in the words of the scripts for the old one."""

    UNCONFIGURED = "unconfigured"
    CONFIGURED = "configured"
    STARTING = "starting"
    RECEIVING = "receiving"
    """It takes frames, or waits for the first of them."""
    WRITING = "writing"
    """All is there or has ended, and the rest of it is on its way into the file."""
    STOPPING = "stopping"
    KILLING = "killing"
    FINISHED = "finished"
    UNKNOWN = "unknown"
    """The service does not answer."""
    ERROR = "error"
    """The series was interrupted, or its file could not take all frames."""


def series_in(status: Status, id: str) -> SeriesReport | None:
    """Series `id`, if it is the one that runs or the last."""
    return next((one for one in (status.series, status.last_series) if one is not None and one.id == id), None)


def status_of(status: Status, report: SeriesReport, asked: WriterStatus | None = None) -> WriterStatus:
    """What becomes of a series. asked: `STOPPING` or `KILLING`, if somebody did."""
    if report.outcome is not None:
        return WriterStatus.ERROR if is_failure(report) else WriterStatus.FINISHED
    if status.state == "error":
        return WriterStatus.ERROR
    if asked is not None:
        return asked
    return WriterStatus.WRITING if status.state is State.FINISHING else WriterStatus.RECEIVING


def is_failure(report: SeriesReport) -> bool:
    """Whether a series ended by what befell the writer, and not by what the detector or a person did."""
    return report.outcome is Outcome.INTERRUPTED or bool(report.ledger.failed)


def lost_frames(report: SeriesReport) -> int:
    """Frames that will not get into the file. Of a series that runs, those that are still to come are not lost."""
    ledger = report.ledger
    if report.outcome is None:
        missing = sum(last - first + 1 for first, last in ledger.missing_ranges)
    else:
        missing = ledger.missing
    return missing + sum(sum(one.values()) for one in (ledger.failed, ledger.malformed, ledger.discarded))


def progress_message(word: WriterStatus, report: SeriesReport | None) -> str:
    """Such as "Writer: receiving, #received:   12 (60.0%), #written:   10 (50.0%)"."""
    if report is None:
        return f"Writer: {word}"
    expected = report.ledger.expected

    def counted(frames: int) -> str:
        return f"{frames:4d} ({frames / expected:.1%})" if expected else f"{frames:4d}"

    return f"Writer: {word}, #received: {counted(report.ledger.unique)}, #written: {counted(report.ledger.written)}"


def account(report: SeriesReport) -> str:
    """How much of a series is readable, and where."""
    ledger = report.ledger
    of = f" of {ledger.expected}" if ledger.expected is not None else ""
    where = f" in {report.file}" if report.file else ""
    return f"{ledger.written}{of} frames are readable{where}."


def log_line(report: SeriesReport) -> str:
    """One series in the list of the last ones."""
    time = report.ended_at or report.started_at or report.armed_at
    at = f"{time:%Y-%m-%d %H:%M:%S}" if time is not None else "-"
    reason = f": {report.reason}" if report.reason else ""
    return f"{at} series {report.id} {report.outcome or 'runs'}{reason}. {account(report)}"


class Patience:
    """When a wait is over, by a clock of seconds that the caller reads.

    timeout: for all of it. inactivity: without news of its frames. None for no limit.
    """

    def __init__(self, now: float, timeout: float | None = None, inactivity: float | None = None) -> None:
        self.timeout = timeout
        self.inactivity = inactivity
        self._end = None if timeout is None else now + timeout
        self._since = now
        self._seen: object = None

    def note(self, seen: object, now: float) -> None:
        """This is how far it is; what is as it was is no news."""
        if seen != self._seen:
            self._seen, self._since = seen, now

    def left(self, now: float) -> float | None:
        """Seconds to the next look at `timed_out` and `inactive`; None when there is nothing to look for."""
        limit = None if self.inactivity is None else self._since + self.inactivity
        ends = [one for one in (self._end, limit) if one is not None]
        return max(min(ends) - now, 0.0) if ends else None

    def timed_out(self, now: float) -> bool:
        return self._end is not None and now >= self._end

    def inactive(self, now: float) -> bool:
        return self.inactivity is not None and now >= self._since + self.inactivity


class Inactive(DeadlineExceeded):
    """No frame came for as long as the wait allows."""


def too_late(id: str, report: SeriesReport | None, patience: Patience, what: str) -> DeadlineExceeded:
    """The time for all of a wait is over."""
    return DeadlineExceeded(
        f"Waited {patience.timeout:g} s for {what} of series {id}. {_account(report)}",
        "It goes on: wait again, or stop it.",
    )


def inactive(id: str, report: SeriesReport | None, patience: Patience, what: str) -> Inactive:
    return Inactive(
        f"Waited for {what} of series {id}, and no frame came for {patience.inactivity:g} s. {_account(report)}",
        "Is the camera on, and was it triggered? The series goes on: wait again, or stop it.",
    )


def stuck(report: SeriesReport, error: str) -> DeadlineExceeded:
    """The service says that the series can't go on."""
    return DeadlineExceeded(f"Series {report.id} does not go on: {error} {account(report)}")


def gone(id: str, report: SeriesReport | None, reason: str) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"The service is gone in the middle of series {id}: {reason} {_account(report)}",
        "Start it again; what was announced as readable is in the file.",
    )


def unknown(id: str, report: SeriesReport | None, url: str) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"The service at {url} knows no series {id}: it is another one than before, or has lost its records. "
        f"{_account(report)}".rstrip(),
        "Look at its page, and start the series again.",
    )


def interrupted(report: SeriesReport) -> FramesLost:
    """The writer died, or its file failed."""
    reason = report.reason.rstrip(".")
    return FramesLost(
        f"Series {report.id} ended {report.outcome}: {reason}. {account(report)}",
        "Mend what the reason says, and take the series again.",
    )


def _account(report: SeriesReport | None) -> str:
    return account(report) if report is not None else ""
