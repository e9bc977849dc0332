"""What a crystal on a beamline scatters: how many photons are to be expected in each pixel.

Powder rings of LaB6, diffuse scattering of water and air, and the spots of a cubic crystal that turns about the
horizontal axis: each reflection shines while it crosses the Ewald sphere. Nothing here is random but the structure
factors.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]

PHOTON_ENERGY = 17500.0
"""eV."""
WAVELENGTH = 12398.419843320026 / PHOTON_ENERGY
"""Angstrom."""
DISTANCE = 1000.0 / 1065
"""Of the detector from the sample, in lengths of the detector's longest side."""
BEAM_CENTRE = (0.562, 0.488)
"""Where the direct beam meets the detector, as fractions of its rows and columns."""

POWDER_CELL = 4.1569
"""Angstrom; LaB6, NIST SRM 660c."""
POWDER_LINES = {
    (1, 0, 0): 0.6,
    (1, 1, 0): 1.0,
    (1, 1, 1): 0.45,
    (2, 0, 0): 0.24,
    (2, 1, 0): 0.55,
    (2, 1, 1): 0.3,
    (2, 2, 0): 0.12,
}
"""Relative intensity of each reflection."""

LARGEST_CELL, SMALLEST_CELL = 31.0, 8.0
"""Angstrom, of the crystal: a small protein's on a large detector, and less on a small one, which has no room for its
spots."""
FINEST_SPACING = 1.45
"""Angstrom; the crystal scatters nothing beyond it."""
DEBYE_WALLER = 9.0
"""Square angstroms."""
ROCKING_WIDTH = math.radians(0.22)
BRIGHTEST_SPOT = 30000.0
FAINTEST_SPOT = 3.0


class Geometry:
    """Where each pixel lies as seen from the sample, for a detector of `shape` (rows, columns)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.scale = max(shape) / 1065
        """Size of the picture, compared with an EIGER 1M's."""
        self.distance = DISTANCE * max(shape)
        """In pixels."""
        self.spot_width = max(1.25 * self.scale, 0.6)
        """Standard deviation of a spot, in pixels."""
        self.centre = (BEAM_CENTRE[0] * shape[0], BEAM_CENTRE[1] * shape[1])
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        self.down = rows - self.centre[0]
        self.right = columns - self.centre[1]
        self.radius = np.hypot(self.down, self.right)
        self.two_theta = np.arctan(self.radius / self.distance)


def background(geometry: Geometry) -> Image:
    """Expected photons of everything that does not turn: air, water, powder; and the shadow of the beam stop."""
    radius = geometry.radius / geometry.scale
    photons = 120.0 * np.exp(-((radius / 95.0) ** 2)) + 30.0 * np.exp(-((radius / 420.0) ** 2)) + 5.0
    photons += 30.0 * np.exp(-0.5 * ((radius - 235.0) / 62.0) ** 2)
    photons += powder(geometry)
    # A polarised beam: less scatters along the horizontal direction.
    towards_horizontal = (geometry.right / np.maximum(geometry.radius, 1e-9)) ** 2
    photons *= 1.0 - 0.9 * towards_horizontal * np.sin(geometry.two_theta) ** 2
    return photons * beam_stop(geometry)


def powder(geometry: Geometry) -> Image:
    """Expected photons of the Debye-Scherrer rings, slightly grainy as of a coarse powder."""
    photons = np.zeros(geometry.shape)
    azimuth = np.arctan2(geometry.down, geometry.right)
    width = max(1.5 * geometry.scale, 0.6)
    for index, strength in POWDER_LINES.items():
        angle = 2 * math.asin(WAVELENGTH * math.hypot(*index) / (2 * POWDER_CELL))
        ring = np.exp(-0.5 * ((geometry.radius - geometry.distance * math.tan(angle)) / width) ** 2)
        grain = 1.0 + 0.12 * np.sin((7 + index[0]) * azimuth + index[1]) * np.sin((13 + index[1]) * azimuth)
        photons += 260.0 * strength * ring * grain
    return photons


def beam_stop(geometry: Geometry) -> Image:
    """Share of the photons that pass the beam stop and the arm that holds it: 1 beside it, almost 0 behind it."""
    soft = max(1.6 * geometry.scale, 0.5)
    disc = _step((geometry.radius - 27.0 * geometry.scale) / soft)
    # The arm comes from below, leaning, and is thinner than the disc.
    along = geometry.down * math.cos(0.16) + geometry.right * math.sin(0.16)
    across = np.abs(geometry.right * math.cos(0.16) - geometry.down * math.sin(0.16))
    arm = _step((across - 5.5 * geometry.scale) / soft) + _step(-along / soft)
    return 0.012 + 0.988 * disc * np.clip(arm, 0.25, 1.0)


