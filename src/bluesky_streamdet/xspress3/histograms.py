"""The spectra of a system: their format, and how they are read.

In memory, energy runs fastest, then the auxiliary axis, the channel, and the frame: arrays of shape (frames, channels,
bins), or (frames, channels, aux, bins) where there is an auxiliary axis. Scalers: (frames, channels, `NUM_SCALERS`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_double, c_int, c_uint32
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed, RequestRefused
from bluesky_streamdet.xspress3.abi import Roi
from bluesky_streamdet.xspress3.calls import Calls
from bluesky_streamdet.xspress3.checks import whole
from bluesky_streamdet.xspress3.constants import (
    BINS_PER_MCA,
    MAX_BITS_ENERGY,
    MAX_ROI,
    NUM_SCALERS,
    Aux1Mode,
    Aux2Mode,
)

Counts = NDArray[np.uint32]
Floats = NDArray[np.float64]

_u32_p, _double_p = POINTER(c_uint32), POINTER(c_double)
_LOW_32 = 0xFFFFFFFF


@dataclass(frozen=True)
class Region:
    """Raw bins `low` to `high`, both included, which make `out_bins` bins of the spectrum."""

    low: int
    high: int
    out_bins: int


@dataclass(frozen=True)
class AuxiliaryAxes:
    """What is told apart besides the energy; by default nothing.

    aux1, aux2: what each axis shows. aux1_threshold, aux2_contents: a parameter of each, as the SDK's manual explains.
    flags: such as `FORMAT_PILEUP_REJECT`.
    """

    aux1: Aux1Mode = Aux1Mode.NONE
    aux1_threshold: int = 0
    aux2: Aux2Mode = Aux2Mode.ADC
    aux2_contents: int = 0
    flags: int = 0


class Histograms:
    """Format and contents of the spectra of all channels. Who calls from several threads holds the lock of `Calls`."""

    def __init__(self, calls: Calls, channels: int) -> None:
        self._calls = calls
        self._channels = channels
        self.regions: tuple[Region, ...] = ()
        self.axes = AuxiliaryAxes()
        self.capacity = 0
        self.aux = 1
        self.spectrum_bins = BINS_PER_MCA
        self.first_bin = 0
        self.bins = BINS_PER_MCA

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(channels, bins) or (channels, aux, bins)."""
        return (self._channels, self.bins) if self.aux == 1 else (self._channels, self.aux, self.bins)

    def apply(self) -> None:
        """Tell the SDK the format and the regions, and learn what becomes of it: bins, and frames that fit."""
        bits = _bits_for(self.regions)
        axes = self.axes
        numbers = (axes.aux1, axes.aux1_threshold, axes.aux2_contents, axes.flags, axes.aux2, bits)
        capacity = self._calls("xsp3_format_run", -1, *map(_signed, numbers))
        if capacity < 1:
            raise HardwareFailed(f"xsp3_format_run says that {capacity} frames fit into the memory.")
        if self.regions:
            rows = (Roi * len(self.regions))(*(Roi(one.low, one.high, one.out_bins) for one in self.regions))
            self._calls("xsp3_set_roi", -1, len(self.regions), rows)
        whole = self.first_bin == 0 and self.bins == self.spectrum_bins
        sizes = [c_int() for _ in range(4)]
        self._calls("xsp3_get_format", 0, *map(ctypes.byref, sizes))
        self.spectrum_bins, aux1, aux2, _ = (one.value for one in sizes)
        self.capacity, self.aux = capacity, aux1 * aux2
        if whole or self.first_bin + self.bins > self.spectrum_bins:
            self.set_range(0, 0)

    def set_regions(self, regions: Sequence[Region]) -> None:
        """Let the hardware keep these regions only, or everything again when there are none.

        The regions follow one another in the spectrum, the lowest first; its last bin counts what is in none of them.
        Raises `ConfigError`, or `RequestRefused` where the firmware cannot.
        """
        regions = sorted((_whole(one) for one in regions), key=lambda one: one.low)
        _check_regions(regions)
        if regions and not all(self._calls("xsp3_has_roi", channel) for channel in range(self._channels)):
            raise RequestRefused(
                "This firmware has no look-up of regions.", "Keep a range of the spectrum instead: set_range()."
            )
        previous, self.regions = self.regions, tuple(regions)
        try:
            if previous and not regions:
                self._calls("xsp3_init_roi", -1)
            self.set_range(0, 0)
            self.apply()
        except Exception:
            self.regions = previous
            raise

    def set_axes(self, axes: AuxiliaryAxes) -> None:
        """Tell apart what `axes` says."""
        previous, self.axes = self.axes, axes
        try:
            self.apply()
        except Exception:
            self.axes = previous
            raise

    def set_range(self, first: int, bins: int) -> None:
        """Read `bins` bins from `first` on only; 0 bins are all. Raises `ConfigError` outside of the spectrum."""
        first, bins = whole("first", first), whole("bins", bins)
        if first < 0 or bins < 0 or first + max(bins, 1) > self.spectrum_bins:
            raise ConfigError(
                f"{bins} bins from {first} on are not within the spectrum of {self.spectrum_bins} bins.",
                "0 bins from 0 on are all of it.",
            )
        self.first_bin, self.bins = first, bins or self.spectrum_bins - first

    def read_spectra(self, first: int, frames: int, out: Counts | None = None) -> Counts:
        """Frames `first` and following, of shape (frames, *frame_shape); into `out` when given.

        Raises `ConfigError` for frames that the memory does not hold, and for an `out` that is not a contiguous uint32
        array of this shape.
        """
        first, frames = self._checked(first, frames)
        result = _output(out, (frames, *self.frame_shape))
        for frame, count in self._pieces(first, frames):
            self._calls(
                "xsp3_histogram_read4d",
                result[frame - first :].ctypes.data_as(_u32_p),
                *(self.first_bin, 0, 0, frame & _LOW_32),
                *(self.bins, self.aux, self._channels, count),
            )
        return result

    def read_scalers(self, first: int, frames: int, out: Counts | None = None) -> Counts:
        """All scalers of the frames, in the order of `Scaler`; as `read_spectra`."""
        first, frames = self._checked(first, frames)
        result = _output(out, (frames, self._channels, NUM_SCALERS))
        for frame, count in self._pieces(first, frames):
            self._calls(
                "xsp3_scaler_read",
                result[frame - first :].ctypes.data_as(_u32_p),
                *(0, 0, frame & _LOW_32),
                *(NUM_SCALERS, self._channels, count),
            )
        return result

    def acknowledge(self, first: int, frames: int) -> None:
        """Let the hardware use the memory of these frames again. Each may be acknowledged once."""
        first, frames = self._checked(first, frames)
        for frame, count in self._pieces(first, frames):
            self._calls("xsp3_histogram_circ_ack", 0, frame & _LOW_32, self._channels, count)

    def dead_time_factors(self, scalers: Counts) -> tuple[Floats, Floats]:
        """The SDK's own correction of these scalers, of shape (frames, channels, `NUM_SCALERS`).

        Returns the factors and the estimated input counts, both float64 of shape (frames, channels).
        """
        if scalers.ndim != 3 or scalers.shape[1:] != (self._channels, NUM_SCALERS):
            raise ConfigError(
                f"scalers have the shape {scalers.shape}; it is (frames, {self._channels}, {NUM_SCALERS})."
            )
        scalers = np.ascontiguousarray(scalers, np.uint32)
        factors, inputs = np.empty(scalers.shape[:2]), np.empty(scalers.shape[:2])
        self._calls(
            "xsp3_calculateDeadtimeCorrectionFactors",
            scalers.ctypes.data_as(_u32_p),
            factors.ctypes.data_as(_double_p),
            inputs.ctypes.data_as(_double_p),
            *(len(scalers), 0, self._channels),
        )
        return factors, inputs

    def _checked(self, first: int, frames: int) -> tuple[int, int]:
        first, frames = whole("first", first), whole("frames", frames)
        if first < 0 or not 1 <= frames <= self.capacity:
            raise ConfigError(
                f"{frames} frames from {first} on cannot be read: the memory holds 1 to {self.capacity} frames at once."
            )
        return first, frames

    def _pieces(self, first: int, frames: int) -> Iterator[tuple[int, int]]:
        """The frames in runs that do not cross the end of the circular buffer."""
        room = self.capacity - first % self.capacity
        yield first, min(frames, room)
        if frames > room:
            yield first + room, frames - room


