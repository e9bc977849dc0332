"""Fly scans with both faces: announced while they come, several detectors in step, flights that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from ophyd_async.core import DetectorTrigger, TriggerInfo

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.plans import announce_until_complete, fly
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}


class InBatches(Documents):
    """Gives the next batch of frames when the one before has been announced, and the first with the trigger."""

    def __init__(self, *services: ScriptedService, batches: list[int]) -> None:
        super().__init__()
        self._waiting = {service.detector: (service, list(batches)) for service in services}
        for service in services:
            service.by_hand = True
            service.on_trigger = self._next_of(service)

    def __call__(self, name: str, document: Any) -> None:
        super().__call__(name, document)
        if name == "stream_datum":
            resource = next(one for one in self.of("stream_resource") if one["uid"] == document["stream_resource"])
            service = self._waiting.get(resource["data_key"])
            if service is not None:
                self._next_of(service[0])()

    def _next_of(self, service: ScriptedService) -> Any:
        def give() -> None:
            batches = self._waiting[service.detector][1]
            if batches:
                service.give(batches.pop(0))

        return give


@FACES
def test_frames_are_announced_while_they_come(RE: RunEngine, tmp_path: Path, face: str) -> None:
    service = ScriptedService(tmp_path, detector="det")
    det, documents = detector(face, service, **KNOWN), InBatches(service, batches=[1, 3, 4])
    RE(fly([det], 8, flush_period=0.01), documents)
    assert documents.ranges("det") == [(0, 1), (1, 4), (4, 8)]
    assert documents.stop["num_events"] == {"primary": 8}
    assert documents.of("event") == documents.of("event_page") == []
    assert service.calls == ["arm k=1", "driver arm 8 x 0.1 s", "driver trigger", "driver disarm", "stop 8"]


@FACES
def test_only_whole_events_are_announced(RE: RunEngine, tmp_path: Path, face: str) -> None:
    service = ScriptedService(tmp_path, detector="det")
    det, documents = detector(face, service, frames_per_event=3, **KNOWN), InBatches(service, batches=[4, 4])

    def last(name: str, document: Any) -> None:
        if name == "stream_datum" and document["indices"]["stop"] == 2:
            service.give(1)

    RE(fly([det], 3, flush_period=0.01), [documents, last])
    assert documents.ranges("det") == [(0, 1), (1, 2), (2, 3)]
    assert documents.stop["num_events"] == {"primary": 3}
    assert "driver arm 9 x 0.1 s" in service.calls


@pytest.mark.parametrize("faces", [("classic", "classic"), ("async", "async"), ("classic", "async")])
def test_two_detectors_keep_step(RE: RunEngine, tmp_path: Path, faces: tuple[str, str]) -> None:
    fast, slow = ScriptedService(tmp_path / "a", detector="fast"), ScriptedService(tmp_path / "b", detector="slow")
    detectors = [
        detector(face, service, service.detector, **KNOWN) for face, service in zip(faces, (fast, slow), strict=True)
    ]
    documents = InBatches(slow, batches=[1, 2, 3])
    RE(fly(detectors, 6, flush_period=0.01), documents)
    assert documents.ranges("fast") == documents.ranges("slow") == [(0, 1), (1, 3), (3, 6)]
    assert documents.stop["num_events"] == {"primary": 6}


@FACES
def test_the_exposure_of_a_flight(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    RE(fly([det], 2, exposure=0.25), documents)
    assert "driver arm 2 x 0.25 s" in service.calls
    assert documents.of("start")[0]["plan_args"]["exposure"] == 0.25


@pytest.mark.allow_error_log
@FACES
def test_frames_that_nobody_described(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det = detector(face, service)
    with pytest.raises(ConfigError, match="Nobody knows what the frames"):
        RE(fly([det], 2))
    RE(bp.count([det], 1))
    documents = Documents()
    RE(fly([det], 2), documents)
    assert documents.ranges("det") == [(0, 2)], "what they are like is known from the series before"


@pytest.mark.allow_error_log
@FACES
def test_frames_that_were_described_otherwise(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det = detector(face, service, shape=(5, 5), dtype="<u4")
    with pytest.raises(ConfigError, match=r"sends frames of shape \(4, 6\) and type <u2, but was described"):
        RE(fly([det], 2))


@FACES
def test_flights_one_after_the_other(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        value = 2 if face == "classic" else TriggerInfo(number_of_events=2)
        for flight in range(3):
            yield from bps.prepare(det, value, wait=True)
            if not flight:
                yield from bps.declare_stream(det, name="primary", collect=True)
            yield from bps.kickoff(det, wait=True)
            yield from announce_until_complete([det])

    RE(plan(), documents)
    assert documents.ranges("det") == [(0, 2), (2, 4), (4, 6)]
    assert service.calls.count("arm k=1") == 1
    assert documents.stop["num_events"] == {"primary": 6}


@FACES
def test_a_detector_that_ends_its_series_after_each_flight(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    service.ends_series = True

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        value = 2 if face == "classic" else TriggerInfo(number_of_events=2)
        for flight in range(2):
            yield from bps.prepare(det, value, wait=True)
            if not flight:
                yield from bps.declare_stream(det, name="primary", collect=True)
            yield from bps.kickoff(det, wait=True)
            yield from announce_until_complete([det])

    RE(plan(), documents)
    assert documents.ranges("det") == [(0, 2), (0, 2)]
    assert len({one["uri"] for one in documents.of("stream_resource")}) == 2
    assert documents.stop["num_events"] == {"primary": 4}


@FACES
def test_external_triggers(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()

    @bpp.stage_decorator([det])
    @bpp.run_decorator()
    def plan() -> Any:
        info = TriggerInfo(number_of_events=4, trigger=DetectorTrigger.EXTERNAL_EDGE, livetime=0.01)
        yield from bps.prepare(det, info, wait=True)
        yield from bps.declare_stream(det, name="primary", collect=True)
        yield from bps.kickoff(det, wait=True)
        service.give(4)
        yield from announce_until_complete([det])

    RE(plan(), documents)
    assert documents.ranges("det") == [(0, 4)]
    assert "driver arm 1 x 0.01 s external" in service.calls
    assert "driver trigger" not in service.calls


@pytest.mark.allow_error_log
def test_flights_that_can_not_be(RE: RunEngine, service: ScriptedService) -> None:
    det = detector("classic", service)
    with pytest.raises(ConfigError, match="not prepared"):
        det.kickoff()
    with pytest.raises(ConfigError, match="does not fly"):
        det.complete()
    with pytest.raises(ConfigError, match="0 events"):
        det.prepare(0)


@FACES
def test_a_series_that_is_closed_with_all_frames_is_fine(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, documents = detector(face, service, **KNOWN), Documents()
    service.on_trigger = lambda: (service.give(2), service.end(Outcome.COMPLETE))
    service.by_hand = True
    RE(fly([det], 2), documents)
    assert documents.stop["exit_status"] == "success"
