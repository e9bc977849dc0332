"""Bragg peaks of a snapshot, in the manner of peakfinder8: what stands out of the background at its distance from the
beam.

A. Barty et al., "Cheetah: software for high-throughput reduction and analysis of serial femtosecond X-ray diffraction
data", J. Appl. Cryst. 47 (2014) 1118-1131, describe it. Mean and noise of the background are those of all pixels at
the same distance from the beam, without what lies far off them, in a few rounds; connected pixels above both a
threshold and that background are a peak if they are neither too few nor too many, and if their sum above the
background around them is a multiple of its noise. Mean and noise come from a sample of the pixels at each distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.geometry import DetectorGeometry
from bluesky_streamdet.transforms.masks import masked

Numbers = NDArray[np.float64]

SAMPLE = 400
"""Pixels of each ring that say what its background is; repeated where it has fewer."""
FEWEST = 200
"""Pixels of a ring; one of fewer is joined with the next, or a single spot would make most of it."""
ROUNDS = 5
MOST_PEAKS = 2048
"""The strongest that are kept. A frame with more is no snapshot of a crystal."""
MOST_CANDIDATES = 4 * MOST_PEAKS
LEAST_NOISE = 0.01
"""Of a background without any, such as that of a counting detector without a count."""
LARGEST_PEAK = 5000
FARTHEST = 25
"""Pixels from the middle of a peak, at most, at which its background is looked for."""
FEWEST_AROUND = 4
AT_ONCE = 1 << 21
"""Pixels around peaks that are looked at in one step."""


class Peaks(NamedTuple):
    """What was found; arrays of the same length, the strongest first.

    fs, ss: column and row of the centroid in the image, the centre of the first pixel is 0. intensity: sum of its
    pixels above the background, in their units; what lies around them below the limit is not in it. snr: intensity over
    the noise of a pixel of the background around it, as peakfinder8 has it. pixels: how many it has.
    """

    fs: Numbers
    ss: Numbers
    intensity: Numbers
    snr: Numbers
    pixels: NDArray[np.int64]

    def __len__(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride], of peaks, not of fields
        return self.fs.size


@dataclass(frozen=True, slots=True)
class Search:
    """What counts as a peak.

    threshold: in the units of the pixels; those of a peak are above it. min_snr: pixels of a peak stand out of
    their ring by so many times its noise, and its sum out of the background around it. min_pixels, max_pixels: of a
    peak, both included. background_radius: pixels around a peak that are its background. min_radius, max_radius:
    distances from the beam, in pixels, between which peaks are looked for.

    Raises `ValueError` for limits between which there is nothing.
    """

    threshold: float = 0.0
    min_snr: float = 5.0
    min_pixels: int = 2
    max_pixels: int = 200
    background_radius: int = 3
    min_radius: float = 0.0
    max_radius: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.min_snr >= 1 and 1 <= self.background_radius <= FARTHEST):
            raise ValueError(
                "a search for peaks needs a finite threshold, min_snr of 1 or more, background_radius 1 to 25"
            )
        if not (1 <= self.min_pixels <= self.max_pixels <= LARGEST_PEAK and self.min_radius < self.max_radius):
            raise ValueError(f"no peak has {self.min_pixels} to {self.max_pixels} (at most {LARGEST_PEAK}) pixels "
                             f"between the radii {self.min_radius:g} and {self.max_radius:g}")  # fmt: skip


class PeakFinder:
    """Looks for peaks in images of one detector.

    radius: (rows, columns), distance of each pixel from the beam, in pixels, as `core.geometry` has it. mask: True
    where a pixel is not to be used, of the same shape. panels: a number for each pixel that tells its panel, of the
    same shape; pixels of different panels are no neighbours. What the values of an image mark as without counts
    (`masks.masked`) is left out in any case. One thread at a time may use it. Raises `ValueError` for shapes that
    differ.
    """

    def __init__(
        self,
        radius: NDArray[Any],
        search: Search | None = None,
        mask: NDArray[Any] | None = None,
        panels: NDArray[Any] | None = None,
    ) -> None:
        self.shape = radius.shape
        self.search = search or Search()
        for name, given in (("mask", mask), ("panels", panels)):
            if given is not None and given.shape != self.shape:
                raise ValueError(f"{name} of shape {given.shape} do not fit distances of shape {self.shape}")
        if radius.ndim != 2 or not np.isfinite(radius).all():
            raise ValueError("distances from the beam have rows and columns, and are finite")
        used = np.ones(self.shape, np.bool_) if mask is None else np.asarray(mask) == 0
        self._panels = None if panels is None else panels.reshape(-1)
        self._ring, self._sample = _rings(radius.reshape(-1), used.reshape(-1))
        looked_at = used & (radius >= self.search.min_radius) & (radius <= self.search.max_radius)
        self._used, self._looked_at = used.reshape(-1), looked_at.reshape(-1)
        self._place = np.full(radius.size, -1, np.int32)

    @classmethod
    def of(
        cls, geometry: DetectorGeometry, search: Search | None = None, mask: NDArray[Any] | None = None
    ) -> PeakFinder:
        """For frames of this detector; nothing is looked for between its panels. mask: as above."""
        numbers = geometry.panel_numbers()
        unused = numbers < 0 if mask is None else (numbers < 0) | (np.asarray(mask).reshape(geometry.shape) != 0)
        return cls(geometry.distances(), search, unused, numbers if len(geometry.panels) > 1 else None)

    def find(self, image: NDArray[Any]) -> Peaks:
        """The peaks of a frame: (rows, columns) of any integer or floating type.

        Raises `ValueError` for another shape or type.
        """
        if image.shape != self.shape or image.dtype.kind not in "iuf":
            raise ValueError(
                f"peaks are looked for in numbers of shape {self.shape}, not in {image.dtype} of {image.shape}"
            )
        if not self._sample.size:
            return _none()
        # Numbers near the end of their range have squares beyond it: nothing stands out of those.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._find(image.reshape(-1))

    def _find(self, values: NDArray[Any]) -> Peaks:
        mean, limits, noise = self._background(values)
        found = np.flatnonzero(_above(values, float(limits.min())))
        found = found[self._looked_at[found]]
        counts = values[found]
        found = found[(counts > limits[self._ring[found]]) & ~masked(counts)]
        if not found.size:
            return _none()
        spots = self._spots(found, values, mean)
        return self._measured(spots, values, mean, limits, noise) if spots.sizes.size else _none()

    def _background(self, values: NDArray[Any]) -> tuple[Numbers, Numbers, Numbers]:
        """Of each ring mean, limit above which pixels stand out (infinity where nothing counts), and noise."""
        drawn = values[self._sample]
        inside = ~masked(drawn)
        drawn = np.where(inside, drawn, 0).astype(np.float64)
        number, mean, noise = _statistics(drawn, inside)
        for _ in range(ROUNDS - 1):
            remain = inside & (drawn <= self._limits(mean, noise)[:, None])
            remain &= drawn >= (mean - self.search.min_snr * noise)[:, None]
            if np.array_equal(remain, inside):
                break
            inside = remain
            number, mean, noise = _statistics(drawn, inside)
        return mean, np.where(number > 0, self._limits(mean, noise), np.inf), noise

    def _limits(self, mean: Numbers, noise: Numbers) -> Numbers:
        return np.maximum(mean + self.search.min_snr * noise, self.search.threshold)

    def _spots(self, found: NDArray[np.intp], values: NDArray[Any], mean: Numbers) -> _Spots:
        """Connected pixels of the wanted number; of too many, those with the highest sums."""
        group = _connected(found.size, *self._neighbours(found))
        sizes = np.bincount(group, minlength=found.size)
        wanted = (sizes >= self.search.min_pixels) & (sizes <= self.search.max_pixels)
        sums = np.bincount(group, values[found] - mean[self._ring[found]], minlength=found.size)
        chosen = np.flatnonzero(wanted)
        if chosen.size > MOST_CANDIDATES:
            chosen = chosen[np.argsort(-sums[chosen], kind="stable")[:MOST_CANDIDATES]]
        number = np.full(found.size, -1, np.intp)
        number[chosen] = np.arange(chosen.size)
        spot = number[group]
        return _Spots(found[spot >= 0], spot[spot >= 0], sizes[chosen])

    def _neighbours(self, found: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of pixels, as positions in `found`, that touch by a side or a corner."""
        rows, columns = self.shape
        row, column = np.divmod(found, columns)
        self._place[found] = np.arange(found.size)
        ones, others = [], []
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            inside = (row + down < rows) & (column + right >= 0) & (column + right < columns)
            here = np.flatnonzero(inside)
            beside = self._place[found[here] + (down * columns + right)]
            here, beside = here[beside >= 0], beside[beside >= 0]
            if self._panels is not None:
                same = self._panels[found[here]] == self._panels[found[beside]]
                here, beside = here[same], beside[same]
            ones.append(here)
            others.append(beside)
        self._place[found] = -1
        return np.concatenate(ones), np.concatenate(others)

    def _measured(self, spots: _Spots, values: NDArray[Any], mean: Numbers, limits: Numbers, noise: Numbers) -> Peaks:
        """Centroid, intensity and signal-to-noise of each, those that stand out of the background around them."""
        counts = values[spots.pixels].astype(np.float64)
        row, column = np.divmod(spots.pixels, self.shape[1])
        ring = self._ring[spots.pixels]
        at = spots.centroids(row, column, counts - mean[ring])
        reach = spots.reach(row, column, at)
        reach = np.minimum(reach, FARTHEST) + self.search.background_radius
        level, local = self._around(at, reach, values, limits)
        # Where nothing is left around it, the ring says what the background is.
        middle = np.zeros(spots.sizes.size, np.intp)
        middle[spots.spot] = ring
        alone = np.isnan(level)
        level = np.where(alone, mean[middle], level)
        local = np.where(alone, noise[middle], local)
        above = counts - level[spots.spot]
        intensity: Numbers = np.bincount(spots.spot, above, minlength=spots.sizes.size).astype(np.float64)
        snr = intensity / np.maximum(local, LEAST_NOISE)
        ss, fs = spots.centroids(row, column, np.maximum(above, 0.0))
        good = np.flatnonzero((snr >= self.search.min_snr) & np.isfinite(ss) & np.isfinite(fs))
        good = good[np.argsort(-snr[good], kind="stable")[:MOST_PEAKS]]
        return Peaks(fs[good], ss[good], intensity[good], snr[good], spots.sizes[good])

    def _around(
        self, at: tuple[Numbers, Numbers], reach: NDArray[np.intp], values: NDArray[Any], limits: Numbers
    ) -> tuple[Numbers, Numbers]:
        """Mean and noise of the pixels around peaks that belong to none; not a number where there are too few."""
        middle_row, middle_column = (np.rint(one).astype(np.intp) for one in at)
        level, noise = np.full(reach.size, np.nan), np.full(reach.size, np.nan)
        begin, order = 0, np.argsort(reach, kind="stable")
        while begin < order.size:
            # Peaks of like size together, as all of a step look at windows of the same size.
            widest = int(reach[order[begin]]) + 2
            some = order[begin : begin + max(1, AT_ONCE // (2 * widest + 1) ** 2)]
            some = some[reach[some] <= widest]
            begin += some.size
            pixel, inside = self._window(middle_row[some], middle_column[some], reach[some], widest)
            counts = values[pixel]
            inside &= self._used[pixel] & ~masked(counts) & (counts <= limits[self._ring[pixel]])
            _, average, spread = _statistics(
                np.where(inside, counts, 0).astype(np.float64).reshape(some.size, -1), inside.reshape(some.size, -1)
            )
            enough = np.count_nonzero(inside, axis=(1, 2)) >= FEWEST_AROUND
            level[some[enough]], noise[some[enough]] = average[enough], spread[enough]
        return level, noise

    def _window(
        self, row: NDArray[np.intp], column: NDArray[np.intp], reach: NDArray[np.intp], widest: int
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Pixels around each place, (places, 2 * widest + 1, 2 * widest + 1), and which are in its reach and panel."""
        steps = np.arange(-widest, widest + 1)
        near = np.abs(steps) <= reach[:, None]
        rows, columns = row[:, None] + steps, column[:, None] + steps
        in_rows = (rows >= 0) & (rows < self.shape[0]) & near
        in_columns = (columns >= 0) & (columns < self.shape[1]) & near
        inside = in_rows[:, :, None] & in_columns[:, None, :]
        pixel = np.where(inside, rows[:, :, None] * self.shape[1] + columns[:, None, :], 0)
        if self._panels is not None:
            inside &= self._panels[pixel] == self._panels[row * self.shape[1] + column][:, None, None]
        return pixel, inside


class _Spots(NamedTuple):
    """Pixels of peaks, as positions in the flat image, each with the number of its peak; and pixels by peak."""

    pixels: NDArray[np.intp]
    spot: NDArray[np.intp]
    sizes: NDArray[np.int64]

    def centroids(self, row: NDArray[np.intp], column: NDArray[np.intp], weight: Numbers) -> tuple[Numbers, Numbers]:
        count = self.sizes.size
        total = np.bincount(self.spot, weight, minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            down = np.bincount(self.spot, weight * row, minlength=count) / total
            right = np.bincount(self.spot, weight * column, minlength=count) / total
        return down, right

    def reach(self, row: NDArray[np.intp], column: NDArray[np.intp], at: tuple[Numbers, Numbers]) -> NDArray[np.intp]:
        """How far each peak's pixels lie from its middle, along rows or columns."""
        away = np.maximum(np.abs(row - at[0][self.spot]), np.abs(column - at[1][self.spot]))
        farthest = np.zeros(self.sizes.size)
        np.maximum.at(farthest, self.spot, away)
        return np.ceil(farthest).astype(np.intp)


def _rings(radius: NDArray[Any], used: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The ring of each pixel, and the pixels (rings, SAMPLE) of which its background is made."""
    whole = radius.astype(np.int32)
    counts = np.bincount(whole[used]) if used.any() else np.zeros(0, np.intp)
    ring_of = np.zeros(max(counts.size, int(whole.max(initial=0)) + 1), np.int32)
    ring = gathered = 0
    for one, count in enumerate(counts):
        if gathered >= FEWEST:
            ring, gathered = ring + 1, 0
        ring_of[one] = ring
        gathered += int(count)
    if ring and gathered < FEWEST:
        ring_of[ring_of == ring] = ring - 1
        ring -= 1
    ring_of[counts.size :] = ring
    rings = ring_of[whole]
    where = np.flatnonzero(used)
    order = where[np.argsort(rings[where], kind="stable")]
    members = np.bincount(rings[where], minlength=1) if where.size else np.zeros(0, np.intp)
    first = np.cumsum(members) - members
    taken = (np.arange(SAMPLE) * members[:, None]) // SAMPLE
    return rings, order[first[:, None] + taken] if where.size else np.zeros((0, SAMPLE), np.intp)


def _statistics(drawn: Numbers, inside: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Numbers, Numbers]:
    """Of each row number, mean and standard deviation of the values `inside`."""
    number = np.count_nonzero(inside, axis=1)
    kept = drawn * inside
    mean = kept.sum(axis=1) / np.maximum(number, 1)
    spread = np.einsum("ij,ij->i", kept, kept) / np.maximum(number, 1) - mean**2
    return number, mean, np.sqrt(np.maximum(spread, 0.0))


def _above(values: NDArray[Any], limit: float) -> NDArray[np.bool_]:
    """Where values are higher, compared in their own type: a copy of an image costs more than the comparison."""
    if values.dtype.kind == "f":
        return values > limit
    span = np.iinfo(values.dtype)
    if limit < span.min:
        return np.ones(values.shape, np.bool_)
    return values > math.floor(min(limit, span.max))


def _connected(count: int, ones: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.intp]:
    """A number for each of `count` things that is the same for those that pairs connect."""
    group = np.arange(count)
    while ones.size:
        low = np.minimum(group[ones], group[others])
        high = np.maximum(group[ones], group[others])
        np.minimum.at(group, high, low)
        while not np.array_equal(shorter := group[group], group):
            group = shorter
        apart = group[ones] != group[others]
        ones, others = ones[apart], others[apart]
    return group


def _none() -> Peaks:
    nothing = np.zeros(0)
    return Peaks(nothing, nothing, nothing, nothing, np.zeros(0, np.int64))
