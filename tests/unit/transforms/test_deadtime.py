from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_streamdet.transforms.deadtime import (
    dead_fraction,
    event_time,
    event_width_correction,
    input_count_rate,
    output_count_rate,
    paralysable_correction,
)

PERIOD = 12.5e-9
SECOND = 80_000_000
counter = st.integers(0, 2**32 - 1)


def test_event_width_model_gives_what_a_real_instrument_recorded():
    # One hot channel of an X3 over 50 ms: its events, reset ticks, ticks and width, and the factor it noted.
    assert event_width_correction(12303, 1713480, 3999990, 6) == pytest.approx(1.81786, abs=5e-6)
    assert event_width_correction(11750, 468, 79999990, 7) == pytest.approx(1.001182, abs=5e-7)


def test_frames_and_channels_keep_their_shape():
    events = np.arange(6, dtype=np.uint32).reshape(2, 3) * 1000
    widths = np.array([6, 7, 8], np.int32)
    factor = event_width_correction(events, np.uint32(0), np.uint32(SECOND), widths)
    assert factor.shape == (2, 3)
    assert factor.dtype == np.float64
    assert factor[1, 2] == pytest.approx(SECOND / (SECOND - 5000 * 9))


def test_counters_of_32_bits_do_not_wrap():
    events = np.full(4, 2**32 - 1, np.uint32)
    assert np.all(event_width_correction(events, events, events, np.int32(6)) == np.inf)
    assert event_width_correction(np.uint32(500_000_000), 0, np.uint32(2**32 - 1), 6) == pytest.approx(
        (2**32 - 1) / (2**32 - 1 - 3.5e9)
    )


@pytest.mark.parametrize(
    ("events", "reset", "clock", "factor"),
    [
        (0, 0, 0, 1.0),  # a frame without time
        (5, 3, 0, 1.0),
        (0, 0, SECOND, 1.0),
        (0, SECOND, SECOND, np.inf),  # in reset from the first to the last tick
        (SECOND, 0, SECOND, np.inf),
    ],
)
def test_frames_without_a_finite_answer(events, reset, clock, factor):
    assert event_width_correction(events, reset, clock, 6) == factor
    assert paralysable_correction(events, reset, clock, PERIOD, 1e-7, 1e-7) == factor


@given(counter, counter, counter, st.floats(0, 1e-3), st.floats(0, 1e-3))
def test_no_count_whatsoever_gives_nan_or_less_than_one(events, reset, clock, all_event_time, in_window_time):
    factors = [
        event_width_correction(events, reset, clock, 6),
        paralysable_correction(events, reset, clock, PERIOD, all_event_time, in_window_time),
    ]
    assert all(factor >= 1 for factor in factors)
    assert input_count_rate(events, reset, clock, PERIOD, all_event_time) >= 0
    assert np.all((dead_fraction(factors) >= 0) & (dead_fraction(factors) <= 1))


@given(st.floats(1e-9, 0.999), st.floats(1e-8, 1e-5))
def test_paralysable_model_is_inverted_to_the_last_digits(busy, tau):
    rate = busy / tau
    seen = rate * np.exp(-busy) * 1000  # in a thousand seconds; a float, as counts would be rounded
    ticks = 1000 * SECOND
    digits = 1e-14 / (1 - busy) ** 2  # near the branch point the rate seen says ever less about the rate
    assert input_count_rate(seen, 0, ticks, PERIOD, tau) == pytest.approx(rate, rel=digits)
    factor = paralysable_correction(seen, 0, ticks, PERIOD, tau, tau)
    assert factor == pytest.approx(np.exp(2 * busy), rel=3 * digits)


def test_at_the_highest_rate_that_can_be_seen_and_beyond_it():
    tau = 1e-6
    highest = 1 / (np.e * tau)
    below = input_count_rate(highest * (1 - 1e-12), 0, SECOND, PERIOD, tau)
    assert below == pytest.approx(1 / tau, rel=1e-5)
    assert input_count_rate(highest * 1.001, 0, SECOND, PERIOD, tau) == np.inf
    assert paralysable_correction(highest * 1.001, 0, SECOND, PERIOD, tau, tau) == np.inf


def test_resets_take_their_time_away():
    assert paralysable_correction(0, SECOND // 4, SECOND, PERIOD, 1e-7, 1e-7) == pytest.approx(4 / 3)
    assert input_count_rate(750, SECOND // 4, SECOND, PERIOD, 0.0) == pytest.approx(1000)


def test_without_a_time_for_an_event_only_resets_count():
    assert paralysable_correction(10**6, 0, SECOND, PERIOD, 0.0, 0.0) == 1.0


def test_event_time_grows_with_energy():
    assert event_time(1e-7, 1e-9, 10.0) == pytest.approx(1.1e-7)
    assert event_time(1e-7, 1e-9, None) == 1e-7
    assert event_time([1e-7, 2e-7], [0.0, 1e-8], 5.0) == pytest.approx([1e-7, 2.5e-7])


def test_output_count_rate_is_in_hz():
    # As recorded: one good event in a tenth of a second is 10 Hz.
    assert output_count_rate(1, 7999990, PERIOD) == pytest.approx(10.0, rel=1e-5)
    assert list(output_count_rate(np.array([0, 3], np.uint32), np.array([0, 0], np.uint32), PERIOD)) == [0.0, 0.0]


@pytest.mark.parametrize("rate", [1e3, 1e4, 1e5, 1e6])
def test_event_width_model_recovers_the_rate_of_a_channel_that_is_blind_after_each_event(rate):
    blind = 8
    waits = np.random.default_rng(7).exponential(SECOND / rate, 200_000)
    clock = float(np.sum(waits + blind))
    factor = event_width_correction(len(waits), 0, clock, blind - 1)
    recovered = len(waits) * factor / (clock * PERIOD)
    assert recovered == pytest.approx(rate, rel=4 / np.sqrt(len(waits)))


@pytest.mark.parametrize("rate", [1e3, 1e4, 1e5, 1e6])
def test_paralysable_model_recovers_the_rate_of_a_channel_that_each_event_blinds_anew(rate):
    tau = 3e-7
    waits = np.random.default_rng(7).exponential(1 / rate, 200_000)
    seen = int(np.count_nonzero(waits > tau))
    whole = int(np.count_nonzero((waits[:-1] > tau) & (waits[1:] > tau)))  # alone before and after: in the spectrum
    clock = np.sum(waits) / PERIOD
    error = 4 / np.sqrt(seen)
    assert input_count_rate(seen, 0, clock, PERIOD, tau) == pytest.approx(rate, rel=error / (1 - rate * tau))
    factor = paralysable_correction(seen, 0, clock, PERIOD, tau, tau)
    assert whole * factor / (clock * PERIOD) == pytest.approx(rate, rel=2 * error)
