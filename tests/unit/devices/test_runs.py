"""Files say of which run they are, whatever the plan does, with both faces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine

from bluesky_streamdet.core.errors import RequestRefused
from bluesky_streamdet.devices.runs import LARGEST, LEFT_OUT, MOST_RUNS, RunStarts, run_starts
from bluesky_streamdet.plans import fly
from bluesky_streamdet.streaming.messages import START
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedClient, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])


@pytest.fixture
def documents(RE: RunEngine) -> Documents:
    """Those of all runs; the RunEngine tells the devices of its runs."""
    documents = Documents()
    RE.subscribe(run_starts)
    RE.subscribe(documents)
    return documents


def start_of(service: ScriptedService, series: str) -> dict[str, Any]:
    return service.parameters[series][START]


@FACES
@pytest.mark.parametrize("kind", ["count", "fly", "external"])
def test_each_file_gets_the_start_document_of_its_run(
    RE: RunEngine, service: ScriptedService, documents: Documents, face: str, kind: str
) -> None:
    det = detector(face, service, shape=SHAPE, dtype=DTYPE)
    plans: dict[str, Callable[[], Any]] = {
        "count": lambda: bp.count([det], 2),
        "fly": lambda: fly([det], 3, 0.01),
        "external": lambda: external(det, service),
    }
    for number in (1, 2):
        RE(plans[kind](), sample=f"sample {number}")
        start = documents.of("start")[-1]
        assert start_of(service, f"series{number}") == json.loads(json.dumps(start))
        assert start["sample"] == f"sample {number}"


def external(det: Any, service: ScriptedService) -> Iterator[Any]:
    """A flight by external triggers that is prepared before its run is opened."""
    from ophyd_async.core import DetectorTrigger, TriggerInfo

    info = TriggerInfo(number_of_events=2, trigger=DetectorTrigger.EXTERNAL_EDGE, deadtime=0.001)

    @bpp.stage_decorator([det])
    def plan() -> Iterator[Any]:
        yield from bps.prepare(det, info, wait=True)
        yield from bps.open_run()
        yield from bps.declare_stream(det, name="primary", collect=True)
        yield from bps.kickoff(det, wait=True)
        yield from bps.complete(det, group="done")
        service.give(2)
        yield from bps.wait("done")
        yield from bps.collect(det, name="primary")
        yield from bps.close_run()

    return plan()


@FACES
def test_a_run_that_is_opened_before_the_device_is_staged(
    RE: RunEngine, service: ScriptedService, documents: Documents, face: str
) -> None:
    det = detector(face, service)

    @bpp.run_decorator(md={"sample": "LaB6"})
    @bpp.stage_decorator([det])
    def plan() -> Iterator[Any]:
        yield from bps.trigger_and_read([det])

    RE(plan())
    assert start_of(service, "series1") == documents.of("start")[0]


@FACES
@pytest.mark.parametrize("inside", [True, False], ids=["inside of another", "around another"])
def test_a_run_beside_another(
    RE: RunEngine, service: ScriptedService, documents: Documents, face: str, inside: bool
) -> None:
    """The newest run is meant, unless another one names the detector."""
    det = detector(face, service)

    @bpp.stage_decorator([det])
    def plan() -> Iterator[Any]:
        yield from bpp.set_run_key_wrapper(bps.open_run({"detectors": [] if inside else ["det"]}), "outer")
        yield from bpp.set_run_key_wrapper(bps.open_run(), "inner")
        yield from bpp.set_run_key_wrapper(bps.trigger_and_read([det]), "inner" if inside else "outer")
        yield from bpp.set_run_key_wrapper(bps.close_run(), "inner")
        yield from bpp.set_run_key_wrapper(bps.close_run(), "outer")

    RE(plan())
    assert start_of(service, "series1") == documents.of("start")[inside]


@FACES
def test_a_service_that_takes_no_metadata_does_not_cost_the_run(
    RE: RunEngine,
    service: ScriptedService,
    documents: Documents,
    face: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: Any) -> None:
        raise RequestRefused("Series s has ended; its file is closed.")

    monkeypatch.setattr(ScriptedClient, "set_parameters", refuse)
    RE(bp.count([detector(face, service)], 2))
    assert documents.stop["num_events"] == {"primary": 2}
    assert "its file says nothing of the run: Series s has ended" in caplog.text


def test_without_the_subscription_nothing_is_told(RE: RunEngine, service: ScriptedService) -> None:
    RE(bp.count([detector("classic", service)], 1))
    assert service.parameters == {}


def test_a_large_document_is_told_without_its_largest_values() -> None:
    runs = RunStarts()
    start = {"uid": "1", "sample": "LaB6", "positions": ["x"] * LARGEST, "more": "y" * 2 * LARGEST, "less": "z" * 100}
    runs("start", start)
    found = runs.of("det")
    assert found == {"uid": "1", "sample": "LaB6", "less": "z" * 100, LEFT_OUT: ["positions", "more"]}
    assert len(json.dumps(found)) <= LARGEST


@pytest.mark.parametrize("detectors", [None, "detector", 5, [["det"]], ["other"]])
def test_a_document_may_say_anything(detectors: Any) -> None:
    runs = RunStarts()
    odd = {"array": np.arange(3), "number": np.float64(0.5), "tuple": (1, {2}), 5: {(1, 2): None}, "when": object}
    runs("start", {"uid": "1", "detectors": detectors, **odd})
    found = runs.of("det")
    assert found == {
        "uid": "1",
        "detectors": detectors,
        "array": [0, 1, 2],
        "number": 0.5,
        "tuple": [1, [2]],
        "5": {"(1, 2)": None},
        "when": "<class 'object'>",
    }
    assert json.loads(json.dumps(found)) == found


def test_runs_that_never_end_are_forgotten_in_the_end() -> None:
    runs = RunStarts()
    for number in range(MOST_RUNS + 5):
        runs("start", {"uid": str(number)})
    for number in reversed(range(5, MOST_RUNS + 5)):
        assert runs.of("det") == {"uid": str(number)}
        runs("stop", {"run_start": str(number)})
    assert runs.of("det") is None
