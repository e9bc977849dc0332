"""One-dimensional data of a run, one line below the other: spectra, profiles, histograms as they change."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from bluesky_streamdet.callbacks.image import PERCENTILES, limits
from bluesky_streamdet.callbacks.live import Live, Options, Shot
from bluesky_streamdet.callbacks.spectra import described_in, spectra_of
from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 200
WIDEST = 4096
"""Places along a line that are kept; of longer ones, the mean of several."""


class LiveWaterfall(Live):
    """Shows the last lines of the run, the newest below.

        RE.subscribe(LiveWaterfall(rows=500))

    rows: so many. percentiles, log: as of `LiveImage`. Of spectra with several channels, it is the sum over them. The
    others are `live.Options`.
    """

    every_row = True
    size = (8.0, 6.0)

    def __init__(
        self,
        save: str | Path | None = None,
        *,
        rows: int = ROWS,
        percentiles: tuple[float, float] = PERCENTILES,
        log: bool = True,
        **options: Unpack[Options],
    ) -> None:
        if rows < 1:
            raise ConfigError(f"A waterfall of {rows} rows shows nothing.", "Give 1 or more.")
        self._lines: deque[NDArray[np.float64]] = deque(maxlen=rows)
        self._percentiles, self._log = percentiles, log
        self._axis: tuple[str, float, float] = ("", 0.0, 1.0)
        self._run: str | None = None
        self._shot: Shot | None = None
        super().__init__(save, **options)

    @property
    def lines(self) -> NDArray[np.float64]:
        """What is shown, (events, places), oldest first."""
        return np.array(self._lines)

    def take(self, shot: Shot) -> None:
        counts = spectra_of(shot).sum(axis=(1, 2), dtype=np.float64)
        binning = -(-counts.shape[1] // WIDEST)
        run = shot.run.get("uid")
        if run != self._run or (self._lines and len(self._lines[0]) != -(-counts.shape[1] // binning)):
            self._run = run
            self._lines.clear()
        self._axis = _axis_of(shot)
        self._shot = shot
        edges = np.arange(0, counts.shape[1], binning)
        widths = np.diff(edges, append=counts.shape[1])
        self._lines.extend(np.add.reduceat(counts[-(self._lines.maxlen or ROWS) :], edges, axis=1) / widths)

    def picture(self) -> WaterfallPicture | None:
        if self._shot is None:
            return None
        last = self._shot.seq_nums[-1]
        return WaterfallPicture(self.title(self._shot), self.lines, last, self._axis, self._percentiles, self._log)


@dataclass(frozen=True)
class WaterfallPicture:
    """lines: (events, places). last: number of the last event. axis: its name, and from where to where it goes."""

    title: str
    lines: NDArray[np.float64]
    last: int
    axis: tuple[str, float, float]
    percentiles: tuple[float, float] = PERCENTILES
    log: bool = True
    size: tuple[float, float] = LiveWaterfall.size

    def draw(self, figure: Figure) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm, Normalize

        figure.clear()
        figure.set_layout_engine("constrained")
        name, begin, end = self.axis
        axes = figure.add_subplot(title=self.title, xlabel=name, ylabel="event")
        low, high = limits(self.lines[np.isfinite(self.lines)], self.percentiles, log=self.log)
        drawn = axes.imshow(
            np.maximum(self.lines, low),
            norm=LogNorm(low, high) if self.log else Normalize(low, high),
            cmap=colormaps["magma"],
            interpolation="nearest",
            aspect="auto",
            extent=(begin, end, self.last + 0.5, self.last - len(self.lines) + 0.5),
        )
        # Where nothing has ever been counted there is nothing to see.
        used = np.flatnonzero((self.lines > 0).any(axis=0))
        share = min(1.0, 1.1 * (used[-1] + 1) / self.lines.shape[1]) if used.size else 1.0
        axes.set_xlim(begin, begin + share * (end - begin))
        figure.colorbar(drawn, ax=axes, label="counts")


def _axis_of(shot: Shot) -> tuple[str, float, float]:
    """Energies where the device has said that places are such; otherwise numbers of places."""
    described = described_in(shot)
    if not described.calibrated:
        return "place", -0.5, shot.frames.shape[-1] - 0.5
    energies = described.energies / 1000
    known = energies[np.isfinite(energies)]
    return "energy / keV", float(known[0]), float(known[-1])
