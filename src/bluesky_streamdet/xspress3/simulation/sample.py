"""What the beam falls on, and where: elements, their shapes in the unit square, and how the sample moves."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bluesky_streamdet.xspress3.lines import lines_of
from bluesky_streamdet.xspress3.simulation.config import RasterConfig, SampleConfig

Picture = Callable[[float, float], Mapping[str, float]]
"""Share of each element at a point (x, y) of the unit square."""

BLANK = 0.02
"""Share of an element that is left outside of its shape."""


class Composition(NamedTuple):
    """What one point is made of: how much of each element, and how much scatters. Equal points compare equal."""

    elements: tuple[tuple[str, float], ...]
    scatter: float
    background: float

    @property
    def brightness(self) -> float:
        """How many counts come from it, relative to another composition."""
        return sum(share for _, share in self.elements) + self.scatter + self.background


class Place(NamedTuple):
    """Since a clock cycle, this is what the beam falls on."""

    since: int
    x: float
    y: float
    picture: Picture


class Sample:
    """The sample, and where the beam meets it: x, y from 0 to 1, beginning at the centre.

    It can be moved and replaced at any time, from any thread; frames that began before show what was there then.
    Raises `ConfigError` for what is no element.
    """

    def __init__(self, config: SampleConfig, now: Callable[[], int]) -> None:
        for element in config.elements:
            lines_of(element)
        self._config = config
        self._now = now
        self._lock = threading.Lock()
        self._places = [Place(0, 0.5, 0.5, picture_of(config.elements, config.picture))]
        self.raster = config.raster
        """How position follows the frame number; None while the sample stays where `move` puts it."""

    def move(self, x: float, y: float) -> None:
        """Go to a point and stay there; ends the raster."""
        self.raster = None
        self._go_on(x=x, y=y)

    def replace(self, elements: Mapping[str, float], picture: str = "uniform") -> None:
        """Take another sample, see `SampleConfig`. Raises `ConfigError` for what is no element."""
        for element in elements:
            lines_of(element)
        self.draw(picture_of(elements, picture))

    def draw(self, picture: Picture) -> None:
        """Take a sample that is made by a function of x and y."""
        self._go_on(picture=picture)

    def at(self, x: float, y: float) -> Mapping[str, float]:
        """Share of each element at a point, as it is now."""
        return self._places[-1].picture(x, y)

    def seen(self, frame: int, moment: int) -> Composition:
        """What the beam falls on in a frame that begins at `moment`."""
        with self._lock:
            index = bisect_right(self._places, moment, key=lambda place: place.since) - 1
            place = self._places[max(index, 0)]
        x, y = (place.x, place.y) if self.raster is None else point(self.raster, frame)
        return self._composed(place.picture(x, y))

    @property
    def reference(self) -> Composition:
        """The configured composition, at which the configured rates count."""
        return self._composed(self._config.elements)

    def forget(self) -> None:
        """Forget where it has been; before a run begins."""
        with self._lock:
            del self._places[:-1]

    def _composed(self, elements: Mapping[str, float]) -> Composition:
        shares = tuple((element, float(share)) for element, share in elements.items() if share > 0)
        return Composition(shares, self._config.scatter, self._config.background)

    def _go_on(self, **changes: Any) -> None:
        with self._lock:
            self._places.append(self._places[-1]._replace(since=self._now(), **changes))


def point(raster: RasterConfig, frame: int) -> tuple[float, float]:
    """Where a frame of a raster is taken: the centre of its cell in the unit square."""
    row, column = divmod(frame % (raster.columns * raster.rows), raster.columns)
    if raster.snake and row % 2:
        column = raster.columns - 1 - column
    return (column + 0.5) / raster.columns, (row + 0.5) / raster.rows


def picture_of(elements: Mapping[str, float], kind: str) -> Picture:
    """A sample that is "uniform", or one of "shapes": a disc, a ring, stripes and a wedge, in turn."""
    shares = dict(elements)
    if kind == "uniform":
        return lambda x, y: shares

    def shapes(x: float, y: float) -> dict[str, float]:
        return {
            element: share * max(SHAPES[number % len(SHAPES)](x, y), BLANK)
            for number, (element, share) in enumerate(shares.items())
        }

    return shapes


def _disc(x: float, y: float) -> float:
    return 1.0 - 0.5 * math.hypot(x - 0.35, y - 0.4) / 0.22 if math.hypot(x - 0.35, y - 0.4) < 0.22 else 0.0


def _ring(x: float, y: float) -> float:
    return 1.0 if 0.28 < math.hypot(x - 0.55, y - 0.55) < 0.38 else 0.0


def _stripes(x: float, y: float) -> float:
    return 0.5 + 0.5 * math.sin(2 * math.pi * (2.0 * x + 1.0 * y)) if x + y > 0.8 else 0.0


def _wedge(x: float, y: float) -> float:
    return x if y < 0.8 * x else 0.0


SHAPES = (_disc, _ring, _stripes, _wedge)
