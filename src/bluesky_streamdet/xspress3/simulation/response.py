"""What a silicon drift detector makes of photons: broad peaks, escape peaks, scatter and background.

Nothing here is random: it is about where in the 4096 raw bins a good event is to be expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.constants import BINS_PER_MCA
from bluesky_streamdet.xspress3.lines import lines_of
from bluesky_streamdet.xspress3.simulation.config import ResponseConfig

Spectrum = NDArray[np.float64]
"""Of shape (4096,): the probability of each raw bin."""

FANO = 0.114
PAIR_ENERGY = 3.66
"""eV for an electron and a hole in silicon."""
FWHM = 2 * math.sqrt(2 * math.log(2))
"""Of a normal distribution, in standard deviations."""

SILICON_EDGE, SILICON_LINE = 1839.0, 1740.0
"""eV: photons above the first may lose the second to a photon that escapes."""
ESCAPING = 0.012
"""Share of the photons just above the edge; it falls with the third power of the energy, as they go deeper."""

TAIL = 0.01
"""Share of a peak's photons whose charge is collected in part."""
COMPTON_SHARE = 0.6
"""Of the scattered photons; the others keep their energy."""
ELECTRON_MASS = 510998.95
"""eV."""
COMPTON_WIDTH = 0.012
"""Standard deviation relative to the energy: electrons move, and scatter at many angles."""
SOFT = 2500.0
"""eV over which the background falls by e."""


class Response:
    """Expected spectra, of which nothing lies below `threshold` (raw bin): what is smaller is no good event."""

    def __init__(self, config: ResponseConfig, threshold: int) -> None:
        self._config = config
        self._threshold = threshold
        self._edges = np.arange(BINS_PER_MCA + 1) * config.ev_per_bin

    def fluorescence(self, element: str, excitation: float) -> Spectrum | None:
        """The lines of an element; None when the beam (eV) excites none. Raises `ConfigError` for no element."""
        lines = lines_of(element, excitation)
        seen = self._seen((line.energy, line.intensity, 0.0) for line in lines)
        return self._good(seen) if seen[self._threshold :].sum() > 0 else None

    def scatter(self, excitation: float) -> Spectrum:
        """The beam, elastically and by Compton's effect at a right angle."""
        shifted = excitation / (1 + excitation / ELECTRON_MASS)
        peaks = [(excitation, 1 - COMPTON_SHARE, 0.0), (shifted, COMPTON_SHARE, COMPTON_WIDTH * shifted)]
        return self._good(self._seen(peaks))

    def background(self, excitation: float) -> Spectrum:
        """All energies up to the beam's, most of them low."""
        energy = self._edges[:-1]
        return self._good(np.where(energy < excitation, np.exp(-energy / SOFT) + 0.03, 1e-9))

    def width(self, energy: float) -> float:
        """Standard deviation of a peak, in eV."""
        return math.hypot(self._config.noise / FWHM, math.sqrt(FANO * PAIR_ENERGY * energy))

    def _seen(self, photons: Iterable[tuple[float, float, float]]) -> Spectrum:
        """Peaks of (energy, intensity, natural standard deviation), with what the sensor adds."""
        spectrum = np.zeros(BINS_PER_MCA)
        for energy, intensity, width in photons:
            escaping = 0.0
            if self._config.escape and energy > SILICON_EDGE:
                escaping = ESCAPING * (SILICON_EDGE / energy) ** 3
                lower = energy - SILICON_LINE
                self._add_peak(spectrum, lower, intensity * escaping, math.hypot(width, self.width(lower)))
            kept = intensity * (1 - escaping)
            self._add_peak(spectrum, energy, kept * (1 - TAIL), math.hypot(width, self.width(energy)))
            below = self._edges[:-1] < energy
            spectrum[below] += kept * TAIL / max(below.sum(), 1)
        return spectrum

    def _add_peak(self, spectrum: Spectrum, energy: float, intensity: float, width: float) -> None:
        """Add a normal distribution; what lies above the last bin is counted in the last bin."""
        per_bin = self._config.ev_per_bin
        first = max(int((energy - 6 * width) / per_bin), 0)
        last = min(int((energy + 6 * width) / per_bin) + 1, BINS_PER_MCA)
        if first >= last:
            spectrum[-1] += intensity
            return
        below = np.array([_normal(edge) for edge in (self._edges[first : last + 1] - energy) / width])
        spectrum[first:last] += intensity * np.diff(below)
        spectrum[-1] += intensity * (1 - below[-1])

    def _good(self, spectrum: Spectrum) -> Spectrum:
        spectrum[: self._threshold] = 0
        return spectrum / spectrum.sum()


def with_pileup(spectrum: Spectrum, share: float) -> Spectrum:
    """Replace a share of the events by sums of two."""
    size = 2 * BINS_PER_MCA
    sums = np.fft.irfft(np.fft.rfft(spectrum, size) ** 2, size).clip(0)
    folded = sums[:BINS_PER_MCA]
    folded[-1] += sums[BINS_PER_MCA:].sum()
    return (1 - share) * spectrum + share * folded


def _normal(deviations: float) -> float:
    """Share of a normal distribution below so many standard deviations."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
