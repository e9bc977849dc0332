"""Whether the frames that a plan asked for are on disk: reports in, verdict out. No thread, no clock, no network.

The rule it keeps: a wait ends with the frames, or with an error that names detector, frame, file and what to do. It
ends at once when the ledger says that frames are lost, and otherwise when none came for the exposure and a margin.
"""

from __future__ import annotations

from bluesky_streamdet.core.errors import DeadlineExceeded, FramesLost, StreamdetError
from bluesky_streamdet.streaming.messages import LedgerReport, SeriesReport


class FrameWait:
    """Waits for frames of one series, from the one after `base` up to `target`, as rows of its file.

    patience: seconds that may pass without a new frame, of which `exposure` belong to the frame itself. report: the
    series as it was when the frames were asked for. now: seconds, of a clock that only goes forward.

    `done` is set when the frames are there, when the wait failed, with `error`, and by `end`. `paused` holds the
    deadline.
    """

    def __init__(
        self, report: SeriesReport, base: int, target: int, exposure: float, patience: float, now: float
    ) -> None:
        self.base = base
        self.target = target
        self.written = report.ledger.written
        self.done = False
        self.error: StreamdetError | None = None
        self.paused = False
        self._exposure = exposure
        self._patience = patience
        self._lost_before = lost(report.ledger)
        self._deadline = now + self._patience

    def remaining(self, now: float) -> float | None:
        """Seconds until the wait fails if nothing comes; None while it is paused."""
        return None if self.paused else self._deadline - now

    def see(self, report: SeriesReport, now: float) -> bool:
        """Take in a report.

        True when the wait is over. Raises `FramesLost` and `DeadlineExceeded`, also when asked again.
        """
        if self.error is not None:
            raise self.error
        if self.done:
            return True
        ledger = report.ledger
        if ledger.written > self.written or self.paused:
            self.written = max(self.written, ledger.written)
            self._deadline = now + self._patience
        if self.written >= self.target:
            self.done = True
        elif lost(ledger) > self._lost_before:
            self.fail(self._frames_lost(report))
        elif report.outcome is not None:
            self.fail(self._ended_early(report))
        elif now >= self._deadline:
            self.fail(self._too_late(report))
        return self.done

    def pause(self) -> None:
        """Hold the deadline until `resume`."""
        self.paused = True

    def resume(self, now: float) -> None:
        """Start the patience anew."""
        self.paused = False
        self._deadline = now + self._patience

    @property
    def short(self) -> bool:
        """Whether frames that were asked for are not there."""
        return self.written < self.target

    def end(self) -> None:
        """Give up the wait without an error: nobody wants these frames any more."""
        self.done = True

    def fail(self, error: StreamdetError) -> None:
        """End the wait with this error, and raise it."""
        self.done = True
        self.error = error
        raise error

    def _frames_lost(self, report: SeriesReport) -> FramesLost:
        ledger = report.ledger
        return FramesLost(
            f"Detector {report.detector} lost frames that the plan asked for: {in_words(ledger)}; "
            f"{self._share(ledger)} are in {place(report)}.",
            f"Take the point or the scan again; `streamdet inspect` shows the file's ledger, and the service's status that "
            f"of series {report.id}.",
        )

    def _ended_early(self, report: SeriesReport) -> FramesLost:
        reason = f" ({report.reason})" if report.reason else ""
        return FramesLost(
            f"Detector {report.detector}: series {report.id} ended {report.outcome}{reason} with "
            f"{self._share(report.ledger)} in {place(report)}.",
            "The service writes no more frames of this run; look at its log, then run the plan again.",
        )

    def _too_late(self, report: SeriesReport) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"Detector {report.detector}: frame {self.written + 1} of series {report.id} did not reach {place(report)} "
            f"within {self._patience:g} s (exposure {self._exposure:g} s); {self._share(report.ledger)} did.",
            "Was the detector triggered, and does its stream reach the service? `streamdet watch` shows what comes. "
            "A detector that needs longer wants a larger margin.",
        )

    def _share(self, ledger: LedgerReport) -> str:
        return f"{max(0, ledger.written - self.base)} of {self.target - self.base} frames"


def lost(ledger: LedgerReport) -> int:
    """Frames of a series that will not get into its file."""
    return (
        ledger.missing + sum(ledger.failed.values()) + sum(ledger.malformed.values()) + sum(ledger.discarded.values())
    )


def in_words(ledger: LedgerReport) -> str:
    """What was lost, and why."""
    parts = []
    if ledger.missing:
        numbers = ", ".join(
            f"{first}" if first == last else f"{first}-{last}" for first, last in ledger.missing_ranges[:5]
        )
        parts.append(f"{ledger.missing} missing{f' (numbers {numbers})' if numbers else ''}")
    for what, reasons in (("failed", ledger.failed), ("malformed", ledger.malformed), ("discarded", ledger.discarded)):
        parts += [f"{count} {what} ({reason})" for reason, count in reasons.items()]
    return ", ".join(parts) or "none"


def place(report: SeriesReport) -> str:
    """Where the frames of a series go."""
    return f"the file {report.file}" if report.file else "no file"
