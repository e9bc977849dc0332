"""The live map: points in their places for each kind of scan, corrected or not, of either face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.figure import Figure
from ophyd.sim import SynAxis

from bluesky_streamdet.callbacks.livemap import LiveMap, MapPicture, _places
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.stage import SimulatedStage
from bluesky_streamdet.plans import raster
from tests.unit.callbacks.shown import Held, Kept
from tests.unit.devices.xspress3.scripted import FACTORS, ScriptedXspress3, detector

REGIONS = {"Fe": {"bins": (630, 650)}}
FACES = pytest.mark.parametrize("face", ["classic", "async"])
COUNTED = 1 + 2 + 3
"""Counts of the first frame in all channels; the n-th has n times as many."""
CORRECTED = sum(channel * factor for channel, factor in zip((1, 2, 3), FACTORS, strict=True))


@pytest.fixture
def service(tmp_path: Path) -> ScriptedXspress3:
    return ScriptedXspress3(tmp_path)


def stage_of(service: ScriptedXspress3) -> SimulatedStage:
    return SimulatedStage(
        name="stage", give_triggers=lambda count, period: service.instruct("pulse", count=count, period=period)
    )


@FACES
def test_a_snaking_raster(RE: RunEngine, service: ScriptedXspress3, tmp_path: Path, face: str) -> None:
    live = LiveMap("Fe", tmp_path / "map.png", "xsp")
    xsp = detector(face, service, regions=REGIONS)
    RE(raster([xsp], stage_of(service), 2, 3, 1e-3, overhead=0.0, snake=True, flush_period=0.01), live)
    live.close()
    assert live.maps["Fe"].tolist() == [[CORRECTED, 2 * CORRECTED, 3 * CORRECTED], [57.0, 47.5, 38.0]]
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@FACES
@pytest.mark.parametrize("snake", [False, True])
def test_a_grid_scan(RE: RunEngine, service: ScriptedXspress3, face: str, snake: bool) -> None:
    live = LiveMap(["Fe"], show=(shown := Kept()), correction="none")
    y, x = SynAxis(name="y"), SynAxis(name="x")
    RE(bp.grid_scan([detector(face, service, regions=REGIONS)], y, 0, 1, 2, x, -1, 1, 3, snake_axes=snake), live)
    live.close()
    second = [6, 5, 4] if snake else [4, 5, 6]
    assert (live.maps["Fe"] / COUNTED).tolist() == [[1, 2, 3], second]
    assert shown.pictures[-1].places.names == ("y", "x")
    assert shown.pictures[-1].places.extent == (-1.5, 1.5, -0.5, 1.5)
    assert shown.titles[-1] == "scan 1, xsp, 6 points, as counted"


def test_it_fills_as_the_scan_runs(RE: RunEngine, service: ScriptedXspress3) -> None:
    shown = Kept()
    live = LiveMap("Fe", show=shown, correction="none")
    seen: list[Any] = []

    def after_each(name: str, document: Any) -> None:
        if name == "event":
            shown.wait(len(seen) + 1)
            seen.append(shown.pictures[-1].maps["Fe"] / COUNTED)

    y, x = SynAxis(name="y"), SynAxis(name="x")
    RE(
        bp.grid_scan([detector("classic", service, regions=REGIONS)], y, 0, 1, 2, x, 0, 1, 2, snake_axes=False),
        [live, after_each],
    )
    live.close()
    assert [int(np.isfinite(one).sum()) for one in seen] == [1, 2, 3, 4]


def test_a_map_that_falls_behind_has_no_holes(RE: RunEngine, service: ScriptedXspress3) -> None:
    held = Held()
    live = LiveMap("Fe", show=held, correction="none")
    y, x = SynAxis(name="y"), SynAxis(name="x")
    RE(bp.grid_scan([detector("classic", service, regions=REGIONS)], y, 0, 1, 3, x, 0, 1, 3), live)
    held.release()
    live.close()
    assert sorted((live.maps["Fe"] / COUNTED).ravel().tolist()) == list(range(1, 10))


@FACES
def test_a_count_is_a_curve(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    live = LiveMap(show=Kept(), correction="sdk", exclude=[0])
    columns = ("dead_time_correction_sdk",)
    RE(bp.count([detector(face, service, regions=REGIONS, columns=columns)], 3), live)
    live.close()
    assert live.maps["Fe"].tolist() == [15.0, 30.0, 45.0], "channels 1 and 2, three times each"


def test_a_count_without_an_end_in_sight(RE: RunEngine, service: ScriptedXspress3) -> None:
    live = LiveMap({"iron": {"bins": (630, 650)}}, show=Kept(), correction="none")
    documents: list[tuple[str, Any]] = []
    RE(bp.count([detector("classic", service)], 3), lambda name, document: documents.append((name, document)))
    for name, document in documents:
        live(name, {key: one for key, one in document.items() if key != "num_points"})
    live.close()
    assert live.maps["iron"][:3].tolist() == [6.0, 12.0, 18.0]


def test_spectra_of_resource_documents(RE: RunEngine, service: ScriptedXspress3) -> None:
    live = LiveMap("Fe", show=Kept())
    RE(bp.count([detector("classic", service, regions=REGIONS, asset_docs="resource")], 2), live)
    live.close()
    assert live.maps["Fe"].tolist() == [CORRECTED, 2 * CORRECTED]


def test_several_frames_an_event_are_summed(RE: RunEngine, service: ScriptedXspress3) -> None:
    shown = Kept()
    live = LiveMap("Fe", show=shown)
    RE(bp.count([detector("classic", service, regions=REGIONS, frames_per_event=2)], 2), live)
    live.close()
    assert live.maps["Fe"].tolist() == [(1 + 2) * CORRECTED, (3 + 4) * CORRECTED]
    assert shown.titles[-1].endswith("corrected for dead time")


@pytest.mark.allow_error_log
def test_a_region_that_there_is_not(RE: RunEngine, service: ScriptedXspress3, caplog: pytest.LogCaptureFixture) -> None:
    iron, nothing = LiveMap("iron", show=Kept()), LiveMap(show=Kept())
    RE(bp.count([detector("classic", service)], 2), [iron, nothing])
    for live in (iron, nothing):
        live.close()
    assert "The run has no region 'iron'" in caplog.text
    assert "no regions to make a map of" in caplog.text


def test_one_run_after_the_other(RE: RunEngine, service: ScriptedXspress3) -> None:
    live = LiveMap("Fe", show=Kept(), correction="none")
    xsp, stage = detector("classic", service, regions=REGIONS), stage_of(service)
    RE.subscribe(live)
    RE(raster([xsp], stage, 2, 2, 1e-3))
    RE(raster([xsp], stage, 1, 2, 1e-3))
    live.close()
    assert live.maps["Fe"].tolist() == [[30, 36]]


def test_a_correction_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="There is no correction 'half'"):
        LiveMap("Fe", correction="half")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 4, 5])
def test_several_maps_are_drawn_in_rows(count: int) -> None:
    maps = {f"r{number}": np.full((2, 3), number, float) for number in range(count)}
    figure = Figure()
    run = {"motors": ["stage"], "shape": [2, 3], "extents": [[0, 1], [0, 0]]}
    MapPicture("title", maps, _places(run, {})).draw(figure)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == list(maps)
    assert figure.axes[0].get_xlabel() == "stage x"


def test_maps_in_which_nothing_has_come() -> None:
    MapPicture("", {"Fe": np.full((2, 2), np.nan)}).draw(Figure())


def test_motors_have_their_units() -> None:
    run = {"motors": ["y", "x"], "shape": [2, 3]}
    assert _places(run, {"data_keys": {"x": {"units": "mm"}, "y": {}}}).names == ("y", "x / mm")