class Crystal:
    """The reflections of a crystal in a random orientation, and where and when each of them shines.

    cell: length of its cubic cell in angstroms. random: draws orientation and structure factors.
    """

    def __init__(self, cell: float, random: np.random.Generator) -> None:
        vectors = _reciprocal_lattice(cell) @ _rotation(random)
        square = np.sum(vectors**2, axis=1)
        strength = random.exponential(1.0, len(vectors)) * np.exp(-0.5 * DEBYE_WALLER * square)
        # Turned about the horizontal axis by `angle`, a reflection's component along the beam is
        # reach * cos(angle - phase); it shines where that equals -wavelength * square / 2.
        reach = np.hypot(vectors[:, 1], vectors[:, 2])
        phase = np.arctan2(vectors[:, 1], vectors[:, 2])
        wanted = -0.5 * WAVELENGTH * square
        meets = np.abs(wanted) < 0.97 * reach
        opening = np.arccos(wanted[meets] / reach[meets])
        angles = [np.mod(phase[meets] + side * opening + np.pi, 2 * np.pi) - np.pi for side in (1, -1)]
        self._angle = np.concatenate(angles)
        self._down = np.concatenate([side * reach[meets] * np.sin(opening) for side in (1, -1)])
        self._right = np.tile(vectors[meets, 0], 2)
        self._along = 1 / WAVELENGTH + np.tile(wanted[meets], 2)
        # Reflections near the axis cross the sphere slowly, and shine longer.
        self._slowness = np.tile(1.0 / np.maximum(np.sin(opening), 0.2), 2)
        self._strength = np.tile(strength[meets], 2) * self._slowness

    def shining(self, geometry: Geometry, first: float, last: float) -> tuple[Image, Image, Image]:
        """Rows, columns and expected photons of the spots, while the crystal turns from angle `first` to `last`
        (radians).
        """
        width = ROCKING_WIDTH * self._slowness
        share = _step((last - self._angle) / width) - _step((first - self._angle) / width)
        photons = BRIGHTEST_SPOT * self._strength * share
        shining = photons > FAINTEST_SPOT
        stretch = geometry.distance / self._along[shining]
        rows = geometry.centre[0] + self._down[shining] * stretch
        columns = geometry.centre[1] + self._right[shining] * stretch
        return rows, columns, photons[shining]

    def spots(self, geometry: Geometry, first: float, last: float) -> Image:
        """Expected photons of the spots in each pixel, while the crystal turns from angle `first` to `last`."""
        image = np.zeros(geometry.shape)
        _add_spots(image, *self.shining(geometry, first, last), geometry.spot_width)
        return image * beam_stop(geometry)


def suitable_cell(geometry: Geometry) -> float:
    """A cell, in angstroms, whose spots a detector can tell from one another."""
    return float(np.clip(LARGEST_CELL * geometry.scale, SMALLEST_CELL, LARGEST_CELL))


def _reciprocal_lattice(cell: float) -> NDArray[np.float64]:
    """All reflections of a cubic cell up to the finest spacing but the origin, as vectors (n, 3) in 1/angstrom."""
    most = int(cell / FINEST_SPACING)
    indices = np.stack(np.meshgrid(*[np.arange(-most, most + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    square = np.sum(indices**2, axis=1)
    return indices[(square > 0) & (square <= most**2)] / cell


def _rotation(random: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation matrix: QR decomposition of a Gaussian matrix, with its signs made unique."""
    q, r = np.linalg.qr(random.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def _add_spots(image: Image, rows: Image, columns: Image, photons: Image, sigma: float) -> None:
    """Add a Gaussian of `photons` in all to `image` at each place; what lies outside is left out."""
    reach = math.ceil(3.5 * sigma)
    steps = np.arange(-reach, reach + 1)
    row, column = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = (row >= -reach) & (row < image.shape[0] + reach) & (column >= -reach) & (column < image.shape[1] + reach)
    row, column = row[inside], column[inside]
    down = np.exp(-0.5 * ((steps + (row - rows[inside])[:, None]) / sigma) ** 2)
    right = np.exp(-0.5 * ((steps + (column - columns[inside])[:, None]) / sigma) ** 2)
    profile = down[:, :, None] * right[:, None, :] * (photons[inside] / (2 * math.pi * sigma**2))[:, None, None]
    padded = np.zeros((image.shape[0] + 4 * reach, image.shape[1] + 4 * reach))
    where = (row[:, None, None] + 2 * reach + steps[:, None], column[:, None, None] + 2 * reach + steps)
    np.add.at(padded, where, profile)
    image += padded[2 * reach : -2 * reach, 2 * reach : -2 * reach]


def _step(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """A smooth step from 0 to 1 about 0, of width 1."""
    return 0.5 * (1.0 + np.tanh(value))
