"""The sensor and its pulse processor: how many photons of which energy a frame counts, from seed, run and frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.constants import BINS_PER_MCA
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.simulation.counting import Counted, DeadTime
from bluesky_streamdet.xspress3.simulation.response import Response, Spectrum, with_pileup
from bluesky_streamdet.xspress3.simulation.sample import Composition

MANY = 3000
"""Events of a spectrum from which on its bins are drawn one by one, and not the events."""


class Exposure(NamedTuple):
    """How a frame is taken. ticks, event_widths: clock cycles, (channel,)."""

    ticks: NDArray[np.int64]
    event_widths: NDArray[np.int64]
    composition: Composition


class Shot(NamedTuple):
    """What one frame counts. raw: (channel, raw bin). pileup: (channel,). ticks: clock cycles of each channel."""

    raw: NDArray[np.uint32]
    counted: Counted
    pileup: NDArray[np.int64]
    ticks: NDArray[np.int64]


class Detector:
    """All channels of a system, in front of one sample."""

    def __init__(self, config: SimulationConfig, reference: Composition) -> None:
        self._config = config
        self._reference = reference
        self._rates = np.array(config.rates)
        self._response = Response(config.response, config.good_threshold)
        self.dead_time = DeadTime(config.dead_time, config.event_width, config.clock_period)
        excitation = config.sample.excitation
        self._scatter = self._response.scatter(excitation)
        self._background = self._response.background(excitation)
        self._elements: dict[str, Spectrum | None] = {}
        self._mixed: tuple[Composition, Spectrum] | None = None

    def rate(self, composition: Composition) -> NDArray[np.float64]:
        """True photons per second that come to each channel."""
        return self._rates * (composition.brightness / self._reference.brightness)

    def expected(self, composition: Composition) -> Spectrum:
        """Probability of each raw bin for a good event."""
        if self._mixed is None or self._mixed[0] != composition:
            self._mixed = composition, self._mix(composition)
        return self._mixed[1]

    def expose(self, run: int, frame: int, exposure: Exposure) -> Shot:
        """The counts of a frame: the same ones, whenever they are asked for."""
        ticks, event_widths, composition = exposure
        random = self.random(run, frame)
        rate = self.rate(composition)
        counted = self.dead_time.count(random, rate, ticks, event_widths)
        rejected = random.binomial(counted.events, self.dead_time.rejected(rate))
        good = random.binomial(counted.events - rejected, self._config.response.good)
        spectrum, summed = self.expected(composition), np.zeros_like(good)
        if self._config.response.pileup:
            share = -np.expm1(-rate * self._config.response.pileup * self._config.clock_period)
            summed = random.binomial(good, share)
            # The channels' rates may differ, and then also how many of their events are sums.
            raw = np.stack([_draw(random, with_pileup(spectrum, s), good[c : c + 1])[0] for c, s in enumerate(share)])
        else:
            raw = _draw(random, spectrum, good)
        return Shot(raw, counted, rejected + summed, ticks)

    def random(self, run: int, frame: int, purpose: int = 0) -> np.random.Generator:
        """Numbers that belong to one frame of one run."""
        key = np.array([self._config.seed, run], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, frame, purpose]))

    def _mix(self, composition: Composition) -> Spectrum:
        mixed = composition.scatter * self._scatter + composition.background * self._background
        for element, share in composition.elements:
            if element not in self._elements:
                self._elements[element] = self._response.fluorescence(element, self._config.sample.excitation)
            lines = self._elements[element]
            if lines is not None:
                mixed = mixed + share * lines
        return mixed / mixed.sum()


def _draw(random: np.random.Generator, spectrum: Spectrum, events: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Counts (channel, raw bin) of so many events of each channel."""
    if events.max(initial=0) > MANY:
        return random.multinomial(events, spectrum).astype(np.uint32)
    total = int(events.sum())
    bins = np.searchsorted(np.cumsum(spectrum), random.random(total), side="right").clip(max=BINS_PER_MCA - 1)
    channel = np.repeat(np.arange(len(events)) * BINS_PER_MCA, events)
    counts = np.bincount(bins + channel, minlength=len(events) * BINS_PER_MCA)
    return counts.astype(np.uint32).reshape(len(events), BINS_PER_MCA)
