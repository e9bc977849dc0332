"""How detectors are driven: the simulated one over its control port, and one that somebody else drives."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded, RequestRefused
from bluesky_streamdet.devices.drivers import DetectorDriver, ExternalDriver, SimulatedDriver
from bluesky_streamdet.devices.setup import driver_of


class FakeClient:
    calls: list[Any] = []
    silent = False

    def __init__(self, endpoint: str, timeout: float) -> None:
        self.calls.append(("connect", endpoint, timeout))

    def arm(self, **how: Any) -> None:
        self.calls.append(how)

    def trigger(self) -> None:
        self.calls.append("trigger")
        if self.silent:
            raise DeadlineExceeded("It does not answer.")

    def disarm(self) -> None:
        self.calls.append("disarm")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr("bluesky_streamdet.sim.client.SimulatedDetectorClient", FakeClient)
    monkeypatch.setattr(FakeClient, "calls", [])
    return FakeClient.calls


def test_the_simulated_detector_is_connected_while_it_is_armed(calls: list[Any]) -> None:
    driver = SimulatedDriver("tcp://127.0.0.1:5555")
    assert calls == []
    driver.arm(3, 1, 0.5, external=False)
    driver.trigger()
    driver.disarm()
    driver.disarm()
    armed = {"frames": 3, "triggers": 1, "exposure": 0.5, "external": False}
    assert calls == [("connect", "tcp://127.0.0.1:5555", 5.0), "disarm", armed, "trigger", "disarm", "close"]


def test_arming_again_ends_the_series_before(calls: list[Any]) -> None:
    driver = SimulatedDriver("tcp://127.0.0.1:5555")
    for _ in range(2):
        driver.arm(1, 1, 0.5, external=False)
    assert [one for one in calls if isinstance(one, str)] == ["disarm", "disarm"]
    assert sum(isinstance(one, tuple) for one in calls) == 1


def test_one_that_does_not_answer_is_not_asked_again(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    driver = SimulatedDriver("tcp://127.0.0.1:5555", timeout=2.0)
    driver.arm(1, 1, 0.5, external=False)
    monkeypatch.setattr(FakeClient, "silent", True)
    with pytest.raises(DeadlineExceeded):
        driver.trigger()
    driver.disarm()
    assert calls[-2:] == ["trigger", "close"]
    driver.arm(1, 1, 0.5, external=False)
    assert calls[-3:-1] == [("connect", "tcp://127.0.0.1:5555", 2.0), "disarm"]


def test_triggering_what_is_not_armed(calls: list[Any]) -> None:
    with pytest.raises(RequestRefused, match="not armed"):
        SimulatedDriver("tcp://127.0.0.1:5555").trigger()


def test_an_external_driver_does_nothing() -> None:
    driver = ExternalDriver()
    driver.arm(1, 1, 0.1, external=True)
    driver.trigger()
    driver.disarm()
    assert not driver.arms


@pytest.mark.parametrize(
    ("given", "kind"), [(None, ExternalDriver), ("tcp://host:1", SimulatedDriver), (ExternalDriver(), ExternalDriver)]
)
def test_what_a_device_may_be_given(given: Any, kind: type) -> None:
    driver = driver_of(given)
    assert isinstance(driver, kind)
    assert isinstance(driver, DetectorDriver)
    assert repr(driver) in ("ExternalDriver()", "SimulatedDriver('tcp://host:1')")
