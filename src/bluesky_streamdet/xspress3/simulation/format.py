"""How raw bins become the histogram that is read: fewer bins, regions, and auxiliary axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.xspress3.constants import (
    BINS_PER_MCA,
    MAX_BITS_ENERGY,
    MAX_ROI,
    MIN_BITS_ENERGY,
    Aux1Mode,
    ErrorCode,
)
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range

Counts = NDArray[np.uint32]

GRADES = 16

AUX_BINS: dict[Aux1Mode, int] = {
    Aux1Mode.NONE: 1,
    Aux1Mode.PILEUP: 2,
    Aux1Mode.CSHR: 16,
    Aux1Mode.CSHR_ENC: 64,
} | {mode: GRADES for mode in Aux1Mode if mode.name.startswith("RES_GRADE") or mode is Aux1Mode.GOOD_GRADE}
"""Bins of the first auxiliary axis; what is missing is not simulated."""


class Region(NamedTuple):
    """Raw bins lhs to rhs, both included, go to `bins` bins of the histogram."""

    lhs: int
    rhs: int
    bins: int


class Format(NamedTuple):
    """Of one channel. bits: of the energy axis. regions: none for all raw bins, in groups of equal size."""

    bits: int = MAX_BITS_ENERGY
    aux1: Aux1Mode = Aux1Mode.NONE
    regions: tuple[Region, ...] = ()

    @property
    def bins(self) -> int:
        return 1 << self.bits

    @property
    def aux(self) -> int:
        return AUX_BINS[self.aux1]

    @property
    def shape(self) -> tuple[int, int]:
        """(auxiliary bins, bins), as a frame has them for each channel."""
        return self.aux, self.bins

    def placed(self) -> NDArray[np.intp] | None:
        """Bin of the histogram for each raw bin; None when it is the same."""
        raw = np.arange(BINS_PER_MCA)
        if not self.regions:
            return None if self.bits == MAX_BITS_ENERGY else raw >> (MAX_BITS_ENERGY - self.bits)
        place = np.full(BINS_PER_MCA, self.bins - 1)
        first = 0
        for lhs, rhs, bins in self.regions:
            inside = raw[lhs : rhs + 1]
            place[inside] = first + (inside - lhs) * bins // len(inside)
            first += bins
        return place


def format_of(bits: int, aux1: int, aux2_bits: int) -> Format:
    """Raises `Refusal` for what does not exist, or is not simulated."""
    if not MIN_BITS_ENERGY <= bits <= MAX_BITS_ENERGY:
        raise out_of_range("nbits_eng", bits, f"{MIN_BITS_ENERGY} to {MAX_BITS_ENERGY}")
    if aux1 not in AUX_BINS:
        raise out_of_range("aux1_mode", aux1, ", ".join(str(int(mode)) for mode in AUX_BINS))
    if aux2_bits:
        raise out_of_range("aux2_cont", aux2_bits, "0: a second auxiliary axis is not simulated")
    return Format(bits, Aux1Mode(aux1))


def with_regions(form: Format, regions: Sequence[Region]) -> Format:
    """Raises `Refusal` for regions that are no regions, overlap, or have no room beside the last bin."""
    if form.bits == MAX_BITS_ENERGY:
        raise Refusal(ErrorCode.ERROR, "regions need a format of fewer than 12 bits of energy: call xsp3_format_run")
    if not 1 <= len(regions) <= MAX_ROI:
        raise out_of_range("num_roi", len(regions), f"1 to {MAX_ROI}")
    before = -1
    for lhs, rhs, bins in regions:
        if not before < lhs <= rhs < BINS_PER_MCA or not 1 <= bins <= rhs - lhs + 1:
            raise out_of_range(
                "region", f"{lhs} to {rhs} in {bins} bins", "ascending raw bins up to 4095, in no more bins than these"
            )
        before = rhs
    used = sum(region.bins for region in regions)
    if used >= form.bins:
        raise out_of_range("number of bins of all regions", used, f"up to {form.bins - 1}; the last takes the rest")
    return form._replace(regions=tuple(regions))


class Folding:
    """Makes histograms (channel, auxiliary, energy) of raw counts (channel, raw bin), by the format of each channel."""

    def __init__(self, formats: Sequence[Format]) -> None:
        self._places = [form.placed() for form in formats]
        self.aux, self.bins = formats[0].shape
        # Falls slowly, so that no two auxiliary bins are alike.
        share = 0.75 ** np.arange(self.aux)
        self._share = share / share.sum()

    def fold(self, raw: Counts, random: np.random.Generator) -> Counts:
        """`random` spreads the counts over the auxiliary axis."""
        folded = raw
        if any(place is not None for place in self._places):
            folded = np.zeros((len(raw), self.bins), np.uint32)
            for channel, place in enumerate(self._places):
                folded[channel] = raw[channel] if place is None else np.bincount(place, raw[channel], self.bins)
        if self.aux == 1:
            return folded[:, None]
        spread = random.multinomial(folded.astype(np.int64), self._share)
        return np.ascontiguousarray(np.moveaxis(spread, -1, 1), np.uint32)
