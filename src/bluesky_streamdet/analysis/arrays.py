"""What a run measured, as arrays that know where and when. Counts are read when they are computed, and no sooner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from bluesky_streamdet.analysis.axes import (
    EVENT,
    attributes_of,
    column,
    dims_of,
    energies,
    event_axis,
    frame_keys,
    owner,
    positions,
    said_of,
    settings_of,
    the_detector,
)
from bluesky_streamdet.analysis.runs import Run, Stream, opened
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.maps import as_map, recorded_mask
from bluesky_streamdet.devices.xspress3.readout import FACTORS, Correction, checked
from bluesky_streamdet.devices.xspress3.regions import Region

PRIMARY = "primary"
SPECTRUM = "_spectrum"
"""After the name of a channel, in runs whose documents are resource and datum: a data key for each channel."""
TO_COME = {"row": 0, "column": 1}


def spectra(
    run: Any, detector: str | None = None, *, correction: Correction = "event_width", stream: str = PRIMARY
) -> xr.DataArray:
    """Counts of each bin: (event, channel, energy), or (event, frame, channel, energy) where events have several.

    detector: its name, where the run has several. correction: of dead time, by the model "event_width" or "sdk", or
    "none" for counts as they are; its factor has to be among the detector's columns. Energies are in eV, in the middle
    of the bins. A channel that was never live is nan. Raises `ConfigError`.
    """
    checked(correction)
    source = opened(run)
    values = source[stream]
    name = the_detector(values, detector)
    counts, dims = _spectra(values, name)
    settings = settings_of(values, name)
    axis = energies({**settings, "bins": settings.get("bins") or counts.shape[-1]})
    counts = counts[..., np.isfinite(axis)] if not np.isfinite(axis).all() else counts
    coordinates = event_axis(source, values, len(counts), name)
    made = xr.DataArray(
        counts,
        {**coordinates, "channel": range(counts.shape[-2]), "energy": ("energy", axis[np.isfinite(axis)], EV)},
        dims,
        name,
        {"units": "counts", "correction": correction},
    )
    return made if correction == "none" else _corrected(made, values, name, correction)


EV = {"units": "eV", "long_name": "energy"}


def images(run: Any, detector: str | None = None, *, stream: str = PRIMARY) -> xr.DataArray:
    """Frames as the detector sent them: (event, y, x), or (event, frame, y, x) where events have several.

    Pixels are numbered from 0. Raises `ConfigError`.
    """
    source = opened(run)
    values = source[stream]
    name = the_detector(values, detector)
    key = next(one for one in frame_keys(values) if owner(values, one) == name)
    frames = values.dask(key)
    dims = dims_of(values, key, frames.ndim)
    coordinates = event_axis(source, values, len(frames), name)
    return xr.DataArray(frames, coordinates, dims, name, attributes_of(values, key))


def numbers(run: Any, *, stream: str = PRIMARY) -> xr.Dataset:
    """All that a stream has besides frames: readings of events, and what comes with each frame, such as scalers.

    What is in files is read when it is computed. Motors and times are coordinates.
    """
    source = opened(run)
    values = source[stream]
    frames, where = set(frame_keys(values)), {key for key, _, _ in positions(source, values)}
    arrays = {key: _small(values, key) for key in values if key not in frames | where and key in values.data_keys}
    length = max((len(one) for _, one, _ in arrays.values()), default=0)
    owners = [owner(values, key) for key in frames]
    coordinates = event_axis(source, values, length, owners[0] if len(owners) == 1 else "")
    short = {key: (dims, one[:length], units) for key, (dims, one, units) in arrays.items() if len(one) == length}
    return xr.Dataset(short, coordinates)


def maps(
    run: Any,
    regions: Iterable[str | Region] = (),
    detector: str | None = None,
    *,
    correction: Correction = "event_width",
    exclude: Sequence[int] = (),
    stream: str = PRIMARY,
) -> xr.Dataset:
    """Counts of regions over all channels: (y, x) of a raster or a grid, (event,) of other runs.

    regions: names of regions that the detector had in this run, lines such as "Fe Ka", or regions of your own; left
    out, all that it had. exclude: channels to leave out. x and y are where the points were planned; where the motors
    were is beside them. Points that were not measured are nan. Raises `ConfigError`.
    """
    source = opened(run)
    values = source[stream]
    name = the_detector(values, detector)
    said = said_of(values, name)
    counts = spectra(source, name, correction=correction, stream=stream)
    used = counts.drop_sel(channel=list(exclude)).sum([one for one in counts.dims if one in {"channel", "frame"}])
    del used
    wanted = list(regions) or list(settings_of(values, name).get("region_names", []))
    if not wanted:
        raise ConfigError("The run has no regions.", 'Name some: maps(run, ["Fe Ka"]).')
    found = {}
    for region in wanted:
        mask = recorded_mask(region, said, name)[: counts.sizes["energy"]]
        found[region.name if isinstance(region, Region) else region] = _summed(counts, mask, exclude)
    (made,) = da.compute(found)
    return _as_map(source, xr.Dataset(made))
