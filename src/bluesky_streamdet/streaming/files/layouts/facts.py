"""What a layout's texts may name, and what is calculated of what the header says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet import __version__
from bluesky_streamdet.core.events import FrameFormat
from bluesky_streamdet.streaming.files.layouts.layout import Layout, word_of
from bluesky_streamdet.streaming.files.layouts.places import Places, words_of


def facts_of(
    layout: Layout,
    places: Places,
    series: str,
    started: datetime,
    form: FrameFormat,
    event: int,
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """All that texts may name, of a file whose frames are of this format; None for what nobody knows."""
    calibration = calibration_of(metadata) if form.scalars else None
    bins = form.shape[-1] if form.shape else 0
    energies = None if calibration is None else calibration[0] + calibration[1] * np.arange(bins)
    axes = ["."] * (1 + (event > 1) + len(form.shape))
    if energies is not None:
        axes[-1] = _axis(layout)
    is_image = len(form.shape) > 1 and not form.scalars
    return {
        **words_of(layout, places),
        "layout": places.layout,
        "series": series,
        "started": started.isoformat(),
        "version": __version__,
        "axes": axes,
        "calibration": calibration,
        "energies": energies,
        "interpretation": "image" if is_image else "spectrum",
    }


def calibration_of(metadata: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Energy of the first bin, width of a bin, and 0 for what is not linear, in keV; None where nobody can tell."""
    try:
        width, first = float(metadata["ev_per_bin"]) / 1000, int(metadata.get("first_bin", 0))
    except (KeyError, TypeError, ValueError):
        return None
    # Regions of the hardware may be of any width.
    sorted_into_regions = np.size(metadata.get("regions", ())) > 0
    return None if sorted_into_regions or not 0 < width < math.inf else np.array([first * width, width, 0.0])


def _axis(layout: Layout) -> str:
    """The name of the dataset of energies."""
    paths = (path for path, fixed in layout.values.items() if word_of(fixed.value) == "energies")
    return next(paths, ".").rpartition("/")[2]
