"""Plans with both faces: what the detector is told of a run, what documents say of it, and what happens in failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from ophyd.sim import SynAxis

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed, RequestRefused
from bluesky_streamdet.devices.eiger.simplon import DetectorUnreachable
from bluesky_streamdet.plans import fly
from tests.scripted import Documents
from tests.unit.devices.eiger.standin import StandIn, StreamedService

FACES = pytest.mark.parametrize("face", ["classic", "async"])
CONFIG = "detector/config"


def detector(face: str, unit: StandIn, service: StreamedService, name: str = "eiger", **keywords: Any) -> Any:
    """A device of either face; a RunEngine must exist before."""
    keywords = {"simplon": unit.url, "connect": service.connect, "margin": 5.0, "exposure": 0.1} | keywords
    if face == "classic":
        from bluesky_streamdet.devices.eiger.classic import EigerDetector as Classic

        return Classic(name=name, **keywords)
    from ophyd_async.core import init_devices

    from bluesky_streamdet.devices.eiger.asynchronous import EigerDetector as Asynchronous

    with init_devices():
        made = Asynchronous(name=name, **keywords)
    return made  # noqa: RET504, it is connected as a variable that was not there before


def called(face: str, RE: RunEngine, made: Any, method: str) -> Any:
    """What a method of the device returns, which is a coroutine of one of them."""
    if face == "classic":
        return getattr(made, method)()
    from bluesky.run_engine import call_in_bluesky_event_loop

    return call_in_bluesky_event_loop(getattr(made, method)())


def armed(unit: StandIn) -> tuple[Any, ...]:
    return tuple(unit.value(f"{CONFIG}/{name}") for name in ("trigger_mode", "nimages", "count_time"))


@FACES
def test_a_step_scan(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    eiger, documents = detector(face, unit, service, frames_per_event=2), Documents()
    RE(bp.scan([eiger], SynAxis(name="motor"), 0, 1, 3), documents)
    assert unit.commands == ["arm", "trigger", "trigger", "trigger", "disarm"]
    assert armed(unit) == ("ints", 2, 0.1)
    assert documents.stop["num_events"] == {"primary": 3}
    assert [stop for _, stop in documents.ranges("eiger")][-1] == 3
    for name, document in documents.all:
        schema_validators[DocumentNames[name]].validate(document)
    assert (unit.state, service.current) == ("idle", None)


@FACES
def test_the_configuration_of_a_run(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    """It has the settings, and what the detector said of itself at the start of this very run."""
    keywords = {"photon_energy": 12_400, "roi_mode": "4M", "user_data": {"sample": "lysozyme"}}
    eiger, documents = detector(face, unit, service, **keywords), Documents()
    unit.parameters["detector/status/board_000/th0_temp"]["value"] = 23.5
    RE(bp.count([eiger]), documents)
    said = documents.of("descriptor")[0]["configuration"]["eiger"]
    dash = "_" if face == "classic" else "-"

    def value(name: str) -> Any:
        return said["data"][name.replace(".", dash)]

    assert value("eiger.hardware.temperature") == 23.5
    assert value("eiger.hardware.high_voltage") == "READY"
    assert value("eiger.hardware.photon_energy") == value("eiger.photon_energy") == 12_400
    assert value("eiger.hardware.frame_time") == pytest.approx(0.101)
    assert json.loads(value("eiger.user_data")) == {"sample": "lysozyme"}
    units = {"temperature": "degC", "photon_energy": "eV", "x_pixel_size": "m", "humidity": "%"}
    keys = said["data_keys"]
    assert {name: keys[f"eiger{dash}hardware{dash}{name}"]["units"] for name in units} == units
    assert keys[f"eiger{dash}frame_time"]["units"] == "s"
    assert unit.value(f"{CONFIG}/roi_mode") == "4M"


@FACES
def test_settings_that_change_within_a_run(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    """They are for the points behind, whose frames go into another file."""
    eiger, documents = detector(face, unit, service), Documents()

    @bpp.stage_decorator([eiger])
    @bpp.run_decorator()
    def plan() -> Any:
        for energy in (9000.0, 9000.0, 9100.0):
            yield from bps.mv(eiger.photon_energy, energy)
            yield from bps.trigger_and_read([eiger])

    RE(plan(), documents)
    assert unit.commands == ["arm", "trigger", "trigger", "disarm", "arm", "trigger", "disarm"]
    assert unit.value(f"{CONFIG}/photon_energy") == 9100.0
    assert len([one for one in documents.of("stream_resource") if one["data_key"] == "eiger"]) == 2
    assert documents.stop["num_events"] == {"primary": 3}


@FACES
def test_a_pause_in_the_middle_of_a_point(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    """The point is taken anew, in another series, as what has come of it meanwhile is nobody's."""
    eiger, documents = detector(face, unit, service), Documents()
    service.hold = True
    with pausing(RE, service), pytest.raises(RunEngineInterrupted):
        RE(bp.count([eiger], 2), documents)
    service.hold = False
    RE.resume()
    assert unit.commands == ["arm", "trigger", "abort", "arm", "trigger", "trigger", "disarm"]
    assert documents.stop["num_events"] == {"primary": 2}


