"""Flights and series that can't be: what refuses them, before anything is begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from ophyd.sim import SynAxis

from bluesky_streamdet import plans
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.stage import SimulatedStage
from tests.scripted import Documents, ScriptedService, detector


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path, detector="det")


@pytest.mark.allow_error_log
@pytest.mark.parametrize(
    ("plan", "said"),
    {
        "events": (lambda det, stage: plans.fly([det], -5), "no flight of -5 events"),
        "half an event": (lambda det, stage: plans.fly([det], 2.5), "no flight of 2.5 events"),
        "exposure": (lambda det, stage: plans.fly([det], 5, -1), "exposure of -1 s is none"),
        "nobody": (lambda det, stage: plans.fly([], 5), "without detectors"),
        "a motor": (lambda det, stage: plans.fly([SynAxis(name="x")], 5, 0.1), "x can't fly"),
        "a name": (lambda det, stage: plans.fly(["dett"], 5, 0.1), "'dett' can't fly"),
        "rows": (lambda det, stage: plans.raster([det], stage, -3, -3, 0.1), "no flight of -3 rows"),
        "exposure in a grid": (lambda det, stage: plans.raster([det], stage, 3, 3, -0.1), "exposure of -0.1 s is none"),
        "no stage": (lambda det, stage: plans.raster([det], SynAxis(name="x"), 3, 3, 0.1), "x can't fly along rows"),
        "series": (lambda det, stage: plans.time_series([det], -1, 0.1), "no series of -1 events"),
        "backwards": (lambda det, stage: plans.time_series([det], 3, -0.1), "one each -0.1 s"),
        "projections": (lambda det, stage: plans.tomography([det], stage, 3, exposure=-1), "exposure of -1 s is none"),
    }.values(),
)
def test_flights_and_series_that_can_not_be(RE: RunEngine, service: ScriptedService, plan: Any, said: str) -> None:
    """Nothing is begun, and nothing stays set that the next plan would stumble over."""
    det, documents = detector("classic", service), Documents()
    before = det.exposure.get()
    stage = SimulatedStage(name="stage", give_triggers=lambda count, period: None)
    with pytest.raises(ConfigError, match=said):
        RE(plan(det, stage), documents)
    assert not documents.all and det.exposure.get() == before
