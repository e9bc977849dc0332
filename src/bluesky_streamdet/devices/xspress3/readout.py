"""The numbers of one frame: of each channel, of each region, and in all; corrected for dead time, or as counted.

No input or output, and no Bluesky. The same functions make a map of a whole run: all take any leading axes, such as
those of frames, or of the rows and columns of a raster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.regions import Axis, Calibration, Region

Floats = NDArray[np.float64]
Correction = Literal["event_width", "sdk", "none"]
"""By which of the two models counts are corrected for dead time: see `transforms.deadtime`."""
FACTORS: dict[str, str] = {"event_width": "dead_time_correction", "sdk": "dead_time_correction_sdk"}
"""Which scalar holds the factor."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What an event says of its last frame. Arrays have one number for each channel.

    total: all counts. regions: counts by name. dead_time: in percent. sum_spectrum: of all channels together. Sums
    leave out the channels that are excluded. spectra: (channels, bins).
    """

    total: float
    regions: dict[str, float]
    totals: Floats
    region_counts: dict[str, Floats]
    dead_time: Floats
    sum_spectrum: Floats
    spectra: Floats
    scalars: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Readout:
    """How numbers are made of frames. exclude: channels that sums leave out."""

    masks: Mapping[str, NDArray[np.bool_]]
    correction: Correction = "event_width"
    exclude: Sequence[int] = ()

    @classmethod
    def of(
        cls,
        regions: Sequence[Region],
        axis: Axis,
        calibration: Calibration,
        correction: Correction = "event_width",
        exclude: Sequence[int] = (),
    ) -> Readout:
        """Raises `ConfigError` for a region that is not recorded."""
        checked(correction)
        return cls({one.name: axis.mask(one, calibration) for one in regions}, correction, exclude)

    def numbers(self, spectra: NDArray[Any], scalars: Mapping[str, NDArray[Any]]) -> Numbers:
        """Of one frame. spectra: (channels, bins), or (channels, aux, bins), whose auxiliary axis is summed over."""
        counted = spectra.sum(axis=1, dtype=np.float64) if spectra.ndim == 3 else spectra.astype(np.float64)
        factor = factor_of(scalars, self.correction, len(counted))
        corrected = counted * factor[:, np.newaxis]
        used = [one for one in range(len(counted)) if one not in self.exclude]
        totals = corrected.sum(axis=1)
        by_region = {name: corrected[:, mask].sum(axis=1) for name, mask in self.masks.items()}
        return Numbers(
            float(totals[used].sum()),
            {name: float(counts[used].sum()) for name, counts in by_region.items()},
            totals,
            by_region,
            100.0 * (1.0 - 1.0 / factor_of(scalars, "event_width", len(counted))),
            corrected[used].sum(axis=0),
            corrected,
            dict(scalars),
        )


def factor_of(scalars: Mapping[str, ArrayLike], correction: str, channels: int) -> Floats:
    """By what to multiply counts, (…, channels): nan where a channel was never live, and 1 where nobody has said."""
    factor = scalars.get(FACTORS.get(correction, ""))
    if factor is None:
        return np.ones(channels)
    factor = np.asarray(factor, np.float64)
    return np.where(np.isfinite(factor), factor, np.nan)


def region_counts(
    spectra: ArrayLike, mask: NDArray[np.bool_], factor: ArrayLike = 1.0, exclude: Sequence[int] = ()
) -> Floats:
    """Counts in a region, over all channels but the excluded: (…, channels, bins) to (…).

    factor: of the dead time, (…, channels). Of 10⁴ points and 4096 bins no more than the region is copied.
    """
    inside = np.asarray(spectra)[..., mask].sum(axis=-1, dtype=np.float64) * np.asarray(factor)
    used = [one for one in range(inside.shape[-1]) if one not in exclude]
    return inside[..., used].sum(axis=-1)


def checked(correction: str) -> None:
    """Raises `ConfigError` for a correction that there is not."""
    if correction not in get_args(Correction):
        raise ConfigError(f"There is no correction {correction!r}; there are {', '.join(get_args(Correction))}.")
