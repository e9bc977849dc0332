"""The newest spectrum of a run: each channel and their sum, with regions and emission lines by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from bluesky_streamdet.callbacks.live import Live, Options, Shot
from bluesky_streamdet.callbacks.spectra import Wanted, correction_of, described_in, spectra_of, wanted_regions
from bluesky_streamdet.devices.xspress3.readout import FACTORS, Correction, checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_IN_LEGEND = 8
LEAST_SHARE = 0.02
"""Of the photons of an element, that a family of lines must have to be named."""
FLOOR = 0.5
"""Where the axis of counts begins, below one count."""
GREEK = {"a": "\N{GREEK SMALL LETTER ALPHA}", "b": "β", "g": "\N{GREEK SMALL LETTER GAMMA}"}


class LiveSpectrum(Live):
    """Shows each channel and the sum of them, logarithmically.

        RE.subscribe(LiveSpectrum(elements=["Fe", "Zn"]))

    regions: to be marked; left out, those that the device has. elements: whose emission lines are named, for which the
    extra `xspress3` has to be there. excitation: energy of the beam in eV; lines that it does not excite are left out.
    correction: of dead time, "event_width" or "sdk". energies: from where to where, in eV. log: whether counts run
    logarithmically. The others are `live.Options`. Of several frames an event, it is their sum.
    """

    columns = tuple(FACTORS.values())
    size = (9.0, 5.0)

    def __init__(
        self,
        save: str | Path | None = None,
        *,
        regions: Wanted = None,
        elements: Sequence[str] = (),
        excitation: float | None = None,
        correction: Correction = "none",
        energies: tuple[float, float] | None = None,
        log: bool = True,
        **options: Unpack[Options],
    ) -> None:
        checked(correction)
        self._regions, self._correction, self._energies, self._log = regions, correction, energies, log
        self._lines = [line for element in elements for line in main_lines(element, excitation)]
        self._shot: Shot | None = None
        super().__init__(save, **options)

    def take(self, shot: Shot) -> None:
        self._shot = shot

    def picture(self) -> SpectrumPicture | None:
        shot = self._shot
        if shot is None:
            return None
        spectra = spectra_of(shot)
        factor, how = correction_of(shot, self._correction, spectra)
        described = described_in(shot)
        regions = wanted_regions(self._regions, described)
        marked = {name: one.energies(described.calibration) for name, one in regions.items()}
        title = f"{self.title(shot)}, {how}"
        counts = (spectra[-1] * factor[-1][..., np.newaxis]).sum(axis=0)
        return SpectrumPicture(title, described.energies, counts, marked, self._lines, self._energies, self._log)


class Marked(NamedTuple):
    """A family of emission lines. energy: eV."""

    label: str
    energy: float


def main_lines(element: str, excitation: float | None = None) -> list[Marked]:
    """The strongest line of each family of an element that is worth a name. Raises `ConfigError`, `MissingLibrary`."""
    from bluesky_streamdet.xspress3.lines import lines_of  # its table takes a second to load

    families: dict[str, Any] = {}
    for line in lines_of(element, excitation):
        families.setdefault(line.name[:2], line)
    return [
        Marked(f"{element} {name[0]}{GREEK.get(name[1:], name[1:])}", line.energy)
        for name, line in families.items()
        if line.intensity >= LEAST_SHARE
    ]


@dataclass(frozen=True)
class SpectrumPicture:
    """energies: eV, of each bin. counts: (channels, bins). regions: from where to where, in eV, by name."""

    title: str
    energies: NDArray[np.float64]
    counts: NDArray[np.float64]
    regions: dict[str, tuple[float, float]] = field(default_factory=dict)
    lines: Sequence[Marked] = ()
    limits: tuple[float, float] | None = None
    log: bool = True
    size: tuple[float, float] = LiveSpectrum.size

    def draw(self, figure: Figure) -> None:
        figure.clear()
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot(title=self.title, xlabel="energy / keV", ylabel="counts")
        # All that was off the scale is in the last bin, and no part of a spectrum.
        energies, counts = self.energies[:-1] / 1000, self.counts[:, :-1]
        total = np.nansum(counts, axis=0)
        several = len(counts) > 1
        for channel, one in enumerate(counts):
            label = f"channel {channel}: {np.nansum(one):.0f}" if channel < MOST_IN_LEGEND else None
            axes.step(energies, self._shown(one), where="mid", linewidth=0.7, alpha=0.7 if several else 1, label=label)
        if several:
            label = f"sum: {total.sum():.0f}"
            axes.step(energies, self._shown(total), where="mid", linewidth=1.0, color="0.1", label=label)
        top = max(10.0, float(total.max(initial=0.0)))
        if self.log:
            axes.set_yscale("log")
        axes.set_ylim(FLOOR if self.log else 0.0, top * (30 if self.log else 1.35))
        low, high = self._range(energies, total)
        axes.set_xlim(low, high)
        self._name(axes, low, high)
        axes.legend(loc="upper right", fontsize="small", title="counts")

    def _shown(self, counts: NDArray[Any]) -> NDArray[Any]:
        """On a logarithmic scale, a bin without counts lies on the floor."""
        return np.maximum(counts, FLOOR) if self.log else counts

    def _range(self, energies: NDArray[Any], total: NDArray[Any]) -> tuple[float, float]:
        if self.limits is not None:
            return self.limits[0] / 1000, self.limits[1] / 1000
        known = energies[np.isfinite(energies)]
        counted = energies[(total > 0) & np.isfinite(energies)]
        if not counted.size:
            return float(known.min(initial=0.0)), float(known.max(initial=1.0))
        return float(known.min()), float(min(1.1 * counted.max(), max(known.max(), known.min() + 0.1)))

    def _name(self, axes: Axes, low: float, high: float) -> None:
        """Regions as bands with their names at the top, lines with theirs below."""
        across = axes.get_xaxis_transform()
        for number, (name, (begin, end)) in enumerate(self.regions.items()):
            begin, end = begin / 1000, end / 1000
            if end < low or begin > high:
                continue
            axes.axvspan(begin, end, color=f"C{number % 10}", alpha=0.18, linewidth=0)
            axes.text((begin + end) / 2, 0.98, name, transform=across, ha="center", va="top", fontsize="small")
        for label, energy in self.lines:
            if not low <= energy / 1000 <= high:
                continue
            axes.axvline(energy / 1000, ymax=0.80, color="0.4", linewidth=0.6, linestyle=":")
            axes.text(
                energy / 1000,
                0.81,
                label,
                transform=across,
                ha="center",
                va="bottom",
                rotation=90,
                fontsize="x-small",
                color="0.25",
            )
