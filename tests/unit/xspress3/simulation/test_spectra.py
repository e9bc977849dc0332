"""What spectra look like: peaks where elements have them, as wide as a silicon detector's, on a sample with shapes."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.xspress3.abi import Roi
from bluesky_streamdet.xspress3.constants import ErrorCode, ItfgTrigger, Scaler
from bluesky_streamdet.xspress3.lines import line_energy
from bluesky_streamdet.xspress3.simulation.config import RasterConfig, ResponseConfig, SampleConfig
from bluesky_streamdet.xspress3.simulation.response import FWHM, Response, with_pileup
from bluesky_streamdet.xspress3.simulation.sample import Sample, point

from .bench import Bench, words


def response(threshold: int = 30, **config: float) -> Response:
    return Response(ResponseConfig.model_validate(config), threshold)


def test_resolution_is_that_of_a_silicon_drift_detector() -> None:
    assert response().width(5895) * FWHM == pytest.approx(136, abs=2)
    assert response(noise=100).width(5895) * FWHM > 150


def test_peaks_are_at_the_energies_of_the_lines() -> None:
    spectrum = response().fluorescence("Fe", 15000)
    assert spectrum is not None
    assert spectrum.sum() == pytest.approx(1)
    assert np.argmax(spectrum) == pytest.approx(line_energy("Fe Ka") / 10, abs=1)
    around = spectrum[600:680]
    half = np.flatnonzero(around > around.max() / 2)
    assert len(half) * 10 == pytest.approx(140, abs=15)
    beta = round(line_energy("Fe Kb") / 10)
    assert np.argmax(spectrum[beta - 15 : beta + 15]) == pytest.approx(15, abs=1)
    # Silicon's escape peak is a shoulder that goes away with its option.
    escape = round((line_energy("Fe Ka") - 1740) / 10)
    without = response(escape=False).fluorescence("Fe", 15000)
    assert without is not None
    assert spectrum[escape] > 1.5 * without[escape]


def test_nothing_lies_below_the_threshold() -> None:
    for spectrum in (response(100).background(15000), response(100).fluorescence("Fe", 15000)):
        assert spectrum is not None
        assert not spectrum[:100].any()
        assert spectrum[100:].sum() == pytest.approx(1)


def test_lines_that_the_beam_does_not_excite_are_missing() -> None:
    assert response().fluorescence("Li", 15000) is None
    low = response().fluorescence("Fe", 7000)
    assert low is not None
    assert low[500:].sum() < 1e-6


def test_what_is_beyond_the_last_bin_is_in_it() -> None:
    high = response(ev_per_bin=1.0).fluorescence("Fe", 15000)
    assert high is not None
    assert high[-1] > 0.9
    scatter = response(ev_per_bin=2.9).scatter(12100.0)  # the last bin ends at 11.878 keV, Compton lies at 11.82
    assert 0.4 < scatter[-1] < 0.75


def test_compton_lies_below_the_beam() -> None:
    spectrum = response().scatter(15000.0)
    shifted = 15000 / (1 + 15000 / 510999)
    assert 1400 + np.argmax(spectrum[1400:1480]) == pytest.approx(shifted / 10, abs=2)
    assert 1480 + np.argmax(spectrum[1480:1600]) == pytest.approx(1500, abs=2)


def test_pileup_adds_energies() -> None:
    spectrum = np.zeros(4096)
    spectrum[[600, 3000]] = 0.5
    piled = with_pileup(spectrum, 0.1)
    assert piled.sum() == pytest.approx(1)
    assert piled[600] == pytest.approx(0.45)
    assert piled[1200] == pytest.approx(0.025)
    assert piled[3600] == pytest.approx(0.05)
    assert piled[4095] == pytest.approx(0.025)
    bench = Bench(rate=5e5, response={"pileup": 40})
    bench.burst(1, 8_000_000)
    scalers, spectra = bench.scalers(0, 1)[0], bench.spectra(0, 1)[0]
    share = -math.expm1(-5e5 * 40 * 12.5e-9)
    assert scalers[0, Scaler.PILEUP] == pytest.approx(share * scalers[0, Scaler.ALL_GOOD], rel=0.1)
    assert (spectra.sum(axis=1) == scalers[:, Scaler.ALL_GOOD]).all()
    assert spectra[0, 1600:].sum() > 100


def test_a_frame_looks_like_what_is_expected() -> None:
    bench = Bench(rate=2e6)
    bench.burst(1, 80_000_000)
    spectra = bench.spectra(0, 1)[0]
    expected = bench.library.truth(0).expected
    for counts in spectra:
        mean = counts.sum() * expected
        known = mean > 10
        chi_square = ((counts[known] - mean[known]) ** 2 / mean[known]).sum() / known.sum()
        assert 0.8 < chi_square < 1.2
    # Drawn event by event, as short frames are, it is the same.
    short = Bench(rate=2e5)
    short.burst(400, 800_000)
    total = short.spectra(0, 400).sum(axis=(0, 1))
    mean = total.sum() * expected
    known = mean > 10
    assert ((total[known] - mean[known]) ** 2 / mean[known]).sum() / known.sum() == pytest.approx(1, abs=0.15)


def test_raster_shows_the_shapes_of_the_sample() -> None:
    raster = {"columns": 12, "rows": 10}
    sample = {"elements": {"Fe": 1.0, "Cu": 1.0}, "picture": "shapes", "raster": raster}
    bench = Bench(rate=1e5, sample=sample)
    iron, copper = round(line_energy("Fe Ka") / 10), round(line_energy("Cu Ka") / 10)
    bench.burst(120, 1_600_000)
    spectra = bench.spectra(0, 120)[:, 0]
    maps = [spectra[:, peak - 8 : peak + 8].sum(axis=1).reshape(10, 12) for peak in (iron, copper)]
    shares = [
        [bench.library.sample.at(*point(RasterConfig(columns=12, rows=10), frame))[element] for frame in range(120)]
        for element in ("Fe", "Cu")
    ]
    for found, share in zip(maps, shares, strict=True):
        assert np.corrcoef(found.ravel(), share)[0, 1] > 0.98
    rates = np.array([bench.library.truth(frame).rate[0] for frame in range(120)])
    assert rates.max() > 3 * rates.min()


def test_raster_runs_back_and_begins_anew() -> None:
    snake = RasterConfig(columns=3, rows=2, snake=True)
    columns = [round(point(snake, frame)[0] * 3 - 0.5) for frame in range(7)]
    rows = [round(point(snake, frame)[1] * 2 - 0.5) for frame in range(7)]
    assert columns == [0, 1, 2, 2, 1, 0, 0]
    assert rows == [0, 0, 0, 1, 1, 1, 0]


def test_frames_show_what_was_there_when_they_began() -> None:
    bench = Bench(rate=1e5, sample={"elements": {"Fe": 1.0, "Cu": 1.0}})
    bench.library.sample.draw(lambda x, y: {"Fe": x, "Cu": y})
    bench.generate(3, 800_000, ItfgTrigger.SOFTWARE)
    bench.arm()
    for position in ((1.0, 0.0), (0.0, 1.0)):
        bench.library.sample.move(*position)
        bench.trigger()
        bench.clock.turn(0.1)
    bench.library.sample.replace({"Ca": 1.0})
    bench.trigger()
    bench.clock.turn(0.1)
    spectra = bench.spectra(0, 3)[:, 0].astype(int)
    peaks = [round(line_energy(name) / 10) for name in ("Fe Ka", "Cu Ka", "Ca Ka")]
    counts = np.array([spectra[:, peak - 5 : peak + 5].sum(axis=1) for peak in peaks])
    assert counts.argmax(axis=0).tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="Zz"):
        bench.library.sample.replace({"Zz": 1.0})


def test_moving_ends_the_raster() -> None:
    sample = Sample(SampleConfig(raster=RasterConfig(columns=3, rows=3)), lambda: 0)
    sample.move(0.1, 0.2)
    assert sample.raster is None


def test_precomputed_frames_come_again() -> None:
    bench = Bench(precomputed=5)
    bench.burst(23, 800_000)
    spectra, scalers = bench.spectra(0, 23), bench.scalers(0, 23)
    assert (spectra[:18] == spectra[5:]).all()
    assert len({one.tobytes() for one in spectra.reshape(-1, 4096)}) == 20
    assert (spectra.sum(axis=2) == scalers[..., Scaler.ALL_GOOD]).all()
    some = np.zeros((2, 1, 30), np.uint32)
    bench.call("histogram_read4d", words(some), 630, 0, 2, 3, 30, 1, 1, 2)
    assert (some[:, 0] == spectra[3:5, 2, 630:660]).all()
    bench.call("set_window", -1, 0, 630, 659)
    assert bench.scalers(3, 1)[0, 2, Scaler.IN_WINDOW0] == some[0].sum()


def test_reads_of_a_part_are_parts_of_the_whole() -> None:
    bench = Bench()
    bench.burst(4, 800_000)
    whole = bench.spectra(0, 4)
    part = np.zeros((3, 2, 50), np.uint32)
    bench.call("histogram_read4d", words(part), 620, 0, 1, 1, 50, 1, 2, 3)
    assert (part == whole[1:, 1:3, 620:670]).all()
    part[:] = 0
    bench.call("histogram_read3d", words(part), 620, 1, 1, 50, 2, 3)
    assert (part == whole[1:, 1:3, 620:670]).all()
    one = np.zeros((3, 50), np.uint32)
    bench.call("histogram_read_chan", words(one), 2, 620, 0, 1, 50, 1, 3)
    assert (one == whole[1:, 2, 620:670]).all()
    scalers = np.zeros((2, 3, 2), np.uint32)
    bench.call("scaler_read", words(scalers), 3, 1, 2, 2, 3, 2)
    assert (scalers == bench.scalers(2, 2)[:, 1:, 3:5]).all()
    for places in (
        (0, 0, 0, 0, 4097, 1, 4, 1),
        (0, 0, 1, 0, 1, 1, 4, 1),
        (0, 1, 0, 0, 1, 1, 1, 1),
        (0, 0, 0, 0, 0, 1, 1, 1),
    ):
        assert bench.raw("histogram_read4d", words(part), *places) == ErrorCode.RANGE_CHECK
    assert bench.raw("scaler_read", words(part), 8, 0, 0, 2, 1, 1) == ErrorCode.RANGE_CHECK


def test_fewer_bins_are_groups_of_raw_ones() -> None:
    whole, halved = Bench(), Bench()
    halved.call("format_run", -1, 0, 0, 0, 0, 0, 10)
    for bench in (whole, halved):
        bench.call("set_window", -1, 0, 630, 660)
        bench.burst(2, 800_000)
    assert (halved.spectra(0, 2) == whole.spectra(0, 2).reshape(2, 4, 1024, 4).sum(axis=3)).all()
    assert (halved.scalers(0, 2) == whole.scalers(0, 2)).all()  # windows count raw bins


def test_regions_keep_what_they_name_and_the_last_bin_takes_the_rest() -> None:
    whole, parts = Bench(), Bench()
    assert parts.call("has_roi", 0) > 0
    assert parts.call("format_run", -1, 0, 0, 0, 0, 0, 6) == 16384 * 64
    regions = (Roi * 2)(Roi(620, 659, 40), Roi(780, 819, 10))
    assert parts.call("set_roi", -1, 2, regions) == 50
    for bench in (whole, parts):
        bench.call("set_window", -1, 1, 630, 660)
        bench.burst(2, 800_000)
    raw, kept = whole.spectra(0, 2), parts.spectra(0, 2)
    assert kept.shape == (2, 4, 64)
    assert (kept[..., :40] == raw[..., 620:660]).all()
    assert (kept[..., 40:50] == raw[..., 780:820].reshape(2, 4, 10, 4).sum(axis=3)).all()
    assert not kept[..., 50:63].any()
    assert (kept.sum(axis=2) == raw.sum(axis=2)).all()
    assert (parts.scalers(0, 2) == whole.scalers(0, 2)).all()
    parts.call("init_roi", -1)
    parts.call("format_run", -1, 0, 0, 0, 0, 0, 12)
    parts.stop()
    parts.burst(1)
    assert parts.call("get_bins_per_mca") == 4096


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(10, 9, 1)],
        [(10, 20, 12)],
        [(10, 20, 11), (20, 30, 1)],
        [(0, 4096, 5)],
        [(100, 163, 64)],
        [(0, 9, 1)] * 9,
    ],
)
def test_regions_that_are_refused(rows: list[tuple[int, int, int]]) -> None:
    bench = Bench()
    bench.call("format_run", -1, 0, 0, 0, 0, 0, 6)
    regions = (Roi * len(rows))(*(Roi(*row) for row in rows))
    assert bench.raw("set_roi", -1, len(rows), regions) == ErrorCode.RANGE_CHECK


def test_regions_need_a_format_with_room() -> None:
    bench = Bench()
    assert bench.raw("set_roi", -1, 1, (Roi * 1)(Roi(0, 9, 1))) == ErrorCode.ERROR
    assert "xsp3_format_run" in bench.message


def test_auxiliary_bins_are_distinct_and_sum_to_the_spectrum() -> None:
    whole, graded = Bench(rate=2e5), Bench(rate=2e5)
    graded.capacity = graded.call("format_run", -1, 15, 0, 0, 0, 0, 12)
    sizes = [ctypes.c_int() for _ in range(4)]
    graded.call("get_format", 0, *map(ctypes.byref, sizes))
    assert [one.value for one in sizes] == [4096, 16, 1, 1024]
    for bench in (whole, graded):
        bench.burst(2, 8_000_000)
    out = np.zeros((2, 4, 16, 4096), np.uint32)
    graded.call("histogram_read4d", words(out), 0, 0, 0, 0, 4096, 16, 4, 2)
    assert (out.sum(axis=2) == whole.spectra(0, 2)).all()
    per_grade = out.sum(axis=(0, 1, 3)).astype(int)
    assert (np.diff(per_grade) < 0).all()
    assert len({one.tobytes() for one in out.reshape(-1, 4096)}) == 2 * 4 * 16
    flat = np.zeros((2, 20, 100), np.uint32)
    graded.call("histogram_read3d", words(flat), 600, 8, 0, 100, 20, 2)
    assert (flat == out.reshape(2, 64, 4096)[:, 8:28, 600:700]).all()
    one = np.zeros((2, 3, 100), np.uint32)
    graded.call("histogram_read_chan", words(one), 2, 600, 5, 0, 100, 3, 2)
    assert (one == out[:, 2, 5:8, 600:700]).all()


def test_channels_of_different_formats_do_not_run() -> None:
    bench = Bench()
    bench.call("format_run", 2, 0, 0, 0, 0, 0, 10)
    bench.generate(1, 1000)
    assert bench.raw("histogram_start", 0) == ErrorCode.ERROR
    assert "different formats" in bench.message


def test_precomputed_frames_are_points_of_a_raster() -> None:
    sample = {"elements": {"Fe": 1.0}, "picture": "shapes", "raster": {"columns": 8, "rows": 8}}
    bench = Bench(rate=1e5, precomputed=64, sample=sample)
    bench.burst(64, 1_600_000)
    rates = [bench.library.truth(frame).rate[0] for frame in range(64)]
    events = bench.scalers(0, 64)[:, 0, Scaler.ALL_EVENT]
    assert np.corrcoef(rates, events)[0, 1] > 0.99


@pytest.mark.parametrize("elements", [["Ca"], ["Ca", "Fe"], ["Ca", "Fe", "Cu", "Zn"]])
def test_each_element_has_a_shape_of_its_own(elements: list[str]) -> None:
    config = SampleConfig(elements=dict.fromkeys(elements, 1.0), picture="shapes")
    sample = Sample(config, lambda: 0)
    grid = [(x / 20, y / 20) for x in range(20) for y in range(20)]
    maps = np.array([[sample.at(x, y)[element] for x, y in grid] for element in elements])
    assert (maps.max(axis=1) > 0.8).all()
    assert (maps.min(axis=1) > 0).all()
    assert len(np.unique(maps.round(3), axis=0)) == len(elements)
