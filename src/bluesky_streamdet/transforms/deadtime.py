"""Dead time of a pulse processor: by which factor to multiply what it counted.

Two models, for the same scalers, which do not agree at high rates; whoever stores a factor says which it is.

*Event width* (also known as "DTFactor"): each event stops the channel for its width and one clock cycle, each reset for
its ticks. factor = clock / (clock - all_events * (event_width + 1) - reset).

*Paralysable* (the SDK's own): resets take their ticks away; of the events that come at rate R in the rest, a share
exp(-R * T_all) is seen, and exp(-2 * R * T_window) counted in spectrum and windows. R is found from the rate seen, on
the branch of low rates, R * T_all < 1: a detector beyond it sees fewer events the more there are, and nothing that it
counts tells. T is a time for each event, with an offset and a part in proportion to the energy.

All functions take scalars or arrays, of any shapes that broadcast, of any integer type; they calculate in float64. No
result is nan. Where no time has passed there is nothing to correct and a factor is 1; where the channel was never live,
or saw more events than its model allows, no factor is right and it is inf.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_BRANCH_POINT = float(np.exp(-1.0))
"""The highest value of y * exp(-y), at y = 1."""
_SERIES_BELOW = 0.3


def event_width_correction(
    all_events: ArrayLike, reset_ticks: ArrayLike, clock_ticks: ArrayLike, event_width: ArrayLike
) -> Floats:
    """The factor of the event-width model. event_width: in clock cycles."""
    clock = _floats(clock_ticks)
    dead = _floats(all_events) * (_floats(event_width) + 1.0) + _floats(reset_ticks)
    return _ratio(clock, clock - dead)


def dead_fraction(factor: ArrayLike) -> Floats:
    """The share of the time, 0 to 1, in which a channel with this factor was dead."""
    return 1.0 - 1.0 / _floats(factor)


def event_time(offset: ArrayLike, gradient: ArrayLike, energy: float | None) -> Floats:
    """The time in seconds that an event takes: offset (s) and gradient (s/keV) times the energy (keV).

    Without an energy the offset alone counts.
    """
    return _floats(offset) + _floats(gradient) * (0.0 if energy is None else energy)


def input_count_rate(
    events: ArrayLike, reset_ticks: ArrayLike, clock_ticks: ArrayLike, clock_period: float, all_event_time: ArrayLike
) -> Floats:
    """The rate in Hz at which events came to the channel, by the paralysable model.

    events: those seen, AllEvent, or AllGood where the channel is set to use it. clock_period and all_event_time in
    seconds. 0 where no time has passed, inf where the model has no answer.
    """
    live = (_floats(clock_ticks) - _floats(reset_ticks)) * clock_period
    seen = _floats(events)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(live > 0, seen / live, np.where(seen > 0, np.inf, 0.0))
    tau = _floats(all_event_time)
    with np.errstate(invalid="ignore"):
        busy = _low_rate_root(rate * tau)
        return np.where(tau > 0, busy / np.where(tau > 0, tau, 1.0), rate)


def paralysable_correction(
    events: ArrayLike,
    reset_ticks: ArrayLike,
    clock_ticks: ArrayLike,
    clock_period: float,
    all_event_time: ArrayLike,
    in_window_time: ArrayLike,
) -> Floats:
    """The factor of the paralysable model, for spectrum and windows.

    events: as for `input_count_rate`. clock_period, all_event_time and in_window_time (both as of `event_time`) in
    seconds.
    """
    clock = _floats(clock_ticks)
    rate = input_count_rate(events, reset_ticks, clock, clock_period, all_event_time)
    window = _floats(in_window_time)
    with np.errstate(invalid="ignore", over="ignore"):
        lost = np.where(np.isinf(rate), np.inf, np.exp(2.0 * rate * window))
    return _ratio(clock, clock - _floats(reset_ticks)) * np.where(clock > 0, lost, 1.0)


def output_count_rate(all_good: ArrayLike, total_ticks: ArrayLike, clock_period: float) -> Floats:
    """Good events for each second, in Hz; 0 where no time has passed. clock_period in seconds."""
    seconds = _floats(total_ticks) * clock_period
    return _floats(all_good) / np.where(seconds > 0, seconds, np.inf)


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64)


def _ratio(whole: Floats, live: Floats) -> Floats:
    """Whole / live; 1 where whole is 0, inf where live is not positive."""
    ratio = whole / np.where(live > 0, live, 1.0)
    return np.where(whole > 0, np.where(live > 0, ratio, np.inf), 1.0)


def _low_rate_root(seen: Floats) -> Floats:
    """The y in 0…1 with y * exp(-y) = seen, which is -W(-seen) of Lambert's W; inf where there is none.

    From the series at 0 or at the branch point, three of Halley's steps reach the last digit anywhere.
    """
    x = np.minimum(seen, _BRANCH_POINT)
    p = np.sqrt(np.maximum(2.0 * (1.0 - np.e * x), 0.0))
    near_branch = 1.0 - p * (1.0 - p * (1 / 3 - p * (11 / 72 - p * (43 / 540))))
    y = np.where(x < _SERIES_BELOW, x * (1.0 + x * (1.0 + x * (1.5 + x * (8 / 3)))), near_branch)
    for _ in range(3):
        grown = x * np.exp(y)
        slope = np.maximum(1.0 - grown, 1e-9)  # at the branch point itself it is 0, and so is what is left to do
        step = (y - grown) / slope
        y = np.clip(y - step / (1.0 + step * grown / (2.0 * slope)), 0.0, 1.0)
    return np.where(seen > _BRANCH_POINT, np.inf, y)
