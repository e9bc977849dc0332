"""The detector is armed, triggered and ended; whatever state it was found in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded, HardwareFailed, RequestRefused
from bluesky_streamdet.devices.drivers import DetectorDriver, counts_triggers, options_of
from bluesky_streamdet.devices.eiger import driver as module
from bluesky_streamdet.devices.eiger.driver import EigerDriver
from bluesky_streamdet.devices.eiger.settings import Settings
from bluesky_streamdet.devices.eiger.simplon import DetectorUnreachable, Simplon
from bluesky_streamdet.devices.watch import SeriesWatch
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.unit.devices.eiger.standin import StandIn, StreamedService


@pytest.fixture
def driver(unit: StandIn) -> EigerDriver:
    made = EigerDriver(Simplon(unit.url), Settings(), margin=5.0)
    assert isinstance(made, DetectorDriver)
    return made


@pytest.fixture
def watch(service: StreamedService) -> SeriesWatch:
    """Of a series that the service is armed for."""
    client = service.connect()
    return SeriesWatch(client, client.arm(ArmRequest(name="a", open_ended=True)))


def test_a_series(unit: StandIn, driver: EigerDriver, watch: SeriesWatch) -> None:
    """The series that frames go into is in the header, which the service has when the arming is over."""
    driver.follow(watch)
    driver.arm(2, 10, 0.1, external=False)
    assert (watch.report.stream_series, watch.report.ledger.written) == ("1", 0)
    assert watch.report.id in unit.value("stream/config/header_appendix")
    driver.trigger()
    driver.trigger()
    changes = watch.changes
    while watch.report.ledger.written < 4:
        watch.changed_since(changes, 5)
        changes = watch.changes
    driver.disarm()
    driver.disarm()
    assert unit.commands == ["arm", "trigger", "trigger", "disarm"]
    with pytest.raises(RequestRefused, match="not armed"):
        driver.trigger()


def test_a_series_that_ended_by_itself_is_left_alone(unit: StandIn, driver: EigerDriver) -> None:
    driver.arm(1, 1, 0.1, external=False)
    driver.trigger()
    driver.disarm()
    assert (unit.commands, unit.state) == (["arm", "trigger"], "idle")


def test_a_series_that_nobody_wants_any_more(
    unit: StandIn, driver: EigerDriver, watch: SeriesWatch, service: StreamedService
) -> None:
    """It is aborted while the detector answers its trigger to nobody, as it takes frames, or never."""
    service.hold = unit.forgetful = True
    for _ in range(2):
        service.triggered.clear()
        driver.follow(watch)
        driver.arm(1000, 1, 0.1, external=False)
        driver.trigger()
        assert service.triggered.wait(10)
        before = time.monotonic()
        driver.disarm()
        assert time.monotonic() - before < 5
        assert not [one for one in threading.enumerate() if one.name.startswith("trigger of")]
        assert (unit.commands, unit.state) == (["arm", "trigger", "abort"], "idle")
        unit.commands.clear()
        # The next series of the service.
        client = service.connect()
        client.abort(watch.report.id)
        watch = SeriesWatch(client, client.arm(ArmRequest(name="b", open_ended=True)))


def test_a_trigger_waits_for_the_answer_to_the_one_before(
    unit: StandIn, driver: EigerDriver, service: StreamedService
) -> None:
    """As the detector takes no other until then."""
    answered = threading.Event()
    unit.on_trigger = lambda frames: answered.wait(20)
    driver.arm(1, 10, 0.001, external=False)
    driver.trigger()
    second = threading.Thread(target=driver.trigger)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    answered.set()
    second.join()
    driver.disarm()
    assert unit.commands == ["arm", "trigger", "trigger", "disarm"]


def test_a_trigger_that_is_never_answered(
    unit: StandIn, driver: EigerDriver, service: StreamedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLING", 0.05)
    unit.on_trigger = lambda frames: unit.aborted.wait(20)
    driver.arm(1, 10, 0.001, external=False)
    driver.trigger()
    with pytest.raises(DeadlineExceeded, match="still busy with the trigger before"):
        driver.trigger()
    driver.disarm()
    assert unit.state == "idle"


def test_triggers_by_cable_that_did_not_come(unit: StandIn, driver: EigerDriver, watch: SeriesWatch) -> None:
    driver.follow(watch)
    driver.arm(1, 20, 0.1, external=True)
    driver.disarm()
    assert unit.commands == ["arm", "abort"]
    assert counts_triggers(driver)


def test_one_frame_of_the_exposure_a_trigger(unit: StandIn, driver: EigerDriver) -> None:
    driver.settings = Settings(software_mode="inte")
    driver.arm(1, 10, 0.3, external=False)
    driver.trigger()
    driver.disarm()
    assert (unit.value("detector/config/trigger_mode"), unit.arguments[1]) == ("inte", 0.3)


def test_other_settings_want_another_arming(driver: EigerDriver) -> None:
    before = options_of(driver)
    driver.settings = Settings(photon_energy=9000.0)
    assert options_of(driver) != before


def test_a_header_that_does_not_come(unit: StandIn, watch: SeriesWatch, service: StreamedService) -> None:
    service.deaf = True
    driver = EigerDriver(Simplon(unit.url), Settings(), margin=0.05)
    driver.follow(watch)
    with pytest.raises(DeadlineExceeded, match=r"did not reach the service within 0\.05 s"):
        driver.arm(1, 1, 0.1, external=False)
    driver.disarm()
    assert unit.state == "idle"


@pytest.mark.parametrize("before", [True, False])
def test_a_series_left_over_in_the_stream(
    unit: StandIn, driver: EigerDriver, watch: SeriesWatch, service: StreamedService, before: bool
) -> None:
    """It came before the detector was armed, or between that and its own header."""
    unit.series = 6
    if before:
        service.header(6)
    else:
        unit.on_arm = lambda number: service.header(6)
    driver.follow(watch)
    with pytest.raises(RequestRefused, match=r"left over: series 6 came before the one that was armed"):
        driver.arm(1, 1, 0.1, external=False)
    driver.disarm()
    assert unit.state == "idle"


@pytest.mark.parametrize(("series", "numbered"), [("77", False), ("01HBV3JPF9T4ZDPADX6EMK6XMZ", True)])
def test_series_that_can_not_be_compared(
    unit: StandIn, watch: SeriesWatch, service: StreamedService, series: str, numbered: bool
) -> None:
    """As the answer to arm is no number of the series, or the stream has none."""
    unit.on_arm = lambda number: service.header(series)
    driver = EigerDriver(Simplon(unit.url), Settings(), margin=5.0, numbered=numbered)
    driver.follow(watch)
    driver.arm(1, 1, 0.1, external=False)
    driver.disarm()


def test_a_detector_that_was_switched_off_and_on(unit: StandIn, driver: EigerDriver) -> None:
    driver.arm(1, 10, 0.1, external=False)
    unit.switch_off()
    with pytest.raises(DetectorUnreachable):
        driver.disarm()
    unit.switch_on()
    with pytest.raises(RequestRefused, match=r"is not initialized.*initialize\(\)"):
        driver.arm(1, 10, 0.1, external=False)
    driver.initialize()
    driver.arm(1, 10, 0.1, external=False)
    driver.disarm()
    assert unit.commands == ["arm", "initialize", "arm", "disarm"]


def test_a_detector_that_is_initialized_without_asking(unit: StandIn) -> None:
    unit.state = "na"
    driver = EigerDriver(Simplon(unit.url), Settings(), margin=5.0, initialize=True)
    driver.arm(1, 10, 0.1, external=False)
    driver.disarm()
    assert unit.commands == ["initialize", "arm", "disarm"]


def test_a_detector_that_somebody_has_armed(unit: StandIn, driver: EigerDriver) -> None:
    """Whoever it was does not trigger it now."""
    unit.state = "ready"
    driver.arm(1, 10, 0.1, external=False)
    assert unit.commands == ["disarm", "arm"]
    driver.disarm()


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ("acquire", RequestRefused, r"is busy; its state is acquire.*abort\(\)"),
        ("configure", RequestRefused, "its state is configure"),
        ("error", HardwareFailed, r"reports errors: \['module 3'\]"),
    ],
)
def test_a_detector_that_can_not_be_armed(
    unit: StandIn, driver: EigerDriver, state: str, kind: type[Exception], said: str
) -> None:
    unit.state = state
    unit.parameters["detector/status/error"]["value"] = ["module 3"]
    with pytest.raises(kind, match=said):
        driver.arm(1, 10, 0.1, external=False)
    driver.abort()
    assert unit.commands == ["abort"]
    driver.abort()
    assert unit.commands == ["abort"]


def test_an_end_that_does_not_come(unit: StandIn, driver: EigerDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLING", 0.05)
    unit.answers["detector/command/disarm"] = 200, {}
    unit.state = "ready"
    with pytest.raises(DeadlineExceeded, match=r"told to end its series 0\.05 s ago; it is ready"):
        driver.arm(1, 10, 0.1, external=False)


def test_a_service_that_is_not_connected(unit: StandIn, service: StreamedService) -> None:
    service.connected = 0
    driver = EigerDriver(Simplon(unit.url), Settings(), margin=0.05)
    driver.exposure = 0.1
    with pytest.raises(DeadlineExceeded, match="not connected to the detector's stream at tcp://eiger:9999"):
        driver.ready(service.connect())
    service.connected = 1
    report = driver.ready(service.connect())
    assert (report.shape, report.dtype) == ((4, 6), "<u2")
    driver.settings = Settings(stream=2, thresholds=(5000.0, 9000.0))
    assert driver.ready(service.connect()).shape == (2, 4, 6)


def refused(unit: StandIn) -> None:
    unit.answers["detector/command/trigger"] = 400, "wrong mode"


def gone(unit: StandIn) -> None:
    def broken() -> None:
        raise ConnectionError("the plug is pulled")

    unit.answers["detector/command/trigger"] = broken


@pytest.mark.parametrize(("happens", "said"), [(refused, "wrong mode"), (gone, "connection broke in PUT")])
def test_a_trigger_that_fails(
    unit: StandIn, driver: EigerDriver, watch: SeriesWatch, happens: Callable[[StandIn], None], said: str
) -> None:
    happens(unit)
    driver.follow(watch)
    driver.arm(1, 10, 0.1, external=False)
    changes = watch.changes
    driver.trigger()
    watch.changed_since(changes, 10)
    assert said in str(watch.fault)
    driver.disarm()
    assert unit.state == "idle"
