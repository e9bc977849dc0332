"""Every plan can be shown before it is run, with detectors of either face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.simulators import check_limits, summarize_plan
from ophyd.sim import SynAxis

from bluesky_streamdet import plans
from bluesky_streamdet.devices.stage import SimulatedRotation, SimulatedStage
from tests.scripted import ScriptedService, detector

MOTOR = SynAxis(name="motor")
SHUTTER = SynAxis(name="shutter")
SAMPLE = SynAxis(name="sample")


def stage() -> SimulatedStage:
    return SimulatedStage(name="stage", give_triggers=lambda count, period: None)


def rotation() -> SimulatedRotation:
    return SimulatedRotation(name="rotation", give_triggers=lambda count, period: None)


MADE = {
    "fly": lambda dets: plans.fly(dets, 5, 0.1),
    "raster": lambda dets: plans.raster(dets, stage(), 2, 3, 0.1),
    "burst_scan": lambda dets: plans.burst_scan(dets, MOTOR, 0, 1, num=2, frames=3, exposure=0.1),
    "time_series": lambda dets: plans.time_series(dets, 3, 10.0, frames=2),
    "energy_scan": lambda dets: plans.energy_scan(dets, MOTOR, [[-2, 0, 1], [0, 1, 0.5, 0.2]], edge=7112),
    "continuous tomography": lambda dets: plans.tomography(
        dets, rotation(), 3, exposure=0.1, continuous=True, darks=2, shutter=SHUTTER
    ),
    "tomography": lambda dets: plans.tomography(
        dets, MOTOR, 3, darks=2, flats=2, shutter=SHUTTER, sample=SAMPLE, sample_out=5, flats_after=True
    ),
}
MOVES = {
    "fly": [],
    "raster": ["stage_y -> 0.0", "stage_y -> 1.0"],
    "burst_scan": ["motor -> 0.0", "motor -> 1.0"],
    "time_series": [],
    "energy_scan": [f"motor -> {value}" for value in (7110, 7111, 7112.0, 7112.5, 7113.0)],
    "continuous tomography": ["shutter -> 0", "shutter -> 1", "shutter -> 0"],
    "tomography": [
        *["shutter -> 0", "sample -> 5", "shutter -> 1", "sample -> 0.0"],
        *["motor -> 0.0", "motor -> 90.0", "motor -> 180.0"],
        *["sample -> 5", "shutter -> 0", "sample -> 0.0"],
    ],
}


@pytest.mark.parametrize("face", ["classic", "async"])
@pytest.mark.parametrize("plan", MADE)
def test_a_summary(RE: RunEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, face: str) -> None:
    det = detector(face, ScriptedService(tmp_path))
    summarize_plan(MADE[plan]([det]))
    lines = capsys.readouterr().out.splitlines()
    moves = [line for line in lines if "->" in line and "det" not in line]
    assert moves == MOVES[plan]
    assert sum("Open Run" in line for line in lines) == 1


@pytest.mark.parametrize("plan", MADE)
def test_limits_can_be_checked(RE: RunEngine, tmp_path: Path, plan: str) -> None:
    det: Any = detector("classic", ScriptedService(tmp_path))
    check_limits(MADE[plan]([det]))
