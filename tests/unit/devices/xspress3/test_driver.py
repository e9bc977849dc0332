"""How the hardware is armed, triggered and stopped: by the service's instructions, and by Tango's commands."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.core.errors import ConfigError, DeadlineExceeded, HardwareFailed, MissingLibrary, RequestRefused
from bluesky_streamdet.devices.drivers import DetectorDriver, options_of
from bluesky_streamdet.devices.xspress3 import tango_driver
from bluesky_streamdet.devices.xspress3.driver import ServiceDriver, TimingOptions
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.devices.xspress3.making import parts_of
from bluesky_streamdet.devices.xspress3.tango_driver import TangoDriver
from bluesky_streamdet.xspress3.tango_settings import Settings
from bluesky_streamdet.xspress3.timing import timing_of
from tests.unit.devices.xspress3.scripted import ScriptedXspress3, Xspress3Client

ADDRESS = "tango://tango:10000/lab/xspress3/1"


class Proxy:
    """As Tango's client of a device."""

    def __init__(self) -> None:
        self.written: dict[str, Any] = {}
        self.commands: list[str] = []

    def write_attribute(self, name: str, value: Any) -> None:
        self.written[name] = value

    def command_inout(self, name: str) -> None:
        self.commands.append(name)


def test_the_service_is_connected_while_it_is_armed(service: ScriptedXspress3) -> None:
    clients: list[Any] = []

    def connect() -> Any:
        clients.append(service.connect())
        return clients[-1]

    driver = ServiceDriver(connect)
    assert isinstance(driver, DetectorDriver)
    driver.arm(1, 10, 0.1, external=False)
    driver.arm(1, 10, 0.2, external=False)
    driver.trigger()
    assert not clients[1].is_closed
    driver.disarm()
    driver.disarm()
    assert service.commands == ["arm", "stop", "arm", "trigger", "stop"]
    assert [one.is_closed for one in clients] == [True, True]
    with pytest.raises(RequestRefused, match="not armed"):
        driver.trigger()


def test_stopped_is_when_all_has_been_read(service: ScriptedXspress3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only then the hardware can be armed again."""
    driver = ServiceDriver(service.connect)  # type: ignore[arg-type]
    driver.arm(1, 10, 0.1, external=False)
    states = iter(["finishing", "finishing", "idle"])
    monkeypatch.setattr(Xspress3Client, "detector", lambda client: {"state": next(states)})
    service.state["state"] = "finishing"
    driver.disarm()
    assert next(states, None) is None
    monkeypatch.setattr(Xspress3Client, "detector", lambda client: {"state": "finishing"})
    monkeypatch.setattr("bluesky_streamdet.devices.xspress3.driver.SETTLING", 0.0)
    driver.arm(1, 10, 0.1, external=False)
    with pytest.raises(DeadlineExceeded, match="is still finishing"):
        driver.disarm()


@given(st.booleans(), st.booleans(), st.integers(1, 100), st.integers(0, 255), st.booleans())
def test_what_is_armed_is_a_timing(external: bool, gate: bool, frames: int, debounce: int, invert: bool) -> None:
    """Of the service, which makes several bursts of one that the hardware does."""
    options = TimingOptions(gate=gate, debounce=debounce, invert=invert)
    armed = options.timing(1 if external else frames, 50, 0.1, external)
    burst = armed["mode"] == "software" and armed["frames"] > 1
    timing = timing_of(armed | {"triggers": 1} if burst else armed)
    assert timing.mode == ("software" if not external else "gate" if gate else "hardware")
    assert (timing.exposure, timing.debounce, timing.invert) == (0.1, debounce, invert)


def test_other_options_want_another_arming(service: ScriptedXspress3) -> None:
    driver = ServiceDriver(service.connect)  # type: ignore[arg-type]
    before = options_of(driver)
    driver.timing = TimingOptions(debounce=3)
    assert options_of(driver) != before


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("external", [False, True])
def test_tango_is_told_of_the_same_timing(external: bool, gate: bool) -> None:
    """The device's own settings make of the attributes what the service is armed with directly."""
    proxy = Proxy()
    driver = TangoDriver(ADDRESS, lambda address: proxy)
    driver.timing = TimingOptions(gap=500e-9, invert=True, debounce=7, gate=gate)
    driver.arm(1, 30, 0.25, external)
    names = {
        "TriggerMode": "trigger_mode",
        "ExposureTime": "exposure_time",
        "LatencyTime": "latency_time",
        "nTriggers": "triggers",
        "nFramesPerTrigger": "frames_per_trigger",
        "InvertTrigger": "invert",
        "Debounce": "debounce",
        "TriggersPerFrame": "triggers_per_frame",
        "GateInput": "gate_input",
        "DestinationFileName": "file_name",
    }
    settings = Settings(**{names[name]: value for name, value in proxy.written.items()})
    told, direct = settings.timing(), driver.timing.timing(1, 30, 0.25, external)
    assert told.pop("exposure") == pytest.approx(direct.pop("exposure"), abs=1e-12)
    assert direct.items() <= told.items()


def test_commands_of_tango() -> None:
    proxy = Proxy()
    driver = TangoDriver(ADDRESS, lambda address: proxy)
    with pytest.raises(RequestRefused, match="not armed"):
        driver.trigger()
    driver.disarm()
    driver.arm(1, 2, 0.1, external=False)
    driver.trigger()
    driver.disarm()
    driver.disarm()
    assert proxy.commands == ["Arm", "SoftwareTrigger", "Stop"]


def test_what_tango_says_is_what_the_plan_hears() -> None:
    tango = pytest.importorskip("tango", reason="needs the extra 'tango'")

    def refuses(name: str) -> None:
        tango.Except.throw_exception("Busy", "The detector is acquiring: 3 of 10 frames.", "Arm")

    proxy = Proxy()
    proxy.command_inout = refuses  # type: ignore[method-assign]
    with pytest.raises(HardwareFailed, match=r"lab/xspress3/1: Arm: The detector is acquiring: 3 of 10 frames\."):
        TangoDriver(ADDRESS, lambda address: proxy).arm(1, 1, 0.1, external=False)


def test_without_tangos_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tango", None)
    with pytest.raises(MissingLibrary, match=r"bluesky-streamdet\[tango\]"):
        tango_driver.device_proxy(ADDRESS)


def test_an_address_of_tango_makes_its_driver() -> None:
    parts = parts_of(ADDRESS, channels=4, columns=("all_events",))
    assert repr(parts.driver) == f"TangoDriver('{ADDRESS}')"
    assert isinstance(parts_of("http://daq:8010", channels=4, columns=()).driver, ServiceDriver)


def test_columns_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match=r"no columns \['colour'\]; there are clock_ticks"):
        parts_of(channels=4, columns=("colour", "all_events"))


def test_a_local_system_starts_when_it_is_wanted() -> None:
    simulated = LocalXspress3({"system": {"simulate": {"channels": 3}, "ev_per_bin": 5.0}})
    assert (simulated.channels, simulated.device["ev_per_bin"]) == (3, 5.0)
    assert repr(simulated) == "LocalXspress3(not started)"
    simulated.close()
    with pytest.raises(ConfigError, match="how many channels"):
        LocalXspress3({"system": {"cards": 2}})
    assert LocalXspress3({"system": {"cards": 2}}, channels=8).channels == 8
