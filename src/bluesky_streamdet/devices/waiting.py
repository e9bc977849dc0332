"""Whether the frames that a plan asked for are on disk: reports in, verdict out. No thread, no clock, no network.

The rule it keeps: a wait ends with the frames, or with an error that names detector, frame, file and what to do. It
ends at once when the ledger says that frames are lost, and otherwise when none came for the exposure and a margin.
"""

from __future__ import annotations

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.devices import failures
from bluesky_streamdet.streaming.status import SeriesReport


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
        self._lost_before = failures.lost(report.ledger)
        self._deadline = now + self._patience

    def remaining(self, now: float) -> float | None:
        """Seconds until the wait fails if nothing comes; None while it is paused."""
        return None if self.paused else self._deadline - now

    def see(self, report: SeriesReport, now: float, held_up: str | None = None) -> bool:
        """Take in a report. held_up: who keeps frames from being written, if anybody does.

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
        elif failures.lost(ledger) > self._lost_before:
            self.fail(failures.frames_lost(report, self.target))
        elif report.outcome is not None:
            self.fail(failures.ended_early(report, self.target))
        elif now >= self._deadline:
            self.fail(failures.too_late(report, self.target, self.written, self._patience, self._exposure, held_up))
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