def _whole(region: Region) -> Region:
    low, high, out_bins = region.low, region.high, region.out_bins
    return Region(whole("low", low), whole("high", high), whole("out_bins", out_bins))


def _check_regions(regions: Sequence[Region]) -> None:
    if len(regions) > MAX_ROI:
        raise ConfigError(f"{len(regions)} regions are more than the hardware's {MAX_ROI}.")
    for one in regions:
        if not 0 <= one.low <= one.high < BINS_PER_MCA:
            raise ConfigError(
                f"Region {one.low} to {one.high}: low may not be above high, and bins are 0 to {BINS_PER_MCA - 1}."
            )
        if not 1 <= one.out_bins <= one.high - one.low + 1:
            raise ConfigError(
                f"Region {one.low} to {one.high} cannot make {one.out_bins} bins: 1 to {one.high - one.low + 1}."
            )
    for one, following in pairwise(regions):
        if following.low <= one.high:
            raise ConfigError(
                f"Regions {one.low} to {one.high} and {following.low} to {following.high} overlap.",
                "Each raw bin can go to one of them.",
            )
    largest = (1 << MAX_BITS_ENERGY - 1) - 1
    if sum(one.out_bins for one in regions) > largest:
        raise ConfigError(f"The regions have more than {largest} bins together.", "Let some of them have fewer.")


def _bits_for(regions: Sequence[Region]) -> int:
    """Bits of the smallest spectrum that holds the regions, and the bin for the rest."""
    return sum(one.out_bins for one in regions).bit_length() if regions else MAX_BITS_ENERGY


def _signed(number: int) -> int:
    """As C's int, which a flag in the highest bit makes negative."""
    return c_int(number).value


def _output(out: Counts | None, shape: tuple[int, ...]) -> Counts:
    if out is None:
        return np.empty(shape, np.uint32)
    if out.shape != shape or out.dtype != np.uint32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ConfigError(
            f"The array to read into is {out.dtype} of shape {out.shape}; it has to be uint32 of shape {shape}, "
            "contiguous and writeable."
        )
    return out
