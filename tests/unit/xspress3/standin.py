"""A service with an Xspress3, as the Tango device's session sees it: without process, network or time.

A test says what the hardware does: `acquire`, `write`, `fail`; and sees in `asked` what the session wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from bluesky_streamdet.core.errors import Busy, RequestRefused, ServiceUnreachable, StreamdetError
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import FrameReport, LatestFrame, LedgerReport, SeriesReport, Status

CHANNELS, BINS = 2, 16
IDLE: dict[str, Any] = {
    "kind": "xspress3",
    "state": "idle",
    "error": None,
    "generation": "X3",
    "revision": "1.2",
    "cards": 1,
    "channels": CHANNELS,
    "bins": BINS,
    "first_bin": 0,
    "capacity": 16384,
    "clock_period": 12.5e-9,
    "readout_time": 25e-9,
    "event_widths": [6, 7],
    "windows": [[[0, 100], [10, 110]], [[20, 120], [30, 130]]],
    "thresholds": [5, 6],
    "regions": [],
    "dead_time_energy": None,
    "expected": None,
    "acquired": 0,
    "taken": 0,
    "triggers": 0,
    "ready_for_trigger": False,
    "overruns": 0,
    "series": None,
}


class StandIn:
    """refuse: raised at the next call of that name. gone: whether nobody answers."""

    url = "http://127.0.0.1:8010"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.refuse: dict[str, StreamdetError] = {}
        self.gone = False
        self.closed = False
        self.begun = False
        self.hardware = dict(IDLE)
        self.series: SeriesReport | None = None
        self.last: SeriesReport | None = None
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[Status | None], None]] = []

    # What a test says.

    def acquire(self, frames: int, *, last: bool = False) -> None:
        """So many frames have been acquired and taken in all; `last` when no more come."""
        with self._lock:
            state = "idle" if last else "running"
            self.hardware |= {"acquired": frames, "taken": frames, "state": state, "ready_for_trigger": not last}
            self._ledger(received=frames, unique=frames)

    def write(self, frames: int) -> None:
        """So many frames are written in all."""
        self._ledger(written=frames)

    def end(self, outcome: Outcome = Outcome.COMPLETE, reason: str = "") -> None:
        """The series is closed."""
        with self._lock:
            assert self.series is not None
            ended = {"outcome": outcome, "reason": reason, "ended_at": datetime.now(UTC)}
            self.last, self.series = self.series.model_copy(update=ended), None
            self.hardware |= {"state": "idle", "ready_for_trigger": False, "series": None}
            self._tell()

    def fail(self, error: str) -> None:
        """The SDK reports an error."""
        self.hardware |= {"state": "fault", "error": error}
        for name in ("channels", "windows"):
            self.hardware.pop(name)
        self._tell()

    # What a client asks.

    def status(self) -> Status:
        self._called("status")
        with self._lock:
            state = State.IDLE if self.series is None else State.RUNNING
            if self.series is not None and not self.begun:
                state = State.ARMED
            return Status(detector="xspress3", state=state, series=self.series, last_series=self.last)

    def arm(self, request: ArmRequest) -> SeriesReport:
        self._called("arm", request)
        if self.series is not None:
            raise Busy("Another series runs.")
        file = str(PurePath("/data", request.directory or "", request.name or "made-up")) if request.save else None
        number = sum(name == "arm" for name, _ in self.asked)
        self.begun = False
        self.series = SeriesReport(
            id=f"s{number}", detector="xspress3", file=file, ledger=LedgerReport(expected=request.expected_frames)
        )
        self._tell()
        return self.series

    def stop(self, id: str, expected_frames: int | None = None, keep_frames: int | None = None) -> SeriesReport:
        self._called("stop", id)
        assert self.series is not None
        report = self.series
        self.end()
        return report

    def abort(self, id: str) -> SeriesReport:
        self._called("abort", id)
        if self.series is not None:
            self.end(Outcome.ABORTED)
        assert self.last is not None
        return self.last

    def frame(self) -> LatestFrame:
        self._called("frame")
        number = max(self.hardware["taken"] - 1, 0)
        pixels = np.arange(CHANNELS * BINS, dtype=np.uint32).reshape(CHANNELS, BINS) + number
        header = FrameReport(
            series="1", number=number, shape=pixels.shape, dtype="<u4", encoding="none", chunk=pixels.shape, received=1
        )
        scalars = {
            "all_events": np.array([100, 200], np.uint32),
            "window_counts": np.array([[1, 2], [3, 4]], np.uint32),
            "dead_time_correction": np.array([1.5, np.inf]),
        }
        return LatestFrame(header, pixels, scalars)

    def detector(self) -> dict[str, Any]:
        self._called("detector")
        with self._lock:
            return dict(self.hardware)

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        self._called(command, arguments)
        with self._lock:
            match command:
                case "arm":
                    self.begun = True
                    expected = arguments["frames"] * arguments["triggers"]
                    fresh = {"expected": expected, "acquired": 0, "taken": 0, "triggers": 0, "series": "1"}
                    self.hardware |= fresh | {"state": "armed", "ready_for_trigger": True}
                case "trigger":
                    if self.hardware["state"] not in ("armed", "running"):
                        raise RequestRefused("The Xspress3 is not armed.")
                    self.hardware |= {"state": "running", "triggers": self.hardware["triggers"] + 1}
                case "stop":
                    self.hardware |= {"state": "idle", "ready_for_trigger": False}
                    if self.series is not None:
                        self.end(Outcome.INCOMPLETE, "frames are missing")
                case "reset":
                    self.hardware = dict(IDLE)
        self._tell()
        return self.detector()

    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def close(self) -> None:
        self.closed = True

    @property
    def wishes(self) -> list[str]:
        """What was asked that changes something."""
        return [name for name, _ in self.asked if name not in ("status", "detector", "frame")]

    def _called(self, name: str, arguments: Any = None) -> None:
        if self.gone:
            raise ServiceUnreachable("No service answers.")
        self.asked.append((name, arguments))
        if name in self.refuse:
            raise self.refuse.pop(name)

    def _ledger(self, **counts: int) -> None:
        with self._lock:
            assert self.series is not None
            ledger = self.series.ledger.model_copy(update=counts)
            self.series = self.series.model_copy(update={"ledger": ledger})
        self._tell()

    def _tell(self) -> None:
        for callback in list(self._callbacks):
            callback(None)
