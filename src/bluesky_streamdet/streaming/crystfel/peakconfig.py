"""What is configured of the search for peaks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from bluesky_streamdet.streaming.endpoints import Section
from bluesky_streamdet.transforms.peaks import Search


class PeaksConfig(Section):
    """Peaks of each frame, in the manner of peakfinder8; see `transforms.peaks.Search` for its limits.

    threshold is in counts, the radii in pixels from the beam. min_peaks: a frame with so many is a hit. workers:
    processes that look for them. beam: column and row where the beam meets the picture, in pixels; left out, what the
    detector says, or else the middle. mask: a .npy file, not 0 where a pixel is not to be used, besides those that the
    detector marks.
    """

    threshold: float = Field(default=0.0, allow_inf_nan=False)
    min_snr: float = 5.0
    min_pixels: int = 2
    max_pixels: int = 200
    background_radius: int = 3
    min_radius: float = 0.0
    max_radius: float | None = None
    min_peaks: int = Field(default=10, ge=1)
    workers: int = Field(default=1, ge=1, le=256)
    beam: tuple[float, float] | None = None
    mask: Path | None = None

    @property
    def search(self) -> Search:
        return Search(
            self.threshold,
            self.min_snr,
            self.min_pixels,
            self.max_pixels,
            self.background_radius,
            self.min_radius,
            math.inf if self.max_radius is None else self.max_radius,
        )

    @model_validator(mode="after")
    def _finds_something(self) -> Self:
        _ = self.search
        return self
