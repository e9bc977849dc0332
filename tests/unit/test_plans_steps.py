"""Bursts, time series, energy scans and tomography, run with devices of both faces on a scripted service."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd import Signal
from ophyd.sim import SynAxis, det1

from bluesky_streamdet import plans
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.series import Outcome
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path, detector="det")


@pytest.fixture
def motor() -> SynAxis:
    return SynAxis(name="motor")


def data_of(documents: Documents, key: str) -> list[Any]:
    return [event["data"][key] for event in documents.of("event")]


def shape_of(documents: Documents, key: str = "det") -> list[int]:
    return list(documents.of("descriptor")[0]["data_keys"][key]["shape"])


def interrupt_at(RE: RunEngine, kind: str) -> Any:
    """A callback that asks for a pause at the first document of a kind."""
    asking = threading.Thread(target=RE.request_pause)

    def pause(name: str, document: Any) -> None:
        if name == kind and asking.ident is None:
            asking.start()

    return pause, asking


# Bursts


@FACES
def test_a_burst_at_each_point(RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str) -> None:
    det, documents = detector(face, service), Documents()
    RE(plans.burst_scan([det], motor, 0, 2, num=3, frames=4, exposure=0.25), documents)
    assert [call for call in service.calls if call.startswith(("arm", "driver arm"))] == [
        "arm k=4",
        "driver arm 4 x 0.25 s",
    ]
    assert service.calls.count("driver trigger") == 3
    assert documents.ranges("det") == [(0, 1), (1, 2), (2, 3)]
    assert shape_of(documents) == [4, *SHAPE]
    assert data_of(documents, "motor") == [0.0, 1.0, 2.0]
    start = documents.of("start")[0]
    assert (start["plan_name"], start["frames_per_point"], start["num_points"]) == ("burst_scan", 4, 3)


@FACES
@pytest.mark.parametrize("frames", [1, 3])
def test_a_burst_is_for_its_plan_only(
    RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str, frames: int
) -> None:
    """A detector that takes bursts of its own takes those again afterwards."""
    det, documents = detector(face, service, frames_per_event=2), Documents()
    RE(plans.burst_scan([det], motor, 0, 1, num=2, frames=frames))
    RE(bp.count([det]), documents)
    assert [call for call in service.calls if call.startswith("arm")] == [f"arm k={frames}", "arm k=2"]
    assert shape_of(documents) == [2, *SHAPE]


@FACES
def test_bursts_in_any_plan(RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str) -> None:
    det, documents, slow = detector(face, service), Documents(), SynAxis(name="slow")
    grid = bp.grid_scan([det], slow, 0, 1, 2, motor, 0, 1, 2)
    RE(plans.bursts_wrapper(grid, [det], frames=3), documents)
    assert documents.ranges("det")[-1] == (3, 4)
    assert shape_of(documents) == [3, *SHAPE]


@pytest.mark.allow_error_log
@FACES
def test_an_abort_in_a_burst_scan(RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str) -> None:
    det = detector(face, service, frames_per_event=2)
    pause, asking = interrupt_at(RE, "event")
    with pytest.raises(RunEngineInterrupted):
        RE(plans.burst_scan([det], motor, 0, 1, num=500, frames=5), pause)
    asking.join()
    RE.abort()
    assert service.current is None
    documents = Documents()
    RE(bp.count([det], 2), documents)
    assert shape_of(documents) == [2, *SHAPE]


@FACES
def test_a_pause_in_a_burst_scan(RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str) -> None:
    det, documents = detector(face, service), Documents()
    pause, asking = interrupt_at(RE, "event")
    with pytest.raises(RunEngineInterrupted):
        RE(plans.burst_scan([det], motor, 0, 1, num=30, frames=2), [documents, pause])
    asking.join()
    RE.resume()
    assert documents.stop["num_events"] == {"primary": 30}
    assert sum(stop - start for start, stop in documents.ranges("det")) == 30


@FACES
def test_a_sensor_beside_a_burst(RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str) -> None:
    det, documents = detector(face, service), Documents()
    RE(plans.burst_scan([det, det1], motor, 0, 1, num=2, frames=3, exposure=0.2), documents)
    assert shape_of(documents) == [3, *SHAPE]
    assert len(data_of(documents, "det1")) == 2


@pytest.mark.allow_error_log
def test_what_can_take_no_bursts(RE: RunEngine, service: ScriptedService, motor: SynAxis) -> None:
    with pytest.raises(ConfigError, match=r"None of det1 takes bursts"):
        RE(plans.burst_scan([det1], motor, 0, 1, num=2, frames=2))
    with pytest.raises(ConfigError, match=r"A burst of 0 frames is none"):
        RE(plans.burst_scan([detector("classic", service)], motor, 0, 1, num=2, frames=0))
    with pytest.raises(ConfigError, match=r"An exposure of -1 s is none"):
        RE(plans.burst_scan([detector("classic", service)], motor, 0, 1, num=2, frames=1, exposure=-1))
    with pytest.raises(ConfigError, match=r"None of det1 has an exposure"):
        RE(plans.bursts_wrapper(bp.count([det1]), [det1], exposure=1.0))
    assert service.calls == []


# Time series


@FACES
def test_a_time_series_does_not_drift(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service), Documents()
    slept: list[float] = []
    messages: list[Any] = []

    def note(message: Any) -> None:
        messages.append(message)
        if message.command == "sleep":
            slept.append(message.args[0])

    RE.msg_hook = note
    RE(plans.time_series([det, det1], 4, 0.05, frames=3, exposure=0.01), documents)
    times = [event["time"] for event in documents.of("event")]
    assert len(times) == 4
    assert all(0 <= one <= 0.05 for one in slept)
    assert times[-1] - times[0] >= 3 * 0.05 - max(0.0, 0.05 - slept[0])
    assert shape_of(documents) == [3, *SHAPE]
    assert "driver arm 3 x 0.01 s" in service.calls
    assert documents.of("start")[0]["plan_args"]["period"] == 0.05


def test_a_time_series_without_detectors_of_ours(RE: RunEngine) -> None:
    documents = Documents()
    RE(plans.time_series([det1], 3, 0.0), documents)
    assert documents.stop["num_events"] == {"primary": 3}


# Energy scans


def test_energies() -> None:
    points = plans.energies_of([[-2, 0, 1], [0, 1, 0.5, 2.0], [1, 3, 2]], edge=100, exposure=0.5)
    assert points == [(98, 0.5), (99, 0.5), (100, 2.0), (100.5, 2.0), (101, 0.5), (103, 0.5)]
    assert [one.energy for one in plans.energies_of([[3, 1, -1]])] == [3, 2, 1]
    assert len(plans.energies_of([[0, 0.3, 0.1]])) == 4


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([], "without regions"),
        ([[1, 2]], r"The region \[1, 2\] has 2 numbers"),
        ([[1, 2, 0]], "Steps of 0 do not lead from 1 to 2"),
        ([[1, 2, -1]], "Steps of -1 do not lead from 1 to 2"),
    ],
)
def test_regions_that_are_none(regions: list[list[float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plans.energies_of(regions)


@FACES
def test_an_energy_scan(RE: RunEngine, service: ScriptedService, motor: SynAxis, face: str) -> None:
    det, documents = detector(face, service), Documents()
    RE(plans.energy_scan([det], motor, [[0, 2, 1], [3, 4, 1, 0.5]], edge=7000, exposure=0.25), documents)
    assert data_of(documents, "motor") == [7000, 7001, 7002, 7003, 7004]
    assert [call for call in service.calls if call.startswith("driver arm")] == [
        "driver arm 1 x 0.25 s",
        "driver arm 1 x 0.5 s",
    ]
    assert sum(stop - start for start, stop in documents.ranges("det")) == 5
    assert documents.of("start")[0]["edge"] == 7000


# Tomography


class Noted(Signal):
    """Notes in a list what it was set to."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(name=name, value=0)
        self._log = log

    def set(self, value: Any, **kwargs: Any) -> Any:
        self._log.append(f"{self.name} {value}")
        return super().set(value, **kwargs)


