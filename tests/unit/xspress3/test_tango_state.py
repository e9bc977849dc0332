"""What the Tango device says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport, Status
from bluesky_streamdet.xspress3.tango_state import Condition, View, condition


def series(**changes: Any) -> SeriesReport:
    ledger = LedgerReport(expected=10, received=4, unique=4, written=3)
    return SeriesReport(id="s1", detector="x", file="/data/x.h5", ledger=ledger).model_copy(update=changes)


def view(hardware: str = "idle", *, running: SeriesReport | None = None, last: SeriesReport | None = None) -> View:
    """Of hardware in that state, with 4 of 10 frames acquired."""
    state = State.IDLE if running is None else State.RUNNING
    status = Status(detector="x", state=state, series=running, last_series=last)
    return View(status=status, hardware={"state": hardware, "acquired": 4, "expected": 10}, series="s1")


@pytest.mark.parametrize(
    ("seen", "expected", "said"),
    [
        (View(opening=True), Condition.INIT, "being started"),
        (View(), Condition.FAULT, "has not answered yet"),
        (View(trouble="No service answers."), Condition.FAULT, "No service answers."),
        (view(), Condition.STANDBY, "Ready."),
        (view("armed", running=series()), Condition.RUNNING, "waits for the first trigger of a series of 10 frames"),
        (view("running", running=series()), Condition.RUNNING, "4 of 10 frames are acquired; 3 are readable in /data"),
        (view("running"), Condition.RUNNING, "4 of 10 frames are acquired."),
        (view("finishing", running=series()), Condition.RUNNING, "Stopped; 4 of 10 frames are acquired"),
        (view(running=series(started_at=None)), Condition.RUNNING, "Series s1 is armed"),
        (
            view(last=series(outcome=Outcome.COMPLETE)),
            Condition.STANDBY,
            "ended complete: 3 of 10 frames are in /data/x.h5",
        ),
        (
            view(last=series(outcome=Outcome.COMPLETE, file=None)),
            Condition.STANDBY,
            "ended complete: 4 of 10 frames were sent",
        ),
        (view(last=series(outcome=Outcome.ABORTED)), Condition.STANDBY, "ended aborted"),
        (
            view(last=series(outcome=Outcome.INCOMPLETE, reason="disk full")),
            Condition.FAULT,
            "ended incomplete: disk full. Arm starts another",
        ),
    ],
)
def test_the_state_and_its_reason(seen: View, expected: Condition, said: str) -> None:
    state, text = condition(seen)

    assert state is expected
    assert said in text


def test_a_fault_of_the_hardware_goes_before_everything() -> None:
    seen = view("fault", running=series())
    state, text = condition(View(status=seen.status, hardware={"state": "fault", "error": "xsp3_config: -9."}))

    assert (state, text) == (Condition.FAULT, "xsp3_config: -9. Init opens it anew.")


def test_what_a_stop_left_out_is_no_fault_but_what_the_disk_lost_is() -> None:
    stopped = view(last=series(outcome=Outcome.INCOMPLETE))
    lost = view(last=series(outcome=Outcome.INCOMPLETE, ledger=LedgerReport(expected=10, failed={"write_failed": 1})))

    for seen, expected in ((stopped, Condition.STANDBY), (lost, Condition.FAULT)):
        one = View(status=seen.status, hardware=seen.hardware, series="s1", stopped=True)
        assert condition(one)[0] is expected


def test_the_failure_of_somebody_elses_series_is_theirs() -> None:
    seen = view(last=series(id="other", outcome=Outcome.INCOMPLETE))

    assert condition(seen)[0] is Condition.STANDBY


def test_it_runs_until_the_last_frame_is_written() -> None:
    seen = view(running=series(started_at=datetime.now(UTC)))

    assert condition(seen) == (
        Condition.RUNNING,
        "All 4 frames are acquired; 3 are readable in /data/x.h5.",
    )
