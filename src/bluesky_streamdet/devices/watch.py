"""The newest report of one series, kept by the client's thread, for whoever waits for the next.

It asks the service itself when what was pushed leaves a doubt: when the connection broke, when the series is not in the
status, and when a deadline has come. So a wait fails because of the series, never because of a lost message.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from bluesky_streamdet.core.errors import NoSuchSeries, ServiceUnreachable, StreamdetError
from bluesky_streamdet.devices import failures
from bluesky_streamdet.devices.waiting import FrameWait
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import FrameTotal, LatestFrame, SeriesReport, Status


class Client(Protocol):
    """What devices ask of a service; `service.client.ServiceClient` is one."""

    def status(self) -> Status: ...
    def arm(self, request: ArmRequest) -> SeriesReport: ...
    def series(self, id: str) -> SeriesReport: ...
    def stop(self, id: str, expected_frames: int | None = None, keep_frames: int | None = None) -> SeriesReport: ...
    def abort(self, id: str) -> SeriesReport: ...
    def set_parameters(self, id: str, parameters: dict[str, Any]) -> SeriesReport: ...
    def frame(self) -> LatestFrame: ...
    def frame_total(self) -> FrameTotal: ...
    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]: ...
    def close(self) -> None: ...


class SeriesWatch:
    """Follows one series of a service. Thread-safe. `close` ends it."""

    def __init__(self, client: Client, report: SeriesReport) -> None:
        self.report = report
        self.changes = 0
        self.fault: StreamdetError | None = None
        self.held_up: str | None = None
        """Who keeps frames from being written right now, as the service says."""
        self._client = client
        self._doubt = False
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._unsubscribe = client.subscribe(self._on_status)

    def close(self) -> None:
        """Hear no more of the service; the last report stays."""
        self._unsubscribe()

    @property
    def in_doubt(self) -> bool:
        """Whether `current` has to ask the service, which may take a moment."""
        return self._doubt

    def current(self, *, ask: bool = False) -> SeriesReport:
        """The newest report; with `ask`, or in doubt, that of the service. Raises `ServiceUnreachable`."""
        if ask or self._doubt:
            self._doubt = False
            self._take(self._asked())
        return self.report

    def changed_since(self, changes: int, timeout: float | None) -> None:
        """Wait until `changes` is no longer the number of changes, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.changes != changes, timeout)

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Have `listener` called, in any thread, at each change."""
        self.listen(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def listen(self, listener: Callable[[], None]) -> None:
        """As `listening`, for as long as the series is watched."""
        self._listeners.append(listener)

    def fail(self, error: StreamdetError) -> None:
        """Have all waits fail: frames will not come, as who steers the detector knows."""
        self.fault = error
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        with self._changed:
            self.changes += 1
            self._changed.notify_all()
        for listener in list(self._listeners):
            listener()

    def _on_status(self, status: Status | None) -> None:
        self.held_up = None if status is None else status.slow
        candidates = () if status is None else (status.series, status.last_series)
        report = next((one for one in candidates if one is not None and one.id == self.report.id), None)
        if report is None:
            self._doubt = self.report.outcome is None
        else:
            self._take(report)
        self.wake()

    def _take(self, report: SeriesReport) -> None:
        # What was pushed before may come after what was asked for.
        known = self.report
        if known.outcome is None and (report.outcome is not None or report.ledger.written >= known.ledger.written):
            self.report = report

    def _asked(self) -> SeriesReport:
        try:
            return self._client.series(self.report.id)
        except NoSuchSeries as error:
            raise failures.restarted(self.report) from error
        except ServiceUnreachable as error:
            raise failures.gone(self.report, error) from error


class PendingFrames:
    """Frames that were asked for and the series that they come in; waited for in a thread, or look by look."""

    def __init__(self, watch: SeriesWatch, wait: FrameWait, clock: Callable[[], float] = time.monotonic) -> None:
        self.watch = watch
        self.wait = wait
        self._clock = clock

    @property
    def written(self) -> int:
        """How many of them can be read."""
        return min(self.wait.written, self.wait.target) - self.wait.base

    @property
    def total(self) -> int:
        return self.wait.target - self.wait.base

    @property
    def asks(self) -> bool:
        """Whether the next `look` asks the service, which may take a moment."""
        remaining = self.remaining
        return not self.wait.done and (self.watch.in_doubt or (remaining is not None and remaining <= 0))

    @property
    def remaining(self) -> float | None:
        """Seconds until the wait fails if nothing happens; None for ever."""
        return self.wait.remaining(self._clock())

    def restart(self) -> None:
        """Begin the patience anew, as somebody begins to wait only now."""
        self.wait.resume(self._clock())

    def look(self) -> bool:
        """Whether the wait is over. Raises `FramesLost`, `DeadlineExceeded`, `ServiceUnreachable`, `HardwareFailed`."""
        try:
            report = self.watch.current(ask=self.asks)
        except StreamdetError as error:
            self.wait.fail(error)
            raise
        over, fault = self.wait.see(report, self._clock(), self.watch.held_up), self.watch.fault
        if not over and fault is not None:
            self.wait.fail(failures.not_taken(report, self.wait.target, fault))
        return over

    def until_done(self, progress: Callable[[int], None]) -> None:
        """Block until the wait is over; `progress` gets the number of frames that can be read. Raises as `look`."""
        changes = self.watch.changes
        while not self.look():
            progress(self.written)
            self.watch.changed_since(changes, self.remaining)
            changes = self.watch.changes