@pytest.fixture
def log(service: ScriptedService) -> list[str]:
    """What happened to shutter, sample and detector, in order."""
    return service.calls


@pytest.fixture
def around(log: list[str]) -> dict[str, Any]:
    """The keywords of what is around the sample."""
    return {
        "shutter": Noted("shutter", log),
        "sample": Noted("sample", log),
        "sample_out": 9,
        "opened": "open",
        "closed": "closed",
        "flush_period": 0.01,
    }


@FACES
def test_a_tomogram(
    RE: RunEngine, service: ScriptedService, motor: SynAxis, around: dict[str, Any], log: list[str], face: str
) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    plan = plans.tomography([det], motor, 3, exposure=0.5, darks=2, flats=4, flats_after=True, **around)
    RE(plan, documents)
    wanted = ("shutter", "sample", "arm", "driver arm", "stop")
    assert [call for call in log if call.startswith(wanted)] == [
        *["shutter closed", "arm k=1", "driver arm 2 x 0.5 s", "stop 2"],
        *["sample 9", "shutter open", "arm k=1", "driver arm 4 x 0.5 s", "stop 4"],
        *["sample 0", "arm k=1", "driver arm 1 x 0.5 s", "stop 3"],
        *["sample 9", "arm k=1", "driver arm 4 x 0.5 s", "stop 4"],
        *["shutter closed", "sample 0"],
    ]
    assert documents.stop["num_events"] == {"darks": 2, "flats": 4, "primary": 3, "flats_after": 4}
    assert len([one for one in documents.of("stream_resource") if one["data_key"] == "det"]) == 4
    assert data_of(documents, "motor") == [0.0, 90.0, 180.0]
    assert documents.of("start")[0]["tomography"] == {"darks": 2, "flats": 4, "flats_after": 4}


