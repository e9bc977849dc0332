"""Where the pixels of a flat detector lie, as seen along the beam: its panels, and how far away it is.

A picture is a grid of pixels; a panel is a rectangle of the array that a frame is, with its place in the picture. Where
modules come one below another, their places tell how the picture is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError

MOST_PANELS = 4096
PLANCK = 12398.419843320026
"""eV times angstrom."""
SAID = (
    *("x_pixel_size", "y_pixel_size", "distance", "photon_energy", "wavelength", "saturation_value"),
    *("beam_center_x", "beam_center_y", "x", "y", "rotation", "full_shape"),
)
"""What of a header is looked at; `full_shape` is that of the picture that modules make."""
TURNS: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {
    0: ((1, 0), (0, 1)),
    90: ((0, -1), (1, 0)),
    180: ((-1, 0), (0, -1)),
    270: ((0, 1), (-1, 0)),
}
"""Steps (right, down) in the picture of a column and of a row of a module, by its turn counter-clockwise in degrees."""


class Panel(NamedTuple):
    """A rectangle of the array: columns from `left`, rows from `top`.

    corner: where the outer corner of its first pixel lies, as (right, down) in pixels from that of the picture.
    along_columns, along_rows: by what that grows with each column and row.
    """

    name: str
    left: int
    top: int
    columns: int
    rows: int
    corner: tuple[float, float]
    along_columns: tuple[int, int] = (1, 0)
    along_rows: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class DetectorGeometry:
    """shape: (rows, columns) of a frame, modules one below another. pixel: size, in m. beam: column and row where the
    beam meets the picture, in pixels; the centre of the first one is 0. distance: m. photon_energy: eV. saturation:
    counts from which on a pixel is saturated.
    """

    shape: tuple[int, int]
    panels: tuple[Panel, ...]
    pixel: float
    beam: tuple[float, float]
    distance: float | None = None
    photon_energy: float | None = None
    saturation: float | None = None

    def __post_init__(self) -> None:
        positive = {"pixel size": self.pixel, "distance": self.distance, "photon energy": self.photon_energy}
        for name, value in positive.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"The {name} of a detector can't be {value:g}.")
        if not all(map(math.isfinite, self.beam)):
            raise ConfigError(f"The beam can't meet a detector at {self.beam}.")

    @property
    def wavelength(self) -> float | None:
        """In angstrom."""
        return None if self.photon_energy is None else PLANCK / self.photon_energy

    def from_beam(self, panel: Panel) -> tuple[float, float]:
        """Where the outer corner of its first pixel lies, as (right, down) in pixels from the beam."""
        return panel.corner[0] - 0.5 - self.beam[0], panel.corner[1] - 0.5 - self.beam[1]

    def panel_numbers(self) -> NDArray[np.int16]:
        """Of each pixel, (rows, columns), which of the panels it is in; -1 for none."""
        numbers = np.full(self.shape, -1, np.int16)
        for number, panel in enumerate(self.panels):
            numbers[panel.top : panel.top + panel.rows, panel.left : panel.left + panel.columns] = number
        return numbers

    def distances(self) -> NDArray[np.float32]:
        """Of each pixel's centre from the beam, in pixels; 0 for pixels of no panel."""
        radius = np.zeros(self.shape, np.float32)
        for panel in self.panels:
            row, column = np.ogrid[0.5 : panel.rows, 0.5 : panel.columns]
            right, down = (
                start + column * a + row * b
                for start, a, b in zip(self.from_beam(panel), panel.along_columns, panel.along_rows, strict=True)
            )
            part = radius[panel.top : panel.top + panel.rows, panel.left : panel.left + panel.columns]
            part[:] = np.hypot(right, down)
        return radius


def described(
    metadata: Mapping[str, Any],
    shape: Sequence[int],
    *,
    pixel: float | None = None,
    beam: tuple[float, float] | None = None,
    distance: float | None = None,
    photon_energy: float | None = None,
    gaps: NDArray[np.bool_] | None = None,
) -> DetectorGeometry:
    """The geometry of a detector whose header says `metadata`, by the names of `core.metadata`.

    shape: of a frame, (rows, columns) or (modules, rows, columns). pixel, beam, distance, photon_energy: instead of
    what the header says. gaps: True where a picture has no pixels, (rows, columns); whole rows and columns of them part
    its panels. Where nobody says where the beam is, it is in the middle. Raises `ConfigError` for what does not fit
    together, and when nobody says how large pixels are.
    """
    if pixel is None:
        sizes = {size for axis in "xy" if (size := _positive(metadata, f"{axis}_pixel_size")) is not None}
        if len(sizes) != 1:
            said = f"Pixels of {sorted(sizes)} m are not square." if sizes else "The header says no size of pixels."
            raise ConfigError(said, "Give it, in m: 75e-6 for an EIGER, 172e-6 for a PILATUS.")
        (pixel,) = sizes
    panels, (rows, columns) = _panels(metadata, tuple(shape), gaps)
    if beam is None:
        x, y = _number(metadata, "beam_center_x"), _number(metadata, "beam_center_y")
        beam = ((columns - 1) / 2, (rows - 1) / 2) if x is None or y is None else (x, y)
    wavelength = _positive(metadata, "wavelength")
    return DetectorGeometry(
        (math.prod(shape[:-1]), shape[-1]),
        panels,
        pixel,
        beam,
        distance or _positive(metadata, "distance"),
        photon_energy or _positive(metadata, "photon_energy") or (None if wavelength is None else PLANCK / wavelength),
        _positive(metadata, "saturation_value"),
    )


