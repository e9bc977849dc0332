"""Resolution rings: where on a flat detector, perpendicular to the beam, photons of a lattice spacing arrive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import DetectorGeometry

STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
"""Spacings that read well, times powers of ten."""
MOST_RINGS = 5


@dataclass(frozen=True, slots=True)
class Rings:
    """distance: m. wavelength: Å. pixel: m. beam: (row, column) of its centre. spacings: Å; left out, some that fit."""

    distance: float
    wavelength: float
    pixel: float
    beam: tuple[float, float]
    spacings: Sequence[float] = ()

    def __post_init__(self) -> None:
        if min(self.distance, self.wavelength, self.pixel) <= 0:
            raise ConfigError("Distance, wavelength and pixel size of resolution rings have to be more than 0.")

    @classmethod
    def of(cls, geometry: DetectorGeometry, spacings: Sequence[float] = ()) -> Rings:
        """Those of a detector. Raises `ConfigError` where nobody has said its distance, or the photon energy."""
        if geometry.distance is None or geometry.wavelength is None:
            raise ConfigError("Resolution rings need the detector's distance, and the photon energy.", "Give both.")
        column, row = geometry.beam
        return cls(geometry.distance, geometry.wavelength, geometry.pixel, (row, column), spacings)

    def radius(self, spacing: float) -> float | None:
        """In pixels; None for a spacing whose photons go sideways or back. spacing: Å."""
        sine = self.wavelength / (2 * spacing)
        if sine >= math.sqrt(0.5):
            return None
        return self.distance * math.tan(2 * math.asin(sine)) / self.pixel

    def on(self, shape: tuple[int, ...]) -> list[tuple[float, float]]:
        """Spacings and radii of the rings of which an image of this shape can show some."""
        row, column = self.beam
        corners = [(y, x) for y in (0, shape[0]) for x in (0, shape[1])]
        farthest = max(math.hypot(y - row, x - column) for y, x in corners)
        spacings = self.spacings or [step * 10.0**power for power in range(2, -3, -1) for step in reversed(STEPS)]
        found = [(one, radius) for one in spacings if (radius := self.radius(one)) is not None and radius < farthest]
        # From the edge inwards, and none so near to the next that they can't be told apart.
        kept: list[tuple[float, float]] = []
        for spacing, radius in sorted(found, key=lambda pair: -pair[1]):
            if self.spacings or (
                len(kept) < MOST_RINGS and (not kept or kept[-1][1] - radius > farthest / (2 * MOST_RINGS))
            ):
                kept.append((spacing, radius))
        return kept
