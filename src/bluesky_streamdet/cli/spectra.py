"""Spectra of a multichannel detector as a plot: in a file, or in a window."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bluesky_streamdet.cli.image import save_figure
from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from bluesky_streamdet.core.events import Frame

INCHES = (9.0, 5.0)
MOST_IN_LEGEND = 16


class Spectra(NamedTuple):
    """What is plotted of a frame.

    counts: (channels, bins), without the last bin of the whole spectrum, in which all is that was off the scale.
    totals: of each channel, with that bin. exposure: seconds, None when nobody says. first_bin, ev_per_bin: what the
    axis begins at, and is scaled by; None for bins.
    """

    title: str
    counts: NDArray[Any]
    totals: list[int]
    exposure: float | None
    first_bin: int = 0
    ev_per_bin: float | None = None


def is_spectra(frame: Frame) -> bool:
    """Whether a frame holds spectra, by what comes with it or by its shape, and is no image."""
    shape = frame.format.shape
    return bool(frame.format.scalars) or len(shape) == 1 or (len(shape) == 2 and 32 * shape[0] <= shape[1])


def spectra_of(frame: Frame, metadata: Mapping[str, Any] | None = None) -> Spectra:
    """The spectra in a frame, summed over what axes there are between channel and bin. metadata: of its series."""
    from bluesky_streamdet.codecs.xspress3 import exposure_of
    from bluesky_streamdet.transforms.pixels import decode

    image = decode(frame)
    counts = image.reshape(image.shape[0] if image.ndim > 1 else 1, -1, image.shape[-1]).sum(axis=1)
    totals = [int(total) for total in counts.sum(axis=1)]
    metadata = metadata or {}
    exposure = exposure_of(frame)
    exposure = _number(metadata.get("count_time")) if exposure is None else exposure
    of = "" if frame.series is None else f" of series {frame.series}"
    first = metadata.get("first_bin")
    # Where the hardware keeps regions, bins follow one another that do not in energy.
    scale = None if metadata.get("regions") else _number(metadata.get("ev_per_bin"))
    return Spectra(
        f"frame {frame.number}{of}",
        counts[:, :-1] if _last_is_for_the_rest(counts.shape[1], metadata) else counts,
        totals,
        exposure,
        first if isinstance(first, int) else 0,
        scale,
    )


def _last_is_for_the_rest(bins: int, metadata: Mapping[str, Any]) -> bool:
    """Whether the last bin counts all that is beyond the spectrum, or in no region; not that of a part of it."""
    from bluesky_streamdet.xspress3.constants import BINS_PER_MCA

    first = metadata.get("first_bin")
    if bins == 1 or not isinstance(first, int):
        return bins > 1
    end = first + bins
    # With regions, the whole spectrum has a power of two bins.
    return end.bit_count() == 1 if metadata.get("regions") else end == BINS_PER_MCA


def in_words(spectra: Spectra) -> str:
    """Counts and exposure as text."""
    exposure = "" if spectra.exposure is None else f" in {spectra.exposure:g} s"
    return f"counts {' '.join(map(str, spectra.totals))}{exposure}"


def draw(figure: Figure, spectra: Spectra) -> None:
    """Plot the spectra of all channels, logarithmically, into an empty figure."""
    import numpy as np

    exposure = "" if spectra.exposure is None else f", {spectra.exposure:g} s"
    axes = figure.add_subplot(title=spectra.title + exposure, ylabel="counts", yscale="log")
    bins = spectra.first_bin + np.arange(spectra.counts.shape[1])
    scale = None if spectra.ev_per_bin is None else spectra.ev_per_bin / 1000
    axes.set_xlabel("bin" if scale is None else "energy (keV)")
    for channel, (counts, total) in enumerate(zip(spectra.counts, spectra.totals, strict=True)):
        label = f"channel {channel}: {total}" if channel < MOST_IN_LEGEND else None
        # What a logarithm can't show is left out, so that a line begins and ends where there are counts.
        shown = np.where(counts > 0, counts, np.nan)
        axes.plot(bins if scale is None else bins * scale, shown, linewidth=0.8, drawstyle="steps-mid", label=label)
    axes.set_ylim(0.8, max(10.0, 1.5 * float(spectra.counts.max(initial=0))))
    axes.set_xlim(*((one if scale is None else one * scale) for one in (bins[0], bins[-1] + 1)))
    axes.legend(loc="upper right", fontsize="small", title="counts")


def save_spectra(spectra: Spectra, path: Path) -> None:
    """Plot into a file, whose suffix says the format. A viewer never sees half of it. Raises `WriteFailed`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, spectra)
    save_figure(figure, path)


class Window:
    """A window that shows the latest spectra. Raises `ConfigError` where no window can be."""

    def __init__(self, title: str) -> None:
        import matplotlib.pyplot as plt
        from matplotlib.backends.registry import BackendFilter, backend_registry

        backend = plt.get_backend()
        if backend.lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
            raise ConfigError(
                f"There is no display for a window; matplotlib's backend is {backend!r}.",
                "Run it where one is, or take --save FILE.png.",
            )
        # So it shows at once, and nothing waits for it to be closed.
        with plt.ion():
            self._figure = plt.figure(title, INCHES, layout="constrained")
        self._close = lambda: plt.close(self._figure)
        self.open = True
        self._figure.canvas.mpl_connect("close_event", self._closed)

    def show(self, spectra: Spectra | None) -> None:
        """Show these, and let the window live: call it often, with None when there is nothing new."""
        if spectra is not None and self.open:
            self._figure.clear()
            draw(self._figure, spectra)
            self._figure.canvas.draw_idle()
        self._figure.canvas.flush_events()

    def close(self) -> None:
        self._close()

    def _closed(self, event: object) -> None:
        self.open = False


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
