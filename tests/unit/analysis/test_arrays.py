"""What a run measured: coordinates, dead time, and that nothing is read but what is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("xarray", reason="needs the extra 'analysis'")

import dask.config

from bluesky_streamdet.analysis import images, maps, numbers, runs, spectra
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.regions import Region
from tests.unit.analysis.catalog import BINS, CHANNELS, CatalogRun, CatalogStream, Remote, of_xspress3

GRID = {"shape": [2, 3], "snaking": [False, True], "motors": ["stage"]}


@pytest.fixture(autouse=True)
def computes_here() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


def positions(events: int = 6) -> CatalogStream:
    where = {"stage_x": np.array([0.0, 1, 2, 2, 1, 0])[:events], "stage_y": np.array([0.0, 0, 0, 1, 1, 1])[:events]}
    keys: dict[str, Any] = {key: {"object_name": "stage", "units": "mm"} for key in where}
    return CatalogStream(where | {"time": np.arange(events)}, keys)


@pytest.fixture
def raster() -> CatalogRun:
    return CatalogRun(GRID, primary=of_xspress3(), positions=positions())


def sent(run: CatalogRun) -> int:
    return run["primary"]["det"].read_bytes


@pytest.mark.parametrize("separator", ["_", "-"])
def test_spectra_of_either_face(separator: str) -> None:
    run = CatalogRun(GRID, primary=of_xspress3(separator=separator), positions=positions())
    found = spectra(run)
    counts, factor = run["primary"]["det"].read(), run["primary"][f"det{separator}dead_time_correction"].read()
    assert (found.name, found.dims, found.attrs["units"]) == ("det", ("event", "channel", "energy"), "counts")
    assert found.energy.values == pytest.approx(5 + 20.0 * np.arange(100, 100 + BINS))
    assert found.energy.attrs["units"] == "eV"
    assert found.receive_time.values[2] == np.datetime64("2023-11-14T22:13:20.000000003", "ns")
    assert found.stage_x.values.tolist() == [0, 1, 2, 2, 1, 0] and found.stage_x.attrs == {"units": "mm"}
    corrected = found.compute()
    assert np.isnan(corrected[0, 1]).all(), "that channel was never live"
    assert corrected[1:].values == pytest.approx((counts * factor[..., np.newaxis])[1:])


def test_counts_as_they_are(raster: CatalogRun) -> None:
    found = spectra(raster, correction="none")
    assert found.dtype == np.uint32
    assert np.array_equal(found, raster["primary"]["det"].read())


def test_nothing_is_read_before_it_is_wanted_and_then_no_more(
    raster: CatalogRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BLOCK", 2 * CHANNELS * BINS * 8)  # two events, as float64
    found = spectra(raster)
    assert (sent(raster), found.chunksizes["event"]) == (0, (2, 2, 2))
    found.isel(event=3, channel=0, energy=slice(7, 12)).compute()
    assert sent(raster) == 5 * 4
    found.sel(energy=slice(2005, 2085)).sum().compute()
    assert sent(raster) == 5 * 4 + 6 * CHANNELS * 5 * 4
    maps(raster, ["Fe"], exclude=[0])
    assert sent(raster) == 5 * 4 + 6 * CHANNELS * 15 * 4


def test_events_are_read_in_one_request() -> None:
    where = positions()
    run = CatalogRun({"motors": ["stage"]}, primary=where)
    found = numbers(run)
    assert where.requests == 1
    assert set(found.coords) == {"time", "stage_x", "stage_y"}
    assert found.time.values[1] == np.datetime64("1970-01-01T00:00:01", "ns")


def test_a_burst_has_frames() -> None:
    run = CatalogRun({}, primary=of_xspress3(frames=3))
    assert spectra(run, correction="none").dims == ("event", "frame", "channel", "energy")
    assert spectra(run).shape == (6, 3, CHANNELS, BINS)


def test_spectra_that_the_hardware_sorts() -> None:
    """The last place is all the rest, and has no energy."""
    run = CatalogRun({}, primary=of_xspress3(first_bin=0, lookup=[[100, 109, 5], [200, 243, BINS - 6]]))
    found = spectra(run)
    assert found.sizes["energy"] == BINS - 1
    assert found.energy.values[:3] == pytest.approx([5 + 20 * 100.5, 5 + 20 * 102.5, 5 + 20 * 104.5])


def test_maps(raster: CatalogRun) -> None:
    found = maps(raster, correction="none")
    counts = raster["primary"]["det"].read()[:, :, 10:20].sum(axis=(1, 2))
    assert found["Fe"].dims == ("row", "column")
    assert found["Fe"].values.tolist() == [counts[:3].tolist(), counts[:2:-1].tolist()]
    assert found.stage_x.values.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert found.stage_y.values.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_maps_without_a_channel(raster: CatalogRun) -> None:
    assert np.isnan(maps(raster)["Fe"].values[0, 0]), "a channel that was not live makes the sum unknown"
    assert np.isfinite(maps(raster, exclude=[1])["Fe"]).all()


def test_a_raster_that_was_cut_short() -> None:
    run = CatalogRun(GRID, primary=of_xspress3(5), positions=positions(3))
    assert np.isnan(spectra(run).stage_x.values).tolist() == [False, False, False, True, True]
    found = maps(run, correction="none")
    assert np.isnan(found["Fe"].values).tolist() == [[False] * 3, [True, False, False]]


def test_a_region_of_ones_own(raster: CatalogRun) -> None:
    found = maps(raster, [Region("mine", 120, 120, in_bins=True)], correction="none")
    assert found["mine"].values[0].tolist() == raster["primary"]["det"].read()[:3, :, 20].sum(axis=1).tolist()


def test_numbers_are_all_but_frames(raster: CatalogRun) -> None:
    found = numbers(raster)
    assert set(found) == {"det_dead_time_correction", "det_receive_time"}
    assert found["det_dead_time_correction"].dims == ("event", "channel")
    assert sent(raster) == 0


def eiger(name: str = "eiger") -> CatalogStream:
    frames = Remote(np.arange(4 * 3 * 5, dtype="u2").reshape(4, 3, 5))
    keys: dict[str, Any] = {name: {"dims": ["y", "x"], "object_name": name}}
    return CatalogStream({name: frames, f"{name}_sequence_number": Remote(np.arange(4))}, keys)


def test_images() -> None:
    run = CatalogRun({}, primary=eiger())
    found = images(run)
    assert found.dims == ("event", "y", "x")
    assert found[2, 1].values.tolist() == run["primary"]["eiger"].read()[2, 1].tolist()


def test_of_several_detectors_the_one_that_has_such_frames() -> None:
    spectrum, image = of_xspress3(4), eiger("det2")  # whose name begins as the other's
    values = {**spectrum, **image}
    keys = {**spectrum.metadata["data_keys"], **image.metadata["data_keys"]}
    said = spectrum.metadata["configuration"]["det"]["data"]
    run = CatalogRun({}, primary=CatalogStream(values, keys, {"det": said}))
    assert (spectra(run).name, images(run).name) == ("det", "det2")
    assert list(maps(run, correction="none")) == ["Fe"]
    assert images(run, "det").dims == ("event", "channel", "bin")


def test_what_is_not_there_is_said(raster: CatalogRun) -> None:
    both = CatalogRun({}, primary=CatalogStream({**eiger("one"), **eiger("two")}, {}))
    for wrong, words in (
        (lambda: spectra(raster, correction="sdk"), "no dead_time_correction_sdk of det"),
        (lambda: spectra(raster, correction="both"), "no correction 'both'"),  # type: ignore[arg-type]
        (lambda: spectra(raster, "eiger"), "no frames of 'eiger'.*one of det"),
        (lambda: spectra(raster, stream="baseline"), "no stream 'baseline'.*primary, positions"),
        (lambda: spectra(CatalogRun({}, primary=eiger())), "eiger has no spectra"),
        (lambda: images(both), "several detectors.*one, two"),
        (lambda: images(CatalogRun({}, primary=positions())), "has no frames"),
        (lambda: maps(raster, ["gold"]), "no region 'gold'"),
        (lambda: maps(CatalogRun({}, primary=of_xspress3(region_names=[]))), "has no regions"),
        (lambda: images("the last run"), "is no run of a catalog"),
    ):
        with pytest.raises(ConfigError, match=words):
            wrong()
