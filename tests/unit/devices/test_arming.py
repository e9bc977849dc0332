"""Arming a service that is not ready: what passes by itself is waited for, the rest is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bluesky_streamdet.core.errors import Busy
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.devices.arming import arm, status_of
from bluesky_streamdet.devices.drivers import ExternalDriver
from bluesky_streamdet.devices.setup import Setup
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status

IDLE = Status(detector="det")


class Driver(ExternalDriver):
    arms = True


class Service:
    """A client of a service whose status is `now`, and `later` as soon as somebody waits for news or stops a series."""

    def __init__(self, now: Status, later: Status = IDLE) -> None:
        self.now, self.later = now, later
        self.stopped: list[str] = []

    def status(self) -> Status:
        return self.now

    def arm(self, request: ArmRequest) -> SeriesReport:
        if self.now.series is not None:
            raise Busy(f"series {self.now.series.id} is {self.now.state}.", "Stop it.")
        return SeriesReport(id="new", detector="det")

    def stop(self, id: str) -> None:
        self.stopped.append(id)

    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]:
        self.now = self.later
        callback(None)
        callback(self.now)
        return lambda: None


def busy(state: State, *, armed: bool) -> Status:
    at = datetime.now(UTC) if armed else None
    return Status(detector="det", state=state, series=SeriesReport(id="old", detector="det", armed_at=at))


def armed(service: Any, driver: ExternalDriver) -> SeriesReport:
    return arm(service, ArmRequest(), Setup(driver=driver, margin=0.01), "det")


@pytest.mark.parametrize("anybodys", [True, False])
def test_a_series_that_is_finishing_is_waited_for(anybodys: bool) -> None:
    service = Service(busy(State.FINISHING, armed=anybodys))
    assert armed(service, ExternalDriver()).id == "new"
    assert service.stopped == []


def test_what_the_detector_sent_unasked_is_ended() -> None:
    service = Service(busy(State.RUNNING, armed=False))
    assert armed(service, Driver()).id == "new"
    assert service.stopped == ["old"]


@pytest.mark.parametrize(
    ("status", "driver"),
    [(busy(State.RUNNING, armed=True), Driver()), (busy(State.RUNNING, armed=False), ExternalDriver())],
)
def test_a_series_of_others_is_left_alone(status: Status, driver: ExternalDriver) -> None:
    service = Service(status)
    with pytest.raises(Busy, match=r"det can't be staged: series old is running.*det.abort\(\) ends it"):
        armed(service, driver)
    assert service.stopped == []


def test_a_series_that_does_not_end() -> None:
    status = busy(State.FINISHING, armed=False)
    with pytest.raises(Busy, match="can't be staged"):
        armed(Service(status, status), Driver())


def test_a_data_plane_that_is_started_again_is_waited_for() -> None:
    service: Any = Service(Status(detector="det", state="error"))
    assert status_of(service) is IDLE
