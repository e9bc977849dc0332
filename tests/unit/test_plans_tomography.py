"""Tomography with a sample that turns without a stop, and triggers the detector."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import SynAxis

from bluesky_streamdet import plans
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.stage import SimulatedRotation
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
ANGLES = 30


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path, detector="det")


@pytest.fixture
def rotation(service: ScriptedService) -> SimulatedRotation:
    return SimulatedRotation(name="rotation", give_triggers=lambda count, period: service.give(count))


def tomogram(det: Any, rotation: Any, shutter: SynAxis, **how: Any) -> Any:
    how = {"exposure": 0.001, "darks": 3, "continuous": True, "flush_period": 0.01, **how}
    return plans.tomography([det], rotation, ANGLES, shutter=shutter, **how)


def check(documents: Documents, shutter: SynAxis) -> None:
    """Darks, and each projection once, in a file of their own; where the sample was at each."""
    assert documents.stop["exit_status"] == "success"
    assert documents.stop["num_events"] == {"darks": 3, "primary": ANGLES, "positions": ANGLES}
    (positions,) = documents.of("event_page")
    assert positions["data"]["rotation_angle"] == pytest.approx(np.linspace(0, 180, ANGLES))
    assert len([one for one in documents.of("stream_resource") if one["data_key"] == "det"]) == 2
    assert shutter.position == 0


@FACES
def test_a_turn(RE: RunEngine, service: ScriptedService, rotation: SimulatedRotation, face: str) -> None:
    det, shutter, documents = detector(face, service, shape=SHAPE, dtype=DTYPE), SynAxis(name="shutter"), Documents()
    RE(tomogram(det, rotation, shutter), documents)
    check(documents, shutter)
    assert "driver arm 1 x 0.001 s external" in service.calls
    assert documents.of("start")[0]["hints"]["dimensions"] == [(("time",), "primary")]


@FACES
def test_a_pause_in_a_turn(RE: RunEngine, service: ScriptedService, rotation: SimulatedRotation, face: str) -> None:
    """It is finished meanwhile, and not begun anew."""
    det, shutter, documents = detector(face, service, shape=SHAPE, dtype=DTYPE), SynAxis(name="shutter"), Documents()
    asking = threading.Thread(target=RE.request_pause)

    def pause(name: str, document: Any) -> None:
        if name == "stream_datum" and document["indices"]["stop"] == ANGLES and asking.ident is None:
            asking.start()

    with pytest.raises(RunEngineInterrupted):
        RE(tomogram(det, rotation, shutter, exposure=0.02), [documents, pause])
    asking.join()
    RE.resume()
    check(documents, shutter)


@pytest.mark.parametrize(
    ("turns", "how", "said"),
    [(False, {}, "motor can't turn without a stop"), (True, {"exposure": None}, "wants an exposure")],
)
def test_turns_that_are_none(
    service: ScriptedService, rotation: SimulatedRotation, turns: bool, how: dict[str, Any], said: str
) -> None:
    axis: Any = rotation if turns else SynAxis(name="motor")
    with pytest.raises(ConfigError, match=said):
        list(tomogram(detector("classic", service), axis, SynAxis(name="shutter"), **how))


def test_it_can_be_set_to_an_angle(RE: RunEngine, service: ScriptedService, rotation: SimulatedRotation) -> None:
    det, documents = detector("classic", service, shape=SHAPE, dtype=DTYPE), Documents()
    RE(plans.tomography([det], rotation, 3), documents)
    assert [one["data"]["rotation_angle"] for one in documents.of("event")] == [0, 90, 180]
    assert rotation.position == 180


def test_the_sample_goes_back_to_where_it_was(RE: RunEngine, service: ScriptedService) -> None:
    det, sample, places = detector("classic", service, shape=SHAPE, dtype=DTYPE), SynAxis(name="sample"), []
    sample.set(12.5)
    sample.readback.subscribe(lambda *, value, **_: places.append(value), run=False)
    plan = plans.tomography(
        [det], SynAxis(name="rotation"), 2, flats=1, sample=sample, sample_out=20, flush_period=0.01
    )
    RE(plan)
    assert sample.position == 12.5 and list(dict.fromkeys(places)) == [20, 12.5]
