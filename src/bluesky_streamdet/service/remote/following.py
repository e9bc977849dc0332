"""Waiting for what becomes of a series of a service elsewhere, which may die or be started anew meanwhile."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass

from bluesky_streamdet.core.errors import NoSuchSeries, ServiceUnreachable
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.remote.state import Patience, gone, inactive, series_in, stuck, too_late, unknown
from bluesky_streamdet.streaming.status import SeriesReport, Status

LOOK = 0.5
"""Seconds between two looks at the clock while nothing is told."""
AWAY = 15.0
"""Seconds that a service may be away, as while it is started again."""

Show = Callable[[Status, SeriesReport], None]


@dataclass
class Following:
    """One series, followed until something is true of it. what: completes "waited for … of series".

    show: is given each account of it. measure: what changes with each frame. clock: seconds, monotonic.
    """

    client: ServiceClient
    id: str
    patience: Patience
    what: str = "the end"
    show: Show = lambda status, report: None
    measure: Callable[[Status, SeriesReport], object] = lambda status, report: _frames(report)
    clock: Callable[[], float] = time.monotonic
    known: SeriesReport | None = None
    """The last account."""
    lost: tuple[float, str] | None = None
    """Since when, and why, the service is away."""

    def until(self, done: Callable[[SeriesReport], bool] = lambda report: False) -> SeriesReport:
        """Wait until `done` is true of the series, or it has ended however.

        Raises `DeadlineExceeded`, `Inactive` when no frame came, or `ServiceUnreachable` when the service is gone or
        does not know the series any more.
        """
        news: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
        unsubscribe = self.client.subscribe(news.put)
        try:
            self._ask()
            while self.known is None or (self.known.outcome is None and not done(self.known)):
                now = self.clock()
                self._check(now)
                left = self.patience.left(now)
                try:
                    status = news.get(timeout=LOOK if left is None else min(LOOK, left))
                except queue.Empty:
                    continue
                self._take(status)
        finally:
            unsubscribe()
        return self.known

    def _ask(self) -> None:
        """What is pushed comes within a second; what is known already, now."""
        try:
            status = self.client.status()
        except ServiceUnreachable as error:
            self._lose(error.message)
        else:
            self._take(status)

    def _take(self, status: Status | None) -> None:
        if status is None:
            self._lose("its connection was lost.")
            return
        try:
            report = self._report(status)
        except NoSuchSeries as error:
            raise unknown(self.id, self.known, self.client.url) from error
        except ServiceUnreachable as error:
            self._lose(error.message)
            return
        self.known, self.lost = report, None
        self.patience.note(self.measure(status, report), self.clock())
        self.show(status, report)
        runs = status.series is not None and status.series.id == self.id
        if runs and status.state == "error":
            raise stuck(report, status.error or "its data plane does not answer.")

    def _lose(self, reason: str) -> None:
        self.lost = self.lost or (self.clock(), reason)

    def _report(self, status: Status) -> SeriesReport:
        """What the service says of the series, which may be neither the one that runs nor the last."""
        report = series_in(status, self.id)
        return report if report is not None else self.client.series(self.id)

    def _check(self, now: float) -> None:
        if self.patience.timed_out(now):
            raise too_late(self.id, self.known, self.patience, self.what)
        if self.patience.inactive(now):
            raise inactive(self.id, self.known, self.patience, self.what)
        if self.lost is not None and now - self.lost[0] >= AWAY:
            raise gone(self.id, self.known, self.lost[1])


def _frames(report: SeriesReport) -> tuple[int, int]:
    """Those that came, and those that others can read."""
    return report.ledger.received, report.ledger.written
