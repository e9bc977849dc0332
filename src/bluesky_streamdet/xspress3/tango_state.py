"""What the Tango device says of itself, from what the service and the hardware say. Pure.

The rule it keeps: RUNNING from Arm until the last frame is written, or sent where nothing is written; FAULT whenever
something is wrong, with what, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.status import SeriesReport, Status

ACQUIRING = ("armed", "running", "finishing")
"""States of the hardware in which frames may still come."""


class Condition(StrEnum):
    """Tango's own states, as far as the device takes them."""

    INIT = "INIT"
    STANDBY = "STANDBY"
    RUNNING = "RUNNING"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class View:
    """All that is known at one moment.

    status: of the service; None until it has answered. hardware: what `GET /detector` says. trouble: why the service
    could not be asked. opening: whether it is being started. address: its URL. series: the id of the one that this
    device armed last. stopped: whether that was stopped by request.
    """

    status: Status | None = None
    hardware: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    opening: bool = False
    address: str = ""
    series: str | None = None
    stopped: bool = False

    @property
    def acquiring(self) -> bool:
        """Whether the hardware may still take frames."""
        return self.hardware.get("state") in ACQUIRING

    @property
    def busy(self) -> bool:
        """Whether a series is armed, runs, or is being written."""
        return self.acquiring or (self.status is not None and self.status.series is not None)

    @property
    def faulty(self) -> bool:
        """Whether the hardware has to be opened anew."""
        return self.hardware.get("state") == "fault"

    @property
    def report(self) -> SeriesReport | None:
        """The series that is going on, or else the last."""
        if self.status is None:
            return None
        return self.status.series or self.status.last_series

    @property
    def ready_for_trigger(self) -> bool:
        """Whether a software trigger would start a frame now."""
        return self.acquiring and bool(self.hardware.get("ready_for_trigger"))

    @property
    def latest(self) -> tuple[str, int] | None:
        """Which frame is the latest: id of its series, and frames taken; None before the first."""
        taken = self.count("taken")
        return (self.report.id, taken) if taken and self.report is not None else None

    def count(self, name: str) -> int:
        """A number of the hardware's state; 0 while it is unknown."""
        return int(self.hardware.get(name) or 0)


def condition(view: View) -> tuple[Condition, str]:
    """The state, and the text that goes with it."""
    if view.opening:
        return Condition.INIT, "The streaming service is being started."
    if view.trouble or view.status is None:
        return Condition.FAULT, view.trouble or "The streaming service has not answered yet."
    if view.faulty:
        return Condition.FAULT, f"{view.hardware.get('error') or 'The detector reports a fault.'} Init opens it anew."
    if view.busy:
        return Condition.RUNNING, _progress(view)
    if view.status.state == "error":
        return Condition.FAULT, view.status.error or "The streaming service reports an error."
    last = view.status.last_series
    if last is not None and last.id == view.series and _failed(last, stopped=view.stopped):
        return Condition.FAULT, f"The last series ended {last.outcome}: {last.reason}. Arm starts another."
    return Condition.STANDBY, "Ready." if last is None else f"Ready. {_account(last, view)}"


def _failed(report: SeriesReport, *, stopped: bool) -> bool:
    """Whether frames that were wanted are not there."""
    if report.outcome is Outcome.INCOMPLETE and stopped:
        ledger = report.ledger  # Those that a stop has left out are not missed.
        return bool(ledger.failed or ledger.malformed)
    return report.outcome in (Outcome.INCOMPLETE, Outcome.INTERRUPTED)


def _progress(view: View) -> str:
    assert view.status is not None
    expected = view.hardware.get("expected")
    of = f" of {expected}" if expected is not None else ""
    series = view.status.series
    where = f"; {series.ledger.written} are readable in {series.file}" if series is not None and series.file else ""
    acquired = view.count("acquired")
    match view.hardware.get("state"):
        case "armed":
            return f"Armed; waits for the first trigger{of and f' of a series{of} frames'}."
        case "running":
            return f"{acquired}{of} frames are acquired{where}."
        case "finishing":
            return f"Stopped; {acquired}{of} frames are acquired{where}."
    if series is not None and series.started_at is None:
        return f"Series {series.id} is armed."
    return f"All {acquired} frames are acquired{where}."


def _account(last: SeriesReport, view: View) -> str:
    ledger = last.ledger
    how = "was stopped" if view.stopped and last.id == view.series else f"ended {last.outcome}"
    of = f" of {ledger.expected}" if ledger.expected is not None else ""
    where = f"{ledger.written}{of} frames are in {last.file}" if last.file else f"{ledger.unique}{of} frames were sent"
    return f"The last series {how}: {where}."
