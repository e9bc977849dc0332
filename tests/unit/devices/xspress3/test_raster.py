"""A raster with a stage that triggers by cable: positions, frames, pauses and ends, with both faces."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.plans import Grid, GridRow, raster
from tests.scripted import Documents
from tests.unit.devices.xspress3.scripted import ScriptedXspress3, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])


def stage_of(service: ScriptedXspress3) -> SimulatedStage:
    return SimulatedStage(
        name="stage", give_triggers=lambda count, period: service.instruct("pulse", count=count, period=period)
    )


def positions(documents: Documents) -> list[tuple[float, float]]:
    found = []
    for page in documents.of("event_page"):
        found += list(zip(page["data"]["stage_x"], page["data"]["stage_y"], strict=True))
    return found + [(one["data"]["stage_x"], one["data"]["stage_y"]) for one in documents.of("event")]


def test_rows_of_a_grid() -> None:
    rows = Grid(2, 3, (0.0, 1.0), (5.0, 7.0), snake=True).rows_in_order(0.1)
    assert rows == [GridRow(0, 5.0, (0.0, 0.5, 1.0), 0.1), GridRow(1, 7.0, (1.0, 0.5, 0.0), 0.1)]
    assert Grid(1, 1, (2.0, 3.0), (4.0, 5.0)).rows_in_order(0.1) == [GridRow(0, 4.0, (2.0,), 0.1)]


@FACES
def test_a_raster(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service), Documents()
    plan = raster([xsp], stage_of(service), 2, 3, 1e-3, x=(0, 2), y=(0, 1), overhead=0.0, snake=True, flush_period=0.01)
    RE(plan, documents)
    assert service.commands == ["arm", "pulse", "pulse", "stop"]
    assert service.arguments_of("pulse") == [{"count": 3, "period": 1e-3}] * 2
    assert service.arguments_of("arm")[0]["mode"] == "hardware"
    assert documents.ranges("xsp")[-1][1] == 6
    assert positions(documents) == [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)]
    assert documents.stop["num_events"] == {"primary": 6, "positions": 6}
    start = documents.of("start")[0]
    assert (start["shape"], start["snaking"], start["extents"]) == ([2, 3], [False, True], [[0, 1], [0, 2]])


@FACES
def test_a_pause_in_a_row(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    """The row goes on meanwhile; no trigger is given twice, and no frame is missing."""
    xsp, documents = detector(face, service), Documents()
    pausing = threading.Thread(target=RE.request_pause)
    gave = service.instruct

    def instruct(command: str, **arguments: Any) -> dict[str, Any]:
        if command == "pulse" and pausing.ident is None:
            pausing.start()
        return gave(command, **arguments)

    service.instruct = instruct  # type: ignore[method-assign]
    with pytest.raises(RunEngineInterrupted):
        RE(raster([xsp], stage_of(service), 3, 20, 5e-3, overhead=0.0, flush_period=0.01), documents)
    pausing.join()
    RE.resume()
    assert service.commands == ["arm", "pulse", "pulse", "pulse", "stop"]
    assert documents.ranges("xsp")[-1][1] == 60
    assert len(positions(documents)) == 60
    assert documents.stop["num_events"] == {"primary": 60, "positions": 60}


@pytest.mark.allow_error_log
@FACES
def test_an_abort_in_a_row(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, stage = detector(face, service), stage_of(service)
    pausing = threading.Thread(target=RE.request_pause)

    def pause(name: str, document: Any) -> None:
        if name == "stream_datum" and pausing.ident is None:
            pausing.start()

    with pytest.raises(RunEngineInterrupted):
        RE(raster([xsp], stage, 3, 1000, 0.05, overhead=0.0, flush_period=0.01), pause)
    pausing.join()
    RE.abort()
    assert service.current is None
    assert service.commands[-1] == "stop"
    documents = Documents()
    RE(raster([xsp], stage, 1, 2, 1e-3, flush_period=0.01), documents)
    assert documents.stop["num_events"] == {"primary": 2, "positions": 2}


def test_a_stage_that_nobody_has_prepared(service: ScriptedXspress3) -> None:
    with pytest.raises(ConfigError, match="stage is not prepared"):
        stage_of(service).kickoff()