@pytest.mark.allow_error_log
@FACES
def test_an_abort_in_a_tomogram(
    RE: RunEngine, service: ScriptedService, motor: SynAxis, around: dict[str, Any], log: list[str], face: str
) -> None:
    det = detector(face, service, **KNOWN)
    pause, asking = interrupt_at(RE, "event")
    with pytest.raises(RunEngineInterrupted):
        RE(plans.tomography([det], motor, 500, darks=2, flats=2, **around), pause)
    asking.join()
    del log[:]
    RE.abort()
    assert service.current is None
    assert log[-2:] == ["shutter closed", "sample 0"]


@pytest.mark.allow_error_log
def test_a_detector_that_fails_leaves_the_shutter_closed(
    RE: RunEngine, service: ScriptedService, motor: SynAxis, around: dict[str, Any], log: list[str]
) -> None:
    service.by_hand = True
    service.on_trigger = lambda: service.end(Outcome.INCOMPLETE, "its writer failed")
    det = detector("classic", service, **KNOWN)
    with pytest.raises(FailedStatus):
        RE(plans.tomography([det], motor, 3, darks=2, **around))
    assert log[-2:] == ["shutter closed", "sample 0"]


def test_tomograms_that_are_none(service: ScriptedService, motor: SynAxis, around: dict[str, Any]) -> None:
    det = detector("classic", service)
    for wrong, message in (
        ({"projections": 0}, "no 0 projections"),
        ({"projections": 2, "darks": 1, "shutter": None}, "Darks want a shutter"),
        ({"projections": 2, "flats": 1, "sample": None}, "Flats want something"),
    ):
        with pytest.raises(ConfigError, match=message):
            list(plans.tomography([det], motor, **(around | wrong)))


# Tables


@FACES
@pytest.mark.parametrize("plan", ["fly", "burst_scan", "time_series", "energy_scan", "tomography"])
def test_a_best_effort_table(
    RE: RunEngine, service: ScriptedService, motor: SynAxis, capsys: pytest.CaptureFixture[str], plan: str, face: str
) -> None:
    det, table = detector(face, service, **KNOWN), BestEffortCallback()
    table.disable_plots()
    made = {
        "fly": lambda: plans.fly([det], 2, flush_period=0.01),
        "burst_scan": lambda: plans.burst_scan([det], motor, 0, 1, num=2, frames=2),
        "time_series": lambda: plans.time_series([det], 2, 0.0),
        "energy_scan": lambda: plans.energy_scan([det], motor, [[0, 1, 1]]),
        "tomography": lambda: plans.tomography([det], motor, 2, darks=2, shutter=SynAxis(name="shutter")),
    }
    RE(made[plan](), table)
    said = capsys.readouterr()
    assert "exception" not in said.out + said.err
    assert "New stream: 'primary'" in said.out
    assert ("det" + ("_" if face == "classic" else "-") + "total" in said.out) == (plan != "fly")


