"""Regions of a spectrum: what they are called, and which bins they hold. No input or output, and no Bluesky.

    regions_of({"Fe": "Fe Ka", "Compton": (9_300, 9_900), "pulser": {"bins": (4000, 4050)}})

A region is said by an emission line of an element, by energies in eV, or by bins, inclusive as the hardware's windows
are. Energies become bins by a calibration, when they are needed: it may change between two runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.scalars import SCALARS
from bluesky_streamdet.documents import COLUMNS

MOST_REGIONS = 48
LAST_BIN = 4095
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
TAKEN = frozenset({"total", "frames_written", "frames_missing", "dead_time", "sum_spectrum", "spectrum"}) | frozenset(
    {"name", "parent", "log", "children", "connect", "set_name", "exposure"}
)
"""Names of other values of an event, and what devices of either kind keep for themselves."""
ELECTRONIC_NOISE = 70.0
"""eV, full width at half maximum, of a good silicon drift detector."""
FANO_FACTOR = 0.115
PAIR_ENERGY = 3.65
"""eV for each electron-hole pair in silicon."""
SIGMAS = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Bin b holds the energies around `offset + b * ev_per_bin`, in eV."""

    ev_per_bin: float = 10.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not self.ev_per_bin > 0:
            raise ConfigError(f"A calibration of {self.ev_per_bin} eV a bin is none.", "Give more than 0; 10 is usual.")

    def bin_of(self, energy: float) -> int:
        """The bin of an energy in eV, also when the detector has none there."""
        return round((energy - self.offset) / self.ev_per_bin)

    def energy_of(self, bin: float) -> float:
        """The energy in eV in the middle of a bin."""
        return self.offset + bin * self.ev_per_bin


@dataclass(frozen=True, slots=True)
class Region:
    """From `low` to `high`, in eV, or with `in_bins` in bins, both inclusive. `line` is what it was made of, if so."""

    name: str
    low: float
    high: float
    in_bins: bool = False
    line: str = ""

    def __post_init__(self) -> None:
        if (
            not NAME.fullmatch(self.name)
            or self.name.startswith("channel")
            or self.name in TAKEN | {*SCALARS, *COLUMNS}
        ):
            raise ConfigError(
                f"A region can't be called {self.name!r}.",
                "Take letters, digits and _, with a letter first, and no name that something else has, such as total.",
            )
        if not self.low <= self.high:
            raise ConfigError(f"Region {self.name} is empty: it begins at {self.low:g} and ends at {self.high:g}.")

    def bins(self, calibration: Calibration) -> tuple[int, int]:
        """The first and the last bin of 0…4095. Raises `ConfigError` when it lies outside of them."""
        if self.in_bins:
            low, high = round(self.low), round(self.high)
        else:
            low, high = calibration.bin_of(self.low), calibration.bin_of(self.high)
        if low < 0 or high > LAST_BIN:
            raise ConfigError(
                f"Region {self.name} would be bins {low} to {high}; a spectrum has 0 to {LAST_BIN}.",
                f"With {calibration.ev_per_bin:g} eV a bin it ends at {calibration.energy_of(LAST_BIN):g} eV.",
            )
        return low, high

    def energies(self, calibration: Calibration) -> tuple[float, float]:
        """From where to where it goes, in eV."""
        if self.in_bins:
            return calibration.energy_of(self.low), calibration.energy_of(self.high)
        return self.low, self.high


def regions_of(wanted: Mapping[str, Any] | Sequence[Region]) -> tuple[Region, ...]:
    """Regions by their names, each a line such as "Fe Ka", a pair of energies in eV, a `Region`, or a dict.

    A dict has one of `line` (with `width` in eV, if it is to be other than the detector's resolution), `energy` and
    `bins`. Raises `ConfigError`.
    """
    if isinstance(wanted, Mapping):
        regions = tuple(_region(str(name), value) for name, value in wanted.items())
    else:
        regions = tuple(wanted)
    if len(regions) > MOST_REGIONS:
        raise ConfigError(f"{len(regions)} regions are too many; there may be {MOST_REGIONS}.")
    if len({one.name for one in regions}) < len(regions):
        raise ConfigError("Two regions have the same name.", "Give each its own.")
    return regions


def line_region(name: str, line: str, width: float | None = None) -> Region:
    """The region around an emission line, such as "Fe Ka". width: in eV; left out, twice the detector's resolution.

    Raises `ConfigError` for a line that there is not, and `MissingLibrary` without the table of them.
    """
    from bluesky_streamdet.xspress3.lines import line_energy  # its table takes a second to load

    energy = line_energy(line)
    half = (resolution(energy) if width is None else width / 2.0) if width != 0 else 0.0
    return Region(name, energy - half, energy + half, line=line)


def resolution(energy: float) -> float:
    """The width in eV, at half of the maximum, of a line at `energy` eV in a silicon drift detector."""
    return math.hypot(ELECTRONIC_NOISE, SIGMAS * math.sqrt(FANO_FACTOR * PAIR_ENERGY * energy))


def _region(name: str, value: Any) -> Region:
    match value:
        case Region():
            return Region(name, value.low, value.high, value.in_bins, value.line)
        case str():
            return line_region(name, value)
        case {"line": str(line), **rest} if set(rest) <= {"width"}:
            return line_region(name, line, rest.get("width"))
        case {"energy": [low, high], **rest} | [low, high, *rest] if not rest:
            return Region(name, float(low), float(high))
        case {"bins": [low, high], **rest} if not rest:
            return Region(name, int(low), int(high), in_bins=True)
    raise ConfigError(
        f"Region {name} is given as {value!r}.",
        'Give a line ("Fe Ka"), two energies in eV, or {"line": …, "width": …}, {"energy": […]} or {"bins": […]}.',
    )


class Axis:
    """Which raw bins, of 0…4095, each place along a recorded spectrum holds.

    first, bins: the recorded part, of software. lookup: the hardware's regions as [first raw bin, last raw bin, places]
    if it has such; then the last place is what lies outside of all of them, and belongs to no region.
    """

    def __init__(self, bins: int, first: int = 0, lookup: Sequence[Sequence[int]] = ()) -> None:
        if lookup:
            edges = [np.linspace(low, high + 1, places + 1) for low, high, places in lookup]
            starts = np.concatenate([one[:-1] for one in edges])
            ends = np.concatenate([one[1:] for one in edges])
            self.low, self.high = np.full(bins, np.nan), np.full(bins, np.nan)
            inner = slice(first, first + bins)
            known = len(starts[inner])
            self.low[:known], self.high[:known] = starts[inner], ends[inner] - 1
        else:
            self.low = np.arange(first, first + bins, dtype=float)
            self.high = self.low

    def mask(self, region: Region, calibration: Calibration) -> NDArray[np.bool_]:
        """Which places a region holds. Raises `ConfigError` when some of it is not recorded."""
        low, high = region.bins(calibration)
        inside = (self.low + self.high) / 2
        mask = (inside >= low) & (inside <= high)
        width = float((self.high - self.low + 1)[mask].sum())
        # Of a place that holds several raw bins, half may be missing at either end.
        coarse = float((self.high - self.low)[mask].max(initial=0.0))
        if width < high - low + 1 - coarse or not mask.any():
            raise ConfigError(
                f"Region {region.name}, bins {low} to {high}, is not in the part of the spectrum that is recorded.",
                "Record more of it, or take the region out.",
            )
        return mask
