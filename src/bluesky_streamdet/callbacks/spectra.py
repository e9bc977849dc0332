"""Frames of spectra as live plots want them, and what corrects them for dead time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.callbacks.live import Shot
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.described import Described
from bluesky_streamdet.devices.xspress3.readout import FACTORS, factor_of
from bluesky_streamdet.devices.xspress3.regions import Region, regions_of

Wanted = str | Region | Sequence[str | Region] | Mapping[str, Any] | None
"""Regions: one or several, by a name that the device has, a line such as "Fe Ka", or as `regions_of` takes them; None
for those that the device has."""


def spectra_of(shot: Shot) -> NDArray[Any]:
    """(events, frames, channels, bins), with one frame where events have no more; over auxiliary axes, the sum.

    Raises `ConfigError`.
    """
    frames = shot.frames
    dims = shot.described.get("data_keys", {}).get(shot.key, {}).get("dims", [])
    if frames.ndim == 2:
        frames = frames[:, np.newaxis]
    if frames.ndim == 3 or dims[:1] != ["frame"]:
        frames = frames[:, np.newaxis]
    if frames.ndim == 5:
        frames = frames.sum(axis=3)
    if frames.ndim != 4:
        raise ConfigError(f"{shot.key} has frames of shape {shot.frames.shape[1:]}; spectra have (channels, bins).")
    return frames


def correction_of(shot: Shot, correction: str, spectra: NDArray[Any]) -> tuple[NDArray[np.float64], str]:
    """By what to multiply counts, (events, frames, channels), and what to call the result."""
    shape = spectra.shape[:3]
    if FACTORS.get(correction, "") not in shot.columns:
        return np.ones(shape), "as counted"
    return factor_of(shot.columns, correction, shape[2]).reshape(shape), "corrected for dead time"


def described_in(shot: Shot) -> Described:
    """What is known of the detector."""
    return Described.of(shot.described, shot.key, shot.frames.shape[-1])


def wanted_regions(wanted: Wanted, described: Described) -> dict[str, Region]:
    """By name. Raises `ConfigError` for one that there is not."""
    if wanted is None:
        return dict(described.regions)
    if isinstance(wanted, Mapping):
        return {one.name: one for one in regions_of(wanted)}
    several = [wanted] if isinstance(wanted, str | Region) else wanted
    return {one if isinstance(one, str) else one.name: described.region(one) for one in several}
