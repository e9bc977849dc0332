"""The detector itself: modules with gaps between them, dead pixels, a hot one, and what its header says.

As an EIGER does, a picture shows the largest value of its pixel type where the detector measures nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.sim.diffraction import PHOTON_ENERGY, WAVELENGTH, Geometry

MODULE = (514, 1030)
"""Rows and columns of an EIGER module."""
GAP = (37, 10)
"""Rows and columns between two modules."""
CHIP = 256
"""Rows and columns of a readout chip."""
PIXEL_SIZE = 75e-6
"""m."""
DEAD_PIXELS = 2e-5
"""Share of all pixels that measure nothing."""

IN_GAP, DEAD = 1, 2
"""Bits 0 and 1 of DECTRIS' pixel mask: no pixel, and a pixel that does not respond."""
HOT_COUNT = 41_000
"""What the hot pixel counts in a frame; nobody has masked it."""
READOUT_TIME = 3e-6
"""s."""


class Panel:
    """The pixels of a detector of `shape` (rows, columns) and integer `dtype`.

    largest: value that a pixel may have, and of those that measure nothing.
    mask: (rows, columns) uint32, in DECTRIS' bits. flatfield: (rows, columns) float32, about 1.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], random: np.random.Generator, largest: int) -> None:
        self.shape, self.dtype = shape, dtype
        self.invalid = largest
        """The value of a pixel that measures nothing."""
        self.mask = _mask(shape, random)
        self.flatfield = _flatfield(shape, random)
        self.hot_pixel = _place_of_hot_pixel(self.mask)

    def readout(self, photons: NDArray[np.float64], random: np.random.Generator) -> NDArray[Any]:
        """A picture: photons drawn from the expected ones, (rows, columns) of the panel's dtype."""
        counts = random.poisson(photons)
        counts[self.hot_pixel] = random.poisson(HOT_COUNT)
        picture = np.minimum(counts, self.invalid - 1).astype(self.dtype)
        picture[self.mask != 0] = self.invalid
        return picture

    def metadata(self, geometry: Geometry, exposure: float, period: float, *, external: bool) -> dict[str, Any]:
        """What SIMPLON would say of it, by the names of `core.metadata` where there is one."""
        rows, columns = self.shape
        bits = 8 * self.dtype.itemsize
        return {
            "description": f"Simulated EIGER Si {rows * columns / 1e6:.3g}M",
            "serial_number": "S-00-0001",
            "firmware_version": "simulated",
            "software_version": "1.8.0",
            "data_collection_date": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "bit_depth_image": bits,
            "bit_depth_readout": min(bits, 16),
            "saturation_value": self.invalid - 1,
            "count_time": exposure,
            "frame_time": period,
            "detector_readout_time": READOUT_TIME,
            "trigger_mode": "exts" if external else "ints",
            "photon_energy": PHOTON_ENERGY,
            "threshold_energy": PHOTON_ENERGY / 2,
            "wavelength": WAVELENGTH,
            "distance": geometry.distance * PIXEL_SIZE,
            "beam_center_x": geometry.centre[1],
            "beam_center_y": geometry.centre[0],
            "x_pixel_size": PIXEL_SIZE,
            "y_pixel_size": PIXEL_SIZE,
            "x_pixels_in_detector": columns,
            "y_pixels_in_detector": rows,
            "number_of_excluded_pixels": int(np.count_nonzero(self.mask)),
            "sensor_material": "Si",
            "sensor_thickness": 0.00045,
            "countrate_correction_applied": False,
            "flatfield_applied": True,
            "pixel_mask_applied": True,
            "virtual_pixel_interpolation_applied": True,
        }

    def tables(self) -> dict[str, NDArray[Any]]:
        """The arrays of a header of detail "all"."""
        rates = np.linspace(0.0, 2e6, 100, dtype=np.float32)
        return {
            "flatfield": self.flatfield,
            "pixel_mask": self.mask,
            "countrate_correction_table": np.stack([rates, rates]),
        }


def _gaps(length: int, module: int, gap: int, *, at_least: int) -> list[slice]:
    """Where modules leave gaps along an axis of `length` pixels; of smaller pictures in proportion."""
    modules = max(at_least, round((length + gap) / (module + gap)))
    width = max(1, round(length * gap / (modules * (module + gap) - gap))) if modules > 1 else 0
    size = (length - (modules - 1) * width) / modules
    starts = [round(number * size + (number - 1) * width) for number in range(1, modules)]
    return [slice(start, start + width) for start in starts]


def _mask(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.uint32]:
    mask = np.zeros(shape, np.uint32)
    for rows in _gaps(shape[0], MODULE[0], GAP[0], at_least=2 if shape[0] >= 16 else 1):
        mask[rows] |= IN_GAP
    for columns in _gaps(shape[1], MODULE[1], GAP[1], at_least=1):
        mask[:, columns] |= IN_GAP
    dead = random.random(shape) < DEAD_PIXELS
    mask[dead & (mask == 0)] |= DEAD
    return mask


def _flatfield(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
    """Each pixel a little different, each chip too."""
    chips = random.normal(1.0, 0.02, (shape[0] // CHIP + 1, shape[1] // CHIP + 1))
    rows, columns = np.arange(shape[0]) // CHIP, np.arange(shape[1]) // CHIP
    return (chips[np.ix_(rows, columns)] * random.normal(1.0, 0.01, shape)).astype(np.float32)


def _place_of_hot_pixel(mask: NDArray[np.uint32]) -> tuple[int, int]:
    """A live pixel right of the middle, in the lower half."""
    row = min(int(0.83 * len(mask)), len(mask) - 1)
    live = np.flatnonzero(mask[row] == 0)
    return row, int(live[min(int(0.71 * len(live)), len(live) - 1)])