def said(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What `described` needs of a header, as plain numbers and lists."""
    return {name: np.asarray(metadata[name]).tolist() for name in SAID if name in metadata}


def _panels(
    metadata: Mapping[str, Any], shape: tuple[int, ...], gaps: NDArray[np.bool_] | None
) -> tuple[tuple[Panel, ...], tuple[int, int]]:
    """The panels, and the shape of the picture that they make."""
    if len(shape) == 2:
        return (between(gaps) if gaps is not None else (Panel("p0", 0, 0, shape[1], shape[0], (0, 0)),)), shape
    if len(shape) != 3 or not 0 < shape[0] <= MOST_PANELS:
        raise ConfigError(f"A frame of shape {shape} is no picture, and no stack of modules.")
    x, y, rotation = ([float(one) for one in np.ravel(metadata.get(name, ()))] for name in ("x", "y", "rotation"))
    if not len(x) == len(y) == len(rotation) == shape[0]:
        raise ConfigError(
            f"Of {shape[0]} modules, the header says the places of {len(x)}.",
            "Put them together first, by the transform place_modules.",
        )
    panels = tuple(_module(number, *place, shape[1:]) for number, place in enumerate(zip(x, y, rotation, strict=True)))
    whole = np.ravel(metadata.get("full_shape", ()))
    if whole.size == 2:
        return panels, (int(whole[0]), int(whole[1]))
    columns, rows = (max(max(panel.corner[axis], _opposite(panel)[axis]) for panel in panels) for axis in (0, 1))
    return panels, (math.ceil(rows), math.ceil(columns))


def _module(number: int, x: float, y: float, rotation: float, shape: tuple[int, ...]) -> Panel:
    """x, y: of its upper left pixel in the picture, after the turn. shape: rows and columns of a module."""
    turn = rotation % 360
    if turn not in TURNS or not (math.isfinite(x) and math.isfinite(y)):
        raise ConfigError(f"Module {number} can't lie at x {x:g}, y {y:g}, turned by {rotation:g} degrees.")
    rows, columns = shape
    along_columns, along_rows = TURNS[int(turn)]
    # Where a step leads left or up, the first pixel is at the other end.
    right, down = (-min(0, columns * a, rows * b) for a, b in zip(along_columns, along_rows, strict=True))
    corner = (float(round(x) + right), float(round(y) + down))
    return Panel(f"p{number}", 0, number * rows, columns, rows, corner, along_columns, along_rows)


def _opposite(panel: Panel) -> tuple[float, ...]:
    """Where its last corner lies."""
    return tuple(
        start + panel.columns * a + panel.rows * b
        for start, a, b in zip(panel.corner, panel.along_columns, panel.along_rows, strict=True)
    )


def between(gaps: NDArray[np.bool_]) -> tuple[Panel, ...]:
    """The panels of a picture between whole rows and columns of `gaps`. Raises `ConfigError` for none, or too many."""
    down, across = (_runs(np.any(~gaps, axis=axis, keepdims=True).ravel()) for axis in (1, 0))
    if not 0 < len(down) * len(across) <= MOST_PANELS:
        raise ConfigError(
            f"A mask can't part a detector into {len(down)} x {len(across)} panels.", "Is it True where pixels are bad?"
        )
    places = [(top, bottom, left, right) for top, bottom in down for left, right in across]
    return tuple(
        Panel(f"p{number}", left, top, right - left, bottom - top, (left, top))
        for number, (top, bottom, left, right) in enumerate(places)
    )


def _runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where pixels are, as spans: from the first to behind the last."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(np.int8), [0]])))
    return [(int(begin), int(end)) for begin, end in steps.reshape(-1, 2)]


def _number(metadata: Mapping[str, Any], name: str) -> float | None:
    try:
        value = float(np.asarray(metadata[name]).reshape(-1)[0])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _positive(metadata: Mapping[str, Any], name: str) -> float | None:
    value = _number(metadata, name)
    return value if value is not None and value > 0 else None
