"""A frame as a picture in a file, for a look at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluesky_streamdet.core.errors import WriteFailed
from bluesky_streamdet.core.extras import extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

FAINTEST, BRIGHTEST = 1.0, 99.8
"""Percentiles of the live pixels that the colours span."""
INVALID_COLOUR = "#33343f"
INCHES, DOTS_PER_INCH = 8.0, 150


def need_matplotlib() -> None:
    """Raises `MissingLibrary` when it is not installed."""
    with extra("plots", "Pictures"):
        import matplotlib as _  # noqa: F401


def save_picture(image: NDArray[Any], path: Path, title: str) -> None:
    """Write a 2-D image, on a logarithmic scale, to `path`; its suffix says the format. A viewer never sees half a
    file.

    Pixels with the largest value of an integer type measure nothing, and are grey. Raises `WriteFailed`.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    kind = image.dtype
    invalid = image == np.iinfo(kind).max if kind.kind in "iu" else ~np.isfinite(image)
    counts = np.ma.masked_array(image.astype(np.float64), invalid)
    live = counts.compressed()
    low, high = np.percentile(live, [FAINTEST, BRIGHTEST]) if live.size else (0.0, 1.0)
    colours = colormaps["magma"].with_extremes(bad=INVALID_COLOUR)
    # Counts begin at 0, which a logarithm can't show: it is taken of the count plus one.
    scale = LogNorm(max(low, 0.0) + 1.0, max(high, low + 1.0, 1.0) + 1.0)
    rows, columns = image.shape
    figure = Figure((INCHES, max(2.0, 0.9 * INCHES * min(rows / columns, 1.5))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=title, xlabel="column", ylabel="row")
    shown = axes.imshow(
        counts + 1.0,
        cmap=colours,
        norm=scale,
        interpolation="nearest",
        aspect="auto" if rows * 8 < columns else "equal",
    )
    figure.colorbar(shown, ax=axes, label="counts + 1", shrink=0.8)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to `path`; its suffix says the format. A viewer never sees half a file. Raises `WriteFailed`."""
    unfinished = path.with_name(f".{path.name}.unfinished{path.suffix}")
    try:
        figure.savefig(unfinished, dpi=DOTS_PER_INCH)
        os.replace(unfinished, path)
    except (OSError, ValueError) as error:
        raise WriteFailed(f"Can't write the picture {path}: {error}.") from error
