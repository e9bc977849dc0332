"""Maps of a raster that a catalog has: counts of a region at each point, rows by columns.

    region_map(db[-1], "Fe")

Only the bins of the region travel from the catalog's server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.described import Described
from bluesky_streamdet.devices.xspress3.readout import FACTORS, Correction, checked, region_counts
from bluesky_streamdet.devices.xspress3.regions import Region

SEPARATORS = ("_", "-")
"""Between the device's name and that of a value: of classic devices, and of ophyd-async's."""


def region_map(
    run: Any,
    region: str | Region,
    *,
    detector: str = "xspress3",
    correction: Correction = "event_width",
    exclude: Sequence[int] = (),
    stream: str = "primary",
) -> NDArray[np.float64]:
    """Counts of a region over all channels: (rows, columns) of a raster, (points,) of other runs; nan where none is.

    run: as a Tiled catalog of runs gives it. region: the name of one that the detector had in this run, a line such as
    "Fe Ka", or any other. correction: of dead time; its factor has to be among the detector's columns. exclude:
    channels to leave out. Raises `ConfigError`.
    """
    checked(correction)
    values = run[stream]
    said = values.metadata.get("configuration", {}).get(detector, {}).get("data", {})
    mask = recorded_mask(region, said, detector)
    first, last = int(np.argmax(mask)), len(mask) - int(np.argmax(mask[::-1]))
    frames = values[detector]
    if len(frames.shape) != 3:
        raise ConfigError(f"{detector} has data of shape {frames.shape}; a map wants (points, channels, bins).")
    spectra = np.asarray(frames[:, :, first:last])
    factor = _factor(values, detector, correction)
    counts = region_counts(spectra, mask[first:last], factor, exclude)
    return as_map(counts, run.start)


def recorded_mask(region: str | Region, said: Mapping[str, Any], detector: str) -> NDArray[np.bool_]:
    """Which places of a recorded spectrum a region holds. said: the detector's configuration in a descriptor.

    Raises `ConfigError`.
    """
    described = Described(said, detector)
    return described.mask(described.region(region))


def as_map(counts: NDArray[Any], start: Mapping[str, Any]) -> NDArray[np.float64]:
    """Numbers of a raster's points, in the order in which they came, as (rows, columns); those of other runs as they
    are. start: the run's start document.
    """
    shape = start.get("shape")
    if not shape or len(shape) != 2:
        return np.asarray(counts, np.float64)
    points = np.full(shape[0] * shape[1], np.nan)
    points[: len(counts)] = counts[: len(points)]
    picture = points.reshape(shape)
    if start.get("snaking", (False, False))[1]:
        picture[1::2] = picture[1::2, ::-1]
    return picture


def _factor(values: Any, detector: str, correction: str) -> Any:
    if correction == "none":
        return 1.0
    column = FACTORS[correction]
    key = next((f"{detector}{one}{column}" for one in SEPARATORS if f"{detector}{one}{column}" in values), None)
    if key is None:
        raise ConfigError(
            f"The run has no {column} of {detector}.",
            "Take correction='none', or have the detector announce it: columns.",
        )
    factor = np.asarray(values[key].read())
    return np.where(np.isfinite(factor), factor, np.nan)