@contextmanager
def pausing(RE: RunEngine, service: StreamedService) -> Iterator[None]:
    """Pauses the RunEngine once the detector has been triggered."""

    def interrupt() -> None:
        service.triggered.wait(20)
        RE.request_pause()

    thread = threading.Thread(target=interrupt)
    thread.start()
    yield
    thread.join()


@FACES
def test_a_flight_is_the_first_thing_that_it_does(
    RE: RunEngine, unit: StandIn, service: StreamedService, face: str
) -> None:
    """The detector itself has said what frames are like."""
    eiger, documents = detector(face, unit, service), Documents()
    RE(fly([eiger], 7, exposure=0.02), documents)
    assert armed(unit) == ("ints", 7, 0.02)
    assert documents.of("descriptor")[0]["data_keys"]["eiger"]["shape"][-2:] == [4, 6]
    assert documents.stop["num_events"] == {"primary": 7}


@FACES
@pytest.mark.parametrize(
    ("trigger", "external_mode", "mode"),
    [("edge", "exts", "exts"), ("level", "exts", "exte"), ("edge", "exte", "exte")],
)
def test_a_flight_by_cable(
    RE: RunEngine, unit: StandIn, service: StreamedService, face: str, trigger: str, external_mode: str, mode: str
) -> None:
    """Armed for as many triggers as will come, before the flight begins."""
    eiger, documents = detector(face, unit, service, external_mode=external_mode), Documents()

    def pulses(number: int) -> None:
        service.header(number)
        cable = threading.Timer(0.05, service.give, (unit.value(f"{CONFIG}/ntrigger"),))
        cable.start()

    unit.on_arm = pulses
    RE(fly([eiger], 9, exposure=None if trigger == "level" else 0.02, trigger=trigger), documents)
    assert armed(unit)[:2] == (mode, 1)
    assert unit.value(f"{CONFIG}/ntrigger") == 9
    assert unit.commands == ["arm", "disarm"]
    assert documents.stop["num_events"] == {"primary": 9}


@pytest.mark.allow_error_log
@FACES
def test_a_trigger_that_is_refused(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    """The plan fails at once, with the detector's own words; not when its patience is over."""
    eiger = detector(face, unit, service, margin=60.0)
    unit.answers["detector/command/trigger"] = 400, "the gate is open"
    with pytest.raises(FailedStatus) as caught:
        RE(bp.count([eiger]))
    assert isinstance(caught.value.__cause__, HardwareFailed)
    assert "could not be made to take frames" in str(caught.value)
    assert "the gate is open" in str(caught.value)
    unit.answers.clear()
    RE(bp.count([eiger], 2))
    assert unit.state == "idle"


@pytest.mark.allow_error_log
@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
@FACES
def test_the_end_in_the_middle_of_a_series(
    RE: RunEngine, unit: StandIn, service: StreamedService, face: str, how: str
) -> None:
    """The detector is aborted while its trigger waits for frames; the next plan works."""
    eiger, documents = detector(face, unit, service), Documents()
    service.hold = unit.forgetful = True
    with pausing(RE, service), pytest.raises(RunEngineInterrupted):
        RE(fly([eiger], 1000), documents)
    getattr(RE, how)()
    if how != "halt":  # after which RunEngine does not wait for devices
        assert (unit.commands, unit.state, service.current) == (["arm", "trigger", "abort"], "idle", None)
    service.hold = False
    RE(bp.count([eiger], 2), documents)
    assert documents.stop["num_events"] == {"primary": 2}
    assert (unit.state, service.current) == ("idle", None)


@pytest.mark.allow_error_log
@FACES
def test_off_and_on(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    """Each time the plan says what to do, and after that the same device works."""
    eiger, documents = detector(face, unit, service), Documents()
    RE(bp.count([eiger]), documents)
    unit.switch_off()
    assert "Is it switched on" in str(failure(RE, eiger, DetectorUnreachable))
    unit.switch_on()
    assert "initialize()" in str(failure(RE, eiger, RequestRefused))
    called(face, RE, eiger, "initialize")
    assert called(face, RE, eiger, "state") == "idle"
    RE(bp.count([eiger], 2), documents)
    assert documents.stop["num_events"] == {"primary": 2}
    assert service.current is None


def failure(RE: RunEngine, eiger: Any, kind: type[Exception]) -> Exception:
    """What a plan fails with; of one face it is the status of staging that fails."""
    with pytest.raises((kind, FailedStatus)) as caught:
        RE(bp.count([eiger]))
    error = caught.value if isinstance(caught.value, kind) else caught.value.__cause__
    assert isinstance(error, kind)
    return error


@FACES
def test_whatever_is_running_can_be_aborted(RE: RunEngine, unit: StandIn, service: StreamedService, face: str) -> None:
    """Of others, too."""
    from bluesky_streamdet.streaming.messages import ArmRequest

    eiger = detector(face, unit, service)
    service.connect().arm(ArmRequest(name="somebody's"))
    unit.state = "acquire"
    called(face, RE, eiger, "abort")
    assert (unit.commands, unit.state, service.current) == (["abort"], "idle", None)


@FACES
def test_settings_are_checked_when_it_is_made(
    RE: RunEngine, unit: StandIn, service: StreamedService, face: str
) -> None:
    with pytest.raises(ConfigError, match="version 2 for several"):
        detector(face, unit, service, thresholds=[4000, 8000])
