"""What is in a frame: scalers that agree with histograms, and rates that a correction recovers."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.transforms.deadtime import (
    event_width_correction,
    input_count_rate,
    paralysable_correction,
)
from bluesky_streamdet.xspress3.constants import DeadTimeFlags, Scaler
from bluesky_streamdet.xspress3.simulation.config import DeadTimeConfig
from bluesky_streamdet.xspress3.simulation.counting import DeadTime

from .bench import PERIOD, Bench, doubles, words

SECOND = 80_000_000
RATES = [1e3, 1e4, 1e5, 1e6]


def column(scalers: NDArray[np.uint32], which: Scaler) -> NDArray[np.int64]:
    return scalers[..., which].astype(np.int64)


def within_poisson(found: NDArray[np.float64], true: NDArray[np.float64], counts: NDArray[np.float64]) -> bool:
    """Whether (frames, channels) agree with (channels,): each within 5 standard deviations, the mean within 4."""
    single = np.abs(found / true - 1) * np.sqrt(counts)
    mean = np.abs(found.mean(axis=0) / true - 1) * np.sqrt(counts.sum(axis=0))
    return bool((single < 5).all() and (mean < 4).all())


@pytest.mark.parametrize("generation", ["X3", "Mini"])
def test_histograms_and_scalers_agree(generation: str) -> None:
    bench = Bench(generation=generation, rate=[5e2, 2e4, 1e5, 5e5])
    bench.call("set_window", 1, 0, 600, 680)
    bench.call("set_window", -1, 1, 640, 640)
    bench.burst(20, 800_000)
    spectra, scalers = bench.spectra(0, 20).astype(np.int64), bench.scalers(0, 20)
    good, events = column(scalers, Scaler.ALL_GOOD), column(scalers, Scaler.ALL_EVENT)
    assert (spectra.sum(axis=2) == good).all()
    assert (good <= events).all()
    assert (good >= 0.98 * events - 5 * np.sqrt(0.01 * events) - 1).all()
    assert (column(scalers, Scaler.IN_WINDOW0)[:, 0] == good[:, 0]).all()
    assert (column(scalers, Scaler.IN_WINDOW0)[:, 1] == spectra[:, 1, 600:681].sum(axis=1)).all()
    assert (column(scalers, Scaler.IN_WINDOW1) == spectra[:, :, 640]).all()
    assert (column(scalers, Scaler.LIVE_TICKS) == 800_000).all()
    assert (column(scalers, Scaler.TOTAL_TICKS) == 800_000).all()
    assert (column(scalers, Scaler.RESET_TICKS) <= 800_000).all()
    assert (column(scalers, Scaler.RESET_TICKS) == 45 * column(scalers, Scaler.NUM_RESETS)).all()


def test_magnitudes_of_recorded_frames() -> None:
    # A Mini of a quiet beamline: 11649 good of 11750 events and 468 reset ticks in a second, correction 1.001182.
    quiet = Bench(generation="Mini", channels=2, rate=[11764.0, 500.0])
    quiet.burst(1, SECOND)
    hot = quiet.scalers(0, 1)[0, 0].astype(float)
    assert hot[Scaler.ALL_EVENT] == pytest.approx(11750, rel=0.04)
    assert hot[Scaler.ALL_GOOD] / hot[Scaler.ALL_EVENT] == pytest.approx(11649 / 11750, abs=0.004)
    assert 200 <= hot[Scaler.RESET_TICKS] <= 800
    factor = event_width_correction(hot[Scaler.ALL_EVENT], hot[Scaler.RESET_TICKS], SECOND, 7)
    assert factor == pytest.approx(1.00118, abs=1e-4)
    # An X3 with one hot channel whose resets take most of the time: 12303 events in 3999990 ticks, 1713480 of them
    # for resets, correction 1.81786.
    resets = {"reset_width": 139, "reset_events": 1.0, "reset_rate": 0.0}
    busy = Bench(rate=[447300.0, 100.0, 100.0, 100.0], dead_time=resets)
    busy.burst(1, 3_999_990)
    hot = busy.scalers(0, 1)[0, 0].astype(float)
    assert hot[Scaler.ALL_EVENT] == pytest.approx(12303, rel=0.04)
    assert hot[Scaler.RESET_TICKS] == pytest.approx(1713480, rel=0.04)
    factor = event_width_correction(hot[Scaler.ALL_EVENT], hot[Scaler.RESET_TICKS], 3_999_990, 6)
    assert factor == pytest.approx(1.81786, rel=0.04)


@pytest.mark.parametrize("event_width", [6, 60])
@pytest.mark.parametrize("reset_events", [2000.0, 5.0])
def test_event_width_model_recovers_the_input_rate(event_width: int, reset_events: float) -> None:
    dead_time = {"event_width": event_width, "reset_events": reset_events}
    bench = Bench(rate=RATES, dead_time=dead_time)
    bench.burst(20, SECOND // 2)
    scalers = bench.scalers(0, 20).astype(float)
    factor = event_width_correction(
        scalers[..., Scaler.ALL_EVENT], scalers[..., Scaler.RESET_TICKS], scalers[..., Scaler.LIVE_TICKS], event_width
    )
    if event_width == 60:
        assert factor[:, 3].min() > 1.7
    # The width of the counts' distribution shrinks by dead time as their correction grows, but not as fast.
    counts = scalers[..., Scaler.ALL_EVENT] / factor
    assert within_poisson(scalers[..., Scaler.ALL_EVENT] * factor / 0.5, bench.library.truth(0).rate, counts)
    good = bench.library.config.response.good
    assert within_poisson(scalers[..., Scaler.ALL_GOOD] * factor / 0.5 / good, bench.library.truth(0).rate, counts)


@pytest.mark.parametrize(("all_event", "in_window"), [(None, None), (300e-9, None), (300e-9, 250e-9)])
def test_paralysable_model_recovers_the_input_rate(all_event: float | None, in_window: float | None) -> None:
    dead_time = {"model": "paralysable", "all_event": all_event, "in_window": in_window, "reset_events": 50.0}
    bench = Bench(rate=RATES, dead_time=dead_time)
    bench.burst(20, SECOND // 2)
    scalers = bench.scalers(0, 20)
    factor, events = np.zeros((20, 4)), np.zeros((20, 4))
    bench.call("calculateDeadtimeCorrectionFactors", words(scalers), doubles(factor), doubles(events), 20, 0, 4)
    counts = scalers.astype(float)
    rate = bench.library.truth(0).rate
    # How much a correction widens the distribution: by the slope of the model.
    slope = 1 - rate * (all_event or 7 * PERIOD)
    seen = counts[..., Scaler.ALL_EVENT] * slope**2
    assert within_poisson(events / 0.5, rate, seen)
    good = bench.library.config.response.good
    kept = counts[..., Scaler.ALL_GOOD] * slope**2
    assert within_poisson(counts[..., Scaler.ALL_GOOD] * factor / 0.5 / good, rate, kept)
    if in_window is not None:
        assert counts[:, 3, Scaler.PILEUP].min() > 0.1 * counts[:, 3, Scaler.ALL_GOOD].max()
    same = paralysable_correction(
        counts[..., Scaler.ALL_EVENT],
        counts[..., Scaler.RESET_TICKS],
        counts[..., Scaler.LIVE_TICKS],
        PERIOD,
        all_event or 7 * PERIOD,
        in_window or (all_event or 7 * PERIOD) / 2,
    )
    assert np.allclose(factor, same)


@pytest.mark.parametrize("model", ["event_width", "paralysable"])
def test_short_and_saturated_frames_stay_within_their_time(model: str) -> None:
    config = DeadTimeConfig.model_validate({"model": model, "reset_events": 3.0})
    loss = DeadTime(config, 100, PERIOD)
    random = np.random.default_rng(5)
    for ticks in (0, 1, 50, 1000, 100_000):
        for rate in (0.0, 1e3, 1e7, 1e9):
            widths = np.full(200, 100)
            counted = loss.count(random, np.full(200, rate), np.full(200, ticks), widths)
            assert (counted.events >= 0).all()
            assert (counted.reset_ticks >= 0).all()
            assert (counted.reset_ticks <= ticks).all()
            if model == "event_width":
                assert (counted.events * 101 + counted.reset_ticks < max(ticks, 1)).all()
                factor = event_width_correction(counted.events, counted.reset_ticks, np.full(200, ticks), 100)
                assert np.isfinite(factor).all()


def test_scatter_of_the_counts_is_that_of_the_model() -> None:
    loss = DeadTime(DeadTimeConfig(reset_rate=0, reset_width=0), 79, PERIOD)
    counted = loss.count(np.random.default_rng(1), np.full(4000, 1e6), np.full(4000, 800_000), np.full(4000, 79))
    # 1e6 per second and 1 microsecond: half of the time is dead, and the variance an eighth of that of the input.
    assert counted.events.mean() == pytest.approx(5000, rel=1e-3)
    assert counted.events.var() == pytest.approx(10_000 / 8, rel=0.1)


def test_corrected_reads() -> None:
    bench = Bench(rate=[2e5, 2e5, 2e5, 2e5])
    bench.call("set_window", -1, 0, 100, 2000)
    bench.call("setDeadtimeCorrectionParameters", 1, DeadTimeFlags.USE_GOOD_EVENT, 0.0, 3e-7, 1e-7, 0.0)
    bench.call("setDeadtimeCorrectionParameters", 2, DeadTimeFlags.OMIT_CHANNEL, 0.0, 3e-7, 1e-7, 0.0)
    bench.burst(3, 800_000)
    raw, scalers = bench.spectra(0, 3).astype(float), bench.scalers(0, 3).astype(float)
    factor, events = np.zeros((3, 4)), np.zeros((3, 4))
    arrays = words(bench.scalers(0, 3)), doubles(factor), doubles(events)
    bench.call("calculateDeadtimeCorrectionFactors", *arrays, 3, 0, 4)
    spectra, corrected = np.zeros((3, 4, 4096)), np.zeros((3, 4, 9))
    bench.call("hist_dtc_read4d", doubles(spectra), doubles(corrected), 0, 0, 0, 0, 4096, 1, 4, 3)
    assert np.allclose(spectra, raw * factor[..., None])
    assert np.allclose(corrected[..., Scaler.IN_WINDOW0], scalers[..., Scaler.IN_WINDOW0] * factor)
    assert np.allclose(corrected[:, 0, Scaler.ALL_EVENT], events[:, 0])
    assert np.allclose(corrected[:, 0, Scaler.ALL_GOOD], scalers[:, 0, Scaler.ALL_GOOD])
    assert np.allclose(corrected[:, 1, Scaler.ALL_GOOD], events[:, 1])
    assert not spectra[:, 2].any()
    assert np.allclose(corrected[..., Scaler.LIVE_TICKS], 800_000)
    rate = input_count_rate(scalers[:, 1, Scaler.ALL_GOOD], scalers[:, 1, Scaler.RESET_TICKS], 800_000, PERIOD, 3e-7)
    assert np.allclose(events[:, 1], rate * 0.01)
    some = np.zeros((2, 1, 2))
    bench.call("scaler_dtc_read", doubles(some), int(Scaler.IN_WINDOW0), 3, 1, 2, 1, 2)
    assert np.allclose(some[:, 0], corrected[1:, 3, Scaler.IN_WINDOW0 : Scaler.IN_WINDOW1 + 1])


def test_energy_is_needed_when_parameters_depend_on_it() -> None:
    bench = Bench()
    bench.call("setDeadtimeCorrectionParameters2", -1, 0, 1e-7, 1e-8, 0.0, 0.0, 5e-8, 0.0, 0.0, 0.0)
    bench.burst(1)
    assert bench.raw("hist_dtc_read4d", None, None, 0, 0, 0, 0, 4096, 1, 4, 1) < 0
    assert "xsp3_setDeadtimeCalculationEnergy" in bench.message
    assert bench.raw("getDeadtimeCalculationEnergy") == 0.0
    bench.call("setDeadtimeCalculationEnergy", 6.4)
    bench.call("hist_dtc_read4d", None, None, 0, 0, 0, 0, 4096, 1, 4, 1)
    assert bench.raw("getDeadtimeCalculationEnergy") == 6.4
    values = [ctypes.c_double() for _ in range(8)]
    flags = ctypes.c_int(9)
    bench.call("getDeadtimeCorrectionParameters2", 3, ctypes.byref(flags), *map(ctypes.byref, values))
    assert [flags.value, *(one.value for one in values)] == [0, 1e-7, 1e-8, 0, 0, 5e-8, 0, 0, 0]
    old = [ctypes.c_double() for _ in range(4)]
    bench.call("getDeadtimeCorrectionParameters", 3, ctypes.byref(flags), *map(ctypes.byref, old))
    assert [one.value for one in old] == [1e-8, 1e-7, 5e-8, 0]  # gradient and offset, offset and gradient


def test_threshold_counts_good_events_above_it() -> None:
    bench = Bench()
    bench.burst(2)
    before = bench.scalers(0, 2)
    bench.call("set_good_thres", 1, 700)
    assert bench.get("get_good_thres", 1) == 700
    after, spectra = bench.scalers(0, 2), bench.spectra(0, 2)
    assert (after[:, 1, Scaler.ALL_GOOD] == spectra[:, 1, 700:].sum(axis=1)).all()
    assert (after[:, 0] == before[:, 0]).all()


def test_same_seed_same_counts_and_each_frame_and_run_its_own() -> None:
    first, second, other = Bench(seed=1), Bench(seed=1), Bench(seed=2)
    for bench in (first, second, other):
        bench.burst(3, 800_000)
    assert (first.spectra(0, 3) == second.spectra(0, 3)).all()
    # In another order, and one by one, they are the same.
    assert (second.spectra(2, 1)[0] == first.spectra(0, 3)[2]).all()
    assert (second.spectra(1, 1)[0] == first.spectra(0, 3)[1]).all()
    seen = {one.tobytes() for bench in (first, other) for one in bench.spectra(0, 3).reshape(12, 4096)}
    assert len(seen) == 24
    before = first.spectra(0, 1)
    first.start()
    first.clock.turn(1.0)
    assert (first.spectra(0, 1) != before).any()