# Flights by cable, of several detectors


@FACES
def test_a_flight_by_cable(RE: RunEngine, tmp_path: Path, face: str) -> None:
    """Something gives triggers by itself, to both detectors."""
    services = [ScriptedService(tmp_path / name, detector=name) for name in ("one", "two")]
    detectors = [detector(face, service, service.detector, **KNOWN) for service in services]
    documents = Documents()

    def give(message: Any) -> None:
        if message.command == "checkpoint" and not any(service.numbers for service in services):
            for service in services:
                service.give(4)

    RE.msg_hook = give
    RE(plans.fly(detectors, 4, 0.1, trigger="edge", flush_period=0.01), documents)
    assert documents.ranges("one")[-1][1] == documents.ranges("two")[-1][1] == 4
    assert all("driver arm 1 x 0.1 s external" in service.calls for service in services)


@pytest.mark.allow_error_log
def test_a_trigger_that_there_is_not(RE: RunEngine, service: ScriptedService) -> None:
    with pytest.raises(ConfigError, match="There is no trigger 'optical'; there are internal, edge, level"):
        RE(plans.fly([detector("classic", service)], 4, trigger="optical"))


# Metadata


def run_with(RE: RunEngine, **metadata: Any) -> Documents:
    documents = Documents()

    def plan() -> Any:
        yield from bps.open_run({"plan_name": "mine"})
        yield from bps.close_run()

    RE(plan(), documents, **metadata)
    return documents


@pytest.mark.allow_error_log
def test_metadata_that_are_wanted(RE: RunEngine, service: ScriptedService) -> None:
    RE.md_validator = plans.RequiredMetadata(
        {"proposal": "[0-9]{8}", "sample.name": None, "mode": ["user", "test"], "operators": list}
    )
    with pytest.raises(ConfigError) as refused:
        run_with(RE, proposal="2026", mode="fun", operators="me")
    assert str(refused.value) == (
        "The run (mine) was refused: 'proposal' is '2026', not of the form [0-9]{8}; 'sample.name' is missing; "
        "'mode' is 'fun', not one of user, test; 'operators' is 'me', not of type list. "
        "Set it for all runs, RE.md['proposal'] = ..., or for this one, RE(plan, proposal=...)."
    )
    RE.md["sample"] = {"name": "LaB6"}
    assert run_with(RE, proposal="20260001", mode="user", operators=["me"]).stop["exit_status"] == "success"


@pytest.mark.allow_error_log
@pytest.mark.parametrize("sample", ["", "  ", None])
def test_metadata_that_say_nothing(RE: RunEngine, sample: Any) -> None:
    RE.md_validator = plans.RequiredMetadata(["sample"])
    with pytest.raises(ConfigError, match="'sample' is missing"):
        run_with(RE, sample=sample)


def test_plans_that_need_not_say_it(RE: RunEngine) -> None:
    RE.md_validator = plans.RequiredMetadata(["sample"], but_not=["mine"])
    assert run_with(RE).stop["exit_status"] == "success"


def test_a_form_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"The form '\(' of 'sample' is no regular expression"):
        plans.RequiredMetadata({"sample": "("})


@pytest.mark.allow_error_log
@FACES
def test_a_refused_run_leaves_the_detector_ready(RE: RunEngine, service: ScriptedService, face: str) -> None:
    RE.md_validator = plans.RequiredMetadata(["sample"])
    det, documents = detector(face, service), Documents()
    with pytest.raises(ConfigError, match="'sample' is missing"):
        RE(bp.count([det], 2), documents)
    assert "driver trigger" not in service.calls
    assert service.current is None
    assert documents.all == []
    RE(bp.count([det], 2), documents, sample="LaB6")
    assert documents.stop["num_events"] == {"primary": 2}
