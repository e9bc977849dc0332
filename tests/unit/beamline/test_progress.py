"""Progress bars of flights and bursts, with both faces; also of a flight that is paused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted, TerminalProgressBar
from ophyd.sim import SynAxis

from bluesky_streamdet import plans
from bluesky_streamdet.beamline.progress import Progress
from bluesky_streamdet.devices.stage import SimulatedRotation, SimulatedStage
from tests.scripted import DTYPE, SHAPE, Documents, ScriptedService, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
KNOWN = {"shape": SHAPE, "dtype": DTYPE}


class Bars:
    """Draws at once; frames come when the bar of the detector is there."""

    def __init__(self, service: ScriptedService) -> None:
        self.said: list[dict[str, Any]] = []
        self._service = service
        self._shown = threading.Event()
        self._threads: list[threading.Thread] = []
        service.by_hand, service.on_trigger = True, self._give_later

    def __call__(self, statuses: Any) -> TerminalProgressBar:
        bars = self

        class Bar(TerminalProgressBar):
            def update(self, pos: int, **said: Any) -> None:
                bars.said.append(said)
                super().update(pos, **said)
                if "unit" in said:
                    # Not that of a wait for anything else, such as for the detector to be ready.
                    bars._shown.set()

        return Bar(statuses, delay_draw=0)

    def _give_later(self) -> None:
        def give() -> None:
            assert self._shown.wait(20)
            self._shown.clear()
            self._service.give(self._service.frames_of_trigger)

        self._threads.append(threading.Thread(target=give))
        self._threads[-1].start()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


@FACES
@pytest.mark.parametrize("plan", ["fly", "burst_scan", "time_series", "tomography"])
def test_a_bar(RE: RunEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, face: str) -> None:
    service = ScriptedService(tmp_path)
    det, motor, bars = detector(face, service, **KNOWN), SynAxis(name="motor"), Bars(service)
    RE.waiting_hook = Progress(bars)  # type: ignore[assignment]
    made = {
        "fly": lambda: plans.fly([det], 6, flush_period=0.01),
        "burst_scan": lambda: plans.burst_scan([det], motor, 0, 1, num=2, frames=6),
        "time_series": lambda: plans.time_series([det], 2, 0.0, frames=6),
        "tomography": lambda: plans.tomography([det], motor, 2, darks=6, shutter=SynAxis(name="shutter")),
    }
    RE(made[plan]())
    bars.close()
    told = [one for one in bars.said if one.get("name") == "det" and one.get("target") in (1, 6)]
    assert told, bars.said
    assert {one["unit"] for one in told} <= {"frames", "events"}
    assert "det" in capsys.readouterr().out


@FACES
@pytest.mark.parametrize("plan", ["raster", "tomography"])
def test_a_bar_of_a_stage(
    RE: RunEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, face: str
) -> None:
    """Where the stage is in its row, while it triggers the detector."""
    service = ScriptedService(tmp_path)
    bars, det = Bars(service), detector(face, service, **KNOWN)
    RE.waiting_hook = Progress(bars)  # type: ignore[assignment]
    flying = {"give_triggers": lambda count, period: service.give(count)}
    made = {
        "raster": lambda: plans.raster([det], SimulatedStage(name="stage", **flying), 2, 3, 0.01),
        "tomography": lambda: plans.tomography(
            [det], SimulatedRotation(name="stage", **flying), 3, exposure=0.01, continuous=True
        ),
    }
    RE(made[plan]())
    told = [one for one in bars.said if str(one.get("name")).startswith("stage, row ")]
    assert {one["target"] for one in told} == {3}
    assert told[-1]["current"] == 3
    assert "stage, row 1" in capsys.readouterr().out


@FACES
def test_a_flight_that_is_paused(RE: RunEngine, tmp_path: Path, face: str) -> None:
    """Nothing warns of a bar that was left."""
    service, documents = ScriptedService(tmp_path), Documents()
    det = detector(face, service, **KNOWN)
    service.by_hand = True
    service.on_trigger = lambda: service.give(3)
    asking = threading.Thread(target=RE.request_pause)

    def pause(name: str, document: Any) -> None:
        if name == "stream_datum" and asking.ident is None:
            asking.start()

    RE.waiting_hook = Progress()  # type: ignore[assignment]
    with pytest.raises(RunEngineInterrupted):
        RE(plans.fly([det], 6, flush_period=0.01), [documents, pause])
    asking.join()
    service.give(3)
    RE.resume()
    assert documents.stop["num_events"] == {"primary": 6}
