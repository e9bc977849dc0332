"""A picture of the newest frame of a run, with what one wants to know of it: masked and saturated pixels, counts of
regions as curves, resolution rings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from bluesky_streamdet.callbacks.live import Live, Options, Shot
from bluesky_streamdet.callbacks.rings import Rings
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.transforms.masks import masked
from bluesky_streamdet.transforms.peaks import PeakFinder, Peaks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONG = 10
"""How many times as long as broad an image may be and still be drawn with square pixels."""
PERCENTILES = (1.0, 99.8)
LONGEST_CURVE = 10_000
COLOURS = ("deepskyblue", "limegreen", "magenta", "orange", "turquoise", "tomato")
"""Of regions, seen on dark and on white."""
MOST_MARKED = 2000
"""Saturated pixels that are marked one by one, as a picture smaller than the image would leave out most of them."""


class Box(NamedTuple):
    """Part of an image: rows `top` to `bottom`, columns `left` to `right`, the latter of both not included."""

    top: int
    bottom: int
    left: int
    right: int


class LiveImage(Live):
    """Shows the newest frame.

        RE.subscribe(LiveImage(rois={"spot": (100, 120, 240, 260)}))

    saturation: counts from which on a pixel is shown as saturated. percentiles: of the counts, between which colours
    run; log: whether they run logarithmically. mask: True where a pixel is not to be shown or counted, an array or a
    .npy file; pixels that the detector marks are left out in any case. rois: by name (top, bottom, left, right), in
    pixels; their counts are drawn as curves, of the frames that it has looked at. rings: resolution rings. peaks: looks
    for Bragg peaks, which are circled, and counted in the title. The others are `live.Options`. Masked pixels are grey,
    saturated ones red.
    """

    def __init__(
        self,
        save: str | Path | None = None,
        *,
        saturation: float | None = None,
        percentiles: tuple[float, float] = PERCENTILES,
        log: bool = True,
        mask: NDArray[np.bool_] | str | Path | None = None,
        rois: Mapping[str, tuple[int, int, int, int]] | None = None,
        rings: Rings | None = None,
        peaks: PeakFinder | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._style = Style(saturation, percentiles, log, rings, peaks)
        self._mask = np.load(Path(mask).expanduser(), allow_pickle=False) if isinstance(mask, str | Path) else mask
        self._rois = {name: _box(name, one) for name, one in (rois or {}).items()}
        self._curves: dict[str, list[float]] = {}
        self._events: list[int] = []
        self._run: str | None = None
        self._picture: ImagePicture | None = None
        self._shot: Shot | None = None
        super().__init__(save, **options)

    def take(self, shot: Shot) -> None:
        run = shot.run.get("uid")
        if run != self._run:
            self._run, self._events, self._curves = run, [], {name: [] for name in self._rois}
        self._shot = shot
        self._picture = ImagePicture(as_image(shot.frames), "", self._style, self._mask, self._rois)
        self._events.append(shot.seq_nums[-1])
        del self._events[:-LONGEST_CURVE]
        for name, box in self._rois.items():
            counts = self._curves.setdefault(name, [])
            counts.append(self._picture.counts_in(box))
            del counts[:-LONGEST_CURVE]

    def picture(self) -> ImagePicture | None:
        if self._picture is None or self._shot is None:
            return None
        curves = {name: (list(self._events), list(counts)) for name, counts in self._curves.items()}
        return replace(self._picture, title=self.title(self._shot), curves=curves)


@dataclass(frozen=True)
class Style:
    """How images are drawn; see `LiveImage`."""

    saturation: float | None = None
    percentiles: tuple[float, float] = PERCENTILES
    log: bool = True
    rings: Rings | None = None
    finder: PeakFinder | None = None


@dataclass(frozen=True)
class ImagePicture:
    """One frame as it is drawn. image: 2-D counts. own_mask: of the user. curves: events and counts, by name."""

    image: NDArray[Any]
    title: str
    style: Style = field(default_factory=Style)
    own_mask: NDArray[np.bool_] | None = None
    rois: Mapping[str, Box] = field(default_factory=dict)
    curves: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)

    @property
    def size(self) -> tuple[float, float]:
        """In inches: as high as the image wants it."""
        rows, columns = self.image.shape
        square = max(rows, columns) <= LONG * min(rows, columns)
        height = min(max(5.5 * rows / columns, 2.0), 7.0) if square else 4.0
        return 7.0, height + (2.6 if self.curves else 0.8)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """True where nothing is shown. Raises `ConfigError` for a mask of another shape."""
        mask = masked(self.image)
        if self.own_mask is None:
            return mask
        if self.own_mask.shape != mask.shape:
            raise ConfigError(f"The mask has shape {self.own_mask.shape}, the image {mask.shape}.")
        return mask | (self.own_mask != 0)

    @cached_property
    def saturated(self) -> NDArray[np.bool_]:
        if self.style.saturation is None:
            return np.zeros_like(self.mask)
        return (self.image >= self.style.saturation) & ~self.mask

    @cached_property
    def peaks(self) -> Peaks | None:
        """None where none are looked for. Raises `ConfigError` for an image of another shape than they are."""
        finder = self.style.finder
        if finder is None:
            return None
        if finder.shape != self.image.shape:
            raise ConfigError(f"Peaks are looked for in images of shape {finder.shape}, not {self.image.shape}.")
        return finder.find(self.image)

    def counts_in(self, box: Box) -> float:
        """Counts of the pixels of a region that are shown."""
        part = slice(box.top, box.bottom), slice(box.left, box.right)
        return float(self.image[part].sum(dtype=np.float64, where=~self.mask[part]))

    def draw(self, figure: Figure) -> None:
        figure.clear()
        figure.set_layout_engine("compressed")
        if not self.curves:
            self._draw_image(figure, figure.add_subplot())
            return
        above, below = figure.subplots(2, 1, height_ratios=[max(1.0, self.size[1] / 2.0 - 1.0), 1.0])
        self._draw_image(figure, above)
        for number, (name, (events, counts)) in enumerate(self.curves.items()):
            below.plot(
                events, counts, ".-", color=COLOURS[number % len(COLOURS)], label=name, linewidth=0.8, markersize=4
            )
        below.set(xlabel="event", ylabel="counts")
        below.legend(loc="best", fontsize="small")

    def _draw_image(self, figure: Figure, axes: Axes) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm, Normalize

        low, high = limits(self.image[~self.mask], self.style.percentiles, log=self.style.log)
        norm = LogNorm(low, high) if self.style.log else Normalize(low, high)
        shown = np.ma.masked_array(np.maximum(self.image, low), self.mask)
        colours = colormaps["inferno"].with_extremes(bad="0.5")
        # Spectra have few rows, and thousands of columns.
        aspect = "auto" if max(shown.shape) > LONG * min(shown.shape) else "equal"
        drawn = axes.imshow(shown, norm=norm, cmap=colours, interpolation="nearest", aspect=aspect)
        figure.colorbar(drawn, ax=axes, label="counts")
        saturated = int(self.saturated.sum())
        if saturated:
            red = np.zeros((*self.image.shape, 4))
            red[self.saturated] = 1, 0, 0, 1
            axes.imshow(red, interpolation="nearest", aspect=aspect)
            rows, columns = (places[:MOST_MARKED] for places in np.nonzero(self.saturated))
            axes.plot(columns, rows, "s", color="red", markersize=2, markeredgewidth=0, scalex=False, scaley=False)
        noted = f", {saturated} pixels saturated (red)" if saturated else ""
        if self.peaks is not None:
            noted += f", {len(self.peaks)} peaks"
            circled = {"markersize": 7, "markerfacecolor": "none", "markeredgewidth": 0.8, "scalex": False}
            axes.plot(self.peaks.fs, self.peaks.ss, "o", color="lime", scaley=False, **circled)
        axes.set_title(f"{self.title}{noted}", fontsize="medium")
        axes.set(xlabel="column / pixel", ylabel="row / pixel")
        self._draw_marks(axes)

    def _draw_marks(self, axes: Axes) -> None:
        """Regions and rings, without changing what part of the image is seen."""
        from matplotlib.patches import Circle, Rectangle
        from matplotlib.patheffects import withStroke

        outlined: Any = [withStroke(linewidth=2, foreground="k")]
        for number, (name, box) in enumerate(self.rois.items()):
            colour, corner = COLOURS[number % len(COLOURS)], (box.left - 0.5, box.top - 0.5)
            width, height = box.right - box.left, box.bottom - box.top
            axes.add_patch(Rectangle(corner, width, height, fill=False, color=colour, linewidth=1.5))
            name_at = {"textcoords": "offset points", "path_effects": outlined}
            axes.annotate(name, corner, (0, 3), color=colour, fontsize="small", **name_at)
        rings = self.style.rings
        for spacing, radius in rings.on(self.image.shape) if rings is not None else ():
            assert rings is not None
            row, column = rings.beam
            axes.add_patch(
                Circle((column, row), radius, fill=False, color="w", linewidth=0.8, linestyle="--", alpha=0.7)
            )
            at = self._place_of_name(row, column, radius)
            if at is not None:
                middle = {"ha": "center", "va": "center", "path_effects": outlined}
                axes.text(at[1], at[0], f"{spacing:.3g} Å", color="w", fontsize="small", **middle)

    def _place_of_name(self, row: float, column: float, radius: float) -> tuple[float, float] | None:
        """Where on a ring its name is seen: the first of the directions in which it is on the image."""
        for angle in np.deg2rad(np.arange(45, 405, 15)):
            y, x = row - radius * np.sin(angle), column + radius * np.cos(angle)
            if 0.03 < y / self.image.shape[0] < 0.97 and 0.05 < x / self.image.shape[1] < 0.95:
                return float(y), float(x)
        return None


def limits(
    counts: NDArray[Any], percentiles: tuple[float, float] = PERCENTILES, *, log: bool = True
) -> tuple[float, float]:
    """Between which counts the colours run: percentiles of those above nothing, at least a factor of 2 apart; on a
    linear scale from percentiles of all.
    """
    used = counts[counts > 0] if log else counts
    if not used.size:
        return (0.5, 1.0) if log else (0.0, 1.0)
    low, high = np.percentile(used, percentiles)
    return float(low), float(max(high, 2 * low) if log else max(high, low + 1e-12))


def as_image(frames: NDArray[Any]) -> NDArray[Any]:
    """The last frame of an array of them, as two-dimensional counts."""
    frames = np.asarray(frames)
    if frames.ndim <= 2:
        return np.atleast_2d(frames[-1])
    return frames.reshape(-1, *frames.shape[-2:])[-1]


def _box(name: str, given: tuple[int, int, int, int]) -> Box:
    box = Box(*given)
    if not (0 <= box.top < box.bottom and 0 <= box.left < box.right):
        raise ConfigError(f"Region {name} of an image can't be {tuple(given)}.", "Give (top, bottom, left, right).")
    return box
