"""How many of the photons a channel counts: dead time of events, and resets of the preamplifier.

The simulated channel obeys exactly the model whose correction is meant to undo it, and counts scatter about it as the
counts of such a channel do: by Poisson's law when there are few, normally when there are many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.simulation.config import DeadTimeConfig

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MANY = 100
"""Counts from which on Poisson's law is taken for a normal distribution, corrected for the dead time."""


class Counted(NamedTuple):
    """Of each channel. events: seen; reset_ticks: clock cycles that `resets` took."""

    events: Counts
    resets: Counts
    reset_ticks: Counts


class DeadTime:
    """What one system loses. event_width: clock cycles, for what is not configured. period: seconds of one."""

    def __init__(self, config: DeadTimeConfig, event_width: int, period: float) -> None:
        self._config = config
        self._period = period
        self._paralysable = config.model == "paralysable"
        self.all_event = config.all_event or (event_width + 1) * period
        """Seconds of the paralysable model."""
        self.in_window = config.in_window or self.all_event / 2

    def rejected(self, rate: Floats) -> Floats:
        """Share of the seen events that the paralysable model keeps out of the spectrum. rate: true, per second."""
        if not self._paralysable:
            return np.zeros_like(rate)
        return -np.expm1(-rate * (2 * self.in_window - self.all_event))

    def count(self, random: np.random.Generator, rate: Floats, ticks: Counts, event_widths: Counts) -> Counted:
        """What channels see of `rate` true photons per second, in frames of `ticks` clock cycles."""
        dead = self.all_event / self._period if self._paralysable else event_widths + 1
        seen, spread = self._seen(rate * self._period, dead)
        width = self._config.reset_width
        leaked = self._config.reset_rate * self._period * ticks
        per_event = width / self._config.reset_events
        live = np.maximum(ticks - leaked * width, 0.0)
        # A reset that comes after each so many events delays all that follow, as if each event took a bit longer.
        slowed = 1 + per_event * seen
        mean = live * seen / slowed
        scattered = np.rint(random.normal(mean, np.sqrt(live * spread / slowed**3)))
        drawn = np.where(mean < MANY, random.poisson(np.minimum(mean, MANY)), scattered)
        # A clock cycle stays live, or no correction could tell anything.
        most = np.maximum(np.floor((live - 1) / (dead + per_event)), 0)
        events = np.clip(drawn, 0, most).astype(np.int64)
        resets = np.floor(events / self._config.reset_events + leaked + random.random(len(events))).astype(np.int64)
        room = ticks - 1 if self._paralysable else ticks - 1 - events * (event_widths + 1)
        return Counted(events, resets, np.clip(resets * width, 0, np.maximum(room, 0)))

    def _seen(self, rate: Floats, dead: Floats | Counts | float) -> tuple[Floats, Floats]:
        """Mean and variance of the events seen in each live clock cycle, when `rate` come."""
        busy = rate * dead
        if self._paralysable:
            seen = rate * np.exp(-busy)
            return seen, seen * np.maximum(1 - 2 * busy * np.exp(-busy), 0.0)
        return rate / (1 + busy), rate / (1 + busy) ** 3
