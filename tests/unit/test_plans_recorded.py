"""Runs say where devices are, whatever framework these are of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.simulators import summarize_plan
from ophyd import Signal
from ophyd.sim import SynAxis
from ophyd_async.core import init_devices, soft_signal_rw
from ophyd_async.sim import SimMotor

from bluesky_streamdet.plans import RecordedValues
from tests.scripted import Documents


def test_values_with_their_units(RE: RunEngine) -> None:
    with init_devices(mock=False):
        ring = soft_signal_rw(float, 300.0, units="mA", name="ring")
        rotation = SimMotor(instant=True, name="rotation")
    axis = SynAxis(name="axis")
    axis.set(2.5)
    devices = {"axis": axis, "ring_current": ring, "rotation": rotation, "note": Signal(name="note", value="dark")}
    documents = Documents()
    RE.preprocessors.append(RecordedValues(devices))
    RE(bp.count([], 1), documents)
    start = documents.of("start")[0]
    assert start["axis"] == 2.5
    assert start["ring_current"] == {"value": 300.0, "units": "mA"}
    assert start["rotation"] == {"value": 0.0, "units": "mm"}
    assert start["note"] == "dark"
    assert "axis: axis" in repr(RE.preprocessors[0])


def test_what_the_plan_says_goes_before(RE: RunEngine) -> None:
    documents = Documents()
    RE.preprocessors.append(RecordedValues({"energy": Signal(name="energy", value=1), "other": SynAxis(name="axis")}))
    RE(bp.count([], 1, md={"energy": 2}), documents)
    RE(bp.count([], 1), documents, energy=3)
    assert [one["energy"] for one in documents.of("start")] == [2, 3]


def test_every_run_of_a_plan_says_its_own(RE: RunEngine) -> None:
    axis, documents = SynAxis(name="axis"), Documents()

    def plan() -> Iterator[Any]:
        for position in (1, 2):
            yield from bps.mv(axis, position)
            yield from bp.count([], 1)

    RE.preprocessors.append(RecordedValues({"position": axis}))
    RE(plan(), documents)
    assert [one["position"] for one in documents.of("start")] == [1, 2]


def test_a_plan_can_still_be_summarized(capsys: pytest.CaptureFixture[str]) -> None:
    summarize_plan(RecordedValues({"energy": Signal(name="energy", value=1)})(bp.count([], 1)))
    assert "Open Run" in capsys.readouterr().out
