"""What a run measured, as arrays that know where and when. Counts are read when they are computed, and no sooner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bluesky_streamdet.analysis.axes import (
    EVENT,
    MOTOR,
    attributes_of,
    column,
    described_in,
    dims_of,
    event_axis,
    frame_keys,
    owner,
    positions,
    the_detector,
)
from bluesky_streamdet.analysis.runs import Run, Stream, opened
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.maps import as_map
from bluesky_streamdet.devices.xspress3.readout import FACTORS, Correction, checked
from bluesky_streamdet.devices.xspress3.regions import Region

PRIMARY = "primary"
ENERGY = {"units": "eV", "long_name": "energy"}
GRID = ("row", "column")


def spectra(
    run: Any, detector: str | None = None, *, correction: Correction = "event_width", stream: str = PRIMARY
) -> xr.DataArray:
    """Counts of each bin: (event, channel, energy), or (event, frame, channel, energy) where events have several.

    detector: its name, where the run has several. correction: of dead time, by the model "event_width" or "sdk", or
    "none" for counts as they are; its factor has to be among the detector's columns. A channel that was never live is
    nan. Energies are in eV, in the middle of the bins; of a spectrum that the hardware sorts into regions, the last
    place, which is all the rest, is left out. Raises `ConfigError`.
    """
    checked(correction)
    source = opened(run)
    values = source[stream]
    name = the_detector(values, detector, spectra=True)
    described = described_in(values, name)
    if not described.calibrated:
        raise ConfigError(f"{name} has no spectra.", "Its frames are in images(run).")
    axis = described.energies[np.isfinite(described.energies)]
    counts, dims = _spectra(values, name, correction, len(axis))
    coordinates: dict[str, Any] = {
        **event_axis(source, values, len(counts), name, dims),
        "channel": np.arange(int(counts.shape[dims.index("channel")])),
        "energy": ("energy", axis, ENERGY),
    }
    said = {"units": "counts", "correction": correction}
    return xr.DataArray(counts, coordinates, dims, name, said)


def images(run: Any, detector: str | None = None, *, stream: str = PRIMARY) -> xr.DataArray:
    """Frames as they are in the file: (event, y, x), or (event, frame, y, x) where events have several.

    Raises `ConfigError`.
    """
    source = opened(run)
    values = source[stream]
    name = the_detector(values, detector, spectra=False)
    key = next(one for one in frame_keys(values) if owner(values, one) == name)
    frames = values.dask(key)
    dims = dims_of(values, key, frames.ndim)
    coordinates = event_axis(source, values, len(frames), name, dims)
    made = xr.DataArray(frames, coordinates, dims, name, attributes_of(values, key))
    # Documents of the kind "resource" tell of one frame as of several.
    return made.isel(frame=0) if made.sizes.get("frame") == 1 else made


def numbers(run: Any, *, stream: str = PRIMARY) -> xr.Dataset:
    """All that a stream has besides frames: readings of its events, and what comes with each frame, such as scalers.

    Motors and times are coordinates. What is in files is read when it is computed.
    """
    source = opened(run)
    values = source[stream]
    frames = frame_keys(values)
    apart = {*frames, *(key for key, _, _ in positions(source, values))}
    arrays = {key: values.dask(key) if key in values.external else values.read(key) for key in values}
    events = min((len(one) for one in arrays.values()), default=0)
    owners = {owner(values, key) for key in frames}
    variables = {
        key: (dims_of(values, key, one.ndim), one[:events], attributes_of(values, key))
        for key, one in arrays.items()
        if key not in apart
    }
    axes = {axis for dims, _, _ in variables.values() for axis in dims}
    return xr.Dataset(variables, event_axis(source, values, events, owners.pop() if len(owners) == 1 else "", axes))


def maps(
    run: Any,
    regions: Iterable[str | Region] = (),
    detector: str | None = None,
    *,
    correction: Correction = "event_width",
    exclude: Sequence[int] = (),
    stream: str = PRIMARY,
) -> xr.Dataset:
    """Counts of regions over all channels: (row, column) of a raster or a grid, (event,) of other runs.

    regions: names of regions that the detector had in this run, lines such as "Fe Ka", or regions of your own; left
    out, all that it had. exclude: channels to leave out. Where the motors were is beside the counts, and what was not
    measured is nan. Read at once, but for each region no more than its bins. Raises `ConfigError`.
    """
    source = opened(run)
    values = source[stream]
    name = the_detector(values, detector, spectra=True)
    counts = spectra(source, name, correction=correction, stream=stream)
    described = described_in(values, name)
    wanted = list(regions) or list(described.regions)
    if not wanted:
        raise ConfigError("The run has no regions.", 'Name some: maps(run, ["Fe Ka"]).')
    sums = {}
    for region in wanted:
        mask = described.mask(described.region(region))
        sums[region.name if isinstance(region, Region) else region] = _summed(counts, mask, exclude)
    made = xr.Dataset(sums).compute()
    freed = {f"{one}{MOTOR}": one for one in ("energy", "channel") if f"{one}{MOTOR}" in made.coords}
    return _as_grid(made.rename(freed), source)


def _spectra(stream: Stream, name: str, correction: Correction, bins: int) -> tuple[da.Array, list[str]]:
    keys = [one for one in frame_keys(stream) if owner(stream, one) == name]
    if name in keys:
        shape = stream.shape(name)
        inner = ["frame"] if dims_of(stream, name, len(shape))[1] == "frame" else []
        aux = [f"aux_{axis}" for axis in range(len(shape) - len(inner) - 3)]
        dims = [EVENT, *inner, "channel", *aux, "energy"]
        channels = shape[dims.index("channel")]
        factor = _factor(stream, name, correction, channels)
        if factor is not None:
            # Of an event, or of each of its frames.
            has = {EVENT, "channel", *(inner if factor.ndim == 3 else ())}
            factor = factor.reshape([length if one in has else 1 for one, length in zip(dims, shape, strict=True)])
        return stream.corrected(name, factor, bins), dims
    # In documents of the kind "resource", each channel has a key of its own.
    by_channel = {int(found[1]): one for one in keys if (found := re.fullmatch(r".*channel(\d+)_spectrum", one))}
    factor = _factor(stream, name, correction, len(by_channel))
    factors = [None if factor is None else factor[:, channel : channel + 1] for channel in range(len(by_channel))]
    keys = [by_channel[channel] for channel in sorted(by_channel)]
    arrays = [stream.corrected(key, one, bins) for key, one in zip(keys, factors, strict=True)]
    return da.stack(arrays, axis=1), [EVENT, "channel", "energy"]


def _factor(stream: Stream, name: str, correction: Correction, channels: int) -> NDArray[np.float64] | None:
    """By what to multiply counts, (events, channels) or (events, frames, channels); None for as they are.

    nan where a channel was never live.
    """
    if correction == "none":
        return None
    key = column(stream, name, FACTORS[correction])
    percent = [f"{name}_channel{one}_dead_time" for one in range(channels)]
    if key is not None:
        factor = stream.read(key)
    elif correction == "event_width" and all(one in stream for one in percent):
        factor = 1.0 / (1.0 - np.stack([stream.read(one) for one in percent], axis=1) / 100.0)
    else:
        raise ConfigError(
            f"The run has no {FACTORS[correction]} of {name}.",
            "Take correction='none', or have the detector announce it: columns.",
        )
    return np.where(np.isfinite(factor), factor, np.nan)


def _summed(counts: xr.DataArray, mask: NDArray[np.bool_], exclude: Sequence[int]) -> xr.DataArray:
    places = np.flatnonzero(mask)
    part = slice(int(places[0]), int(places[-1]) + 1)
    inside = counts[..., part].drop_sel(channel=list(exclude))
    if len(places) < part.stop - part.start:
        inside = inside.where(xr.DataArray(mask[part], dims="energy"), 0)
    return inside.sum([one for one in inside.dims if one != EVENT], skipna=False, keep_attrs=True)


def _as_grid(made: xr.Dataset, run: Run) -> xr.Dataset:
    shape = run.start.get("shape") or ()
    if len(shape) != 2:
        return made
    grid = {str(key): (GRID, as_map(one.values, run.start), one.attrs) for key, one in made.items()}
    where = {
        str(key): (GRID, as_map(one.values, run.start), one.attrs)
        for key, one in made.coords.items()
        if one.dims == (EVENT,) and one.dtype.kind in "iuf"
    }
    return xr.Dataset(grid, where)
