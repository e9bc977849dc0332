"""Our plans paused and resumed, stopped, aborted, halted, suspended: what is counted, and that the next one works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import RunEngineInterrupted
from ophyd import Signal
from ophyd.sim import SynAxis

from bluesky_streamdet import plans
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}
POINTS = 30

MADE: dict[str, Callable[[Any], Any]] = {
    "burst_scan": lambda det: plans.burst_scan([det], SynAxis(name="motor"), 0, 1, num=POINTS, frames=3),
    "time_series": lambda det: plans.time_series([det], POINTS, 0.001, frames=2),
    "energy_scan": lambda det: plans.energy_scan([det], SynAxis(name="motor"), [[1, 20, 1, 0.1], [21, POINTS, 1, 0.2]]),
    "tomography": lambda det: plans.tomography(
        [det], SynAxis(name="motor"), POINTS, darks=4, shutter=SynAxis(name="shutter"), flush_period=0.01
    ),
}
PLANS = pytest.mark.parametrize("plan", MADE)


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path, detector="det")


class Interruption:
    """At the fifth event, `what` is called in a thread of its own, as by somebody at the keyboard."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=what)
        self._events = 0

    def __call__(self, name: str, document: Any) -> None:
        self._events += name == "event"
        if self._events == 5 and self._thread.ident is None:
            self._thread.start()

    def wait(self) -> None:
        self._thread.join()


def interrupted(RE: RunEngine, plan: Any, documents: Documents) -> None:
    """Run it, and pause at its fifth event."""
    pause = Interruption(RE.request_pause)
    with pytest.raises(RunEngineInterrupted):
        RE(plan, [documents, pause])
    pause.wait()


def check_next(RE: RunEngine, det: Any, service: ScriptedService) -> None:
    """The next scan works, and the detector is at rest after it."""
    documents = Documents()
    RE(bp.count([det], 2), documents)
    assert documents.stop["num_events"] == {"primary": 2}
    assert documents.ranges("det") == [(0, 1), (1, 2)]
    assert service.current is None


@PLANS
@FACES
def test_resumed(RE: RunEngine, service: ScriptedService, face: str, plan: str) -> None:
    """Every point is there once, in one array."""
    det, documents = detector(face, service, **KNOWN), Documents()
    interrupted(RE, MADE[plan](det), documents)
    RE.resume()
    assert documents.stop["exit_status"] == "success"
    assert documents.stop["num_events"]["primary"] == POINTS
    primary = next(one["uid"] for one in documents.of("descriptor") if one["name"] == "primary")
    announced = [one["indices"] for one in documents.of("stream_datum") if one["descriptor"] == primary]
    columns = len([key for key, one in documents.of("descriptor")[-1]["data_keys"].items() if "external" in one])
    assert sum(one["stop"] - one["start"] for one in announced) == POINTS * columns
    check_next(RE, det, service)


@pytest.mark.allow_error_log
@PLANS
@FACES
@pytest.mark.parametrize(("end", "status"), [("abort", "abort"), ("stop", "success"), ("halt", None)])
def test_ended(RE: RunEngine, service: ScriptedService, face: str, plan: str, end: str, status: str | None) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    interrupted(RE, MADE[plan](det), documents)
    getattr(RE, end)()
    if status is not None:
        assert documents.stop["exit_status"] == status
        assert service.current is None
    if end != "halt":
        check_next(RE, det, service)
    else:
        # Halted, a plan leaves everything as it is; staged anew, the detector is as it was told last.
        RE(bp.count([det], 2))
        assert service.current is None


@PLANS
@FACES
def test_suspended(RE: RunEngine, service: ScriptedService, face: str, plan: str) -> None:
    """The beam goes and comes back."""
    beam_lost = Signal(name="beam_lost", value=0)
    suspender = SuspendBoolHigh(beam_lost)
    RE.install_suspender(suspender)
    det, documents = detector(face, service, **KNOWN), Documents()

    def lose_and_find() -> None:
        beam_lost.put(1)
        beam_lost.put(0)

    beam = Interruption(lose_and_find)
    RE(MADE[plan](det), [documents, beam])
    beam.wait()
    RE.remove_suspender(suspender)
    assert documents.stop["exit_status"] == "success"
    assert documents.stop["num_events"]["primary"] == POINTS
    check_next(RE, det, service)
