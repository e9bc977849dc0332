"""What a run's descriptor says of an Xspress3, for whoever has documents and no device. No input or output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.regions import LAST_BIN, Axis, Calibration, Region, regions_of


class Described:
    """Regions, and what the places along a recorded spectrum are.

    said: the configuration of the device in a descriptor, `{key: value}`; empty when there is none, and then a spectrum
    has 10 eV a bin, and `calibrated` is false. device: its name. bins: places along a spectrum; left out, what the
    configuration says, or all.
    """

    def __init__(self, said: Mapping[str, Any], device: str, bins: int | None = None) -> None:
        # Both faces say the same things, by names that begin otherwise.
        named = {key.removeprefix(device)[1:].removeprefix("hardware-"): value for key, value in said.items()}
        self.calibrated = "ev_per_bin" in named
        self.calibration = Calibration(float(named.get("ev_per_bin", 10.0)), float(named.get("ev_offset", 0.0)))
        lookup = np.asarray(named.get("lookup", []), int).reshape(-1, 3).tolist()
        bins = int(named.get("bins", LAST_BIN + 1)) if bins is None else bins
        self.axis = Axis(bins, int(named.get("first_bin", 0)), lookup)
        edges = zip(
            named.get("region_names", []),
            named.get("region_first_bin", []),
            named.get("region_last_bin", []),
            strict=False,
        )
        self.regions = {name: Region(name, int(low), int(high), in_bins=True) for name, low, high in edges}

    @classmethod
    def of(cls, descriptor: Mapping[str, Any], device: str, bins: int) -> Described:
        """What the whole descriptor says of a device."""
        return cls(descriptor.get("configuration", {}).get(device, {}).get("data", {}), device, bins)

    @property
    def energies(self) -> NDArray[np.float64]:
        """The energy in eV in the middle of each place; nan where it is none."""
        return self.calibration.offset + (self.axis.low + self.axis.high) / 2 * self.calibration.ev_per_bin

    def region(self, wanted: str | Region) -> Region:
        """One that the device has, by name, or a line such as "Fe Ka". Raises `ConfigError`."""
        if isinstance(wanted, Region):
            return wanted
        if wanted in self.regions:
            return self.regions[wanted]
        try:
            return regions_of({"region": wanted})[0]
        except ConfigError as error:
            names = ", ".join(self.regions) or "none"
            raise ConfigError(f"The run has no region {wanted!r}: {error.message}", f"It has {names}.") from error

    def mask(self, region: Region) -> NDArray[np.bool_]:
        """Which places a region holds. Raises `ConfigError` when some of it is not recorded."""
        return self.axis.mask(region, self.calibration)
