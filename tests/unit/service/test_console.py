from __future__ import annotations

import io

import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.console import CLEAR, Reporter
from bluesky_streamdet.streaming.status import LedgerReport, SourceReport, Status
from tests.unit.service.fakes import running

IDLE = Status(detector="eiger")
ARMED = Status(detector="eiger", state=State.ARMED, series=running())
RUNNING = ARMED.model_copy(update={"state": State.RUNNING, "frames_per_second": 12.34, "megabytes_per_second": 5.0})
ENDED = IDLE.model_copy(
    update={"last_series": running().model_copy(update={"outcome": Outcome.INCOMPLETE, "reason": "58 are missing"})}
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(output: io.StringIO, clock: Clock, *steps: tuple[float, Status]) -> list[str]:
    reporter = Reporter(output, clock, lambda: "12:00:00")
    for at, status in steps:
        clock.now = at
        reporter.show(status)
    return output.getvalue().splitlines()


def test_what_happens_is_said_at_once_and_how_it_goes_once_a_second(clock: Clock) -> None:
    lines = shown(
        io.StringIO(), clock, (0, IDLE), (1, ARMED), (1.1, RUNNING), (1.5, RUNNING), (2.1, RUNNING), (2.2, ENDED)
    )

    assert lines == [
        "12:00:00 series one is armed, /data/one.h5",
        "12:00:00 armed     one  /data/one.h5  40/100 frames, 0.0/s, 0.0 MB/s  0 missing",
        "12:00:00 armed -> running",
        "12:00:00 running   one  /data/one.h5  40/100 frames, 12.3/s, 5.0 MB/s  0 missing",
        "12:00:00 series one ended incomplete, 40 frames, /data/one.h5: 58 are missing",
        "12:00:00 running -> idle",
    ]


def test_nothing_is_said_while_nothing_happens(clock: Clock) -> None:
    assert shown(io.StringIO(), clock, (0, IDLE), (5, IDLE), (10, IDLE)) == []


def test_errors_once(clock: Clock) -> None:
    broken = IDLE.model_copy(update={"state": "error", "error": "The data plane died."})

    assert shown(io.StringIO(), clock, (0, IDLE), (1, broken), (2, broken)) == [
        "12:00:00 idle -> error",
        "12:00:00 error: The data plane died.",
    ]


def test_names_what_is_wrong_with_a_series(clock: Clock) -> None:
    series = running(update=lambda ledger: ledger.model_copy(update={"missing": 3}))
    status = RUNNING.model_copy(update={"series": series, "slow": "the disk", "seconds_without_data": 3.2})

    line = shown(io.StringIO(), clock, (0, status))[-1]
    assert line.endswith("3 missing  no data for 3 s  held up by the disk")


def test_names_the_module_that_others_wait_for(clock: Clock) -> None:
    sources = [SourceReport(endpoint=f"tcp://m{owed}:9010", owed=owed) for owed in (0, 3, 900)]
    busy = RUNNING.model_copy(update={"sources": sources})
    silent = busy.model_copy(update={"seconds_without_data": 1.5})

    assert shown(io.StringIO(), clock, (0, busy))[-1].endswith("0 missing  waits for tcp://m900:9010 (900 parts)")
    line = shown(io.StringIO(), clock, (0, silent))[-1]
    assert line.endswith("waits for tcp://m3:9010 (3 parts), tcp://m900:9010 (900 parts)")


def test_a_series_that_is_not_written(clock: Clock) -> None:
    series = running().model_copy(update={"file": None, "ledger": LedgerReport(received=5, unique=5, live_only=5)})

    assert (
        "one  no file  5 frames" in shown(io.StringIO(), clock, (0, RUNNING.model_copy(update={"series": series})))[-1]
    )


def test_a_terminal_shows_one_line_in_place(clock: Clock) -> None:
    output = Terminal()
    shown(output, clock, (0, IDLE), (1, ARMED), (1.3, RUNNING), (1.4, RUNNING), (2, ENDED))
    text = output.getvalue()

    assert text.count(f"{CLEAR}12:00:00 running   one") == 1
    assert text.count("\n") == 4


def test_names_a_sender_that_hangs_up_once(clock: Clock) -> None:
    source = SourceReport(endpoint="tcp://detector:9999", hung_up=True)
    strange = IDLE.model_copy(update={"sources": [source]})

    lines = shown(io.StringIO(), clock, (0, IDLE), (1, strange), (2, strange))
    assert lines == [
        "12:00:00 tcp://detector:9999 hangs up: it may need the other kind of source.socket, pull or sub",
    ]
